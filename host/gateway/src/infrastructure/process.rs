//! The process as evidence, once a second: cores in use, resident memory, how
//! late the runtime is, how many requests wait; and of every model and release
//! how much of its limit is in use.
//!
//! What the operating system does not tell is not declared, so that asking for
//! it is `unknown` rather than silence.

use crate::clock::Clock;
use crate::evidence::Evidence;
use crate::plant::Plant;
use crate::telemetry::Telemetry;
use arc_swap::ArcSwapOption;
use backstop_core::evidence::{MetricKind, SubjectRef};
use parking_lot::Mutex;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until};

/// Cores in use.
const CPU: &str = "process-cpu";
/// Resident memory.
const MEMORY: &str = "process-memory-bytes";
/// How late the runtime was, at its worst in a second.
const LAG: &str = "loop-lag-ms";
/// Requests that wait for a release.
const QUEUE: &str = "queue-depth";
/// Share of a release's limit that is in use.
const SATURATION: &str = "saturation";

/// Between two looks at how late the runtime is.
const LOOK: Duration = Duration::from_millis(100);
/// Looks of one record.
const LOOKS: u32 = 10;

/// Samples the process.
pub(crate) struct Process {
    inner: Arc<Inner>,
    running: Mutex<Option<JoinHandle<()>>>,
}

struct Inner {
    plant: Arc<ArcSwapOption<Plant>>,
    evidence: Arc<Evidence>,
    telemetry: Arc<Telemetry>,
    clock: Clock,
}

/// What the operating system says of this process.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Usage {
    /// Seconds of processor time since the process started.
    pub(crate) cpu_seconds: f64,
    /// Bytes in memory.
    pub(crate) resident_bytes: u64,
}

impl Usage {
    /// Now; none where the system does not tell.
    #[cfg(target_os = "linux")]
    pub(crate) fn now() -> Option<Usage> {
        let stat = procfs::process::Process::myself().ok()?.stat().ok()?;
        let ticks = stat.utime + stat.stime;
        Some(Usage {
            cpu_seconds: ticks as f64 / procfs::ticks_per_second() as f64,
            resident_bytes: stat.rss * procfs::page_size(),
        })
    }

    /// Nowhere else is it asked for.
    #[cfg(not(target_os = "linux"))]
    pub(crate) fn now() -> Option<Usage> {
        None
    }
}

impl Process {
    pub(crate) fn new(
        plant: Arc<ArcSwapOption<Plant>>,
        evidence: Arc<Evidence>,
        telemetry: Arc<Telemetry>,
        clock: Clock,
    ) -> Self {
        Process {
            inner: Arc::new(Inner {
                plant,
                evidence,
                telemetry,
                clock,
            }),
            running: Mutex::default(),
        }
    }

    /// Makes its metrics known.
    pub(crate) fn declare(&self) {
        let store = self.inner.evidence.store();
        let of_system = Usage::now().map_or(&[][..], |_| &[CPU, MEMORY]);
        for metric in of_system.iter().chain(&[LAG, QUEUE]) {
            // A new store has room for them, and none of their names.
            let _ = store.declare_of_process(metric, MetricKind::Value);
        }
        let _ = store.declare(SATURATION, MetricKind::Value);
    }

    /// Starts to sample. Must be called within a tokio runtime.
    pub(crate) fn start(&self) {
        let task = tokio::spawn(self.inner.clone().run());
        if let Some(before) = self.running.lock().replace(task) {
            before.abort();
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if let Some(running) = self.running.get_mut() {
            running.abort();
        }
    }
}

impl Inner {
    async fn run(self: Arc<Self>) {
        let mut before = (Instant::now(), Usage::now());
        loop {
            let mut worst = Duration::ZERO;
            for _ in 0..LOOKS {
                let due = Instant::now() + LOOK;
                sleep_until(due).await;
                worst = worst.max(due.elapsed());
            }
            let now = (Instant::now(), Usage::now());
            self.record(before, now, worst);
            before = now;
        }
    }

    fn record(
        &self,
        before: (Instant, Option<Usage>),
        now: (Instant, Option<Usage>),
        worst: Duration,
    ) {
        let now_ms = self.clock.now_ms();
        let value = |metric: &str, of: SubjectRef<'_>, number: f64| {
            if let Ok(series) = self.evidence.store().value_series(metric, of) {
                series.record_value(now_ms, number);
            }
        };
        let process = SubjectRef::Process;
        if let (Some(then), Some(usage)) = (before.1, now.1) {
            let passed_s = now.0.duration_since(before.0).as_secs_f64();
            let cores = (usage.cpu_seconds - then.cpu_seconds).max(0.0) / passed_s;
            value(CPU, process, cores);
            value(MEMORY, process, usage.resident_bytes as f64);
        }
        value(LAG, process, worst.as_secs_f64() * 1_000.0);
        self.telemetry.loop_lag(worst);
        let Some(plant) = self.plant.load_full() else {
            return;
        };
        let mut queued = 0;
        for model in plant.models() {
            let (mut in_flight, mut limit) = (0.0, 0.0);
            for release in model.releases() {
                let gate = release.gate();
                queued += gate.queued();
                let Some(most) = gate.limit() else { continue };
                let (used, most) = (f64::from(gate.in_flight()), f64::from(most.max(1)));
                let of = SubjectRef::Release {
                    model: model.name(),
                    release: release.name(),
                };
                value(SATURATION, of, used / most);
                in_flight += used;
                limit += most;
            }
            if limit > 0.0 {
                value(
                    SATURATION,
                    SubjectRef::Model(model.name()),
                    in_flight / limit,
                );
            }
        }
        value(QUEUE, process, f64::from(queued));
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn processor_time_and_memory_grow_with_work() {
        let before = Usage::now().unwrap();
        let work: Vec<u64> = (0..16 << 20).collect();
        let began = std::time::Instant::now();
        let mut sum = 0u64;
        while began.elapsed() < Duration::from_millis(200) {
            sum = work.iter().fold(sum, |sum, n| sum.wrapping_mul(31) ^ n);
        }
        let after = Usage::now().unwrap();
        assert!(sum != 1, "not left out");
        let grown = after.resident_bytes.saturating_sub(before.resident_bytes);
        assert!(grown > 100 << 20, "{grown}");
        let used = after.cpu_seconds - before.cpu_seconds;
        assert!(used > 0.05 && used < 60.0, "{used}");
    }
}
