//! The simulated provider: models that are made up.
//!
//! For demonstrations, drills and tests: no socket, no cost, and it fails when
//! it is told to. What it does is a [`Behaviour`], which a script changes as
//! time passes and a [`Simulated`] handle changes at once. The n-th request of
//! a seed draws the same numbers on every run, whatever the behaviour is then.
//!
//! - `script`: behaviours and how they change;
//! - `answer`: the bytes of its answers.

mod answer;
mod script;

pub use script::{Behaviour, Change, Fault, SimulatedOptions};

use self::answer::{TextAnswer, prediction};
use super::client::ExchangeError;
use super::source::Source;
use super::types::Path;
use crate::openai::{Api, ApiError, OpenAiRequest};
use bytes::Bytes;
use fastrand::Rng;
use http::header::{CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderMap, HeaderValue, StatusCode};
use parking_lot::Mutex;
use serde_json::Value;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::time::{Instant, Sleep, sleep};

/// A simulated provider, and the handle that changes it while it runs.
#[derive(Debug)]
pub struct Simulated {
    options: SimulatedOptions,
    requests: AtomicU64,
    now: Mutex<Playing>,
}

/// The script that is being played, and since when.
#[derive(Debug)]
struct Playing {
    behaviour: Behaviour,
    script: Vec<Change>,
    since: Instant,
}

/// The numbers of one request.
struct Draw {
    behaviour: Behaviour,
    number: u64,
    latency: Duration,
    confidence: f64,
    faulty: bool,
    label: usize,
    /// Whether it is right, where the truth is known.
    right: bool,
    rng: Rng,
}

impl Simulated {
    /// A provider whose script begins now.
    pub fn new(options: SimulatedOptions) -> Self {
        let now = Playing {
            behaviour: options.behaviour.clone(),
            script: options.script.clone(),
            since: Instant::now(),
        };
        Simulated {
            options,
            requests: AtomicU64::new(0),
            now: Mutex::new(now),
        }
    }

    /// What it was made from.
    pub fn options(&self) -> &SimulatedOptions {
        &self.options
    }

    /// How many requests it has been sent.
    pub fn requests(&self) -> u64 {
        self.requests.load(Ordering::Relaxed)
    }

    /// How it behaves at this moment.
    pub fn behaviour(&self) -> Behaviour {
        let now = self.now.lock();
        script::at(&now.behaviour, &now.script, now.since.elapsed())
    }

    /// Behaves like this from now on; the script ends.
    pub fn set(&self, behaviour: Behaviour) {
        self.play(behaviour, Vec::new());
    }

    /// Changes what `change` names, after its `at_s` and within its `ramp_s`,
    /// starting from how it behaves now; the former script ends.
    pub fn change(&self, change: Change) {
        self.play(self.behaviour(), vec![change]);
    }

    /// Plays `script` from the start, on top of the configured behaviour.
    pub fn play_script(&self, script: Vec<Change>) {
        self.play(self.options.behaviour.clone(), script);
    }

    /// Back to what was configured: its script starts again.
    pub fn reset(&self) {
        self.play_script(self.options.script.clone());
    }

    fn play(&self, behaviour: Behaviour, script: Vec<Change>) {
        *self.now.lock() = Playing {
            behaviour,
            script,
            since: Instant::now(),
        };
    }

