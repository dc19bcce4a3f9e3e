//! The analysis of Argo Rollouts, metric by metric, beside a strict one.
//!
//! For teams that come with analysis templates: [`Metric::compatible`] is the
//! phase that Argo assigns (`analysis.go`), fail-open where it is: a metric that
//! was terminated before it was measured is successful there. [`Metric::strict`]
//! has one phase more, [`Phase::NoEvidence`], which ranks above inconclusive and
//! never promotes. Conditions are evaluated elsewhere; here are their outcomes.
//!
//! Always holds: phases depend on counts alone; a run's phase is the worst of its
//! metrics' that are not dry runs.

use serde::{Deserialize, Serialize};

/// Outcome of a measurement, a metric or a run; the worst is the largest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Phase {
    /// The conditions were met.
    Successful,
    /// Measurements go on.
    Running,
    /// None was taken yet.
    Pending,
    /// Neither success nor failure; a person decides.
    Inconclusive,
    /// Nothing was learned. Ours; Argo has no such phase.
    NoEvidence,
    /// Measuring failed.
    Error,
    /// A condition was broken.
    Failed,
}

impl Phase {
    /// Whether the analysis may be taken for a reason to go on.
    pub fn promotes(self) -> bool {
        self == Phase::Successful
    }

    /// Whether nothing more is measured.
    pub fn is_terminal(self) -> bool {
        !matches!(self, Phase::Running | Phase::Pending)
    }
}

/// The phase of one measurement from its success and failure conditions: None is
/// a condition that is not set. With neither, Argo counts success.
pub fn measured(success: Option<bool>, failure: Option<bool>) -> Phase {
    match (success, failure) {
        (_, Some(true)) => Phase::Failed,
        (Some(true), _) | (None, _) => Phase::Successful,
        (Some(false), None) => Phase::Failed,
        (Some(false), Some(false)) => Phase::Inconclusive,
    }
}

/// Limits of a metric, by default Argo's. A negative limit is off.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Failed measurements that are borne.
    pub failure_limit: i64,
    /// Inconclusive ones.
    pub inconclusive_limit: i64,
    /// Errors in a row.
    pub consecutive_error_limit: i64,
    /// Successes in a row that end the metric; 0 is off.
    pub consecutive_success_limit: u64,
    /// Measurements to take; None with an interval is without end.
    pub count: Option<u64>,
    /// Whether measurements are repeated.
    pub has_interval: bool,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            failure_limit: 0,
            inconclusive_limit: 0,
            consecutive_error_limit: 4,
            consecutive_success_limit: 0,
            count: None,
            has_interval: false,
        }
    }
}

impl Limits {
    /// Measurements until the end: one without count and interval.
    fn effective_count(&self) -> Option<u64> {
        match (self.count, self.has_interval) {
            (None | Some(0), false) => Some(1),
            (None | Some(0), true) => None,
            (count, _) => count,
        }
    }
}

/// What was measured of a metric so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Metric {
    /// Successful measurements.
    pub successful: u64,
    /// Failed ones.
    pub failed: u64,
    /// Inconclusive ones.
    pub inconclusive: u64,
    /// Errors; they do not count as measurements.
    pub error: u64,
    /// Errors since the last other measurement.
    pub consecutive_error: u64,
    /// Successes since the last other measurement.
    pub consecutive_success: u64,
    /// Whether a measurement is under way.
    pub in_flight: bool,
}

impl Metric {
    /// Takes the phase of a measurement. Those that are not final leave all as it
    /// is.
    pub fn record(&mut self, phase: Phase) {
        let (counter, error) = match phase {
            Phase::Successful => (&mut self.successful, false),
            Phase::Failed => (&mut self.failed, false),
            Phase::Inconclusive | Phase::NoEvidence => (&mut self.inconclusive, false),
            Phase::Error => (&mut self.error, true),
            Phase::Running | Phase::Pending => return,
        };
        *counter += 1;
        self.consecutive_error = if error { self.consecutive_error + 1 } else { 0 };
        self.consecutive_success = match phase {
            Phase::Successful => self.consecutive_success + 1,
            _ => 0,
        };
    }

    /// Measurements that count.
    pub fn count(&self) -> u64 {
        self.successful + self.failed + self.inconclusive
    }

