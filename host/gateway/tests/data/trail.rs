//! Each request leaves one record, with what was tried for it.

use crate::fallback::two;
use crate::kit::{Model, Running, Says, admin, chat, config, until};
use backstop_core::plan::{Action, CallStep, Plan, RaceStep, Step};
use backstop_gateway::telemetry::{RequestOutcome, Snapshot};
use backstop_gateway::trail::{AttemptEnd, RequestRecord, Why};
use http::{Request, StatusCode};
use http_body_util::BodyExt;
use serde_json::{Value, json};
use std::sync::Arc;
use tokio::sync::Semaphore;
use tower::ServiceExt;

/// What the admin plane says at `path`.
async fn shown(gateway: &Running, path: &str) -> (StatusCode, Value) {
    let request = Request::get(format!("http://127.0.0.1/admin/v1/{path}"));
    let request = request.body(axum::body::Body::empty()).unwrap();
    let response = admin(gateway).await.oneshot(request).await.unwrap();
    let status = response.status();
    let body = response.into_body().collect().await.unwrap().to_bytes();
    (status, serde_json::from_slice(&body).unwrap())
}

/// The records since the last time.
fn records(gateway: &Running) -> Vec<Arc<RequestRecord>> {
    gateway.gateway.telemetry().requests().drain()
}

/// The one record since the last time.
async fn record(gateway: &Running) -> Arc<RequestRecord> {
    let mut all = Vec::new();
    until("a record", async || {
        all.extend(records(gateway));
        !all.is_empty()
    })
    .await;
    assert_eq!(all.len(), 1, "{all:?}");
    all.remove(0)
}

/// How many requests were counted, whatever became of them.
fn counted(gateway: &Running) -> u64 {
    let text = gateway
        .gateway
        .telemetry()
        .encode(&Snapshot::default())
        .unwrap();
    text.lines()
        .filter(|line| line.starts_with("backstop_requests_total"))
        .filter_map(|line| line.rsplit_once(' ')?.1.parse::<u64>().ok())
        .sum()
}

/// Checks what is counted.
fn counts(gateway: &Running, lines: &[&str]) {
    let text = gateway
        .gateway
        .telemetry()
        .encode(&Snapshot::default())
        .unwrap();
    for line in lines {
        let found = text.lines().any(|known| known == *line);
        assert!(found, "`{line}` is not in\n{text}");
    }
}

/// Step, racer, retry, why, model, end, failure of each attempt.
fn told(record: &RequestRecord) -> Vec<String> {
    let attempts = record.attempts.iter();
    attempts
        .map(|attempt| {
            format!(
                "{}.{}.{} {} {}/{} {}{}",
                attempt.step,
                attempt.racer,
                attempt.retry,
                attempt.why.as_str(),
                attempt.model,
                attempt.release.as_deref().unwrap_or("-"),
                attempt.end.as_str(),
                attempt
                    .failure
                    .map_or(String::new(), |class| format!(" {class}")),
            )
        })
        .collect()
}

