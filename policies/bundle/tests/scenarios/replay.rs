//! Ten thousand decisions of the shipped policies, from varied inputs and
//! metrics, are written down, read back and replayed without a difference; a
//! record of which one byte of the input was changed is found.

use crate::kit::{self, Story, activate, answer, options, request, rollout};
use backstop::core::input::{
    AnswerFacts, BreakerState, Candidate, FinishReason, RequestFacts, RolloutFacts,
};
use backstop::core::metric::{
    Comparison, ComparisonOptions, ComparisonVerdict, DriftReading, DriftVerdict, Estimate, Line,
    LineReading, Measurement, MetricsError, Moments, ObjectiveState, ObjectiveStatus, Proportion,
    Subject,
};
use backstop::record::RunOutcome;
use backstop::{DecisionRecord, Isolation, MetricQuery, MetricsSource, PolicyOptions, Replayer};
use fastrand::Rng;
use parking_lot::Mutex;
use serde_json::{Value, json};
use std::collections::HashSet;
use std::sync::Arc;

/// Of each of the three policies: ten thousand and some in all. A host keeps
/// as many records as that, so none is lost before it is read.
const DECISIONS: u64 = 3_400;

/// Metrics that answer differently each time, and sometimes not at all.
struct Weather(Mutex<Rng>);

impl Weather {
    fn new(seed: u64) -> Arc<Self> {
        Arc::new(Self(Mutex::new(Rng::with_seed(seed))))
    }

    fn draw<T>(&self, f: impl FnOnce(&mut Rng) -> T) -> Result<T, MetricsError> {
        let mut rng = self.0.lock();
        match rng.u32(0..20) {
            0 => Err(MetricsError::Unavailable("starting".to_owned())),
            1 => Err(MetricsError::Deadline),
            _ => Ok(f(&mut rng)),
        }
    }
}

impl MetricsSource for Weather {
    fn rate(&self, _: MetricQuery<'_>) -> Result<Proportion, MetricsError> {
        self.draw(|rng| {
            let trials = rng.u64(0..400);
            Proportion {
                events: rng.u64(0..=trials),
                trials,
            }
        })
    }

    fn mean(&self, _: MetricQuery<'_>) -> Result<Moments, MetricsError> {
        self.draw(|rng| Moments {
            samples: rng.u64(0..100),
            mean: rng.f64(),
            stddev: rng.f64(),
        })
    }

    fn quantile(&self, _: MetricQuery<'_>, _: f64) -> Result<Estimate, MetricsError> {
        self.draw(|rng| Estimate {
            samples: rng.u64(0..100),
            value: rng.f64() * 4_000.0,
        })
    }

    fn compare(
        &self,
        _: MetricQuery<'_>,
        _: &Subject,
        _: ComparisonOptions,
    ) -> Result<Comparison, MetricsError> {
        self.draw(|rng| Comparison {
            verdict: [
                ComparisonVerdict::Better,
                ComparisonVerdict::Equivalent,
                ComparisonVerdict::Equivalent,
                ComparisonVerdict::Equivalent,
                ComparisonVerdict::Worse,
                ComparisonVerdict::NotEnoughData,
            ][rng.usize(0..6)],
            effect: rng.f64() - 0.5,
            low: -rng.f64(),
            high: rng.f64(),
            candidate_samples: rng.u64(150..4_000),
            baseline_samples: rng.u64(150..4_000),
        })
    }

    fn drift(&self, _: MetricQuery<'_>, _: u32) -> Result<DriftReading, MetricsError> {
        self.draw(|rng| DriftReading {
            verdict: [
                DriftVerdict::Stable,
                DriftVerdict::Drifted,
                DriftVerdict::NotEnoughData,
            ][rng.usize(0..3)],
            psi: rng.f64(),
            critical: rng.f64(),
            current_samples: rng.u64(0..1_000),
            reference_samples: rng.u64(0..1_000),
        })
    }

    fn measure(&self, _: MetricQuery<'_>) -> Result<Measurement, MetricsError> {
        self.draw(|rng| Measurement {
            samples: rng.u64(0..600),
            value: rng.f64(),
            standard_error: rng.f64() / 10.0,
            age_ms: rng.u64(0..7_200_000),
        })
    }

