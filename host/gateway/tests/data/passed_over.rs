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
