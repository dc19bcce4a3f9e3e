//! Callers that are called back about their reviews: by receivers on real
//! sockets, which fail, hang and come back.

use crate::kit::{Answer, Model, Running, Says, admin, chat, until};
use crate::reviews::{asked_of_people, resolve};
use backstop_gateway::outbox::RECEIVER_ATTEMPTS_MAX;
use backstop_gateway::telemetry::Snapshot;
use base64::prelude::{BASE64_STANDARD, Engine as _};
use bytes::Bytes;
use hmac::{Hmac, KeyInit, Mac};
use http::{HeaderMap, Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use serde_json::{Value, json};
use sha2::Sha256;
use std::collections::VecDeque;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use tokio::net::TcpListener;
use tower::ServiceExt;

const SECRET: &str = "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
const HEADER: &str = "x-backstop-callback-url";

/// How a receiver answers one call.
#[derive(Debug, Clone)]
enum Does {
    Answers(u16, &'static [(&'static str, &'static str)]),
    Hangs,
}

/// One call that a receiver got.
#[derive(Debug, Clone)]
struct Call {
    at: Instant,
    path: String,
    headers: HeaderMap,
    body: Bytes,
}

impl Call {
    fn header(&self, name: &str) -> &str {
        self.headers[name].to_str().unwrap()
    }

    fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    /// What the signature has to be.
    fn signature(&self) -> String {
        let key = BASE64_STANDARD.decode(SECRET).unwrap();
        let mut mac = Hmac::<Sha256>::new_from_slice(&key).unwrap();
        for part in [self.header("webhook-id"), self.header("webhook-timestamp")] {
            mac.update(part.as_bytes());
            mac.update(b".");
        }
        mac.update(&self.body);
        format!("v1,{}", BASE64_STANDARD.encode(mac.finalize().into_bytes()))
    }
}

/// A receiver of callbacks.
#[derive(Clone)]
struct Receiver {
    addr: SocketAddr,
    calls: Arc<Mutex<Vec<Call>>>,
    /// What it does next; when there is no more, it answers 204.
    next: Arc<Mutex<VecDeque<Does>>>,
}

impl Receiver {
    async fn start(does: impl IntoIterator<Item = Does>) -> Receiver {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        Receiver::on(listener, does)
    }

    fn on(listener: TcpListener, does: impl IntoIterator<Item = Does>) -> Receiver {
        let receiver = Receiver {
            addr: listener.local_addr().unwrap(),
            calls: Arc::default(),
            next: Arc::new(Mutex::new(does.into_iter().collect())),
        };
        let serving = receiver.clone();
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let receiver = serving.clone();
                tokio::spawn(async move {
                    let service = service_fn(move |request| {
                        let receiver = receiver.clone();
                        async move { Ok::<_, Infallible>(receiver.answer(request).await) }
                    });
                    let _ = hyper::server::conn::http1::Builder::new()
                        .serve_connection(TokioIo::new(stream), service)
                        .await;
                });
            }
        });
        receiver
    }

    async fn answer(&self, request: Request<Incoming>) -> Response<Full<Bytes>> {
        let (head, body) = request.into_parts();
        let call = Call {
            at: Instant::now(),
            path: head.uri.to_string(),
            headers: head.headers,
            body: body.collect().await.unwrap().to_bytes(),
        };
        let does = self.next.lock().pop_front();
        self.calls.lock().push(call);
        match does.unwrap_or(Does::Answers(204, &[])) {
            Does::Hangs => std::future::pending().await,
            Does::Answers(status, headers) => {
                let mut response = Response::builder().status(status);
                for (name, value) in headers {
                    response = response.header(*name, *value);
                }
                response.body(Full::default()).unwrap()
            }
        }
    }

    fn url(&self) -> String {
        format!("http://{}/hooks/one?for=me", self.addr)
    }

    fn calls(&self) -> Vec<Call> {
        self.calls.lock().clone()
    }

    /// Its calls, once there are `count`.
    async fn called(&self, count: usize) -> Vec<Call> {
        until("the calls are there", async || {
            self.calls.lock().len() >= count
        })
        .await;
        self.calls()
    }
}

