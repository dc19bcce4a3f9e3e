//! Policies decide about requests: plans, verdicts, and their replacement
//! while the gateway runs.

use crate::kit::{Model, Running, Says, config, until};
use backstop::DecisionPoint;
use backstop_gateway::admin::Control;
use backstop_gateway::store::ReviewFilter;
use http::StatusCode;
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::path::Path;

const POLICIES: &str = r#"
[policies.layered]
component = "builtin:layered-fallback"
grants = { metrics = ["error-rate", "latency-ms"] }
[policies.confidence]
component = "builtin:confidence-threshold"
grants = { metrics = ["accuracy", "confidence", "escalation-rate", "review-rate"] }
"#;

/// Two JSON models with a confidence, judged.
fn judged(small: SocketAddr, large: SocketAddr, settings: &str) -> String {
    format!(
        r#"
        [providers.a]
        kind = "json"
        base_url = "http://{small}"
        [providers.b]
        kind = "json"
        base_url = "http://{large}"
        [models.small]
        provider = "a"
        confidence_pointer = "/confidence"
        [models.large]
        provider = "b"
        confidence_pointer = "/confidence"
        [routes.score]
        kind = "json"
        models = ["small", "large"]
        review = true
        fallback = "layered"
        threshold = "confidence"
        retry = {{ retries = 0 }}
        {POLICIES}
        [policies.confidence.settings]
        {settings}
        "#
    )
}

fn sure(confidence: f64) -> Says {
    Says::Json(json!({"label": "ok", "confidence": confidence}))
}

const BAND: &str = "accept_at = 0.8\nreview_below = 0.3";

#[tokio::test]
async fn an_unsure_answer_escalates_to_the_next_model_or_goes_to_people() {
    let small = Model::start(sure(0.9)).await;
    let large = Model::start(sure(0.95)).await;
    let gateway = Running::start(&judged(small.addr, large.addr, BAND)).await;

    let answer = gateway.post("/v1/predict/score", json!({})).await;
    assert_eq!(answer.json()["confidence"], 0.9);
    assert_eq!(answer.header("x-backstop-verdict"), Some("accept"));
    assert_eq!(answer.header("x-backstop-model"), Some("small"));
    let id = answer
        .header("x-backstop-decision")
        .unwrap()
        .parse()
        .unwrap();
    let record = gateway.gateway.host().records().get(id).unwrap();
    assert_eq!(&*record.revision.policy, "layered");

    small.say(sure(0.5));
    let answer = gateway.post("/v1/predict/score", json!({})).await;
    assert_eq!(answer.json()["confidence"], 0.95, "escalated");
    assert_eq!(answer.header("x-backstop-step"), Some("1"));
    assert_eq!(answer.header("x-backstop-attempts"), Some("2"));

    small.say(sure(0.1));
    let answer = gateway
        .post("/v1/predict/score", json!({"amount": 7}))
        .await;
    assert_eq!(answer.status, StatusCode::ACCEPTED);
    assert_eq!(answer.header("x-backstop-verdict"), Some("review"));
    let id = answer.header("x-backstop-review").unwrap();
    let review = gateway.store.review(id).await.unwrap().unwrap();
    assert_eq!(review.item.model.as_deref(), Some("small"));
    assert!(review.item.decision.is_some());
    let kept: Value = serde_json::from_slice(review.item.answer.as_deref().unwrap()).unwrap();
    assert_eq!(kept["confidence"], 0.1);
    let asked: Value = serde_json::from_slice(&review.item.request).unwrap();
    assert_eq!(asked["amount"], 7);
}

