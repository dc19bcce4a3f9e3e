//! Telling of alerts: an incident and a counter when one begins to fire, and a
//! line in the log when it does and when it ends. Incidents are closed by people.

use super::report::{CountReport, ObjectiveReport, WindowReport, length};
use super::watched::Change;
use crate::refusal::REPORTER;
use crate::store::Incidents;
use crate::telemetry::Telemetry;
use backstop::{IncidentReport, IncidentSink};
use backstop_core::slo::Urgency;

/// Tells of what one look at an objective has changed. Of alerts that begin to
/// fire at once, the most urgent speaks for all in the incident.
pub(super) fn tell(changes: &[Change], incidents: &Incidents, telemetry: &Telemetry) {
    let mut worst: Option<(&Change, &WindowReport)> = None;
    for change in changes {
        let report = &change.report;
        let name = &*report.name;
        let Some(window) = report.windows.get(change.at) else {
            continue;
        };
        let urgency = urgency_name(window.urgency);
        let numbers = numbers(report, window);
        if !change.fires {
            tracing::info!(objective = name, urgency, numbers, "alert ended");
            continue;
        }
        tracing::warn!(objective = name, urgency, numbers, "alert fires");
        telemetry.objectives().alert(name, urgency);
        let is_worse = |of: &WindowReport| {
            let (mine, other) = (window.urgency, of.urgency);
            mine > other || mine == other && window.factor > of.factor
        };
        if worst.is_none_or(|(_, of)| is_worse(of)) {
            worst = Some((change, window));
        }
    }
    let Some((change, window)) = worst.filter(|(change, _)| change.objective.incident) else {
        return;
    };
    let incident = IncidentReport {
        policy: REPORTER.to_owned(),
        key: format!("objective:{}", change.report.name),
        severity: window.urgency.severity(),
        title: title(&change.report, window),
        detail: numbers(&change.report, window),
    };
    // A full queue is counted and logged where it is.
    let _ = incidents.raise(incident);
}

/// The word for an urgency.
pub(crate) fn urgency_name(urgency: Urgency) -> &'static str {
    match urgency {
        Urgency::Page => "page",
        Urgency::Ticket => "ticket",
    }
}

fn title(report: &ObjectiveReport, window: &WindowReport) -> String {
    let of = match (&report.route, &report.model) {
        (Some(route), _) => format!("route `{route}`"),
        (None, model) => format!("model `{}`", model.as_deref().unwrap_or_default()),
    };
    format!(
        "objective `{}` of {of} spends its error budget {} times too fast",
        report.name,
        rounded(window.long.burn_rate.unwrap_or_default()),
    )
}

/// The numbers behind an alert.
fn numbers(report: &ObjectiveReport, window: &WindowReport) -> String {
    let counted = |seconds, counts: &CountReport| {
        format!(
            "{} of {} in {} (burn rate {})",
            counts.bad,
            counts.events,
            length(seconds),
            counts.burn_rate.map_or("unknown".to_owned(), rounded),
        )
    };
    let left = report.budget_left.unwrap_or(1.0) * 100.0;
    format!(
        "bad events of `{}`: {}, {}; it alerts above {}. {} % of the events of {} are to be good; \
         {} % of that budget is left",
        report.metric,
        counted(window.long_s, &window.long),
        counted(window.short_s, &window.short),
        rounded(window.factor),
        (report.target * 1e8).round() / 1e6,
        length(report.period_s),
        rounded(left),
    )
}

/// With one digit after the point; more digits than there are events say nothing.
fn rounded(exact: f64) -> String {
    format!("{exact:.1}")
}