/// Routes whose answers go to people, with callbacks.
fn config(model: SocketAddr, receivers: &[SocketAddr], more: &str) -> String {
    let allow: Vec<_> = receivers
        .iter()
        .map(|addr| format!("\"http://{addr}/hooks\""))
        .collect();
    format!(
        "[callbacks]\nallow = [{}]\nsecret = \"whsec_{SECRET}\"\n{more}\n{}",
        allow.join(", "),
        asked_of_people(model)
    )
}

/// What makes attempts follow each other at once.
const AT_ONCE: &str = "backoff_ms = 1\nbackoff_ms_max = 1";

async fn ask(gateway: &Running, url: &str) -> Answer {
    let body = chat("chat", false).to_string();
    gateway
        .post_with("/v1/chat/completions", &[(HEADER, url)], body)
        .await
}

/// Asks with a callback, and lets a person resolve the review. Returns its id.
async fn resolved(gateway: &Running, url: &str) -> String {
    let answer = ask(gateway, url).await;
    assert_eq!(answer.status, 202, "{}", answer.text);
    let id = answer.header("x-backstop-review").unwrap().to_owned();
    resolve(gateway, &id, json!({"outcome": "agree"})).await;
    id
}

/// Asks the admin plane.
async fn operate(gateway: &Running, method: &str, path: &str) -> Value {
    let request = Request::builder()
        .method(method)
        .uri(format!("http://127.0.0.1/admin/v1/outbox{path}"))
        .body(axum::body::Body::empty())
        .unwrap();
    let answer = admin(gateway).await.oneshot(request).await.unwrap();
    assert_eq!(answer.status(), 200, "{path}");
    let body = answer.into_body().collect().await.unwrap().to_bytes();
    serde_json::from_slice(&body).unwrap()
}

/// The message about the review `about`.
async fn message(gateway: &Running, about: &str) -> Value {
    let list = operate(gateway, "GET", "").await;
    let found = list["data"].as_array().unwrap().iter();
    let mut found = found.filter(|message| message["about"] == about);
    let message = found.next().unwrap_or_else(|| panic!("none in {list}"));
    assert!(found.next().is_none(), "{list}");
    message.clone()
}

/// Waits until the message about `about` is in `state`.
async fn in_state(gateway: &Running, about: &str, state: &str) -> Value {
    let is = async || message(gateway, about).await["state"] == state;
    until(state, is).await;
    message(gateway, about).await
}

fn metrics(gateway: &Running) -> Vec<String> {
    let telemetry = gateway.gateway.telemetry();
    let text = telemetry.encode(&Snapshot::default()).unwrap();
    let lines = text.lines();
    lines
        .filter_map(|line| line.strip_prefix("backstop_outbox_"))
        .map(str::to_owned)
        .collect()
}

