//! What stands beside chat in OpenAI's API: completions of texts, embeddings,
//! responses. Each is a route of its own kind, with plans and rules as any.

use crate::kit::{Model, Running, Says};
use serde_json::{Value, json};
use std::net::SocketAddr;

/// Routes of each kind, all with the same two models and rules.
fn routes(primary: SocketAddr, backup: SocketAddr) -> String {
    let mut text = format!(
        r#"
        [providers.a]
        kind = "openai"
        base_url = "http://{primary}/v1"
        [providers.b]
        kind = "openai"
        base_url = "http://{backup}/v1"
        [models.primary]
        provider = "a"
        upstream_model = "large"
        [models.backup]
        provider = "b"
        upstream_model = "small"
        [rules.sorry]
        text = "sorry"
        [rules.zeros]
        json = {{ object = "list", data = [{{ object = "embedding", index = 0, embedding = [0.0, 0.0] }}], model = "zeros" }}
        "#
    );
    for (kind, rules) in [
        ("completions", "sorry"),
        ("embeddings", "zeros"),
        ("responses", "sorry"),
    ] {
        text.push_str(&format!(
            "[routes.{kind}]\nkind = \"{kind}\"\nmodels = [\"primary\", \"backup\"]\n\
             rules = [\"{rules}\"]\nretry = {{ retries = 0 }}\nstream = {{ hold = \"none\" }}\n"
        ));
    }
    text
}

fn vectors() -> Value {
    json!({
        "object": "list", "model": "large-1", "x_unknown": 1.5,
        "data": [{"object": "embedding", "index": 0, "embedding": [0.25, -1e-9]}],
        "usage": {"prompt_tokens": 8, "total_tokens": 8},
    })
}

fn response() -> Value {
    json!({
        "id": "resp_1", "object": "response", "created_at": 1, "status": "completed",
        "error": null, "model": "large-1", "x_unknown": {"kept": true},
        "output": [{"type": "message", "id": "msg_1", "role": "assistant", "status": "completed",
                    "content": [{"type": "output_text", "text": "hi", "annotations": []}]}],
        "usage": {"input_tokens": 3, "output_tokens": 1, "total_tokens": 4},
    })
}

fn text_completion() -> Value {
    json!({
        "id": "cmpl-1", "object": "text_completion", "created": 1, "model": "large-1",
        "choices": [{"index": 0, "text": "hi", "logprobs": null, "finish_reason": "stop"}],
        "x_unknown": [1.50],
    })
}

#[tokio::test]
async fn each_kind_passes_untouched_but_for_the_model() {
    let model = Model::start(Says::Hang).await;
    let gateway = Running::start(&routes(model.addr, model.addr)).await;
    for (kind, answer) in [
        ("completions", text_completion()),
        ("embeddings", vectors()),
        ("responses", response()),
    ] {
        model.say(Says::Json(answer.clone()));
        let body = format!(
            r#"{{ "x":1.50, "model":"{kind}","input":[{{"type":"input_image","image_url":"data:x"}}],"tools":[{{"type":"function","z":1,"a":2}}] }}"#
        );
        let path = format!("/v1/{kind}");
        let seen = gateway.post_with(&path, &[], body.clone()).await;
        assert_eq!(seen.status, 200, "{kind}: {}", seen.text);
        assert_eq!(seen.text, answer.to_string(), "{kind}");
        assert_eq!(seen.header("x-backstop-model"), Some("primary"));
        assert_eq!(model.heard_path(), path);
        let expected = body.replace(&format!("\"{kind}\""), "\"large\"");
        assert_eq!(model.heard_text(), expected, "{kind}");
    }
}

