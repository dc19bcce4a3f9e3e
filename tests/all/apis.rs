//! The official `openai` packages and routes of every kind.
//!
//! `clients/apis.py` and `clients/apis.mjs` send images and tools, read whole
//! answers and streams, and print what they saw. The provider on loopback
//! keeps what it was asked, so that both directions are held.

use crate::clients::{cache, found};
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use axum::{Json, Router};
use backstop_gateway::openai::responses::write::Answer;
use backstop_tests::gateway::{FREE_PORTS, Running};
use backstop_tests::packages::Package;
use serde_json::{Value, json};
use std::sync::{Arc, Mutex};
use tokio::net::TcpListener;

/// What the provider was asked: path and body.
type Asked = Arc<Mutex<Vec<(String, Value)>>>;

/// What both packages send of images and tools.
const IMAGE: &str = "data:image/png;base64,aGk=";

fn events(pieces: Vec<Bytes>) -> Response {
    (
        [(header::CONTENT_TYPE, "text/event-stream")],
        pieces.concat(),
    )
        .into_response()
}

fn response() -> Answer {
    Answer {
        id: "1".to_owned(),
        created_s: 1,
        model: "large-1".to_owned(),
        pieces: vec!["hi".to_owned(), " there".to_owned()],
        logprobs: None,
        tokens: 2,
    }
}

fn text_chunk(text: &str, finish: Value) -> Bytes {
    let choice = json!({"index": 0, "text": text, "logprobs": null, "finish_reason": finish});
    let chunk = json!({
        "id": "cmpl-1", "object": "text_completion", "created": 1, "model": "large-1",
        "choices": [choice],
    });
    format!("data: {chunk}\n\n").into()
}

/// Answers as OpenAI does, as far as the packages look.
async fn answer(
    State(asked): State<Asked>,
    Path(path): Path<String>,
    body: Json<Value>,
) -> Response {
    let Json(body) = body;
    asked.lock().unwrap().push((path.clone(), body.clone()));
    let streams = body["stream"] == true;
    match (&*path, streams) {
        ("chat/completions", _) => Json(json!({
            "id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": "large-1",
            "choices": [{"index": 0, "finish_reason": "tool_calls", "logprobs": null, "message": {
                "role": "assistant", "content": null, "refusal": null, "tool_calls": [{
                    "id": "call_1", "type": "function",
                    "function": {"name": "weather", "arguments": "{}"}}]}}],
        }))
        .into_response(),
        ("completions", false) => Json(json!({
            "id": "cmpl-1", "object": "text_completion", "created": 1, "model": "large-1",
            "choices": [{"index": 0, "text": "hi there", "logprobs": null, "finish_reason": "stop"}],
        }))
        .into_response(),
        ("completions", true) => events(vec![
            text_chunk("hi", Value::Null),
            text_chunk(" there", Value::Null),
            text_chunk("", json!("stop")),
            Bytes::from_static(b"data: [DONE]\n\n"),
        ]),
        // [0.5, -2.0] and [1.0, 0.0] in the encoding that the packages ask for.
        ("embeddings", _) if body["encoding_format"] == "base64" => Json(json!({
            "object": "list", "model": "large-1",
            "data": [
                {"object": "embedding", "index": 0, "embedding": "AAAAPwAAAMA="},
                {"object": "embedding", "index": 1, "embedding": "AACAPwAAAAA="},
            ],
            "usage": {"prompt_tokens": 2, "total_tokens": 2},
        }))
        .into_response(),
        ("responses", true) if body["model"] == "broken-large" => {
            events((0..4).filter_map(|event| response().event(event)).collect())
        }
        ("responses", true) => events(vec![response().events()]),
        ("responses", false) => {
            let mut whole: Value = serde_json::from_slice(&response().whole()).unwrap();
            whole["output"].as_array_mut().unwrap().push(json!({
                "type": "function_call", "id": "fc_1", "call_id": "call_1", "name": "weather",
                "arguments": "{}", "status": "completed",
            }));
            Json(whole).into_response()
        }
        other => panic!("nobody asks for {other:?}"),
    }
}