#[tokio::test]
async fn a_request_is_shown_with_its_attempts_and_found_from_its_decision() {
    let primary = Model::start(Says::Status(500, None)).await;
    let backup = Model::start(Says::Text("from backup")).await;
    let more = "retry = { retries = 1, backoff_ms = 20, backoff_jitter = 0.0 }\n\
                fallback = \"layered\"\n[policies.layered]\n\
                component = \"builtin:layered-fallback\"\n\
                grants = { metrics = [\"error-rate\", \"latency-ms\"] }\n\
                settings = { retries = 1 }";
    let gateway = Running::start(&two(primary.addr, backup.addr, more)).await;
    let headers = [("x-request-id", "order-7")];
    let body = chat("chat", false).to_string();
    let answer = gateway
        .post_with("/v1/chat/completions", &headers, body)
        .await;
    let id = answer.header("x-backstop-request").unwrap();
    let decision = answer.header("x-backstop-decision").unwrap();

    let (_, record) = shown(&gateway, &format!("requests/{id}")).await;
    assert_eq!(record["id"], id);
    assert_eq!(record["caller_id"], "order-7");
    assert_eq!(record["route"], "chat");
    assert_eq!(record["operation"], "chat");
    assert_eq!(record["outcome"], "answered");
    assert_eq!(record["status"], 200);
    assert_eq!(record["decision"], decision);
    let served = json!({"step": 1, "model": "backup", "release": "default"});
    assert_eq!(record["served_by"], served);
    let attempts = record["attempts"].as_array().unwrap();
    let first = &attempts[0];
    assert_eq!(first["failure"], "server-error");
    assert_eq!(first["status"], 500);
    assert_eq!(attempts[1]["why"], "retry");
    assert!(attempts[1]["waited_ms"].as_f64() >= Some(20.0), "{record}");
    assert!(attempts[1]["start_ms"].as_f64() >= Some(20.0), "{record}");
    assert_eq!(attempts.len(), 3, "{record}");
    let last = &attempts[2];
    assert_eq!(last["end"], "answered");
    assert_eq!(last["served_model"], "upstream-name");
    assert_eq!(last["usage"]["total_tokens"], 2);
    assert!(!record.to_string().contains("hello"), "no bodies: {record}");

    let by_caller = shown(&gateway, "requests/order-7").await.1;
    assert_eq!(by_caller, record);
    let (_, whole) = shown(&gateway, &format!("decisions/{decision}")).await;
    assert_eq!(whole["request"], id);
    assert_eq!(whole["attempts"], record["attempts"]);

    let lines = [
        r#"backstop_retries_total{route="chat",class="server-error"} 1"#,
        r#"backstop_step_moves_total{route="chat",from="0",to="1",class="server-error"} 1"#,
        r#"gen_ai_client_operation_duration_seconds_count{gen_ai_operation_name="chat",gen_ai_provider_name="a",gen_ai_request_model="large",error_type="server-error"} 2"#,
        r#"gen_ai_client_token_usage_sum{gen_ai_operation_name="chat",gen_ai_provider_name="b",gen_ai_request_model="small",gen_ai_token_type="output"} 1.0"#,
    ];
    counts(&gateway, &lines);

    for (filter, expected) in [
        ("", 1),
        ("?route=chat&outcome=answered", 1),
        ("?outcome=failed", 0),
        ("?route=other", 0),
    ] {
        let (_, list) = shown(&gateway, &format!("requests{filter}")).await;
        assert_eq!(list["data"].as_array().unwrap().len(), expected, "{filter}");
    }
    let (status, error) = shown(&gateway, "requests?outcome=lost").await;
    assert_eq!(status, StatusCode::BAD_REQUEST, "{error}");
    let (status, _) = shown(&gateway, "requests/nothing").await;
    assert_eq!(status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn every_end_of_a_request_leaves_one_record() {
    let primary = Model::start(Says::Status(500, None)).await;
    let backup = Model::start(Says::Status(503, None)).await;
    let text = two(primary.addr, backup.addr, "stream = { hold = \"none\" }");
    let gateway = Running::start(&text).await;
    let expect = async |outcome: RequestOutcome, status: Option<u16>, attempts: &[&str]| {
        let record = record(&gateway).await;
        assert_eq!(
            (record.outcome, record.status),
            (outcome, status),
            "{record:?}"
        );
        assert_eq!(told(&record), attempts, "{record:?}");
        record
    };

    gateway.chat("chat").await;
    let failed = [
        "0.0.0 plan primary/default failed server-error",
        "1.0.0 plan backup/default failed overload",
    ];
    expect(RequestOutcome::Failed, Some(503), &failed).await;

    primary.say(Says::Status(400, None));
    gateway.chat("chat").await;
    let fault = ["0.0.0 plan primary/default failed client-fault"];
    expect(RequestOutcome::ClientFault, Some(400), &fault).await;

    primary.say(Says::CutStream(&["a", "b"]));
    gateway.chat_stream("chat").await;
    let cut = ["0.0.0 plan primary/default failed cut-stream"];
    let record = expect(RequestOutcome::Cut, Some(200), &cut).await;
    assert!(record.first_token.is_some() && record.streaming);

    primary.say(Says::Stream(&["a", "b"], None));
    gateway.chat_stream("chat").await;
    let whole = ["0.0.0 plan primary/default answered"];
    let record = expect(RequestOutcome::Answered, Some(200), &whole).await;
    assert!(record.attempts[0].first_token.is_some());

    // The caller hangs up during the stream, and before there is any answer.
    let gate = Arc::new(Semaphore::new(1));
    primary.say(Says::Stream(&["a", "b"], Some(gate)));
    let send = |stream| {
        let body = chat("chat", stream).to_string();
        let request = Request::post(format!("http://{}/v1/chat/completions", gateway.addr));
        gateway.send(request.body(body.into()).unwrap())
    };
    let mut body = send(true).await.into_body();
    assert!(body.frame().await.is_some());
    drop(body);
    let cancelled = ["0.0.0 plan primary/default cancelled"];
    expect(RequestOutcome::Cancelled, Some(200), &cancelled).await;
    primary.say(Says::Hang);
    let calls = primary.calls();
    let hanging = tokio::time::timeout(std::time::Duration::from_millis(150), send(false));
    assert!(hanging.await.is_err());
    assert!(primary.calls() > calls);
    expect(RequestOutcome::Cancelled, None, &cancelled).await;

    gateway.get("/v1/nowhere").await;
    let record = expect(RequestOutcome::ClientFault, Some(404), &[]).await;
    assert_eq!(&*record.route, "-");
    gateway.chat("nobody").await;
    expect(RequestOutcome::ClientFault, Some(404), &[]).await;

    for (action, outcome, status) in [
        (Action::Rules("sorry".into()), RequestOutcome::Rules, 200),
        (
            Action::Review {
                note: String::new(),
            },
            RequestOutcome::Review,
            202,
        ),
        (
            Action::Refuse {
                status: 451,
                message: "no".to_owned(),
            },
            RequestOutcome::Refused,
            451,
        ),
    ] {
        let more = "rules = [\"sorry\"]\nreview = true";
        plan(&gateway, &two(primary.addr, backup.addr, more), action).await;
        gateway.chat("chat").await;
        expect(outcome, Some(status), &[]).await;
    }
    let lines =
        [r#"backstop_step_moves_total{route="chat",from="1",to="none",class="overload"} 1"#];
    counts(&gateway, &lines);
    let written = gateway.gateway.telemetry().requests().written();
    assert_eq!((written, counted(&gateway)), (11, 11));
}

/// Applies `text` with a default plan of this one step.
async fn plan(gateway: &Running, text: &str, action: Action) {
    let dir = tempfile::tempdir().unwrap();
    let mut config = config(text, dir.path());
    config.server = gateway.gateway.plant().config().server.clone();
    for route in config.routes.values_mut() {
        Arc::make_mut(route).default_plan = Arc::new(Plan::from(vec![Step {
            action: action.clone(),
            reason: "test".to_owned(),
        }]));
    }
    gateway.gateway.apply(config).await.unwrap();
}

#[tokio::test]
async fn hedges_rescues_and_losers_are_told_apart() {
    let primary = Model::start(Says::Hang).await;
    let backup = Model::start(Says::Text("from backup")).await;
    let restart = "stream = { hold = \"none\", after_cut = \"restart\" }";
    let text = two(primary.addr, backup.addr, restart);
    let gateway = Running::start(&text).await;

    primary.say(Says::CutStream(&["a"]));
    backup.say(Says::Stream(&["b"], None));
    gateway.chat_stream("chat").await;
    let rescued = record(&gateway).await;
    let expected = [
        "0.0.0 plan primary/default failed cut-stream",
        "1.0.0 rescue backup/default answered",
    ];
    assert_eq!(told(&rescued), expected);
    assert_eq!(
        rescued.served_by.as_ref().map(|served| served.step),
        Some(1)
    );

    plan(&gateway, &text, race()).await;
    primary.say(Says::Hang);
    backup.say(Says::Text("from backup"));
    gateway.chat("chat").await;
    let hedged = record(&gateway).await;
    let expected = [
        "0.0.0 plan primary/default cancelled",
        "0.1.0 hedge backup/default answered",
    ];
    assert_eq!(told(&hedged), expected);
    assert_eq!(hedged.attempts[1].why, Why::Hedge);

    let lines = [
        r#"backstop_rescues_total{route="chat"} 1"#,
        r#"backstop_step_moves_total{route="chat",from="0",to="1",class="cut-stream"} 1"#,
        r#"backstop_hedges_total{route="chat",result="started"} 1"#,
        r#"backstop_hedges_total{route="chat",result="won"} 1"#,
    ];
    counts(&gateway, &lines);

    // A hedge whose turn never came is no attempt.
    primary.say(Says::Text("from primary"));
    gateway.chat("chat").await;
    let alone = record(&gateway).await;
    assert_eq!(told(&alone), ["0.0.0 plan primary/default answered"]);

    // Nor is a call that a breaker refuses, which is told all the same.
    let model = gateway.gateway.plant().model("primary").unwrap().clone();
    model.set_healthy(false);
    gateway.chat("chat").await;
    let passed_over = record(&gateway).await;
    assert_eq!(passed_over.attempts[0].end, AttemptEnd::NotCalled);
    assert_eq!(passed_over.attempts[0].not_called, Some("down"));
    let lines = [
        r#"backstop_calls_not_made_total{route="chat",model="primary",reason="down",priority="normal"} 1"#,
    ];
    counts(&gateway, &lines);
}

#[tokio::test]
async fn calls_without_a_budget_are_told_and_are_no_repetitions() {
    let primary = Model::start(Says::Status(500, None)).await;
    let backup = Model::start(Says::Text("from backup")).await;
    let more = "retry = { retries = 3, backoff_ms = 1, budget_percent = 0, budget_per_s_min = 0 }\n\
                hedge = { budget_percent = 0, budget_per_s_min = 0 }";
    let text = two(primary.addr, backup.addr, more);
    let gateway = Running::start(&text).await;
    gateway.chat("chat").await;
    let record = record(&gateway).await;
    let expected = [
        "0.0.0 plan primary/default failed server-error",
        "0.0.1 retry primary/- not-called",
        "1.0.0 plan backup/default answered",
    ];
    assert_eq!(told(&record), expected);

    plan(&gateway, &text, race()).await;
    gateway.chat("chat").await;
    let raced = self::record(&gateway).await;
    let expected = [
        "0.0.0 plan primary/default failed server-error",
        "0.1.0 plan backup/default answered",
    ];
    assert_eq!(told(&raced), expected);
    let lines = [
        r#"backstop_calls_not_made_total{route="chat",model="primary",reason="retry-budget",priority="normal"} 1"#,
        r#"backstop_step_moves_total{route="chat",from="0",to="1",class="server-error"} 1"#,
        r#"backstop_hedges_total{route="chat",result="refused"} 1"#,
    ];
    counts(&gateway, &lines);
    let telemetry = gateway.gateway.telemetry();
    let shown = telemetry.encode(&Snapshot::default()).unwrap();
    assert!(!shown.contains("backstop_retries_total{"), "{shown}");
}

#[tokio::test]
async fn a_crowd_of_streams_leaves_one_record_each() {
    const CALLERS: usize = 200;
    let primary = Model::start(Says::CutStream(&["a", "b"])).await;
    let backup = Model::start(Says::Stream(&["x", "y", "z"], None)).await;
    let text = two(primary.addr, backup.addr, "stream = { hold = \"none\" }");
    let gateway = Arc::new(Running::start(&text).await);
    let callers = (0..CALLERS).map(|caller| {
        let gateway = gateway.clone();
        tokio::spawn(async move {
            let body = chat("chat", caller % 4 != 0).to_string();
            let request = Request::post(format!("http://{}/v1/chat/completions", gateway.addr));
            let sent = gateway.send(request.body(body.into()).unwrap());
            match caller % 3 {
                // Hangs up at once, after the first piece, or not at all.
                0 => drop(tokio::time::timeout(std::time::Duration::from_millis(3), sent).await),
                1 => drop(sent.await.into_body().frame().await),
                _ => drop(sent.await.into_body().collect().await),
            }
        })
    });
    for caller in callers.collect::<Vec<_>>() {
        caller.await.unwrap();
    }
    let telemetry = gateway.gateway.telemetry();
    let in_flight = || {
        let text = telemetry.encode(&Snapshot::default()).unwrap();
        !text.contains("backstop_requests_in_flight{route=\"chat\"} 0\n")
    };
    until("all requests have ended", async || !in_flight()).await;
    let records = records(&gateway);
    assert_eq!(records.len() as u64, counted(&gateway));
    let mut ids: Vec<_> = records.iter().map(|record| record.id).collect();
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), records.len());
}

/// Both models, the second 30 ms after the first.
fn race() -> Action {
    let call = |model: &str| CallStep {
        model: model.into(),
        timeout_ms: 2_000,
        first_token_ms: 2_000,
        retries: 0,
        move_on: backstop_core::fault::FailureClasses::MODEL_FAULTS,
    };
    Action::Race(RaceStep {
        calls: vec![call("primary"), call("backup")],
        stagger_ms: 30,
    })
}
