//! The assessment over plain facts.
//!
//! In this order: a hard limit that is broken takes the candidate back, then a
//! guardrail that is worse does; all guardrails shown to be good advance it
//! when it has stayed long enough; anything else holds, and pauses when the
//! time for a decision has run out.

use crate::settings::{Guardrail, Settings};
use crate::text;
use backstop_sdk::Assessment;
use backstop_sdk::metrics::{Comparison, ComparisonVerdict};

/// Milliseconds in a second.
const MS: u64 = 1_000;

/// What is known about a rollout.
#[derive(Debug, Clone, PartialEq)]
pub struct Facts {
    /// Milliseconds at the present share.
    pub step_age_ms: u64,
    /// The candidate alone, for each limit that the operator set.
    pub limits: Vec<LimitReading>,
    /// The candidate against the stable release, for each guardrail.
    pub guards: Vec<Guard>,
}

/// A hard limit of the candidate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Limit {
    /// Largest error rate.
    ErrorRate,
    /// Largest 95th percentile of the latency.
    LatencyP95,
    /// Smallest mean confidence.
    Confidence,
}

/// What the candidate reads where a limit holds.
#[derive(Debug, Clone, PartialEq)]
pub struct LimitReading {
    /// Which limit.
    pub limit: Limit,
    /// The limit.
    pub line: f64,
    /// Value and samples, or why there is none.
    pub reading: Result<(f64, u64), String>,
}

/// One comparison with the stable release.
#[derive(Debug, Clone, PartialEq)]
pub struct Guard {
    /// On what.
    pub guardrail: Guardrail,
    /// The comparison, or why there is none.
    pub comparison: Result<Comparison, String>,
}

impl LimitReading {
    /// True when the limit is broken, by however few samples.
    fn is_broken(&self) -> bool {
        let Ok((value, samples)) = self.reading else {
            return false;
        };
        samples > 0
            && match self.limit {
                Limit::ErrorRate | Limit::LatencyP95 => value > self.line,
                Limit::Confidence => value < self.line,
            }
    }

    /// True when the limit is broken and the samples are enough to say so.
    fn takes_back(&self, settings: &Settings) -> bool {
        let enough = u64::from(settings.limit_samples_min);
        self.is_broken() && matches!(self.reading, Ok((_, samples)) if samples >= enough)
    }
}

impl Guard {
    /// The verdict that counts: one from too few samples is none, whoever
    /// gave it.
    fn verdict(&self, settings: &Settings) -> ComparisonVerdict {
        let enough = u64::from(settings.samples_min);
        match &self.comparison {
            Ok(comparison)
                if comparison.candidate_samples >= enough
                    && comparison.baseline_samples >= enough =>
            {
                comparison.verdict
            }
            _ => ComparisonVerdict::NotEnoughData,
        }
    }
}

/// True when a hard limit decides, so that nothing has to be compared.
pub fn limit_decides(settings: &Settings, limits: &[LimitReading]) -> bool {
    limits.iter().any(|limit| limit.takes_back(settings))
}

/// Assesses the rollout.
pub fn assess(settings: &Settings, facts: &Facts) -> Assessment {
    if let Some(broken) = facts.limits.iter().find(|limit| limit.takes_back(settings)) {
        return Assessment::roll_back(text::limit(broken));
    }
    let worse = |guard: &&Guard| guard.verdict(settings) == ComparisonVerdict::Worse;
    if let Some(worse) = facts.guards.iter().find(worse) {
        return Assessment::roll_back(text::guard(worse, settings));
    }
    if let Some(broken) = facts.limits.iter().find(|limit| limit.is_broken()) {
        // Too few samples to take it back, and a bad sign all the same.
        return undecided(settings, facts, &text::limit(broken));
    }
    let unproven = facts
        .guards
        .iter()
        .find(|guard| guard.verdict(settings) == ComparisonVerdict::NotEnoughData);
    if let Some(unproven) = unproven {
        return undecided(settings, facts, &text::guard(unproven, settings));
    }
    if facts.guards.is_empty() {
        return undecided(settings, facts, "nothing was compared");
    }
    let dwell_ms = u64::from(settings.dwell_s) * MS;
    if facts.step_age_ms < dwell_ms {
        let left_s = (dwell_ms - facts.step_age_ms).div_ceil(MS);
        return Assessment::hold(text::dwell(left_s));
    }
    Assessment::advance(text::guards(&facts.guards, settings))
}

/// Holds, until the time for a decision has run out.
fn undecided(settings: &Settings, facts: &Facts, why: &str) -> Assessment {
    if facts.step_age_ms >= u64::from(settings.duration_max_s) * MS {
        Assessment::pause(text::time_is_up(settings.duration_max_s, why))
    } else {
        Assessment::hold(why)
    }
}
