//! Calls beyond the first: repeated within a budget and the caller's
//! deadline, never where that would be wrong, and handed to the right model.

use crate::fallback::two;
use crate::kit::{Model, Running, Says, chat, config};
use backstop_core::fault::FailureClasses;
use backstop_core::plan::Action;
use http::StatusCode;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::Semaphore;

/// A primary that says this and a backup that answers, under one route.
async fn primary_says(says: Says, more: &str) -> (Model, Model, Running) {
    let primary = Model::start(says).await;
    let backup = Model::start(Says::Text("from backup")).await;
    let gateway = Running::start(&two(primary.addr, backup.addr, more)).await;
    (primary, backup, gateway)
}

#[tokio::test]
async fn an_outage_is_not_multiplied_beyond_the_budget() {
    let none = "retry = { retries = 3, backoff_ms = 1, budget_percent = 0, budget_per_s_min = 0 }";
    let (primary, _backup, gateway) = primary_says(Says::Status(500, None), none).await;
    assert_eq!(gateway.chat("chat").await.says(), "from backup");
    assert_eq!(primary.calls(), 1, "nothing is repeated without a budget");

    let (primary, _backup, gateway) = primary_says(
        Says::Status(500, None),
        "retry = { retries = 3, backoff_ms = 1, budget_percent = 50, budget_per_s_min = 0 }",
    )
    .await;
    for _ in 0..2 {
        assert_eq!(gateway.chat("chat").await.says(), "from backup");
    }
    assert_eq!(primary.calls(), 3, "half a repetition for each request");
}

#[tokio::test]
async fn each_class_is_repeated_as_often_as_the_route_says() {
    let more = "retry = { retries = 3, backoff_ms = 1, classes = { overload = 1, malformed = 2 } }";
    for (says, calls) in [
        (Says::Status(503, None), 2),
        (Says::Html, 3),
        (Says::Status(400, None), 1),
    ] {
        let (primary, _backup, gateway) = primary_says(says.clone(), more).await;
        gateway.chat("chat").await;
        assert_eq!(primary.calls(), calls, "{says:?}");
    }
}

#[tokio::test]
async fn what_a_model_may_have_acted_on_is_repeated_only_where_that_is_harmless() {
    for (idempotent, says, calls) in [
        (true, Says::Status(500, None), 3),
        (true, Says::Reset, 3),
        (false, Says::Status(500, None), 1),
        (false, Says::Reset, 1),
        // Turned away, so nothing was done.
        (false, Says::Status(503, None), 3),
        (false, Says::Status(429, None), 3),
    ] {
        let more = format!("idempotent = {idempotent}\nretry = {{ retries = 2, backoff_ms = 1 }}");
        let (primary, _backup, gateway) = primary_says(says.clone(), &more).await;
        assert_eq!(gateway.chat("chat").await.says(), "from backup");
        assert_eq!(primary.calls(), calls, "{idempotent} {says:?}");
    }
}

const TOO_LONG: &str = r#"{"error":{"message":"too many tokens","type":"invalid_request_error","param":"messages","code":"context_length_exceeded"}}"#;

#[tokio::test]
async fn a_request_that_is_too_long_goes_on_to_models_with_more_room() {
    let small = Model::start(Says::Error(400, TOO_LONG)).await;
    let same = Model::start(Says::Text("from same")).await;
    let large = Model::start(Says::Text("from large")).await;
    let text = |last: &str| {
        let mut text = String::new();
        for (name, addr, tokens) in [
            ("small", small.addr, 8_000),
            ("same", same.addr, 8_000),
            ("large", large.addr, 128_000),
        ] {
            text.push_str(&format!(
                "[providers.{name}]\nkind = \"openai\"\nbase_url = \"http://{addr}/v1\"\n\
                 [models.{name}]\nprovider = \"{name}\"\ncontext_tokens = {tokens}\n"
            ));
        }
        text + &format!("[routes.chat]\nkind = \"chat\"\nmodels = [\"small\", \"same\"{last}]\n")
    };
    let gateway = Running::start(&text(", \"large\"")).await;
    let answer = gateway.chat("chat").await;
    assert_eq!(answer.says(), "from large");
    assert_eq!((small.calls(), same.calls(), large.calls()), (1, 0, 1));

    // Without one the caller reads what the provider wrote.
    let gateway = Running::start(&text("")).await;
    let answer = gateway.chat("chat").await;
    assert_eq!(answer.status, StatusCode::BAD_REQUEST);
    assert_eq!(answer.text, TOO_LONG);
    assert_eq!((small.calls(), same.calls()), (2, 0));
}

