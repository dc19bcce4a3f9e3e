//! Objectives on a running gateway: an outage from its first failed call to the
//! incident and its end, silence, restarts, reloads, and what policies read.

use crate::faulty::{Fault, Faulty};
use crate::kit::{Answer, Model, Running, Says, admin, until};
use backstop_core::evidence::SubjectRef;
use backstop_gateway::store::{Incident, KeptObjective, Store};
use http::{Request, StatusCode};
use http_body_util::BodyExt;
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::sync::Arc;
use tower::ServiceExt;

const MINUTE: u64 = 60_000;

/// A route of one model that is never tried twice, and one objective of it.
fn config(model: SocketAddr, objective: &str) -> String {
    format!(
        r#"
        [providers.j]
        kind = "json"
        base_url = "http://{model}"
        [models.scorer]
        provider = "j"
        confidence_pointer = "/p"
        breaker = {{ initial_state = "disabled" }}
        [routes.score]
        kind = "json"
        models = ["scorer"]
        review = true
        threshold = "adaptive"
        retry = {{ retries = 0 }}
        [policies.adaptive]
        component = "builtin:adaptive-threshold"
        settings = {{ accept_at = 0.5, ceiling = 0.9, tighten_by = 0.3, objective = "answers" }}
        grants = {{ metrics = ["*"] }}
        {objective}
        "#
    )
}

const ANSWERS: &str = r#"
    [objectives.answers]
    route = "score"
    metric = "error-rate"
    target = 0.9
    period_s = 86400
    events_min = 10
    [[objectives.answers.windows]]
    long_s = 600
    short_s = 120
    factor = 5
    for_s = 60
    urgency = "page"
    [[objectives.answers.windows]]
    long_s = 3600
    short_s = 600
    factor = 2
    urgency = "ticket"
"#;

/// Another pair of windows for `factor = 2`.
const CALMER: &str = "factor = 9.9\n    for_s = 60";

fn fine() -> Says {
    Says::Json(json!({"p": 0.7}))
}

async fn start(objective: &str) -> (Running, Model) {
    let model = Model::start(fine()).await;
    let gateway = Running::start(&config(model.addr, objective)).await;
    (gateway, model)
}

async fn predict(gateway: &Running, times: u32) -> Answer {
    for _ in 1..times {
        gateway.post("/v1/predict/score", json!({})).await;
    }
    gateway.post("/v1/predict/score", json!({})).await
}

async fn get(gateway: &Running, path: &str) -> (StatusCode, Value) {
    let request = Request::get(path).header("host", "127.0.0.1");
    let request = request.body(String::new()).unwrap();
    let response = admin(gateway).await.oneshot(request).await.unwrap();
    let status = response.status();
    let body = response.into_body().collect().await.unwrap().to_bytes();
    (status, serde_json::from_slice(&body).unwrap_or_default())
}

async fn report(gateway: &Running) -> Value {
    let (status, report) = get(gateway, "/admin/v1/objectives/answers").await;
    assert_eq!(status, StatusCode::OK);
    report
}

/// The words for where its alerts stand: of the objective, the page, the ticket.
async fn states(gateway: &Running) -> [String; 3] {
    let report = report(gateway).await;
    let word = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let windows = &report["windows"];
    let (page, ticket) = (&windows[0]["state"], &windows[1]["state"]);
    [word(&report["state"]), word(page), word(ticket)]
}

async fn incidents(gateway: &Running) -> Vec<Incident> {
    gateway.store.incidents(None, 50).await.unwrap()
}

/// What a scrape shows of a metric.
async fn scraped(gateway: &Running, line: &str) -> Option<String> {
    let request = Request::get("/metrics").header("host", "127.0.0.1");
    let request = request.body(String::new()).unwrap();
    let response = admin(gateway).await.oneshot(request).await.unwrap();
    let body = response.into_body().collect().await.unwrap().to_bytes();
    let text = String::from_utf8(body.to_vec()).unwrap();
    let mut lines = text.lines().filter_map(|of| of.strip_prefix(line));
    lines.next().map(|number| number.trim().to_owned())
}

