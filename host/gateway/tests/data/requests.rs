//! Requests that are wrong get an envelope that says so.

use crate::fallback::two;
use crate::kit::{Model, Running, Says, chat};
use bytes::Bytes;
use http::StatusCode;
use http_body_util::{BodyExt, Full};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

async fn gateway() -> Running {
    let model = Model::start(Says::Text("hello")).await;
    Running::start(&two(model.addr, model.addr, "")).await
}

#[tokio::test]
async fn what_is_no_request_is_refused_with_an_envelope() {
    let gateway = gateway().await;
    for body in ["", "{", "[1]", "{\"model\":\"chat\",", "\u{0}"] {
        let answer = gateway.post_with("/v1/chat/completions", &[], body).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{body:?}");
        answer.code();
    }
    let answer = gateway
        .post("/v1/chat/completions", json!({"messages": []}))
        .await;
    assert_eq!(answer.status, StatusCode::BAD_REQUEST);
    assert_eq!(answer.json()["error"]["param"], "model");
}

#[tokio::test]
async fn an_unknown_route_is_answered_with_near_names() {
    let gateway = gateway().await;
    let answer = gateway.chat("chta").await;
    assert_eq!(answer.status, StatusCode::NOT_FOUND);
    assert_eq!(answer.code(), "model_not_found");
    let message = answer.json()["error"]["message"].to_string();
    assert!(message.contains("`chat`"), "{message}");

    let answer = gateway.post("/v1/predict/chat", json!({})).await;
    assert_eq!(answer.code(), "wrong_path_for_route");
    let answer = gateway.post("/v1/predict/nothing-like-it", json!({})).await;
    assert_eq!(answer.status, StatusCode::NOT_FOUND);
    let answer = gateway.get("/v1/chat/completions").await;
    assert_eq!(answer.status, StatusCode::METHOD_NOT_ALLOWED);
    assert_eq!(answer.header("allow"), Some("POST"));
    assert_eq!(gateway.get("/nowhere").await.code(), "not_found");
}

#[tokio::test]
async fn routes_are_listed_as_models() {
    let gateway = gateway().await;
    let list = gateway.get("/v1/models").await.json();
    assert_eq!(list["object"], "list");
    assert_eq!(list["data"][0]["id"], "chat");
    assert_eq!(
        gateway.get("/v1/models/chat").await.json()["object"],
        "model"
    );
    assert_eq!(
        gateway.get("/v1/models/x").await.status,
        StatusCode::NOT_FOUND
    );
}

#[tokio::test]
async fn a_body_of_100_mb_is_refused_before_it_has_been_sent() {
    const BYTES: usize = 100 << 20;
    let gateway = gateway().await;
    for (head, pieces_first) in [
        (format!("content-length: {BYTES}"), 0),
        ("transfer-encoding: chunked".to_owned(), 2),
    ] {
        let mut socket = tokio::net::TcpStream::connect(gateway.addr).await.unwrap();
        let chunked = head.contains("chunked");
        let head = format!("POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\n{head}\r\n\r\n");
        socket.write_all(head.as_bytes()).await.unwrap();
        let mut piece = Vec::new();
        if chunked {
            piece.extend_from_slice(b"100000\r\n");
        }
        piece.extend_from_slice(&[b' '; 1 << 20]);
        if chunked {
            piece.extend_from_slice(b"\r\n");
        }
        for _ in 0..pieces_first {
            socket.write_all(&piece).await.unwrap();
        }
        // The answer is there while most of the body is not.
        let mut answer = vec![0; 4096];
        let length = socket.read(&mut answer).await.unwrap();
        let answer = String::from_utf8_lossy(&answer[..length]).into_owned();
        assert!(answer.starts_with("HTTP/1.1 413"), "{answer}");
        assert!(answer.contains("request_too_large"), "{answer}");
        // A caller that goes on sending all the same is not cut off at once.
        for _ in 0..16 {
            socket.write_all(&piece).await.unwrap();
        }
    }
    assert_eq!(gateway.chat("chat").await.says(), "hello");
}

#[tokio::test]
async fn a_body_at_the_limit_passes_and_one_byte_more_does_not() {
    let gateway = gateway().await;
    for (more, status) in [(0, StatusCode::OK), (1, StatusCode::PAYLOAD_TOO_LARGE)] {
        let mut body = chat("chat", false).to_string();
        body.push_str(&" ".repeat((1 << 20) + more - body.len()));
        let answer = gateway.post_with("/v1/chat/completions", &[], body).await;
        assert_eq!(answer.status, status, "{more}");
    }
}

#[tokio::test]
async fn large_bodies_on_one_connection_are_all_answered() {
    let gateway = gateway().await;
    let mut body = chat("chat", false).to_string();
    body.push_str(&" ".repeat(300 << 10));
    let socket = tokio::net::TcpStream::connect(gateway.addr).await.unwrap();
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(hyper_util::rt::TokioIo::new(socket))
            .await
            .unwrap();
    tokio::spawn(connection);
    // Reads grow with what came before, so that later bodies come in large pieces.
    for sent in 0..5 {
        let request = http::Request::post("/v1/chat/completions")
            .header("host", "x")
            .body(Full::new(Bytes::from(body.clone())))
            .unwrap();
        sender.ready().await.unwrap();
        let answer = sender.send_request(request).await;
        let answer = answer.unwrap_or_else(|error| panic!("request {sent}: {error}"));
        assert_eq!(answer.status(), StatusCode::OK, "request {sent}");
        answer.into_body().collect().await.unwrap();
    }
}

#[tokio::test]
async fn every_answer_has_an_id_and_the_callers_own_where_it_gave_one() {
    let gateway = gateway().await;
    let headers = [("x-request-id", "mine-7")];
    for route in ["chat", "nowhere"] {
        let body = chat(route, false).to_string();
        let answer = gateway
            .post_with("/v1/chat/completions", &[], body.clone())
            .await;
        let ours = answer.header("x-backstop-request").unwrap();
        assert_eq!(answer.header("x-request-id"), Some(ours), "{route}");
        if route == "chat" {
            let answer = gateway
                .post_with("/v1/chat/completions", &headers, body)
                .await;
            assert_eq!(answer.header("x-request-id"), Some("mine-7"));
        }
    }
}
