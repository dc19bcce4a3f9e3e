//! What holds for every route and every reading: the plan passes the host's
//! checks, calls no model twice, never calls one that an operator holds open,
//! and is the same for the same facts.

use crate::decide::{Evidence, Exit, ModelFacts, decide};
use crate::settings::{Settings, Troubled};
use backstop_sdk::metrics::{Estimate, Proportion};
use backstop_sdk::{Action, BreakerState};
use proptest::prelude::*;

fn breaker() -> impl Strategy<Value = BreakerState> {
    prop_oneof![
        Just(BreakerState::Closed),
        Just(BreakerState::Open),
        Just(BreakerState::HalfOpen),
        Just(BreakerState::ForcedOpen),
        Just(BreakerState::Disabled),
        Just(BreakerState::MetricsOnly),
    ]
}

fn errors() -> impl Strategy<Value = Evidence<Proportion>> {
    prop_oneof![
        Just(Evidence::NotAsked),
        Just(Evidence::Missing("metric is denied".to_owned())),
        (any::<u64>(), any::<u64>()).prop_map(|(a, b)| Evidence::Known(Proportion {
            events: a.min(b),
            trials: a.max(b),
        })),
    ]
}

fn latency() -> impl Strategy<Value = Evidence<Estimate>> {
    prop_oneof![
        Just(Evidence::NotAsked),
        (any::<u64>(), any::<f64>())
            .prop_map(|(samples, value)| Evidence::Known(Estimate { samples, value })),
    ]
}

fn models() -> impl Strategy<Value = Vec<ModelFacts>> {
    let one = (breaker(), any::<bool>(), errors(), latency());
    prop::collection::vec(one, 1..64).prop_map(|all| {
        all.into_iter()
            .enumerate()
            .map(|(n, (breaker, healthy, errors, latency))| ModelFacts {
                model: format!("m{n}"),
                breaker,
                healthy,
                errors,
                latency,
            })
            .collect()
    })
}

prop_compose! {
    fn settings()(
        error_rate_max in 0.0..=1.0,
        trials_min in 1..100_u32,
        latency_p95_ms_max in prop::option::of(1..10_000_u32),
        skip in any::<bool>(),
        try_least_bad in any::<bool>(),
        knock_percent in 0..=100_u8,
    ) -> Settings {
        Settings {
            models: Vec::new(),
            error_rate_max,
            window_s: 60,
            trials_min,
            latency_p95_ms_max,
            troubled: if skip { Troubled::Skip } else { Troubled::Demote },
            try_least_bad,
            knock_percent,
            retries: 0,
            timeout_ms: 0,
            first_token_ms: 0,
            rules: None,
            review: true,
        }
    }
}

proptest! {
    #[test]
    fn every_plan_is_one_that_a_host_applies(
        settings in settings(),
        seed in any::<u64>(),
        models in models(),
        exit in prop_oneof![
            Just(Exit::Rules("sorry".to_owned())),
            Just(Exit::Review),
            Just(Exit::None),
        ],
    ) {
        let plan = decide(&settings, seed, models.clone(), exit.clone());
        prop_assert!((1..=16).contains(&plan.steps.len()), "{} steps", plan.steps.len());
        let mut called = Vec::new();
        for (index, step) in plan.steps.iter().enumerate() {
            prop_assert!(step.reason.len() <= 1_024);
            match &step.action {
                Action::Call(call) => {
                    let facts = models.iter().find(|facts| facts.model == call.model);
                    prop_assert!(facts.is_some_and(|facts| facts.breaker != BreakerState::ForcedOpen));
                    prop_assert!(!called.contains(&call.model), "{} twice", call.model);
                    called.push(call.model.clone());
                }
                _ => prop_assert_eq!(index + 1, plan.steps.len(), "the end comes last"),
            }
        }
        prop_assert_eq!(&plan, &decide(&settings, seed, models, exit));
    }

    /// Evidence that is missing moves nothing: with none at all, models whose
    /// calls pass stand in the operator's order.
    #[test]
    fn no_evidence_leaves_the_order_alone(settings in settings(), count in 1..15_usize) {
        let models: Vec<ModelFacts> = (0..count)
            .map(|n| ModelFacts {
                model: format!("m{n}"),
                breaker: BreakerState::Closed,
                healthy: true,
                errors: Evidence::Known(Proportion { events: 0, trials: 0 }),
                latency: Evidence::Missing("starting".to_owned()),
            })
            .collect();
        let plan = decide(&settings, 0, models.clone(), Exit::Review);
        for (step, facts) in plan.steps.iter().zip(&models) {
            match &step.action {
                Action::Call(call) => prop_assert_eq!(&call.model, &facts.model),
                other => prop_assert!(false, "{:?}", other),
            }
        }
    }
}
