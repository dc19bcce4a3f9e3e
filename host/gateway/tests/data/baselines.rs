//! Baselines and readings through the admin plane: taken, brought along,
//! versioned, kept over a restart, refused when they do not fit.

use crate::kit::{Model, Running, Says, admin};
use backstop_core::evidence::SubjectRef;
use backstop_gateway::telemetry::Snapshot;
use http::{Request, StatusCode};
use http_body_util::BodyExt;
use serde_json::{Value, json};
use std::net::SocketAddr;
use tower::ServiceExt;

fn config(model: SocketAddr) -> String {
    format!(
        r#"
        [providers.j]
        kind = "json"
        base_url = "http://{model}"
        [models.scorer]
        provider = "j"
        confidence_pointer = "/p"
        label_pointer = "/label"
        releases = [{{ name = "r1" }}]
        [routes.score]
        kind = "json"
        models = ["scorer"]
        [routes.score.feedback]
        positive_label = "fraud"
        "#
    )
}

async fn start() -> (Running, Model) {
    let model = Model::start(Says::Json(json!({"label": "fraud", "p": 0.9}))).await;
    (Running::start(&config(model.addr)).await, model)
}

async fn ask(gateway: &Running, method: &str, path: &str, body: Value) -> (StatusCode, Value) {
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header("host", "127.0.0.1")
        .header("content-type", "application/json")
        .body(match method {
            "GET" => String::new(),
            _ => body.to_string(),
        })
        .unwrap();
    let response = admin(gateway).await.oneshot(request).await.unwrap();
    let status = response.status();
    let body = response.into_body().collect().await.unwrap().to_bytes();
    (status, serde_json::from_slice(&body).unwrap())
}

async fn get(gateway: &Running, path: &str) -> Value {
    let (status, told) = ask(gateway, "GET", path, Value::Null).await;
    assert_eq!(status, StatusCode::OK, "{path}: {told}");
    told
}

/// Records `count` confidences around `middle`, as of now.
fn record(gateway: &Running, count: u32, middle: f64) {
    let store = gateway.gateway.evidence().store();
    let release = SubjectRef::Release {
        model: "scorer",
        release: "r1",
    };
    let series = store.value_series("confidence", release).unwrap();
    let now_ms = gateway.gateway.clock().now_ms();
    for n in 0..count {
        let off = f64::from(n % 100) / 1_000.0;
        assert!(series.record_value(now_ms, middle + off));
    }
}

const READ: &str = "/admin/v1/evidence/read?metric=confidence&model=scorer&release=r1&window_s=600";

