//! The upstream client against real sockets that misbehave.
//!
//! [`server`] plays scripts on a loopback port; the tests say what the client
//! has to make of them. Waits are real and short: paused time would run ahead
//! of the sockets.

mod complete;
mod connections;
mod server;
mod simulated;
mod stream;

use super::*;
use crate::openai::{Api, OpenAiRequest};
use bytes::{Bytes, BytesMut};
use futures_util::StreamExt;
use std::time::Duration;

/// Long enough never to fire in a test that does not wait for it.
const LONG: Duration = Duration::from_secs(20);
/// A wait that a test sits out.
const SHORT: Duration = Duration::from_millis(120);

fn patient() -> Timeouts {
    Timeouts {
        connect: LONG,
        first_token: LONG,
        idle: LONG,
        total: LONG,
    }
}

fn chat_target(upstream: &Upstream, base_url: &str) -> Arc<Target> {
    let endpoint = EndpointOptions::OpenAi {
        base_url: base_url.to_owned(),
        api_key: Some("sk-test".to_owned()),
        headers: vec![("x-team".to_owned(), "blue".to_owned())],
        upstream_model: Some("gpt-up".to_owned()),
        request_logprobs: true,
    };
    target(upstream, endpoint, ReadingOptions::default())
}

fn json_target(upstream: &Upstream, base_url: &str) -> Arc<Target> {
    let endpoint = EndpointOptions::Json {
        base_url: base_url.to_owned(),
        path: "score".to_owned(),
        api_key: None,
        headers: Vec::new(),
    };
    let reading = ReadingOptions {
        confidence_pointer: Some("/p".to_owned()),
        ..ReadingOptions::default()
    };
    target(upstream, endpoint, reading)
}

fn target(upstream: &Upstream, endpoint: EndpointOptions, reading: ReadingOptions) -> Arc<Target> {
    let options = TargetOptions {
        model: "m".to_owned(),
        release: "r1".to_owned(),
        endpoint,
        keys: None,
        reading,
        answer_bytes_max: Some(64 * 1024),
    };
    upstream.target(options).unwrap()
}

fn chat(target: &Arc<Target>, stream: bool, timeouts: Timeouts) -> Call {
    let body = format!(r#"{{"model": "route", "stream":{stream}, "messages":[], "x": 1.50}}"#);
    let body = Bytes::from(body);
    Call {
        target: Arc::clone(target),
        path: Path::OpenAi(
            Api::Chat,
            OpenAiRequest::parse(Api::Chat, &body).unwrap().layout,
        ),
        body,
        stream,
        timeouts,
        keep_text_bytes: 1024,
        trace: None,
    }
}

fn json(target: &Arc<Target>, timeouts: Timeouts) -> Call {
    Call {
        target: Arc::clone(target),
        path: Path::Json,
        body: Bytes::from_static(br#"{"amount":3}"#),
        stream: false,
        timeouts,
        keep_text_bytes: 0,
        trace: None,
    }
}

fn complete(reply: Reply) -> Complete {
    match reply {
        Reply::Complete(complete) => complete,
        Reply::Stream(_) => panic!("a stream came, a whole answer was asked for"),
    }
}

/// All that a caller would get, how it ended, and what was seen.
async fn drain(reply: Reply) -> (String, Option<Failure>, StreamFacts) {
    let Reply::Stream(mut reply) = reply else {
        panic!("a whole answer came, a stream was asked for");
    };
    let mut all = BytesMut::from(&reply.first[..]);
    let mut failure = None;
    while let Some(item) = reply.rest.next().await {
        assert!(failure.is_none(), "a failure is the last item");
        match item {
            Ok(bytes) => all.extend_from_slice(&bytes),
            Err(error) => failure = Some(error),
        }
    }
    let facts = reply.watch.facts();
    assert!(facts.ended);
    (String::from_utf8(all.to_vec()).unwrap(), failure, facts)
}
