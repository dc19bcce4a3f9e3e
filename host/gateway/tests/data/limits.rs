//! How many calls a model gets at once, who waits, and what happens when no
//! model can be called.

use crate::fallback::two;
use crate::kit::{Model, Running, Says, admin, chat, until};
use http::{Request, StatusCode};
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::Semaphore;
use tower::ServiceExt;

/// A limit of one call for the primary.
fn one_at_a_time(primary: &Model, backup: &Model, limit: &str, models: &str) -> String {
    two(primary.addr, backup.addr, "")
        .replace("models = [\"primary\", \"backup\"]", models)
        .replace(
            "[models.backup]",
            &format!("[models.primary.limit]\nmax = 1\n{limit}\n[models.backup]"),
        )
}

/// Asks in the background, as `caller`.
pub(crate) fn ask(
    gateway: &Arc<Running>,
    caller: &'static str,
) -> tokio::task::JoinHandle<(StatusCode, String)> {
    let gateway = gateway.clone();
    tokio::spawn(async move {
        let body = chat("chat", true).to_string();
        let headers = [("x-backstop-key", caller)];
        let answer = gateway
            .post_with("/v1/chat/completions", &headers, body)
            .await;
        (answer.status, answer.text)
    })
}

pub(crate) async fn load(gateway: &Running) -> Value {
    let router = admin(gateway).await;
    let request = Request::get("http://127.0.0.1/admin/v1/models")
        .body(axum::body::Body::empty())
        .unwrap();
    let response = router.oneshot(request).await.unwrap();
    let body = axum::body::to_bytes(response.into_body(), 1 << 20)
        .await
        .unwrap();
    let models: Value = serde_json::from_slice(&body).unwrap();
    let models = models["data"].as_array().unwrap();
    let primary = models
        .iter()
        .find(|model| model["name"] == "primary")
        .unwrap();
    primary["releases"][0]["load"].clone()
}

#[tokio::test]
async fn calls_wait_for_their_turn_and_are_counted() {
    let gate = Arc::new(Semaphore::new(0));
    let primary = Model::start(Says::Stream(&["a"], Some(gate.clone()))).await;
    let text = one_at_a_time(
        &primary,
        &primary,
        "queue_ms = 20000",
        "models = [\"primary\"]",
    )
    .replace("timeout_ms = 400", "timeout_ms = 20000")
    .replace("first_token_ms = 300", "first_token_ms = 20000")
    .replace("idle_ms = 300", "idle_ms = 20000");
    let gateway = Arc::new(Running::start(&text).await);
    let asked: Vec<_> = (0..3).map(|_| ask(&gateway, "one")).collect();
    until("one is under way and two wait", async || {
        load(&gateway).await == json!({"in_flight": 1, "limit": 1, "queued": 2})
            && primary.calls() == 1
    })
    .await;
    gate.add_permits(6);
    for asked in asked {
        let (status, text) = asked.await.unwrap();
        assert_eq!(status, StatusCode::OK);
        assert!(text.contains("\"content\":\"a\""), "{text}");
    }
    assert_eq!(
        load(&gateway).await,
        json!({"in_flight": 0, "limit": 1, "queued": 0})
    );
}

