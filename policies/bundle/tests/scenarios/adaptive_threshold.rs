//! A line that rises with drift and labels, and never falls below the
//! calibrated one.

use crate::kit::{self, Story, activate, answer, options, request};
use backstop::core::evidence::SubjectRef;
use backstop::core::metric::{
    DriftReading, DriftVerdict, Line, LineReading, Measurement, MetricsError, ObjectiveState,
    ObjectiveStatus,
};
use backstop::core::verdict::{Outcome, Verdict};
use backstop::record::{HostCall, RunOutcome};
use backstop::{DecidedBy, DecisionRecord, Host, MetricQuery, MetricsSource, PolicyHandle};
use parking_lot::Mutex;
use serde_json::json;
use std::sync::Arc;

const PRIMARY: SubjectRef<'_> = SubjectRef::Model("primary");

async fn judge(
    host: &Host,
    policy: &PolicyHandle,
    confidence: f64,
) -> (Verdict, Arc<DecisionRecord>) {
    let decision = host
        .decide_threshold(
            policy,
            Arc::new(request()),
            Arc::new(answer(Some(confidence))),
            &kit::default_verdict(),
        )
        .await;
    assert_eq!(decision.record.outcome, RunOutcome::Answered);
    assert_eq!(decision.record.decided_by, DecidedBy::Policy);
    (decision.value, decision.record)
}

#[tokio::test]
async fn the_line_rises_while_confidence_drifts_and_falls_again() {
    let story = Story::new();
    let host = story.host();
    let settings = json!({
        "accept_at": 0.8, "ceiling": 0.95, "window_s": 600, "reference_s": 3_600,
    });
    let policy = activate(&host, "adaptive-threshold", settings).await;

    for confidence in [0.79, 0.95] {
        let (_, record) = judge(&host, &policy, confidence).await;
        assert!(
            record.calls.is_empty(),
            "outside of the range nothing is asked: {:?}",
            record.calls
        );
    }
    let (verdict, record) = judge(&host, &policy, 0.82).await;
    assert_eq!(verdict.outcome, Outcome::Accept, "nothing is known");
    assert!(
        matches!(
            &record.calls[..],
            [HostCall::Measure { .. }, HostCall::Drift { .. }]
        ),
        "{:?}",
        record.calls
    );

    story.values("confidence", PRIMARY, 0.8, 0.1, 2_000);
    story.sleep_s(1_200);
    story.values("confidence", PRIMARY, 0.8, 0.1, 1_000);
    let (verdict, _) = judge(&host, &policy, 0.82).await;
    assert_eq!(verdict.outcome, Outcome::Accept);
    assert_eq!(verdict.line, Some(0.8), "as before");

    story.sleep_s(1_200);
    story.values("confidence", PRIMARY, 0.6, 0.1, 1_000);
    let (verdict, _) = judge(&host, &policy, 0.82).await;
    assert_eq!(verdict.outcome, Outcome::Escalate, "{}", verdict.reason);
    assert_eq!(verdict.line, Some(0.85));
    assert!(
        verdict
            .reason
            .contains("0.800 as calibrated, 0.050 more because confidence drifted: index "),
        "{}",
        verdict.reason
    );

    story.sleep_s(86_400);
    let (verdict, _) = judge(&host, &policy, 0.82).await;
    assert_eq!(verdict.outcome, Outcome::Accept);
    assert_eq!(
        verdict.line,
        Some(0.8),
        "what was seen is out of the window, and what is left is the promise"
    );
}

/// A host's answers, as a test says them. Nothing, by default.
#[derive(Default)]
struct Told {
    line: Mutex<Option<LineReading>>,
    drifted: Mutex<bool>,
    firing: Mutex<bool>,
    estimate: Mutex<Option<Measurement>>,
}

impl MetricsSource for Told {
    fn measure(&self, query: MetricQuery<'_>) -> Result<Measurement, MetricsError> {
        let labels = Measurement {
            samples: 600,
            value: 0.9,
            standard_error: 0.01,
            age_ms: 0,
        };
        let estimate = *self.estimate.lock();
        match query.metric {
            "labelled" => Ok(labels),
            "estimated-accuracy" => estimate.ok_or_else(|| query.unknown()),
            _ => Err(query.unknown()),
        }
    }

    fn drift_from(&self, _: MetricQuery<'_>, baseline: &str) -> Result<DriftReading, MetricsError> {
        if baseline != "spring" || !*self.drifted.lock() {
            return Err(MetricsError::Unknown(baseline.to_owned()));
        }
        Ok(DriftReading {
            verdict: DriftVerdict::Drifted,
            psi: 0.4,
            critical: 0.1,
            current_samples: 500,
            reference_samples: 3_000,
        })
    }

    fn find_line(
        &self,
        query: MetricQuery<'_>,
        error_max: f64,
        delta: f64,
    ) -> Result<LineReading, MetricsError> {
        assert_eq!((error_max, delta), (0.03, 0.2), "as the settings say");
        assert_eq!(query.window_s, 600);
        (*self.line.lock()).ok_or_else(|| query.unknown())
    }

    fn objective(&self, name: &str, _: u64) -> Result<ObjectiveStatus, MetricsError> {
        assert_eq!(name, "quality");
        let firing = *self.firing.lock();
        Ok(ObjectiveStatus {
            state: if firing {
                ObjectiveState::Firing
            } else {
                ObjectiveState::NoEvidence
            },
            severity: None,
            burn_rate: 14.4,
            samples: 1_000,
        })
    }
}

#[tokio::test]
async fn all_evidence_raises_the_line_through_the_host_and_replays() {
    let told = Arc::new(Told::default());
    let host = Story::new().host_over(told.clone());
    let settings = json!({
        "accept_at": 0.7, "error_max": 0.03, "delta": 0.2, "window_s": 600,
        "baseline": "spring", "objective": "quality", "estimate": true, "tighten_by": 0.02,
    });
    let policy = activate(&host, "adaptive-threshold", settings.clone()).await;
    let mut lines = Vec::new();
    let mut ask = async || lines.push(judge(&host, &policy, 0.75).await.0.line.unwrap());

    ask().await;
    *told.line.lock() = Some(LineReading::Line(Line {
        confidence: 0.8,
        coverage: 0.6,
        accepted: 360,
        wrong: 4,
        bound: 0.0291,
    }));
    ask().await;
    *told.drifted.lock() = true;
    ask().await;
    *told.firing.lock() = true;
    ask().await;
    *told.estimate.lock() = Some(Measurement {
        samples: 5_000,
        value: 0.94,
        standard_error: 0.01,
        age_ms: 0,
    });
    ask().await;
    *told.line.lock() = Some(LineReading::Infeasible);
    ask().await;
    *told.line.lock() = Some(LineReading::NotEnoughData(600));
    ask().await;
    assert_eq!(lines, [0.7, 0.8, 0.82, 0.84, 0.86, 0.99, 0.76]);

    let component = backstop_policies::component("adaptive-threshold").unwrap();
    let replayer = host
        .replayer(component, options("adaptive-threshold", settings))
        .await
        .unwrap();
    for record in host.records().drain() {
        let difference = replayer.replay(record).await;
        assert!(difference.is_none(), "{difference:?}");
    }
}
