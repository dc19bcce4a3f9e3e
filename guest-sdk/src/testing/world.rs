//! The scripted world: what stands behind the SDK's modules off wasm32, in the
//! shape that `wit-bindgen` gives the real imports.
//!
//! One world per thread, put in place by a bench for the length of a decision.
//! Outside of one nothing is granted and nothing is known.

use crate::bindings::base::backstop::policy as raw;
use raw::metrics::{
    Comparison, ComparisonVerdict, DriftReading, DriftVerdict, Estimate, MetricsError, Moments,
    Proportion, Subject,
};
use raw::models::{Budget, BudgetKind, ModelError};
use raw::state::StateError;
use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};

/// Most keys of a policy's state, as in `wit/state.wit`.
const STATE_KEYS_MAX: usize = 1_024;
/// Longest key of state and incidents, in bytes.
const KEY_BYTES_MAX: usize = 128;
/// Longest value of state, in bytes.
const VALUE_BYTES_MAX: usize = 4 * 1_024;
/// Longest title of an incident, in bytes.
const TITLE_BYTES_MAX: usize = 256;
/// Longest detail of an incident, in bytes.
const DETAIL_BYTES_MAX: usize = 4 * 1_024;
/// Most incidents of one decision.
const INCIDENTS_MAX: usize = 4;
/// Most log lines of one decision.
const LOG_LINES_MAX: usize = 32;
/// Longest log line, in bytes.
const LOG_LINE_BYTES_MAX: usize = 1_024;
/// Longest window of a query, in seconds.
const WINDOW_S_MAX: u32 = 86_400;

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
    pub(crate) model_answers: BTreeMap<String, VecDeque<Result<answers::Answer, ModelError>>>,
    pub(crate) model_calls: Vec<(String, String)>,
    pub(crate) budget: Budget,
    pub(crate) values: BTreeMap<String, Entry<Vec<u8>>>,
    pub(crate) numbers: BTreeMap<String, Entry<i64>>,
    pub(crate) log: Vec<(raw::log::Level, String)>,
    pub(crate) incidents: Vec<super::Incident>,
}

