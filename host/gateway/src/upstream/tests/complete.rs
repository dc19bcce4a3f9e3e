//! Whole answers, and every way in which there is none.

use super::server::{Beat, Server, chunk, end, head, respond, say};
use super::*;
use FailureClass as F;
use backstop_core::fault::FailureClass;
use backstop_core::input::FinishReason;
use tokio::time::Instant;

const ANSWER: &str = r#"{"id":"1","model":"gpt-up-1","choices":[{"index":0,"message":{"role":"assistant","content":"hi"},"finish_reason":"stop","logprobs":{"content":[{"token":"hi","logprob":-0.6931471805599453}]}}],"usage":{"total_tokens":4}}"#;
const JSON: &str = "content-type: application/json\r\n";

async fn fail(script: Vec<Beat>, timeouts: Timeouts) -> Failure {
    let server = Server::always(script).await;
    let upstream = Upstream::new();
    let target = chat_target(&upstream, &server.url());
    upstream
        .call(chat(&target, false, timeouts))
        .await
        .unwrap_err()
}

#[tokio::test]
async fn a_whole_answer_is_handed_over_untouched() {
    let headers = "content-type: application/json\r\nx-request-id: r-1\r\nset-cookie: a=b\r\n";
    let server = Server::always(respond("200 OK", headers, ANSWER)).await;
    let upstream = Upstream::new();
    let target = chat_target(&upstream, &server.url());
    let reply = upstream.call(chat(&target, false, patient())).await;
    let complete = complete(reply.unwrap());
    assert_eq!(complete.body, ANSWER);
    assert_eq!(complete.status, 200);
    assert_eq!(complete.headers["x-request-id"], "r-1");
    assert_eq!(complete.headers.len(), 2);
    assert!((complete.facts.confidence.unwrap() - 0.5).abs() < 1e-9);
    assert_eq!(complete.facts.finish_reason, Some(FinishReason::Stop));
    assert_eq!(complete.facts.served_model.as_deref(), Some("gpt-up-1"));
    assert_eq!(complete.facts.usage.unwrap().total_tokens, 4);
}

#[tokio::test]
async fn the_upstream_gets_the_callers_body_with_its_own_models_name() {
    let server = Server::always(respond("200 OK", JSON, ANSWER)).await;
    let upstream = Upstream::new();
    let target = chat_target(&upstream, &server.url());
    upstream
        .call(chat(&target, false, patient()))
        .await
        .unwrap();
    let seen = &server.requests()[0];
    assert!(
        seen.head
            .starts_with("POST /v1/chat/completions HTTP/1.1\r\n"),
        "{}",
        seen.head
    );
    assert!(seen.head.contains("\r\nauthorization: Bearer sk-test"));
    assert!(seen.head.contains("\r\nhost: 127.0.0.1:"));
    assert!(seen.head.contains("\r\nx-team: blue"));
    assert!(seen.head.contains("\r\ncontent-type: application/json"));
    assert_eq!(
        seen.body,
        r#"{"logprobs":true,"model": "gpt-up", "stream":false, "messages":[], "x": 1.50}"#
    );
}