#[tokio::test]
async fn a_caller_is_called_back_with_what_its_review_says() {
    let model = Model::start(Says::Text("perhaps")).await;
    let receiver = Receiver::start([]).await;
    let gateway = Running::start(&config(model.addr, &[receiver.addr], "")).await;
    // Who does not ask for it is not called.
    let silent = gateway.chat("chat").await;
    let silent = silent.header("x-backstop-review").unwrap().to_owned();
    resolve(&gateway, &silent, json!({"outcome": "agree"})).await;

    let answer = ask(&gateway, &receiver.url()).await;
    assert_eq!(answer.status, 202, "{}", answer.text);
    assert_eq!(model.heard_header(HEADER), None, "it is not the model's");
    let id = answer.header("x-backstop-review").unwrap().to_owned();
    let resolution = json!({
        "outcome": "corrected", "answer": "surely", "label": "sure",
        "by": "somebody", "note": "for colleagues",
    });
    resolve(&gateway, &id, resolution.clone()).await;
    // Said again, it is no news.
    resolve(&gateway, &id, resolution).await;
    let call = receiver.called(1).await.remove(0);
    assert_eq!(call.path, "/hooks/one?for=me");
    assert_eq!(call.header("content-type"), "application/json");
    assert_eq!(call.header("webhook-signature"), call.signature());
    let sent_s: u64 = call.header("webhook-timestamp").parse().unwrap();
    let now_s = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap()
        .as_secs();
    assert!(now_s.abs_diff(sent_s) < 60, "{sent_s}");

    let event = call.json();
    assert_eq!(event["type"], "review.resolved");
    let happened = humantime::parse_rfc3339(event["timestamp"].as_str().unwrap()).unwrap();
    assert!(happened.elapsed().unwrap() < Duration::from_secs(60));
    let mut expected = gateway.get(&format!("/v1/reviews/{id}")).await.json();
    assert_eq!(
        expected["answer"]["choices"][0]["message"]["content"],
        "surely"
    );
    expected["route"] = json!("chat");
    expected["decision"] = event["data"]["decision"].clone();
    assert_eq!(event["data"], expected);
    assert!(event["data"]["decision"].is_string(), "{event}");
    for inside in ["somebody", "colleagues"] {
        assert!(!event.to_string().contains(inside), "{event}");
    }

    let told = in_state(&gateway, &id, "delivered").await;
    assert_eq!(told["id"], call.header("webhook-id"));
    assert_eq!(
        (&told["attempts"], &told["last_error"]),
        (&json!(1), &Value::Null)
    );
    let expected = "attempts_total{channel=\"callbacks\",outcome=\"delivered\"} 1";
    assert!(metrics(&gateway).contains(&expected.to_owned()));
    assert_eq!(receiver.calls().len(), 1);
}

#[tokio::test]
async fn callbacks_go_only_where_the_configuration_allows() {
    let model = Model::start(Says::Text("perhaps")).await;
    let receiver = Receiver::start([]).await;
    let own = "[routes.score]\ncallback_allow = [\"https://score.example\"]\n";
    let text = config(model.addr, &[receiver.addr], "").replace("[routes.score]\n", own);
    let gateway = Running::start(&text).await;
    let base = format!("http://{}", receiver.addr);
    let chat = chat("chat", false).to_string();
    for (url, code) in [
        (format!("{base}/other"), "callback_not_allowed"),
        (format!("{base}/hooksy"), "callback_not_allowed"),
        (
            "https://app.example/hooks".to_owned(),
            "callback_not_allowed",
        ),
        ("https://score.example/".to_owned(), "callback_not_allowed"),
        (format!("{base}/hooks/../other"), "invalid_callback_url"),
        (
            "http://app.example/hooks".to_owned(),
            "invalid_callback_url",
        ),
        (
            format!("http://me:pw@{}/hooks", receiver.addr),
            "invalid_callback_url",
        ),
        ("hooks".to_owned(), "invalid_callback_url"),
        (
            format!("{base}/hooks/{}", "x".repeat(3_000)),
            "invalid_callback_url",
        ),
        (String::new(), "invalid_callback_url"),
    ] {
        let answer = ask(&gateway, &url).await;
        assert_eq!(answer.status, 400, "{url}");
        assert_eq!(answer.code(), code, "{url}");
        let error = &answer.json()["error"];
        assert_eq!(error["type"], "invalid_request_error");
        assert_eq!(error["param"], HEADER);
        let message = error["message"].as_str().unwrap();
        assert!(message.contains(HEADER) && message.contains("`callbacks.allow`"));
    }
    let twice = [(HEADER, &*receiver.url()), (HEADER, &*receiver.url())];
    let answer = gateway
        .post_with("/v1/chat/completions", &twice, chat)
        .await;
    assert_eq!(answer.code(), "invalid_callback_url");

    // A route's own list stands instead of the other, whichever way it is asked.
    for path in ["/v1/predict/score", "/v2/models/score/infer"] {
        let answer = gateway
            .post_with(path, &[(HEADER, &receiver.url())], "{}")
            .await;
        assert_eq!(answer.status, 400, "{path}");
        assert!(
            answer.text.contains("`routes.score.callback_allow`"),
            "{}",
            answer.text
        );
    }
    assert_eq!(model.calls(), 0, "no model is asked before");
    let allowed = [(HEADER, "https://score.example/any")];
    let answer = gateway.post_with("/v1/predict/score", &allowed, "{}").await;
    assert_eq!(answer.status, 202, "{}", answer.text);
}

