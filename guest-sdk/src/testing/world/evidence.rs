//! `evidence`, scripted.

use super::{Measured, WORLD, matches, raw, subject_key};
use raw::evidence::{LineReading, Measurement, ObjectiveStatus, Share};
use raw::metrics::{Comparison, ComparisonOptions, DriftReading, MetricsError, Subject};

/// How a script and a query both write a baseline, beside the subject.
pub(crate) fn baseline_key(baseline: &str) -> String {
    format!("baseline {baseline}")
}

pub(crate) fn shares(
    metric: &str,
    subject: Subject<'_>,
    window_s: u32,
) -> Result<Vec<Share>, MetricsError> {
    WORLD.with_borrow(|world| {
        let pick = |value: &Measured| match value {
            Measured::Shares(shares) => Some(shares.clone()),
            _ => None,
        };
        let keys = [subject_key(&subject)];
        let shares = world.measure(metric, &keys, window_s, pick)?;
        Ok(shares.unwrap_or_default())
    })
}

pub(crate) fn measure(
    metric: &str,
    subject: Subject<'_>,
    window_s: u32,
) -> Result<Measurement, MetricsError> {
    let none = Measurement {
        samples: 0,
        value: 0.0,
        standard_error: 0.0,
        age_ms: 0,
    };
    WORLD.with_borrow(|world| {
        let pick = |value: &Measured| match value {
            Measured::Number(number) => Some(*number),
            _ => None,
        };
        let keys = [subject_key(&subject)];
        Ok(world
            .measure(metric, &keys, window_s, pick)?
            .unwrap_or(none))
    })
}

pub(crate) fn drift_from(
    metric: &str,
    subject: Subject<'_>,
    window_s: u32,
    baseline: &str,
) -> Result<DriftReading, MetricsError> {
    WORLD.with_borrow(|world| {
        let pick = |value: &Measured| match value {
            Measured::Drift(reading) => Some(*reading),
            _ => None,
        };
        let keys = [subject_key(&subject), baseline_key(baseline)];
        world
            .measure(metric, &keys, window_s, pick)?
            .ok_or_else(|| MetricsError::Unknown(baseline.to_owned()))
    })
}

pub(crate) fn compare_with(
    metric: &str,
    subject: Subject<'_>,
    window_s: u32,
    baseline: &str,
    options: ComparisonOptions,
) -> Result<Comparison, MetricsError> {
    super::metrics::check(&options)?;
    WORLD.with_borrow(|world| {
        let pick = |value: &Measured| match value {
            Measured::Comparison(comparison) => Some(*comparison),
            _ => None,
        };
        let keys = [subject_key(&subject), baseline_key(baseline)];
        world
            .measure(metric, &keys, window_s, pick)?
            .ok_or_else(|| MetricsError::Unknown(baseline.to_owned()))
    })
}

pub(crate) fn find_line(
    subject: Subject<'_>,
    window_s: u32,
    error_max: f64,
    delta: f64,
) -> Result<LineReading, MetricsError> {
    for (name, share) in [("error-max", error_max), ("delta", delta)] {
        if !(share > 0.0 && share < 1.0) {
            return Err(MetricsError::Invalid(name.to_owned()));
        }
    }
    WORLD.with_borrow(|world| {
        let pick = |value: &Measured| match value {
            Measured::Line(reading) => Some(*reading),
            _ => None,
        };
        let keys = [subject_key(&subject)];
        let reading = world.measure("labelled", &keys, window_s, pick)?;
        Ok(reading.unwrap_or(LineReading::NotEnoughData(0)))
    })
}

pub(crate) fn objective(name: &str) -> Result<ObjectiveStatus, MetricsError> {
    let metric = format!("objective:{name}");
    WORLD.with_borrow(|world| {
        if !matches(&world.grants.metrics, &metric) {
            return Err(MetricsError::Denied(metric));
        }
        let status = world.objectives.iter().rev().find(|(of, _)| of == name);
        match status {
            Some((_, status)) => Ok(*status),
            None => Err(MetricsError::Unknown(name.to_owned())),
        }
    })
}
