//! The truth is the truth about answers that no caller saw, too.

use crate::kit::{Model, Running, Says};
use backstop_core::evidence::SubjectRef;
use serde_json::json;

fn says(label: &str, sure: f64) -> Says {
    Says::Json(json!({"label": label, "p": sure}))
}

async fn start() -> (Running, Model, Model) {
    let small = Model::start(says("fine", 0.6)).await;
    let large = Model::start(says("fraud", 0.95)).await;
    let config = format!(
        r#"
        [providers.s]
        kind = "json"
        base_url = "http://{}"
        [providers.l]
        kind = "json"
        base_url = "http://{}"
        [models.small]
        provider = "s"
        confidence_pointer = "/p"
        label_pointer = "/label"
        [models.large]
        provider = "l"
        confidence_pointer = "/p"
        label_pointer = "/label"
        [policies.line]
        component = "builtin:confidence-threshold"
        grants = {{ metrics = ["accuracy"] }}
        settings = {{ accept_at = 0.8, nothing_left = "accept" }}
        [routes.score]
        kind = "json"
        models = ["small", "large"]
        threshold = "line"
        [routes.score.feedback]
        "#,
        small.addr, large.addr
    );
    (Running::start(&config).await, small, large)
}

/// Answers and right ones among the labelled of a model, and its labels.
fn labelled(gateway: &Running, model: &str) -> (u64, u64, u64) {
    let now_ms = gateway.gateway.clock().now_ms();
    let store = gateway.gateway.evidence().store();
    let of = SubjectRef::Model(model);
    let bins = store.labelled("labelled", of, 3_600, now_ms).unwrap();
    let accuracy = store.rate("accuracy", of, 3_600, now_ms).unwrap();
    (
        bins.iter().map(|bin| bin.answers).sum(),
        bins.iter().map(|bin| bin.right).sum(),
        accuracy.trials,
    )
}

#[tokio::test]
async fn an_answer_that_was_escalated_learns_whether_it_would_have_been_right() {
    let (gateway, small, _large) = start().await;
    let predict = async || {
        let answer = gateway.post_with("/v1/predict/score", &[], "{}").await;
        let model = answer.header("x-backstop-model").unwrap().to_owned();
        (
            model,
            answer.header("x-backstop-request").unwrap().to_owned(),
        )
    };
    let tell = async |body: serde_json::Value| {
        let told = gateway.post("/v1/feedback", body).await;
        assert_eq!(told.status, 200, "{}", told.text);
    };
    // Not sure, escalated, and wrong; the large one is right.
    let (model, id) = predict().await;
    assert_eq!(model, "large");
    tell(json!({"id": id, "label": "fraud"})).await;
    assert_eq!(labelled(&gateway, "small"), (1, 0, 0));
    assert_eq!(labelled(&gateway, "large"), (1, 1, 1));
    // The same again is nothing new.
    tell(json!({"id": id, "label": "fraud"})).await;
    assert_eq!(labelled(&gateway, "small"), (1, 0, 0));
    // That the delivered answer is right tells the truth, that it is wrong does not.
    let (_, id) = predict().await;
    tell(json!({"id": id, "correct": true})).await;
    assert_eq!(labelled(&gateway, "small"), (2, 0, 0));
    let (_, id) = predict().await;
    tell(json!({"id": id, "correct": false})).await;
    assert_eq!(labelled(&gateway, "small"), (2, 0, 0));
    // It would have been right.
    small.say(says("fraud", 0.7));
    let (_, id) = predict().await;
    tell(json!({"id": id, "label": "fraud"})).await;
    assert_eq!(labelled(&gateway, "small"), (3, 1, 0));
    // Sure, delivered: counted once.
    small.say(says("fraud", 0.9));
    let (model, id) = predict().await;
    assert_eq!(model, "small");
    tell(json!({"id": id, "label": "fraud"})).await;
    assert_eq!(labelled(&gateway, "small"), (4, 2, 1));
}

#[tokio::test]
async fn an_answer_that_is_delivered_for_want_of_a_better_one_counts_once() {
    let (gateway, _small, large) = start().await;
    large.say(Says::Json(json!({"label": "fraud", "p": 0.5})));
    let answer = gateway.post_with("/v1/predict/score", &[], "{}").await;
    assert_eq!(answer.header("x-backstop-model"), Some("large"));
    let id = answer.header("x-backstop-request").unwrap();
    let told = gateway
        .post("/v1/feedback", json!({"id": id, "label": "fraud"}))
        .await;
    assert_eq!(told.status, 200, "{}", told.text);
    assert_eq!(labelled(&gateway, "small"), (1, 0, 0));
    assert_eq!(labelled(&gateway, "large"), (1, 1, 1));
}

#[tokio::test]
async fn labelled_answers_are_listed_as_a_history_with_escalated_ones() {
    let (gateway, small, _large) = start().await;
    let mut ids = Vec::new();
    for sure in [0.6, 0.9, 0.7] {
        small.say(says("fine", sure));
        let answer = gateway.post_with("/v1/predict/score", &[], "{}").await;
        ids.push(answer.header("x-backstop-request").unwrap().to_owned());
    }
    // The second is not labelled yet.
    for (id, body) in [
        (&ids[0], json!({"label": "fraud"})),
        (&ids[2], json!({"correct": false})),
    ] {
        let mut body = body;
        body["id"] = json!(id);
        let told = gateway.post("/v1/feedback", body).await;
        assert_eq!(told.status, 200, "{}", told.text);
    }
    let list = async |query: &str| {
        let path = format!("/admin/v1/answers?route=score{query}");
        let request = http::Request::get(path).header("host", "127.0.0.1");
        let request = request.body(String::new()).unwrap();
        let router = crate::kit::admin(&gateway).await;
        let response = tower::ServiceExt::oneshot(router, request).await.unwrap();
        let body = http_body_util::BodyExt::collect(response.into_body()).await;
        let body: serde_json::Value = serde_json::from_slice(&body.unwrap().to_bytes()).unwrap();
        body
    };
    let all = list("").await;
    let told: Vec<_> = all["data"]
        .as_array()
        .unwrap()
        .iter()
        .map(|row| {
            let of = |name: &str| row[name].clone();
            (
                of("request"),
                of("model"),
                of("confidence"),
                of("correct"),
                of("delivered"),
            )
        })
        .collect();
    let (first, last) = (json!(ids[0]), json!(ids[2]));
    let row = |id: &serde_json::Value, model: &str, sure: f64, right: bool, delivered: bool| {
        let (right, delivered) = (json!(right), json!(delivered));
        (id.clone(), json!(model), json!(sure), right, delivered)
    };
    // Of the last, what would have been right is not known.
    assert_eq!(
        told,
        [
            row(&last, "large", 0.95, false, true),
            row(&first, "large", 0.95, true, true),
            row(&first, "small", 0.6, false, false),
        ]
    );
    let page = list("&limit=1").await;
    assert_eq!((&page["has_more"], &page["next"]), (&json!(true), &last));
    let rest = list(&format!("&limit=1&after={}", ids[2])).await;
    assert_eq!(rest["data"].as_array().unwrap().len(), 2);
    assert_eq!(rest["next"], first);
    assert_eq!(list("&after=x").await["error"]["code"], "invalid_request");
    assert_eq!(list("s").await["data"], json!([]));
}