    fn drift_from(&self, query: MetricQuery<'_>, _: &str) -> Result<DriftReading, MetricsError> {
        self.drift(query, 600)
    }

    fn compare_with(
        &self,
        query: MetricQuery<'_>,
        _: &str,
        options: ComparisonOptions,
    ) -> Result<Comparison, MetricsError> {
        self.compare(query, &Subject::Route, options)
    }

    fn find_line(&self, _: MetricQuery<'_>, _: f64, _: f64) -> Result<LineReading, MetricsError> {
        self.draw(|rng| match rng.u8(0..4) {
            0 => LineReading::Infeasible,
            1 => LineReading::NotEnoughData(rng.u64(0..100)),
            _ => LineReading::Line(Line {
                confidence: rng.f64(),
                coverage: rng.f64(),
                accepted: rng.u64(100..1_000),
                wrong: rng.u64(0..100),
                bound: rng.f64(),
            }),
        })
    }

    fn objective(&self, _: &str, _: u64) -> Result<ObjectiveStatus, MetricsError> {
        self.draw(|rng| ObjectiveStatus {
            state: [
                ObjectiveState::Met,
                ObjectiveState::Pending,
                ObjectiveState::Firing,
                ObjectiveState::NoEvidence,
            ][rng.usize(0..4)],
            severity: None,
            burn_rate: rng.f64() * 20.0,
            samples: rng.u64(0..1_000),
        })
    }
}

fn any_request(rng: &mut Rng) -> RequestFacts {
    let breakers = [
        BreakerState::Closed,
        BreakerState::Closed,
        BreakerState::Closed,
        BreakerState::Open,
        BreakerState::HalfOpen,
        BreakerState::ForcedOpen,
        BreakerState::Disabled,
        BreakerState::MetricsOnly,
    ];
    let mut facts = request();
    facts.candidates = (0..rng.usize(1..6))
        .map(|n| Candidate {
            model: format!("model-{n}").into(),
            breaker: breakers[rng.usize(0..breakers.len())],
            healthy: rng.u8(0..5) > 0,
            ..Candidate::default()
        })
        .collect();
    if rng.bool() {
        facts.rules = Arc::new([]);
    }
    facts.has_review = rng.bool();
    facts
}

fn any_answer(rng: &mut Rng) -> AnswerFacts {
    let mut facts = answer((rng.u8(0..8) > 0).then(|| rng.f64()));
    facts.steps_left = rng.u32(0..3);
    facts.label = [None, Some("spam"), Some("fine")][rng.usize(0..3)].map(str::to_owned);
    facts.finish_reason = [
        None,
        Some(FinishReason::Stop),
        Some(FinishReason::Length),
        Some(FinishReason::ContentFilter),
    ][rng.usize(0..4)];
    facts.delivered = rng.u8(0..5) == 0;
    facts
}

fn any_rollout(rng: &mut Rng) -> RolloutFacts {
    let mut facts = rollout();
    facts.age_ms = rng.u64(0..10_000_000);
    facts.step_age_ms = rng.u64(0..=facts.age_ms);
    facts
}

/// Replays all records from their written form, and checks that they are not
/// all the same decision.
async fn replays(
    replayer: &Replayer,
    records: &[Arc<DecisionRecord>],
    point: &str,
    kinds_min: usize,
) {
    assert_eq!(records.len() as u64, DECISIONS);
    let mut kinds = HashSet::new();
    for record in records {
        let text = serde_json::to_string(&**record).unwrap();
        let read: DecisionRecord = serde_json::from_str(&text).unwrap();
        assert_eq!(read, **record, "a record survives being written down");
        let difference = replayer.replay(Arc::new(read)).await;
        assert!(
            difference.is_none(),
            "{point}: {}\n{text}",
            difference.unwrap()
        );
        let value: Value = serde_json::from_str(&text).unwrap();
        kinds.insert(kind(&value["applied"]));
    }
    assert!(kinds.len() >= kinds_min, "{point}: only {kinds:?}");
}

