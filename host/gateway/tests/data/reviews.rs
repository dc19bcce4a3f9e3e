//! Reviews: of answers that have been delivered, with a store that fails; and
//! what their callers read of them.

use crate::faulty::{Fault, Faulty};
use crate::kit::{Model, Running, Says, admin};
use backstop_gateway::store::{Review, ReviewFilter};
use backstop_gateway::telemetry::Snapshot;
use http::Request;
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;
use tower::ServiceExt;

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

/// Routes whose answers all go to people.
pub(crate) fn asked_of_people(model: std::net::SocketAddr) -> String {
    format!(
        r#"
        [providers.a]
        kind = "openai"
        base_url = "http://{model}/v1"
        [providers.j]
        kind = "json"
        base_url = "http://{model}"
        [models.m]
        provider = "a"
        [models.j]
        provider = "j"
        [routes.chat]
        kind = "chat"
        models = ["m"]
        review = true
        threshold = "confidence"
        [routes.score]
        kind = "json"
        models = ["j"]
        review = true
        threshold = "confidence"
        [policies.confidence]
        component = "builtin:confidence-threshold"
        grants = {{ metrics = ["*"] }}
        limits = {{ deadline_ms = 10000 }}
        [policies.confidence.settings]
        without_confidence = "review"
        "#
    )
}

/// Resolves the review `id` through the admin plane.
pub(crate) async fn resolve(gateway: &Running, id: &str, resolution: Value) {
    let request = Request::post(format!("http://127.0.0.1/admin/v1/reviews/{id}/resolve"))
        .header("content-type", "application/json")
        .body(axum::body::Body::from(resolution.to_string()))
        .unwrap();
    let answer = admin(gateway).await.oneshot(request).await.unwrap();
    assert_eq!(answer.status(), 200);
}

#[tokio::test]
async fn callers_read_what_became_of_their_review() {
    let model = Model::start(Says::Text("perhaps")).await;
    let gateway = Running::start(&asked_of_people(model.addr)).await;
    let sent = async || {
        let answer = gateway.chat("chat").await;
        assert_eq!(answer.status, 202, "{}", answer.text);
        let location = answer.header("location").unwrap().to_owned();
        let id = answer.header("x-backstop-review").unwrap().to_owned();
        assert_eq!(location, format!("/v1/reviews/{id}"));
        (location, id)
    };
    let (place, id) = sent().await;
    let waiting = gateway.get(&place).await;
    assert_eq!(waiting.status, 200);
    assert_eq!(waiting.header("retry-after"), Some("15"));
    let expected = json!({"id": id, "object": "review", "status": "pending"});
    assert_eq!(waiting.json(), expected);

    // What the model said was right.
    let agree = json!({"outcome": "agree", "by": "somebody", "note": "for colleagues"});
    resolve(&gateway, &id, agree).await;
    let resolved = gateway.get(&place).await;
    assert_eq!(resolved.header("retry-after"), None);
    let body = resolved.json();
    assert_eq!(body["status"], "resolved");
    assert_eq!(body["outcome"], "agree");
    assert_eq!(
        body["answer"]["choices"][0]["message"]["content"],
        "perhaps"
    );
    assert_eq!(body["answer"]["x_unknown"]["kept"], true);
    for inside in ["somebody", "colleagues"] {
        assert!(!resolved.text.contains(inside), "{}", resolved.text);
    }

    // A text of the reviewer's, in the shape of a chat.
    let (place, id) = sent().await;
    resolve(
        &gateway,
        &id,
        json!({"outcome": "corrected", "answer": "surely"}),
    )
    .await;
    let body = gateway.get(&place).await.json();
    assert_eq!(body["answer"]["object"], "chat.completion");
    assert_eq!(body["answer"]["choices"][0]["message"]["content"], "surely");

    let (place, id) = sent().await;
    resolve(&gateway, &id, json!({"outcome": "reject"})).await;
    let body = gateway.get(&place).await.json();
    assert_eq!(body["outcome"], "reject");
    assert!(body.get("answer").is_none(), "{body}");

    model.say(Says::Json(json!({"label": "fraud"})));
    let answer = gateway.post("/v1/predict/score", json!({})).await;
    let id = answer.header("x-backstop-review").unwrap();
    resolve(
        &gateway,
        id,
        json!({"outcome": "corrected", "label": "fine"}),
    )
    .await;
    let body = gateway.get(answer.header("location").unwrap()).await.json();
    assert_eq!(body["label"], "fine");
    assert_eq!(body["answer"], json!({"label": "fine"}));

    for none in ["rev-0", "", "../chat", &"x".repeat(5_000)] {
        let answer = gateway.get(&format!("/v1/reviews/{none}")).await;
        assert_eq!(answer.status, 404, "{none}");
    }
}

#[tokio::test]
async fn a_review_and_its_answer_outlast_a_restart() {
    let model = Model::start(Says::Text("perhaps")).await;
    let text = asked_of_people(model.addr);
    let gateway = Running::start(&text).await;
    let answer = gateway.chat("chat").await;
    let place = answer.header("location").unwrap().to_owned();
    let id = answer.header("x-backstop-review").unwrap().to_owned();
    let (dir, _) = gateway.stop().await;
    let gateway = Running::start_in(&text, dir).await;
    assert_eq!(gateway.get(&place).await.json()["status"], "pending");
    resolve(&gateway, &id, json!({"outcome": "agree"})).await;
    let (dir, _) = gateway.stop().await;
    let gateway = Running::start_in(&text, dir).await;
    let body = gateway.get(&place).await.json();
    assert_eq!(
        body["answer"]["choices"][0]["message"]["content"],
        "perhaps"
    );
}
