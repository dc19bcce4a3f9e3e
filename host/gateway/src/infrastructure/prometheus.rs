//! Asks an existing Prometheus the queries of `[prometheus]`, again and again.
//!
//! Each number goes into the series `prom:NAME` of the process, at the moment
//! that it was read. A query that gives none is counted by its reason and told
//! once when that begins and once when it ends; its last number grows old,
//! which `measure` says.
//!
//! Always holds: one question of a query at a time, [`AT_ONCE`] in all; time and
//! answer are bounded.

use super::answer::{NoNumber, number};
use crate::clock::Clock;
use crate::config;
use crate::evidence::Evidence;
use crate::outgoing::Outgoing;
use crate::telemetry::Telemetry;
use backstop_core::evidence::{MetricKind, SeriesError, SubjectRef};
use bytes::Bytes;
use futures_util::StreamExt;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, USER_AGENT};
use http::{HeaderValue, Request};
use http_body_util::{BodyExt, Full, Limited};
use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinHandle;
use tokio::time::{Instant, MissedTickBehavior, interval_at, timeout};

/// Questions that are under way at once.
const AT_ONCE: usize = 4;
/// Largest answer: one sample with its labels is a kilobyte.
const ANSWER_BYTES_MAX: usize = 256 << 10;
/// Before a query's name in metrics.
const PREFIX: &str = "prom:";

/// The questions of a gateway to Prometheus.
pub(crate) struct Prometheus {
    inner: Arc<Inner>,
    running: Mutex<Option<Running>>,
}

struct Inner {
    evidence: Arc<Evidence>,
    telemetry: Arc<Telemetry>,
    clock: Clock,
    client: Outgoing,
    /// The word of each query that gives no number.
    failing: Mutex<HashMap<config::Name, &'static str>>,
}

struct Running {
    asked: Arc<config::Prometheus>,
    task: JoinHandle<()>,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Prometheus {
    pub(crate) fn new(evidence: Arc<Evidence>, telemetry: Arc<Telemetry>, clock: Clock) -> Self {
        Prometheus {
            inner: Arc::new(Inner {
                evidence,
                telemetry,
                clock,
                client: Outgoing::default(),
                failing: Mutex::default(),
            }),
            running: Mutex::default(),
        }
    }

    /// Makes the metrics of the queries known. Others stay as they are.
    ///
    /// # Errors
    ///
    /// The first that is one too many.
    pub(crate) fn declare(&self, asked: &config::Prometheus) -> Result<(), SeriesError> {
        let store = self.inner.evidence.store();
        asked.queries.keys().try_for_each(|name| {
            store.declare_of_process(&format!("{PREFIX}{name}"), MetricKind::Value)
        })
    }

    /// Asks these queries from now on, and no others. What has not changed goes
    /// on as it was. Must be called within a tokio runtime.
    pub(crate) fn set(&self, asked: Option<&Arc<config::Prometheus>>) {
        let mut running = self.running.lock();
        if running.as_ref().map(|running| &*running.asked) == asked.map(|asked| &**asked) {
            return;
        }
        *running = asked.map(|asked| Running {
            task: tokio::spawn(self.inner.clone().run(asked.clone())),
            asked: asked.clone(),
        });
        let keep = |name: &config::Name, _: &mut &'static str| {
            asked.is_some_and(|asked| asked.queries.contains_key(name))
        };
        self.inner.failing.lock().retain(keep);
    }

    /// Asks no more.
    pub(crate) fn stop(&self) {
        self.running.lock().take();
    }
}

impl Inner {
    async fn run(self: Arc<Self>, asked: Arc<config::Prometheus>) {
        // Gateways that start together do not ask together; the first question
        // comes soon, for a policy may wait for its number.
        let within = asked.every.min(Duration::from_secs(1));
        let first = Instant::now() + within.mul_f64(fastrand::f64());
        let mut ticks = interval_at(first, asked.every);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            let round = futures_util::stream::iter(&asked.queries)
                .for_each_concurrent(AT_ONCE, |(name, query)| self.ask(&asked, name, query));
            round.await;
        }
    }

    async fn ask(&self, asked: &config::Prometheus, name: &config::Name, query: &str) {
        let exchange = timeout(asked.timeout, self.exchange(asked, query));
        let answer = match exchange.await {
            Ok(answer) => answer,
            Err(_) => Err(NoNumber::Timeout(asked.timeout.as_millis())),
        };
        let word = match &answer {
            Ok(_) => "ok",
            Err(why) => why.word(),
        };
        self.telemetry.prometheus(name, word);
        self.tell(name, &answer);
        if let Ok(number) = answer {
            let metric = format!("{PREFIX}{name}");
            let store = self.evidence.store();
            match store.value_series(&metric, SubjectRef::Process) {
                Ok(series) => {
                    series.record_value(self.clock.now_ms(), number);
                }
                Err(error) => tracing::warn!(query = &**name, %error, "not recorded"),
            }
        }
    }

    async fn exchange(&self, asked: &config::Prometheus, query: &str) -> Result<f64, NoNumber> {
        let unreachable = |error: String| NoNumber::Unreachable(error);
        let request = request(asked, query).map_err(|error| unreachable(error.to_string()))?;
        let response = self.client.send(request).await.map_err(unreachable)?;
        let (head, body) = response.into_parts();
        let body = Limited::new(body, ANSWER_BYTES_MAX).collect().await;
        let body = body.map_err(|error| NoNumber::Malformed(error.to_string()))?;
        number(head.status.as_u16(), &body.to_bytes())
    }

    /// Says once that a query gives no number, and once that it does again.
    fn tell(&self, name: &config::Name, answer: &Result<f64, NoNumber>) {
        let mut failing = self.failing.lock();
        let before = failing.get(name).copied();
        match answer {
            Ok(_) => {
                if failing.remove(name).is_some() {
                    tracing::info!(query = &**name, "the query gives a number again");
                }
            }
            Err(why) if before == Some(why.word()) => {}
            Err(why) => {
                failing.insert(name.clone(), why.word());
                tracing::warn!(
                    query = &**name,
                    %why,
                    "the query gives no number; policies see its last one grow old"
                );
            }
        }
    }
}

/// A question, as a form, which has no length to run into.
fn request(asked: &config::Prometheus, query: &str) -> Result<Request<Full<Bytes>>, http::Error> {
    let base = asked.url.to_string();
    let url = format!("{}/api/v1/query", base.trim_end_matches('/'));
    let form: String = form_urlencoded::Serializer::new(String::new())
        .append_pair("query", query)
        .append_pair("timeout", &format!("{}ms", asked.timeout.as_millis()))
        .finish();
    let mut request = Request::post(url)
        .header(ACCEPT, "application/json")
        .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
        .header(USER_AGENT, concat!("backstop/", env!("CARGO_PKG_VERSION")));
    if let Some(token) = &asked.bearer_token {
        let mut value = HeaderValue::try_from(format!("Bearer {}", token.expose()))?;
        value.set_sensitive(true);
        request = request.header(AUTHORIZATION, value);
    }
    for (name, value) in &asked.headers {
        let mut value = HeaderValue::try_from(value.expose())?;
        value.set_sensitive(true);
        request = request.header(name, value);
    }
    request.body(Full::new(form.into()))
}
