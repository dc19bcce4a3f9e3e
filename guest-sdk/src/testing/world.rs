//! The scripted world: what stands behind the SDK's modules off wasm32, in the
//! shape that `wit-bindgen` gives the real imports.
//!
//! A file for each interface; this one holds what they share. One world per
//! thread, put in place by a bench for the length of a decision. Outside of one
//! nothing is granted and nothing is known.

pub(crate) mod answers;
pub(crate) mod delivery;
pub(crate) mod evidence;
pub(crate) mod incident;
pub(crate) mod log;
pub(crate) mod metrics;
pub(crate) mod models;
pub(crate) mod requests;
pub(crate) mod rollouts;
pub(crate) mod state;

use crate::bindings::base::backstop::policy as raw;
use raw::evidence::{LineReading, Measurement, ObjectiveStatus, Share};
use raw::metrics::{
    Comparison, DriftReading, Estimate, MetricsError, Moments, Proportion, Subject,
};
use raw::models::{Budget, ModelError};
use state::Entry;
use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};

/// Longest key of state and incidents, in bytes.
const KEY_BYTES_MAX: usize = 128;

thread_local! {
    static WORLD: RefCell<World> = RefCell::new(World::default());
}

/// Runs `f` with `world` in place, and gives the world back even when `f`
/// panics.
pub(crate) fn within<R>(world: &mut World, f: impl FnOnce() -> R) -> R {
    struct Restore<'a>(&'a mut World);
    impl Drop for Restore<'_> {
        fn drop(&mut self) {
            WORLD.with_borrow_mut(|current| std::mem::swap(current, self.0));
        }
    }
    WORLD.with_borrow_mut(|current| std::mem::swap(current, world));
    let _restore = Restore(world);
    f()
}

/// What a test has scripted, and what a policy did.
#[derive(Debug)]
pub(crate) struct World {
    pub(crate) now_ms: u64,
    pub(crate) grants: Grants,
    pub(crate) readings: Vec<Reading>,
    pub(crate) objectives: Vec<(String, ObjectiveStatus)>,
    pub(crate) model_answers: BTreeMap<String, VecDeque<Result<answers::Answer, ModelError>>>,
    pub(crate) model_calls: Vec<(String, String)>,
    pub(crate) budget: Budget,
    pub(crate) values: BTreeMap<String, Entry<Vec<u8>>>,
    pub(crate) numbers: BTreeMap<String, Entry<i64>>,
    pub(crate) log: Vec<(raw::log::Level, String)>,
    pub(crate) incidents: Vec<super::Incident>,
    /// Why no incident can be opened.
    pub(crate) incident_error: Option<raw::incident::IncidentError>,
    /// There while a policy plans.
    pub(crate) delivery: Option<delivery::Delivery>,
}

impl Default for World {
    fn default() -> Self {
        Self {
            now_ms: 0,
            grants: Grants::default(),
            readings: Vec::new(),
            objectives: Vec::new(),
            model_answers: BTreeMap::new(),
            model_calls: Vec::new(),
            budget: Budget {
                calls: 8,
                time_ms: 10_000,
                cost_micros: 1_000_000,
            },
            values: BTreeMap::new(),
            numbers: BTreeMap::new(),
            log: Vec::new(),
            incidents: Vec::new(),
            incident_error: None,
            delivery: None,
        }
    }
}

/// What the policy may use.
#[derive(Debug, Default)]
pub(crate) struct Grants {
    pub(crate) metrics: Vec<String>,
    pub(crate) models: Vec<String>,
    pub(crate) state: bool,
    pub(crate) incident: bool,
    pub(crate) bodies: bool,
}

fn matches(patterns: &[String], name: &str) -> bool {
    patterns
        .iter()
        .any(|pattern| match pattern.strip_suffix('*') {
            Some(prefix) => name.starts_with(prefix),
            None => pattern == name,
        })
}

/// One scripted answer to a metric query.
#[derive(Debug)]
pub(crate) struct Reading {
    pub(crate) metric: String,
    /// Empty: whatever is asked.
    pub(crate) subjects: Vec<String>,
    /// None: over any window.
    pub(crate) window_s: Option<u32>,
    pub(crate) value: Measured,
}

/// What a query is answered with.
#[derive(Debug, Clone)]
pub(crate) enum Measured {
    Rate(Proportion),
    Mean(Moments),
    Quantile(f64, Estimate),
    Comparison(Comparison),
    Drift(DriftReading),
    Shares(Vec<Share>),
    Number(Measurement),
    Line(LineReading),
    Error(MetricsError),
}

/// A subject as a test's script and a query both write it.
pub(crate) fn subject_key(subject: &Subject<'_>) -> String {
    match subject {
        Subject::Route => "route".to_owned(),
        Subject::Model(model) => format!("model {model}"),
        Subject::Release(id) => format!("release {} of {}", id.release, id.model),
    }
}

fn head(body: Option<&str>, bytes_max: u32) -> Result<String, raw::requests::BodyError> {
    let body = body.ok_or(raw::requests::BodyError::Unavailable)?;
    Ok(body[..body.floor_char_boundary(bytes_max as usize)].to_owned())
}
