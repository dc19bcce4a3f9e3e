//! Streams that are held back: what the caller has not seen is replaced, what
//! it has seen is never contradicted silently.

use crate::fallback::two;
use crate::kit::{Answer, Model, Running, Says, chat, until};
use backstop_gateway::store::ReviewFilter;
use http::{Request, StatusCode};
use http_body_util::{BodyExt, Full};
use serde_json::Value;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Semaphore;

/// The text of a stream, and whether it says that it is whole.
fn read(answer: &Answer) -> (String, bool) {
    let mut text = String::new();
    let mut finished = 0;
    for data in answer
        .text
        .split("\n\n")
        .filter_map(|event| event.strip_prefix("data: "))
        .filter(|data| *data != "[DONE]")
    {
        let chunk: Value = serde_json::from_str(data).unwrap();
        for choice in chunk["choices"].as_array().into_iter().flatten() {
            text.push_str(choice["delta"]["content"].as_str().unwrap_or_default());
            finished += usize::from(choice["finish_reason"] == "stop");
        }
    }
    let done = answer.text.ends_with("data: [DONE]\n\n");
    assert_eq!(finished, usize::from(done), "{}", answer.text);
    (text, done)
}

fn whole(text: &str) -> (String, bool) {
    (text.to_owned(), true)
}

#[tokio::test]
async fn a_cut_upstream_loses_no_answer_by_default() {
    let primary = Model::start(Says::CutStream(&["a", "b"])).await;
    let backup = Model::start(Says::Stream(&["x", "y"], None)).await;
    let gateway = Running::start(&two(primary.addr, backup.addr, "")).await;
    let gate = Arc::new(Semaphore::new(2));
    for says in [
        Says::CutStream(&["a", "b"]),
        // Stands still for longer than `idle_ms`.
        Says::Stream(&["a", "b", "c", "d"], Some(gate)),
    ] {
        primary.say(says);
        let answer = gateway.chat_stream("chat").await;
        assert_eq!(read(&answer), whole("xy"));
        assert_eq!(answer.header("x-backstop-model"), Some("backup"));
        assert_eq!(answer.header("x-backstop-attempts"), Some("2"));
    }
    primary.say(Says::Stream(&["a", "b"], None));
    let answer = gateway.chat_stream("chat").await;
    assert_eq!(read(&answer), whole("ab"), "and what is whole is delivered");
}

#[tokio::test]
async fn where_nobody_else_answers_the_caller_is_told_before_it_sees_anything() {
    let model = Model::start(Says::CutStream(&["a", "b"])).await;
    let gateway = Running::start(&two(model.addr, model.addr, "")).await;
    let answer = gateway.chat_stream("chat").await;
    assert_eq!(answer.status, StatusCode::BAD_GATEWAY);
    assert_eq!(answer.code(), "cut-stream");
}

#[tokio::test]
async fn what_is_held_is_cancelled_when_its_caller_hangs_up() {
    let gate = Arc::new(Semaphore::new(1));
    let primary = Model::start(Says::Stream(&["a", "b"], Some(gate.clone()))).await;
    let backup = Model::start(Says::Stream(&["x"], None)).await;
    let gateway = Running::start(&two(primary.addr, backup.addr, "")).await;
    let request = Request::post(format!("http://{}/v1/chat/completions", gateway.addr))
        .body(Full::new(chat("chat", true).to_string().into()))
        .unwrap();
    let asked = tokio::time::timeout(Duration::from_millis(100), gateway.send(request)).await;
    assert!(asked.is_err(), "nothing is sent before the answer is whole");
    primary.say(Says::Stream(&["well"], None));
    let answer = gateway.chat_stream("chat").await;
    assert_eq!(answer.header("x-backstop-model"), Some("primary"));
    assert_eq!(backup.calls(), 0);
}

const BEGIN: &str = "stream = { hold = \"begin\", hold_tokens = 2, hold_ms = 10000 }";

#[tokio::test]
async fn a_beginning_is_held_until_it_has_its_tokens_or_its_time() {
    let backup = Model::start(Says::Stream(&["x"], None)).await;
    let gate = Arc::new(Semaphore::new(2));
    let primary = Model::start(Says::Stream(&["a", "b", "c"], Some(gate.clone()))).await;
    let soon = BEGIN
        .replace("tokens = 2", "tokens = 100")
        .replace("10000", "100");
    for more in [BEGIN.to_owned(), soon] {
        primary.say(Says::Stream(&["a", "b", "c"], Some(gate.clone())));
        let gateway = Running::start(&two(primary.addr, backup.addr, &more)).await;
        let request = Request::post(format!("http://{}/v1/chat/completions", gateway.addr))
            .body(Full::new(chat("chat", true).to_string().into()))
            .unwrap();
        let mut body = gateway.send(request).await.into_body();
        let first = body.frame().await.unwrap().unwrap().into_data().unwrap();
        let first = std::str::from_utf8(&first).unwrap();
        assert_eq!(first.matches("\"content\"").count(), 2, "{first}");
        gate.add_permits(2);
        let rest = body.collect().await.unwrap().to_bytes();
        assert!(rest.ends_with(b"data: [DONE]\n\n"));
        gate.add_permits(2);
    }
    // A cut within the beginning is mended, one behind it is told.
    let gateway = Running::start(&two(primary.addr, backup.addr, BEGIN)).await;
    primary.say(Says::CutStream(&["a"]));
    assert_eq!(read(&gateway.chat_stream("chat").await), whole("x"));
    primary.say(Says::CutStream(&["a", "b", "c"]));
    let answer = gateway.chat_stream("chat").await;
    assert_eq!(read(&answer), ("abc".to_owned(), false));
    assert!(answer.text.contains("cut-stream"), "{}", answer.text);
}

