//! A primary that is healthy, fails, is cut off by its breaker and recovers.

use crate::kit::{self, Story, activate, outline, request};
use backstop::core::evidence::SubjectRef;
use backstop::core::input::{BreakerState, RequestFacts};
use backstop::core::plan::Plan;
use backstop::record::{HostCall, Input, Output, RunOutcome};
use backstop::{DecidedBy, DecisionRecord, Host, PolicyHandle};
use serde_json::json;
use std::sync::Arc;

const PRIMARY: SubjectRef<'_> = SubjectRef::Model("primary");
const BACKUP: SubjectRef<'_> = SubjectRef::Model("backup");

async fn decide(
    host: &Host,
    policy: &PolicyHandle,
    request: RequestFacts,
) -> (Arc<Plan>, Arc<DecisionRecord>) {
    let decision = host
        .decide_fallback(policy, Arc::new(request), &kit::default_plan())
        .await;
    assert_eq!(decision.record.outcome, RunOutcome::Answered);
    assert_eq!(decision.record.decided_by, DecidedBy::Policy);
    (decision.value, decision.record)
}

#[tokio::test]
async fn a_failing_primary_is_moved_back_cut_off_and_comes_back() {
    let story = Story::new();
    let host = story.host();
    let policy = activate(&host, "layered-fallback", json!({"knock_percent": 0})).await;

    // All is well.
    story.rate("error-rate", PRIMARY, 2, 200);
    story.rate("error-rate", BACKUP, 1, 100);
    let (plan, record) = decide(&host, &policy, request()).await;
    assert_eq!(outline(&plan), "primary, backup, rules(sorry)");
    assert_eq!(plan.steps[0].reason, "2 of 200 calls failed in 60 s");
    assert_eq!(record.returned.as_deref(), Some(&Output::Plan(plan)));
    assert_eq!(record.input, Input::Fallback(Arc::new(request())));
    assert!(
        matches!(
            &record.calls[..],
            [HostCall::Rate { .. }, HostCall::Rate { .. }]
        ),
        "a decision costs two queries: {:?}",
        record.calls
    );

    // The primary fails more and more.
    story.rate("error-rate", PRIMARY, 118, 200);
    let (plan, _) = decide(&host, &policy, request()).await;
    assert_eq!(outline(&plan), "backup, primary, rules(sorry)");
    assert_eq!(
        plan.steps[1].reason,
        "120 of 400 calls failed in 60 s: 30.0 %, above 25.0 %"
    );

    // Its breaker opens: it is not called at all.
    let mut broken = request();
    broken.candidates[0].breaker = BreakerState::Open;
    let (plan, record) = decide(&host, &policy, broken.clone()).await;
    assert_eq!(outline(&plan), "backup, rules(sorry)");
    assert_eq!(
        record.calls.len(),
        1,
        "nothing is asked about a model that is cut off"
    );

    // The backup breaks too: still tried before rules.
    story.rate("error-rate", BACKUP, 99, 100);
    let (plan, _) = decide(&host, &policy, broken.clone()).await;
    assert_eq!(outline(&plan), "backup, rules(sorry)");
    broken.candidates[1].healthy = false;
    let (plan, _) = decide(&host, &policy, broken.clone()).await;
    assert_eq!(
        outline(&plan),
        "backup, rules(sorry)",
        "a probe may be wrong"
    );

    // Trial calls pass again, first in line.
    broken.candidates[0].breaker = BreakerState::HalfOpen;
    let (plan, _) = decide(&host, &policy, broken).await;
    assert_eq!(outline(&plan), "primary, rules(sorry)");

    // They succeed; the bad minute is over.
    story.sleep_s(120);
    story.rate("error-rate", PRIMARY, 0, 50);
    let (plan, _) = decide(&host, &policy, request()).await;
    assert_eq!(outline(&plan), "primary, backup, rules(sorry)");
    assert_eq!(plan.steps[0].reason, "0 of 50 calls failed in 60 s");
    assert_eq!(plan.steps[1].reason, "no evidence: no calls in 60 s");
    assert_eq!(host.records().len(), 7);
}

#[tokio::test]
async fn new_settings_are_a_new_revision_and_going_back_is_instant() {
    let story = Story::new();
    story.rate("error-rate", PRIMARY, 10, 100);
    let host = story.host();
    let policy = activate(&host, "layered-fallback", json!({})).await;
    let (plan, _) = decide(&host, &policy, request()).await;
    assert_eq!(outline(&plan), "primary, backup, rules(sorry)");
    let policy = activate(&host, "layered-fallback", json!({"error_rate_max": 0.05})).await;
    let (plan, record) = decide(&host, &policy, request()).await;
    assert_eq!(outline(&plan), "backup, primary, rules(sorry)");
    assert_eq!(record.revision.number, 2);
    host.roll_back("layered-fallback", None).unwrap();
    let (plan, _) = decide(&host, &policy, request()).await;
    assert_eq!(outline(&plan), "primary, backup, rules(sorry)");
}
