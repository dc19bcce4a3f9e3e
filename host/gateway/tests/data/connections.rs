//! Connections that ask for nothing, and those that do.

use crate::kit::{Model, Running, Says};
use backstop_gateway::server::{HEADER_TIMEOUT, Server};
use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt, Full};
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::json;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::Instant;

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

fn config(model: SocketAddr) -> String {
    format!(
        r#"
        [providers.a]
        kind = "json"
        base_url = "http://{model}"
        [models.m]
        provider = "a"
        [routes.score]
        kind = "json"
        models = ["m"]
        "#
    )
}

/// Both planes of a gateway; the admin plane has one page.
async fn planes() -> (Running, [SocketAddr; 2]) {
    let model = Model::start(Says::Json(json!({}))).await;
    let gateway = Running::start(&config(model.addr)).await;
    let data = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let admin = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addrs = [data.local_addr().unwrap(), admin.local_addr().unwrap()];
    let router = axum::Router::new().route("/v1/models", axum::routing::get(async || "{}"));
    let server = Server::new(gateway.gateway.clone(), data).with_admin(admin, router);
    tokio::spawn(server.run(std::future::pending()));
    (gateway, addrs)
}

#[tokio::test]
async fn a_connection_that_asks_for_nothing_is_closed() {
    let (_gateway, addrs) = planes().await;
    for addr in addrs {
        for sent in [&b""[..], b"P", b"GET / HTTP", &PREFACE[..20], PREFACE] {
            let mut stream = TcpStream::connect(addr).await.unwrap();
            stream.write_all(sent).await.unwrap();
            // From here on time flies while everybody waits.
            tokio::time::pause();
            let began = Instant::now();
            let mut said = Vec::new();
            let read = tokio::time::timeout(2 * HEADER_TIMEOUT, stream.read_to_end(&mut said));
            assert!(read.await.is_ok(), "still open after {sent:?}");
            assert!(began.elapsed() > HEADER_TIMEOUT - Duration::from_secs(1));
            tokio::time::resume();
        }
    }
}

#[tokio::test]
async fn a_connection_that_has_asked_for_something_outlives_the_first_timeout() {
    let (_gateway, addrs) = planes().await;
    for addr in addrs {
        // HTTP/2 with prior knowledge, without TLS.
        let stream = TcpStream::connect(addr).await.unwrap();
        let (mut send, connection) =
            hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
                .await
                .unwrap();
        tokio::spawn(connection);
        for _ in 0..2 {
            let request = Request::get(format!("http://{addr}/v1/models"))
                .body(Full::<Bytes>::default())
                .unwrap();
            let response = send.send_request(request).await.unwrap();
            assert_eq!(
                (response.status(), response.version()),
                (http::StatusCode::OK, http::Version::HTTP_2)
            );
            response.into_body().collect().await.unwrap();
            tokio::time::pause();
            tokio::time::sleep(HEADER_TIMEOUT + Duration::from_secs(1)).await;
            tokio::time::resume();
        }
    }
}
