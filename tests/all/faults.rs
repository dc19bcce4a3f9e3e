//! Faults of providers, through real sockets, streaming and not: what the
//! caller sees, and what the providers do.
//!
//! Each row of [`scenarios`] is played twice, against a route whose primary
//! misbehaves and whose backup is well. `FAULTS.md` beside this package is
//! made of what was seen, and the test fails when it changes. What takes more
//! than a table to say stands in the modules below.

mod outage;
mod single;

use backstop_gateway::telemetry::RequestOutcome;
use backstop_tests::faulty::words::{
    chunk, completion, delta, end, error, event, finish, good, head, response, spoken,
};
use backstop_tests::faulty::{Beat, Faulty, Script};
use backstop_tests::gateway::{FREE_PORTS, Running};
use bytes::Bytes;
use http::{HeaderMap, Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use serde_json::{Value, json};
use std::fmt::Write as _;
use std::path::Path;
use std::time::{Duration, Instant};

/// What the primary would have said, and what the backup says.
const PRIMARY: &str = "one two three four";
const BACKUP: &str = "eins zwei drei vier";
/// No request of these takes longer, or it hung.
const PATIENCE: Duration = Duration::from_secs(10);

/// Times short enough for a test; everything else is as it is by default.
const ROUTE: &str = r#"
[routes.chat]
kind = "chat"
timeout_ms = 3000
first_token_ms = 300
idle_ms = 300
[routes.chat.retry]
backoff_ms = 20
"#;

/// The configuration of a route over these providers; `models` may add keys.
fn config(providers: &[(&str, &Faulty, &str)], more: &str) -> String {
    let mut text = FREE_PORTS.to_owned();
    let mut names = Vec::new();
    for (name, provider, keys) in providers {
        let _ = write!(
            text,
            "[providers.{name}]\nkind = \"openai\"\nbase_url = \"{}\"\napi_key = \"k\"\n\
             [models.{name}]\nprovider = \"{name}\"\n{keys}\n",
            provider.url()
        );
        names.push(format!("\"{name}\""));
    }
    let models = format!("models = [{}]\n{more}\n", names.join(", "));
    text + &ROUTE.replace(
        "[routes.chat.retry]",
        &format!("{models}[routes.chat.retry]"),
    )
}

/// A gateway of this configuration, in a folder that goes with it.
async fn gateway(text: &str) -> (Running, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("backstop.toml");
    let data = folder.path().join("data");
    let text = text.replacen(
        "server = {",
        &format!("server = {{ data_dir = {data:?},"),
        1,
    );
    std::fs::write(&path, text).unwrap();
    (Running::launch(&path, false).await.unwrap(), folder)
}

/// What a caller saw.
#[derive(Debug)]
struct Seen {
    status: StatusCode,
    headers: HeaderMap,
    /// Of the answer, pieced together.
    text: String,
    /// True when the answer says that it is whole: `[DONE]` and a finish
    /// reason, or a body with one.
    complete: bool,
    /// `code` of an error, as a body or in band.
    error: Option<String>,
    took: Duration,
}

impl Seen {
    fn header(&self, name: &str) -> &str {
        let value = self.headers.get(name);
        value.map_or("", |value| value.to_str().unwrap())
    }
}

/// Asks `gateway`'s route for a chat.
async fn ask(gateway: &Running, stream: bool) -> Seen {
    let body = json!({
        "model": "chat", "stream": stream,
        "messages": [{"role": "user", "content": "a question?"}],
    });
    let request = Request::post(format!("http://{}/v1/chat/completions", gateway.data))
        .header("content-type", "application/json")
        .body(Full::new(Bytes::from(body.to_string())))
        .unwrap();
    let client: Client<_, Full<Bytes>> = Client::builder(TokioExecutor::new()).build_http();
    let begun = Instant::now();
    let answer = async {
        let (head, body) = client.request(request).await.unwrap().into_parts();
        (head, body.collect().await.unwrap().to_bytes())
    };
    let (head, body) = tokio::time::timeout(PATIENCE, answer)
        .await
        .expect("an answer in time");
    let mut seen = Seen {
        status: head.status,
        headers: head.headers,
        text: String::new(),
        complete: false,
        error: None,
        took: begun.elapsed(),
    };
    let body = std::str::from_utf8(&body).unwrap();
    if seen.header("content-type").starts_with("text/event-stream") {
        seen.read_events(body);
    } else {
        let body: Value = serde_json::from_str(body).unwrap();
        seen.error = body["error"]["code"].as_str().map(str::to_owned);
        let choice = &body["choices"][0];
        seen.text = choice["message"]["content"]
            .as_str()
            .unwrap_or("")
            .to_owned();
        seen.complete = choice["finish_reason"] == "stop";
    }
    seen
}

impl Seen {
    fn read_events(&mut self, body: &str) {
        let (mut done, mut finished) = (false, false);
        for data in body
            .split("\n\n")
            .filter_map(|event| event.strip_prefix("data: "))
        {
            if data == "[DONE]" {
                done = true;
                continue;
            }
            let event: Value = serde_json::from_str(data).expect("events that clients can read");
            if let Some(code) = event["error"]["code"].as_str() {
                self.error = Some(code.to_owned());
            }
            let choice = &event["choices"][0];
            self.text
                .push_str(choice["delta"]["content"].as_str().unwrap_or(""));
            finished |= choice["finish_reason"] == "stop";
        }
        assert_eq!(done, finished, "half an end: {body}");
        self.complete = done;
    }
}

/// One fault.
struct Scenario {
    /// What happens, for people.
    name: &'static str,
    /// What the primary does about its request number so and so.
    primary: fn(usize, bool) -> Script,
    /// Keys of the route.
    route: &'static str,
    /// Keys of the models.
    models: (&'static str, &'static str),
}

const fn always(name: &'static str, primary: fn(usize, bool) -> Script) -> Scenario {
    Scenario {
        name,
        primary,
        route: "",
        models: ("", ""),
    }
}

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// The first request fails so, the others are answered.
fn once(number: usize, stream: bool, fault: Script) -> Script {
    if number == 0 {
        fault
    } else {
        good(PRIMARY, stream)
    }
}

/// An answer that is half there.
fn half(stream: bool) -> Script {
    if stream {
        return spoken("one two ");
    }
    let body = completion(PRIMARY);
    vec![
        Beat::Say(format!(
            "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{}",
            body.len(),
            &body[..body.len() / 2]
        )),
        Beat::Wait(ms(20)),
    ]
}

fn then(mut script: Script, beat: Beat) -> Script {
    script.push(beat);
    script
}

fn scenarios() -> Vec<Scenario> {
    vec![
        always("nothing goes wrong", |_, stream| good(PRIMARY, stream)),
        always("429 with `Retry-After`, once", |number, stream| {
            once(
                number,
                stream,
                error(
                    "429 Too Many Requests",
                    "retry-after: 1\r\n",
                    "rate_limit_exceeded",
                ),
            )
        }),
        always("429 without a word, once", |number, stream| {
            once(
                number,
                stream,
                error("429 Too Many Requests", "", "rate_limit_exceeded"),
            )
        }),
        always("429 until tomorrow", |_, _| {
            error(
                "429 Too Many Requests",
                "retry-after: 86400\r\n",
                "rate_limit_exceeded",
            )
        }),
        always("429 because the money is used up", |_, _| {
            error("429 Too Many Requests", "", "insufficient_quota")
        }),
        always("one 500", |number, stream| {
            once(
                number,
                stream,
                error("500 Internal Server Error", "", "oops"),
            )
        }),
        always("503 on and on", |_, _| {
            error("503 Service Unavailable", "", "overloaded")
        }),
        always("credentials refused", |_, _| {
            error("401 Unauthorized", "", "invalid_api_key")
        }),
        always("reset before the headers", |_, _| vec![Beat::Reset]),
        always("silence after accepting", |_, _| vec![Beat::Hang]),
        always("headers, then silence", |_, stream| {
            let whole =
                "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 99\r\n\r\n";
            vec![
                if stream {
                    head()
                } else {
                    Beat::Say(whole.to_owned())
                },
                Beat::Hang,
            ]
        }),
        always("the first token comes late", |_, stream| {
            let mut script = good(PRIMARY, stream);
            script.insert(usize::from(stream), Beat::Wait(ms(900)));
            script
        }),
        always("cut in the middle", |_, stream| {
            then(half(stream), Beat::Close)
        }),
        always("reset in the middle", |_, stream| {
            then(half(stream), Beat::Reset)
        }),
        always("stands still in the middle", |_, stream| {
            then(half(stream), Beat::Hang)
        }),
        always("an error in the middle", |_, stream| {
            let text = json!({"error": {"message": "Overloaded", "type": "overloaded_error"}});
            if !stream {
                return vec![response("200 OK", "", &text.to_string())];
            }
            let mut script = half(true);
            script.extend([event(&text.to_string()), end()]);
            script
        }),
        always("one malformed event", |_, stream| {
            if !stream {
                return vec![response("200 OK", "", "{\"choices\": [{")];
            }
            let mut script = spoken(PRIMARY);
            script.insert(4, event("{\"choices\": [{"));
            script.extend([finish(), event("[DONE]"), end()]);
            script
        }),
        always("no `[DONE]` after the finish reason", |_, stream| {
            if !stream {
                return good(PRIMARY, false);
            }
            let mut script = spoken(PRIMARY);
            script.extend([finish(), end()]);
            script
        }),
        always("no `[DONE]`, and the connection stays open", |_, stream| {
            if !stream {
                return good(PRIMARY, false);
            }
            let mut script = spoken(PRIMARY);
            script.extend([finish(), Beat::Hang]);
            script
        }),
        always("ends without finish reason and `[DONE]`", |_, stream| {
            if !stream {
                let body = completion(PRIMARY).replace("\"choices\"", "\"choice\"");
                return vec![response("200 OK", "", &body)];
            }
            then(spoken(PRIMARY), end())
        }),
        Scenario {
            name: "the context is too long",
            primary: |_, _| error("400 Bad Request", "", "context_length_exceeded"),
            route: "",
            models: ("context_tokens = 8000", "context_tokens = 128000"),
        },
        Scenario {
            name: "the context is too long for both",
            primary: |_, _| error("400 Bad Request", "", "context_length_exceeded"),
            route: "",
            models: ("context_tokens = 8000", "context_tokens = 8000"),
        },
        always("the content is refused", |_, _| {
            error("400 Bad Request", "", "content_policy_violation")
        }),
        always("the request is wrong", |_, _| {
            error("422 Unprocessable Entity", "", "bad_field")
        }),
        always("HTML under 200", |_, _| {
            let page = "<html>hello</html>";
            vec![Beat::Say(format!(
                "HTTP/1.1 200 OK\r\ncontent-type: text/html\r\ncontent-length: {}\r\n\r\n{page}",
                page.len()
            ))]
        }),
        always("HTML under 502", |_, _| {
            let page = "<html>bad gateway</html>";
            vec![Beat::Say(format!(
                "HTTP/1.1 502 Bad Gateway\r\ncontent-type: text/html\r\ncontent-length: {}\r\n\r\n{page}",
                page.len()
            ))]
        }),
        always("an empty body under 200", |_, stream| {
            let kind = if stream {
                "text/event-stream"
            } else {
                "application/json"
            };
            vec![Beat::Say(format!(
                "HTTP/1.1 200 OK\r\ncontent-type: {kind}\r\ncontent-length: 0\r\n\r\n"
            ))]
        }),
        always("byte by byte, but well", |_, stream| {
            let mut script = good(PRIMARY, stream);
            let dripped: String = script
                .drain(script.len().min(3)..)
                .filter_map(|beat| match beat {
                    Beat::Say(text) => Some(text),
                    _ => None,
                })
                .collect();
            script.push(Beat::Drip(dripped, ms(1)));
            script
        }),
        always("announces more than comes", |_, stream| {
            announced(stream, |bytes| bytes + 100)
        }),
        always("announces less than comes", |_, stream| {
            announced(stream, |bytes| bytes / 2)
        }),
        always("chunks that are none", |_, stream| {
            let mut script = half(stream);
            script.truncate(if stream { 3 } else { 0 });
            if !stream {
                script.push(Beat::Say(
                    "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n".to_owned(),
                ));
            }
            script.extend([
                chunk("").clone(),
                Beat::Say("zz\r\nnonsense\r\n".to_owned()),
                Beat::Close,
            ]);
            script.retain(|beat| !matches!(beat, Beat::Say(text) if text == "0\r\n\r\n"));
            script
        }),
        always("what it says is not HTTP", |_, _| {
            vec![
                Beat::Say("SSH-2.0-OpenSSH_9.2\r\n\r\n".to_owned()),
                Beat::Close,
            ]
        }),
    ]
}

/// What became of one scenario, as a row of the page.
async fn play(scenario: &Scenario, stream: bool) -> String {
    let primary = Faulty::start(scenario.primary).await.unwrap();
    let backup = Faulty::start(|_, stream| good(BACKUP, stream))
        .await
        .unwrap();
    let providers = [
        ("primary", &primary, scenario.models.0),
        ("backup", &backup, scenario.models.1),
    ];
    let (gateway, _folder) = gateway(&config(&providers, scenario.route)).await;
    let seen = ask(&gateway, stream).await;
    let label = format!("{} (stream: {stream}): {seen:?}", scenario.name);

    // Whatever happens: whole answers only, of one model, once; or an error.
    if seen.complete {
        assert_eq!(seen.status, StatusCode::OK, "{label}");
        let expected = match seen.header("x-backstop-model") {
            "primary" => PRIMARY,
            _ => BACKUP,
        };
        assert_eq!(seen.text, expected, "{label}");
        assert_eq!(seen.error, None, "{label}");
    } else {
        assert!(
            seen.error.is_some(),
            "neither an answer nor an error: {label}"
        );
        assert!(
            seen.text.is_empty(),
            "a part of an answer by default: {label}"
        );
    }
    // What is asked for is a new answer, never the rest of another one.
    for heard in primary.heard().iter().chain(&backup.heard()) {
        let messages = heard.request["messages"].as_array().unwrap();
        assert_eq!(messages.len(), 1, "{label}");
        assert_eq!(heard.stream(), stream, "{label}");
    }
    assert!(
        primary.asked() <= 2,
        "hammered {} times: {label}",
        primary.asked()
    );
    let begun = Instant::now();
    while gateway.gateway.telemetry().requests().written() == 0 && begun.elapsed() < PATIENCE {
        tokio::time::sleep(ms(1)).await;
    }
    let requests = gateway.gateway.telemetry().requests().written();
    assert_eq!(requests, 1, "one record: {label}");

    let caller = if seen.complete {
        format!("the {}'s answer", seen.header("x-backstop-model"))
    } else {
        format!(
            "{} `{}`",
            seen.status.as_u16(),
            seen.error.unwrap_or_default()
        )
    };
    let waited = if seen.took > Duration::from_millis(800) {
        ", after a wait"
    } else {
        ""
    };
    gateway.stop().await;
    format!(
        "{caller}{waited} | {} | {}",
        primary.asked(),
        backup.asked()
    )
}

const HEAD: &str = "\
# What callers see when providers fail

Made by `cargo test`, which plays each fault through real sockets against a
route with a primary that fails so and a backup that is well, once for a stream
and once without. Streams are held back, as they are by default. The numbers
are how often each provider was asked.

| fault | | the caller sees | primary | backup |
|---|---|---|---|---|
";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn faults_lead_to_a_whole_answer_or_an_honest_error() {
    let mut page = HEAD.to_owned();
    for scenario in scenarios() {
        for (stream, kind) in [(true, "stream"), (false, "whole")] {
            let row = play(&scenario, stream).await;
            let name = if stream { scenario.name } else { "" };
            let _ = writeln!(page, "| {name} | {kind} | {row} |");
        }
    }
    println!("{page}");
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("FAULTS.md");
    if std::fs::read_to_string(&path).unwrap_or_default() != page {
        std::fs::write(&path, page).unwrap();
        panic!(
            "tests/FAULTS.md was out of date and has been written anew; look at what changed, and commit it"
        );
    }
}

