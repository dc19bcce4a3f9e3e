//! Putting a host together: what the embedder supplies, and whether its options
//! are in range. A host is handed out only when its limits have proven
//! themselves.

use super::activation::LOADS_MAX;
use super::{Clock, Host, Inner};
use crate::cache::CodeCache;
use crate::engine;
use crate::error::{SandboxError, StartError};
use crate::load::Loader;
use crate::options::HostOptions;
use crate::record::Records;
use crate::registry::Registry;
use crate::room::Room;
use crate::selftest;
use crate::services::{PolicyStates, Services};
use crate::sources::{IncidentSink, MetricsSource, ModelCaller, NoIncidents, NoMetrics, NoModels};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::{SystemTime, UNIX_EPOCH};
use tokio::sync::{Mutex, Semaphore};

impl Host {
    /// Begins to put a host together.
    pub fn builder() -> HostBuilder {
        HostBuilder {
            options: HostOptions::default(),
            metrics: Arc::new(NoMetrics),
            models: Arc::new(NoModels),
            incidents: Arc::new(NoIncidents),
            clock: Arc::new(system_ms),
        }
    }
}

/// Puts a [`Host`] together.
pub struct HostBuilder {
    options: HostOptions,
    metrics: Arc<dyn MetricsSource>,
    models: Arc<dyn ModelCaller>,
    incidents: Arc<dyn IncidentSink>,
    clock: Clock,
}

impl HostBuilder {
    /// Sets the options.
    #[must_use]
    pub fn options(mut self, options: HostOptions) -> Self {
        self.options = options;
        self
    }

    /// Sets where metrics come from; without, queries are `unavailable`.
    #[must_use]
    pub fn metrics(mut self, metrics: Arc<dyn MetricsSource>) -> Self {
        self.metrics = metrics;
        self
    }

    /// Sets who calls models for policies; without, calls are `unavailable`.
    #[must_use]
    pub fn models(mut self, models: Arc<dyn ModelCaller>) -> Self {
        self.models = models;
        self
    }

    /// Sets who takes incidents; without, they are logged.
    #[must_use]
    pub fn incidents(mut self, incidents: Arc<dyn IncidentSink>) -> Self {
        self.incidents = incidents;
        self
    }

    /// Sets the clock: milliseconds since the Unix epoch. Must be the one that
    /// the metrics were recorded with, or windows look at the wrong time.
    /// Without, it is the system's.
    #[must_use]
    pub fn clock(mut self, clock: impl Fn() -> u64 + Send + Sync + 'static) -> Self {
        self.clock = Arc::new(clock);
        self
    }

    /// Builds the host and lets its limits prove themselves: built-in guests
    /// that loop, grow, recurse, trap and sleep must all be stopped. Takes
    /// some 100 ms.
    ///
    /// # Errors
    ///
    /// [`StartError`]; nothing stays behind.
    pub fn build(self) -> Result<Host, StartError> {
        check(&self.options)?;
        let engine = engine::build(&self.options)
            .map_err(|error| StartError::Engine(SandboxError::new(&error)))?;
        selftest::run(&engine)?;
        let services = Arc::new(Services {
            metrics: self.metrics,
            models: self.models,
            incidents: self.incidents,
            states: PolicyStates::default(),
        });
        let cache = self
            .options
            .cache_dir
            .as_deref()
            .map(CodeCache::open)
            .transpose()?;
        let loader = Loader {
            engine,
            cache,
            services: services.clone(),
            component_bytes_max: self.options.component_bytes_max,
        };
        Ok(Host(Arc::new(Inner {
            loader: Arc::new(loader),
            services,
            registry: Registry::new(self.options.revisions_kept),
            records: Records::new(self.options.records_max, RECORDS_BYTES_MAX),
            room: Room::new(self.options.instances_max),
            next_id: AtomicU64::new(first_id((self.clock)())),
            activation: Mutex::new(()),
            loads: Arc::new(Semaphore::new(LOADS_MAX)),
            clock: self.clock,
            options: self.options,
        })))
    }
}

fn check(options: &HostOptions) -> Result<(), StartError> {
    let in_range = |option, value: u64, min: u64, max: u64, range| {
        if (min..=max).contains(&value) {
            Ok(())
        } else {
            Err(StartError::Option {
                option,
                value,
                range,
            })
        }
    };
    in_range(
        "instances_max",
        options.instances_max.into(),
        1,
        4_096,
        "1 to 4,096",
    )?;
    in_range(
        "memory_bytes_max",
        options.memory_bytes_max as u64,
        64 << 10,
        256 << 20,
        "64 KiB to 256 MiB",
    )?;
    in_range(
        "component_bytes_max",
        options.component_bytes_max as u64,
        1,
        256 << 20,
        "1 byte to 256 MiB",
    )?;
    in_range(
        "load_ms_max",
        options.load_ms_max.into(),
        1,
        600_000,
        "1 to 600,000",
    )?;
    in_range(
        "revisions_kept",
        options.revisions_kept as u64,
        3,
        16,
        "3 to 16",
    )?;
    in_range(
        "records_max",
        options.records_max as u64,
        1,
        10_000_000,
        "1 to 10,000,000",
    )
}

/// Bytes that the records in memory hold together: usual ones take one or two
/// KiB, so this is no limit for them but for policies that read bodies and call
/// models, and for answers with thousands of scores and log-probabilities.
const RECORDS_BYTES_MAX: usize = 64 << 20;

/// Identifiers begin with the time of the start, so that they stay unique and
/// increasing across restarts: a million decisions for each millisecond.
fn first_id(now_ms: u64) -> u64 {
    now_ms << 20
}

fn system_ms() -> u64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
