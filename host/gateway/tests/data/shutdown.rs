//! Stopping loses nothing that has begun.

use crate::fallback::two;
use crate::kit::{Model, Running, Says, chat};
use http::Request;
use http_body_util::{BodyExt, Full};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Semaphore;

#[tokio::test]
async fn a_stream_that_runs_is_finished_and_no_connection_is_taken_any_more() {
    let gate = Arc::new(Semaphore::new(1));
    let model = Model::start(Says::Stream(&["a", "b"], Some(gate.clone()))).await;
    let gateway = Running::start(&two(model.addr, model.addr, crate::streams::AT_ONCE)).await;
    let addr = gateway.addr;
    let request = Request::post(format!("http://{addr}/v1/chat/completions"))
        .body(Full::new(chat("chat", true).to_string().into()))
        .unwrap();
    let mut body = gateway.send(request).await.into_body();
    assert!(body.frame().await.is_some());

    let stopped = gateway.begin_stop();
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert!(tokio::net::TcpStream::connect(addr).await.is_err());
    gate.add_permits(10);
    let rest = body.collect().await.unwrap().to_bytes();
    assert!(rest.ends_with(b"data: [DONE]\n\n"));
    let stopped = tokio::time::timeout(Duration::from_secs(4), stopped).await;
    assert_eq!(stopped.unwrap().unwrap().cut, 0);
}
