//! JSON routes in the words of the Open Inference Protocol.

use crate::kit::{Answer, Model, Running, Says};
use serde_json::{Value, json};
use std::net::SocketAddr;

fn routes(model: SocketAddr) -> String {
    format!(
        r#"
        [providers.p]
        kind = "json"
        base_url = "http://{model}"
        [models.m]
        provider = "p"
        path = "/v2/models/upstream/infer"
        [routes.score]
        kind = "json"
        models = ["m"]
        retry = {{ retries = 0 }}
        [providers.o]
        kind = "openai"
        base_url = "http://{model}/v1"
        [models.o]
        provider = "o"
        [routes.chat]
        kind = "chat"
        models = ["o"]
        "#
    )
}

/// The error of the protocol: a text and nothing else.
fn error(answer: &Answer) -> String {
    let body = answer.json();
    assert_eq!(body.as_object().unwrap().len(), 1, "{body}");
    body["error"]
        .as_str()
        .unwrap_or_else(|| panic!("{body}"))
        .to_owned()
}

#[tokio::test]
async fn an_inference_passes_untouched() {
    let said = json!({
        "model_name": "upstream", "id": "7", "x_unknown": 1.5,
        "outputs": [{"name": "y", "shape": [1], "datatype": "FP32", "data": [0.25]}],
    });
    let model = Model::start(Says::Json(said.clone())).await;
    let gateway = Running::start(&routes(model.addr)).await;
    let body =
        r#"{ "id":"7", "inputs":[{"name":"x","shape":[1],"datatype":"FP32","data":[1.50]}] }"#;
    let answer = gateway.post_with("/v2/models/score/infer", &[], body).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    assert_eq!(answer.text, said.to_string());
    assert_eq!(answer.header("x-backstop-model"), Some("m"));
    assert_eq!(model.heard_text(), body);
    assert_eq!(model.heard_path(), "/v2/models/upstream/infer");
}

#[tokio::test]
async fn errors_have_the_shape_of_the_protocol() {
    let model = Model::start(Says::Status(503, None)).await;
    let gateway = Running::start(&routes(model.addr)).await;
    let infer = async |name: &str, body: &'static str| {
        let path = format!("/v2/models/{name}/infer");
        gateway.post_with(&path, &[], body).await
    };
    let answer = infer("score", "{}").await;
    assert_eq!(answer.status, 503);
    assert!(error(&answer).contains("overloaded"), "{}", answer.text);
    assert!(answer.header("x-backstop-request").is_some());

    let answer = infer("score", "{").await;
    assert_eq!(answer.status, 400);
    error(&answer);
    let answer = infer("scores", "{}").await;
    assert_eq!(answer.status, 404);
    assert!(error(&answer).contains("`score`"), "{}", answer.text);
    let answer = infer("chat", "{}").await;
    assert_eq!(answer.status, 404);
    assert!(
        error(&answer).contains("/v1/chat/completions"),
        "{}",
        answer.text
    );
    let answer = gateway.get("/v2/models/score/infer").await;
    assert_eq!(
        (answer.status.as_u16(), answer.header("allow")),
        (405, Some("POST"))
    );
    error(&answer);
    error(&gateway.get("/v2/nothing").await);

    // A caller's own fault is told in the model's words.
    model.say(Says::Error(
        400,
        r#"{"error":"shape mismatch for input x"}"#,
    ));
    let answer = infer("score", "{}").await;
    assert_eq!(answer.status, 400);
    assert_eq!(answer.text, r#"{"error":"shape mismatch for input x"}"#);

    // Other surfaces keep the envelope.
    let answer = gateway.post("/v1/predict/scores", json!({})).await;
    assert_eq!(answer.code(), "model_not_found");
}

#[tokio::test]
async fn health_and_models_are_told() {
    let gateway = Running::start(&routes(Model::refusing().await)).await;
    let told = async |path: &str| -> Value {
        let answer = gateway.get(path).await;
        assert_eq!(answer.status, 200, "{path}: {}", answer.text);
        answer.json()
    };
    assert_eq!(told("/v2/health/live").await, json!({"live": true}));
    assert_eq!(told("/v2/health/ready").await, json!({"ready": true}));
    assert_eq!(told("/v2").await["name"], "backstop");
    let model = told("/v2/models/score").await;
    let expected = json!({"name": "score", "platform": "backstop", "inputs": [], "outputs": []});
    assert_eq!(model, expected);
    let ready = told("/v2/models/score/ready").await;
    assert_eq!(ready, json!({"name": "score", "ready": true}));
    assert_eq!(gateway.get("/v2/models/chat").await.status, 404);
}