#[tokio::test]
async fn a_refused_key_opens_the_breaker_at_once() {
    let primary = Faulty::start(|_, _| error("401 Unauthorized", "", "invalid_api_key"))
        .await
        .unwrap();
    let backup = Faulty::start(|_, stream| good(BACKUP, stream))
        .await
        .unwrap();
    let providers = [("primary", &primary, ""), ("backup", &backup, "")];
    let (gateway, _folder) = gateway(&config(&providers, "")).await;
    for _ in 0..5 {
        assert_eq!(ask(&gateway, true).await.text, BACKUP);
    }
    assert_eq!((primary.asked(), backup.asked()), (1, 5));
    gateway.stop().await;
}

#[tokio::test]
async fn an_upstream_that_ignores_cancellation_holds_nobody_up() {
    let primary = Faulty::start(|number, stream| {
        if number > 0 {
            return good(PRIMARY, stream);
        }
        let mut script = spoken("one ");
        let Beat::Say(more) = event(&delta(&json!({"content": "more "}), None)) else {
            unreachable!("an event is said")
        };
        script.push(Beat::Insist(more, 10_000));
        script
    })
    .await
    .unwrap();
    let at_once = "stream = { hold = \"none\" }";
    let (gateway, _folder) = gateway(&config(&[("primary", &primary, "")], at_once)).await;
    let client: Client<_, Full<Bytes>> = Client::builder(TokioExecutor::new()).build_http();
    let body =
        json!({"model": "chat", "stream": true, "messages": [{"role": "user", "content": "?"}]});
    let request = Request::post(format!("http://{}/v1/chat/completions", gateway.data))
        .body(Full::new(Bytes::from(body.to_string())))
        .unwrap();
    let mut answer = client.request(request).await.unwrap().into_body();
    assert!(answer.frame().await.is_some());
    drop(answer);
    drop(client);
    let begun = Instant::now();
    while primary.hung_up() == 0 {
        assert!(begun.elapsed() < PATIENCE, "the call was not cancelled");
        tokio::time::sleep(ms(10)).await;
    }
    assert_eq!(ask(&gateway, true).await.text, PRIMARY);
    let outcomes = gateway.gateway.telemetry().requests().newest(10, |_| true);
    let cancelled = outcomes
        .iter()
        .filter(|record| record.outcome == RequestOutcome::Cancelled)
        .count();
    assert_eq!(cancelled, 1);
    gateway.stop().await;
}

/// An answer that closes after its body, whose announced length is
/// `announce` of its true one.
fn announced(stream: bool, announce: impl Fn(usize) -> usize) -> Vec<Beat> {
    let (kind, body) = if stream {
        (
            "text/event-stream",
            format!("data: {}\n\n", delta(&json!({"content": "one "}), None)),
        )
    } else {
        ("application/json", completion(PRIMARY))
    };
    let length = announce(body.len());
    vec![
        Beat::Say(format!(
            "HTTP/1.1 200 OK\r\ncontent-type: {kind}\r\ncontent-length: {length}\r\n\r\n{body}"
        )),
        Beat::Close,
    ]
}
