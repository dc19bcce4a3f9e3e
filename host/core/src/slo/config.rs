//! What an objective asks for: its share of good events, its period, and the
//! pairs of windows that alert.
//!
//! [`super`] judges by it. Always holds: [`SloConfig::mistakes`] finds everything
//! that would make an objective one that can never alert.

use crate::metric::Severity;
use serde::{Deserialize, Serialize};

pub(super) const MINUTE_MS: u64 = 60_000;
pub(super) const HOUR_MS: u64 = 60 * MINUTE_MS;
pub(super) const DAY_MS: u64 = 24 * HOUR_MS;

/// The usual period.
pub const PERIOD_MS_DEFAULT: u64 = 30 * DAY_MS;
/// Fewest events in the long window before it says anything, unless set: the
/// gate that operators bolt on to the tools that have none.
pub const EVENTS_MIN_DEFAULT: u64 = 20;
/// Most windows of an objective.
pub const WINDOWS_MAX: usize = 16;
/// Longest period, a year: windows are kept as counts, and counts need memory.
pub const PERIOD_MS_MAX: u64 = 366 * DAY_MS;

/// Who is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Urgency {
    /// Somebody looks at it in working hours.
    Ticket,
    /// Somebody looks at it now.
    Page,
}

impl Urgency {
    /// How bad it is in the words of incidents and policies.
    pub fn severity(self) -> Severity {
        match self {
            Urgency::Ticket => Severity::Warning,
            Urgency::Page => Severity::Critical,
        }
    }
}

/// A pair of windows and when it alerts.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct BurnWindow {
    /// Who is told.
    pub urgency: Urgency,
    /// The long window.
    pub long_ms: u64,
    /// The short window.
    pub short_ms: u64,
    /// Burn rate above which it alerts, in both.
    pub factor: f64,
    /// How long it has to last before it fires.
    pub for_ms: u64,
}

impl BurnWindow {
    /// A window that alerts when it spends `budget` (a share: 0.02 is 2 %) of
    /// the period's error budget.
    pub fn spending(
        budget: f64,
        urgency: Urgency,
        long_ms: u64,
        short_ms: u64,
        period_ms: u64,
    ) -> BurnWindow {
        BurnWindow {
            urgency,
            long_ms,
            short_ms,
            factor: budget * period_ms as f64 / long_ms as f64,
            for_ms: 0,
        }
    }
}

/// sloth's windows, from the Workbook: 2 % in an hour or 5 % in six are a page,
/// 10 % in a day or 10 % in three are a ticket. The factors follow from the
/// period: 14.4, 6, 3 and 1 for 30 days.
pub fn default_windows(period_ms: u64) -> Vec<BurnWindow> {
    use Urgency::{Page, Ticket};
    [
        (0.02, Page, HOUR_MS, 5 * MINUTE_MS),
        (0.05, Page, 6 * HOUR_MS, 30 * MINUTE_MS),
        (0.10, Ticket, DAY_MS, 2 * HOUR_MS),
        (0.10, Ticket, 3 * DAY_MS, 6 * HOUR_MS),
    ]
    .into_iter()
    .map(|(budget, urgency, long_ms, short_ms)| {
        BurnWindow::spending(budget, urgency, long_ms, short_ms, period_ms)
    })
    .collect()
}

/// pyrra's windows: the factors stay (14, 7, 2, 1) and the windows follow from
/// the period, to the minute; for 28 days 1 h, 6 h, 1 d and 4 d, waiting 2 m,
/// 15 m, 1 h and 3 h.
pub fn pyrra_windows(period_ms: u64) -> Vec<BurnWindow> {
    use Urgency::{Page, Ticket};
    let part = |of_28_days_ms: u64| {
        let exact = period_ms as f64 * of_28_days_ms as f64 / (28 * DAY_MS) as f64;
        (exact / MINUTE_MS as f64).round() as u64 * MINUTE_MS
    };
    [
        (14.0, Page, HOUR_MS, 5 * MINUTE_MS, 2 * MINUTE_MS),
        (7.0, Page, 6 * HOUR_MS, 30 * MINUTE_MS, 15 * MINUTE_MS),
        (2.0, Ticket, DAY_MS, 2 * HOUR_MS, HOUR_MS),
        (1.0, Ticket, 4 * DAY_MS, 6 * HOUR_MS, 3 * HOUR_MS),
    ]
    .into_iter()
    .map(|(factor, urgency, long_ms, short_ms, for_ms)| BurnWindow {
        urgency,
        long_ms: part(long_ms),
        short_ms: part(short_ms),
        factor,
        for_ms: part(for_ms),
    })
    .collect()
}

/// An objective as it is asked for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SloConfig {
    /// Share of events that are good, in `(0, 1)`.
    pub objective: f64,
    /// Over how long.
    pub period_ms: u64,
    /// When to alert.
    pub windows: Vec<BurnWindow>,
    /// Fewest events in a long window before it says anything.
    pub events_min: u64,
}

impl SloConfig {
    /// An objective over 30 days with the [`default_windows`].
    pub fn new(objective: f64) -> SloConfig {
        SloConfig {
            objective,
            period_ms: PERIOD_MS_DEFAULT,
            windows: default_windows(PERIOD_MS_DEFAULT),
            events_min: EVENTS_MIN_DEFAULT,
        }
    }

    /// What is wrong with it; empty when nothing is.
    pub fn mistakes(&self) -> Vec<SloMistake> {
        let mut mistakes = Vec::new();
        if !(self.objective > 0.0 && self.objective < 1.0) {
            mistakes.push(SloMistake::Objective(self.objective));
        }
        if self.period_ms == 0 || self.period_ms > PERIOD_MS_MAX {
            mistakes.push(SloMistake::Period(self.period_ms));
        }
        if self.windows.is_empty() || self.windows.len() > WINDOWS_MAX {
            mistakes.push(SloMistake::Windows(self.windows.len()));
        }
        for (at, window) in self.windows.iter().enumerate() {
            if window.short_ms == 0 || window.short_ms >= window.long_ms {
                mistakes.push(SloMistake::Short(at));
            }
            if window.long_ms > self.period_ms {
                mistakes.push(SloMistake::Long(at));
            }
            if !(window.factor.is_finite() && window.factor > 0.0) {
                mistakes.push(SloMistake::Factor(at));
            } else if window.factor * (1.0 - self.objective) >= 1.0 {
                mistakes.push(SloMistake::Unreachable(at));
            }
        }
        mistakes
    }
}

/// A mistake in a [`SloConfig`]; windows are counted from 0.
#[derive(Debug, Clone, Copy, PartialEq, thiserror::Error)]
pub enum SloMistake {
    /// Not in `(0, 1)`.
    #[error("`objective` is {0}, where a share between 0 and 1 is needed: 0.999 is 99.9 %")]
    Objective(f64),
    /// None, or longer than a year.
    #[error("`period_ms` is {0}, where 1 to {PERIOD_MS_MAX} is possible")]
    Period(u64),
    /// None, or too many.
    #[error("{0} windows, where 1 to {WINDOWS_MAX} are possible")]
    Windows(usize),
    /// Not shorter than the long window.
    #[error("`short_ms` of window {0} is not between 0 and its `long_ms`")]
    Short(usize),
    /// Longer than the period.
    #[error("`long_ms` of window {0} is longer than the period")]
    Long(usize),
    /// No burn rate.
    #[error("`factor` of window {0} is not a number above 0")]
    Factor(usize),
    /// Above what is possible.
    #[error(
        "window {0} can never alert: its factor times the error budget is 100 % or more; \
         lower the factor or raise the objective"
    )]
    Unreachable(usize),
}
