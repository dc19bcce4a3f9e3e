//! What holds for every reading: a candidate advances only when everything was
//! shown to be good, and one that is shown to be worse never stays.

use crate::assess::{Facts, Guard, Limit, LimitReading, assess};
use crate::settings::{Guardrail, Settings, Severity};
use backstop_sdk::Directive;
use backstop_sdk::metrics::{Comparison, ComparisonVerdict};
use proptest::prelude::*;

fn settings() -> Settings {
    Settings {
        guardrails: Guardrail::ALL.to_vec(),
        samples_min: 200,
        alpha: 0.05,
        error_rate_margin: 0.01,
        latency_ms_margin: 100.0,
        confidence_margin: 0.02,
        error_rate_max: Some(0.2),
        latency_p95_ms_max: None,
        confidence_min: None,
        limit_samples_min: 20,
        window_s: 3_600,
        dwell_s: 300,
        duration_max_s: 86_400,
        incident: true,
        severity: Severity::Error,
    }
}

fn verdict() -> impl Strategy<Value = ComparisonVerdict> {
    prop_oneof![
        Just(ComparisonVerdict::Better),
        Just(ComparisonVerdict::Equivalent),
        Just(ComparisonVerdict::Worse),
        Just(ComparisonVerdict::NotEnoughData),
    ]
}

fn comparison() -> impl Strategy<Value = Result<Comparison, String>> {
    prop_oneof![
        1 => Just(Err("metric is not granted".to_owned())),
        6 => (verdict(), any::<(f64, f64, f64)>(), 0..1_000_u64, 0..1_000_u64).prop_map(
            |(verdict, (effect, low, high), candidate_samples, baseline_samples)| Ok(Comparison {
                verdict,
                effect,
                low,
                high,
                candidate_samples,
                baseline_samples,
            })
        ),
    ]
}

prop_compose! {
    fn facts()(
        step_age_ms in 0..200_000_000_u64,
        comparisons in prop::collection::vec(comparison(), 0..=3),
        limit in prop::option::of((any::<f64>(), 0..100_u64)),
    ) -> Facts {
        Facts {
            step_age_ms,
            limits: vec![LimitReading {
                limit: Limit::ErrorRate,
                line: 0.2,
                reading: limit.ok_or_else(|| "not granted".to_owned()),
            }],
            guards: comparisons
                .into_iter()
                .zip(Guardrail::ALL)
                .map(|(comparison, guardrail)| Guard { guardrail, comparison })
                .collect(),
        }
    }
}

fn shown(guard: &Guard, verdicts: &[ComparisonVerdict]) -> bool {
    guard.comparison.as_ref().is_ok_and(|comparison| {
        comparison.candidate_samples >= 200
            && comparison.baseline_samples >= 200
            && verdicts.contains(&comparison.verdict)
    })
}

proptest! {
    #[test]
    fn nothing_advances_without_evidence_and_nothing_worse_stays(facts in facts()) {
        let settings = settings();
        let assessment = assess(&settings, &facts);
        prop_assert!(assessment.reason.len() <= 1_024);
        match assessment.directive {
            Directive::Advance => {
                prop_assert!(!facts.guards.is_empty());
                prop_assert!(facts.step_age_ms >= 300_000);
                let good = [ComparisonVerdict::Better, ComparisonVerdict::Equivalent];
                prop_assert!(facts.guards.iter().all(|guard| shown(guard, &good)));
            }
            Directive::RollBack(ref to) => prop_assert_eq!(to, &None),
            Directive::Pause => prop_assert!(facts.step_age_ms >= 86_400_000),
            Directive::Hold => {}
            Directive::Promote => prop_assert!(false, "advancing promotes, at the last step"),
        }
        if facts.guards.iter().any(|guard| shown(guard, &[ComparisonVerdict::Worse])) {
            prop_assert_eq!(assessment.directive, Directive::RollBack(None));
        }
    }
}
