//! Objectives and the alarms that fire while there is still budget to save.
//!
//! An objective of 99.9 % over 30 days allows one bad event in a thousand: the
//! error budget. The burn rate is how many times faster than that it is being
//! spent. A [`BurnWindow`] alerts when the burn rate is above its factor over a
//! long window, so that a blip does not wake anybody, and over a short one, so
//! that it ends soon after the trouble does. An [`Slo`] has several, quick ones
//! for pages and slow ones for tickets; [`alert`] is the state each is in.
//!
//! [`SloConfig`] says what is asked for. Who has the counts hands them in through
//! [`WindowCounts`], with the present time: [`history`] keeps them for as long
//! as a period. [`status`] is what policies are told.
//!
//! Sources: *The Site Reliability Workbook*, chapter 5; sloth's formula
//! `factor = budget · period / long` and its windows; pyrra's windows
//! ([`pyrra_windows`]).
//!
//! Always holds: a window without events is no evidence, which never ends an
//! alert and never counts as good.

pub mod alert;
mod config;
pub mod history;

pub use config::{
    BurnWindow, EVENTS_MIN_DEFAULT, PERIOD_MS_DEFAULT, PERIOD_MS_MAX, SloConfig, SloMistake,
    Urgency, WINDOWS_MAX, default_windows, pyrra_windows,
};

use crate::metric::{ObjectiveState, ObjectiveStatus, Proportion};
use alert::{Alert, AlertState};
use serde::{Deserialize, Serialize};

/// Who has the counts.
pub trait WindowCounts {
    /// Bad events among all events of the last `window_ms`. No trials is no
    /// evidence.
    fn counts(&self, window_ms: u64) -> Proportion;
}

impl<F: Fn(u64) -> Proportion> WindowCounts for F {
    fn counts(&self, window_ms: u64) -> Proportion {
        self(window_ms)
    }
}

/// What a pair of windows shows.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "reading")]
pub enum BurnReading {
    /// There are no events in one of the windows.
    NoEvidence,
    /// There are fewer than `events_min` in the long one.
    NotEnoughData {
        /// As many.
        events: u64,
    },
    /// There are enough.
    Measured {
        /// Events in the long window.
        events: u64,
        /// Burn rate over the long window.
        long: f64,
        /// Over the short one.
        short: f64,
        /// Both are above the factor.
        burning: bool,
    },
}

/// What was decided about one pair of windows.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct WindowStatus {
    /// The windows.
    pub window: BurnWindow,
    /// What they show.
    pub reading: BurnReading,
    /// The alert's state.
    pub state: AlertState,
}

/// An objective with its alerts. A restart neither forgets an alert nor sends it
/// again: see [`Slo::resume`].
#[derive(Debug, Clone, PartialEq)]
pub struct Slo {
    config: SloConfig,
    alerts: Vec<Alert>,
}

impl Slo {
    /// An objective about which nothing is known yet.
    ///
    /// # Errors
    ///
    /// All that is wrong with the configuration.
    pub fn new(config: SloConfig) -> Result<Slo, Vec<SloMistake>> {
        let mistakes = config.mistakes();
        if !mistakes.is_empty() {
            return Err(mistakes);
        }
        let alerts = vec![Alert::default(); config.windows.len()];
        Ok(Slo { config, alerts })
    }

    /// An objective whose alerts stand where [`Slo::alerts`] said. As
    /// [`Slo::new`] where they are not as many as its windows: they are another
    /// objective's.
    ///
    /// # Errors
    ///
    /// All that is wrong with the configuration.
    pub fn resume(config: SloConfig, alerts: Vec<Alert>) -> Result<Slo, Vec<SloMistake>> {
        let mut slo = Slo::new(config)?;
        if alerts.len() == slo.alerts.len() {
            slo.alerts = alerts;
        }
        Ok(slo)
    }

    /// The configuration.
    pub fn config(&self) -> &SloConfig {
        &self.config
    }

    /// The alerts, one for each of its windows, to be kept over a restart.
    pub fn alerts(&self) -> &[Alert] {
        &self.alerts
    }

