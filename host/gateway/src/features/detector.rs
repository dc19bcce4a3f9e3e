//! Detectors: a shift of a number is told when it happens, with no policy that
//! looks.
//!
//! One for each feature that asks for it; it sees the right values in the order
//! of requests. Always holds: memory is bounded (ADWIN's window is a logarithm of
//! what it has seen); after an alarm it begins anew, and so it does when the
//! configuration is reloaded.

use crate::config::DetectorKind;
use crate::refusal::REPORTER;
use crate::store::Incidents;
use crate::telemetry::Telemetry;
use backstop::{IncidentReport, IncidentSink, Severity};
use backstop_core::stats::online::{
    Adwin, AdwinOptions, PageHinkley, PageHinkleyMode, PageHinkleyOptions,
};
use parking_lot::Mutex;

/// Values before the first alarm of Page and Hinkley's test: its mean has to be
/// known.
const SAMPLES_MIN: u64 = 100;

/// A detector with what it has seen.
#[derive(Debug)]
pub(super) struct Detector(Mutex<State>);

#[derive(Debug)]
enum State {
    Adwin(Adwin),
    PageHinkley(PageHinkley),
}

/// A shift that was found.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Shift {
    /// The mean until the alarm.
    pub(super) before: f64,
    /// The value that raised it, or the mean of what is newer.
    pub(super) after: f64,
}

impl Detector {
    pub(super) fn new(kind: DetectorKind) -> Self {
        Detector(Mutex::new(match kind {
            DetectorKind::Adwin => State::Adwin(Adwin::new(AdwinOptions::default())),
            DetectorKind::PageHinkley { threshold } => {
                State::PageHinkley(PageHinkley::new(PageHinkleyOptions {
                    samples_min: SAMPLES_MIN,
                    // A change of a thousandth of the threshold does not matter.
                    delta: threshold / 1_000.0,
                    threshold,
                    mode: PageHinkleyMode::Both,
                    ..PageHinkleyOptions::default()
                }))
            }
        }))
    }

    /// Sees a value; the shift where it raises the alarm.
    pub(super) fn see(&self, value: f64) -> Option<Shift> {
        match &mut *self.0.lock() {
            State::Adwin(adwin) => {
                let before = adwin.mean();
                let after = adwin.update(value).then(|| adwin.mean())?;
                Some(Shift { before, after })
            }
            State::PageHinkley(test) => {
                let before = test.mean();
                let after = test.update(value).then_some(value)?;
                Some(Shift { before, after })
            }
        }
    }
}

/// Tells of a shift: a counter, the log, and an incident that goes on until
/// somebody closes it.
pub(super) fn tell(
    shift: Shift,
    (route, feature): (&str, &str),
    telemetry: &Telemetry,
    incidents: &Incidents,
) {
    let Shift { before, after } = shift;
    telemetry.shifted(route, feature);
    tracing::warn!(route, feature, before, after, "feature has shifted");
    let incident = IncidentReport {
        policy: REPORTER.to_owned(),
        key: format!("feature:{route}:{feature}"),
        severity: Severity::Warning,
        title: format!("feature `{feature}` of route `{route}` has shifted"),
        detail: format!("its mean was {before:.4}, and what is newer is about {after:.4}"),
    };
    // A full queue is counted and logged where it is.
    let _ = incidents.raise(incident);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Numbers around `middle`, in no order.
    fn around(middle: f64) -> impl Iterator<Item = f64> {
        (0u32..).map(move |n| middle + f64::from(n.wrapping_mul(7_919) % 100) / 10.0)
    }

    #[test]
    fn a_shift_is_told_once_and_a_steady_number_never() {
        for kind in [
            DetectorKind::Adwin,
            DetectorKind::PageHinkley { threshold: 500.0 },
        ] {
            let detector = Detector::new(kind);
            let quiet = around(100.0)
                .take(5_000)
                .find_map(|value| detector.see(value));
            assert_eq!(quiet, None, "{kind:?}");
            let alarms: Vec<(usize, Shift)> = around(110.0)
                .take(2_000)
                .enumerate()
                .filter_map(|(at, value)| Some((at, detector.see(value)?)))
                .collect();
            assert_eq!(alarms.len(), 1, "{kind:?}: {alarms:?}");
            let (at, shift) = alarms[0];
            assert!(at < 300, "{kind:?} took {at} values");
            assert!((shift.before - 105.0).abs() < 2.0, "{shift:?}");
            assert!(shift.after > shift.before, "{shift:?}");
        }
    }
}
