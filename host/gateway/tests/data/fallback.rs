//! Models fail in every way; callers get an answer, or are told why not.

use crate::kit::{Model, Running, Says, until};
use http::StatusCode;
use serde_json::json;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// Two models, no policy, and no call repeated unless `more` says so.
pub(crate) fn two(primary: SocketAddr, backup: SocketAddr, more: &str) -> String {
    let retry = match more.contains("retry =") {
        true => "",
        false => "retry = { retries = 0 }",
    };
    format!(
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
        [models.primary.breaker]
        sliding_window_size = 30
        minimum_number_of_calls = 4
        wait_duration_in_open_state_ms = 300
        [models.backup]
        provider = "b"
        upstream_model = "small"
        [rules.sorry]
        text = "sorry"
        [routes.chat]
        kind = "chat"
        models = ["primary", "backup"]
        timeout_ms = 400
        first_token_ms = 300
        idle_ms = 300
        {retry}
        {more}
        "#
    )
}

#[tokio::test]
async fn the_backup_answers_when_the_primary_fails_in_any_way() {
    let primary = Model::start(Says::Text("from primary")).await;
    let backup = Model::start(Says::Text("from backup")).await;
    let gateway = Running::start(&two(primary.addr, backup.addr, "")).await;

    let answer = gateway.chat("chat").await;
    assert_eq!(answer.says(), "from primary");
    assert_eq!(answer.header("x-backstop-model"), Some("primary"));
    assert_eq!(answer.header("x-backstop-step"), Some("0"));
    assert_eq!(answer.header("x-backstop-attempts"), Some("1"));
    // Unknown fields pass in both directions; only the model's name changes.
    assert_eq!(primary.heard()["x_unknown"], json!(1.5));
    assert_eq!(primary.heard()["model"], "large");
    assert_eq!(answer.json()["x_unknown"]["kept"], true);
    assert_eq!(answer.json()["model"], "upstream-name");

    for says in [Says::Status(500, None), Says::Reset, Says::Html] {
        primary.say(says.clone());
        let answer = gateway.chat("chat").await;
        assert_eq!(answer.says(), "from backup", "{says:?}");
        assert_eq!(answer.header("x-backstop-model"), Some("backup"));
        assert_eq!(answer.header("x-backstop-step"), Some("1"));
        assert_eq!(answer.header("x-backstop-attempts"), Some("2"));
    }
}

#[tokio::test]
async fn a_model_that_hangs_is_given_up_in_time() {
    let primary = Model::start(Says::Hang).await;
    let backup = Model::start(Says::Text("from backup")).await;
    let gateway = Running::start(&two(primary.addr, backup.addr, "")).await;
    let begun = Instant::now();
    assert_eq!(gateway.chat("chat").await.says(), "from backup");
    let took = begun.elapsed();
    assert!(
        took > Duration::from_millis(250) && took < Duration::from_secs(3),
        "{took:?}"
    );
}

#[tokio::test]
async fn nobody_listens_at_the_primary() {
    let backup = Model::start(Says::Text("from backup")).await;
    let gateway = Running::start(&two(Model::refusing().await, backup.addr, "")).await;
    assert_eq!(gateway.chat("chat").await.says(), "from backup");
}

#[tokio::test]
async fn a_fault_of_the_client_is_relayed_and_counts_against_nobody() {
    let primary = Model::start(Says::Status(422, None)).await;
    let backup = Model::start(Says::Text("from backup")).await;
    let gateway = Running::start(&two(primary.addr, backup.addr, "")).await;
    for _ in 0..6 {
        let answer = gateway.chat("chat").await;
        assert_eq!(answer.status, StatusCode::UNPROCESSABLE_ENTITY);
        assert_eq!(answer.json()["error"]["message"], "no");
    }
    assert_eq!((primary.calls(), backup.calls()), (6, 0));
    primary.say(Says::Text("well again"));
    assert_eq!(gateway.chat("chat").await.says(), "well again");
}

#[tokio::test]
async fn when_everything_fails_the_caller_is_told_honestly() {
    let primary = Model::start(Says::Status(500, None)).await;
    let backup = Model::start(Says::Status(500, None)).await;
    let gateway = Running::start(&two(primary.addr, backup.addr, "")).await;
    for (says, status, code) in [
        (Says::Status(500, None), 502, "server-error"),
        (Says::Html, 502, "malformed"),
        (Says::Hang, 504, "timeout-first-token"),
        (Says::Status(503, Some(7)), 503, "overload"),
    ] {
        backup.say(says.clone());
        let answer = gateway.chat("chat").await;
        assert_eq!(answer.status.as_u16(), status, "{says:?}: {}", answer.text);
        assert_eq!(answer.code(), code, "{says:?}");
        if code == "overload" {
            assert_eq!(answer.header("retry-after"), Some("7"));
        }
    }
    // The provider asked for peace and gets it, and the caller hears when the
    // first of the models may be back.
    let calls = backup.calls();
    let answer = gateway.chat("chat").await;
    assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(answer.code(), "no_model_available");
    assert_eq!(answer.header("retry-after"), Some("1"));
    assert_eq!(backup.calls(), calls);
}