#[tokio::test]
async fn a_call_that_fails_is_repeated_with_the_same_id() {
    let model = Model::start(Says::Text("perhaps")).await;
    let receiver = Receiver::start([
        Does::Answers(500, &[]),
        Does::Answers(429, &[("retry-after", "1")]),
        Does::Hangs,
    ])
    .await;
    let more = format!("{AT_ONCE}\ntimeout_ms = 200");
    let gateway = Running::start(&config(model.addr, &[receiver.addr], &more)).await;
    let about = resolved(&gateway, &receiver.url()).await;
    let calls = receiver.called(4).await;
    for call in &calls {
        assert_eq!(call.header("webhook-id"), calls[0].header("webhook-id"));
        assert_eq!(call.body, calls[0].body);
        assert_eq!(call.header("webhook-signature"), call.signature());
    }
    let waited: Vec<_> = calls.windows(2).map(|two| two[1].at - two[0].at).collect();
    assert!(waited[0] < Duration::from_millis(900), "{waited:?}");
    // As the receiver asked, however short the wait would have been.
    assert!(waited[1] > Duration::from_millis(950), "{waited:?}");
    let told = in_state(&gateway, &about, "delivered").await;
    assert_eq!(told["attempts"], 4);
    assert_eq!(receiver.calls().len(), 4);
    for (outcome, count) in [("refused", 2), ("timeout", 1), ("delivered", 1)] {
        let line = format!("attempts_total{{channel=\"callbacks\",outcome=\"{outcome}\"}} {count}");
        assert!(metrics(&gateway).contains(&line), "{:?}", metrics(&gateway));
    }
}

#[tokio::test]
async fn a_receiver_that_is_down_is_called_after_a_restart() {
    let model = Model::start(Says::Text("perhaps")).await;
    let addr = Model::refusing().await;
    let text = config(
        model.addr,
        &[addr],
        "backoff_ms = 500\nbackoff_ms_max = 500",
    );
    let gateway = Running::start(&text).await;
    let about = resolved(&gateway, &format!("http://{addr}/hooks")).await;
    let failed = async || message(&gateway, &about).await["last_error"].is_string();
    until("an attempt has failed", failed).await;
    let told = message(&gateway, &about).await;
    assert_eq!(told["state"], "pending");
    let (dir, _) = gateway.stop().await;

    let receiver = Receiver::on(TcpListener::bind(addr).await.unwrap(), []);
    let gateway = Running::start_in(&text, dir).await;
    let calls = receiver.called(1).await;
    assert_eq!(calls[0].header("webhook-id"), told["id"]);
    assert_eq!(calls[0].json()["data"]["id"], *about);
    in_state(&gateway, &about, "delivered").await;
}

