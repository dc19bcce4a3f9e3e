//! How objectives stand, and how often they alert.

use super::labels::{One, Two};
use super::one;
use crate::objectives::{ObjectiveReport, length};
use backstop_core::metric::ObjectiveState;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use std::sync::atomic::AtomicU64;

/// Gauges of objectives, and a counter. Names and windows come from the
/// configuration.
#[derive(Debug, Default)]
pub(crate) struct ObjectiveMetrics {
    state: Family<One, Gauge>,
    burn_rate: Family<Two, Gauge<f64, AtomicU64>>,
    budget_left: Family<One, Gauge<f64, AtomicU64>>,
    alerts: Family<Two, Counter>,
}

impl ObjectiveMetrics {
    #[rustfmt::skip] // One family a line reads as the table that it is.
    pub(super) fn register(&self, registry: &mut Registry) {
        registry.register("objective_state", "How an objective stands: 0 met, 1 pending, 2 firing, 3 no evidence", self.state.clone());
        registry.register("objective_burn_rate", "How many times faster than allowed an objective spends its error budget, over each of its windows that has events", self.burn_rate.clone());
        registry.register("objective_budget_left", "Share of the period's error budget that is left, below 0 when overspent; absent without events", self.budget_left.clone());
        registry.register("objective_alerts", "Alerts that began to fire, by urgency: `page` or `ticket`", self.alerts.clone());
    }

    /// Counts an alert that began to fire.
    pub(crate) fn alert(&self, objective: &str, urgency: &'static str) {
        self.alerts
            .get_or_create(&[
                ("objective", objective.to_owned()),
                ("urgency", urgency.to_owned()),
            ])
            .inc();
    }

    /// Sets the gauges; what has no events has no number.
    pub(super) fn set(&self, objectives: &[ObjectiveReport]) {
        self.state.clear();
        self.burn_rate.clear();
        self.budget_left.clear();
        for report in objectives {
            let name = &*report.name;
            let state = match report.state {
                ObjectiveState::Met => 0,
                ObjectiveState::Pending => 1,
                ObjectiveState::Firing => 2,
                ObjectiveState::NoEvidence => 3,
            };
            self.state.get_or_create(&one("objective", name)).set(state);
            if let Some(left) = report.budget_left {
                self.budget_left
                    .get_or_create(&one("objective", name))
                    .set(left);
            }
            let windows = report.windows.iter();
            let lengths = windows.flat_map(|of| [(of.long_s, &of.long), (of.short_s, &of.short)]);
            for (seconds, counts) in lengths {
                if let Some(burn_rate) = counts.burn_rate {
                    self.burn_rate
                        .get_or_create(&[
                            ("objective", name.to_owned()),
                            ("window", length(seconds)),
                        ])
                        .set(burn_rate);
                }
            }
        }
    }
}