    /// All numbers are drawn in a fixed order, used or not, so that a change
    /// of behaviour does not change what later requests draw.
    fn draw(&self) -> Draw {
        let behaviour = self.behaviour();
        let number = self.requests.fetch_add(1, Ordering::Relaxed);
        let mut rng =
            Rng::with_seed(self.options.seed ^ number.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let (late, off, bad, first, other) =
            (rng.f64(), rng.f64(), rng.f64(), rng.f64(), rng.f64());
        let latency_ms = f64::from(behaviour.latency_ms)
            + (2.0 * late - 1.0) * f64::from(behaviour.latency_jitter_ms);
        let confidence = (behaviour.confidence + (2.0 * off - 1.0) * behaviour.confidence_jitter)
            .clamp(CONFIDENCE_MIN, 1.0);
        let luck = rng.clone().f64();
        Draw {
            number,
            latency: Duration::from_secs_f64(latency_ms.max(0.0) / 1000.0),
            confidence,
            right: luck < confidence - behaviour.overconfidence,
            faulty: bad < behaviour.error_rate,
            label: label(
                self.options.labels.len(),
                behaviour.label_share,
                first,
                other,
            ),
            behaviour,
            rng,
        }
    }

    /// Answers one request: waits, then gives a head and the source of a body.
    pub(super) async fn answer(
        &self,
        served_model: &str,
        path: Path,
        body: &Bytes,
        stream: bool,
    ) -> Result<(StatusCode, HeaderMap, Source), ExchangeError> {
        let draw = self.draw();
        let hangs = draw.faulty && draw.behaviour.fault == Fault::Hang;
        if hangs {
            std::future::pending::<()>().await;
        }
        if draw.faulty && draw.behaviour.fault == Fault::Refuse {
            let refused = io::Error::new(
                io::ErrorKind::ConnectionRefused,
                "the simulated model refuses connections",
            );
            return Err(ExchangeError::Connect(Box::new(refused)));
        }
        if !draw.latency.is_zero() {
            sleep(draw.latency).await;
        }
        if draw.faulty {
            match draw.behaviour.fault {
                Fault::Status => return Ok(error_response(&draw.behaviour)),
                Fault::Malformed => {
                    let page = Bytes::from_static(b"<html><body>Bad gateway</body></html>");
                    return Ok(whole(StatusCode::OK, "text/html", page));
                }
                Fault::Cut | Fault::Hang | Fault::Refuse => {}
            }
        }
        let cut = draw.faulty && draw.behaviour.fault == Fault::Cut;
        let mut response = match path {
            Path::Json => {
                let label = self.told(body, &draw).unwrap_or(draw.label);
                let labels = &self.options.labels;
                let answer = prediction(served_model, labels, label, draw.confidence);
                whole(StatusCode::OK, "application/json", answer)
            }
            Path::OpenAi(Api::Embeddings, _) => {
                let answer = answer::embeddings(served_model, body);
                whole(StatusCode::OK, "application/json", answer)
            }
            Path::OpenAi(api, _) => self.text(api, served_model, body, stream, draw),
        };
        if let Source::Simulated(pieces) = &mut response.2 {
            pieces.cut = cut;
        }
        Ok(response)
    }

    /// The label of an answer to a request that tells the truth; none for one
    /// that does not, or tells of none of the labels.
    fn told(&self, body: &[u8], draw: &Draw) -> Option<usize> {
        let pointer = self.options.truth.as_deref()?;
        let request: Value = serde_json::from_slice(body).ok()?;
        let truth = request.pointer(pointer)?.as_str()?;
        let labels = &self.options.labels;
        let truth = labels.iter().position(|label| label == truth)?;
        if draw.right || labels.len() < 2 {
            return Some(truth);
        }
        // Another one, as likely as the others; the first number said that it
        // is wrong.
        let mut rng = draw.rng.clone();
        rng.f64();
        let other = rng.usize(1..labels.len());
        Some((truth + other) % labels.len())
    }

    fn text(
        &self,
        api: Api,
        served_model: &str,
        body: &Bytes,
        stream: bool,
        mut draw: Draw,
    ) -> (StatusCode, HeaderMap, Source) {
        let request = match OpenAiRequest::parse(api, body) {
            Ok(request) => request,
            Err(error) => {
                let body = ApiError::from(error).to_json();
                return whole(StatusCode::BAD_REQUEST, "application/json", body);
            }
        };
        let answer = TextAnswer {
            api,
            id: format!("sim-{:x}-{}", self.options.seed, draw.number),
            created_s: now_s(),
            model: served_model.to_owned(),
            words: answer::words(
                self.options.text.as_deref(),
                draw.behaviour.tokens,
                &mut draw.rng,
            ),
            confidence: draw.confidence,
            include_usage: request.include_usage,
            logprobs: draw.behaviour.logprobs,
        };
        let interval = Duration::from_millis(draw.behaviour.token_interval_ms.into());
        if !stream {
            // The whole takes as long as its tokens would.
            let wait = interval * u32::try_from(answer.words.len()).unwrap_or(u32::MAX);
            let mut response = whole(StatusCode::OK, "application/json", answer.whole());
            if let Source::Simulated(pieces) = &mut response.2 {
                pieces.wait_first = wait;
            }
            return response;
        }
        let pieces = Pieces {
            from: From::Text(Box::new(answer), 0),
            interval,
            ..Pieces::default()
        };
        (
            StatusCode::OK,
            content_type("text/event-stream"),
            Source::Simulated(pieces),
        )
    }
}

/// Lowest confidence that a draw may have, so that its logarithm exists.
const CONFIDENCE_MIN: f64 = 1e-4;

/// The first label with probability `share`, else one of the others; without
/// a share, any of them.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "a share of a short list's length"
)]
fn label(labels: usize, share: Option<f64>, first: f64, other: f64) -> usize {
    let share = share.unwrap_or(1.0 / labels.max(1) as f64);
    if labels < 2 || first < share {
        0
    } else {
        1 + ((labels - 1) as f64 * other) as usize
    }
}