#[tokio::test]
async fn a_stream_too_long_to_hold_passes() {
    let primary = Model::start(Says::CutStream(&["a"; 40])).await;
    let backup = Model::start(Says::Stream(&["x"], None)).await;
    let small = "stream = { hold_bytes_max = 2048 }";
    let gateway = Running::start(&two(primary.addr, backup.addr, small)).await;
    let answer = gateway.chat_stream("chat").await;
    assert_eq!(read(&answer), ("a".repeat(40), false));
}

const RESTART: &str =
    "stream = { hold = \"none\", after_cut = \"restart\", restart_text = \" (again) \" }";

#[tokio::test]
async fn a_route_may_start_an_answer_again_and_says_so() {
    let primary = Model::start(Says::CutStream(&["a", "b"])).await;
    let backup = Model::start(Says::Stream(&["x", "y"], None)).await;
    let more = format!("{RESTART}\nrules = [\"sorry\"]");
    let gateway = Running::start(&two(primary.addr, backup.addr, &more)).await;
    let answer = gateway.chat_stream("chat").await;
    assert_eq!(read(&answer), whole("ab (again) xy"));
    // One stream, as a client understands it.
    let ids: Vec<Value> = answer
        .text
        .split("\n\n")
        .filter_map(|event| serde_json::from_str(event.strip_prefix("data: ")?).ok())
        .map(|chunk: Value| chunk["id"].clone())
        .collect();
    assert!(ids.windows(2).all(|two| two[0] == two[1]), "{ids:?}");

    backup.say(Says::CutStream(&["x"]));
    let answer = gateway.chat_stream("chat").await;
    assert_eq!(read(&answer), whole("ab (again) x (again) sorry"));
    backup.say(Says::Status(500, None));
    assert_eq!(
        read(&gateway.chat_stream("chat").await),
        whole("ab (again) sorry")
    );

    // Where nothing is left, the caller is told.
    let gateway = Running::start(&two(primary.addr, backup.addr, RESTART)).await;
    let answer = gateway.chat_stream("chat").await;
    assert_eq!(read(&answer), ("ab".to_owned(), false));
    assert!(answer.text.contains("server-error"), "{}", answer.text);
}

/// Streams of two models, judged before their caller sees anything.
fn judged(stream: &str) -> String {
    format!(
        r#"
        {stream}
        review = true
        threshold = "confidence"
        [policies.confidence]
        component = "builtin:confidence-threshold"
        grants = {{ metrics = ["accuracy", "confidence", "escalation-rate", "review-rate"] }}
        [policies.confidence.settings]
        accept_at = 0.8
        review_below = 0.3
        "#
    )
}

#[tokio::test]
async fn a_held_stream_is_judged_before_its_caller_sees_it() {
    let primary = Model::start(Says::Sure(&["a", "b", "c"], 0.5)).await;
    let backup = Model::start(Says::Sure(&["x", "y", "z"], 0.9)).await;
    for stream in ["", BEGIN] {
        let gateway = Running::start(&two(primary.addr, backup.addr, &judged(stream))).await;
        primary.say(Says::Sure(&["a", "b", "c"], 0.5));
        let answer = gateway.chat_stream("chat").await;
        assert_eq!(read(&answer), whole("xyz"), "escalated");
        assert_eq!(answer.header("x-backstop-verdict"), Some("accept"));
        assert_eq!(answer.header("x-backstop-step"), Some("1"));

        primary.say(Says::Sure(&["a", "b", "c"], 0.95));
        assert_eq!(read(&gateway.chat_stream("chat").await), whole("abc"));

        primary.say(Says::Sure(&["a", "b", "c"], 0.1));
        let answer = gateway.chat_stream("chat").await;
        assert_eq!(answer.status, StatusCode::ACCEPTED, "{}", answer.text);
        let filter = ReviewFilter {
            limit: 10,
            ..ReviewFilter::default()
        };
        let reviews = gateway.store.reviews(filter).await.unwrap();
        assert_eq!(reviews.len(), 1);
        let seen = reviews[0].item.answer.as_deref().unwrap();
        assert!(seen.starts_with(b"ab"), "{seen:?}");
    }
    // The end of a stream whose beginning was accepted is judged once more.
    let gateway = Running::start(&two(primary.addr, backup.addr, &judged(BEGIN))).await;
    primary.say(Says::Sure(&["a", "b", "c"], 0.95));
    gateway.chat_stream("chat").await;
    until("both verdicts are recorded", async || {
        gateway.gateway.host().records().len() == 2
    })
    .await;
}

#[tokio::test]
async fn a_slow_beginning_is_escalated_before_its_caller_sees_it() {
    let primary = Model::start(Says::Stream(&["a"; 200], None)).await;
    let backup = Model::start(Says::Stream(&["x"], None)).await;
    let more = r#"
        stream = { hold = "begin", hold_tokens = 1000, hold_ms = 250 }
        threshold = "confidence"
        [policies.confidence]
        component = "builtin:confidence-threshold"
        settings = { without_confidence = "accept", tokens_per_second_min = 5000 }
        grants = { metrics = ["accuracy", "confidence"] }
        "#;
    let gateway = Running::start(&two(primary.addr, backup.addr, more)).await;
    let answer = gateway.chat_stream("chat").await;
    assert_eq!(read(&answer), whole("x"));
    assert_eq!(answer.header("x-backstop-step"), Some("1"));
}