#[tokio::test]
async fn each_kind_falls_back_to_the_next_model_and_to_its_rules() {
    let primary = Model::start(Says::Status(503, None)).await;
    let backup = Model::start(Says::Json(vectors())).await;
    let gateway = Running::start(&routes(primary.addr, backup.addr)).await;
    let ask = async |kind: &str| {
        let body = json!({"model": kind, "input": "a", "prompt": "a"});
        gateway.post(&format!("/v1/{kind}"), body).await
    };
    let answer = ask("embeddings").await;
    assert_eq!(answer.header("x-backstop-model"), Some("backup"));
    assert_eq!(backup.heard_path(), "/v1/embeddings");
    assert_eq!(backup.heard()["model"], "small");

    // An answer of another shape is none.
    let answer = ask("responses").await;
    assert_eq!(answer.header("x-backstop-rules"), Some("sorry"));
    let body = answer.json();
    assert_eq!(body["object"], "response");
    assert_eq!(body["status"], "completed");
    assert_eq!(body["output"][0]["content"][0]["text"], "sorry");

    backup.say(Says::Status(503, None));
    let answer = ask("completions").await;
    assert_eq!(answer.json()["object"], "text_completion");
    assert_eq!(answer.json()["choices"][0]["text"], "sorry");
    let answer = ask("embeddings").await;
    assert_eq!(answer.header("x-backstop-rules"), Some("zeros"));
    assert_eq!(answer.json()["data"][0]["embedding"], json!([0.0, 0.0]));
}

#[tokio::test]
async fn a_route_is_asked_at_its_own_path() {
    let model = Model::start(Says::Hang).await;
    let gateway = Running::start(&routes(model.addr, model.addr)).await;
    let body = json!({"model": "embeddings", "input": "a"});
    for path in ["/v1/chat/completions", "/v1/completions", "/v1/responses"] {
        let answer = gateway.post(path, body.clone()).await;
        assert_eq!(answer.status, 404, "{path}");
        assert_eq!(answer.code(), "wrong_path_for_route");
        assert!(answer.text.contains("/v1/embeddings"), "{}", answer.text);
    }
    let listed = gateway.get("/v1/models").await.json();
    let names: Vec<_> = listed["data"].as_array().unwrap().iter().collect();
    assert_eq!(names.len(), 3, "{listed}");
}

/// The events of a response up to its text.
const BEGUN: &str = "event: response.created\ndata: {\"type\":\"response.created\",\"sequence_number\":0,\"response\":{\"status\":\"in_progress\",\"model\":\"large-1\"}}\n\nevent: response.output_text.delta\ndata: {\"type\":\"response.output_text.delta\",\"sequence_number\":1,\"delta\":\"hi\"}\n\n";
const COMPLETE: &str = concat!(
    "event: response.created\ndata: {\"type\":\"response.created\",\"sequence_number\":0,\"response\":{\"status\":\"in_progress\",\"model\":\"large-1\"}}\n\n",
    "event: response.output_text.delta\ndata: {\"type\":\"response.output_text.delta\",\"sequence_number\":1,\"delta\":\"hi\"}\n\n",
    "event: response.completed\ndata: {\"type\":\"response.completed\",\"sequence_number\":2,\"response\":{\"status\":\"completed\",\"model\":\"large-1\",\"output\":[],\"x_unknown\":1.50}}\n\n",
);
const FAILED_AT_ONCE: &str = "event: response.created\ndata: {\"type\":\"response.created\",\"response\":{}}\n\nevent: response.failed\ndata: {\"type\":\"response.failed\",\"response\":{\"error\":{\"code\":\"server_error\",\"message\":\"x\"}}}\n\n";

async fn stream(gateway: &Running, kind: &str) -> crate::kit::Answer {
    let body = json!({"model": kind, "input": "a", "prompt": "a", "stream": true});
    gateway.post(&format!("/v1/{kind}"), body).await
}

#[tokio::test]
async fn a_stream_of_a_response_is_whole_with_its_last_event() {
    let primary = Model::start(Says::Events(COMPLETE)).await;
    let backup = Model::start(Says::Events(COMPLETE)).await;
    let gateway = Running::start(&routes(primary.addr, backup.addr)).await;
    let answer = stream(&gateway, "responses").await;
    assert_eq!(answer.text, COMPLETE);
    assert_eq!(answer.header("x-backstop-model"), Some("primary"));

    // What fails before any content is another model's to answer.
    primary.say(Says::Events(FAILED_AT_ONCE));
    let answer = stream(&gateway, "responses").await;
    assert_eq!(answer.text, COMPLETE);
    assert_eq!(answer.header("x-backstop-model"), Some("backup"));
}