#[tokio::test]
async fn who_finds_no_place_goes_on_to_the_next_step_or_is_told_when_to_come_again() {
    let primary = Model::start(Says::Hang).await;
    let backup = Model::start(Says::Stream(&["x"], None)).await;
    let both = "models = [\"primary\", \"backup\"]";
    let text = one_at_a_time(&primary, &backup, "queue_ms = 20", both)
        .replace("first_token_ms = 300", "first_token_ms = 2000")
        .replace("timeout_ms = 400", "timeout_ms = 2000");
    let gateway = Arc::new(Running::start(&text).await);
    let first = ask(&gateway, "one");
    until("the primary is busy", async || primary.calls() == 1).await;
    let answer = gateway.chat_stream("chat").await;
    assert_eq!(answer.header("x-backstop-model"), Some("backup"));
    assert_eq!(primary.calls(), 1);

    let alone = "models = [\"primary\"]";
    let text = one_at_a_time(&primary, &backup, "queue_ms = 2000\nqueue = 1", alone)
        .replace("first_token_ms = 300", "first_token_ms = 2000")
        .replace("timeout_ms = 400", "timeout_ms = 2000");
    let gateway = Arc::new(Running::start(&text).await);
    let second = ask(&gateway, "one");
    until("the primary is busy", async || primary.calls() == 2).await;
    let third = ask(&gateway, "one");
    until("one waits", async || load(&gateway).await["queued"] == 1).await;
    let headers = [("x-backstop-key", "one")];
    let body = chat("chat", false).to_string();
    let answer = gateway
        .post_with("/v1/chat/completions", &headers, body.clone())
        .await;
    assert_eq!(answer.status, StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(
        (answer.code().as_str(), answer.header("retry-after")),
        ("too_many_waiting", Some("1"))
    );
    let headers = [("x-backstop-key", "other")];
    let answer = gateway
        .post_with("/v1/chat/completions", &headers, body)
        .await;
    assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(
        (answer.code().as_str(), answer.header("retry-after")),
        ("busy", Some("1"))
    );
    let metrics = gateway
        .gateway
        .telemetry()
        .encode(&Default::default())
        .unwrap();
    for line in [
        "backstop_calls_not_made_total{route=\"chat\",model=\"primary\",reason=\"queue-share\",priority=\"normal\"} 1",
        "backstop_calls_not_made_total{route=\"chat\",model=\"primary\",reason=\"queue-full\",priority=\"normal\"} 1",
    ] {
        assert!(metrics.contains(line), "{line} is not in\n{metrics}");
    }
    for asked in [first, second, third] {
        asked.abort();
    }
}

async fn post(gateway: &Running, path: &str, body: Value) -> (StatusCode, Value) {
    let router = admin(gateway).await;
    let request = Request::post(format!("http://127.0.0.1{path}"))
        .header("content-type", "application/json")
        .body(axum::body::Body::from(body.to_string()))
        .unwrap();
    let response = router.oneshot(request).await.unwrap();
    let status = response.status();
    let body = axum::body::to_bytes(response.into_body(), 1 << 20)
        .await
        .unwrap();
    (status, serde_json::from_slice(&body).unwrap())
}

const BREAKER: &str = "/admin/v1/models/primary/releases/default/breaker";

#[tokio::test]
async fn operators_force_breakers_and_take_models_out() {
    let primary = Model::start(Says::Text("from primary")).await;
    let backup = Model::start(Says::Text("from backup")).await;
    let text = two(primary.addr, backup.addr, "");
    let gateway = Running::start(&text).await;
    let (status, model) = post(&gateway, BREAKER, json!({"state": "forced-open"})).await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!(model["releases"][0]["breaker"]["state"], "forced-open");
    assert_eq!(gateway.chat("chat").await.says(), "from backup");
    // A reload that does not change the model leaves it so.
    gateway
        .reload(&text.replace("timeout_ms = 400", "timeout_ms = 399"))
        .await;
    assert_eq!(gateway.chat("chat").await.says(), "from backup");

    post(&gateway, BREAKER, json!({"state": "closed", "by": "ops"})).await;
    assert_eq!(gateway.chat("chat").await.says(), "from primary");
    let (status, error) = post(&gateway, BREAKER, json!({"state": "half-open"})).await;
    assert_eq!(status, StatusCode::CONFLICT);
    let said = error["error"]["message"].as_str().unwrap();
    assert!(
        said.contains("`primary`") && said.contains("from closed to half-open"),
        "{said}"
    );
    post(
        &gateway,
        BREAKER,
        json!({"state": "open", "for_ms": 60_000}),
    )
    .await;
    assert_eq!(gateway.chat("chat").await.says(), "from backup");
    post(&gateway, BREAKER, json!({"state": "disabled"})).await;
    assert_eq!(gateway.chat("chat").await.says(), "from primary");

    let path = "/admin/v1/models/primary/health";
    let (_, model) = post(&gateway, path, json!({"healthy": false})).await;
    assert_eq!(model["healthy"], false);
    assert_eq!(gateway.chat("chat").await.says(), "from backup");
    for (path, named) in [
        ("/admin/v1/models/imaginary/health", "imaginary"),
        (
            "/admin/v1/models/primary/releases/imaginary/breaker",
            "imaginary",
        ),
    ] {
        let body = if path.ends_with("health") {
            json!({"healthy": true})
        } else {
            json!({"state": "closed"})
        };
        let (status, error) = post(&gateway, path, body).await;
        assert_eq!(status, StatusCode::NOT_FOUND);
        assert!(error.to_string().contains(named), "{error}");
    }
}

#[tokio::test]
async fn a_model_whose_probe_fails_is_not_called_until_it_is_well() {
    let primary = Model::start(Says::Text("from primary")).await;
    let backup = Model::start(Says::Text("from backup")).await;
    let text = two(primary.addr, backup.addr, "").replace(
        "[models.primary.breaker]",
        "[models.primary.probe]\nevery_ms = 100\nunhealthy_after = 2\n[models.primary.breaker]",
    );
    let gateway = Running::start(&text).await;
    assert_eq!(gateway.chat("chat").await.says(), "from primary");
    primary.probed(false);
    until("the primary is down", async || {
        gateway.chat("chat").await.says() == "from backup"
    })
    .await;
    let calls = primary.calls();
    assert_eq!(gateway.chat("chat").await.says(), "from backup");
    assert_eq!(
        primary.calls(),
        calls,
        "nobody has to find out by calling it"
    );
    primary.probed(true);
    until("it is back", async || {
        gateway.chat("chat").await.says() == "from primary"
    })
    .await;
}

#[tokio::test]
async fn when_no_model_can_be_called_the_route_does_as_it_is_told() {
    let primary = Model::start(Says::Text("from primary")).await;
    let backup = Model::start(Says::Text("from backup")).await;
    for (more, status, says) in [
        ("", StatusCode::SERVICE_UNAVAILABLE, None),
        (
            "when_unavailable = \"wait\"",
            StatusCode::OK,
            Some("from backup"),
        ),
        (
            "when_unavailable = \"wait\"\nunavailable_wait_ms = 50",
            StatusCode::SERVICE_UNAVAILABLE,
            None,
        ),
        (
            "when_unavailable = \"least-bad\"",
            StatusCode::OK,
            Some("from primary"),
        ),
    ] {
        let gateway = Running::start(&two(primary.addr, backup.addr, more)).await;
        post(
            &gateway,
            BREAKER,
            json!({"state": "open", "for_ms": 60_000}),
        )
        .await;
        let path = BREAKER.replace("primary", "backup");
        post(&gateway, &path, json!({"state": "open", "for_ms": 300})).await;
        let begun = Instant::now();
        let answer = gateway.chat("chat").await;
        assert_eq!(answer.status, status, "{more}: {}", answer.text);
        match says {
            Some(says) => assert_eq!(answer.says(), says, "{more}"),
            // The sooner of the two, in whole seconds.
            None => assert_eq!(answer.header("retry-after"), Some("1"), "{more}"),
        }
        let waited = begun.elapsed() > Duration::from_millis(200);
        assert_eq!(waited, says == Some("from backup"), "{more}");
    }
}
