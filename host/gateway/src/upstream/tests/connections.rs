//! Connections: made, kept, found closed, refused, cancelled.

use super::server::{Beat, Server, chunk, end, head, respond};
use super::*;
use FailureClass as F;
use backstop_core::fault::FailureClass;
use tokio::net::{TcpListener, TcpSocket, TcpStream};

const ANSWER: &str = r#"{"p":0.5}"#;

fn ok() -> Vec<Beat> {
    respond("200 OK", "", ANSWER)
}

#[tokio::test]
async fn a_connection_serves_one_request_after_the_other() {
    let server = Server::always(ok()).await;
    let upstream = Upstream::new();
    for _ in 0..5 {
        // A reload makes new targets; they share the connections.
        let target = json_target(&upstream, &server.url());
        upstream.call(json(&target, patient())).await.unwrap();
    }
    assert_eq!(server.requests().len(), 5);
    // The last target went with its origin only when nobody had one.
    let target = json_target(&upstream, &server.url());
    let before = server.connections();
    for _ in 0..5 {
        upstream.call(json(&target, patient())).await.unwrap();
    }
    assert!(
        server.connections() <= before + 1,
        "{}",
        server.connections()
    );
}

#[tokio::test]
async fn errors_and_streams_give_their_connection_back() {
    let server = Server::start(|number| match number {
        0 => respond("500 Oops", "", "{}"),
        1 => {
            let body = "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"x\"}}]}\n\ndata: [DONE]\n\n";
            vec![
                head("text/event-stream"),
                chunk(body),
                Beat::Wait(SHORT),
                end(),
            ]
        }
        _ => respond("200 OK", "", r#"{"choices":[{"message":{}}]}"#),
    })
    .await;
    let upstream = Upstream::new();
    let target = chat_target(&upstream, &server.url());
    upstream
        .call(chat(&target, false, patient()))
        .await
        .unwrap_err();
    let reply = upstream.call(chat(&target, true, patient())).await.unwrap();
    drain(reply).await;
    // The end of the body comes a moment after `[DONE]`.
    tokio::time::sleep(SHORT * 2).await;
    upstream
        .call(chat(&target, false, patient()))
        .await
        .unwrap();
    assert_eq!(server.connections(), 1);
}

#[tokio::test]
async fn many_at_once_have_a_connection_each_and_keep_them() {
    let server = Server::always(vec![Beat::Wait(SHORT), ok().remove(0)]).await;
    let upstream = Upstream::new();
    let target = json_target(&upstream, &server.url());
    for _ in 0..2 {
        let calls = (0..40).map(|_| upstream.call(json(&target, patient())));
        for reply in futures_util::future::join_all(calls).await {
            assert_eq!(complete(reply.unwrap()).body, ANSWER);
        }
    }
    assert_eq!(server.connections(), 40);
}

#[tokio::test]
async fn a_connection_that_was_closed_while_idle_is_not_used() {
    let mut script = ok();
    script.push(Beat::Close);
    let server = Server::always(script).await;
    let upstream = Upstream::new();
    let target = json_target(&upstream, &server.url());
    for _ in 0..3 {
        upstream.call(json(&target, patient())).await.unwrap();
        tokio::time::sleep(Duration::from_millis(30)).await;
    }
    assert_eq!(server.connections(), 3);
}

#[tokio::test]
async fn a_server_that_says_close_is_taken_at_its_word() {
    let server = Server::always(respond("200 OK", "connection: close\r\n", ANSWER)).await;
    let upstream = Upstream::new();
    let target = json_target(&upstream, &server.url());
    for _ in 0..2 {
        upstream.call(json(&target, patient())).await.unwrap();
    }
    assert_eq!(server.connections(), 2);
}

#[tokio::test]
async fn what_was_sent_is_not_sent_again() {
    let server = Server::start(|number| if number == 0 { ok() } else { vec![Beat::Reset] }).await;
    let upstream = Upstream::new();
    let target = json_target(&upstream, &server.url());
    upstream.call(json(&target, patient())).await.unwrap();
    let failure = upstream.call(json(&target, patient())).await.unwrap_err();
    assert_eq!(failure.class, F::Connection);
    assert_eq!(server.requests().len(), 2);
}

#[tokio::test]
async fn a_refused_connection_is_told_at_once() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let upstream = Upstream::new();
    let target = json_target(&upstream, &format!("http://{address}"));
    let failure = upstream.call(json(&target, patient())).await.unwrap_err();
    assert_eq!(failure.class, F::Connection);
    assert!(failure.detail.contains("refused"), "{failure}");
    assert!(failure.status.is_none());
}

/// A listener that accepts nobody and whose queue is full drops what knocks.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_connection_that_does_not_come_about_has_its_own_timeout() {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let listener = socket.listen(1).unwrap();
    let address = listener.local_addr().unwrap();
    let mut queue = Vec::new();
    while let Ok(stream) = tokio::time::timeout(SHORT, TcpStream::connect(address)).await {
        queue.push(stream);
        assert!(queue.len() < 100, "the queue does not fill");
    }
    let upstream = Upstream::new();
    let target = json_target(&upstream, &format!("http://{address}"));
    let timeouts = Timeouts {
        connect: SHORT,
        ..patient()
    };
    let failure = upstream.call(json(&target, timeouts)).await.unwrap_err();
    assert_eq!(failure.class, F::TimeoutConnect);
}

