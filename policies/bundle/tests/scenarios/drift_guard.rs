//! Figures that go bad, and what answers and people see of it.

use crate::kit::{self, Story, activate, answer, grants, options, request};
use backstop::core::evidence::SubjectRef;
use backstop::core::input::AnswerFacts;
use backstop::core::metric::Severity;
use backstop::core::verdict::{Outcome, Verdict};
use backstop::record::{HostCall, RunOutcome};
use backstop::{DecidedBy, DecisionRecord, Grants, Host, PolicyHandle, PolicyOptions};
use serde_json::json;
use std::sync::Arc;

const PRIMARY: SubjectRef<'_> = SubjectRef::Model("primary");

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
async fn answers_escalate_while_labels_disagree_and_an_incident_is_opened() {
    let story = Story::new();
    let host = story.host();
    let settings = json!({"watch": [
        {"metric": "accuracy", "kind": "below", "limit": 0.9, "window_s": 600, "incident": "error"},
    ]});
    let policy = activate(&host, "drift-guard", settings).await;

    let (verdict, _) = judge(&host, &policy, answer(None)).await;
    assert_eq!(verdict.outcome, Outcome::Accept);
    assert_eq!(
        verdict.reason,
        "no watch concerns this answer: 1 without evidence"
    );

    story.rate("accuracy", PRIMARY, 88, 100);
    let (verdict, record) = judge(&host, &policy, answer(None)).await;
    assert_eq!(verdict.outcome, Outcome::Accept, "chance explains that");
    assert!(matches!(&record.calls[..], [HostCall::Measure { .. }]));
    assert!(story.incidents.lock().is_empty());

    story.rate("accuracy", PRIMARY, 60, 100);
    let (verdict, _) = judge(&host, &policy, answer(None)).await;
    assert_eq!(verdict.outcome, Outcome::Escalate);
    assert_eq!(
        verdict.reason,
        "`accuracy` is 0.740 with an error of 0.031, below 0.900"
    );
    let mut passed = answer(None);
    passed.delivered = true;
    let (verdict, _) = judge(&host, &policy, passed).await;
    assert_eq!(verdict.outcome, Outcome::Review, "a stream that passed");

    let keys: Vec<_> = story
        .incidents
        .lock()
        .iter()
        .map(|incident| (incident.key.clone(), incident.severity))
        .collect();
    let same = (
        "below 0.900 model `primary` accuracy".to_owned(),
        Severity::Error,
    );
    assert_eq!(keys, [same.clone(), same], "one problem, said twice");

    story.sleep_s(1_200);
    let (verdict, _) = judge(&host, &policy, answer(None)).await;
    assert_eq!(
        verdict.reason,
        "no watch concerns this answer: 1 without evidence"
    );
}

#[tokio::test]
async fn a_share_of_drifted_answers_goes_to_people_and_replays() {
    const ANSWERS: usize = 1_000;
    let story = Story::new();
    let host = story.host();
    let settings = json!({"watch": [{
        "metric": "confidence", "kind": "drift", "window_s": 600, "reference_s": 3_600,
        "response": "review", "share": 0.25,
    }]});
    let policy = activate(&host, "drift-guard", settings.clone()).await;
    story.values("confidence", PRIMARY, 0.8, 0.1, 2_000);
    story.sleep_s(1_200);
    story.values("confidence", PRIMARY, 0.6, 0.1, 1_000);

    let mut reviewed = 0;
    for _ in 0..ANSWERS {
        let (verdict, record) = judge(&host, &policy, answer(Some(0.6))).await;
        match verdict.outcome {
            Outcome::Review => {
                reviewed += 1;
                assert!(matches!(&record.calls[..], [HostCall::Drift { .. }]));
            }
            other => {
                assert_eq!(other, Outcome::Accept);
                assert!(record.calls.is_empty(), "{:?}", record.calls);
            }
        }
    }
    // Six standard deviations: one run in five hundred million fails.
    assert!((168..=332).contains(&reviewed), "{reviewed} of {ANSWERS}");

    let component = backstop_policies::component("drift-guard").unwrap();
    let replayer = host
        .replayer(component, options("drift-guard", settings))
        .await
        .unwrap();
    let records = host.records().drain();
    assert_eq!(records.len(), ANSWERS);
    for record in records {
        let difference = replayer.replay(record).await;
        assert!(difference.is_none(), "{difference:?}");
    }
}

#[tokio::test]
async fn the_grant_for_incidents_is_needed_to_load_as_the_readme_says() {
    let host = Story::new().host();
    let component = backstop_policies::component("drift-guard").unwrap();
    let without = PolicyOptions {
        grants: Grants {
            incident: false,
            ..grants("drift-guard")
        },
        ..options("drift-guard", kit::settings("drift-guard"))
    };
    let error = host
        .activate("drift-guard", component, without)
        .await
        .unwrap_err();
    let text = format!("{error}: {:?}", error.kind);
    assert!(text.contains("incident"), "{text}");
}
