//! Confidence that drops, and quality that drops while confidence does not.

use crate::kit::{self, Story, activate, answer, request};
use backstop::core::evidence::SubjectRef;
use backstop::core::input::AnswerFacts;
use backstop::core::verdict::{Outcome, Verdict};
use backstop::record::{HostCall, RunOutcome};
use backstop::{DecidedBy, DecisionRecord, Host, PolicyHandle};
use serde_json::json;
use std::sync::Arc;

async fn judge(
    host: &Host,
    policy: &PolicyHandle,
    answer: AnswerFacts,
) -> (Verdict, Arc<DecisionRecord>) {
    let decision = host
        .decide_threshold(
            policy,
            Arc::new(request()),
            Arc::new(answer),
            &kit::default_verdict(),
        )
        .await;
    assert_eq!(decision.record.outcome, RunOutcome::Answered);
    assert_eq!(decision.record.decided_by, DecidedBy::Policy);
    (decision.value, decision.record)
}

#[tokio::test]
async fn answers_escalate_and_go_to_review_as_confidence_drops() {
    let story = Story::new();
    let host = story.host();
    let settings = json!({"accept_at": 0.8, "review_below": 0.4});
    let policy = activate(&host, "confidence-threshold", settings).await;

    let (verdict, record) = judge(&host, &policy, answer(Some(0.95))).await;
    assert_eq!(verdict.outcome, Outcome::Accept);
    assert_eq!((verdict.confidence, verdict.line), (Some(0.95), Some(0.8)));
    assert!(
        record.calls.is_empty(),
        "far from the line nothing is asked"
    );

    let (verdict, _) = judge(&host, &policy, answer(Some(0.6))).await;
    assert_eq!(verdict.outcome, Outcome::Escalate);
    let mut last = answer(Some(0.6));
    last.steps_left = 0;
    let (verdict, _) = judge(&host, &policy, last).await;
    assert_eq!(verdict.outcome, Outcome::Review);
    let (verdict, _) = judge(&host, &policy, answer(Some(0.2))).await;
    assert_eq!(verdict.outcome, Outcome::Review);

    let (verdict, _) = judge(&host, &policy, answer(None)).await;
    assert_eq!(
        verdict.outcome,
        Outcome::Escalate,
        "no evidence is no good sign"
    );
    let mut passed = answer(Some(0.6));
    passed.delivered = true;
    let (verdict, _) = judge(&host, &policy, passed).await;
    assert_eq!(verdict.outcome, Outcome::Review, "a stream that passed");
}

#[tokio::test]
async fn the_line_rises_while_labels_disagree_and_falls_again() {
    let story = Story::new();
    let host = story.host();
    let settings = json!({"accept_at": 0.8, "accuracy_min": 0.9, "window_s": 600});
    let policy = activate(&host, "confidence-threshold", settings).await;
    let primary = SubjectRef::Model("primary");

    story.rate("accuracy", primary, 95, 100);
    let (verdict, record) = judge(&host, &policy, answer(Some(0.85))).await;
    assert_eq!(verdict.outcome, Outcome::Accept);
    assert!(matches!(&record.calls[..], [HostCall::Rate { .. }]));

    story.rate("accuracy", primary, 60, 100);
    let (verdict, _) = judge(&host, &policy, answer(Some(0.85))).await;
    assert_eq!(verdict.outcome, Outcome::Escalate);
    assert_eq!(verdict.line, Some(0.9));
    assert_eq!(
        verdict.reason,
        "confidence 0.850 is in the band below 0.900; stricter because 155 of 200 labelled \
         answers were right, below 0.900"
    );

    story.sleep_s(1_200);
    story.rate("accuracy", primary, 10, 10);
    let (verdict, _) = judge(&host, &policy, answer(Some(0.85))).await;
    assert_eq!(verdict.outcome, Outcome::Accept, "ten labels prove nothing");
}
