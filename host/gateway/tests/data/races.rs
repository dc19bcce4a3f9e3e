//! Races and hedges: the first good answer wins, the others are cancelled and
//! count against nobody.

use crate::fallback::two;
use crate::kit::{Model, Running, Says, config};
use backstop_core::fault::FailureClasses;
use backstop_core::plan::{Action, CallStep, Plan, RaceStep, Step};
use http::StatusCode;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A gateway whose route races primary and backup.
async fn racing(primary: &Model, backup: &Model, stagger_ms: u32) -> Running {
    let text = two(
        primary.addr,
        backup.addr,
        "hedge = { budget_percent = 1000 }",
    );
    let gateway = Running::start(&text).await;
    let call = |model: &str| CallStep {
        model: model.into(),
        timeout_ms: 2_000,
        first_token_ms: 2_000,
        retries: 0,
        move_on: FailureClasses::MODEL_FAULTS,
    };
    let mut config = config(&text, Path::new("/nowhere"));
    for route in config.routes.values_mut() {
        Arc::make_mut(route).default_plan = Arc::new(Plan::from(vec![Step {
            action: Action::Race(RaceStep {
                calls: vec![call("primary"), call("backup")],
                stagger_ms,
            }),
            reason: "test".to_owned(),
        }]));
    }
    gateway.gateway.apply(config).await.unwrap();
    gateway
}

#[tokio::test]
async fn the_first_good_answer_wins_and_losers_count_against_nobody() {
    let primary = Model::start(Says::Hang).await;
    let backup = Model::start(Says::Text("from backup")).await;
    let gateway = racing(&primary, &backup, 0).await;
    for _ in 0..6 {
        let answer = gateway.chat("chat").await;
        assert_eq!(answer.says(), "from backup");
        assert_eq!(answer.header("x-backstop-model"), Some("backup"));
        assert_eq!(answer.header("x-backstop-attempts"), Some("2"));
    }
    // Six cancelled calls: were they failures, the breaker would be open.
    primary.say(Says::Text("from primary"));
    backup.say(Says::Hang);
    assert_eq!(gateway.chat("chat").await.says(), "from primary");
}

#[tokio::test]
async fn a_hedge_waits_for_its_turn_and_is_hurried_by_a_failure() {
    let primary = Model::start(Says::Text("from primary")).await;
    let backup = Model::start(Says::Text("from backup")).await;
    let gateway = racing(&primary, &backup, 1_500).await;
    assert_eq!(gateway.chat("chat").await.says(), "from primary");
    assert_eq!(backup.calls(), 0, "not needed, not called");

    primary.say(Says::Status(500, None));
    let begun = Instant::now();
    assert_eq!(gateway.chat("chat").await.says(), "from backup");
    assert!(begun.elapsed() < Duration::from_millis(1_200), "hurried");
}

#[tokio::test]
async fn a_slow_model_is_hedged_after_the_stagger() {
    let primary = Model::start(Says::Hang).await;
    let backup = Model::start(Says::Stream(&["x"], None)).await;
    let gateway = racing(&primary, &backup, 200).await;
    let begun = Instant::now();
    let answer = gateway.chat_stream("chat").await;
    assert_eq!(answer.header("x-backstop-model"), Some("backup"));
    assert!(begun.elapsed() >= Duration::from_millis(195));
}

#[tokio::test]
async fn a_race_that_everybody_loses_is_told_honestly() {
    let primary = Model::start(Says::Status(500, None)).await;
    let backup = Model::start(Says::Html).await;
    let gateway = racing(&primary, &backup, 0).await;
    let answer = gateway.chat("chat").await;
    assert_eq!(answer.status, StatusCode::BAD_GATEWAY);
    assert_eq!(answer.header("x-backstop-attempts"), Some("2"));
}