/// What was decided, without the reasons.
fn kind(applied: &Value) -> String {
    match applied {
        Value::Object(fields) => fields
            .iter()
            .filter(|(key, _)| !["reason", "note", "confidence", "line"].contains(&&***key))
            .map(|(key, value)| format!("{key}:{}", kind(value)))
            .collect(),
        Value::Array(items) => items.iter().map(kind).collect(),
        other => other.to_string(),
    }
}

/// Changes the one byte of the record's input where `from` is found, and
/// expects the replay to find it.
async fn finds(replayer: &Replayer, record: &DecisionRecord, from: &str, to: &str) {
    assert_eq!(from.len(), to.len());
    let changed = from.bytes().zip(to.bytes()).filter(|(a, b)| a != b).count();
    assert_eq!(changed, 1, "one byte");
    let mut value = serde_json::to_value(record).unwrap();
    let input = value["input"].to_string();
    assert!(input.contains(from), "{from} is in {input}");
    value["input"] = serde_json::from_str(&input.replacen(from, to, 1)).unwrap();
    let tampered: DecisionRecord = serde_json::from_value(value).unwrap();
    assert!(replayer.replay(Arc::new(record.clone())).await.is_none());
    let difference = replayer.replay(Arc::new(tampered)).await;
    assert!(
        difference.is_some(),
        "`{from}` became `{to}` and nobody noticed"
    );
}

#[tokio::test]
async fn thousands_of_plans_replay_and_one_changed_byte_is_found() {
    let settings = json!({"latency_p95_ms_max": 3_000, "retries": 1});
    let host = Story::new().host_over(Weather::new(1));
    let policy = activate(&host, "layered-fallback", settings.clone()).await;
    for seed in 0..DECISIONS {
        let request = Arc::new(any_request(&mut Rng::with_seed(seed)));
        host.decide_fallback(&policy, request, &kit::default_plan())
            .await;
    }
    let records = host.records().drain();
    let component = backstop_policies::component("layered-fallback").unwrap();
    let replayer = host
        .replayer(component, options("layered-fallback", settings))
        .await
        .unwrap();
    replays(&replayer, &records, "fallback", 20).await;
    for record in records.iter().take(20) {
        finds(&replayer, record, "model-0", "model-9").await;
    }
}