#[tokio::test]
async fn what_was_resolved_and_not_sent_is_sent_by_the_next_process() {
    let model = Model::start(Says::Text("perhaps")).await;
    let receiver = Receiver::start([]).await;
    let text = config(model.addr, &[receiver.addr], "");
    let gateway = Running::start(&text).await;
    let answer = ask(&gateway, &receiver.url()).await;
    let id = answer.header("x-backstop-review").unwrap().to_owned();
    // The process sends nothing any more, and then it is gone.
    gateway.gateway.finish_outbox().await;
    resolve(&gateway, &id, json!({"outcome": "reject"})).await;
    assert_eq!(message(&gateway, &id).await["attempts"], 0);
    let (dir, _) = gateway.stop().await;
    assert!(receiver.calls().is_empty());

    let gateway = Running::start_in(&text, dir).await;
    let calls = receiver.called(1).await;
    assert_eq!(calls[0].json()["data"]["outcome"], "reject");
    in_state(&gateway, &id, "delivered").await;
}

#[tokio::test]
async fn after_its_last_attempt_a_callback_is_a_dead_letter() {
    let model = Model::start(Says::Text("perhaps")).await;
    let elsewhere = Receiver::start([]).await;
    let moved: &'static str = elsewhere.url().leak();
    let location: &'static [_] = vec![("location", moved)].leak();
    let receiver = Receiver::start([
        Does::Answers(500, &[]),
        Does::Answers(307, location),
        Does::Answers(410, &[]),
    ])
    .await;
    let more = format!("{AT_ONCE}\nattempts = 2");
    let receivers = [receiver.addr, elsewhere.addr];
    let text = config(model.addr, &receivers, &more);
    let gateway = Running::start(&text).await;
    let about = resolved(&gateway, &receiver.url()).await;
    let dead = in_state(&gateway, &about, "dead").await;
    assert_eq!(
        (&dead["attempts"], &dead["last_error"]),
        (&json!(2), &json!("status 307"))
    );
    assert!(elsewhere.calls().is_empty(), "redirects are not followed");
    assert!(metrics(&gateway).contains(&"dead_total{channel=\"callbacks\"} 1".to_owned()));
    let letters = operate(&gateway, "GET", "?state=dead").await;
    assert_eq!(letters["data"], json!([dead]));
    let id = dead["id"].as_str().unwrap();
    let letter = operate(&gateway, "GET", &format!("/{id}")).await;
    assert_eq!(letter["body"]["data"]["id"], *about);
    assert_eq!(receiver.calls().len(), 2);

    // An operator sends it again. The receiver wants no more, which ends it.
    operate(&gateway, "POST", &format!("/{id}/retry")).await;
    assert_eq!(receiver.called(3).await[2].header("webhook-id"), id);
    let dead = in_state(&gateway, &about, "dead").await;
    assert_eq!(
        (&dead["attempts"], &dead["last_error"]),
        (&json!(1), &json!("status 410"))
    );
    // And again, with nobody to be called any more.
    gateway
        .reload(&text.replace(&receiver.addr.to_string(), "127.0.0.1:9"))
        .await;
    operate(&gateway, "POST", &format!("/{id}/retry")).await;
    let refused = async || {
        let dead = message(&gateway, &about).await;
        dead["last_error"].as_str().unwrap().contains("no longer")
    };
    until("the callback is not allowed", refused).await;
    assert_eq!(receiver.calls().len(), 3);
}

#[tokio::test]
async fn a_slow_receiver_keeps_no_other_waiting() {
    let model = Model::start(Says::Text("perhaps")).await;
    let slow = Receiver::start(vec![Does::Hangs; 10]).await;
    let quick = Receiver::start([]).await;
    let receivers = [slow.addr, quick.addr];
    let gateway = Running::start(&config(model.addr, &receivers, "timeout_ms = 60000")).await;
    for _ in 0..2 * RECEIVER_ATTEMPTS_MAX {
        resolved(&gateway, &slow.url()).await;
    }
    slow.called(RECEIVER_ATTEMPTS_MAX).await;
    let about = resolved(&gateway, &quick.url()).await;
    in_state(&gateway, &about, "delivered").await;
    assert_eq!(
        slow.calls().len(),
        RECEIVER_ATTEMPTS_MAX,
        "it is not flooded"
    );
}
