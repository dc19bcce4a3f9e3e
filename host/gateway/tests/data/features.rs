//! Features of requests and answers: counted as declared, and served whatever
//! they are.

use crate::kit::{Model, Running, Says, until};
use backstop_core::evidence::SubjectRef;
use backstop_core::metric::DriftVerdict;
use backstop_gateway::telemetry::Snapshot;
use serde_json::{Value, json};
use std::net::SocketAddr;

fn config(model: SocketAddr) -> String {
    format!(
        r#"
        [providers.j]
        kind = "json"
        base_url = "http://{model}"
        [providers.a]
        kind = "openai"
        base_url = "http://{model}/v1"
        [models.scorer]
        provider = "j"
        [models.talker]
        provider = "a"
        [routes.score]
        kind = "json"
        models = ["scorer"]
        [routes.score.features.amount]
        at = "body:/amount"
        kind = "number"
        min = 0
        max = 1000
        detector = "adwin"
        [routes.score.features.tier]
        at = "header:x-tier"
        kind = "category"
        values = ["gold", "tin"]
        required = false
        [routes.score.features.score]
        of = "answer"
        at = "body:/score"
        kind = "number"
        [routes.chat]
        kind = "chat"
        models = ["talker"]
        stream = {{ hold = "none" }}
        [routes.chat.features.question]
        at = "text"
        kind = "length"
        [routes.chat.features.answer]
        of = "answer"
        at = "text"
        kind = "length"
        [routes.chat.features.refusal]
        of = "answer"
        at = "text"
        kind = "refusal"
        [routes.chat.features.language]
        of = "answer"
        at = "text"
        kind = "language"
        [routes.chat.features.json]
        of = "answer"
        at = "text"
        kind = "json"
        "#
    )
}

const SCORE: SubjectRef<'_> = SubjectRef::Route("score");
const CHAT: SubjectRef<'_> = SubjectRef::Route("chat");

fn rate(gateway: &Running, metric: &str, of: SubjectRef<'_>) -> (u64, u64) {
    let now_ms = gateway.gateway.clock().now_ms();
    let store = gateway.gateway.evidence().store();
    let counts = store.rate(metric, of, 600, now_ms).unwrap();
    (counts.events, counts.trials)
}

fn mean(gateway: &Running, metric: &str, of: SubjectRef<'_>) -> (u64, f64) {
    let now_ms = gateway.gateway.clock().now_ms();
    let store = gateway.gateway.evidence().store();
    let mean = store.mean(metric, of, 600, now_ms).unwrap();
    (mean.samples, mean.mean)
}

fn shares(gateway: &Running, metric: &str, of: SubjectRef<'_>) -> Vec<(String, u64)> {
    let now_ms = gateway.gateway.clock().now_ms();
    let store = gateway.gateway.evidence().store();
    let shares = store.shares(metric, of, 600, now_ms).unwrap();
    shares.into_iter().map(|s| (s.category, s.count)).collect()
}

fn violations(gateway: &Running, feature: &str, problem: &str) -> u64 {
    let text = gateway
        .gateway
        .telemetry()
        .encode(&Snapshot::default())
        .unwrap();
    let labels = format!("feature=\"{feature}\",problem=\"{problem}\"");
    let line = text.lines().find(|line| line.contains(&labels));
    line.map_or(0, |line| line.rsplit(' ').next().unwrap().parse().unwrap())
}