#[tokio::test]
async fn a_stream_that_has_passed_is_judged_and_may_go_to_people() {
    let model = Model::start(Says::Stream(&["a", "b"], None)).await;
    let gateway = Running::start(&format!(
        r#"
        [providers.a]
        kind = "openai"
        base_url = "http://{}/v1"
        [models.m]
        provider = "a"
        [routes.chat]
        kind = "chat"
        models = ["m"]
        review = true
        stream = {{ hold = "none" }}
        threshold = "confidence"
        {POLICIES}
        [policies.confidence.settings]
        without_confidence = "review"
        "#,
        model.addr
    ))
    .await;
    let answer = gateway.chat_stream("chat").await;
    assert!(answer.text.ends_with("data: [DONE]\n\n"));
    gateway.gateway.settle().await;
    let filter = ReviewFilter {
        limit: 10,
        ..ReviewFilter::default()
    };
    let reviews = gateway.store.reviews(filter).await.unwrap();
    assert_eq!(reviews.len(), 1);
    assert_eq!(reviews[0].item.answer.as_deref(), Some(&b"ab"[..]));
}

#[tokio::test]
async fn decisions_are_made_for_gateways_in_other_languages() {
    let small = Model::start(sure(0.9)).await;
    let gateway = Running::start(&judged(small.addr, small.addr, BAND)).await;
    let decide = async |point: &str, question: Value| {
        let answer = gateway.post(&format!("/v1/decide/{point}"), question).await;
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.text);
        answer.json()
    };

    let plan = decide(
        "fallback",
        json!({"policy": "layered", "request": {
            "candidates": [{"model": "gpt", "healthy": false}, {"model": "llama"}],
            "rules": ["sorry"], "streaming": true, "tags": {"segment": "gold"},
        }}),
    )
    .await;
    assert_eq!(
        (&plan["decided_by"], &plan["policy"]),
        (&json!("policy"), &json!("layered"))
    );
    assert_eq!(
        plan["plan"]["steps"][0]["action"]["call"]["model"], "llama",
        "{plan}"
    );
    assert_eq!(
        plan["plan"]["steps"][1]["action"]["rules"], "sorry",
        "{plan}"
    );
    assert_eq!(plan["id"].as_str().unwrap().len(), 16);

    // Facts that are left out come from the route.
    let plan = decide("fallback", json!({"route": "score"})).await;
    assert_eq!(
        plan["plan"]["steps"][0]["action"]["call"]["model"], "small",
        "{plan}"
    );

    let verdict = decide(
        "threshold",
        json!({"route": "score", "answer": {"model": "gpt", "confidence": 0.5, "steps_left": 1}}),
    )
    .await;
    assert_eq!(verdict["verdict"]["outcome"], "escalate", "{verdict}");

    for (point, question, param) in [
        (
            "fallback",
            json!({"policy": "layered"}),
            "request.candidates",
        ),
        ("fallback", json!({"policy": "confidence"}), "policy"),
        ("fallback", json!({"policy": "nobody"}), "policy"),
        ("fallback", json!({}), "policy"),
        ("threshold", json!({"route": "score"}), "answer"),
        ("rollback", json!({"policy": "layered"}), "policy"),
        (
            "threshold",
            json!({"route": "score", "answer": {"model": "m", "confidence": 7}}),
            "answer.confidence",
        ),
    ] {
        let answer = gateway
            .post(&format!("/v1/decide/{point}"), question.clone())
            .await;
        assert!(answer.status.is_client_error(), "{question}");
        assert_eq!(
            answer.json()["error"]["param"],
            param,
            "{question}: {}",
            answer.text
        );
    }
    assert_eq!(
        gateway.post("/v1/decide/dinner", json!({})).await.code(),
        "not_found"
    );
    assert_eq!(small.calls(), 0);
}

