//! Stories through the SDK's bench.

use crate::CanaryRollback;
use backstop_sdk::metrics::{Comparison, ComparisonVerdict, MetricsError, Moments, Subject};
use backstop_sdk::testing::{Bench, RolloutScript, Value, json, rollout};
use backstop_sdk::{Assessment, Directive, Severity};

const CANDIDATE: Subject<'static> = subject("2");
const STABLE: Subject<'static> = subject("1");

const fn subject(release: &'static str) -> Subject<'static> {
    Subject::Release(backstop_sdk::metrics::ReleaseId {
        model: "big",
        release,
    })
}

fn bench(settings: Value) -> Bench<CanaryRollback> {
    Bench::new(settings).expect("the settings are valid")
}

/// A canary that has stayed for longer than the usual dwell.
fn canary() -> RolloutScript {
    rollout("big", "1", "2").age_ms(900_000, 400_000)
}

fn comparison(verdict: ComparisonVerdict, samples: u64) -> Comparison {
    Comparison {
        verdict,
        effect: 0.048,
        low: 0.021,
        high: 0.075,
        candidate_samples: samples,
        baseline_samples: samples * 9,
    }
}

fn compares(bench: &mut Bench<CanaryRollback>, metric: &str, verdict: ComparisonVerdict) {
    bench.comparison(metric, CANDIDATE, STABLE, comparison(verdict, 400));
}

/// A bench where every guardrail has this verdict.
fn all(settings: Value, verdict: ComparisonVerdict) -> Bench<CanaryRollback> {
    let mut bench = bench(settings);
    for metric in ["error-rate", "latency-ms", "confidence"] {
        compares(&mut bench, metric, verdict);
    }
    bench
}

fn assess(bench: &mut Bench<CanaryRollback>, rollout: RolloutScript) -> Assessment {
    bench.assess(rollout).expect("an assessment")
}

#[test]
fn a_candidate_that_is_shown_to_be_as_good_advances() {
    let mut bench = all(json!({}), ComparisonVerdict::Equivalent);
    compares(&mut bench, "latency-ms", ComparisonVerdict::Better);
    let assessment = assess(&mut bench, canary());
    assert_eq!(assessment.directive, Directive::Advance);
    assert!(assessment.reason.contains("latency-ms is better"));
    assert!(bench.incidents().is_empty());
}

#[test]
fn one_guardrail_that_is_worse_takes_it_back_and_calls_somebody() {
    for metric in ["error-rate", "latency-ms", "confidence"] {
        let mut bench = all(json!({}), ComparisonVerdict::Better);
        compares(&mut bench, metric, ComparisonVerdict::Worse);
        let assessment = assess(&mut bench, canary());
        assert_eq!(assessment.directive, Directive::RollBack(None), "{metric}");
        assert!(assessment.reason.starts_with(metric));
        let incident = &bench.incidents()[0];
        assert_eq!(incident.severity, Severity::Error);
        assert_eq!(incident.key, "rolled-back big 2");
        assert!(incident.detail.contains("400 against 3600 samples"));
        assert_eq!(incident.detail.lines().count(), 4);
    }
}

#[test]
fn the_reason_of_a_roll_back_holds_the_numbers() {
    let mut bench = all(json!({}), ComparisonVerdict::Equivalent);
    compares(&mut bench, "error-rate", ComparisonVerdict::Worse);
    assert_eq!(
        assess(&mut bench, canary()).reason,
        "error-rate is worse: difference 0.048 (0.021 to 0.075), margin 0.010, 400 against 3600 \
         samples"
    );
}

#[test]
fn a_worse_candidate_is_taken_back_before_the_dwell_and_in_the_shadow() {
    let mut bench = all(json!({}), ComparisonVerdict::Worse);
    let young = canary().age_ms(10_000, 10_000);
    assert_eq!(
        assess(&mut bench, young.shadow()).directive,
        Directive::RollBack(None)
    );
}

#[test]
fn without_evidence_nothing_advances_and_at_last_it_pauses() {
    let mut bench = bench(json!({"duration_max_s": 1_000}));
    let assessment = assess(&mut bench, canary());
    assert_eq!(assessment.directive, Directive::Hold);
    assert_eq!(
        assessment.reason,
        "error-rate: 0 against 0 samples, at least 200 needed"
    );
    let late = canary().age_ms(2_000_000, 1_000_000);
    let assessment = assess(&mut bench, late);
    assert_eq!(assessment.directive, Directive::Pause);
    assert!(assessment.reason.starts_with("not decided within 1000 s: "));
}

#[test]
fn one_guardrail_without_evidence_is_enough_to_hold() {
    let mut bench = all(json!({}), ComparisonVerdict::Better);
    compares(&mut bench, "confidence", ComparisonVerdict::NotEnoughData);
    let assessment = assess(&mut bench, canary());
    assert_eq!(assessment.directive, Directive::Hold);
    assert_eq!(
        assessment.reason,
        "confidence: 400 against 3600 samples do not decide yet"
    );
    let mut without = all(
        json!({"guardrails": ["error-rate", "latency-ms"]}),
        ComparisonVerdict::Better,
    );
    compares(&mut without, "confidence", ComparisonVerdict::NotEnoughData);
    assert_eq!(assess(&mut without, canary()).directive, Directive::Advance);
}

#[test]
fn a_verdict_from_too_few_samples_is_none() {
    let mut bench = all(json!({}), ComparisonVerdict::Better);
    for verdict in [ComparisonVerdict::Better, ComparisonVerdict::Worse] {
        let few = comparison(verdict, 199);
        bench.comparison("error-rate", CANDIDATE, STABLE, few);
        assert_eq!(assess(&mut bench, canary()).directive, Directive::Hold);
    }
}

#[test]
fn metrics_that_do_not_answer_are_no_evidence() {
    let mut bench = all(json!({"error_rate_max": 0.2}), ComparisonVerdict::Better);
    bench.metric_fails("error-rate", MetricsError::Unavailable("starting".into()));
    let assessment = assess(&mut bench, canary());
    assert_eq!(assessment.directive, Directive::Hold);
    assert_eq!(
        assessment.reason,
        "error-rate: no evidence: metric is not available: starting"
    );
}

#[test]
fn a_good_candidate_stays_for_the_dwell() {
    let mut bench = all(json!({"dwell_s": 300}), ComparisonVerdict::Equivalent);
    let young = canary().age_ms(900_000, 299_001);
    let assessment = assess(&mut bench, young);
    assert_eq!(assessment.directive, Directive::Hold);
    assert!(assessment.reason.ends_with("for another 1 s"));
    let ripe = canary().age_ms(900_000, 300_000);
    assert_eq!(assess(&mut bench, ripe).directive, Directive::Advance);
}

#[test]
fn a_good_candidate_is_not_paused_for_being_late() {
    let mut bench = all(
        json!({"duration_max_s": 400}),
        ComparisonVerdict::Equivalent,
    );
    let late = canary().age_ms(900_000, 500_000);
    assert_eq!(assess(&mut bench, late).directive, Directive::Advance);
}

#[test]
fn hard_limits_take_it_back_whatever_the_stable_release_does() {
    let settings = json!({
        "error_rate_max": 0.2, "latency_p95_ms_max": 2_000, "confidence_min": 0.6,
    });
    let mut errors = all(settings.clone(), ComparisonVerdict::Equivalent);
    errors.rate("error-rate", CANDIDATE, 20, 50);
    let assessment = assess(&mut errors, canary());
    assert_eq!(assessment.directive, Directive::RollBack(None));
    assert_eq!(
        assessment.reason,
        "error-rate 0.400 over 50 samples: the limit is 0.200, and it must not be above"
    );
    assert_eq!(errors.incidents().len(), 1);

    let mut slow = all(settings.clone(), ComparisonVerdict::Equivalent);
    slow.quantile("latency-ms", CANDIDATE, 0.95, 50, 2_500.0);
    assert_eq!(
        assess(&mut slow, canary()).directive,
        Directive::RollBack(None)
    );

    let mut unsure = all(settings.clone(), ComparisonVerdict::Equivalent);
    let moments = Moments {
        samples: 50,
        mean: 0.5,
        stddev: 0.1,
    };
    unsure.mean("confidence", CANDIDATE, moments);
    assert_eq!(
        assess(&mut unsure, canary()).directive,
        Directive::RollBack(None)
    );

    let mut fine = all(settings, ComparisonVerdict::Equivalent);
    assert_eq!(
        assess(&mut fine, canary()).directive,
        Directive::Advance,
        "no samples break no limit; the guardrails are shown to be good"
    );
}

#[test]
fn a_limit_broken_by_few_samples_holds() {
    let mut bench = all(
        json!({"error_rate_max": 0.2}),
        ComparisonVerdict::Equivalent,
    );
    bench.rate("error-rate", CANDIDATE, 10, 19);
    assert_eq!(assess(&mut bench, canary()).directive, Directive::Hold);
}

#[test]
fn it_is_taken_back_even_when_no_incident_can_be_opened() {
    let mut silent = all(json!({"incident": false}), ComparisonVerdict::Worse);
    assert_eq!(
        assess(&mut silent, canary()).directive,
        Directive::RollBack(None)
    );
    assert!(silent.incidents().is_empty());
}

#[test]
fn without_grants_nothing_is_known_and_nothing_advances() {
    let mut bench = all(json!({}), ComparisonVerdict::Better);
    bench.grant_nothing();
    let assessment = assess(&mut bench, canary());
    assert_eq!(assessment.directive, Directive::Hold);
    assert!(
        assessment
            .reason
            .ends_with("metric `error-rate` is not granted")
    );
}

#[test]
fn mistakes_in_the_settings_are_all_told() {
    let problems = Bench::<CanaryRollback>::new(json!({
        "guardrails": ["confidence", "confidence"],
        "dwell_s": 60,
        "duration_max_s": 60,
    }))
    .expect_err("two mistakes");
    let paths: Vec<_> = problems.iter().map(|problem| &*problem.path).collect();
    assert_eq!(paths, ["/guardrails/1", "/dwell_s"]);
    for wrong in [
        json!({"guardrails": []}),
        json!({"guardrails": ["kpi"]}),
        json!({"alpha": 0}),
        json!({"samples_min": 1}),
        json!({"severity": "fatal"}),
    ] {
        assert!(
            Bench::<CanaryRollback>::new(wrong.clone()).is_err(),
            "{wrong}"
        );
    }
}
