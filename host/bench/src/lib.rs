//! One fallback decision, made in six ways.
//!
//! The question: two models, each with a breaker state, a health flag and an
//! error rate over the last minute. The decision: call, in order, the models
//! that are healthy, whose breaker lets calls pass and whose error rate is at
//! most a quarter (with at least 20 trials); answer from rules at the end.
//!
//! Every way gets the facts as its embedder has them ([`Facts`]) and turns
//! them into its own form for each decision, because they change with each.
//! Metrics come from the same counters ([`Counters`]): as host functions where
//! the engine has them, as data where it has not.

use std::sync::atomic::{AtomicU64, Ordering};

mod engines;
mod sandboxed;

pub use engines::{Cel, Lua, Native, Rego, Rhai};
pub use sandboxed::Backstop;

/// Error rate above which a model is left out.
pub const ERROR_RATE_MAX: f64 = 0.25;
/// Trials before an error rate is believed.
pub const TRIALS_MIN: u64 = 20;

/// What is asked.
#[derive(Debug, Clone)]
pub struct Facts {
    /// The models: name, whether its breaker is closed, whether it is healthy.
    pub candidates: Vec<(&'static str, bool, bool)>,
    /// Name of the rules.
    pub rules: &'static str,
}

impl Facts {
    /// Two models, both up.
    pub fn usual() -> Self {
        Facts {
            candidates: vec![("primary", true, true), ("backup", true, true)],
            rules: "sorry",
        }
    }
}

/// Counts of attempts and errors of the two models.
#[derive(Debug)]
pub struct Counters {
    primary: (AtomicU64, AtomicU64),
    backup: (AtomicU64, AtomicU64),
}

impl Default for Counters {
    fn default() -> Self {
        let of = |errors, trials| (AtomicU64::new(errors), AtomicU64::new(trials));
        Counters {
            primary: of(3, 1_000),
            backup: of(1, 400),
        }
    }
}

impl Counters {
    /// Errors and attempts of a model.
    pub fn errors(&self, model: &str) -> (u64, u64) {
        let (errors, trials) = if model == "primary" {
            &self.primary
        } else {
            &self.backup
        };
        (
            errors.load(Ordering::Relaxed),
            trials.load(Ordering::Relaxed),
        )
    }

    /// Error rate of a model; 0 with too few attempts to tell.
    pub fn rate(&self, model: &str) -> f64 {
        match self.errors(model) {
            (_, trials) if trials < TRIALS_MIN => 0.0,
            (errors, trials) => errors as f64 / trials as f64,
        }
    }
}

/// What every way returns: models to call in order, and the rules at the end.
pub type Order = Vec<String>;

#[cfg(test)]
mod tests {
    use super::*;
    use backstop::Isolation;
    use std::sync::Arc;

    #[test]
    fn all_ways_decide_the_same() {
        let counters = Arc::new(Counters::default());
        let mut sick = Facts::usual();
        sick.candidates[0].2 = false;
        for (facts, expected) in [
            (Facts::usual(), vec!["primary", "backup", "sorry"]),
            (sick, vec!["backup", "sorry"]),
        ] {
            assert_eq!(Native.decide(&facts, &counters), expected, "native");
            assert_eq!(Rego::new().decide(&facts, &counters), expected, "rego");
            assert_eq!(Cel::new().decide(&facts, &counters), expected, "cel");
            assert_eq!(Rhai::new(counters.clone()).decide(&facts), expected, "rhai");
            assert_eq!(Lua::new(counters.clone()).decide(&facts), expected, "lua");
            for isolation in [Isolation::Fresh, Isolation::Reset, Isolation::Warm] {
                let backstop = Backstop::new(counters.clone(), isolation);
                assert_eq!(backstop.order(&facts), expected, "backstop, {isolation:?}");
            }
        }
    }
}