#[tokio::test]
async fn a_baseline_is_taken_held_against_and_kept_over_a_restart() {
    let (gateway, _model) = start().await;
    record(&gateway, 1_000, 0.8);
    let take = json!({
        "take": {"model": "scorer", "release": "r1", "window_s": 600},
        "by": "ann", "note": "before the campaign",
    });
    let (status, head) = ask(&gateway, "POST", "/admin/v1/baselines/calm", take).await;
    assert_eq!(status, StatusCode::OK, "{head}");
    assert_eq!(
        (&head["version"], &head["in_use"]),
        (&json!(1), &json!(true))
    );
    assert_eq!(head["metrics"], json!(["confidence"]));
    assert_eq!(head["by"], "ann");

    let calm = get(&gateway, &format!("{READ}&baseline=calm")).await;
    assert_eq!(calm["measure"]["samples"], 1_000);
    assert_eq!(calm["baseline"]["drift"]["verdict"], "stable");
    assert_eq!(calm["baseline"]["comparison"]["verdict"], "not-enough-data");
    record(&gateway, 3_000, 0.5);
    let moved = get(&gateway, &format!("{READ}&baseline=calm")).await;
    assert_eq!(moved["baseline"]["drift"]["verdict"], "drifted", "{moved}");
    assert_eq!(moved["baseline"]["comparison"]["verdict"], "worse");
    assert!(moved["value"]["p50"].as_f64().unwrap() < 0.7);

    // Against the time before the window there is nothing yet but itself.
    let read = format!("{READ}&reference_s=600");
    assert_eq!(
        get(&gateway, &read).await["drift"]["verdict"],
        "not-enough-data"
    );

    // Another version, made of figures; the one before can be used again.
    let figures = json!({
        "baseline": {"metrics": {
            "confidence": {"reference": {"kind": "value", "bins": [],
                "moments": {"samples": 5_000, "mean": 0.6, "stddev": 0.2}},
                "limits": {"low": 0.5, "high": 0.7, "chunks": 10}},
            "accuracy": {"reference": {"kind": "rate", "counts": {"events": 930, "trials": 1_000}}},
        }},
        "source": "benchmark of r1",
    });
    let (status, head) = ask(&gateway, "POST", "/admin/v1/baselines/calm", figures).await;
    assert_eq!(
        (status, &head["version"]),
        (StatusCode::OK, &json!(2)),
        "{head}"
    );
    let held = get(&gateway, &format!("{READ}&baseline=calm")).await;
    assert_eq!(held["baseline"]["version"], 2);
    assert_eq!(
        held["baseline"]["drift"],
        Value::Null,
        "only its moments are known"
    );
    assert_eq!(held["baseline"]["place"], "within", "{held}");

    let (dir, _) = gateway.stop().await;
    let model = Model::start(Says::Json(json!({}))).await;
    let again = Running::start_in(&config(model.addr), dir).await;
    let held = get(&again, &format!("{READ}&baseline=calm")).await;
    assert_eq!(held["baseline"]["version"], 2);
    let (status, head) = ask(
        &again,
        "POST",
        "/admin/v1/baselines/calm/use",
        json!({"version": 1}),
    )
    .await;
    assert_eq!((status, &head["in_use"]), (StatusCode::OK, &json!(true)));
    let held = get(&again, &format!("{READ}&baseline=calm")).await;
    assert_eq!(held["baseline"]["version"], 1);
    let list = get(&again, "/admin/v1/baselines").await;
    let in_use: Vec<_> = list["data"]
        .as_array()
        .unwrap()
        .iter()
        .map(|head| (head["version"].clone(), head["in_use"].clone()))
        .collect();
    assert_eq!(in_use, [(json!(2), json!(false)), (json!(1), json!(true))]);
    let (status, _) = ask(&again, "POST", "/admin/v1/baselines/calm/remove", json!({})).await;
    assert_eq!(status, StatusCode::OK);
    let (status, told) = ask(&again, "GET", &format!("{READ}&baseline=calm"), Value::Null).await;
    assert_eq!(status, StatusCode::NOT_FOUND, "{told}");
}

#[tokio::test]
async fn a_baseline_that_does_not_fit_is_refused_with_all_its_mistakes() {
    let (gateway, _model) = start().await;
    let wrong = json!({"baseline": {"metrics": {
        "confidence": {"reference": {"kind": "rate", "counts": {"events": 9, "trials": 3}}},
        "accuracy{tier=gold}": {"reference": {"kind": "category", "shares": []}},
    }}});
    let (status, told) = ask(&gateway, "POST", "/admin/v1/baselines/b", wrong).await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
    let mistakes = told["error"]["mistakes"].as_array().unwrap();
    assert_eq!(
        mistakes
            .iter()
            .map(|m| m.as_str().unwrap())
            .collect::<Vec<_>>(),
        [
            "metric `accuracy{tier=gold}`: no samples",
            "metric `confidence`: `events` are more than `trials`",
            "metric `accuracy{tier=gold}` is of kind rate here, of kind category in the baseline",
            "metric `confidence` is of kind value here, of kind rate in the baseline",
        ]
    );
    let take = |of: Value| json!({ "take": of });
    for (name, body, says) in [
        (
            "b",
            take(json!({"route": "score", "window_s": 60})),
            "there is no evidence of",
        ),
        (
            "b",
            take(json!({"route": "score", "window_s": 0})),
            "`window-s` is 0",
        ),
        (
            "b",
            take(json!({"route": "a", "model": "b", "window_s": 60})),
            "name either a `route`",
        ),
        (
            "b",
            take(json!({"release": "r1", "window_s": 60})),
            "`release` needs its `model`",
        ),
        ("b", json!({}), "give either `take` or `baseline`"),
        ("a b", json!({}), "a baseline's name has"),
    ] {
        let path = format!("/admin/v1/baselines/{}", name.replace(' ', "%20"));
        let (status, told) = ask(&gateway, "POST", &path, body).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{told}");
        let message = told["error"]["message"].as_str().unwrap();
        assert!(message.contains(says), "{message}");
    }
    assert_eq!(
        get(&gateway, "/admin/v1/baselines").await["data"],
        json!([])
    );
    let (status, told) = ask(
        &gateway,
        "POST",
        "/admin/v1/baselines/b/use",
        json!({"version": 3}),
    )
    .await;
    assert_eq!(status, StatusCode::NOT_FOUND, "{told}");
}