    /// The share of bad events that the objective allows.
    fn budget(&self) -> f64 {
        1.0 - self.config.objective
    }

    /// How many times faster than allowed the budget is spent. None without
    /// events.
    pub fn burn_rate(&self, counts: Proportion) -> Option<f64> {
        (counts.trials > 0).then(|| {
            let bad = counts.events.min(counts.trials) as f64 / counts.trials as f64;
            bad / self.budget()
        })
    }

    /// Share of the period's budget that is left: 1 is all, below 0 is overspent.
    /// None without events in the period.
    pub fn budget_left(&self, counts: &impl WindowCounts) -> Option<f64> {
        let spent = self.burn_rate(counts.counts(self.config.period_ms))?;
        Some(1.0 - spent)
    }

    fn read(&self, window: &BurnWindow, counts: &impl WindowCounts) -> BurnReading {
        let (long, short) = (
            counts.counts(window.long_ms),
            counts.counts(window.short_ms),
        );
        let burns = self.burn_rate(long).zip(self.burn_rate(short));
        match burns {
            None => BurnReading::NoEvidence,
            Some(_) if long.trials < self.config.events_min => BurnReading::NotEnoughData {
                events: long.trials,
            },
            Some((long_burn, short_burn)) => BurnReading::Measured {
                events: long.trials,
                long: long_burn,
                short: short_burn,
                burning: long_burn > window.factor && short_burn > window.factor,
            },
        }
    }

    /// Looks at the counts and moves the alerts on. `now_ms` does not go back; if
    /// it does, what lasts has not lasted longer.
    pub fn evaluate(&mut self, now_ms: u64, counts: &impl WindowCounts) -> Vec<WindowStatus> {
        let readings: Vec<(BurnWindow, BurnReading)> = self
            .config
            .windows
            .iter()
            .map(|window| (*window, self.read(window, counts)))
            .collect();
        readings
            .into_iter()
            .zip(&mut self.alerts)
            .map(|((window, reading), alert)| WindowStatus {
                window,
                reading,
                state: alert.step(now_ms, window.for_ms, &reading),
            })
            .collect()
    }

    /// The state of an urgency: the worst of its windows'. None when it has no
    /// windows.
    pub fn state(&self, urgency: Urgency) -> Option<AlertState> {
        self.config
            .windows
            .iter()
            .zip(&self.alerts)
            .filter(|(window, _)| window.urgency == urgency)
            .map(|(_, alert)| alert.state())
            .max_by_key(AlertState::rank)
    }
}

/// How an objective stands, in the words of policies: the worst of what
/// [`Slo::evaluate`] returned, of equal ones the more urgent. Not knowing is
/// worse than knowing that all is well: one silent window is enough for
/// [`ObjectiveState::NoEvidence`].
pub fn status(windows: &[WindowStatus]) -> ObjectiveStatus {
    let worst = windows
        .iter()
        .max_by_key(|of| (of.state.rank(), of.window.urgency));
    let (burn_rate, samples) = match worst.map(|of| of.reading) {
        Some(BurnReading::Measured { events, long, .. }) => (long, events),
        Some(BurnReading::NotEnoughData { events }) => (0.0, events),
        Some(BurnReading::NoEvidence) | None => (0.0, 0),
    };
    let state = match worst.map(|of| of.state) {
        Some(AlertState::Firing { .. }) => ObjectiveState::Firing,
        Some(AlertState::Pending { .. }) => ObjectiveState::Pending,
        Some(AlertState::Quiet | AlertState::Resolved { .. }) => ObjectiveState::Met,
        Some(AlertState::NoEvidence | AlertState::NotEnoughData) | None => {
            ObjectiveState::NoEvidence
        }
    };
    let firing = worst.filter(|of| of.state.fires());
    ObjectiveStatus {
        state,
        severity: firing.map(|of| of.window.urgency.severity()),
        burn_rate,
        samples,
    }
}

#[cfg(test)]
mod tests;