#[tokio::test]
async fn tls_with_a_server_that_has_none_is_a_failed_connection() {
    let server = Server::always(ok()).await;
    let upstream = Upstream::new();
    let endpoint = EndpointOptions::Json {
        base_url: server.url().replace("http:", "https:"),
        path: String::new(),
        api_key: None,
        headers: Vec::new(),
    };
    let options = TargetOptions {
        model: "m".to_owned(),
        release: "r1".to_owned(),
        endpoint,
        keys: None,
        reading: ReadingOptions::default(),
        answer_bytes_max: None,
    };
    match upstream.target(options) {
        // The script answers only what looks like a request, and a greeting of
        // TLS does not; so it is the clock that ends this.
        Ok(target) => {
            let timeouts = Timeouts {
                connect: SHORT,
                ..patient()
            };
            let failure = upstream.call(json(&target, timeouts)).await.unwrap_err();
            assert_eq!(failure.class, F::TimeoutConnect);
        }
        Err(TargetError::Certificates(_)) => {} // a machine without any
        Err(other) => panic!("{other}"),
    }
}

/// What waits for a model is kept for seconds, by the thousand.
#[tokio::test]
async fn a_waiting_call_is_small() {
    let upstream = Upstream::new();
    let target = json_target(&upstream, "http://127.0.0.1:1");
    let call = upstream.call(json(&target, patient()));
    let bytes = std::mem::size_of_val(&call);
    assert!(bytes <= 6 * 1024, "{bytes} bytes");
}

#[tokio::test]
async fn dropping_a_call_cancels_it() {
    let server = Server::always(vec![Beat::Hang]).await;
    let upstream = Upstream::new();
    let target = json_target(&upstream, &server.url());
    let call = upstream.call(json(&target, patient()));
    assert!(tokio::time::timeout(SHORT, call).await.is_err());
    server.abandoned().await;
}

#[tokio::test]
async fn dropping_a_stream_cancels_it() {
    let event = "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"x\"}}]}\n\n";
    let server = Server::always(vec![head("text/event-stream"), chunk(event), Beat::Hang]).await;
    let upstream = Upstream::new();
    let target = chat_target(&upstream, &server.url());
    let reply = upstream.call(chat(&target, true, patient())).await.unwrap();
    drop(reply);
    server.abandoned().await;
}

#[test]
fn mistakes_in_a_target_are_named_and_secrets_are_not() {
    let upstream = Upstream::new();
    let make = |base_url: &str, key: &str, header: (&str, &str), pointer: &str| {
        let endpoint = EndpointOptions::OpenAi {
            base_url: base_url.to_owned(),
            api_key: Some(key.to_owned()),
            headers: vec![(header.0.to_owned(), header.1.to_owned())],
            upstream_model: None,
            request_logprobs: false,
        };
        let debugged = format!("{endpoint:?}");
        assert!(!debugged.contains("s3cret"), "{debugged}");
        let options = TargetOptions {
            model: "m".to_owned(),
            release: "r1".to_owned(),
            endpoint,
            keys: None,
            reading: ReadingOptions {
                answer_pointer: Some(pointer.to_owned()),
                ..ReadingOptions::default()
            },
            answer_bytes_max: None,
        };
        match upstream.target(options) {
            Ok(target) => {
                let debugged = format!("{target:?}");
                assert!(!debugged.contains("s3cret"), "{debugged}");
                "fine".to_owned()
            }
            Err(error) => error.to_string(),
        }
    };
    let good = ("http://h/v1", "s3cret", ("a", "s3cret"), "/a");
    for (url, key, header, pointer, says) in [
        (good.0, good.1, good.2, good.3, "fine"),
        ("http://h:80/v1/?key=s3cret", good.1, good.2, "", "fine"),
        ("h/v1", good.1, good.2, good.3, "`base_url` `h/v1` is not"),
        (
            "ftp://u:s3cret@h/v1",
            good.1,
            good.2,
            good.3,
            "holds credentials",
        ),
        ("u:s3cret@h/v1", good.1, good.2, good.3, "is not a URL"),
        ("ftp://h/v1", good.1, good.2, good.3, "is not a URL"),
        (
            "http://u:s3cret@h/v1",
            good.1,
            good.2,
            good.3,
            "holds credentials",
        ),
        (
            good.0,
            "s3cret\n",
            good.2,
            good.3,
            "`api_key` has characters",
        ),
        (good.0, good.1, ("a b", "s3cret"), good.3, "header `a b`"),
        (good.0, good.1, ("a", "s3cret\n"), good.3, "header `a`"),
        (good.0, good.1, good.2, "a/b", "JSON pointer `a/b`"),
    ] {
        let said = make(url, key, header, pointer);
        assert!(said.contains(says), "{url}: {said}");
        assert!(!said.contains("s3cret"), "{said}");
    }
}