#[tokio::test]
async fn readings_hold_the_numbers_behind_their_verdicts() {
    let (gateway, _model) = start().await;
    let mut ids = Vec::new();
    for _ in 0..4 {
        let answer = gateway.post_with("/v1/predict/score", &[], "{}").await;
        ids.push(answer.header("x-backstop-request").unwrap().to_owned());
    }
    for (at, id) in ids.iter().enumerate() {
        let label = if at == 0 { "ok" } else { "fraud" };
        let told = gateway
            .post("/v1/feedback", json!({"id": id, "label": label}))
            .await;
        assert_eq!(told.status, 200, "{}", told.text);
    }
    let read = |metric: &str| format!("/admin/v1/evidence/read?metric={metric}&route=score");
    let accuracy = get(&gateway, &read("accuracy")).await;
    assert_eq!(accuracy["rate"]["events"], 3);
    assert_eq!(accuracy["rate"]["trials"], 4);
    assert!(accuracy["rate"]["low"].as_f64().unwrap() < 0.4);
    let brier = get(&gateway, &read("brier")).await;
    assert_eq!(
        (&brier["kind"], &brier["measure"]["samples"]),
        (&json!("computed"), &json!(4))
    );
    let expected = (3.0 * 0.01 + 0.81) / 4.0;
    assert!((brier["measure"]["value"].as_f64().unwrap() - expected).abs() < 1e-9);
    let line = get(&gateway, &format!("{}&error_max=0.05", read("labelled"))).await;
    assert_eq!(
        line["line"],
        json!({"verdict": "not-enough-data", "labels": 4})
    );
    let label = get(&gateway, &read("label")).await;
    assert_eq!(label["shares"], json!([{"category": "fraud", "count": 4}]));

    let telemetry = gateway.gateway.telemetry();
    let text = telemetry.encode(&Snapshot::default()).unwrap();
    for line in [
        "backstop_evidence_events_total{metric=\"accuracy\",route=\"score\",model=\"\",release=\"\"} 3.0",
        "backstop_evidence_trials_total{metric=\"labelled\",route=\"\",model=\"scorer\",release=\"r1\"} 4.0",
        "backstop_evidence_values_total{metric=\"confidence\",route=\"score\",model=\"\",release=\"\"} 4.0",
        "backstop_evidence_categories{metric=\"label\",route=\"score\",model=\"\",release=\"\",category=\"fraud\"} 4.0",
    ] {
        assert!(text.lines().any(|found| found == line), "{line} in {text}");
    }
    assert!(text.contains("backstop_evidence_quantile{metric=\"latency-ms\",route=\"score\""));

    assert_eq!(label["distances"], Value::Null, "nothing was before");

    let list = get(&gateway, "/admin/v1/evidence?route=score&limit=2").await;
    assert_eq!(list["data"].as_array().unwrap().len(), 2);
    assert_eq!(list["has_more"], true);
    let only = get(&gateway, "/admin/v1/evidence?metric=accuracy").await;
    let subjects: Vec<_> = only["data"]
        .as_array()
        .unwrap()
        .iter()
        .map(|series| series["subject"].to_string())
        .collect();
    assert!(
        subjects.contains(&json!({"route": "score"}).to_string()),
        "{only}"
    );
    for (path, status) in [
        (read("nothing"), StatusCode::NOT_FOUND),
        (
            format!("{}&window_s=0", read("accuracy")),
            StatusCode::BAD_REQUEST,
        ),
        (
            format!("{}&release=r1", read("accuracy")),
            StatusCode::BAD_REQUEST,
        ),
        (
            format!("{}&alpha=2&against_model=scorer", read("accuracy")),
            StatusCode::BAD_REQUEST,
        ),
        (
            format!("{}&unknown=1", read("accuracy")),
            StatusCode::BAD_REQUEST,
        ),
    ] {
        let (found, told) = ask(&gateway, "GET", &path, Value::Null).await;
        assert_eq!(found, status, "{path}: {told}");
    }
}