#[tokio::test]
async fn an_outage_is_pending_fires_and_ends() {
    let (gateway, model) = start(ANSWERS).await;
    let t0 = gateway.gateway.clock().now_ms() + MINUTE;
    let look = |at_ms| gateway.gateway.look_at_objectives(at_ms);
    assert_eq!(
        states(&gateway).await,
        ["no-evidence"; 3].map(str::to_owned)
    );
    predict(&gateway, 9).await;
    look(t0).await;
    assert_eq!(states(&gateway).await[0], "no-evidence", "nine are too few");
    predict(&gateway, 11).await;
    look(t0 + 10_000).await;
    assert_eq!(states(&gateway).await, ["met", "quiet", "quiet"]);

    // Every call fails: 60 of 80 in the ten minutes, seven and a half times what
    // is allowed.
    model.say(Says::Status(500, None));
    predict(&gateway, 60).await;
    look(t0 + 20_000).await;
    // The ticket waits for nothing.
    assert_eq!(states(&gateway).await, ["firing", "pending", "firing"]);
    until("an incident", async || {
        !incidents(&gateway).await.is_empty()
    })
    .await;
    let [incident] = &incidents(&gateway).await[..] else {
        panic!("one incident")
    };
    assert_eq!(incident.report.key, "objective:answers");
    assert_eq!(incident.report.policy, "(gateway)");
    assert_eq!(incident.report.severity, backstop::Severity::Warning);

    look(t0 + 20_000 + MINUTE).await;
    assert_eq!(states(&gateway).await, ["firing"; 3]);
    until("the page", async || incidents(&gateway).await[0].count == 2).await;
    let [incident] = &incidents(&gateway).await[..] else {
        panic!("still one incident")
    };
    assert_eq!(incident.report.severity, backstop::Severity::Critical);
    let title = "objective `answers` of route `score` spends its error budget 7.5 times too fast";
    assert_eq!(incident.report.title, title);
    let detail = "bad events of `error-rate`: 60 of 80 in 10m (burn rate 7.5), 60 of 80 in 2m \
                  (burn rate 7.5); it alerts above 5.0. 90 % of the events of 1d are to be good; \
                  -650.0 % of that budget is left";
    assert_eq!(incident.report.detail, detail);
    let now = report(&gateway).await;
    assert_eq!(now["urgency"], "page");
    assert_eq!(
        now["period"],
        json!({"bad": 60, "events": 80, "burn_rate": now["period"]["burn_rate"]})
    );
    for (line, number) in [
        ("backstop_objective_state{objective=\"answers\"}", "2"),
        (
            "backstop_objective_alerts_total{objective=\"answers\",urgency=\"page\"}",
            "1",
        ),
        (
            "backstop_objective_alerts_total{objective=\"answers\",urgency=\"ticket\"}",
            "1",
        ),
    ] {
        assert_eq!(
            scraped(&gateway, line).await.as_deref(),
            Some(number),
            "{line}"
        );
    }
    let burn = "backstop_objective_burn_rate{objective=\"answers\",window=\"10m\"}";
    let burn: f64 = scraped(&gateway, burn).await.unwrap().parse().unwrap();
    assert!((burn - 7.5).abs() < 1e-9, "{burn}");
    let left = "backstop_objective_budget_left{objective=\"answers\"}";
    let left: f64 = scraped(&gateway, left).await.unwrap().parse().unwrap();
    assert!((left + 6.5).abs() < 1e-9, "{left}");

    // Nobody calls any more: that ends nothing.
    look(t0 + 30 * MINUTE).await;
    assert_eq!(states(&gateway).await, ["firing"; 3]);
    let blind = report(&gateway).await["windows"][0]["blind_since_ms"].as_u64();
    assert_eq!(blind, Some(t0 + 30 * MINUTE));

    // It works again: the short windows end it, and people close the incident.
    model.say(fine());
    predict(&gateway, 40).await;
    look(t0 + 31 * MINUTE).await;
    assert_eq!(states(&gateway).await, ["met", "resolved", "resolved"]);
    look(t0 + 31 * MINUTE + 16 * MINUTE).await;
    predict(&gateway, 40).await;
    look(t0 + 48 * MINUTE).await;
    assert_eq!(states(&gateway).await, ["met", "quiet", "quiet"]);
    let [incident] = &incidents(&gateway).await[..] else {
        panic!("still one incident")
    };
    assert_eq!((incident.closed_ms, incident.count), (None, 2));
    // Moments do not run back.
    look(t0).await;
    assert_eq!(report(&gateway).await["looked_ms"], t0 + 48 * MINUTE);
    let (status, _) = get(&gateway, "/admin/v1/objectives/other").await;
    assert_eq!(status, StatusCode::NOT_FOUND);
    let (_, all) = get(&gateway, "/admin/v1/objectives").await;
    assert_eq!(all["data"].as_array().unwrap().len(), 1);
    gateway.stop().await;
}