fn now_s() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs())
}

fn content_type(value: &'static str) -> HeaderMap {
    let mut headers = HeaderMap::with_capacity(2);
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(value));
    headers
}

fn whole(status: StatusCode, kind: &'static str, body: Bytes) -> (StatusCode, HeaderMap, Source) {
    let pieces = Pieces {
        from: From::Whole(Some(body)),
        ..Pieces::default()
    };
    (status, content_type(kind), Source::Simulated(pieces))
}

fn error_response(behaviour: &Behaviour) -> (StatusCode, HeaderMap, Source) {
    let status = StatusCode::from_u16(behaviour.status).unwrap_or(StatusCode::SERVICE_UNAVAILABLE);
    let body = ApiError::new(status, "the simulated model fails as it was told").to_json();
    let mut response = whole(status, "application/json", body);
    if let Some(wait_s) = behaviour.retry_after_s {
        response.1.insert(RETRY_AFTER, wait_s.into());
    }
    response
}

/// The pieces of a simulated body.
#[derive(Default)]
pub(super) struct Pieces {
    from: From,
    /// Before the first piece.
    wait_first: Duration,
    /// Before each further piece.
    interval: Duration,
    timer: Option<Pin<Box<Sleep>>>,
    given: u32,
    /// Breaks off: a whole body before its first byte, a stream half way.
    cut: bool,
}

enum From {
    Whole(Option<Bytes>),
    Text(Box<TextAnswer>, usize),
}

impl Default for From {
    fn default() -> Self {
        From::Whole(None)
    }
}