#[tokio::test]
async fn what_is_missing_or_wrong_is_counted_and_the_request_is_served() {
    let model = Model::start(Says::Json(json!({"score": 0.5}))).await;
    let gateway = Running::start(&config(model.addr)).await;
    for (body, tier) in [
        (json!({"amount": 10}), Some("gold")),
        (json!({"amount": 20.0}), Some("copper")),
        (json!({"amount": "30"}), None),
        (json!({"amount": 5_000}), Some("tin")),
        (json!({"amount": null}), None),
        (json!([1]), None),
    ] {
        let headers: Vec<_> = tier.map(|tier| ("x-tier", tier)).into_iter().collect();
        let answer = gateway
            .post_with("/v1/predict/score", &headers, body.to_string())
            .await;
        assert_eq!(answer.status, 200, "{body}: {}", answer.text);
    }
    assert_eq!(mean(&gateway, "feature:amount", SCORE), (2, 15.0));
    assert_eq!(rate(&gateway, "feature:amount:missing", SCORE), (2, 6));
    assert_eq!(rate(&gateway, "feature:amount:invalid", SCORE), (4, 6));
    for (problem, count) in [("type", 1), ("range", 1), ("missing", 2), ("category", 0)] {
        assert_eq!(violations(&gateway, "amount", problem), count, "{problem}");
    }
    // One that is not required may be missing.
    assert_eq!(rate(&gateway, "feature:tier:missing", SCORE), (3, 6));
    assert_eq!(rate(&gateway, "feature:tier:invalid", SCORE), (1, 6));
    assert_eq!(violations(&gateway, "tier", "category"), 1);
    let tiers = shares(&gateway, "feature:tier", SCORE);
    assert_eq!(tiers, [("gold".into(), 1), ("tin".into(), 1)]);
    // Of answers, the model and the release know it, too.
    let release = SubjectRef::Release {
        model: "scorer",
        release: "default",
    };
    for of in [SCORE, SubjectRef::Model("scorer"), release] {
        assert_eq!(mean(&gateway, "feature:score", of), (6, 0.5), "{of:?}");
    }
    model.say(Says::Json(json!({"other": 1})));
    gateway
        .post("/v1/predict/score", json!({"amount": 1}))
        .await;
    let model = SubjectRef::Model("scorer");
    assert_eq!(rate(&gateway, "feature:score:missing", model), (1, 7));
}

#[tokio::test]
async fn texts_of_answers_are_looked_at_whole_and_streamed() {
    let model = Model::start(Says::Text("I'm sorry, I can't help with that.")).await;
    let gateway = Running::start(&config(model.addr)).await;
    assert_eq!(gateway.chat("chat").await.status, 200);
    model.say(Says::Stream(&["{\"a\":", " 1}"], None));
    assert_eq!(gateway.chat_stream("chat").await.status, 200);
    let answers = shares(&gateway, "feature:refusal", CHAT);
    assert_eq!(answers, [("answer".into(), 1), ("refusal".into(), 1)]);
    assert_eq!(rate(&gateway, "feature:json:invalid", CHAT), (1, 2));
    assert_eq!(violations(&gateway, "json", "format"), 1);
    let (samples, length) = mean(&gateway, "feature:answer", CHAT);
    assert_eq!((samples, length.round()), (2, 21.0), "34 and 8 characters");
    model.say(Says::Text(
        "Der Kunde bekommt sein Geld innerhalb von zehn Werktagen zurück.",
    ));
    assert_eq!(gateway.chat("chat").await.status, 200);
    let languages = shares(&gateway, "feature:language", CHAT);
    assert!(languages.contains(&("deu".into(), 1)), "{languages:?}");
    // Of few words nobody can tell.
    assert!(languages.contains(&("unknown".into(), 2)), "{languages:?}");
    // "hello", each time.
    assert_eq!(mean(&gateway, "feature:question", CHAT), (3, 5.0));
}