#[tokio::test]
async fn a_policy_reads_how_an_objective_stands() {
    let (gateway, model) = start(ANSWERS).await;
    // Above the calibrated line, and below the one of an objective that fires.
    assert_eq!(predict(&gateway, 1).await.status, 200);
    model.say(Says::Status(500, None));
    predict(&gateway, 40).await;
    gateway
        .gateway
        .look_at_objectives(gateway.gateway.clock().now_ms() + MINUTE)
        .await;
    assert_eq!(states(&gateway).await[0], "firing");
    model.say(fine());
    let judged = predict(&gateway, 1).await;
    assert_eq!(judged.status, 202, "{}", judged.text);
    let record = &gateway.gateway.host().records().newest(1)[0];
    let reason = format!("{:?}", record.applied);
    assert!(reason.contains("objective `answers`"), "{reason}");
    gateway.stop().await;
}

#[tokio::test]
async fn a_restart_goes_on_where_it_was_and_tells_nobody_twice() {
    let (gateway, model) = start(ANSWERS).await;
    model.say(Says::Status(500, None));
    predict(&gateway, 40).await;
    gateway
        .gateway
        .look_at_objectives(gateway.gateway.clock().now_ms())
        .await;
    assert_eq!(states(&gateway).await, ["firing", "pending", "firing"]);
    until("an incident", async || {
        !incidents(&gateway).await.is_empty()
    })
    .await;
    // What is counted after the last look is taken at the end.
    predict(&gateway, 2).await;
    let since = report(&gateway).await["windows"][1]["since_ms"].clone();
    let (dir, _) = gateway.stop().await;
    let gateway = Running::start_in(&config(model.addr, ANSWERS), dir).await;
    assert_eq!(states(&gateway).await, ["firing", "pending", "firing"]);
    let again = report(&gateway).await;
    assert_eq!(again["windows"][1]["since_ms"], since);
    assert_eq!(again["period"]["events"], 42);
    predict(&gateway, 2).await;
    gateway
        .gateway
        .look_at_objectives(gateway.gateway.clock().now_ms() + 1_000)
        .await;
    assert_eq!(report(&gateway).await["period"]["events"], 44);
    let found = incidents(&gateway).await;
    assert_eq!((found.len(), found[0].count), (1, 1));
    // With other windows the counts go on, and the alerts begin anew.
    let (dir, _) = gateway.stop().await;
    let calmer = config(model.addr, &ANSWERS.replace("factor = 2", CALMER));
    let gateway = Running::start_in(&calmer, dir).await;
    assert_eq!(report(&gateway).await["period"]["events"], 44);
    assert_eq!(states(&gateway).await, ["pending"; 3]);
    // Counting something else, both do.
    let (dir, _) = gateway.stop().await;
    let other = config(model.addr, &ANSWERS.replace("error-rate", "review-rate"));
    let gateway = Running::start_in(&other, dir).await;
    assert_eq!(report(&gateway).await["period"]["events"], 0);
    gateway.stop().await;
}

#[tokio::test]
async fn a_reload_starts_anew_what_it_changes_and_nothing_else() {
    let (gateway, model) = start(ANSWERS).await;
    model.say(Says::Status(500, None));
    predict(&gateway, 40).await;
    let now_ms = gateway.gateway.clock().now_ms();
    gateway.gateway.look_at_objectives(now_ms).await;
    assert_eq!(states(&gateway).await[2], "firing");

    // Nothing of it changes: it goes on firing.
    gateway.reload(&config(model.addr, ANSWERS)).await;
    assert_eq!(states(&gateway).await[2], "firing");
    // Another factor: its counts stay, its alerts begin anew.
    let calmer = ANSWERS.replace("factor = 2", CALMER);
    gateway.reload(&config(model.addr, &calmer)).await;
    let changed = report(&gateway).await;
    assert_eq!(changed["period"]["events"], 40);
    assert_eq!(changed["windows"][1]["factor"], 9.9);
    assert_eq!(states(&gateway).await[2], "pending");
    // Another metric: everything begins anew.
    let other = ANSWERS.replace("error-rate", "review-rate");
    gateway.reload(&config(model.addr, &other)).await;
    let changed = report(&gateway).await;
    assert_eq!(changed["period"]["events"], 0);
    assert_eq!(changed["state"], "no-evidence");
    // One that cannot be counted changes nothing.
    let wrong = ANSWERS.replace("error-rate", "no-such-metric");
    let text = config(model.addr, &wrong);
    let refused = gateway
        .gateway
        .apply(crate::kit::config(&text, std::path::Path::new("/tmp")))
        .await;
    let refused = refused.unwrap_err().to_string();
    assert!(
        refused.contains("objective `answers`: metric `no-such-metric` is not known"),
        "{refused}"
    );
    assert_eq!(report(&gateway).await["metric"], "review-rate");
    // Removed: nobody knows it any more.
    gateway.reload(&config(model.addr, "")).await;
    let (status, _) = get(&gateway, "/admin/v1/objectives/answers").await;
    assert_eq!(status, StatusCode::NOT_FOUND);
    assert_eq!(gateway.store.objectives().await.unwrap(), []);
    gateway.stop().await;
}

