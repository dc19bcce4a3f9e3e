//! `metrics`, scripted.

use super::{Measured, WORLD, World, matches, raw, subject_key};
use raw::metrics::{
    Comparison, ComparisonOptions, ComparisonVerdict, DriftReading, DriftVerdict, Estimate,
    MetricsError, Moments, Proportion, Subject,
};

/// Longest window of a query, in seconds.
const WINDOW_S_MAX: u32 = 86_400;

impl World {
    /// Finds the script for a query: an exact window first, then any window;
    /// among equals the newest.
    pub(super) fn measure<T>(
        &self,
        metric: &str,
        keys: &[String],
        window_s: u32,
        pick: impl Fn(&Measured) -> Option<T>,
    ) -> Result<Option<T>, MetricsError> {
        let base = metric.split_once('{').map_or(metric, |(base, _)| base);
        if !matches(&self.grants.metrics, base) {
            return Err(MetricsError::Denied(metric.to_owned()));
        }
        if !(1..=WINDOW_S_MAX).contains(&window_s) {
            return Err(MetricsError::Invalid("window-s".to_owned()));
        }
        for exact in [true, false] {
            for reading in self.readings.iter().rev() {
                let fits = reading.metric == metric
                    && (reading.subjects.is_empty() || reading.subjects == keys)
                    && if exact {
                        reading.window_s == Some(window_s)
                    } else {
                        reading.window_s.is_none()
                    };
                if !fits {
                    continue;
                }
                if let Measured::Error(error) = &reading.value {
                    return Err(error.clone());
                }
                if let Some(value) = pick(&reading.value) {
                    return Ok(Some(value));
                }
            }
        }
        Ok(None)
    }
}

pub(crate) fn rate(
    metric: &str,
    subject: Subject<'_>,
    window_s: u32,
) -> Result<Proportion, MetricsError> {
    let none = Proportion {
        events: 0,
        trials: 0,
    };
    WORLD.with_borrow(|world| {
        let pick = |value: &Measured| match value {
            Measured::Rate(rate) => Some(*rate),
            _ => None,
        };
        Ok(world
            .measure(metric, &[subject_key(&subject)], window_s, pick)?
            .unwrap_or(none))
    })
}

pub(crate) fn mean(
    metric: &str,
    subject: Subject<'_>,
    window_s: u32,
) -> Result<Moments, MetricsError> {
    let none = Moments {
        samples: 0,
        mean: 0.0,
        stddev: 0.0,
    };
    WORLD.with_borrow(|world| {
        let pick = |value: &Measured| match value {
            Measured::Mean(moments) => Some(*moments),
            _ => None,
        };
        Ok(world
            .measure(metric, &[subject_key(&subject)], window_s, pick)?
            .unwrap_or(none))
    })
}

pub(crate) fn quantile(
    metric: &str,
    subject: Subject<'_>,
    window_s: u32,
    q: f64,
) -> Result<Estimate, MetricsError> {
    if !(0.0..=1.0).contains(&q) {
        return Err(MetricsError::Invalid("q".to_owned()));
    }
    let none = Estimate {
        samples: 0,
        value: 0.0,
    };
    WORLD.with_borrow(|world| {
        let pick = |value: &Measured| match value {
            Measured::Quantile(of, estimate) if of.total_cmp(&q).is_eq() => Some(*estimate),
            _ => None,
        };
        Ok(world
            .measure(metric, &[subject_key(&subject)], window_s, pick)?
            .unwrap_or(none))
    })
}

pub(crate) fn compare(
    metric: &str,
    candidate: Subject<'_>,
    baseline: Subject<'_>,
    window_s: u32,
    options: ComparisonOptions,
) -> Result<Comparison, MetricsError> {
    check(&options)?;
    let none = Comparison {
        verdict: ComparisonVerdict::NotEnoughData,
        effect: 0.0,
        low: 0.0,
        high: 0.0,
        candidate_samples: 0,
        baseline_samples: 0,
    };
    WORLD.with_borrow(|world| {
        let pick = |value: &Measured| match value {
            Measured::Comparison(comparison) => Some(*comparison),
            _ => None,
        };
        Ok(world
            .measure(
                metric,
                &[&candidate, &baseline].map(subject_key),
                window_s,
                pick,
            )?
            .unwrap_or(none))
    })
}

pub(crate) fn drift(
    metric: &str,
    subject: Subject<'_>,
    window_s: u32,
    reference_s: u32,
) -> Result<DriftReading, MetricsError> {
    if reference_s == 0 {
        return Err(MetricsError::Invalid("reference-s".to_owned()));
    }
    let none = DriftReading {
        verdict: DriftVerdict::NotEnoughData,
        psi: 0.0,
        critical: 0.0,
        current_samples: 0,
        reference_samples: 0,
    };
    WORLD.with_borrow(|world| {
        let pick = |value: &Measured| match value {
            Measured::Drift(reading) => Some(*reading),
            _ => None,
        };
        Ok(world
            .measure(metric, &[subject_key(&subject)], window_s, pick)?
            .unwrap_or(none))
    })
}

/// What the host would refuse.
pub(super) fn check(options: &ComparisonOptions) -> Result<(), MetricsError> {
    if !(options.alpha > 0.0 && options.alpha <= 0.5) {
        return Err(MetricsError::Invalid("alpha".to_owned()));
    }
    if !(options.margin >= 0.0 && options.margin.is_finite()) {
        return Err(MetricsError::Invalid("margin".to_owned()));
    }
    Ok(())
}
