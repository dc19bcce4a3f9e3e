//! Answers that are written while they pass.

use super::server::{Beat, Server, chunk, end, head};
use super::*;
use FailureClass as F;
use backstop_core::fault::FailureClass;
use backstop_core::input::FinishReason;

const EVENTS: &str = "Text/event-stream; charset=utf-8";

fn role() -> String {
    delta(r#"{"role":"assistant","content":""}"#, "null")
}

fn delta(delta: &str, finish: &str) -> String {
    format!(
        "data: {{\"id\":\"1\",\"model\":\"gpt-up-1\",\"choices\":[{{\"index\":0,\"delta\":{delta},\"finish_reason\":{finish}}}]}}\n\n"
    )
}

fn word(text: &str) -> String {
    delta(&format!("{{\"content\":\"{text}\"}}"), "null")
}

async fn open(script: Vec<Beat>, timeouts: Timeouts) -> Result<Reply, Failure> {
    let server = Server::always(script).await;
    let upstream = Upstream::new();
    let target = chat_target(&upstream, &server.url());
    upstream.call(chat(&target, true, timeouts)).await
}

async fn fails_before(script: Vec<Beat>, timeouts: Timeouts) -> F {
    open(script, timeouts).await.unwrap_err().class
}

#[tokio::test]
async fn a_stream_passes_byte_for_byte_wherever_it_is_cut_into_pieces() {
    let body = format!(
        ": hello\n\n{}data: {{\"choices\":[{{\"index\":0,\"delta\":{{\"content\":\"hi\"}},\"logprobs\":{{\"content\":[{{\"logprob\":-0.6931471805599453}}]}}}}]}}\r\n\r\n{}{}data: {{\"choices\":[],\"usage\":{{\"total_tokens\":9}}}}\n\ndata: [DONE]\n\n",
        role(),
        word(" you"),
        delta("{}", "\"length\""),
    );
    for size in [1, 5, 64, 10_000] {
        let mut script = vec![head(EVENTS)];
        script.extend(
            body.as_bytes()
                .chunks(size)
                .map(|piece| chunk(std::str::from_utf8(piece).unwrap())),
        );
        script.push(end());
        let (passed, failure, seen) = drain(open(script, patient()).await.unwrap()).await;
        assert_eq!(passed, body, "in pieces of {size}");
        assert!(failure.is_none(), "{failure:?}");
        assert!(seen.done && seen.complete);
        assert_eq!(seen.text, "hi you");
        assert_eq!((seen.events, seen.events_malformed), (5, 0));
        assert_eq!(seen.facts.finish_reason, Some(FinishReason::Length));
        assert_eq!(seen.facts.served_model.as_deref(), Some("gpt-up-1"));
        assert!((seen.facts.confidence.unwrap() - 0.5).abs() < 1e-9);
        assert_eq!(seen.facts.usage.unwrap().total_tokens, 9);
    }
}

#[tokio::test]
async fn the_first_event_comes_before_the_others_are_written() {
    let begun = role() + &word("hi");
    let script = vec![head(EVENTS), chunk(&role()), chunk(&word("hi")), Beat::Hang];
    let Reply::Stream(reply) = open(script, patient()).await.unwrap() else {
        panic!("no stream");
    };
    assert_eq!(reply.first, begun);
    assert!(!reply.watch.facts().ended);
}

#[tokio::test]
async fn until_the_first_event_another_model_may_be_asked() {
    let first = Timeouts {
        first_token: SHORT,
        ..patient()
    };
    let overloaded =
        "data: {\"error\":{\"type\":\"overloaded_error\",\"message\":\"Overloaded\"}}\n\n";
    let named = "event: error\ndata: {\"message\":\"m\",\"code\":\"rate_limit_exceeded\"}\n\n";
    for (name, body, class) in [
        ("an error event", overloaded.to_owned(), F::Overload),
        ("an event named error", named.to_owned(), F::RateLimit),
        ("an error behind the role", role() + overloaded, F::Overload),
        ("no JSON", "data: oops\n\n".to_owned(), F::CutStream),
        (
            "much that is no JSON",
            "data: oops\n\n".repeat(4),
            F::Malformed,
        ),
        (
            "nothing but a role",
            role() + "data: [DONE]\n\n",
            F::Malformed,
        ),
        ("only the end", "data: [DONE]\n\n".to_owned(), F::Malformed),
        ("nothing", String::new(), F::CutStream),
        ("half an event", "data: {\"choi".to_owned(), F::CutStream),
    ] {
        let mut script = vec![head(EVENTS)];
        script.extend((!body.is_empty()).then(|| chunk(&body)));
        script.push(end());
        assert_eq!(fails_before(script, patient()).await, class, "{name}");
    }
    for preamble in [": keep-alive\n\n", &role()] {
        let silent = vec![head(EVENTS), chunk(preamble), Beat::Hang];
        assert_eq!(fails_before(silent, first).await, F::TimeoutFirstToken);
    }
    let reset = vec![head(EVENTS), Beat::Wait(SHORT), Beat::Reset];
    assert_eq!(fails_before(reset, patient()).await, F::CutStream);
}

#[tokio::test]
async fn what_is_no_stream_is_malformed_unless_it_is_an_error() {
    let page = vec![head("text/html"), chunk("<html>"), end()];
    assert_eq!(fails_before(page, patient()).await, F::Malformed);
    let whole = vec![
        head("application/json"),
        chunk("{\"choices\":[{\"message\":{}}]}"),
        end(),
    ];
    assert_eq!(fails_before(whole, patient()).await, F::Malformed);
    let error = vec![
        head("application/json"),
        chunk("{\"error\":{\"code\":429}}"),
        end(),
    ];
    assert_eq!(fails_before(error, patient()).await, F::RateLimit);
}

#[tokio::test]
async fn what_was_cut_is_never_presented_as_complete() {
    let stump = "data: {\"choices\":[{\"index\":0,\"delta\":{\"conte";
    let whole = role() + &word("hi");
    let idle = Timeouts {
        idle: SHORT,
        ..patient()
    };
    let total = Timeouts {
        total: SHORT * 2,
        ..patient()
    };
    let error = "data: {\"error\":{\"message\":\"secret of 10.0.0.1\"}}\n\n";
    for (name, last, timeouts, class) in [
        ("ends", vec![end()], patient(), F::CutStream),
        (
            "ends within an event",
            vec![chunk(stump), end()],
            patient(),
            F::CutStream,
        ),
        (
            "closes",
            vec![chunk(stump), Beat::Close],
            patient(),
            F::CutStream,
        ),
        (
            "resets",
            vec![Beat::Wait(SHORT), Beat::Reset],
            patient(),
            F::CutStream,
        ),
        (
            "stalls",
            vec![chunk(stump), Beat::Hang],
            idle,
            F::TimeoutIdle,
        ),
        ("takes too long", vec![Beat::Hang], total, F::TimeoutTotal),
        ("errs", vec![chunk(error), end()], patient(), F::ServerError),
    ] {
        let mut script = vec![
            head(EVENTS),
            chunk(&whole),
            Beat::Wait(Duration::from_millis(20)),
        ];
        script.extend(last);
        let (passed, failure, seen) = drain(open(script, timeouts).await.unwrap()).await;
        assert_eq!(passed, whole, "{name}: whole events only");
        let failure = failure.unwrap_or_else(|| panic!("{name}: presented as complete"));
        assert_eq!(failure.class, class, "{name}: {failure}");
        assert!(!seen.complete, "{name}");
    }
}

#[tokio::test]
async fn a_finish_reason_or_done_completes_a_stream() {
    let finish = delta("{}", "\"stop\"");
    for last in ["data: [DONE]\n\n", "data: [DONE]", "data: [DONE]\n", ""] {
        let body = role() + &finish + last;
        let script = vec![head(EVENTS), chunk(&body), end()];
        let (passed, failure, seen) = drain(open(script, patient()).await.unwrap()).await;
        assert!(failure.is_none(), "{last:?}: {failure:?}");
        assert!(
            passed.starts_with(&body) && passed.ends_with("\n\n"),
            "{passed:?}"
        );
        assert_eq!(seen.done, !last.is_empty());
    }
    // After the whole answer nothing spoils it: counts may be missing.
    for last in [Beat::Close, Beat::Reset] {
        let script = vec![
            head(EVENTS),
            chunk(&(role() + &finish)),
            Beat::Wait(Duration::from_millis(20)),
            last,
        ];
        let (passed, failure, seen) = drain(open(script, patient()).await.unwrap()).await;
        assert!(failure.is_none(), "{failure:?}");
        assert_eq!(passed, role() + &finish + "data: [DONE]\n\n");
        assert!(seen.complete);
    }
    let body = word("hi") + "data: [DONE]\n\n" + "data: more\n\n";
    let script = vec![head(EVENTS), chunk(&body), Beat::Reset];
    let (passed, failure, _) = drain(open(script, patient()).await.unwrap()).await;
    assert_eq!(passed, word("hi") + "data: [DONE]\n\n");
    assert!(failure.is_none());
}

#[tokio::test]
async fn an_upstream_that_forgets_to_end_is_not_waited_for() {
    let body = word("hi") + &delta("{}", "\"stop\"");
    let script = vec![head(EVENTS), chunk(&body), Beat::Hang];
    let (passed, failure, seen) = drain(open(script, patient()).await.unwrap()).await;
    assert!(failure.is_none(), "{failure:?}");
    assert_eq!(passed, body + "data: [DONE]\n\n");
    assert!(seen.complete && !seen.done);
}

#[tokio::test]
async fn comments_keep_no_answer_alive() {
    let mut script = vec![head(EVENTS), chunk(&word("hi"))];
    script.extend((0..40).flat_map(|_| [Beat::Wait(SHORT / 4), chunk(": ping\n\n")]));
    let idle = Timeouts {
        idle: SHORT,
        ..patient()
    };
    let (_, failure, _) = drain(open(script, idle).await.unwrap()).await;
    assert_eq!(failure.unwrap().class, F::TimeoutIdle);
}

#[tokio::test]
async fn a_choice_that_has_not_begun_is_missing() {
    let body = word("hi") + &delta("{}", "\"stop\"");
    let server = Server::always(vec![head(EVENTS), chunk(&body), end()]).await;
    let upstream = Upstream::new();
    let mut call = chat(&chat_target(&upstream, &server.url()), true, patient());
    let asked =
        Bytes::from_static(br#"{"model": "route", "stream": true, "n": 2, "messages": []}"#);
    let layout = OpenAiRequest::parse(Api::Chat, &asked).unwrap().layout;
    (call.body, call.path) = (asked, Path::OpenAi(Api::Chat, layout));
    let (_, failure, _) = drain(upstream.call(call).await.unwrap()).await;
    assert_eq!(failure.unwrap().class, F::CutStream);
}

#[tokio::test]
async fn every_choice_needs_its_finish_reason() {
    let second = "data: {\"choices\":[{\"index\":1,\"delta\":{\"content\":\"x\"}}]}\n\n";
    let body = word("hi") + second + &delta("{}", "\"stop\"");
    let script = vec![head(EVENTS), chunk(&body), end()];
    let (_, failure, _) = drain(open(script, patient()).await.unwrap()).await;
    assert_eq!(failure.unwrap().class, F::CutStream);
}

#[tokio::test]
async fn single_malformed_events_are_left_out_and_counted() {
    let oops = "data: {oops\n\n";
    let parts = |with: &str| {
        [
            role(),
            with.to_owned(),
            word("a"),
            with.to_owned(),
            word("b"),
            "data: [DONE]\n\n".to_owned(),
        ]
    };
    for whole in [true, false] {
        let mut script = vec![head(EVENTS)];
        if whole {
            script.push(chunk(&parts(oops).concat()));
        } else {
            for part in parts(oops) {
                script.extend([chunk(&part), Beat::Wait(Duration::from_millis(5))]);
            }
        }
        script.push(end());
        let (passed, failure, seen) = drain(open(script, patient()).await.unwrap()).await;
        assert!(failure.is_none(), "{failure:?}");
        assert_eq!(passed, parts("").concat());
        assert_eq!((seen.events, seen.events_malformed), (3, 2));
        assert_eq!(seen.text, "ab");
    }
    let script = vec![head(EVENTS), chunk(&(word("a") + &oops.repeat(4))), end()];
    let Err(failure) = open(script, patient()).await else {
        panic!("a stream of garbage passed");
    };
    assert_eq!(failure.class, F::Malformed);
}

#[tokio::test]
async fn the_kept_text_is_bounded() {
    let body = role() + &word(&"ä".repeat(1000)) + &word("end") + "data: [DONE]\n\n";
    let script = vec![head(EVENTS), chunk(&body), end()];
    let (_, _, seen) = drain(open(script, patient()).await.unwrap()).await;
    assert_eq!(seen.text, "ä".repeat(512));
    assert_eq!(seen.text_bytes, 2003);
}

#[tokio::test]
async fn a_stream_of_one_endless_event_is_given_up() {
    let mut script = vec![
        head(EVENTS),
        chunk(&word("a")),
        Beat::Wait(Duration::from_millis(20)),
    ];
    script.extend((0..40).map(|_| chunk(&"x".repeat(64 * 1024))));
    let (passed, failure, _) = drain(open(script, patient()).await.unwrap()).await;
    assert_eq!(passed, word("a"));
    assert_eq!(failure.unwrap().class, F::Malformed);
}