#[tokio::test]
async fn thousands_of_verdicts_replay_and_one_changed_byte_is_found() {
    let settings = json!({
        "accept_at": 0.6,
        "review_below": 0.3,
        "per_label": {"spam": {"accept_at": 0.9}},
        "tighten_by": 0.2,
        "tighten_on_drift": true,
    });
    let host = Story::new().host_over(Weather::new(2));
    let policy = activate(&host, "confidence-threshold", settings.clone()).await;
    for seed in 0..DECISIONS {
        let mut rng = Rng::with_seed(seed);
        let request = Arc::new(any_request(&mut rng));
        let answer = Arc::new(any_answer(&mut rng));
        host.decide_threshold(&policy, request, answer, &kit::default_verdict())
            .await;
    }
    let records = host.records().drain();
    let component = backstop_policies::component("confidence-threshold").unwrap();
    let replayer = host
        .replayer(component, options("confidence-threshold", settings))
        .await
        .unwrap();
    replays(&replayer, &records, "threshold", 3).await;
    let judged = records.iter().find(|record| {
        let text = serde_json::to_string(&record.input).unwrap();
        text.contains(r#""confidence":0.4"#) && text.contains(r#""finish_reason":"stop""#)
    });
    let (from, to) = (r#""confidence":0.4"#, r#""confidence":0.5"#);
    finds(&replayer, judged.unwrap(), from, to).await;
}

#[tokio::test]
async fn adaptive_threshold_and_drift_guard_replay_whatever_they_were_told() {
    let adaptive = json!({
        "accept_at": 0.4, "ceiling": 0.9, "objective": "quality", "estimate": true,
        "labels_min": 100, "tighten_by": 0.1,
    });
    let guard = json!({"accept_at": 0.2, "watch": [
        {"metric": "confidence", "kind": "drift", "share": 0.5, "response": "review"},
        {"metric": "confidence", "kind": "drift", "baseline": "spring", "limit": 0.5,
         "incident": "warning"},
        {"metric": "accuracy", "kind": "below", "limit": 0.3, "incident": "error"},
        {"metric": "latency-ms", "kind": "above", "baseline": "spring", "response": "note"},
    ]});
    for (name, settings) in [("adaptive-threshold", adaptive), ("drift-guard", guard)] {
        let host = Story::new().host_over(Weather::new(5));
        let policy = activate(&host, name, settings.clone()).await;
        for seed in 0..DECISIONS {
            let mut rng = Rng::with_seed(seed);
            let request = Arc::new(any_request(&mut rng));
            let answer = Arc::new(any_answer(&mut rng));
            host.decide_threshold(&policy, request, answer, &kit::default_verdict())
                .await;
        }
        let records = host.records().drain();
        let component = backstop_policies::component(name).unwrap();
        let replayer = host
            .replayer(component, options(name, settings))
            .await
            .unwrap();
        replays(&replayer, &records, name, 3).await;
    }
}

/// What instances decide that are put back after each decision is what fresh
/// ones decide: a replay makes a fresh instance for each record.
#[tokio::test]
async fn what_instances_decide_that_are_put_back_replays_on_fresh_ones() {
    let host = Story::new().host_over(Weather::new(4));
    for name in ["layered-fallback", "canary-rollback"] {
        let put_back = PolicyOptions {
            isolation: Isolation::Reset,
            ..options(name, json!({}))
        };
        let component = backstop_policies::component(name).unwrap();
        let activated = host.activate(name, component, put_back.clone()).await;
        activated.unwrap();
        let policy = host.policy(name).unwrap();
        for seed in 0..DECISIONS / 10 {
            let mut rng = Rng::with_seed(seed);
            match name {
                "layered-fallback" => {
                    let request = Arc::new(any_request(&mut rng));
                    host.decide_fallback(&policy, request, &kit::default_plan())
                        .await;
                }
                _ => {
                    let rollout = Arc::new(any_rollout(&mut rng));
                    host.decide_rollback(&policy, rollout, &kit::default_assessment())
                        .await;
                }
            }
        }
        let records = host.records().drain();
        assert_eq!(records.len() as u64, DECISIONS / 10);
        let status = host
            .policies()
            .into_iter()
            .find(|status| *status.name == *name);
        assert_eq!(
            status.unwrap().instances,
            1,
            "{name} used one again and again"
        );
        let replayer = host.replayer(component, put_back).await.unwrap();
        for record in records {
            let failed = matches!(record.outcome, RunOutcome::Failed { .. });
            assert!(!failed, "{name}: {:?}", record.outcome);
            let difference = replayer.replay(record).await;
            assert!(difference.is_none(), "{name}: {difference:?}");
        }
    }
}

#[tokio::test]
async fn thousands_of_assessments_replay_and_one_changed_byte_is_found() {
    let settings = json!({
        "error_rate_max": 0.95,
        "latency_p95_ms_max": 3_900,
        "confidence_min": 0.01,
        "dwell_s": 60,
        "duration_max_s": 3_600,
    });
    let host = Story::new().host_over(Weather::new(3));
    let policy = activate(&host, "canary-rollback", settings.clone()).await;
    for seed in 0..DECISIONS {
        let rollout = Arc::new(any_rollout(&mut Rng::with_seed(seed)));
        host.decide_rollback(&policy, rollout, &kit::default_assessment())
            .await;
    }
    let records = host.records().drain();
    let component = backstop_policies::component("canary-rollback").unwrap();
    let replayer = host
        .replayer(component, options("canary-rollback", settings))
        .await
        .unwrap();
    replays(&replayer, &records, "rollback", 4).await;
    for record in records.iter().take(20) {
        finds(
            &replayer,
            record,
            r#""candidate":"r2""#,
            r#""candidate":"r3""#,
        )
        .await;
    }
}
