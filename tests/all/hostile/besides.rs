//! What a policy asks for besides its plan, and what it is told since 0.1.1.

use super::*;
use backstop::core::fault::FailureClass;
use backstop::core::input::{AnswerFacts, Candidate, RequestFacts};
use backstop::core::plan::{AfterCut, Hold};
use backstop::record::RunOutcome;

fn abstained(outcome: &RunOutcome) -> &str {
    match outcome {
        RunOutcome::Abstained { reason } => reason,
        other => panic!("no abstention: {other:?}"),
    }
}

#[tokio::test]
async fn what_is_asked_for_besides_comes_with_the_plan_and_replays() {
    let world = world();
    let policy = world.activate(options("ask-besides")).await;
    let decision = world.ask(&policy).await;
    let besides = &decision.value.options;
    let hold = Hold::Begin {
        tokens: 16,
        ms: 900,
    };
    assert_eq!(besides.hold, Some(hold));
    assert_eq!(besides.after_cut, Some(AfterCut::Error));
    assert_eq!(besides.retries_after(FailureClass::RateLimit), Some(3));
    assert_eq!(besides.retries_after(FailureClass::Overload), Some(1));

    let text = serde_json::to_string(&*decision.record).unwrap();
    let record = serde_json::from_str(&text).unwrap();
    let replayer = world.host.replayer(HOSTILE, options("ask-besides"));
    let replayer = replayer.await.unwrap();
    assert_eq!(replayer.replay(Arc::new(record)).await, None);

    // The next decision begins with nothing.
    let policy = world.activate(options("none")).await;
    assert!(world.ask(&policy).await.value.options.is_empty());
}

#[tokio::test]
async fn what_is_out_of_range_or_out_of_place_is_refused() {
    let world = world();
    let policy = world.activate(options("ask-too-much")).await;
    let record = world.ask(&policy).await.record;
    let said = abstained(&record.outcome);
    assert!(said.contains("`ms` is 0, must be 1 to 600000"), "{said}");
    assert!(said.contains("`retries` is 6, must be 0 to 5"), "{said}");
    assert_eq!(said.matches("Refused").count(), 1, "{said}");

    let policy = world.activate(options("ask-besides")).await;
    let answer = AnswerFacts {
        partial: true,
        first_token_ms: Some(40),
        tokens: Some(7),
        ..facts::answer(None)
    };
    let (request, default) = (Arc::new(facts::request()), facts::default_verdict());
    let decision = world
        .host
        .decide_threshold(&policy, request, Arc::new(answer), &default);
    let record = decision.await.record;
    assert_eq!(
        abstained(&record.outcome),
        "Err(DeliveryError::Refused) true (Some(40), Some(7))"
    );
}

#[tokio::test]
async fn how_models_are_is_told() {
    let world = world();
    let policy = world.activate(options("tell-load")).await;
    let busy = Candidate {
        model: "primary".into(),
        in_flight: 9,
        limit: Some(10),
        queued: 2,
        retry_in_ms: Some(1_500),
        context_tokens: Some(128_000),
        ..Candidate::default()
    };
    let request = RequestFacts {
        time_left_ms: Some(30_000),
        candidates: vec![busy],
        ..facts::request()
    };
    let default = facts::default_plan();
    let decision = world
        .host
        .decide_fallback(&policy, Arc::new(request), &default)
        .await;
    assert_eq!(
        abstained(&decision.record.outcome),
        "Some(30000) [(9, Some(10), 2, Some(1500), Some(128000))] 0"
    );
}