#[tokio::test]
async fn a_response_that_breaks_off_ends_with_an_error_of_its_api() {
    let model = Model::start(Says::Events(BEGUN)).await;
    let gateway = Running::start(&routes(model.addr, model.addr)).await;
    let answer = stream(&gateway, "responses").await;
    let error = answer
        .text
        .strip_prefix(BEGUN)
        .unwrap_or_else(|| panic!("{}", answer.text));
    let (name, data) = error.trim_end().split_once('\n').unwrap();
    assert_eq!(name, "event: error");
    let data: Value = serde_json::from_str(data.strip_prefix("data: ").unwrap()).unwrap();
    assert_eq!(data["type"], "error");
    assert_eq!(data["code"], "cut-stream");
    assert_eq!(data["sequence_number"], 2);
    assert!(
        data["param"].is_null() && data["message"].is_string(),
        "{data}"
    );
    assert!(!answer.text.contains("response.completed"));
}

/// The event `kind` with `data`.
fn event(kind: &str, mut data: Value) -> String {
    data["type"] = json!(kind);
    format!("event: {kind}\ndata: {data}\n\n")
}

/// The events of a response of one message `text`, without an end unless it is
/// `whole`.
fn message(id: &str, text: &str, whole: bool) -> &'static str {
    let response = |status: &str, output: Value| json!({"id": format!("resp_{id}"), "object": "response", "created_at": 1, "status": status, "model": id, "output": output});
    let part = json!({"type": "output_text", "text": text, "annotations": [], "logprobs": []});
    let item = json!({"type": "message", "id": format!("msg_{id}"), "status": "completed", "role": "assistant", "content": [part]});
    let begun = json!({"type": "message", "id": format!("msg_{id}"), "status": "in_progress", "role": "assistant", "content": []});
    let blank = json!({"type": "output_text", "text": "", "annotations": [], "logprobs": []});
    let at = json!({"output_index": 0, "content_index": 0, "item_id": format!("msg_{id}")});
    let with = |key: &str, value: Value| {
        let mut data = at.clone();
        data[key] = value;
        data
    };
    let end = [
        ("response.output_text.done", with("text", json!(text))),
        ("response.content_part.done", with("part", part.clone())),
        (
            "response.output_item.done",
            json!({"output_index": 0, "item": item}),
        ),
        (
            "response.completed",
            json!({"response": response("completed", json!([item]))}),
        ),
    ];
    let begin = [
        (
            "response.created",
            json!({"response": response("in_progress", json!([]))}),
        ),
        (
            "response.output_item.added",
            json!({"output_index": 0, "item": begun}),
        ),
        ("response.content_part.added", with("part", blank)),
        ("response.output_text.delta", with("delta", json!(text))),
    ];
    let events = begin.into_iter().chain(end.into_iter().filter(|_| whole));
    let text: String = events
        .enumerate()
        .map(|(number, (kind, mut data))| {
            data["sequence_number"] = json!(number);
            event(kind, data)
        })
        .collect();
    text.leak()
}

/// The data of the events of a stream, numbered from 0.
fn numbered(text: &str) -> Vec<Value> {
    let data = |event: &str| -> Value {
        let (_, data) = event.split_once("\ndata: ").unwrap();
        serde_json::from_str(data).unwrap()
    };
    let events: Vec<Value> = text.trim_end().split("\n\n").map(data).collect();
    for (number, event) in events.iter().enumerate() {
        assert_eq!(event["sequence_number"], number, "{event}");
    }
    events
}

#[tokio::test]
async fn a_response_may_start_again_and_says_what_was_cut() {
    let primary = Model::start(Says::EachEvent(message("one", "half", false))).await;
    let backup = Model::start(Says::EachEvent(message("two", "whole", true))).await;
    let text = routes(primary.addr, backup.addr).replace(
        "hold = \"none\"",
        "hold = \"none\", after_cut = \"restart\", restart_text = \" (again) \"",
    );
    let gateway = Running::start(&text).await;
    let said = async || {
        let answer = stream(&gateway, "responses").await;
        assert!(answer.whole, "{}", answer.text);
        let events = numbered(&answer.text);
        let last = events.last().unwrap()["response"].clone();
        assert_eq!(
            (&last["id"], &last["status"]),
            (&json!("resp_one"), &json!("completed"))
        );
        let created = events.iter().filter(|e| e["type"] == "response.created");
        assert_eq!(created.count(), 1);
        let deltas: String = events.iter().filter_map(|e| e["delta"].as_str()).collect();
        let items = last["output"].as_array().unwrap().iter();
        let items: Vec<_> = items
            .map(|item| json!([item["status"], item["content"][0]["text"]]))
            .collect();
        (deltas, json!(items))
    };
    let (deltas, items) = said().await;
    assert_eq!(deltas, "half (again) whole");
    let expected = json!([
        ["incomplete", "half"],
        ["completed", " (again) "],
        ["completed", "whole"]
    ]);
    assert_eq!(items, expected);

    // A second cut, and the rules at the end.
    backup.say(Says::EachEvent(message("two", "more", false)));
    let (deltas, items) = said().await;
    assert_eq!(deltas, "half (again) more (again) sorry");
    assert_eq!(items[2], json!(["incomplete", "more"]));
    assert_eq!(items[4], json!(["completed", "sorry"]));

    // Where nothing is left, the caller is told, and nothing is closed.
    let text = text.replace("rules = [\"sorry\"]", "");
    let gateway = Running::start(&text).await;
    backup.say(Says::Status(500, None));
    let answer = stream(&gateway, "responses").await;
    let events = numbered(&answer.text);
    let last = events.last().unwrap();
    assert_eq!(
        (&last["type"], &last["code"]),
        (&json!("error"), &json!("server-error"))
    );
    assert!(!answer.text.contains("output_item.done"), "{}", answer.text);
}