#[tokio::test]
async fn facts_that_are_too_large_are_refused_with_the_field() {
    let small = Model::start(sure(0.9)).await;
    let gateway = Running::start(&judged(small.addr, small.addr, BAND)).await;
    let request = |field: &str, value: Value| {
        let mut request = json!({"candidates": [{"model": "m"}]});
        request[field] = value;
        json!({"policy": "layered", "request": request})
    };
    let answer = |field: &str, value: Value| {
        let mut answer = json!({"model": "m"});
        answer[field] = value;
        json!({"policy": "confidence", "answer": answer})
    };
    let rollout = |field: &str, value: Value| {
        let mut rollout = json!({
            "model": "m", "candidate": "r2", "stable": "r1", "stage": "canary",
            "share_percent": 5, "next_share_percent": null, "age_ms": 1, "step_age_ms": 1,
            "ready_releases": [],
        });
        rollout[field] = value;
        json!({"policy": "layered", "rollout": rollout})
    };
    let name = || "n".repeat(257);
    let text = || "t".repeat(1_025);
    let attempt = json!([{"model": name(), "failure": null, "latency_ms": 1}]);
    let score = json!([{"label": text(), "value": 1.0}]);
    let body = "b".repeat((1 << 20) - 200);
    for (point, question, param) in [
        ("fallback", json!({"policy": name()}), "policy"),
        ("fallback", json!({"route": name()}), "route"),
        ("rollback", json!({"model": name()}), "model"),
        (
            "fallback",
            request("candidates", json!([{"model": name()}])),
            "request.candidates.model",
        ),
        (
            "fallback",
            request("rules", json!([name()])),
            "request.rules",
        ),
        (
            "fallback",
            request("tags", json!({name(): "v"})),
            "request.tags",
        ),
        (
            "fallback",
            request("tags", json!({"n": text()})),
            "request.tags",
        ),
        (
            "fallback",
            request("attempts", attempt),
            "request.attempts.model",
        ),
        ("fallback", request("key", json!(name())), "request.key"),
        ("threshold", answer("model", json!(name())), "answer.model"),
        (
            "threshold",
            answer("release", json!(name())),
            "answer.release",
        ),
        ("threshold", answer("label", json!(text())), "answer.label"),
        ("threshold", answer("scores", score), "answer.scores.label"),
        ("rollback", rollout("model", json!(name())), "rollout.model"),
        (
            "rollback",
            rollout("candidate", json!(name())),
            "rollout.candidate",
        ),
        (
            "rollback",
            rollout("stable", json!(name())),
            "rollout.stable",
        ),
        (
            "rollback",
            rollout("ready_releases", json!([name()])),
            "rollout.ready_releases",
        ),
    ] {
        let answer = gateway.post(&format!("/v1/decide/{point}"), question).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{param}");
        let error = &answer.json()["error"];
        assert_eq!(error["param"], param, "{}", answer.text);
        assert!(
            error["message"].as_str().unwrap().contains("at most"),
            "{error}"
        );
    }
    // What just fits is decided on.
    let fitting = request("body", json!(body));
    let answer = gateway.post("/v1/decide/fallback", fitting).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text);
}

