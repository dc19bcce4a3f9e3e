//! How an objective stands, with the numbers behind it: for the admin plane and
//! scrapes.

use crate::config::{Bad, Objective, ObjectiveOf};
use backstop_core::metric::{ObjectiveState, Proportion};
use backstop_core::slo::alert::AlertState;
use backstop_core::slo::history::History;
use backstop_core::slo::{Slo, Urgency, WindowCounts, WindowStatus, status};
use serde::Serialize;
use utoipa::ToSchema;

/// An objective.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct ObjectiveReport {
    /// Its name.
    pub name: String,
    /// The route whose events count.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub route: Option<String>,
    /// The model whose events count.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// The metric, with its segment where it has one.
    pub metric: String,
    /// Which events are bad: `yes`, `no`, `above N` or `below N`.
    pub bad: String,
    /// Share of events that are to be good.
    pub target: f64,
    /// Seconds over which that is promised.
    pub period_s: u64,
    /// `met`, `pending`, `firing` or `no-evidence`: the worst of its windows.
    #[schema(value_type = String)]
    pub state: ObjectiveState,
    /// `page` or `ticket`, the more urgent of what fires.
    #[schema(value_type = Option<String>)]
    pub urgency: Option<Urgency>,
    /// Events over the period.
    pub period: CountReport,
    /// Share of the period's error budget that is left: 1 is all, below 0 is
    /// overspent. None without events.
    pub budget_left: Option<f64>,
    /// Fewest events in a long window before it says anything.
    pub events_min: u64,
    /// Its windows.
    pub windows: Vec<WindowReport>,
    /// When was looked last, in milliseconds since the Unix epoch.
    pub looked_ms: u64,
}

/// A pair of windows.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct WindowReport {
    /// `page` or `ticket`.
    #[schema(value_type = String)]
    pub urgency: Urgency,
    /// Seconds of the long window.
    pub long_s: u64,
    /// Seconds of the short one.
    pub short_s: u64,
    /// Burn rate above which it alerts, in both.
    pub factor: f64,
    /// Seconds that it has to last.
    pub for_s: u64,
    /// Where the alert stands.
    pub state: AlertWord,
    /// Since when, in milliseconds since the Unix epoch, where that is known.
    pub since_ms: Option<u64>,
    /// Since when a firing alert has nothing to tell whether it still is one.
    pub blind_since_ms: Option<u64>,
    /// Events of the long window.
    pub long: CountReport,
    /// Events of the short one.
    pub short: CountReport,
}

/// Events of a window.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, ToSchema)]
pub struct CountReport {
    /// Bad ones.
    pub bad: u64,
    /// All.
    pub events: u64,
    /// How many times faster than allowed they spend the budget. None without
    /// events.
    pub burn_rate: Option<f64>,
}

/// Where an alert stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum AlertWord {
    /// Nothing has happened.
    NoEvidence,
    /// Too little has happened.
    NotEnoughData,
    /// The budget lasts.
    Quiet,
    /// It burns, not yet for long enough.
    Pending,
    /// It burns.
    Firing,
    /// It no longer does, since some minutes.
    Resolved,
}

/// Of an objective.
pub(super) fn report(
    objective: &Objective,
    slo: &Slo,
    history: &History,
    windows: &[WindowStatus],
    looked_ms: u64,
) -> ObjectiveReport {
    let counts = |window_ms| count(slo, history.counts(window_ms));
    let (route, model) = match &objective.of {
        ObjectiveOf::Route(route) => (Some(route.to_string()), None),
        ObjectiveOf::Model(model) => (None, Some(model.to_string())),
    };
    let firing = windows.iter().filter(|of| of.state.fires());
    ObjectiveReport {
        name: objective.name.to_string(),
        route,
        model,
        metric: objective.metric.to_string(),
        bad: match objective.bad {
            Bad::Happened => "yes".to_owned(),
            Bad::Missed => "no".to_owned(),
            Bad::Above(bound) => format!("above {bound}"),
            Bad::Below(bound) => format!("below {bound}"),
        },
        target: objective.slo.objective,
        period_s: objective.slo.period_ms / 1_000,
        state: status(windows).state,
        urgency: firing.map(|of| of.window.urgency).max(),
        period: counts(objective.slo.period_ms),
        budget_left: slo.budget_left(history),
        events_min: objective.slo.events_min,
        windows: windows
            .iter()
            .map(|of| window(of, counts(of.window.long_ms), counts(of.window.short_ms)))
            .collect(),
        looked_ms,
    }
}

fn count(slo: &Slo, counts: Proportion) -> CountReport {
    CountReport {
        bad: counts.events,
        events: counts.trials,
        burn_rate: slo.burn_rate(counts),
    }
}

fn window(of: &WindowStatus, long: CountReport, short: CountReport) -> WindowReport {
    let (state, since_ms, blind_since_ms) = match of.state {
        AlertState::NoEvidence => (AlertWord::NoEvidence, None, None),
        AlertState::NotEnoughData => (AlertWord::NotEnoughData, None, None),
        AlertState::Quiet => (AlertWord::Quiet, None, None),
        AlertState::Pending { since_ms } => (AlertWord::Pending, Some(since_ms), None),
        AlertState::Firing {
            since_ms,
            blind_since_ms,
        } => (AlertWord::Firing, Some(since_ms), blind_since_ms),
        AlertState::Resolved { since_ms, .. } => (AlertWord::Resolved, Some(since_ms), None),
    };
    WindowReport {
        urgency: of.window.urgency,
        long_s: of.window.long_ms / 1_000,
        short_s: of.window.short_ms / 1_000,
        factor: of.window.factor,
        for_s: of.window.for_ms / 1_000,
        state,
        since_ms,
        blind_since_ms,
        long,
        short,
    }
}

/// A length of time in its largest whole unit: `5m`, `1h`, `3d`.
pub(crate) fn length(seconds: u64) -> String {
    let units = [(86_400, "d"), (3_600, "h"), (60, "m")];
    let whole = units
        .into_iter()
        .find(|(unit, _)| seconds > 0 && seconds.is_multiple_of(*unit));
    match whole {
        Some((unit, letter)) => format!("{}{letter}", seconds / unit),
        None => format!("{seconds}s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_length_is_told_in_its_largest_whole_unit() {
        let lengths = [0, 59, 60, 90, 300, 3_600, 5_400, 86_400, 30 * 86_400];
        let told = lengths.map(length);
        let expected = ["0s", "59s", "1m", "90s", "5m", "1h", "90m", "1d", "30d"];
        assert_eq!(told, expected);
    }
}
