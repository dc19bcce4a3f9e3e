//! One objective that is watched: what it counts, what it has counted, and where
//! its alerts stand.

use super::kept::Kept;
use super::report::{self, ObjectiveReport};
use crate::config::{Bad, Objective, ObjectiveOf};
use crate::evidence::Evidence;
use crate::store::KeptObjective;
use backstop_core::evidence::{SeriesError, SubjectRef, Tap, TapOf};
use backstop_core::metric::{ObjectiveStatus, Proportion};
use backstop_core::slo::alert::Alert;
use backstop_core::slo::history::History;
use backstop_core::slo::{Slo, WindowStatus, status};
use std::sync::Arc;

pub(super) struct Watched {
    objective: Arc<Objective>,
    tap: Tap,
    history: History,
    slo: Slo,
    /// What the last look found.
    windows: Vec<WindowStatus>,
    /// When that was, in milliseconds since the Unix epoch; 0 before the first.
    looked_ms: u64,
    /// Not kept as it is.
    is_changed: bool,
}

/// An alert that began to fire, or that ended.
#[derive(Debug)]
pub(super) struct Change {
    pub(super) objective: Arc<Objective>,
    /// Which of its windows.
    pub(super) at: usize,
    pub(super) fires: bool,
    /// The numbers behind it.
    pub(super) report: ObjectiveReport,
}

/// Counts what `objective` is about from now on.
pub(super) fn tap(evidence: &Evidence, objective: &Objective) -> Result<Tap, SeriesError> {
    let subject = match &objective.of {
        ObjectiveOf::Route(route) => SubjectRef::Route(route),
        ObjectiveOf::Model(model) => SubjectRef::Model(model),
    };
    let of = match objective.bad {
        Bad::Happened | Bad::Missed => TapOf::Happened,
        Bad::Above(bound) => TapOf::Above(bound),
        Bad::Below(bound) => TapOf::Below(bound),
    };
    evidence.store().tap(&objective.metric, subject, of)
}

/// The alerts of an objective, where they stood or from the beginning. Its
/// configuration was checked when it was read: without its windows it would be
/// one that never alerts, which is the least harm if one ever were wrong.
fn slo(objective: &Objective, alerts: Vec<Alert>) -> Slo {
    match Slo::resume(objective.slo.clone(), alerts) {
        Ok(slo) => slo,
        Err(mistakes) => unreachable!("checked when the configuration was read: {mistakes:?}"),
    }
}

impl Watched {
    /// From the beginning, or from where it was kept as far as it is the same.
    pub(super) fn new(objective: Arc<Objective>, tap: Tap, kept: Option<Kept>) -> Watched {
        let name = &*objective.name;
        if !tap.is_kept() {
            tracing::warn!(
                objective = name,
                "the store of evidence is full: the objective never has evidence"
            );
        }
        let (history, alerts) = match kept {
            None => (History::default(), Vec::new()),
            Some(kept) if !kept.counts_as(&objective) => {
                tracing::info!(
                    objective = name,
                    "objective counts something else now; it starts anew"
                );
                (History::default(), Vec::new())
            }
            Some(kept) if !kept.alerts_as(&objective) => {
                tracing::info!(
                    objective = name,
                    "objective alerts otherwise now; its alerts start anew"
                );
                (kept.history, Vec::new())
            }
            Some(kept) => (kept.history, kept.alerts),
        };
        Watched {
            slo: slo(&objective, alerts),
            objective,
            tap,
            history,
            windows: Vec::new(),
            looked_ms: 0,
            is_changed: true,
        }
    }

    /// True when `other` counts the same events of the same subject.
    pub(super) fn counts_as(&self, other: &Objective) -> bool {
        counts_as(&self.objective, other)
    }

    /// The same with another definition that [`Watched::counts_as`] this one:
    /// counts stay, and alerts where they are asked for as before.
    pub(super) fn with(self, objective: Arc<Objective>) -> Watched {
        if self.objective.slo == objective.slo {
            return Watched { objective, ..self };
        }
        tracing::info!(
            objective = &*objective.name,
            "objective alerts otherwise now; its alerts start anew"
        );
        Watched {
            slo: slo(&objective, Vec::new()),
            objective,
            windows: Vec::new(),
            looked_ms: 0,
            is_changed: true,
            ..self
        }
    }

    /// Takes what was counted since the last look, and judges.
    pub(super) fn look(&mut self, now_ms: u64) -> Vec<Change> {
        let counted = self.tap.take();
        let bad = match self.objective.bad {
            Bad::Missed => counted.trials.saturating_sub(counted.events),
            Bad::Happened | Bad::Above(_) | Bad::Below(_) => counted.events,
        };
        let counted = Proportion {
            events: bad,
            trials: counted.trials,
        };
        let period_ms = self.objective.slo.period_ms;
        self.history.record(now_ms, period_ms, counted);
        let before = self.slo.alerts().to_vec();
        self.windows = self.slo.evaluate(now_ms, &self.history);
        self.looked_ms = now_ms;
        let after = self.slo.alerts();
        self.is_changed |= counted.trials > 0 || after != before;
        let fires = before.iter().zip(after).map(|(before, after)| {
            let (before, after) = (before.state().fires(), after.state().fires());
            (before != after).then_some(after)
        });
        let changed = fires.enumerate();
        changed
            .filter_map(|(at, fires)| {
                Some(Change {
                    objective: self.objective.clone(),
                    at,
                    fires: fires?,
                    report: self.report(),
                })
            })
            .collect()
    }

    /// As policies are told.
    pub(super) fn status(&self) -> ObjectiveStatus {
        status(&self.windows)
    }

    /// As operators are told.
    pub(super) fn report(&self) -> ObjectiveReport {
        report::report(
            &self.objective,
            &self.slo,
            &self.history,
            &self.windows,
            self.looked_ms,
        )
    }

    /// As it is to be kept; none where it is kept as it is.
    pub(super) fn changed(&mut self) -> Option<KeptObjective> {
        if !std::mem::take(&mut self.is_changed) {
            return None;
        }
        Kept::row(&self.objective, &self.history, self.slo.alerts())
    }

    /// What [`Watched::changed`] gave was not kept.
    pub(super) fn keep_again(&mut self) {
        self.is_changed = true;
    }
}

/// True when the two count the same events of the same subject.
fn counts_as(one: &Objective, other: &Objective) -> bool {
    (&one.of, &one.metric, one.bad) == (&other.of, &other.metric, other.bad)
}