#[tokio::test]
async fn a_configuration_is_applied_whole_or_not_at_all() {
    let small = Model::start(sure(0.5)).await;
    let large = Model::start(sure(0.95)).await;
    let gateway = Running::start(&judged(small.addr, large.addr, BAND)).await;
    let by = async || {
        let answer = gateway.post("/v1/predict/score", json!({})).await;
        answer.header("x-backstop-model").unwrap().to_owned()
    };
    assert_eq!(by().await, "large");

    let path = Path::new("/nowhere");
    let apply = async |text: &str| gateway.gateway.apply(config(text, path)).await;
    let lower = judged(small.addr, large.addr, "accept_at = 0.4");
    let applied = apply(&lower).await.unwrap();
    let names: Vec<&str> = applied.activated.iter().map(|r| &*r.policy).collect();
    assert_eq!(names, ["confidence"], "only what changed is activated");
    assert_eq!(by().await, "small");
    assert!(apply(&lower).await.unwrap().activated.is_empty());

    // Two policies are wrong; both are told, and nothing changes.
    let broken = judged(small.addr, large.addr, "accept_at = 7").replace(
        "grants = { metrics = [\"error-rate\", \"latency-ms\"] }",
        "grants = {}",
    );
    let refused = apply(&broken).await.unwrap_err().to_string();
    assert!(
        refused.contains("layered") && refused.contains("accept_at"),
        "{refused}"
    );
    assert_eq!(by().await, "small");

    let points = |policy| Control::points(&gateway.gateway, policy);
    assert_eq!(points("layered"), [DecisionPoint::Fallback]);
    assert_eq!(points("confidence"), [DecisionPoint::Threshold]);
    assert_eq!(points("nobody"), []);

    // A policy is asked for what it does not decide.
    let swapped = lower.replace("fallback = \"layered\"", "fallback = \"confidence\"");
    let refused = apply(&swapped).await.unwrap_err().to_string();
    assert!(
        refused.contains("does not decide at `fallback`"),
        "{refused}"
    );
    assert_eq!(by().await, "small");
    // So is one whose component is new.
    let replaced = lower.replace("builtin:layered-fallback", "builtin:confidence-threshold");
    let refused = apply(&replaced).await.unwrap_err().to_string();
    assert!(
        refused.contains("`layered`") && refused.contains("does not decide at `fallback`"),
        "{refused}"
    );
    assert_eq!(by().await, "small");
    let history = gateway.gateway.host().history("layered").unwrap();
    assert_eq!(history.len(), 1, "refused before the swap");
}

#[tokio::test]
async fn revisions_are_counted_on_after_a_restart() {
    let small = Model::start(sure(0.9)).await;
    let text = judged(small.addr, small.addr, BAND);
    let lower = text.replace("accept_at = 0.8", "accept_at = 0.4");
    let gateway = Running::start(&text).await;
    let path = Path::new("/nowhere");
    gateway.gateway.apply(config(&lower, path)).await.unwrap();
    let (dir, _) = gateway.stop().await;

    let gateway = Running::start_in(&text, dir).await;
    let numbers = async |policy: &str| -> Vec<u64> {
        let history = gateway.store.activations(policy, 10).await.unwrap();
        history.iter().rev().map(|a| a.revision).collect()
    };
    assert_eq!(numbers("confidence").await, [1, 2, 3]);
    assert_eq!(numbers("layered").await, [1, 2]);
    let serving = |policy| gateway.gateway.host().policy(policy).unwrap().serving();
    assert_eq!(serving("confidence").number, 3);

    // What this process counts goes on from there.
    gateway.gateway.apply(config(&lower, path)).await.unwrap();
    assert_eq!(numbers("confidence").await, [1, 2, 3, 4]);
    assert_eq!(serving("layered").number, 2);
}

#[tokio::test]
async fn breakers_outlive_a_reload_that_does_not_change_their_model() {
    let small = Model::start(Says::Status(500, None)).await;
    let large = Model::start(sure(0.95)).await;
    let text = judged(small.addr, large.addr, BAND).replace(
        "[models.large]",
        "[models.small.breaker]\nminimum_number_of_calls = 3\nwait_duration_in_open_state_ms = 60000\n[models.large]",
    );
    let gateway = Running::start(&text).await;
    until("the breaker opens", async || {
        let calls = small.calls();
        gateway.post("/v1/predict/score", json!({})).await;
        small.calls() == calls
    })
    .await;
    let calls = small.calls();
    let path = Path::new("/nowhere");
    let other = text.replace("accept_at = 0.8", "accept_at = 0.7");
    gateway.gateway.apply(config(&other, path)).await.unwrap();
    gateway.post("/v1/predict/score", json!({})).await;
    assert_eq!(small.calls(), calls, "still open");
    let changed = other.replace(
        "wait_duration_in_open_state_ms = 60000",
        "wait_duration_in_open_state_ms = 50000",
    );
    gateway.gateway.apply(config(&changed, path)).await.unwrap();
    until("a new breaker is closed", async || {
        gateway.post("/v1/predict/score", json!({})).await;
        small.calls() > calls
    })
    .await;
}
