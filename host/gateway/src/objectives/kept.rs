//! Objectives over restarts: one row for each, with its counts and its alerts.
//!
//! Always holds: counts are taken back only by an objective that counts the same
//! events, alerts only by one with the same target, period and windows. Both are
//! compared as texts, so that no number has to be read back to the last bit.

use crate::chain::chain;
use crate::config::{Bad, Objective, ObjectiveOf};
use crate::store::{KeptObjective, Store};
use backstop_core::slo::alert::Alert;
use backstop_core::slo::history::History;
use serde::{Deserialize, Serialize};
use std::collections::HashMap;

/// What is kept of an objective.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Kept {
    /// What it counts.
    counts: String,
    /// When it alerts.
    watches: String,
    pub(super) history: History,
    pub(super) alerts: Vec<Alert>,
}

impl Kept {
    /// An objective as a row.
    pub(super) fn row(
        objective: &Objective,
        history: &History,
        alerts: &[Alert],
    ) -> Option<KeptObjective> {
        let kept = Kept {
            counts: counts(objective),
            watches: watches(objective),
            history: history.clone(),
            alerts: alerts.to_vec(),
        };
        Some(KeptObjective {
            name: objective.name.to_string(),
            state: serde_json::to_vec(&kept).ok()?,
        })
    }

    /// True when what was kept are counts of the same events.
    pub(super) fn counts_as(&self, objective: &Objective) -> bool {
        self.counts == counts(objective)
    }

    /// True when what was kept are alerts of the same windows.
    pub(super) fn alerts_as(&self, objective: &Objective) -> bool {
        self.watches == watches(objective)
    }
}

fn counts(objective: &Objective) -> String {
    let of = match &objective.of {
        ObjectiveOf::Route(route) => format!("route {route}"),
        ObjectiveOf::Model(model) => format!("model {model}"),
    };
    let bad = match objective.bad {
        Bad::Happened => "happened".to_owned(),
        Bad::Missed => "missed".to_owned(),
        Bad::Above(bound) => format!("above {bound}"),
        Bad::Below(bound) => format!("below {bound}"),
    };
    format!("{of}: {} {bad}", objective.metric)
}

fn watches(objective: &Objective) -> String {
    format!("{:?}", objective.slo)
}

/// The names that the store knows, and what it has by name. What cannot be read
/// starts anew, with a warning.
pub(super) async fn read(store: &dyn Store) -> (Vec<String>, HashMap<String, Kept>) {
    let rows = match store.objectives().await {
        Ok(rows) => rows,
        Err(error) => {
            tracing::warn!(
                error = chain(&error),
                "failed to read the objectives that were kept; they start anew"
            );
            return (Vec::new(), HashMap::new());
        }
    };
    let names = rows.iter().map(|row| row.name.clone()).collect();
    let one = |row: KeptObjective| match serde_json::from_slice(&row.state) {
        Ok(kept) => Some((row.name, kept)),
        Err(error) => {
            tracing::warn!(
                objective = row.name,
                %error,
                "an objective that was kept is damaged and starts anew"
            );
            None
        }
    };
    (names, rows.into_iter().filter_map(one).collect())
}