    /// The phase that Argo assigns; `terminating` is a run that is being ended.
    pub fn compatible(&self, limits: &Limits, terminating: bool) -> Phase {
        if self.count() + self.error == 0 && !self.in_flight {
            return match terminating {
                true => Phase::Successful,
                false => Phase::Pending,
            };
        }
        if self.in_flight {
            return Phase::Running;
        }
        let over = |count: u64, limit: i64| u64::try_from(limit).is_ok_and(|limit| count > limit);
        // Later ones override earlier ones.
        if over(self.consecutive_error, limits.consecutive_error_limit) {
            return Phase::Error;
        }
        if over(self.inconclusive, limits.inconclusive_limit) {
            return Phase::Inconclusive;
        }
        if over(self.failed, limits.failure_limit) {
            return Phase::Failed;
        }
        let wanted = limits.consecutive_success_limit;
        if wanted > 0 && self.consecutive_success >= wanted {
            return Phase::Successful;
        }
        if limits
            .effective_count()
            .is_some_and(|count| self.count() >= count)
        {
            return match (wanted > 0, limits.failure_limit >= 0) {
                (true, true) => Phase::Inconclusive,
                (true, false) => Phase::Failed,
                (false, _) => Phase::Successful,
            };
        }
        match terminating {
            true => Phase::Successful,
            false => Phase::Running,
        }
    }

    /// [`Metric::compatible`], but success needs evidence: at least one success,
    /// the whole count unless the wanted successes came in a row, and so not the
    /// end of the run. What Argo would call successful without is
    /// [`Phase::NoEvidence`].
    pub fn strict(&self, limits: &Limits, terminating: bool) -> Phase {
        let compatible = self.compatible(limits, terminating);
        if compatible != Phase::Successful {
            return compatible;
        }
        let wanted = limits.consecutive_success_limit;
        let complete = (wanted > 0 && self.consecutive_success >= wanted)
            || limits
                .effective_count()
                .is_some_and(|count| self.count() >= count);
        match self.successful > 0 && complete {
            true => Phase::Successful,
            false => Phase::NoEvidence,
        }
    }

    /// Why Argo says failed, inconclusive or error, in its words; None otherwise.
    pub fn message(&self, name: &str, limits: &Limits) -> Option<String> {
        let (count, what, limit, key) = match self.compatible(limits, false) {
            Phase::Failed if self.failed as i128 > i128::from(limits.failure_limit) => {
                (self.failed, "failed", limits.failure_limit, "failureLimit")
            }
            Phase::Inconclusive
                if self.inconclusive as i128 > i128::from(limits.inconclusive_limit) =>
            {
                let limit = limits.inconclusive_limit;
                (
                    self.inconclusive,
                    "inconclusive",
                    limit,
                    "inconclusiveLimit",
                )
            }
            Phase::Error => {
                let limit = limits.consecutive_error_limit;
                let key = "consecutiveErrorLimit";
                (self.consecutive_error, "consecutiveErrors", limit, key)
            }
            _ => return None,
        };
        let phase = match what {
            "failed" => "Failed",
            "inconclusive" => "Inconclusive",
            _ => "Error",
        };
        Some(format!(
            "Metric \"{name}\" assessed {phase} due to {what} ({count}) > {key} ({limit})"
        ))
    }
}

