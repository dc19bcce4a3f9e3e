//! What people are told.

use super::{BIG, DRIFTED, measured, outcome, step, verdict, watching, worse};
use backstop_sdk::incident::IncidentError;
use backstop_sdk::testing::json;
use backstop_sdk::{Outcome, Severity};

#[test]
fn incidents_say_what_is_bad_of_whom_and_what_is_done() {
    let mut bench = watching(json!([
        {"metric": "confidence", "kind": "drift", "response": "review", "share": 0.2,
         "incident": "warning"},
        {"metric": "accuracy", "kind": "below", "limit": 0.9, "response": "note"},
    ]));
    bench.drift("confidence", BIG, DRIFTED);
    bench.measurement("accuracy", BIG, measured(0.5, 0.01));
    bench.seed(u64::MAX);
    let verdict = verdict(&mut bench, step());
    assert_eq!(verdict.outcome, Outcome::Accept, "for other answers");
    let [incident] = bench.incidents() else {
        panic!("one incident: {:?}", bench.incidents());
    };
    assert_eq!(incident.severity, Severity::Warning);
    assert_eq!(incident.key, "drift 0.000 model `big` confidence");
    assert_eq!(
        incident.title,
        "model `big`: `confidence` drifted: index 0.400 above 0.100"
    );
    assert_eq!(
        incident.detail,
        "`confidence` drifted: index 0.400 above 0.100\nof model `big`, from 500 against 3000 \
         samples in 3600 s\nmeanwhile 0.200 of the answers go to review"
    );
}

#[test]
fn each_watch_has_an_incident_of_its_own() {
    let mut bench = watching(json!([
        {"metric": "accuracy", "kind": "below", "limit": 0.9, "incident": "warning"},
        {"metric": "accuracy", "kind": "below", "limit": 0.8, "incident": "critical"},
        {"metric": "accuracy", "kind": "below", "baseline": "spring", "incident": "error"},
    ]));
    bench.measurement("accuracy", BIG, measured(0.5, 0.01));
    bench.comparison_with("accuracy", BIG, "spring", worse(500));
    outcome(&mut bench);
    let keys: Vec<_> = bench.incidents().iter().map(|one| &*one.key).collect();
    assert_eq!(
        keys,
        [
            "below 0.900 model `big` accuracy",
            "below 0.800 model `big` accuracy",
            "below 0.000 model `big` accuracy spring",
        ]
    );
    let severities: Vec<_> = bench.incidents().iter().map(|one| one.severity).collect();
    assert_eq!(
        severities,
        [Severity::Warning, Severity::Critical, Severity::Error]
    );
}

#[test]
fn more_incidents_than_one_decision_may_raise_take_turns() {
    let metrics: Vec<_> = (0..6).map(|n| format!("m{n}")).collect();
    let watch: Vec<_> = metrics
        .iter()
        .map(|metric| json!({"metric": metric, "kind": "above", "limit": 0, "incident": "info"}))
        .collect();
    let mut bench = watching(json!(watch));
    for metric in &metrics {
        bench.measurement(metric, BIG, measured(1.0, 0.0));
    }
    let mut seen = std::collections::BTreeSet::new();
    for seed in 0..6 {
        bench.seed(seed);
        let reason = verdict(&mut bench, step()).reason;
        assert!(!reason.contains("one too many"), "{reason}");
        assert_eq!(bench.incidents().len(), 4);
        seen.extend(bench.incidents().iter().map(|one| one.key.clone()));
    }
    assert_eq!(seen.len(), 6);
}

#[test]
fn an_incident_that_cannot_be_opened_changes_no_verdict() {
    let mut bench = watching(json!([
        {"metric": "confidence", "kind": "drift", "incident": "error"},
    ]));
    bench.drift("confidence", BIG, DRIFTED);
    bench.incidents_fail(IncidentError::Unavailable("starting".into()));
    let verdict = verdict(&mut bench, step());
    assert_eq!(verdict.outcome, Outcome::Escalate);
    assert_eq!(
        verdict.reason,
        "`confidence` drifted: index 0.400 above 0.100; incident was not taken: starting"
    );
}