#[tokio::test]
async fn a_json_model_gets_the_body_as_it_is() {
    let server = Server::always(respond("201 Created", JSON, r#"{"p":0.25}"#)).await;
    let upstream = Upstream::new();
    let target = json_target(&upstream, &server.url());
    let complete = complete(upstream.call(json(&target, patient())).await.unwrap());
    assert_eq!(complete.status, 201);
    assert_eq!(complete.facts.confidence, Some(0.25));
    let seen = &server.requests()[0];
    assert!(seen.head.starts_with("POST /v1/score HTTP/1.1\r\n"));
    assert_eq!(seen.body, r#"{"amount":3}"#);
}

#[tokio::test]
async fn a_body_in_many_pieces_is_put_together() {
    let mut script = vec![head("application/json")];
    script.extend(ANSWER.as_bytes().chunks(7).flat_map(|piece| {
        [
            chunk(std::str::from_utf8(piece).unwrap()),
            Beat::Wait(Duration::from_millis(1)),
        ]
    }));
    script.push(end());
    let server = Server::always(script).await;
    let upstream = Upstream::new();
    let target = chat_target(&upstream, &server.url());
    let reply = upstream.call(chat(&target, false, patient())).await;
    assert_eq!(complete(reply.unwrap()).body, ANSWER);
}

#[tokio::test]
async fn statuses_are_attributed() {
    let full = r#"{"error":{"message":"m","type":"invalid_request_error","param":"messages","code":"context_length_exceeded"}}"#;
    for (status, body, class) in [
        ("400 Bad Request", "{}", F::ClientFault),
        ("400 Bad Request", full, F::ContextLength),
        ("401 Unauthorized", "{}", F::Auth),
        ("404 Not Found", "{}", F::ServerError),
        ("429 Too Many Requests", "{}", F::RateLimit),
        ("500 Oops", "<html>", F::ServerError),
        ("503 Busy", "", F::Overload),
        ("529 Busy", "", F::Overload),
        ("302 Found", "", F::Malformed),
        ("200 OK", "<html><body>hi</body></html>", F::Malformed),
        ("200 OK", r#"{"choices":[{"message":"#, F::Malformed),
        ("200 OK", r#"{"object":"list"}"#, F::Malformed),
        ("200 OK", "", F::Malformed),
        (
            "200 OK",
            r#"{"error":{"message":"x","code":429}}"#,
            F::RateLimit,
        ),
    ] {
        let failure = fail(respond(status, "retry-after: 7\r\n", body), patient()).await;
        assert_eq!(failure.class, class, "{status} {body}: {failure}");
        assert_eq!(failure.status.unwrap().as_str(), &status[..3]);
        let waits = matches!(&status[..3], "429" | "500" | "503" | "529");
        assert_eq!(
            failure.retry_after,
            waits.then_some(Duration::from_secs(7)),
            "{status}"
        );
        assert_eq!(failure.relay.is_some(), &status[..3] == "400");
    }
}

#[tokio::test]
async fn a_clients_fault_comes_back_verbatim() {
    let body = "{ \"error\": {\"message\":\"bad temperature\", \"extra\": 1.0} }";
    let failure = fail(respond("422 Unprocessable", JSON, body), patient()).await;
    let relay = failure.relay.unwrap();
    assert_eq!(relay.status, 422);
    assert_eq!(relay.body, body);
    assert_eq!(relay.headers["content-type"], "application/json");
}

#[tokio::test]
async fn broken_exchanges_are_attributed() {
    let short = "HTTP/1.1 200 OK\r\ncontent-length: 5000\r\n\r\n{\"choices\":";
    for (name, script, class) in [
        ("resets before the head", vec![Beat::Reset], F::Connection),
        ("closes before the head", vec![Beat::Close], F::Connection),
        (
            "closes within the head",
            vec![say("HTTP/1.1 200 O"), Beat::Close],
            F::Connection,
        ),
        (
            "speaks no HTTP",
            vec![say("220 smtp ready\r\n"), Beat::Hang],
            F::Malformed,
        ),
        (
            "body shorter than announced",
            vec![say(short), Beat::Close],
            F::CutStream,
        ),
        (
            "resets within the body",
            vec![say(short), Beat::Wait(SHORT), Beat::Reset],
            F::CutStream,
        ),
        (
            "chunks end early",
            vec![head("application/json"), chunk("{"), Beat::Close],
            F::CutStream,
        ),
    ] {
        let failure = fail(script, patient()).await;
        assert_eq!(failure.class, class, "{name}: {failure}");
    }
}

#[tokio::test]
async fn each_wait_has_its_own_timeout() {
    let short = Timeouts {
        total: LONG,
        ..patient()
    };
    let first = Timeouts {
        first_token: SHORT,
        ..short
    };
    let idle = Timeouts {
        idle: SHORT,
        ..short
    };
    let total = Timeouts {
        total: SHORT * 3,
        ..short
    };
    let mut drip = vec![head("application/json")];
    drip.extend((0..100).flat_map(|_| [chunk(" "), Beat::Wait(SHORT / 2)]));
    let silent = vec![Beat::Hang];
    let head_only = vec![head("application/json"), Beat::Hang];
    for (name, script, timeouts, class) in [
        ("silence", silent.clone(), first, F::TimeoutFirstToken),
        (
            "silence, total first",
            silent,
            Timeouts {
                first_token: LONG,
                ..total
            },
            F::TimeoutTotal,
        ),
        ("head, then silence", head_only, idle, F::TimeoutIdle),
        (
            "drip within idle",
            drip,
            Timeouts {
                idle: SHORT * 2,
                ..total
            },
            F::TimeoutTotal,
        ),
    ] {
        let started = Instant::now();
        let failure = fail(script, timeouts).await;
        assert_eq!(failure.class, class, "{name}: {failure}");
        assert!(
            started.elapsed() < LONG / 2,
            "{name} took {:?}",
            started.elapsed()
        );
    }
}

#[tokio::test]
async fn an_answer_that_is_too_long_is_given_up() {
    let long = format!("{{\"x\":\"{}\"}}", "a".repeat(70_000));
    let announced = fail(respond("200 OK", JSON, &long), patient()).await;
    assert_eq!(announced.class, F::Malformed);
    let mut script = vec![head("application/json")];
    script.extend((0..10_000).map(|_| chunk(&"a".repeat(1000))));
    let endless = fail(script, patient()).await;
    assert_eq!(endless.class, F::Malformed);
    assert!(
        endless.detail.contains("longer than 65536 bytes"),
        "{endless}"
    );
}

#[tokio::test]
async fn an_error_whose_body_never_ends_does_not_hold_up_the_plan() {
    let started = Instant::now();
    let script = vec![
        say("HTTP/1.1 503 Busy\r\ncontent-length: 99\r\n\r\n{"),
        Beat::Hang,
    ];
    let failure = fail(script, patient()).await;
    assert_eq!(failure.class, F::Overload);
    assert!(started.elapsed() < LONG / 2);
}