impl Default for World {
    fn default() -> Self {
        Self {
            now_ms: 0,
            grants: Grants::default(),
            readings: Vec::new(),
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

/// Something with a time after which it is gone.
#[derive(Debug)]
pub(crate) struct Entry<T> {
    value: T,
    gone_at_ms: Option<u64>,
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

impl World {
    /// Finds the script for a query: an exact window first, then any window;
    /// among equals the newest.
    fn measure<T>(
        &self,
        metric: &str,
        subjects: &[&Subject<'_>],
        window_s: u32,
        pick: impl Fn(&Measured) -> Option<T>,
    ) -> Result<Option<T>, MetricsError> {
        if !matches(&self.grants.metrics, metric) {
            return Err(MetricsError::Denied(metric.to_owned()));
        }
        if !(1..=WINDOW_S_MAX).contains(&window_s) {
            return Err(MetricsError::Invalid("window-s".to_owned()));
        }
        let keys: Vec<String> = subjects
            .iter()
            .map(|subject| subject_key(subject))
            .collect();
        for exact in [true, false] {
            for reading in self.readings.iter().rev() {
                let fits = reading.metric == metric
                    && (reading.subjects.is_empty() || reading.subjects == keys)
                    && if exact {
                        reading.window_s == Some(window_s)
                    } else {
                        reading.window_s.is_none()
                    };
                if !fits {
                    continue;
                }
                if let Measured::Error(error) = &reading.value {
                    return Err(error.clone());
                }
                if let Some(value) = pick(&reading.value) {
                    return Ok(Some(value));
                }
            }
        }
        Ok(None)
    }
}

/// `requests`, scripted.
pub(crate) mod requests {
    use super::{WORLD, raw};
    use raw::requests::{Attempt, BodyError, Candidate};

    /// A scripted request.
    #[derive(Debug, Clone, Default)]
    pub(crate) struct Request {
        pub(crate) route: String,
        pub(crate) candidates: Vec<Candidate>,
        pub(crate) rules: Vec<String>,
        pub(crate) has_review: bool,
        pub(crate) streaming: bool,
        pub(crate) attempts: Vec<Attempt>,
        pub(crate) tags: Vec<(String, String)>,
        pub(crate) body: Option<String>,
    }

    impl Request {
        pub(crate) fn route(&self) -> String {
            self.route.clone()
        }
        pub(crate) fn candidates(&self) -> Vec<Candidate> {
            self.candidates.clone()
        }
        pub(crate) fn rules(&self) -> Vec<String> {
            self.rules.clone()
        }
        pub(crate) fn has_review(&self) -> bool {
            self.has_review
        }
        pub(crate) fn streaming(&self) -> bool {
            self.streaming
        }
        pub(crate) fn attempts(&self) -> Vec<Attempt> {
            self.attempts.clone()
        }
        pub(crate) fn tag(&self, name: &str) -> Option<String> {
            let tag = self.tags.iter().find(|(key, _)| key == name)?;
            Some(tag.1.clone())
        }
        pub(crate) fn body_bytes(&self) -> u64 {
            self.body.as_ref().map_or(0, |body| body.len() as u64)
        }
        pub(crate) fn body(&self, bytes_max: u32) -> Result<String, BodyError> {
            if !WORLD.with_borrow(|world| world.grants.bodies) {
                return Err(BodyError::Denied);
            }
            super::head(self.body.as_deref(), bytes_max)
        }
    }
}

/// `answers`, scripted.
pub(crate) mod answers {
    use super::{WORLD, raw};
    use raw::answers::{FinishReason, Score};
    use raw::requests::BodyError;

    /// A scripted answer.
    #[derive(Debug, Clone, Default)]
    pub(crate) struct Answer {
        pub(crate) model: String,
        pub(crate) release: String,
        pub(crate) step: u32,
        pub(crate) steps_left: u32,
        pub(crate) confidence: Option<f64>,
        pub(crate) label: Option<String>,
        pub(crate) scores: Vec<Score>,
        pub(crate) token_logprobs: Vec<f64>,
        pub(crate) finish_reason: Option<FinishReason>,
        pub(crate) latency_ms: u32,
        pub(crate) delivered: bool,
        pub(crate) body: Option<String>,
        /// The answer to a call of the policy's own.
        pub(crate) own: bool,
    }

    impl Answer {
        pub(crate) fn model(&self) -> String {
            self.model.clone()
        }
        pub(crate) fn release(&self) -> String {
            self.release.clone()
        }
        pub(crate) fn step(&self) -> u32 {
            self.step
        }
        pub(crate) fn steps_left(&self) -> u32 {
            self.steps_left
        }
        pub(crate) fn confidence(&self) -> Option<f64> {
            self.confidence
        }
        pub(crate) fn label(&self) -> Option<String> {
            self.label.clone()
        }
        pub(crate) fn scores(&self) -> Vec<Score> {
            self.scores.clone()
        }
        pub(crate) fn token_logprobs(&self) -> Vec<f64> {
            self.token_logprobs.clone()
        }
        pub(crate) fn finish_reason(&self) -> Option<FinishReason> {
            self.finish_reason
        }
        pub(crate) fn latency_ms(&self) -> u32 {
            self.latency_ms
        }
        pub(crate) fn delivered(&self) -> bool {
            self.delivered
        }
        pub(crate) fn body_bytes(&self) -> u64 {
            self.body.as_ref().map_or(0, |body| body.len() as u64)
        }
        pub(crate) fn body(&self, bytes_max: u32) -> Result<String, BodyError> {
            if !self.own && !WORLD.with_borrow(|world| world.grants.bodies) {
                return Err(BodyError::Denied);
            }
            super::head(self.body.as_deref(), bytes_max)
        }
    }
}

/// `rollouts`, scripted.
pub(crate) mod rollouts {
    use super::raw::rollouts::Stage;

    /// A scripted rollout.
    #[derive(Debug, Clone)]
    pub(crate) struct Rollout {
        pub(crate) model: String,
        pub(crate) candidate: String,
        pub(crate) stable: String,
        pub(crate) stage: Stage,
        pub(crate) share_percent: u32,
        pub(crate) next_share_percent: Option<u32>,
        pub(crate) age_ms: u64,
        pub(crate) step_age_ms: u64,
        pub(crate) ready_releases: Vec<String>,
    }

    impl Rollout {
        pub(crate) fn model(&self) -> String {
            self.model.clone()
        }
        pub(crate) fn candidate(&self) -> String {
            self.candidate.clone()
        }
        pub(crate) fn stable(&self) -> String {
            self.stable.clone()
        }
        pub(crate) fn stage(&self) -> Stage {
            self.stage
        }
        pub(crate) fn share_percent(&self) -> u32 {
            self.share_percent
        }
        pub(crate) fn next_share_percent(&self) -> Option<u32> {
            self.next_share_percent
        }
        pub(crate) fn age_ms(&self) -> u64 {
            self.age_ms
        }
        pub(crate) fn step_age_ms(&self) -> u64 {
            self.step_age_ms
        }
        pub(crate) fn ready_releases(&self) -> Vec<String> {
            self.ready_releases.clone()
        }
    }
}

fn head(body: Option<&str>, bytes_max: u32) -> Result<String, raw::requests::BodyError> {
    let body = body.ok_or(raw::requests::BodyError::Unavailable)?;
    Ok(body[..body.floor_char_boundary(bytes_max as usize)].to_owned())
}

/// `metrics`, scripted.
pub(crate) mod metrics {
    use super::*;
    use raw::metrics::ComparisonOptions;

    pub(crate) fn rate(
        metric: &str,
        subject: Subject<'_>,
        window_s: u32,
    ) -> Result<Proportion, MetricsError> {
        let none = Proportion {
            events: 0,
            trials: 0,
        };
        WORLD.with_borrow(|world| {
            let pick = |value: &Measured| match value {
                Measured::Rate(rate) => Some(*rate),
                _ => None,
            };
            Ok(world
                .measure(metric, &[&subject], window_s, pick)?
                .unwrap_or(none))
        })
    }

    pub(crate) fn mean(
        metric: &str,
        subject: Subject<'_>,
        window_s: u32,
    ) -> Result<Moments, MetricsError> {
        let none = Moments {
            samples: 0,
            mean: 0.0,
            stddev: 0.0,
        };
        WORLD.with_borrow(|world| {
            let pick = |value: &Measured| match value {
                Measured::Mean(moments) => Some(*moments),
                _ => None,
            };
            Ok(world
                .measure(metric, &[&subject], window_s, pick)?
                .unwrap_or(none))
        })
    }

    pub(crate) fn quantile(
        metric: &str,
        subject: Subject<'_>,
        window_s: u32,
        q: f64,
    ) -> Result<Estimate, MetricsError> {
        if !(0.0..=1.0).contains(&q) {
            return Err(MetricsError::Invalid("q".to_owned()));
        }
        let none = Estimate {
            samples: 0,
            value: 0.0,
        };
        WORLD.with_borrow(|world| {
            let pick = |value: &Measured| match value {
                Measured::Quantile(of, estimate) if of.total_cmp(&q).is_eq() => Some(*estimate),
                _ => None,
            };
            Ok(world
                .measure(metric, &[&subject], window_s, pick)?
                .unwrap_or(none))
        })
    }

    pub(crate) fn compare(
        metric: &str,
        candidate: Subject<'_>,
        baseline: Subject<'_>,
        window_s: u32,
        options: ComparisonOptions,
    ) -> Result<Comparison, MetricsError> {
        if !(options.alpha > 0.0 && options.alpha <= 0.5) {
            return Err(MetricsError::Invalid("alpha".to_owned()));
        }
        if !(options.margin >= 0.0 && options.margin.is_finite()) {
            return Err(MetricsError::Invalid("margin".to_owned()));
        }
        let none = Comparison {
            verdict: ComparisonVerdict::NotEnoughData,
            effect: 0.0,
            low: 0.0,
            high: 0.0,
            candidate_samples: 0,
            baseline_samples: 0,
        };
        WORLD.with_borrow(|world| {
            let pick = |value: &Measured| match value {
                Measured::Comparison(comparison) => Some(*comparison),
                _ => None,
            };
            Ok(world
                .measure(metric, &[&candidate, &baseline], window_s, pick)?
                .unwrap_or(none))
        })
    }

    pub(crate) fn drift(
        metric: &str,
        subject: Subject<'_>,
        window_s: u32,
        reference_s: u32,
    ) -> Result<DriftReading, MetricsError> {
        if reference_s == 0 {
            return Err(MetricsError::Invalid("reference-s".to_owned()));
        }
        let none = DriftReading {
            verdict: DriftVerdict::NotEnoughData,
            psi: 0.0,
            critical: 0.0,
            current_samples: 0,
            reference_samples: 0,
        };
        WORLD.with_borrow(|world| {
            let pick = |value: &Measured| match value {
                Measured::Drift(reading) => Some(*reading),
                _ => None,
            };
            Ok(world
                .measure(metric, &[&subject], window_s, pick)?
                .unwrap_or(none))
        })
    }
}

/// `models`, scripted.
pub(crate) mod models {
    use super::*;
    pub(crate) use raw::models::ModelCall;

    /// Each call takes the next scripted answer of the model; the last one
    /// stays.
    pub(crate) fn call(call: ModelCall<'_>) -> Result<answers::Answer, ModelError> {
        WORLD.with_borrow_mut(|world| {
            if !matches(&world.grants.models, call.model) {
                return Err(ModelError::Denied(call.model.to_owned()));
            }
            if world.budget.calls == 0 {
                return Err(ModelError::OverBudget(BudgetKind::Calls));
            }
            world.budget.calls -= 1;
            world
                .model_calls
                .push((call.model.to_owned(), call.body.to_owned()));
            let Some(queue) = world.model_answers.get_mut(call.model) else {
                return Err(ModelError::Unavailable(call.model.to_owned()));
            };
            if queue.len() > 1 {
                queue.pop_front()
            } else {
                queue.front().cloned()
            }
            .unwrap_or_else(|| Err(ModelError::Unavailable(call.model.to_owned())))
        })
    }

    pub(crate) fn call_many(calls: &[ModelCall<'_>]) -> Vec<Result<answers::Answer, ModelError>> {
        let too_many = calls.len() > crate::models::CALLS_MAX;
        calls
            .iter()
            .map(|one| {
                if too_many {
                    Err(ModelError::Invalid("requests".to_owned()))
                } else {
                    call(one.clone())
                }
            })
            .collect()
    }

    pub(crate) fn budget_left() -> Budget {
        WORLD.with_borrow(|world| world.budget)
    }
}

/// `state`, in memory.
pub(crate) mod state {
    use super::*;

    fn with<R>(
        key: &str,
        f: impl FnOnce(&mut World) -> Result<R, StateError>,
    ) -> Result<R, StateError> {
        WORLD.with_borrow_mut(|world| {
            if !world.grants.state {
                return Err(StateError::Denied);
            }
            if key.is_empty() || key.len() > KEY_BYTES_MAX {
                return Err(StateError::Invalid("key".to_owned()));
            }
            let now_ms = world.now_ms;
            world.values.retain(|_, entry| entry.lives(now_ms));
            world.numbers.retain(|_, entry| entry.lives(now_ms));
            f(world)
        })
    }

    impl<T> Entry<T> {
        pub(crate) fn new(value: T, now_ms: u64, ttl_s: u32) -> Self {
            let gone_at_ms = (ttl_s > 0).then(|| now_ms + u64::from(ttl_s) * 1_000);
            Self { value, gone_at_ms }
        }

        fn lives(&self, now_ms: u64) -> bool {
            self.gone_at_ms.is_none_or(|gone| now_ms < gone)
        }
    }

    fn room(world: &World) -> Result<(), StateError> {
        if world.values.len() + world.numbers.len() < STATE_KEYS_MAX {
            Ok(())
        } else {
            Err(StateError::Full)
        }
    }

    pub(crate) fn get(key: &str) -> Result<Option<Vec<u8>>, StateError> {
        with(key, |world| {
            Ok(world.values.get(key).map(|entry| entry.value.clone()))
        })
    }

    pub(crate) fn set(key: &str, value: &[u8], ttl_s: u32) -> Result<(), StateError> {
        with(key, |world| {
            if value.len() > VALUE_BYTES_MAX {
                return Err(StateError::Invalid("value".to_owned()));
            }
            if !world.values.contains_key(key) {
                room(world)?;
            }
            let entry = Entry::new(value.to_vec(), world.now_ms, ttl_s);
            world.values.insert(key.to_owned(), entry);
            Ok(())
        })
    }

    pub(crate) fn remove(key: &str) -> Result<bool, StateError> {
        with(key, |world| {
            let value = world.values.remove(key).is_some();
            let number = world.numbers.remove(key).is_some();
            Ok(value || number)
        })
    }

    pub(crate) fn add(key: &str, delta: i64, ttl_s: u32) -> Result<i64, StateError> {
        with(key, |world| {
            if let Some(entry) = world.numbers.get_mut(key) {
                entry.value = entry
                    .value
                    .checked_add(delta)
                    .ok_or(StateError::NotANumber)?;
                return Ok(entry.value);
            }
            room(world)?;
            let entry = Entry::new(delta, world.now_ms, ttl_s);
            world.numbers.insert(key.to_owned(), entry);
            Ok(delta)
        })
    }
}

/// `log`, collected.
pub(crate) mod log {
    use super::*;

    pub(crate) fn write(level: raw::log::Level, message: &str) {
        WORLD.with_borrow_mut(|world| {
            if world.log.len() < LOG_LINES_MAX {
                let end = message.floor_char_boundary(LOG_LINE_BYTES_MAX);
                world.log.push((level, message[..end].to_owned()));
            }
        });
    }
}

/// `incident`, collected.
pub(crate) mod incident {
    use super::*;
    pub(crate) use raw::incident::{IncidentError, Report};

    pub(crate) fn raise(report: Report<'_>) -> Result<bool, IncidentError> {
        WORLD.with_borrow_mut(|world| {
            if !world.grants.incident {
                return Err(IncidentError::Denied);
            }
            for (field, text, bytes_max) in [
                ("key", report.key, KEY_BYTES_MAX),
                ("title", report.title, TITLE_BYTES_MAX),
                ("detail", report.detail, DETAIL_BYTES_MAX),
            ] {
                let empty = text.is_empty() && field != "detail";
                if empty || text.len() > bytes_max {
                    return Err(IncidentError::Invalid(field.to_owned()));
                }
            }
            if world.incidents.len() >= INCIDENTS_MAX {
                return Err(IncidentError::OverBudget);
            }
            let is_new = !world.incidents.iter().any(|known| known.key == report.key);
            world.incidents.push(crate::testing::Incident {
                key: report.key.to_owned(),
                severity: report.severity,
                title: report.title.to_owned(),
                detail: report.detail.to_owned(),
            });
            Ok(is_new)
        })
    }
}
