//! Streams that pass as they come: they fall back only before their first
//! content, and never end as if they were complete when they are not. What
//! holding them back adds stands in `held`.

use crate::fallback::two;
use crate::kit::{Model, Running, Says, chat};
use http::Request;
use http_body_util::{BodyExt, Full};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Semaphore;

/// Passes what comes as it comes.
pub(crate) const AT_ONCE: &str = "stream = { hold = \"none\" }";

#[tokio::test]
async fn a_stream_passes_untouched() {
    let primary = Model::start(Says::Stream(&["a", "b", "c"], None)).await;
    let backup = Model::start(Says::Stream(&["x"], None)).await;
    let gateway = Running::start(&two(primary.addr, backup.addr, "")).await;
    let answer = gateway.chat_stream("chat").await;
    let kind = answer.header("content-type").unwrap();
    assert!(kind.starts_with("text/event-stream"), "{kind}");
    assert_eq!(answer.header("x-backstop-model"), Some("primary"));
    assert!(answer.whole);
    assert_eq!(answer.text.matches("chat.completion.chunk").count(), 4);
    assert!(answer.text.ends_with("data: [DONE]\n\n"));
    assert_eq!(backup.calls(), 0);
}

#[tokio::test]
async fn all_chunks_of_a_stream_have_the_first_id_time_and_model() {
    const VARIES: &str = "data: {\"id\":\"a\",\"created\":1,\"model\":\"m\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\"hi\"}}]}\n\n: ping\n\ndata: {\"created\":2,\"id\":\"b\",\"model\":\"n\",\"x\":1.50,\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}\n\ndata: [DONE]\n\n";
    let primary = Model::start(Says::Events(VARIES)).await;
    let gateway = Running::start(&two(primary.addr, primary.addr, AT_ONCE)).await;
    let answer = gateway.chat_stream("chat").await;
    let expected = VARIES.replace("\"id\":\"b\"", "\"id\":\"a\"");
    let expected = expected.replace("\"created\":2", "\"created\":1");
    let expected = expected.replace("\"model\":\"n\"", "\"model\":\"m\"");
    assert_eq!(answer.text, expected);
}

#[tokio::test]
async fn pieces_are_not_held_back() {
    let gate = Arc::new(Semaphore::new(1));
    let primary = Model::start(Says::Stream(&["a", "b"], Some(gate.clone()))).await;
    let gateway = Running::start(&two(primary.addr, primary.addr, AT_ONCE)).await;
    let request = Request::post(format!("http://{}/v1/chat/completions", gateway.addr))
        .body(Full::new(chat("chat", true).to_string().into()))
        .unwrap();
    let mut body = gateway.send(request).await.into_body();
    for token in ["a", "b"] {
        let frame = tokio::time::timeout(Duration::from_secs(2), body.frame())
            .await
            .expect("a piece is passed on before the next one exists");
        let data = frame.unwrap().unwrap().into_data().unwrap();
        let text = std::str::from_utf8(&data).unwrap();
        assert!(text.contains(&format!("\"content\":\"{token}\"")), "{text}");
        gate.add_permits(1);
    }
}

#[tokio::test]
async fn before_the_first_event_another_model_is_asked() {
    let primary = Model::start(Says::Status(500, None)).await;
    let backup = Model::start(Says::Stream(&["x"], None)).await;
    let gateway = Running::start(&two(primary.addr, backup.addr, "")).await;
    for says in [
        Says::Status(500, None),
        Says::Hang,
        Says::Reset,
        Says::CutStream(&[]),
    ] {
        primary.say(says.clone());
        let answer = gateway.chat_stream("chat").await;
        assert!(
            answer.text.contains("\"content\":\"x\""),
            "{says:?}: {}",
            answer.text
        );
        assert_eq!(answer.header("x-backstop-model"), Some("backup"));
    }
}

#[tokio::test]
async fn a_stream_that_breaks_off_ends_with_an_error_and_counts_when_it_ends() {
    let primary = Model::start(Says::CutStream(&["a", "b"])).await;
    let backup = Model::start(Says::Stream(&["x"], None)).await;
    let gateway = Running::start(&two(primary.addr, backup.addr, AT_ONCE)).await;
    for _ in 0..4 {
        let answer = gateway.chat_stream("chat").await;
        assert!(answer.text.contains("\"content\":\"b\""), "{}", answer.text);
        assert!(!answer.text.contains("[DONE]"), "{}", answer.text);
        let last = answer.text.trim_end().rsplit("data: ").next().unwrap();
        let error: serde_json::Value = serde_json::from_str(last).unwrap();
        assert_eq!(error["error"]["code"], "cut-stream", "{}", answer.text);
        assert!(!answer.text.contains("127.0.0.1"));
    }
    // Four cuts opened the breaker: nothing was counted when they began.
    let answer = gateway.chat_stream("chat").await;
    assert_eq!(answer.header("x-backstop-model"), Some("backup"));
    assert_eq!(primary.calls(), 4);
}

#[tokio::test]
async fn a_caller_that_hangs_up_cancels_the_call_and_counts_against_nobody() {
    let gate = Arc::new(Semaphore::new(1));
    let primary = Model::start(Says::Stream(&["a", "b"], Some(gate.clone()))).await;
    let backup = Model::start(Says::Stream(&["x"], None)).await;
    let gateway = Running::start(&two(primary.addr, backup.addr, AT_ONCE)).await;
    for _ in 0..6 {
        gate.add_permits(1);
        let request = Request::post(format!("http://{}/v1/chat/completions", gateway.addr))
            .body(Full::new(chat("chat", true).to_string().into()))
            .unwrap();
        let mut body = gateway.send(request).await.into_body();
        assert!(body.frame().await.is_some());
        drop(body);
        tokio::time::sleep(Duration::from_millis(30)).await;
    }
    primary.say(Says::Stream(&["well"], None));
    // At once: an open breaker would let a trial pass a little later.
    let answer = gateway.chat_stream("chat").await;
    assert_eq!(answer.header("x-backstop-model"), Some("primary"));
}