#[tokio::test]
async fn values_and_late_labels_count_when_they_are_told() {
    let objectives = r#"
        [routes.score.feedback]
        [objectives.answers]
        model = "scorer"
        metric = "accuracy"
        target = 0.5
        events_min = 1
        windows = [
          { long_s = 600, short_s = 60, factor = 1.5 },
          { long_s = 3600, short_s = 600, factor = 1.2, urgency = "ticket" },
        ]
        [objectives.sure]
        route = "score"
        metric = "confidence"
        below = 0.6
        target = 0.99
    "#;
    let (gateway, model) = start(objectives).await;
    predict(&gateway, 3).await;
    model.say(Says::Json(json!({"p": 0.55})));
    predict(&gateway, 1).await;
    // Labels of two hours ago, which are in no window of ten minutes.
    let now_ms = gateway.gateway.clock().now_ms();
    let store = gateway.gateway.evidence().store();
    let model_of = SubjectRef::Model("scorer");
    let series = store.rate_series("accuracy", model_of).unwrap();
    for _ in 0..4 {
        assert!(series.record_rate_at(now_ms, now_ms - 7_200_000, false));
    }
    gateway.gateway.look_at_objectives(now_ms + 1_000).await;
    let labels = report(&gateway).await;
    assert_eq!(labels["bad"], "no");
    assert_eq!(labels["windows"][0]["long"]["bad"], 4);
    assert_eq!(labels["state"], "firing");
    // Both alerts fire: one report, of the more urgent.
    until("an incident", async || {
        !incidents(&gateway).await.is_empty()
    })
    .await;
    let incident = &incidents(&gateway).await[0];
    assert_eq!(
        (incident.count, incident.report.severity),
        (1, backstop::Severity::Critical)
    );
    assert!(
        incident.report.detail.contains("it alerts above 1.5"),
        "{incident:?}"
    );
    let (_, sure) = get(&gateway, "/admin/v1/objectives/sure").await;
    assert_eq!(sure["bad"], "below 0.6");
    assert_eq!(
        (&sure["period"]["bad"], &sure["period"]["events"]),
        (&json!(1), &json!(4))
    );
    gateway.stop().await;
}

#[tokio::test]
async fn a_store_that_fails_costs_nothing_but_a_later_try() {
    let dir = Arc::new(tempfile::tempdir().unwrap());
    let store = Faulty::open(dir.path());
    let damaged = KeptObjective {
        name: "answers".to_owned(),
        state: b"{".to_vec(),
    };
    let known = vec!["answers".to_owned()];
    store.keep_objectives(vec![damaged], known).await.unwrap();
    let model = Model::start(fine()).await;
    let text = config(model.addr, ANSWERS);
    let gateway = Running::start_on(store.clone(), &text, dir).await;
    assert_eq!(
        states(&gateway).await[0],
        "no-evidence",
        "a damaged row starts anew"
    );
    store.writes(Fault::Fails);
    predict(&gateway, 20).await;
    // Long enough after the start that counts are to be kept.
    let now_ms = gateway.gateway.clock().now_ms() + 2 * MINUTE;
    gateway.gateway.look_at_objectives(now_ms).await;
    assert_eq!(states(&gateway).await[0], "met");
    store.writes(Fault::None);
    gateway.gateway.look_at_objectives(now_ms + 10_000).await;
    let kept = store.objectives().await.unwrap();
    let kept: Value = serde_json::from_slice(&kept[0].state).unwrap();
    assert_eq!(kept["history"]["buckets"][0][3], 20);
    gateway.stop().await;
}
