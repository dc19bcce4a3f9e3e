//! What holds for every answer and all evidence: the verdict passes the host's
//! checks, nothing is done where nothing is known, and evidence of trouble lets
//! no answer pass that did not pass without it.

use crate::judge::{Evidence, Facts, State, concerns, judge, state};
use crate::settings::{Kind, Raise, Reaction, Settings, Watch, Whose};
use backstop_sdk::evidence::Measurement;
use backstop_sdk::metrics::{Comparison, ComparisonVerdict, DriftReading, DriftVerdict};
use backstop_sdk::{NothingLeft, Outcome, Response, Standing};
use proptest::prelude::*;

fn reaction() -> impl Strategy<Value = Reaction> {
    prop_oneof![
        Just(Reaction::Escalate),
        Just(Reaction::Review),
        Just(Reaction::Note)
    ]
}

prop_compose! {
    fn watch()(
        kind in prop_oneof![Just(Kind::Drift), Just(Kind::Below), Just(Kind::Above)],
        limit in prop::option::of(any::<f64>()),
        named in any::<bool>(),
        response in reaction(),
        share in 0.0..=1.0_f64,
    ) -> Watch {
        Watch {
            metric: "m".repeat(128),
            subject: Whose::Model,
            kind,
            limit,
            baseline: named.then(|| "b".repeat(128)),
            samples_min: 50,
            window_s: 600,
            reference_s: 600,
            response,
            share,
            incident: Raise::None,
        }
    }
}

fn response() -> impl Strategy<Value = Response> {
    prop_oneof![
        Just(Response::Accept),
        Just(Response::Escalate),
        Just(Response::Review)
    ]
}

prop_compose! {
    fn settings()(
        watch in prop::collection::vec(watch(), 1..=8),
        accept_at in prop::option::of(0.0..=1.0_f64),
        below in reaction(),
        without_confidence in response(),
        accept_last in any::<bool>(),
    ) -> Settings {
        Settings {
            watch,
            accept_at,
            below,
            without_confidence,
            nothing_left: if accept_last { NothingLeft::Accept } else { NothingLeft::LastResort },
        }
    }
}

prop_compose! {
    fn facts()(
        confidence in prop::option::of(prop_oneof![0.0..=1.0_f64, any::<f64>()]),
        steps_left in 0..3_u32,
        delivered in any::<bool>(),
        has_review in any::<bool>(),
        seed in any::<u64>(),
    ) -> Facts {
        Facts { confidence, standing: Standing { steps_left, delivered, has_review }, seed }
    }
}

prop_compose! {
    fn drift()(verdict in 0..3_usize, psi in any::<f64>(), samples in 0..100_u64) -> Evidence {
        Evidence::Drift(DriftReading {
            verdict: [
                DriftVerdict::Stable,
                DriftVerdict::Drifted,
                DriftVerdict::NotEnoughData,
            ][verdict],
            psi,
            critical: 0.1,
            current_samples: samples,
            reference_samples: samples,
        })
    }
}

prop_compose! {
    fn number()(
        samples in 0..100_u64,
        value in any::<f64>(),
        standard_error in any::<f64>(),
        age_ms in 0..1_200_000_u64,
    ) -> Evidence {
        Evidence::Number(Measurement { samples, value, standard_error, age_ms })
    }
}

prop_compose! {
    fn comparison()(
        verdict in 0..4_usize,
        effect in any::<f64>(),
        samples in 0..100_u64,
    ) -> Evidence {
        Evidence::Comparison(Comparison {
            verdict: [
                ComparisonVerdict::Better,
                ComparisonVerdict::Equivalent,
                ComparisonVerdict::Worse,
                ComparisonVerdict::NotEnoughData,
            ][verdict],
            effect,
            low: effect,
            high: effect,
            candidate_samples: samples,
            baseline_samples: samples,
        })
    }
}

fn evidence() -> impl Strategy<Value = Vec<Evidence>> {
    let one = prop_oneof![
        Just(Evidence::NotAsked),
        Just(Evidence::None),
        drift(),
        number(),
        comparison(),
    ];
    prop::collection::vec(one, 8)
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
    fn only_what_holds_changes_the_verdict(
        settings in settings(),
        facts in facts(),
        evidence in evidence(),
    ) {
        let acts = settings.watch.iter().zip(&evidence).any(|(watch, evidence)| {
            state(watch, evidence) == State::Holds && concerns(watch, facts.seed)
        });
        let nothing = judge(&settings, &facts, &[Evidence::None; 8]);
        let verdict = judge(&settings, &facts, &evidence);
        if acts {
            prop_assert!(nothing.outcome == Outcome::Accept || verdict.outcome != Outcome::Accept);
        } else {
            prop_assert_eq!(verdict.outcome, nothing.outcome);
        }
    }

    #[test]
    fn a_larger_share_concerns_all_that_a_smaller_one_does(
        watch in watch(),
        share in 0.0..=1.0_f64,
        seed in any::<u64>(),
    ) {
        let larger = Watch { share: watch.share.max(share), ..watch.clone() };
        prop_assert!(!concerns(&watch, seed) || concerns(&larger, seed));
        let (all, none) = (Watch { share: 1.0, ..watch.clone() }, Watch { share: 0.0, ..watch });
        prop_assert!(concerns(&all, seed) && !concerns(&none, seed));
    }
}