async fn provider(asked: Asked) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/v1", listener.local_addr().unwrap());
    let router = Router::new()
        .route("/v1/{*path}", post(answer))
        .with_state(asked);
    tokio::spawn(async move { axum::serve(listener, router).await });
    url
}

async fn holds(package: Package, script: &str) {
    let asked = Asked::default();
    let url = provider(asked.clone()).await;
    let mut text = format!("{FREE_PORTS}[providers.p]\nkind = \"openai\"\nbase_url = \"{url}\"\n");
    for (route, kind) in [
        ("chat", "chat"),
        ("completions", "completions"),
        ("embeddings", "embeddings"),
        ("responses", "responses"),
        ("broken", "responses"),
    ] {
        text.push_str(&format!(
            "[models.{route}]\nprovider = \"p\"\nupstream_model = \"{route}-large\"\n\
             [routes.{route}]\nkind = \"{kind}\"\nmodels = [\"{route}\"]\nstream.hold = \"none\"\n"
        ));
    }
    let dir = tempfile::tempdir().unwrap();
    let config = dir.path().join("backstop.toml");
    std::fs::write(&config, text).unwrap();
    let gateway = Running::launch(&config, false)
        .await
        .unwrap_or_else(|error| panic!("{error}"));
    let script = std::path::Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("clients")
        .join(script);
    let url = format!("http://{}/v1", gateway.data);
    let printed = tokio::task::spawn_blocking(move || package.run(&script, &[&url]));
    let seen: Value = serde_json::from_str(&printed.await.unwrap().unwrap()).unwrap();

    assert_eq!(
        seen["chat"],
        json!({"finish": "tool_calls", "tool": "weather"})
    );
    let text = json!({"text": "hi there", "streamed": "hi there"});
    assert_eq!(seen["completions"], text);
    let vectors: Vec<Vec<f64>> =
        serde_json::from_value(seen["embeddings"]["vectors"].clone()).unwrap();
    assert_eq!(vectors, [[0.5, -2.0], [1.0, 0.0]]);
    assert_eq!(seen["embeddings"]["model"], "large-1");
    let responses = &seen["responses"];
    assert_eq!(responses["text"], "hi there");
    assert_eq!(responses["tool"], json!(["weather"]));
    assert_eq!(responses["streamed"], "hi there");
    assert_eq!(responses["status"], "completed");
    assert_eq!(responses["events"][0], "response.created");
    let broken = &seen["broken"];
    assert_eq!(broken["code"], "cut-stream", "{broken}");
    let events = broken["events"].as_array().unwrap();
    assert_eq!(events.last().unwrap(), "error", "{broken}");

    let asked = asked.lock().unwrap().clone();
    let of = |path: &str| {
        let bodies = asked.iter().filter(move |(at, _)| at == path);
        bodies.map(|(_, body)| body).collect::<Vec<_>>()
    };
    let chat = of("chat/completions")[0];
    assert_eq!(chat["model"], "chat-large");
    assert_eq!(chat["messages"][0]["content"][1]["image_url"]["url"], IMAGE);
    assert_eq!(chat["tools"][0]["function"]["name"], "weather");
    let response = of("responses")[0];
    assert_eq!(response["model"], "responses-large");
    assert_eq!(response["input"][0]["content"][1]["image_url"], IMAGE);
    assert_eq!(response["tools"][0]["name"], "weather");
    assert_eq!(gateway.stop().await.cut, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_python_package_reads_every_kind() {
    if let Some(package) = found("the Python package `openai`", Package::python(cache())) {
        holds(package, "apis.py").await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_node_package_reads_every_kind() {
    if let Some(package) = found("the node package `openai`", Package::node(cache())) {
        holds(package, "apis.mjs").await;
    }
}
