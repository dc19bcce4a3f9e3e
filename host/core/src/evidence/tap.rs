//! Taps: what a series records, counted a second time for whoever keeps it
//! longer than windows reach, exactly and at the moment of recording.
//!
//! An objective over 30 days ([`crate::slo`]) takes what its tap has counted
//! every few seconds. A value is counted against a bound, which a sketch could
//! only do to its precision.
//!
//! Always holds: what a series refuses is not counted; what belongs to an
//! earlier moment is, when it is recorded; a series that is tapped is not swept.

use super::{Evidence, MetricKind, Series, SeriesError, SubjectRef};
use crate::metric::Proportion;
use parking_lot::Mutex;
use std::fmt;
use std::sync::Arc;

/// Which records are events.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum TapOf {
    /// Of a rate: those that happened.
    Happened,
    /// Of a value: those above the bound.
    Above(f64),
    /// Of a value: those below the bound.
    Below(f64),
}

impl TapOf {
    /// The kind of metric that can be counted so.
    pub fn kind(self) -> MetricKind {
        match self {
            TapOf::Happened => MetricKind::Rate,
            TapOf::Above(_) | TapOf::Below(_) => MetricKind::Value,
        }
    }
}

/// Counts what one series records from now on, for as long as it lives.
pub struct Tap {
    series: Arc<Series>,
    counting: Arc<Counting>,
}

/// The part of a tap that its series knows.
#[derive(Debug)]
pub(super) struct Counting {
    of: TapOf,
    counts: Mutex<Proportion>,
}

impl Counting {
    fn add(&self, event: bool) {
        let mut counts = self.counts.lock();
        counts.trials += 1;
        counts.events += u64::from(event);
    }

    pub(super) fn rate(&self, event: bool) {
        if self.of == TapOf::Happened {
            self.add(event);
        }
    }

    pub(super) fn value(&self, number: f64) {
        match self.of {
            TapOf::Happened => {}
            TapOf::Above(bound) => self.add(number > bound),
            TapOf::Below(bound) => self.add(number < bound),
        }
    }
}

impl fmt::Debug for Tap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (metric, of) = (self.series.metric(), self.counting.of);
        write!(f, "Tap({metric}, {of:?})")
    }
}

impl Tap {
    /// What was counted since the last call.
    pub fn take(&self) -> Proportion {
        std::mem::take(&mut self.counting.counts.lock())
    }

    /// False when the store was full: nothing is ever counted.
    pub fn is_kept(&self) -> bool {
        self.series.is_kept()
    }
}

impl Drop for Tap {
    fn drop(&mut self) {
        let mut taps = self.series.taps.write();
        taps.retain(|known| !Arc::ptr_eq(known, &self.counting));
    }
}

impl Evidence {
    /// Counts what is recorded of `metric` for `subject` from now on. The series
    /// is made where it is not there, the metric is not.
    ///
    /// # Errors
    ///
    /// When the metric is not known, or of a kind that cannot be counted so.
    pub fn tap(
        &self,
        metric: &str,
        subject: SubjectRef<'_>,
        of: TapOf,
    ) -> Result<Tap, SeriesError> {
        let Some(known) = self.known(metric) else {
            return Err(SeriesError::Unknown(metric.to_owned()));
        };
        let subject = match known.of_process {
            true => SubjectRef::Process,
            false => subject,
        };
        let series = self.series_of(metric, subject, of.kind())?;
        let counting = Arc::new(Counting {
            of,
            counts: Mutex::default(),
        });
        series.taps.write().push(counting.clone());
        Ok(Tap { series, counting })
    }
}