/// The phase of a run from its metrics' (a dry run's are left out). A run of no
/// metrics is successful in Argo, and without evidence when `strict`.
pub fn run(metrics: impl IntoIterator<Item = Phase>, strict: bool) -> Phase {
    let none = match strict {
        true => Phase::NoEvidence,
        false => Phase::Successful,
    };
    metrics.into_iter().max().unwrap_or(none)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn measurements_are_judged_as_in_argo() {
        for (success, failure, phase) in [
            (None, None, Phase::Successful),
            (Some(true), None, Phase::Successful),
            (Some(false), None, Phase::Failed),
            (None, Some(true), Phase::Failed),
            (None, Some(false), Phase::Successful),
            (Some(true), Some(true), Phase::Failed),
            (Some(true), Some(false), Phase::Successful),
            (Some(false), Some(false), Phase::Inconclusive),
        ] {
            assert_eq!(measured(success, failure), phase, "{success:?} {failure:?}");
        }
    }

    fn phases(metric: Metric, limits: Limits) -> [Phase; 2] {
        [false, true].map(|terminating| metric.compatible(&limits, terminating))
    }

    /// The table of Argo's own unit tests.
    #[test]
    fn metrics_have_argos_phases() {
        use Phase::{Error, Failed, Inconclusive, Running, Successful};
        let endless = Limits {
            has_interval: true,
            ..Limits::default()
        };
        let failed = |failed| Metric {
            failed,
            ..Metric::default()
        };
        let limit = |failure_limit| Limits {
            failure_limit,
            ..endless
        };
        assert_eq!(phases(failed(3), limit(2)), [Failed, Failed]);
        assert_eq!(phases(failed(3), limit(3)), [Running, Successful]);
        let errors = |consecutive_error| Metric {
            error: consecutive_error,
            consecutive_error,
            ..Metric::default()
        };
        assert_eq!(phases(errors(5), endless)[0], Error);
        assert_eq!(phases(errors(4), endless)[0], Running);
        let ten = Limits {
            count: Some(10),
            ..endless
        };
        let counts = |successful, inconclusive| Metric {
            successful,
            inconclusive,
            ..Metric::default()
        };
        assert_eq!(phases(counts(10, 0), ten)[0], Successful);
        assert_eq!(phases(counts(5, 5), ten)[0], Inconclusive);

        for (failure_limit, wanted, failed, row, count, phase) in [
            (-1, 3, 0, 3, None, Successful),
            (-1, 5, 0, 3, None, Running),
            (-1, 5, 0, 3, Some(7), Failed),
            (-1, 5, 0, 3, Some(9), Running),
            (4, 4, 4, 3, Some(10), Inconclusive),
            (4, 4, 5, 3, Some(10), Failed),
            (4, 4, 4, 4, Some(10), Successful),
            (4, 4, 5, 4, Some(10), Failed),
            (4, 4, 3, 3, Some(11), Running),
            (4, 4, 5, 3, Some(11), Failed),
            (4, 4, 3, 4, Some(11), Successful),
            (4, 4, 5, 4, Some(11), Failed),
        ] {
            let taken = if failure_limit < 0 { 7 } else { 10 };
            let metric = Metric {
                successful: taken - failed,
                failed,
                consecutive_success: row,
                ..Metric::default()
            };
            let limits = Limits {
                failure_limit,
                consecutive_success_limit: wanted,
                count,
                ..endless
            };
            assert_eq!(
                metric.compatible(&limits, false),
                phase,
                "{metric:?} {limits:?}"
            );
        }
        let message = failed(1).message("x", &endless).unwrap();
        let argos = "Metric \"x\" assessed Failed due to failed (1) > failureLimit (0)";
        assert_eq!(message, argos);
    }

    #[test]
    fn no_evidence_never_promotes() {
        let limits = Limits::default();
        let none = Metric::default();
        assert_eq!(none.compatible(&limits, true), Phase::Successful);
        assert_eq!(none.strict(&limits, true), Phase::NoEvidence);
        assert_eq!(none.strict(&limits, false), Phase::Pending);
        let mut errors = Metric::default();
        (0..4).for_each(|_| errors.record(Phase::Error));
        assert_eq!(errors.compatible(&limits, true), Phase::Successful);
        assert_eq!(errors.strict(&limits, true), Phase::NoEvidence);
        let five = Limits {
            count: Some(5),
            has_interval: true,
            ..limits
        };
        let mut metric = Metric::default();
        for taken in 0..5 {
            assert_ne!(metric.strict(&five, true), Phase::Successful, "{taken}");
            metric.record(Phase::Successful);
        }
        assert_eq!(metric.strict(&five, false), Phase::Successful);
        // Failures that are borne are not success either.
        let mut borne = Metric::default();
        borne.record(Phase::Failed);
        let bears = Limits {
            failure_limit: 1,
            ..limits
        };
        assert_eq!(borne.compatible(&bears, false), Phase::Successful);
        assert_eq!(borne.strict(&bears, false), Phase::NoEvidence);
        assert!(!Phase::NoEvidence.promotes());
    }

    #[test]
    fn a_run_is_as_good_as_its_worst_metric() {
        use Phase::{Error, Inconclusive, NoEvidence, Pending, Running, Successful};
        assert_eq!(run([Successful, Running, Successful], true), Running);
        assert_eq!(run([Inconclusive, NoEvidence, Pending], true), NoEvidence);
        assert_eq!(run([Error, NoEvidence], true), Error);
        assert_eq!(run([], true), NoEvidence);
        assert_eq!(run([], false), Successful);
    }
}
