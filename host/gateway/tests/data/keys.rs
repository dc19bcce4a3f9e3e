//! Several keys of one provider: the same call goes on with the next one, and
//! nobody hears of it while one is left.

use crate::kit::{Running, admin, chat};
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use serde_json::{Value, json};
use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::net::TcpListener;
use tower::ServiceExt;

/// Status and `Retry-After`.
type Refusal = (u16, Option<u32>);

/// A provider that treats each key in its own way.
#[derive(Clone, Default)]
struct Provider {
    /// By key; others are answered.
    refuses: Arc<Mutex<HashMap<&'static str, Refusal>>>,
    /// The keys that it was asked with, in order.
    asked: Arc<Mutex<Vec<String>>>,
}

impl Provider {
    async fn start(&self) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let provider = self.clone();
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let provider = provider.clone();
                tokio::spawn(async move {
                    let service = service_fn(move |request: Request<hyper::body::Incoming>| {
                        let answer = provider.answer(&request);
                        async move { Ok::<_, std::convert::Infallible>(answer) }
                    });
                    let _ = hyper::server::conn::http1::Builder::new()
                        .serve_connection(TokioIo::new(stream), service)
                        .await;
                });
            }
        });
        addr
    }

    fn answer<B>(&self, request: &Request<B>) -> Response<Full<Bytes>> {
        let header = request.headers().get("authorization").unwrap();
        let key = header.to_str().unwrap().strip_prefix("Bearer ").unwrap();
        self.asked.lock().push(key.to_owned());
        let refused = self.refuses.lock().get(key).copied();
        let mut response = Response::builder().header("content-type", "application/json");
        let body = match refused {
            Some((status, wait)) => {
                response = response.status(status);
                if let Some(wait) = wait {
                    response = response.header("retry-after", wait.to_string());
                }
                json!({"error": {"message": format!("no, {key}"), "type": "t", "param": null, "code": null}})
            }
            None => json!({
                "id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": "m",
                "choices": [{"index": 0, "message": {"role": "assistant", "content": "hi"},
                             "finish_reason": "stop"}],
            }),
        };
        response.body(Full::new(body.to_string().into())).unwrap()
    }

    fn refuse(&self, key: &'static str, status: u16, wait: Option<u32>) {
        self.refuses.lock().insert(key, (status, wait));
    }

    /// The keys that it was asked with since the last look.
    fn asked(&self) -> Vec<String> {
        std::mem::take(&mut *self.asked.lock())
    }
}

async fn gateway(provider: &Provider) -> Running {
    let addr = provider.start().await;
    Running::start(&format!(
        r#"
        [providers.p]
        kind = "openai"
        base_url = "http://{addr}/v1"
        api_keys = ["key-one", "key-two", "key-three"]
        [models.m]
        provider = "p"
        [models.m.breaker]
        minimum_number_of_calls = 1
        sliding_window_size = 1
        [routes.chat]
        kind = "chat"
        models = ["m"]
        retry = {{ retries = 0 }}
        "#
    ))
    .await
}

async fn shown(gateway: &Running) -> Value {
    let request = Request::get("http://127.0.0.1/admin/v1/models").body(axum::body::Body::empty());
    let router = admin(gateway).await;
    let answer = router.oneshot(request.unwrap()).await.unwrap();
    let body = axum::body::to_bytes(answer.into_body(), 1 << 20)
        .await
        .unwrap();
    let text = std::str::from_utf8(&body).unwrap();
    assert!(!text.contains("key-"), "{text}");
    let models: Value = serde_json::from_str(text).unwrap();
    models["data"][0]["releases"][0]["keys"].clone()
}

#[tokio::test]
async fn a_key_that_is_refused_or_limited_gives_way_within_the_same_call() {
    let provider = Provider::default();
    provider.refuse("key-one", 401, None);
    provider.refuse("key-two", 429, Some(60));
    let gateway = gateway(&provider).await;
    let answer = gateway.chat("chat").await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    assert_eq!(answer.header("x-backstop-attempts"), Some("1"));
    assert_eq!(provider.asked(), ["key-one", "key-two", "key-three"]);
    // Both are left alone from now on, and the breaker has heard of none.
    assert_eq!(gateway.chat("chat").await.status, 200);
    assert_eq!(provider.asked(), ["key-three"]);

    let keys = shown(&gateway).await;
    let states: Vec<_> = (0..3)
        .map(|at| keys[at]["state"].as_str().unwrap())
        .collect();
    assert_eq!(states, ["refused", "cooling", "ready"]);
    let for_ms = keys[1]["for_ms"].as_u64().unwrap();
    assert!((30_000..=60_000).contains(&for_ms), "{for_ms}");
    // The beginning of `printf key-one | sha256sum`.
    assert_eq!(keys[0]["hash"], "9b346041");

    let metrics = gateway
        .gateway
        .telemetry()
        .encode(&Default::default())
        .unwrap();
    for (key, end, count) in [(0, "auth", 1), (1, "rate-limit", 1), (2, "ok", 2)] {
        let line = format!("key=\"{key}\",end=\"{end}\"}} {count}\n");
        assert!(metrics.contains(&line), "{line} in {metrics}");
    }
    assert!(!metrics.contains("key-"), "{metrics}");

    let request = Request::get("http://127.0.0.1/metrics").body(axum::body::Body::empty());
    let answer = admin(&gateway)
        .await
        .oneshot(request.unwrap())
        .await
        .unwrap();
    let body = axum::body::to_bytes(answer.into_body(), 1 << 20)
        .await
        .unwrap();
    let scraped = std::str::from_utf8(&body).unwrap();
    let gauge = "backstop_provider_key_state{provider=\"p\"";
    for (key, is_in) in [(0, "refused"), (1, "cooling"), (2, "ready")] {
        for state in ["ready", "cooling", "refused"] {
            let value = u8::from(state == is_in);
            let line = format!("{gauge},key=\"{key}\",state=\"{state}\"}} {value}\n");
            assert!(scraped.contains(&line), "{line} in {scraped}");
        }
    }
    assert!(!scraped.contains("key-"), "{scraped}");
}

#[tokio::test]
async fn what_no_key_can_mend_is_the_releases() {
    let provider = Provider::default();
    for (key, wait) in [("key-one", 40), ("key-two", 20), ("key-three", 60)] {
        provider.refuse(key, 429, Some(wait));
    }
    let gateway = gateway(&provider).await;
    let answer = gateway.chat("chat").await;
    assert_eq!(answer.code(), "rate-limit");
    let wait: u64 = answer.header("retry-after").unwrap().parse().unwrap();
    assert!((10..=20).contains(&wait), "the smallest wait, not {wait}");
    assert!(!answer.text.contains("key-"), "{}", answer.text);
    assert_eq!(provider.asked().len(), 3);
    // The breaker has heard of it: nothing is asked until then.
    gateway.chat("chat").await;
    assert_eq!(provider.asked(), Vec::<String>::new());
}

#[tokio::test]
async fn a_model_that_fails_is_asked_with_the_same_key() {
    let provider = Provider::default();
    provider.refuse("key-one", 500, None);
    let gateway = gateway(&provider).await;
    let answer = gateway
        .post("/v1/chat/completions", chat("chat", false))
        .await;
    assert_eq!(answer.code(), "server-error");
    assert_eq!(provider.asked(), ["key-one"]);
    assert_eq!(shown(&gateway).await[0]["state"], "ready");
}