#[tokio::test]
async fn a_sample_of_the_answers_is_judged_by_a_model_and_no_caller_waits() {
    let model = Model::start(Says::Text("an answer")).await;
    let judge = Model::start(Says::Text("Score: 0.75")).await;
    let config = format!(
        r#"{}
        [providers.b]
        kind = "openai"
        base_url = "http://{}/v1"
        [models.judge]
        provider = "b"
        [routes.chat.features.helpful]
        of = "answer"
        at = "text"
        kind = "judged"
        model = "judge"
        sample = 1
        "#,
        config(model.addr),
        judge.addr
    );
    let gateway = Running::start(&config).await;
    assert_eq!(gateway.chat("chat").await.status, 200);
    let judged = async |result: &str, count: u64| {
        let labels = format!("feature=\"helpful\",result=\"{result}\"");
        until(result, async || {
            let text = gateway.gateway.telemetry().encode(&Snapshot::default());
            let text = text.unwrap();
            let line = text.lines().find(|line| line.contains(&labels));
            line.is_some_and(|line| line.ends_with(&format!(" {count}")))
        })
        .await;
    };
    judged("ok", 1).await;
    for of in [CHAT, SubjectRef::Model("talker")] {
        assert_eq!(mean(&gateway, "feature:helpful", of), (1, 0.75));
    }
    let heard = judge.heard();
    assert_eq!(heard["messages"][1]["content"], "an answer");
    assert_eq!(heard["max_tokens"], 16);
    judge.say(Says::Text("very good"));
    gateway.chat("chat").await;
    judged("no-number", 1).await;
    judge.say(Says::Status(500, None));
    gateway.chat("chat").await;
    judged("failed", 1).await;
    // One that never answers holds nobody up; what does not fit is dropped.
    judge.say(Says::Hang);
    for _ in 0..70 {
        assert_eq!(gateway.chat("chat").await.status, 200);
    }
    judged("dropped", 4).await;
    assert_eq!(mean(&gateway, "feature:helpful", CHAT), (1, 0.75));
}

#[tokio::test]
async fn a_shift_of_a_feature_is_drift() {
    let model = Model::start(Says::Json(json!({"score": 0.5}))).await;
    let gateway = Running::start(&config(model.addr)).await;
    let body = |amount: Value| json!({ "amount": amount });
    let drift = |baseline: &backstop_core::evidence::Reference| {
        let now_ms = gateway.gateway.clock().now_ms();
        let store = gateway.gateway.evidence().store();
        let drift = store.drift_from("feature:amount", SCORE, 600, baseline, now_ms);
        drift.unwrap().verdict
    };
    for n in 0..150 {
        gateway
            .post("/v1/predict/score", body(json!(n * 37 % 50)))
            .await;
    }
    let now_ms = gateway.gateway.clock().now_ms();
    let store = gateway.gateway.evidence().store();
    let baseline = store.reference("feature:amount", SCORE, 600, now_ms);
    let baseline = baseline.unwrap().unwrap();
    assert_eq!(drift(&baseline), DriftVerdict::Stable);
    for n in 0..150 {
        gateway
            .post("/v1/predict/score", body(json!(500 + n * 37 % 50)))
            .await;
    }
    assert_eq!(drift(&baseline), DriftVerdict::Drifted);
    // And without anybody who asks, its detector has told.
    until("an incident", async || {
        let incidents = gateway.store.incidents(None, 10).await.unwrap();
        incidents
            .iter()
            .any(|one| one.report.key == "feature:score:amount")
    })
    .await;
    let text = gateway
        .gateway
        .telemetry()
        .encode(&Snapshot::default())
        .unwrap();
    let line = "backstop_feature_shifts_total{route=\"score\",feature=\"amount\"} 1";
    assert!(text.lines().any(|found| found == line), "{text}");
}

#[tokio::test]
async fn a_name_of_two_kinds_is_refused_before_it_serves() {
    let model = Model::start(Says::Json(json!({}))).await;
    let gateway = Running::start(&config(model.addr)).await;
    let two = config(model.addr).replace(
        "[routes.chat.features.question]\n        at = \"text\"\n        kind = \"length\"",
        "[routes.chat.features.amount]\n        at = \"text\"\n        kind = \"refusal\"",
    );
    let dir = tempfile::tempdir().unwrap();
    let applied = gateway
        .gateway
        .apply(crate::kit::config(&two, dir.path()))
        .await;
    let error = format!("{:#}", anyhow::Error::from(applied.unwrap_err()));
    assert!(error.contains("features of route `chat`"), "{error}");
}
