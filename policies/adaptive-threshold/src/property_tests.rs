//! What holds for every answer and all evidence: the verdict passes the host's
//! checks, the line stays between the calibrated one and the ceiling, and
//! nothing that becomes known makes an answer pass that did not pass before.

use crate::judge::{Evidence, Facts, Labels, evidence_matters, judge, line};
use crate::settings::{Below, Settings};
use backstop_sdk::evidence::{Line, Measurement, ObjectiveState, ObjectiveStatus};
use backstop_sdk::metrics::{DriftReading, DriftVerdict};
use backstop_sdk::{NothingLeft, Outcome, Response, Standing};
use proptest::prelude::*;

prop_compose! {
    fn settings()(
        lines in (0.0..=1.0_f64, 0.0..=1.0_f64),
        error_max in 0.001..0.999_f64,
        tighten_by in 0.0..=1.0_f64,
        review in any::<bool>(),
        without_confidence in prop_oneof![
            Just(Response::Accept),
            Just(Response::Escalate),
            Just(Response::Review),
        ],
        accept_last in any::<bool>(),
        named in any::<bool>(),
    ) -> Settings {
        let name = |name: &str| named.then(|| name.repeat(128));
        Settings {
            accept_at: lines.0.min(lines.1),
            ceiling: lines.0.max(lines.1),
            error_max,
            delta: 0.1,
            labels_min: 50,
            tighten_by,
            baseline: name("b"),
            objective: name("o"),
            estimate: true,
            window_s: 600,
            reference_s: 600,
            below: if review { Below::Review } else { Below::Escalate },
            without_confidence,
            nothing_left: if accept_last { NothingLeft::Accept } else { NothingLeft::LastResort },
            provenance: None,
        }
    }
}

prop_compose! {
    fn facts()(
        confidence in prop::option::of(prop_oneof![0.0..=1.0_f64, any::<f64>()]),
        steps_left in 0..3_u32,
        delivered in any::<bool>(),
        has_review in any::<bool>(),
    ) -> Facts {
        Facts { confidence, standing: Standing { steps_left, delivered, has_review } }
    }
}

/// A number that a host should tell, or one that it never should.
fn number() -> impl Strategy<Value = f64> {
    prop_oneof![0.0..=1.0_f64, any::<f64>()]
}

prop_compose! {
    fn drift()(verdict in 0..3_usize, psi in number(), critical in number()) -> DriftReading {
        DriftReading {
            verdict: [
                DriftVerdict::Stable,
                DriftVerdict::Drifted,
                DriftVerdict::NotEnoughData,
            ][verdict],
            psi,
            critical,
            current_samples: 100,
            reference_samples: 100,
        }
    }
}

prop_compose! {
    fn status()(state in 0..4_usize, burn_rate in number()) -> ObjectiveStatus {
        ObjectiveStatus {
            state: [
                ObjectiveState::Met,
                ObjectiveState::Pending,
                ObjectiveState::Firing,
                ObjectiveState::NoEvidence,
            ][state],
            severity: None,
            burn_rate,
            samples: 100,
        }
    }
}

prop_compose! {
    fn estimate()(
        samples in 0..200_u64,
        value in number(),
        standard_error in number(),
        age_ms in 0..1_200_000_u64,
    ) -> Measurement {
        Measurement { samples, value, standard_error, age_ms }
    }
}

prop_compose! {
    fn promise()(confidence in number(), bound in number()) -> Labels {
        Labels::Promise(Line { confidence, coverage: 0.5, accepted: 100, wrong: 1, bound })
    }
}

prop_compose! {
    fn evidence()(
        labels in prop_oneof![
            Just(Labels::Unknown),
            promise(),
            any::<u64>().prop_map(Labels::Infeasible),
        ],
        drift in prop::option::of(drift()),
        objective in prop::option::of(status()),
        estimate in prop::option::of(estimate()),
    ) -> Evidence {
        Evidence { labels, drift, objective, estimate }
    }
}

proptest! {
    #[test]
    fn every_verdict_is_one_that_a_host_applies(
        settings in settings(),
        facts in facts(),
        evidence in evidence(),
    ) {
        let verdict = judge(&settings, &facts, &evidence);
        for value in [verdict.confidence, verdict.line].into_iter().flatten() {
            prop_assert!((0.0..=1.0).contains(&value), "{value}");
        }
        prop_assert!(verdict.reason.len() <= 1_024, "{}", verdict.reason);
        if facts.standing.delivered {
            prop_assert_ne!(verdict.outcome, Outcome::Escalate);
        }
        if !facts.standing.has_review {
            prop_assert_ne!(verdict.outcome, Outcome::Review);
        }
    }

    #[test]
    fn the_line_stays_between_the_calibrated_one_and_the_ceiling(
        settings in settings(),
        evidence in evidence(),
    ) {
        let line = line(&settings, &evidence);
        prop_assert!(line >= settings.accept_at && line <= settings.ceiling, "{line}");
    }

    #[test]
    fn nothing_that_becomes_known_lets_more_pass(
        settings in settings(),
        facts in facts(),
        evidence in evidence(),
        left_out in 0..16_u8,
    ) {
        let knows = |bit: u8| left_out & (1 << bit) == 0;
        let less = Evidence {
            labels: if knows(0) { evidence.labels } else { Labels::Unknown },
            drift: evidence.drift.filter(|_| knows(1)),
            objective: evidence.objective.filter(|_| knows(2)),
            estimate: evidence.estimate.filter(|_| knows(3)),
        };
        prop_assert!(line(&settings, &less) <= line(&settings, &evidence));
        let (usual, strict) = (judge(&settings, &facts, &less), judge(&settings, &facts, &evidence));
        prop_assert!(usual.outcome == Outcome::Accept || strict.outcome != Outcome::Accept);
    }

    #[test]
    fn evidence_that_is_not_asked_for_would_change_nothing(
        settings in settings(),
        facts in facts(),
        evidence in evidence(),
    ) {
        if !evidence_matters(&settings, &facts) {
            let without = judge(&settings, &facts, &Evidence::default());
            prop_assert_eq!(judge(&settings, &facts, &evidence), without);
        }
    }

    #[test]
    fn more_confidence_is_never_treated_worse(
        settings in settings(),
        facts in facts(),
        evidence in evidence(),
        a in 0.0..=1.0_f64,
        b in 0.0..=1.0_f64,
    ) {
        let of = |confidence| {
            let facts = Facts { confidence: Some(confidence), ..facts };
            judge(&settings, &facts, &evidence).outcome
        };
        if of(a.min(b)) == Outcome::Accept {
            prop_assert_eq!(of(a.max(b)), Outcome::Accept);
        }
    }
}