#[tokio::test]
async fn rules_answer_when_no_model_does() {
    let primary = Model::start(Says::Status(500, None)).await;
    let backup = Model::start(Says::Status(500, None)).await;
    let gateway = Running::start(&two(primary.addr, backup.addr, r#"rules = ["sorry"]"#)).await;
    let answer = gateway.chat("chat").await;
    assert_eq!(answer.status, StatusCode::OK);
    assert_eq!(answer.says(), "sorry");
    assert_eq!(answer.header("x-backstop-step"), Some("rules"));
    assert_eq!(answer.header("x-backstop-model"), None);
    assert_eq!(answer.header("x-backstop-attempts"), Some("2"));

    let answer = gateway.chat_stream("chat").await;
    assert!(
        answer.text.contains("\"content\":\"sorry\""),
        "{}",
        answer.text
    );
    assert!(answer.text.ends_with("data: [DONE]\n\n"));
}

#[tokio::test]
async fn a_review_is_on_disk_before_the_caller_hears_of_it_and_survives_a_restart() {
    let primary = Model::start(Says::Status(500, None)).await;
    let backup = Model::start(Says::Status(500, None)).await;
    let text = two(primary.addr, backup.addr, "review = true");
    let gateway = Running::start(&text).await;
    let answer = gateway.chat("chat").await;
    assert_eq!(answer.status, StatusCode::ACCEPTED);
    let body = answer.json();
    assert_eq!(
        (&body["object"], &body["status"]),
        (&json!("review"), &json!("pending"))
    );
    let id = answer.header("x-backstop-review").unwrap().to_owned();
    assert_eq!(body["id"], *id);
    assert_eq!(answer.header("x-backstop-step"), Some("review"));

    let (dir, _) = gateway.stop().await;
    let gateway = Running::start_in(&text, dir).await;
    let review = gateway.store.review(&id).await.unwrap().unwrap();
    assert_eq!(review.item.route, "chat");
    let request: serde_json::Value = serde_json::from_slice(&review.item.request).unwrap();
    assert_eq!(request["messages"][0]["content"], "hello");
}

#[tokio::test]
async fn a_breaker_opens_lets_trials_pass_and_closes_again() {
    let primary = Model::start(Says::Status(500, None)).await;
    let backup = Model::start(Says::Text("from backup")).await;
    let gateway = Running::start(&two(primary.addr, backup.addr, "")).await;
    for _ in 0..4 {
        gateway.chat("chat").await;
    }
    assert_eq!(primary.calls(), 4);
    for _ in 0..5 {
        let answer = gateway.chat("chat").await;
        assert_eq!(answer.says(), "from backup");
        assert_eq!(answer.header("x-backstop-attempts"), Some("1"));
    }
    assert_eq!(primary.calls(), 4, "an open breaker lets nothing pass");

    primary.say(Says::Text("well again"));
    until("trials pass and close the breaker", async || {
        gateway.chat("chat").await.says() == "well again"
    })
    .await;
    for _ in 0..20 {
        assert_eq!(gateway.chat("chat").await.says(), "well again");
    }
}

#[tokio::test]
async fn a_call_is_repeated_as_the_route_says() {
    let primary = Model::start(Says::Status(503, None)).await;
    let backup = Model::start(Says::Text("from backup")).await;
    let retry = "retry = { retries = 2, backoff_ms = 10 }";
    let gateway = Running::start(&two(primary.addr, backup.addr, retry)).await;
    let answer = gateway.chat("chat").await;
    assert_eq!(answer.says(), "from backup");
    assert_eq!(primary.calls(), 3);
    assert_eq!(answer.header("x-backstop-attempts"), Some("4"));
}

#[tokio::test]
async fn any_json_is_predicted() {
    let scoring = Model::start(Says::Json(json!({"score": 0.7}))).await;
    let gateway = Running::start(&format!(
        r#"
        [providers.scoring]
        kind = "json"
        base_url = "http://{}"
        [models.fraud]
        provider = "scoring"
        path = "/score"
        [rules.manual]
        json = {{ label = "manual" }}
        [routes.fraud-score]
        kind = "json"
        models = ["fraud"]
        rules = ["manual"]
        "#,
        scoring.addr
    ))
    .await;
    let answer = gateway
        .post("/v1/predict/fraud-score", json!([1, {"a": null}]))
        .await;
    assert_eq!(answer.json(), json!({"score": 0.7}));
    assert_eq!(answer.header("x-backstop-model"), Some("fraud"));
    assert_eq!(scoring.heard(), json!([1, {"a": null}]));

    scoring.say(Says::Reset);
    let answer = gateway.post("/v1/predict/fraud-score", json!({})).await;
    assert_eq!(answer.json(), json!({"label": "manual"}));
    assert_eq!(answer.header("x-backstop-step"), Some("rules"));
}
