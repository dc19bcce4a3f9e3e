//! Callbacks, verified by others: the published package of Standard Webhooks and
//! the code that our documentation offers. `clients/webhook.py` asks both.

use crate::clients::{cache, found};
use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::routing::post;
use backstop_tests::gateway::{FREE_PORTS, Running};
use backstop_tests::packages::Package;
use http::{Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use serde_json::{Map, Value, json};
use std::path::Path;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::mpsc;

/// Of 32 bytes, with the padding that they have in base64.
const SECRET: &str = "whsec_cGxlYXNlIHRlbGwgbm9ib2R5IG9mIHRoaXMgb25lIQ==";
const DOCUMENTATION: &str = include_str!("../../host/gateway/docs/callbacks.md");

type Call = (HeaderMap, Bytes);

/// Sends what it is called with on, and returns where it is.
async fn receiver() -> (String, mpsc::Receiver<Call>) {
    let (sender, calls) = mpsc::channel(1);
    let keep = async |State(calls): State<mpsc::Sender<Call>>, headers, body| {
        calls.send((headers, body)).await.unwrap();
    };
    let router = Router::new().route("/hook", post(keep)).with_state(sender);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/hook", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, router).await });
    (url, calls)
}

async fn send(url: &str, callback: &str, body: Value) -> Response<Incoming> {
    let request = Request::post(url)
        .header("content-type", "application/json")
        .header("x-backstop-callback-url", callback)
        .body(Full::new(Bytes::from(body.to_string())))
        .unwrap();
    let client = Client::builder(TokioExecutor::new()).build_http();
    client.request(request).await.unwrap()
}

/// A callback as it came.
async fn called_back() -> Call {
    let (url, mut calls) = receiver().await;
    let dir = tempfile::tempdir().unwrap();
    let config = dir.path().join("backstop.toml");
    let text = format!(
        "{FREE_PORTS}[callbacks]\nallow = [\"{url}\"]\nsecret = \"{SECRET}\"\n\
         [routes.ask]\nkind = \"json\"\nreview = true\n"
    );
    std::fs::write(&config, text).unwrap();
    let gateway = Running::launch(&config, false)
        .await
        .unwrap_or_else(|error| panic!("{error}"));
    let ask = format!("http://{}/v1/predict/ask", gateway.data);
    let answer = send(&ask, &url, json!({"amount": 1})).await;
    assert_eq!(answer.status(), 202);
    let id = answer.headers()["x-backstop-review"].to_str().unwrap();
    let resolve = format!("http://{}/admin/v1/reviews/{id}/resolve", gateway.admin);
    let resolution = json!({"outcome": "corrected", "answer": {"text": "Grüße ✓"}});
    assert_eq!(send(&resolve, &url, resolution).await.status(), 200);
    let call = tokio::time::timeout(Duration::from_secs(10), calls.recv()).await;
    gateway.stop().await;
    call.unwrap().unwrap()
}

/// The Python in our documentation.
fn documented() -> &'static str {
    let (_, code) = DOCUMENTATION.split_once("```python\n").unwrap();
    code.split_once("```").unwrap().0
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn callbacks_are_verified_by_the_package_and_by_the_documented_code() {
    let what = "the Python package `standardwebhooks`";
    let Some(package) = found(what, Package::webhooks(cache())) else {
        return;
    };
    let (headers, body) = called_back().await;
    let header = |(name, value): (&http::HeaderName, &http::HeaderValue)| {
        (name.to_string(), json!(value.to_str().unwrap()))
    };
    let headers: Map<String, Value> = headers.iter().map(header).collect();
    let headers = Value::from(headers).to_string();
    let body = String::from_utf8(body.into()).unwrap();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("clients/webhook.py");
    let printed = tokio::task::spawn_blocking(move || {
        package.run(&script, &[documented(), SECRET, &headers, &body])
    });
    let said: Value = serde_json::from_str(&printed.await.unwrap().unwrap()).unwrap();
    let right = json!({"genuine": true, "forged": vec![false; 5]});
    assert_eq!(said, json!({"package": right, "documented": right}));
}
