//! The demo's callers: workers that send chat requests over real sockets and
//! count who answered.
//!
//! Each worker has one request in flight. Every eighth request streams. What
//! was served is told from the response's status and `x-backstop-*` headers
//! alone, as any caller could.

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, Method, Request, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::task::JoinSet;

/// Routes in the order in which requests go to them.
const ROUTES: [&str; 5] = ["support", "writing", "support", "triage", "writing"];
/// Every so many requests one streams.
const STREAM_EVERY: u64 = 8;
/// Pause of a worker between two requests: enough traffic to see every effect
/// within a second, little enough for a busy laptop.
const PAUSE: Duration = Duration::from_millis(25);
/// Longest wait for an answer. The slowest that is meant to happen is below a
/// second.
const TIMEOUT: Duration = Duration::from_secs(15);
/// Largest answer that is read.
const ANSWER_BYTES_MAX: usize = 1 << 20;
/// How many failed requests are remembered in words.
const FAILURES_KEPT: usize = 5;
/// How many reviews are remembered by their id.
const REVIEWS_KEPT: usize = 64;

/// Who served a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Who {
    /// The route's first model.
    Primary,
    /// Another model.
    Backup,
    /// Rules.
    Rules,
    /// People.
    Review,
}

impl Who {
    /// All, in the order of the view.
    pub(crate) const ALL: [Who; 4] = [Who::Primary, Who::Backup, Who::Rules, Who::Review];

    /// The name in the view and in counts.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Who::Primary => "primary",
            Who::Backup => "backup",
            Who::Rules => "rules",
            Who::Review => "review",
        }
    }
}

/// What is told apart when requests are counted.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Kind {
    route: &'static str,
    who: Who,
    release: Option<String>,
    /// More than one model was called for it.
    escalated: bool,
}

/// Requests so far, by what became of them.
#[derive(Debug, Clone, Default)]
pub(crate) struct Tally {
    requests: u64,
    failed: u64,
    kinds: BTreeMap<Kind, u64>,
}

impl Tally {
    /// All requests that were answered or failed.
    pub(crate) fn requests(&self) -> u64 {
        self.requests
    }

    /// Those without a good answer.
    pub(crate) fn failed(&self) -> u64 {
        self.failed
    }

    /// Served by `who`, over all routes.
    pub(crate) fn served(&self, who: Who) -> u64 {
        self.sum(|kind| kind.who == who)
    }

    /// Requests to `route` that `who` served.
    pub(crate) fn on(&self, route: &str, who: Who) -> u64 {
        self.sum(|kind| kind.route == route && kind.who == who)
    }

    /// Requests to `route`, whoever served them.
    pub(crate) fn route(&self, route: &str) -> u64 {
        self.sum(|kind| kind.route == route)
    }

    /// Requests to `route` that its model's release served.
    pub(crate) fn release(&self, route: &str, release: &str) -> u64 {
        self.sum(|kind| {
            kind.route == route
                && kind.who == Who::Primary
                && kind.release.as_deref() == Some(release)
        })
    }

    /// Requests to `route` that the backup answered after another model.
    pub(crate) fn escalated(&self, route: &str) -> u64 {
        self.sum(|kind| kind.route == route && kind.who == Who::Backup && kind.escalated)
    }

    fn sum(&self, wanted: impl Fn(&Kind) -> bool) -> u64 {
        self.kinds
            .iter()
            .filter(|(kind, _)| wanted(kind))
            .map(|(_, count)| count)
            .sum()
    }

    /// What was added since `earlier`.
    pub(crate) fn since(&self, earlier: &Tally) -> Tally {
        let kinds = self.kinds.iter().map(|(kind, count)| {
            let before = earlier.kinds.get(kind).copied().unwrap_or(0);
            (kind.clone(), count - before)
        });
        Tally {
            requests: self.requests - earlier.requests,
            failed: self.failed - earlier.failed,
            kinds: kinds.collect(),
        }
    }
}

/// The traffic that flows. Stops when it is dropped.
pub(crate) struct Traffic {
    shared: Arc<Shared>,
    workers: JoinSet<()>,
}

struct Shared {
    client: Client<HttpConnector, Full<Bytes>>,
    url: String,
    numbers: AtomicU64,
    tally: Mutex<Tally>,
    failures: Mutex<Vec<String>>,
    reviews: Mutex<Vec<String>>,
}

