//! The machinery: this process, under the names that all clients of Prometheus
//! have for it, and the questions to a Prometheus.

use super::labels::Two;
use crate::infrastructure::Usage;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Registry, Unit};
use std::sync::atomic::AtomicU64;
use std::time::Duration;

/// Counters and gauges of the machinery. Queries are named in the configuration.
#[derive(Debug, Default)]
pub(super) struct InfrastructureMetrics {
    queries: Family<Two, Counter>,
    loop_lag: Gauge<f64, AtomicU64>,
    cpu: Counter<f64, AtomicU64>,
    resident: Gauge,
}

impl InfrastructureMetrics {
    pub(super) fn register(&self, registry: &mut Registry) {
        registry.register(
            "prometheus_queries",
            "Questions to Prometheus, by query and result: `ok`, `unreachable`, `timeout`, \
             `refused`, `malformed`, `empty`, `several` or `not-finite`",
            self.queries.clone(),
        );
        registry.register_with_unit(
            "loop_lag",
            "How late the runtime was, at its worst in the last second",
            Unit::Seconds,
            self.loop_lag.clone(),
        );
    }

    /// Under the names that others have, hence in a registry without our prefix.
    pub(super) fn register_process(&self, registry: &mut Registry) {
        if Usage::now().is_none() {
            return;
        }
        registry.register_with_unit(
            "process_cpu",
            "Processor time that this process has used",
            Unit::Seconds,
            self.cpu.clone(),
        );
        registry.register_with_unit(
            "process_resident_memory",
            "Memory of this process",
            Unit::Bytes,
            self.resident.clone(),
        );
    }

    /// Counts a question that has ended.
    pub(super) fn query(&self, query: &str, result: &'static str) {
        let labels = [("query", query.to_owned()), ("result", result.to_owned())];
        self.queries.get_or_create(&labels).inc();
    }

    pub(super) fn lag(&self, worst: Duration) {
        self.loop_lag.set(worst.as_secs_f64());
    }

    /// Reads what the system says now.
    pub(super) fn refresh(&self) {
        let Some(usage) = Usage::now() else { return };
        let passed = usage.cpu_seconds - self.cpu.get();
        if passed > 0.0 {
            self.cpu.inc_by(passed);
        }
        let bytes = i64::try_from(usage.resident_bytes);
        self.resident.set(bytes.unwrap_or(i64::MAX));
    }
}