#[tokio::test]
async fn declined_content_goes_to_another_model_only_where_the_route_allows_it() {
    const DECLINED: &str = r#"{"error":{"message":"no","type":"invalid_request_error","param":null,"code":"content_policy_violation"}}"#;
    for allowed in [false, true] {
        let more = format!("route_round_refusals = {allowed}");
        let (primary, backup, gateway) = primary_says(Says::Error(400, DECLINED), &more).await;
        // As a policy would have it.
        let text = two(primary.addr, backup.addr, &more);
        let mut config = config(&text, Path::new("/nowhere"));
        for route in config.routes.values_mut() {
            let plan = &mut Arc::make_mut(route).default_plan;
            for step in &mut Arc::make_mut(plan).steps {
                if let Action::Call(call) = &mut step.action {
                    call.move_on = FailureClasses::ALL;
                }
            }
        }
        gateway.gateway.apply(config).await.unwrap();
        let answer = gateway.chat("chat").await;
        if allowed {
            assert_eq!(answer.says(), "from backup");
        } else {
            assert_eq!(answer.text, DECLINED);
            assert_eq!(backup.calls(), 0);
        }
    }
}

#[tokio::test]
async fn an_answer_begins_before_the_callers_deadline_or_the_caller_is_told() {
    let (_primary, backup, gateway) = primary_says(Says::Hang, "").await;
    backup.say(Says::Hang);
    for (header, value) in [
        ("x-backstop-timeout-ms", "120"),
        ("x-stainless-read-timeout", "0.12"),
    ] {
        let begun = Instant::now();
        let body = chat("chat", false).to_string();
        let headers = [(header, value)];
        let answer = gateway
            .post_with("/v1/chat/completions", &headers, body)
            .await;
        assert_eq!(
            answer.status,
            StatusCode::GATEWAY_TIMEOUT,
            "{}",
            answer.text
        );
        let took = begun.elapsed();
        assert!(took >= Duration::from_millis(110), "{took:?}");
        assert!(
            took < Duration::from_millis(290),
            "{took:?}: both had their turn"
        );
    }
    // A route's own deadline cannot be lengthened.
    let more = "deadline_ms = 120";
    let (_primary, _backup, gateway) = primary_says(Says::Hang, more).await;
    let body = chat("chat", false).to_string();
    let headers = [("x-backstop-timeout-ms", "60000")];
    let answer = gateway
        .post_with("/v1/chat/completions", &headers, body)
        .await;
    assert_eq!(answer.status, StatusCode::GATEWAY_TIMEOUT);
}

#[tokio::test]
async fn a_wait_that_does_not_fit_the_deadline_is_not_begun() {
    let more = "retry = { retries = 1, retry_after_ms_max = 60000 }\ndeadline_ms = 900";
    let (primary, _backup, gateway) = primary_says(Says::Status(429, Some(1)), more).await;
    let begun = Instant::now();
    assert_eq!(gateway.chat("chat").await.says(), "from backup");
    assert!(begun.elapsed() < Duration::from_millis(700));
    assert_eq!(primary.calls(), 1);
}

#[tokio::test]
async fn a_slow_stream_that_goes_on_is_not_killed() {
    // 600 ms of tokens, more than `timeout_ms`.
    let says = Says::Stream(&["a"; 120], None);
    let (_primary, backup, gateway) = primary_says(says, "").await;
    let answer = gateway.chat_stream("chat").await;
    assert_eq!(answer.text.matches("\"content\":\"a\"").count(), 120);
    assert!(answer.text.ends_with("data: [DONE]\n\n"));
    assert_eq!(backup.calls(), 0);
}

#[tokio::test]
async fn a_hedge_is_made_within_its_budget() {
    let gate = Arc::new(Semaphore::new(0));
    let slow = Says::Stream(&["a"], Some(gate));
    for budget in [1_000, 0] {
        let more =
            format!("hedge = {{ after_ms = 20, budget_percent = {budget}, budget_per_s_min = 0 }}");
        let (primary, backup, gateway) = primary_says(slow.clone(), &more).await;
        backup.say(Says::Stream(&["x"], None));
        let begun = Instant::now();
        let answer = gateway.chat_stream("chat").await;
        assert!(answer.text.contains("\"content\":\"x\""), "{}", answer.text);
        assert_eq!((primary.calls(), backup.calls()), (1, 1));
        // Without a budget the backup is asked when the primary has failed,
        // which takes it 300 ms.
        let at_once = begun.elapsed() < Duration::from_millis(250);
        assert_eq!(at_once, budget > 0, "{:?}", begun.elapsed());
    }
}