impl Pieces {
    pub(super) fn poll_piece(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Bytes, ExchangeError>>> {
        let wait = match self.given {
            0 => self.wait_first,
            // The role and the first word come together.
            1 if matches!(self.from, From::Text(..)) => Duration::ZERO,
            _ => self.interval,
        };
        if !wait.is_zero() {
            let timer = self.timer.get_or_insert_with(|| Box::pin(sleep(wait)));
            ready!(timer.as_mut().poll(cx));
            self.timer = None;
        }
        self.given += 1;
        let broken = || Poll::Ready(Some(Err(ExchangeError::Simulated)));
        match &mut self.from {
            From::Whole(_) if self.cut => broken(),
            From::Whole(body) => Poll::Ready(body.take().map(Ok)),
            From::Text(answer, next) if self.cut && *next > answer.words.len() / 2 => broken(),
            From::Text(answer, next) => {
                let event = answer.event(*next);
                *next += 1;
                Poll::Ready(event.map(Ok))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn draws(simulated: &Simulated, count: usize) -> Vec<(u64, u64, bool, usize)> {
        (0..count)
            .map(|_| simulated.draw())
            .map(|d| {
                (
                    d.confidence.to_bits(),
                    d.latency.as_nanos() as u64,
                    d.faulty,
                    d.label,
                )
            })
            .collect()
    }

    fn options(seed: u64) -> SimulatedOptions {
        SimulatedOptions {
            seed,
            labels: vec!["a".into(), "b".into(), "c".into()],
            behaviour: Behaviour {
                latency_ms: 10,
                latency_jitter_ms: 20,
                error_rate: 0.3,
                confidence: 0.8,
                confidence_jitter: 0.1,
                ..Behaviour::default()
            },
            ..SimulatedOptions::default()
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_same_seed_draws_the_same_numbers() {
        let once = draws(&Simulated::new(options(7)), 500);
        assert_eq!(once, draws(&Simulated::new(options(7)), 500));
        assert_ne!(once, draws(&Simulated::new(options(8)), 500));
        let faulty = once.iter().filter(|draw| draw.2).count();
        assert!((120..180).contains(&faulty), "{faulty} of 500 at 0.3");
        for label in 0..3 {
            assert!(once.iter().any(|draw| draw.3 == label));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_that_tells_the_truth_is_answered_as_well_as_the_model_knows() {
        let model = |overconfidence| {
            let mut options = options(7);
            options.truth = Some("/truth".into());
            options.behaviour = Behaviour {
                confidence: 0.8,
                confidence_jitter: 0.2,
                overconfidence,
                ..Behaviour::default()
            };
            Simulated::new(options)
        };
        let request = br#"{"truth": "c"}"#;
        for (overconfidence, expected) in [(0.0, 0.8), (0.3, 0.5), (-1.0, 1.0), (1.0, 0.0)] {
            let model = model(overconfidence);
            let (mut right, mut others) = (0, [0; 3]);
            for _ in 0..4_000 {
                let draw = model.draw();
                let label = model.told(request, &draw).unwrap();
                others[label] += 1;
                right += u32::from(label == 2);
            }
            let share = f64::from(right) / 4_000.0;
            assert!((share - expected).abs() < 0.03, "{overconfidence}: {share}");
            assert!(i32::abs(others[0] - others[1]) < 200);
        }
        let draw = model(0.0).draw();
        for silent in ["{}", "x", r#"{"truth": 3}"#, r#"{"truth": "d"}"#] {
            assert_eq!(model(0.0).told(silent.as_bytes(), &draw), None);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_change_does_not_disturb_what_later_requests_draw() {
        let calm = Simulated::new(options(7));
        let changed = Simulated::new(options(7));
        draws(&changed, 100);
        draws(&calm, 100);
        changed.change(Change {
            error_rate: Some(1.0),
            ..Change::default()
        });
        assert!(draws(&changed, 100).iter().all(|draw| draw.2));
        draws(&calm, 100);
        changed.reset();
        assert_eq!(draws(&changed, 100), draws(&calm, 100));
        assert_eq!(changed.requests(), 300);
    }

    #[tokio::test(start_paused = true)]
    async fn the_script_plays_as_time_passes() {
        let mut options = options(1);
        options.script = vec![Change {
            at_s: 10.0,
            error_rate: Some(1.0),
            ..Change::default()
        }];
        let simulated = Simulated::new(options);
        assert!(simulated.behaviour().error_rate < 0.5);
        tokio::time::advance(Duration::from_secs(11)).await;
        assert!(simulated.behaviour().error_rate > 0.9);
        simulated.reset();
        assert!(simulated.behaviour().error_rate < 0.5);
        simulated.set(Behaviour::default());
        tokio::time::advance(Duration::from_secs(11)).await;
        assert_eq!(simulated.behaviour(), Behaviour::default());
    }
}
