//! Where there is no other model, or the caller has seen the beginning: an
//! honest error, and never the end of a whole answer.

use super::*;

/// Asks a route with this one provider.
async fn alone(fault: fn(usize, bool) -> Script, route: &str, stream: bool) -> Seen {
    let only = Faulty::start(fault).await.unwrap();
    let (gateway, _folder) = gateway(&config(&[("primary", &only, "")], route)).await;
    let seen = ask(&gateway, stream).await;
    gateway.stop().await;
    seen
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_model_alone_fails_honestly() {
    for (name, fault, status, code) in [
        (
            "cut",
            (|_, stream| then(half(stream), Beat::Close)) as fn(usize, bool) -> Script,
            502,
            "cut-stream",
        ),
        (
            "reset",
            |_, stream| then(half(stream), Beat::Reset),
            502,
            "cut-stream",
        ),
        (
            "stall",
            |_, stream| then(half(stream), Beat::Hang),
            504,
            "timeout-idle",
        ),
        (
            "silence",
            |_, _| vec![Beat::Hang],
            504,
            "timeout-first-token",
        ),
        (
            "key",
            |_, _| error("401 Unauthorized", "", "invalid_api_key"),
            502,
            "auth",
        ),
        (
            "throttled",
            |_, _| error("429 Too Many Requests", "retry-after: 30\r\n", "x"),
            429,
            "rate-limit",
        ),
    ] {
        for stream in [true, false] {
            let seen = alone(fault, "", stream).await;
            let label = format!("{name}, stream: {stream}: {seen:?}");
            assert_eq!(seen.status.as_u16(), status, "{label}");
            assert_eq!(seen.error.as_deref(), Some(code), "{label}");
            assert!(!seen.complete && seen.text.is_empty(), "{label}");
            if status == 429 {
                assert_eq!(seen.header("retry-after"), "30", "{label}");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_malformed_event_does_not_kill_the_only_answer_there_is() {
    for route in ["", "stream = { hold = \"none\" }"] {
        let fault = |_, _| {
            let mut script = spoken(PRIMARY);
            script.insert(4, event("{\"choices\": [{"));
            script.extend([finish(), event("[DONE]"), end()]);
            script
        };
        let seen = alone(fault, route, true).await;
        assert!(seen.complete && seen.text == PRIMARY, "{seen:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_text_starts_again() {
    let first = Faulty::start(|_, _| {
        let call = json!({"tool_calls": [{"index": 0, "id": "c", "type": "function",
                          "function": {"name": "f", "arguments": "{\"ci"}}]});
        vec![
            head(),
            event(&delta(&call, None)),
            Beat::Wait(ms(30)),
            Beat::Close,
        ]
    })
    .await
    .unwrap();
    let backup = Faulty::start(|_, stream| good(BACKUP, stream))
        .await
        .unwrap();
    let providers = [("primary", &first, ""), ("backup", &backup, "")];
    let restarts = "stream = { hold = \"none\", after_cut = \"restart\" }";
    let (gateway, _folder) = gateway(&config(&providers, restarts)).await;
    let seen = ask(&gateway, true).await;
    assert_eq!(seen.error.as_deref(), Some("cut-stream"), "{seen:?}");
    assert_eq!(
        backup.asked(),
        0,
        "half a call of a tool is no text to go on from"
    );
    gateway.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_breaks_off_behind_its_beginning_is_told_in_band() {
    let at_once = "stream = { hold = \"none\" }";
    for (name, fault, code) in [
        (
            "cut",
            (|_, stream| then(half(stream), Beat::Close)) as fn(usize, bool) -> Script,
            "cut-stream",
        ),
        (
            "reset",
            |_, stream| then(half(stream), Beat::Reset),
            "cut-stream",
        ),
        (
            "stall",
            |_, stream| then(half(stream), Beat::Hang),
            "timeout-idle",
        ),
        ("ends", |_, stream| then(half(stream), end()), "cut-stream"),
    ] {
        let seen = alone(fault, at_once, true).await;
        let label = format!("{name}: {seen:?}");
        assert_eq!(seen.status, StatusCode::OK, "{label}");
        assert_eq!(seen.text, "one two ", "{label}");
        assert_eq!(seen.error.as_deref(), Some(code), "{label}");
        assert!(!seen.complete, "{label}");
    }
}