#[tokio::test]
async fn a_stream_of_a_text_is_passed_and_replaced_as_a_chats_is() {
    const TEXT: &str = "data: {\"id\":\"cmpl-1\",\"object\":\"text_completion\",\"choices\":[{\"index\":0,\"text\":\"hi\",\"finish_reason\":null}]}\n\ndata: {\"id\":\"cmpl-1\",\"object\":\"text_completion\",\"choices\":[{\"index\":0,\"text\":\"\",\"finish_reason\":\"stop\"}]}\n\ndata: [DONE]\n\n";
    let primary = Model::start(Says::Events(TEXT)).await;
    let backup = Model::start(Says::Events(TEXT)).await;
    let gateway = Running::start(&routes(primary.addr, backup.addr)).await;
    assert_eq!(stream(&gateway, "completions").await.text, TEXT);
    primary.say(Says::Status(500, None));
    let answer = stream(&gateway, "completions").await;
    assert_eq!(answer.text, TEXT);
    assert_eq!(answer.header("x-backstop-model"), Some("backup"));
    backup.say(Says::Status(500, None));
    let answer = stream(&gateway, "completions").await;
    assert!(
        answer.text.contains("\"text\":\"sorry\""),
        "{}",
        answer.text
    );
    assert!(answer.text.ends_with("data: [DONE]\n\n"));
    let answer = stream(&gateway, "responses").await;
    assert!(
        answer.text.contains("event: response.completed\n"),
        "{}",
        answer.text
    );
}

#[tokio::test]
async fn simulated_models_speak_every_kind() {
    let mut text =
        "[providers.a]\nkind = \"simulated\"\ntokens = 2\n[models.m]\nprovider = \"a\"\n"
            .to_owned();
    for kind in ["completions", "embeddings", "responses"] {
        text.push_str(&format!(
            "[routes.{kind}]\nkind = \"{kind}\"\nmodels = [\"m\"]\n"
        ));
    }
    let gateway = Running::start(&text).await;
    let ask = async |kind: &str, more: Value| {
        let mut body = json!({"model": kind, "input": ["a", "b"], "prompt": "a"});
        body.as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        gateway.post(&format!("/v1/{kind}"), body).await.json()
    };
    let said = |text: &Value| assert_eq!(text.as_str().unwrap().split(' ').count(), 2, "{text}");
    said(&ask("completions", json!({})).await["choices"][0]["text"]);
    said(&ask("responses", json!({})).await["output"][0]["content"][0]["text"]);
    let vectors = ask("embeddings", json!({})).await;
    assert_eq!(vectors["data"].as_array().unwrap().len(), 2);
    assert_ne!(
        vectors["data"][0]["embedding"],
        vectors["data"][1]["embedding"]
    );
    let encoded = ask("embeddings", json!({"encoding_format": "base64"})).await;
    // Eight numbers of four bytes each.
    assert_eq!(encoded["data"][0]["embedding"].as_str().unwrap().len(), 44);
    for kind in ["completions", "responses"] {
        let answer = stream(&gateway, kind).await;
        let ends = ["data: [DONE]\n", "event: response.completed\n"];
        let ended = ends.iter().any(|end| answer.text.contains(end));
        assert!(ended && answer.whole, "{kind}: {}", answer.text);
    }
}