impl Traffic {
    /// Begins to send requests to the data plane at `address`, at most
    /// `concurrency` at a time.
    pub(crate) fn start(address: SocketAddr, concurrency: u32) -> Traffic {
        let shared = Arc::new(Shared {
            client: Client::builder(TokioExecutor::new()).build_http(),
            url: format!("http://{address}/v1/chat/completions"),
            numbers: AtomicU64::new(0),
            tally: Mutex::default(),
            failures: Mutex::default(),
            reviews: Mutex::default(),
        });
        let mut workers = JoinSet::new();
        for _ in 0..concurrency {
            workers.spawn(Arc::clone(&shared).work());
        }
        Traffic { shared, workers }
    }

    /// Everything so far: a mark to count from, or the total.
    pub(crate) fn tally(&self) -> Tally {
        self.shared.tally.lock().clone()
    }

    /// What happened since `mark`.
    pub(crate) fn since(&self, mark: &Tally) -> Tally {
        self.tally().since(mark)
    }

    /// The first failed requests, in words.
    pub(crate) fn failures(&self) -> Vec<String> {
        self.shared.failures.lock().clone()
    }

    /// Ids of the newest reviews that callers were told of.
    pub(crate) fn reviews(&self) -> Vec<String> {
        self.shared.reviews.lock().clone()
    }

    /// Sends nothing more and waits until what is in flight is answered.
    pub(crate) async fn finish(mut self) -> Tally {
        self.shared.numbers.store(STOPPED, Ordering::Relaxed);
        while self.workers.join_next().await.is_some() {}
        self.tally()
    }
}

/// As the number of the next request: there is none.
const STOPPED: u64 = u64::MAX / 2;

/// What became of one request.
struct Served {
    who: Who,
    release: Option<String>,
    escalated: bool,
    review: Option<String>,
}

