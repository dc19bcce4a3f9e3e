//! A candidate that is good, one that is bad, one that nobody knows. The
//! comparisons are the real ones.

use crate::kit::{self, Story, activate, rollout};
use backstop::core::evidence::SubjectRef;
use backstop::core::input::RolloutFacts;
use backstop::core::rollout::{Assessment, Directive};
use backstop::record::{HostCall, RunOutcome};
use backstop::{DecidedBy, DecisionRecord, Host, PolicyHandle, Severity};
use serde_json::json;
use std::sync::Arc;

const STABLE: SubjectRef<'_> = SubjectRef::Release {
    model: "primary",
    release: "r1",
};
const CANDIDATE: SubjectRef<'_> = SubjectRef::Release {
    model: "primary",
    release: "r2",
};

/// How a release does.
struct Release {
    errors: u32,
    latency_ms: f64,
    confidence: f64,
}

const GOOD: Release = Release {
    errors: 20,
    latency_ms: 400.0,
    confidence: 0.9,
};

impl Story {
    fn serve(&self, subject: SubjectRef<'_>, release: &Release, calls: u32) {
        self.rate("error-rate", subject, release.errors * calls / 1_000, calls);
        self.values("latency-ms", subject, release.latency_ms, 100.0, calls);
        self.values("confidence", subject, release.confidence, 0.05, calls);
    }
}

async fn assess(
    host: &Host,
    policy: &PolicyHandle,
    rollout: RolloutFacts,
) -> (Assessment, Arc<DecisionRecord>) {
    let decision = host
        .decide_rollback(policy, Arc::new(rollout), &kit::default_assessment())
        .await;
    assert_eq!(decision.record.outcome, RunOutcome::Answered);
    assert_eq!(decision.record.decided_by, DecidedBy::Policy);
    (decision.value, decision.record)
}

#[tokio::test]
async fn a_good_candidate_advances_once_there_is_evidence() {
    let story = Story::new();
    let host = story.host();
    let settings = json!({"error_rate_margin": 0.02});
    let policy = activate(&host, "canary-rollback", settings).await;

    let (assessment, _) = assess(&host, &policy, rollout()).await;
    assert_eq!(
        assessment.directive,
        Directive::Hold,
        "nobody has called it yet"
    );

    story.serve(STABLE, &GOOD, 4_000);
    story.serve(CANDIDATE, &GOOD, 199);
    let (assessment, _) = assess(&host, &policy, rollout()).await;
    assert_eq!(assessment.directive, Directive::Hold);
    assert_eq!(
        assessment.reason,
        "error-rate: 199 against 4000 samples, at least 200 needed"
    );

    story.serve(CANDIDATE, &GOOD, 3_801);
    let (assessment, record) = assess(&host, &policy, rollout()).await;
    assert_eq!(
        assessment.directive,
        Directive::Advance,
        "{}",
        assessment.reason
    );
    assert_eq!(record.calls.len(), 3);
    assert!(
        record.calls.iter().all(|call| matches!(
            call,
            HostCall::Compare {
                window_s: 1_800,
                ..
            }
        )),
        "compared since the rollout began: {:?}",
        record.calls
    );
    assert!(story.incidents.lock().is_empty());
}

#[tokio::test]
async fn a_bad_candidate_is_taken_back_and_somebody_is_called() {
    let bad = [
        (
            "error-rate",
            Release {
                errors: 120,
                ..GOOD
            },
        ),
        (
            "latency-ms",
            Release {
                latency_ms: 900.0,
                ..GOOD
            },
        ),
        (
            "confidence",
            Release {
                confidence: 0.7,
                ..GOOD
            },
        ),
    ];
    for (metric, release) in bad {
        let story = Story::new();
        let host = story.host();
        let policy = activate(&host, "canary-rollback", json!({})).await;
        story.serve(STABLE, &GOOD, 4_000);
        story.serve(CANDIDATE, &release, 1_000);
        let (assessment, record) = assess(&host, &policy, rollout()).await;
        assert_eq!(assessment.directive, Directive::RollBack(None), "{metric}");
        assert!(
            assessment.reason.starts_with(metric),
            "{}",
            assessment.reason
        );
        assert!(matches!(
            record.calls.last(),
            Some(HostCall::Incident { .. })
        ));
        let incidents = story.incidents.lock();
        assert_eq!(incidents.len(), 1);
        assert_eq!(incidents[0].severity, Severity::Error);
        assert_eq!(incidents[0].policy, "canary-rollback");
        assert!(incidents[0].detail.contains("1000 against 4000 samples"));
    }
}

#[tokio::test]
async fn a_hard_limit_takes_back_a_candidate_that_is_as_bad_as_the_stable_release() {
    let story = Story::new();
    let host = story.host();
    let policy = activate(&host, "canary-rollback", json!({"error_rate_max": 0.3})).await;
    let broken = Release {
        errors: 500,
        ..GOOD
    };
    story.serve(STABLE, &broken, 1_000);
    story.serve(CANDIDATE, &broken, 40);
    let (assessment, record) = assess(&host, &policy, rollout()).await;
    assert_eq!(assessment.directive, Directive::RollBack(None));
    assert!(matches!(
        &record.calls[..],
        [HostCall::Rate { .. }, HostCall::Incident { .. }]
    ));
}

#[tokio::test]
async fn a_candidate_that_nobody_knows_is_paused_and_never_advances() {
    let story = Story::new();
    let host = story.host();
    let settings = json!({"duration_max_s": 3_600});
    let policy = activate(&host, "canary-rollback", settings).await;
    story.serve(STABLE, &GOOD, 4_000);
    let (assessment, _) = assess(&host, &policy, rollout()).await;
    assert_eq!(assessment.directive, Directive::Hold);
    let mut late = rollout();
    late.age_ms = 7_200_000;
    late.step_age_ms = 3_600_000;
    let (assessment, _) = assess(&host, &policy, late).await;
    assert_eq!(assessment.directive, Directive::Pause);
    assert!(story.incidents.lock().is_empty());
}
