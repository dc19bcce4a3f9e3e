//! Who is shed when a model is asked for more than it can do.

use crate::fallback::two;
use crate::kit::{Model, Running, Says, chat, until};
use crate::limits::{ask, load};
use http::StatusCode;
use std::sync::Arc;
use std::time::Duration;

/// A `chat` route that is critical, and two that are not, of which one has a
/// model more.
fn tiers(primary: &Model, backup: &Model) -> String {
    let more = r#"
        priority = "critical"
        [routes.batch]
        kind = "chat"
        models = ["primary"]
        priority = "sheddable"
        retry = { retries = 0 }
        [routes.batch-elsewhere]
        kind = "chat"
        models = ["primary", "backup"]
        priority = "sheddable"
        retry = { retries = 0 }
        "#;
    two(primary.addr, backup.addr, more)
        .replacen(
            "models = [\"primary\", \"backup\"]",
            "models = [\"primary\"]",
            1,
        )
        .replace("_ms = 400", "_ms = 20000")
        .replace("_ms = 300", "_ms = 20000")
        .replace(
            "[models.backup]",
            "[models.primary.limit]\nmax = 2\nqueue = 6\nqueue_ms = 10000\n[models.backup]",
        )
}

#[tokio::test]
async fn an_overload_is_shed_from_the_cheapest_tier() {
    let primary = Model::start(Says::Stream(&["a"], None)).await;
    let backup = Model::start(Says::Stream(&["b"], None)).await;
    let gateway = Arc::new(Running::start(&tiers(&primary, &backup)).await);
    let flood: Vec<_> = (0..24)
        .map(|position| {
            let gateway = gateway.clone();
            let route = ["batch", "batch-elsewhere"][position % 2];
            tokio::spawn(async move {
                let caller = format!("cheap-{position}");
                let mut answers = Vec::new();
                for _ in 0..20 {
                    let body = chat(route, true).to_string();
                    let headers = [("x-backstop-key", caller.as_str())];
                    let path = "/v1/chat/completions";
                    let answer = gateway.post_with(path, &headers, body).await;
                    if answer.status != StatusCode::OK {
                        // Nobody comes again at once, nor for a second here.
                        tokio::time::sleep(Duration::from_millis(5)).await;
                    }
                    answers.push((route, answer));
                }
                answers
            })
        })
        .collect();
    until("the primary is overloaded", async || {
        load(&gateway).await["queued"] != 0
    })
    .await;
    let critical: Vec<_> = (0..4)
        .map(|_| {
            let gateway = gateway.clone();
            tokio::spawn(async move {
                for _ in 0..10 {
                    let answer = gateway.chat_stream("chat").await;
                    assert_eq!(answer.status, StatusCode::OK, "shed: {}", answer.text);
                }
            })
        })
        .collect();
    for caller in critical {
        caller.await.unwrap();
    }
    let (mut shed, mut elsewhere) = (0, 0);
    for caller in flood {
        for (route, answer) in caller.await.unwrap() {
            match (route, answer.status.as_u16()) {
                ("batch", 429 | 503) => {
                    assert_eq!(answer.header("retry-after"), Some("1"));
                    shed += 1;
                }
                (_, 200) if answer.header("x-backstop-model") == Some("backup") => elsewhere += 1,
                (_, status) => assert_eq!(status, 200, "{route}: {}", answer.text),
            }
        }
    }
    assert!(shed > 0, "some are told to come again");
    assert!(elsewhere > 0, "some are answered by the next step");
    let telemetry = gateway.gateway.telemetry();
    let metrics = telemetry.encode(&Default::default()).unwrap();
    let not_made = |priority: &str| {
        let lines = metrics.lines();
        lines
            .filter(|line| line.starts_with("backstop_calls_not_made_total{"))
            .any(|line| line.contains(&format!("priority=\"{priority}\"")))
    };
    assert!(not_made("sheddable") && !not_made("critical"), "{metrics}");
}

#[tokio::test]
async fn who_waits_gives_way_to_who_matters_more() {
    let primary = Model::start(Says::Hang).await;
    let backup = Model::start(Says::Stream(&["b"], None)).await;
    let text = tiers(&primary, &backup).replace("queue = 6", "queue = 1");
    let gateway = Arc::new(Running::start(&text).await);
    let under_way = [ask(&gateway, "one"), ask(&gateway, "two")];
    until("the primary is busy", async || primary.calls() == 2).await;
    let cheap = tokio::spawn({
        let gateway = gateway.clone();
        async move { gateway.chat_stream("batch").await }
    });
    until("the cheap one waits", async || {
        load(&gateway).await["queued"] == 1
    })
    .await;
    let critical = ask(&gateway, "three");
    let cheap = cheap.await.unwrap();
    assert_eq!(cheap.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(
        (cheap.code().as_str(), cheap.header("retry-after")),
        ("busy", Some("1"))
    );
    assert_eq!(load(&gateway).await["queued"], 1, "the critical one waits");
    // There is no room for one more of them: it moves on.
    let answer = gateway.chat_stream("batch-elsewhere").await;
    assert_eq!(answer.header("x-backstop-model"), Some("backup"));
    let telemetry = gateway.gateway.telemetry();
    let metrics = telemetry.encode(&Default::default()).unwrap();
    for (route, reason) in [
        ("batch", "queue-outranked"),
        ("batch-elsewhere", "queue-full"),
    ] {
        let line = format!(
            "backstop_calls_not_made_total{{route=\"{route}\",model=\"primary\",\
             reason=\"{reason}\",priority=\"sheddable\"}} 1"
        );
        assert!(metrics.contains(&line), "{line} is not in\n{metrics}");
    }
    for asked in under_way.into_iter().chain([critical]) {
        asked.abort();
    }
}