impl Shared {
    async fn work(self: Arc<Self>) {
        loop {
            let number = self.numbers.fetch_add(1, Ordering::Relaxed);
            if number >= STOPPED {
                return;
            }
            let route = route(number);
            let served = tokio::time::timeout(TIMEOUT, self.ask(route, number)).await;
            match served {
                Ok(Ok(served)) => self.count(route, served),
                Ok(Err(error)) => self.fail(route, &format!("{error:#}")),
                Err(_) => self.fail(route, "no answer in time"),
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    async fn ask(&self, route: &str, number: u64) -> Result<Served> {
        let stream = number % STREAM_EVERY == STREAM_EVERY - 1;
        let body = serde_json::json!({
            "model": route,
            "messages": [{ "role": "user", "content": format!("Question {number}, please.") }],
            "stream": stream,
        });
        let request = Request::builder()
            .method(Method::POST)
            .uri(&self.url)
            .header(CONTENT_TYPE, "application/json")
            .body(Full::new(Bytes::from(body.to_string())))
            .context("make the request")?;
        let response = self.client.request(request).await.context("send it")?;
        let (head, body) = response.into_parts();
        let body = Limited::new(body, ANSWER_BYTES_MAX)
            .collect()
            .await
            .map_err(|error| anyhow::anyhow!("read the answer: {error}"))?
            .to_bytes();
        let is_stream = head
            .headers
            .get(CONTENT_TYPE)
            .is_some_and(|kind| kind.as_bytes().starts_with(b"text/event-stream"));
        served(head.status, &head.headers, &body, is_stream, route)
    }

    fn count(&self, route: &'static str, served: Served) {
        if let Some(review) = served.review {
            let mut reviews = self.reviews.lock();
            if reviews.len() >= REVIEWS_KEPT {
                reviews.remove(0);
            }
            reviews.push(review);
        }
        let kind = Kind {
            route,
            who: served.who,
            release: served.release,
            escalated: served.escalated,
        };
        let mut tally = self.tally.lock();
        tally.requests += 1;
        *tally.kinds.entry(kind).or_default() += 1;
    }

    fn fail(&self, route: &str, why: &str) {
        {
            let mut failures = self.failures.lock();
            if failures.len() < FAILURES_KEPT {
                failures.push(format!("{route}: {why}"));
            }
        }
        let mut tally = self.tally.lock();
        tally.requests += 1;
        tally.failed += 1;
    }
}

fn route(number: u64) -> &'static str {
    let index = number % ROUTES.len() as u64;
    usize::try_from(index).map_or(ROUTES[0], |index| ROUTES[index])
}

/// Who served, from what a caller sees.
///
/// # Errors
///
/// What a caller would call a failure: another status, a stream that was cut.
fn served(
    status: StatusCode,
    headers: &HeaderMap,
    body: &Bytes,
    is_stream: bool,
    route: &str,
) -> Result<Served> {
    ensure!(
        status.is_success(),
        "status {status}: {}",
        String::from_utf8_lossy(&body[..body.len().min(200)])
    );
    ensure!(
        !is_stream || String::from_utf8_lossy(body).contains("data: [DONE]"),
        "the stream was cut"
    );
    let header = |name: &str| {
        headers
            .get(name)
            .and_then(|value| value.to_str().ok())
            .map(str::to_owned)
    };
    let who = match header("x-backstop-step").as_deref() {
        Some("rules") => Who::Rules,
        Some("review") => Who::Review,
        Some(_) if header("x-backstop-model").as_deref() == Some(first_model(route)) => {
            Who::Primary
        }
        Some(_) => Who::Backup,
        None => anyhow::bail!("nobody said who served"),
    };
    let attempts = header("x-backstop-attempts").and_then(|count| count.parse::<u32>().ok());
    Ok(Served {
        who,
        release: header("x-backstop-release"),
        escalated: attempts.is_some_and(|count| count > 1),
        review: header("x-backstop-review"),
    })
}

/// The model that a route prefers, as in `demo.toml`.
fn first_model(route: &str) -> &'static str {
    match route {
        "support" => "primary",
        "writing" => "writer",
        _ => "swift",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        let pairs = pairs.iter().map(|(name, value)| {
            (
                http::HeaderName::from_static(name),
                http::HeaderValue::from_static(value),
            )
        });
        pairs.collect()
    }

    #[test]
    fn who_served_is_told_from_the_headers() {
        for (pairs, expected) in [
            (
                vec![("x-backstop-step", "0"), ("x-backstop-model", "primary")],
                Who::Primary,
            ),
            (
                vec![("x-backstop-step", "1"), ("x-backstop-model", "backup")],
                Who::Backup,
            ),
            (vec![("x-backstop-step", "rules")], Who::Rules),
            (vec![("x-backstop-step", "review")], Who::Review),
        ] {
            let headers = headers(&pairs);
            let served = served(StatusCode::OK, &headers, &Bytes::new(), false, "support");
            assert_eq!(served.unwrap().who, expected);
        }
    }

    #[test]
    fn what_a_caller_would_call_a_failure_is_one() {
        let good = headers(&[("x-backstop-step", "0"), ("x-backstop-model", "primary")]);
        let cut = Bytes::from_static(b"data: {}\n\n");
        let whole = Bytes::from_static(b"data: {}\n\ndata: [DONE]\n\n");
        let is_ok = |status, headers: &HeaderMap, body: &Bytes, stream| {
            served(status, headers, body, stream, "support").is_ok()
        };
        assert!(is_ok(StatusCode::OK, &good, &whole, true));
        assert!(!is_ok(StatusCode::OK, &good, &cut, true));
        assert!(!is_ok(StatusCode::BAD_GATEWAY, &good, &Bytes::new(), false));
        assert!(!is_ok(
            StatusCode::OK,
            &HeaderMap::new(),
            &Bytes::new(),
            false
        ));
    }

    #[test]
    fn a_tally_counts_from_a_mark() {
        let kind = |who| Kind {
            route: "support",
            who,
            release: None,
            escalated: false,
        };
        let mut tally = Tally {
            requests: 3,
            ..Tally::default()
        };
        tally.kinds.insert(kind(Who::Primary), 3);
        let mark = tally.clone();
        tally.requests = 6;
        tally.failed = 1;
        tally.kinds.insert(kind(Who::Primary), 4);
        tally.kinds.insert(kind(Who::Rules), 1);
        let since = tally.since(&mark);
        assert_eq!((since.requests(), since.failed()), (3, 1));
        assert_eq!(since.on("support", Who::Primary), 1);
        assert_eq!(since.served(Who::Rules), 1);
        assert_eq!(since.on("writing", Who::Primary), 0);
    }
}
