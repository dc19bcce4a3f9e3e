//! Reviews of answers that have been delivered, and a store that fails.

use crate::faulty::{Fault, Faulty};
use crate::kit::{Model, Running, Says};
use backstop_gateway::store::{Review, ReviewFilter};
use backstop_gateway::telemetry::Snapshot;
use std::sync::Arc;
use std::time::Duration;

/// A gateway that sends every stream to review, and its store.
async fn start() -> (Running, Arc<Faulty>) {
    let model = Model::start(Says::Stream(&["a", "b"], None)).await;
    let dir = Arc::new(tempfile::tempdir().unwrap());
    let store = Faulty::open(dir.path());
    let text = format!(
        r#"
        [providers.a]
        kind = "openai"
        base_url = "http://{}/v1"
        [models.m]
        provider = "a"
        [routes.chat]
        kind = "chat"
        models = ["m"]
        stream = {{ hold = "none" }}
        review = true
        threshold = "confidence"
        [policies.confidence]
        component = "builtin:confidence-threshold"
        grants = {{ metrics = ["*"] }}
        [policies.confidence.settings]
        without_confidence = "review"
        "#,
        model.addr
    );
    (Running::start_on(store.clone(), &text, dir).await, store)
}

async fn kept(gateway: &Running) -> Vec<Review> {
    let filter = ReviewFilter {
        limit: 10,
        ..ReviewFilter::default()
    };
    gateway.store.reviews(filter).await.unwrap()
}

fn lost(gateway: &Running) -> Option<String> {
    let telemetry = gateway.gateway.telemetry();
    let text = telemetry.encode(&Snapshot::default()).unwrap();
    text.lines()
        .find(|line| line.starts_with("backstop_reviews_lost_total"))
        .map(str::to_owned)
}

#[tokio::test]
async fn a_review_outlasts_a_store_that_fails_for_a_while() {
    let (gateway, store) = start().await;
    store.writes(Fault::FailsTimes(3));
    gateway.chat_stream("chat").await;
    gateway.gateway.settle().await;
    let reviews = kept(&gateway).await;
    assert_eq!(reviews.len(), 1);
    assert_eq!(reviews[0].item.answer.as_deref(), Some(&b"ab"[..]));
    assert_eq!(lost(&gateway), None);
}

#[tokio::test]
async fn a_review_that_the_store_never_takes_is_counted_as_lost() {
    for (fault, attempts) in [(Fault::Fails, 10), (Fault::Hangs, 1)] {
        let (gateway, store) = start().await;
        let before = store.asked();
        store.writes(fault);
        gateway.chat_stream("chat").await;
        // The pauses are long; nothing else happens meanwhile.
        tokio::time::pause();
        gateway.gateway.settle().await;
        tokio::time::resume();
        let expected = "backstop_reviews_lost_total{route=\"chat\"} 1";
        assert_eq!(lost(&gateway).as_deref(), Some(expected), "{fault:?}");
        assert_eq!(store.asked() - before, attempts, "{fault:?}");
        assert!(kept(&gateway).await.is_empty());
    }
}

#[tokio::test]
async fn shutdown_waits_for_a_review_and_not_for_ever() {
    let (gateway, store) = start().await;
    store.writes(Fault::FailsTimes(3));
    gateway.chat_stream("chat").await;
    let kept_by = gateway.store.clone();
    gateway.stop().await;
    assert_eq!(
        kept_by.reviews_pending().await.unwrap(),
        [("chat".to_owned(), 1)]
    );

    let (gateway, store) = start().await;
    store.writes(Fault::Fails);
    gateway.chat_stream("chat").await;
    tokio::time::pause();
    let began = tokio::time::Instant::now();
    gateway.stop().await;
    assert!(began.elapsed() < Duration::from_secs(7));
}
