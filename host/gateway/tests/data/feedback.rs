//! Feedback: found by every id, counted once, at the time of its answer, and
//! not lost by a restart.

use crate::faulty::{Fault, Faulty};
use crate::kit::{Answer, Model, Running, Says, chat, until};
use crate::reviews::resolve;
use backstop_core::evidence::SubjectRef;
use backstop_core::metric::{MetricsError, Moments, Proportion};
use backstop_gateway::store::{FoundAnswer, RememberedAnswer, ReviewFilter, Segment};
use backstop_gateway::telemetry::Snapshot;
use backstop_gateway::trail::RequestId;
use http::Request;
use http_body_util::{BodyExt, Full};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

/// A JSON route that takes feedback and plans by a policy, a chat route that
/// takes it, and one that does not.
fn config(model: SocketAddr) -> String {
    format!(
        r#"
        [providers.j]
        kind = "json"
        base_url = "http://{model}"
        [providers.a]
        kind = "openai"
        base_url = "http://{model}/v1"
        [models.scorer]
        provider = "j"
        confidence_pointer = "/p"
        label_pointer = "/label"
        releases = [{{ name = "r1" }}]
        [models.talker]
        provider = "a"
        [policies.layered]
        component = "builtin:layered-fallback"
        grants = {{ metrics = ["error-rate", "latency-ms"] }}
        [routes.score]
        kind = "json"
        models = ["scorer"]
        fallback = "layered"
        tags = {{ tier = "header:x-tier" }}
        [routes.score.feedback]
        positive_label = "fraud"
        outcomes = {{ refunded = "rate", saved = "value" }}
        segments = ["tier"]
        [routes.chat]
        kind = "chat"
        models = ["talker"]
        stream = {{ hold = "none" }}
        [routes.chat.feedback]
        [routes.deaf]
        kind = "json"
        models = ["scorer"]
        rules = ["no"]
        [rules.no]
        json = {{ label = "none" }}
        "#
    )
}

fn fraud(sure: f64) -> Says {
    Says::Json(json!({"label": "fraud", "p": sure}))
}

async fn start() -> (Running, Model) {
    let model = Model::start(fraud(0.9)).await;
    (Running::start(&config(model.addr)).await, model)
}

async fn predict(gateway: &Running, headers: &[(&str, &str)]) -> Answer {
    let answer = gateway.post_with("/v1/predict/score", headers, "{}").await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    answer
}

/// The id by which the gateway knows the request.
fn id(answer: &Answer) -> String {
    answer.header("x-backstop-request").unwrap().to_owned()
}

async fn tell(gateway: &Running, feedback: Value) -> Answer {
    gateway.post("/v1/feedback", feedback).await
}

fn rate_within(gateway: &Running, metric: &str, of: SubjectRef<'_>, window_s: u32) -> (u64, u64) {
    let now_ms = gateway.gateway.clock().now_ms();
    let store = gateway.gateway.evidence().store();
    let Proportion { events, trials } = store.rate(metric, of, window_s, now_ms).unwrap();
    (events, trials)
}

fn rate(gateway: &Running, metric: &str) -> (u64, u64) {
    rate_within(gateway, metric, SubjectRef::Route("score"), 3_600)
}

fn mean(gateway: &Running, metric: &str) -> Result<Moments, MetricsError> {
    let now_ms = gateway.gateway.clock().now_ms();
    let store = gateway.gateway.evidence().store();
    store.mean(metric, SubjectRef::Route("score"), 3_600, now_ms)
}

fn counter(gateway: &Running, name: &str) -> u64 {
    let telemetry = gateway.gateway.telemetry();
    let text = telemetry.encode(&Snapshot::default()).unwrap();
    let line = text.lines().find(|line| line.starts_with(name));
    line.map_or(0, |line| line.rsplit(' ').next().unwrap().parse().unwrap())
}

#[tokio::test]
async fn feedback_finds_its_answer_by_every_id_and_counts_everywhere() {
    let (gateway, model) = start().await;
    let gold = [("x-tier", "gold")];
    let first = predict(&gateway, &gold).await;
    model.say(fraud(0.6));
    let second = predict(&gateway, &[("x-request-id", "order-7")]).await;
    assert_eq!(second.header("x-request-id"), Some("order-7"));
    model.say(Says::Json(json!({"label": "ok", "p": 0.7})));
    let third = predict(&gateway, &gold).await;
    let decision = third.header("x-backstop-decision").unwrap();

    let told = tell(
        &gateway,
        json!({"id": id(&first), "label": "fraud", "by": "ann"}),
    )
    .await;
    assert_eq!(told.status, 200, "{}", told.text);
    let told = told.json();
    assert_eq!(told["request"], id(&first));
    assert_eq!(
        (&told["route"], &told["model"]),
        (&json!("score"), &json!("scorer"))
    );
    assert_eq!(told["release"], "r1");
    assert_eq!(
        (&told["status"], &told["taken"]),
        (&json!("taken"), &json!(["label", "correct"]))
    );
    let told = tell(&gateway, json!({"id": "order-7", "correct": false})).await;
    assert_eq!(
        (told.status.as_u16(), &told.json()["request"]),
        (200, &json!(id(&second)))
    );
    let told = tell(&gateway, json!({"id": decision, "label": "fraud"})).await;
    assert_eq!(
        (told.status.as_u16(), &told.json()["request"]),
        (200, &json!(id(&third)))
    );

    let release = SubjectRef::Release {
        model: "scorer",
        release: "r1",
    };
    for of in [
        SubjectRef::Route("score"),
        SubjectRef::Model("scorer"),
        release,
    ] {
        assert_eq!(rate_within(&gateway, "accuracy", of, 60), (1, 3), "{of:?}");
        assert_eq!(
            rate_within(&gateway, "accuracy{tier=gold}", of, 60),
            (1, 2),
            "{of:?}"
        );
        assert_eq!(
            rate_within(&gateway, "accuracy{tier=tin}", of, 60),
            (0, 0),
            "{of:?}"
        );
        // Twice `fraud` was answered, once rightly; twice it was right to.
        assert_eq!(rate_within(&gateway, "precision", of, 60), (1, 2), "{of:?}");
        assert_eq!(rate_within(&gateway, "recall", of, 60), (1, 2), "{of:?}");
    }
    let now_ms = gateway.gateway.clock().now_ms();
    let store = gateway.gateway.evidence().store();
    let bins = store.labelled("labelled", release, 60, now_ms).unwrap();
    let bins: Vec<_> = bins
        .iter()
        .filter(|bin| bin.answers > 0)
        .map(|bin| (bin.confidence, bin.right))
        .collect();
    assert_eq!(
        bins,
        [(0.6, 0), (0.7, 0), (0.9, 1)],
        "with their confidence"
    );
    let labels = store
        .shares("label", SubjectRef::Route("score"), 60, now_ms)
        .unwrap();
    let labels: Vec<_> = labels
        .iter()
        .map(|share| (&*share.category, share.count))
        .collect();
    assert_eq!(labels, [("fraud", 2), ("ok", 1)]);
    let taken = r#"backstop_feedback_total{route="score",kind="correct",result="taken"}"#;
    assert_eq!(counter(&gateway, taken), 3);
}

#[tokio::test]
async fn ratings_and_outcomes_count_as_they_are_configured() {
    let (gateway, _model) = start().await;
    // Asked for before the first, they are no evidence and no mistake.
    assert_eq!(rate(&gateway, "outcome:refunded"), (0, 0));
    assert_eq!(mean(&gateway, "outcome:saved").unwrap().samples, 0);
    assert_eq!(mean(&gateway, "rating").unwrap().samples, 0);
    assert!(mean(&gateway, "outcome:other").is_err());
    for (rating, refunded, saved) in [(0.5, true, 12.5), (1.0, false, 7.5)] {
        let answer = predict(&gateway, &[]).await;
        let outcomes = json!({"refunded": refunded, "saved": saved});
        let told = json!({"id": id(&answer), "rating": rating, "outcomes": outcomes});
        let told = tell(&gateway, told).await;
        let taken = json!(["rating", "outcome:refunded", "outcome:saved"]);
        assert_eq!(told.json()["taken"], taken);
    }
    assert_eq!(rate(&gateway, "outcome:refunded"), (1, 2));
    let saved = mean(&gateway, "outcome:saved").unwrap();
    assert_eq!((saved.samples, saved.mean), (2, 10.0));
    let rating = mean(&gateway, "rating").unwrap();
    assert_eq!((rating.samples, rating.mean), (2, 0.75));
    assert_eq!(rate(&gateway, "accuracy"), (0, 0));
}

#[tokio::test]
async fn the_same_again_changes_nothing_and_another_word_is_refused() {
    let (gateway, _model) = start().await;
    let answer = predict(&gateway, &[]).await;
    let right = json!({"id": id(&answer), "label": "fraud", "outcomes": {"refunded": true}});
    tell(&gateway, right.clone()).await;
    let again = tell(&gateway, right).await;
    assert_eq!(
        (again.status.as_u16(), &again.json()["status"]),
        (200, &json!("unchanged"))
    );
    let other = json!({"id": id(&answer), "label": "ok", "rating": 0.1});
    let refused = tell(&gateway, other).await;
    assert_eq!(
        (refused.status.as_u16(), &*refused.code()),
        (409, "feedback_contradicts")
    );
    assert_eq!(refused.json()["error"]["param"], "label");
    assert!(refused.text.contains("fraud"), "{}", refused.text);
    // Nothing of what was refused is taken; more of what was said is.
    assert_eq!(mean(&gateway, "rating").unwrap().samples, 0);
    let more = json!({"id": id(&answer), "correct": true, "rating": 0.5});
    let more = tell(&gateway, more).await.json();
    assert_eq!(
        (&more["taken"], &more["unchanged"]),
        (&json!(["rating"]), &json!(["correct"]))
    );
    assert_eq!(rate(&gateway, "accuracy"), (1, 1));
    assert_eq!(rate(&gateway, "recall"), (1, 1));
    assert_eq!(rate(&gateway, "outcome:refunded"), (1, 1));

    // That it was wrong is said first, what is right later: recall then.
    let wrong = predict(&gateway, &[]).await;
    tell(&gateway, json!({"id": id(&wrong), "correct": false})).await;
    assert_eq!(rate(&gateway, "precision"), (1, 2));
    let label = tell(&gateway, json!({"id": id(&wrong), "label": "ok"}))
        .await
        .json();
    assert_eq!(label["taken"], json!(["label"]));
    assert_eq!(rate(&gateway, "accuracy"), (1, 2));
    assert_eq!(rate(&gateway, "precision"), (1, 2));
}

/// An answer that was given `ago_ms` before now.
fn old(gateway: &Running, number: u64, ago_ms: u64) -> RememberedAnswer {
    RememberedAnswer {
        request: RequestId(number),
        caller_id: Some(format!("old-{number}").into()),
        decision: None,
        route: "score".into(),
        model: "scorer".into(),
        release: "r0".into(),
        arrived_ms: gateway.gateway.clock().now_ms() - ago_ms,
        confidence: Some(0.5),
        label: Some("fraud".into()),
        segments: vec![Segment {
            tag: "tier".into(),
            value: "tin".into(),
        }],
        passed_over: Vec::new(),
    }
}

#[tokio::test]
async fn what_comes_late_counts_in_the_windows_of_its_answer() {
    let (gateway, _model) = start().await;
    let hour = 3_600_000;
    let answers = vec![old(&gateway, 5, 2 * hour), old(&gateway, 6, 47 * hour)];
    gateway.store.add_answers(answers).await.unwrap();
    for number in [5, 6] {
        let told = json!({"id": format!("old-{number}"), "label": "fraud", "rating": 1});
        assert_eq!(tell(&gateway, told).await.status, 200);
    }
    let release = SubjectRef::Release {
        model: "scorer",
        release: "r0",
    };
    for of in [SubjectRef::Route("score"), release] {
        let within = |metric, window_s| rate_within(&gateway, metric, of, window_s);
        assert_eq!(within("accuracy", 3_600), (0, 0), "{of:?}");
        assert_eq!(within("accuracy", 4 * 3_600), (1, 1), "{of:?}");
        assert_eq!(within("precision{tier=tin}", 4 * 3_600), (1, 1), "{of:?}");
    }
    assert_eq!(mean(&gateway, "rating").unwrap().samples, 0);
}

#[tokio::test]
async fn ids_that_no_answer_has_are_told_apart() {
    let (gateway, model) = start().await;
    for unknown in ["nobody", "00000000000000ff", "order-7"] {
        let refused = tell(&gateway, json!({"id": unknown, "correct": true})).await;
        assert_eq!(
            (refused.status.as_u16(), &*refused.code()),
            (404, "feedback_unknown")
        );
    }
    // Older than is kept, before and after it is removed.
    let day = 86_400_000;
    let ancient = vec![old(&gateway, 5 << 40, 2 * day + 5_000)];
    gateway.store.add_answers(ancient).await.unwrap();
    let expired = json!({"id": format!("{:016x}", 5_u64 << 40), "correct": true});
    let refused = tell(&gateway, expired.clone()).await;
    assert_eq!(
        (refused.status.as_u16(), &*refused.code()),
        (410, "feedback_expired")
    );
    let now_ms = gateway.gateway.clock().now_ms();
    gateway
        .store
        .remove_answers(Vec::new(), now_ms - 2 * day)
        .await
        .unwrap();
    let refused = tell(&gateway, expired).await;
    assert_eq!(
        (refused.status.as_u16(), &*refused.code()),
        (410, "feedback_expired")
    );
    // A route that takes none says how it would.
    let deaf = gateway.post("/v1/predict/deaf", json!({})).await;
    let refused = tell(&gateway, json!({"id": id(&deaf), "correct": true})).await;
    assert_eq!(
        (refused.status.as_u16(), &*refused.code()),
        (404, "feedback_not_taken")
    );
    assert!(
        refused.text.contains("[routes.deaf.feedback]"),
        "{}",
        refused.text
    );
    // A request that no model answered.
    model.say(Says::Status(500, None));
    let failed = gateway.post("/v1/predict/score", json!({})).await;
    let refused = tell(&gateway, json!({"id": id(&failed), "correct": true})).await;
    assert_eq!(
        (refused.status.as_u16(), &*refused.code()),
        (404, "feedback_unknown")
    );
    assert!(refused.text.contains("`failed`"), "{}", refused.text);
    assert_eq!(rate(&gateway, "accuracy"), (0, 0));
}

#[tokio::test]
async fn everything_that_is_wrong_is_said_at_once() {
    let (gateway, _model) = start().await;
    let answer = predict(&gateway, &[]).await;
    let id = id(&answer);
    for (wrong, says, param) in [
        (json!([1]), "`feedback` must be an object", "feedback"),
        (json!({"label": "x"}), "`id` is missing", "id"),
        (json!({"id": id}), "says nothing", "feedback"),
        (json!({"id": id, "label": null}), "says nothing", "feedback"),
        (
            json!({"id": "", "label": "x"}),
            "`id` must be a string of 1 to 128",
            "id",
        ),
        (
            json!({"id": id, "lable": "x"}),
            "did you mean `label`?",
            "lable",
        ),
        (
            json!({"id": id, "label": ["x"]}),
            "`label` must be",
            "label",
        ),
        (
            json!({"id": id, "label": "x".repeat(257)}),
            "`label` must be",
            "label",
        ),
        (
            json!({"id": id, "rating": 1.01}),
            "`rating` must be a number from 0 to 1",
            "rating",
        ),
        (
            json!({"id": id, "correct": "yes"}),
            "`correct` must be true or false",
            "correct",
        ),
        (
            json!({"id": id, "outcomes": []}),
            "`outcomes` must be",
            "outcomes",
        ),
        (
            json!({"id": id, "outcomes": {"saved": "7"}}),
            "`outcomes.saved` must be",
            "outcomes.saved",
        ),
        (
            json!({"id": id, "outcomes": {"saved": true}}),
            "must be a number",
            "outcomes.saved",
        ),
        (
            json!({"id": id, "outcomes": {"refunded": 1}}),
            "must be true or false",
            "outcomes.refunded",
        ),
        (
            json!({"id": id, "outcomes": {"refundet": true}}),
            "did you mean `refunded`?",
            "outcomes.refundet",
        ),
        (
            json!({"id": id, "correct": true, "answer": "x"}),
            "`correct` is true",
            "answer",
        ),
        (
            json!({"id": id, "correct": true, "label": "ok"}),
            "at odds",
            "label",
        ),
        (
            json!({"feedback": []}),
            "must be a list of 1 to 1000",
            "feedback",
        ),
        (
            json!({"feedback": [{}], "id": id}),
            "beside `feedback`",
            "id",
        ),
    ] {
        let refused = tell(&gateway, wrong.clone()).await;
        let seen = (refused.status.as_u16(), &*refused.code());
        assert_eq!(seen, (400, "invalid_feedback"), "{wrong}: {}", refused.text);
        assert!(refused.text.contains(says), "{wrong}: {}", refused.text);
        assert_eq!(refused.json()["error"]["param"], param, "{wrong}");
    }
    let all = json!({"id": 7, "label": {}, "rating": -1, "outcomes": {"saved": "x"}, "x": 1});
    let refused = tell(&gateway, all).await;
    for field in ["`id`", "`label`", "`rating`", "`outcomes.saved`", "`x`"] {
        assert!(refused.text.contains(field), "{field}: {}", refused.text);
    }
    let broken = gateway.post_with("/v1/feedback", &[], "{\"id\":").await;
    assert_eq!(
        (broken.status.as_u16(), &*broken.code()),
        (400, "invalid_json")
    );
    let nan = gateway
        .post_with("/v1/feedback", &[], "{\"id\":\"x\",\"rating\":NaN}")
        .await;
    assert_eq!(nan.status, 400);
    assert_eq!(gateway.get("/v1/feedback").await.status, 405);
    assert_eq!(rate(&gateway, "accuracy"), (0, 0));
}

#[tokio::test]
async fn bulk_feedback_has_a_result_for_each_position() {
    let (gateway, _model) = start().await;
    let first = predict(&gateway, &[]).await;
    let second = predict(&gateway, &[]).await;
    let told = tell(
        &gateway,
        json!({"feedback": [
            {"id": id(&first), "correct": true},
            {"id": "nobody", "correct": true},
            {"id": id(&second), "rating": 7},
            {"id": id(&first), "correct": true},
            {"id": id(&first), "correct": false},
            {"id": id(&second), "label": "ok"},
            {"id": id(&second), "outcomes": {"unheard": 1}},
            7,
        ]}),
    )
    .await;
    assert_eq!(told.status, 200, "{}", told.text);
    let told = told.json();
    let results = told["data"].as_array().unwrap();
    let results: Vec<_> = results
        .iter()
        .map(|one| {
            let code = one["error"]["code"].as_str();
            code.or(one["status"].as_str()).unwrap()
        })
        .collect();
    assert_eq!(
        results,
        [
            "taken",
            "feedback_unknown",
            "invalid_feedback",
            "unchanged",
            "feedback_contradicts",
            "taken",
            "invalid_feedback",
            "invalid_feedback",
        ]
    );
    assert_eq!(told["data"][1]["id"], "nobody");
    assert_eq!(rate(&gateway, "accuracy"), (1, 2));
    let many: Vec<_> = (0..1_000)
        .map(|n| json!({"id": format!("n-{n}"), "rating": 1}))
        .collect();
    let told = tell(&gateway, json!({"feedback": many})).await.json();
    assert_eq!(told["data"].as_array().unwrap().len(), 1_000);
    let many = vec![json!({"id": "x", "rating": 1}); 1_001];
    assert_eq!(tell(&gateway, json!({"feedback": many})).await.status, 400);
}

#[tokio::test]
async fn a_stream_is_remembered_before_its_caller_has_all_of_it() {
    let model = Model::start(Says::Sure(&["a", "b"], 0.8)).await;
    let gateway = Running::start(&config(model.addr)).await;
    for _ in 0..5 {
        let stream = gateway.chat_stream("chat").await;
        assert!(stream.text.contains("[DONE]"));
        let told = tell(&gateway, json!({"id": id(&stream), "correct": true})).await;
        assert_eq!(told.status, 200, "{}", told.text);
    }
    let chat = SubjectRef::Route("chat");
    assert_eq!(rate_within(&gateway, "accuracy", chat, 60), (5, 5));
    let now_ms = gateway.gateway.clock().now_ms();
    let store = gateway.gateway.evidence().store();
    assert_eq!(
        store.measure("labelled", chat, 60, now_ms).unwrap().samples,
        5
    );
    let reasons = store.shares("finish-reason", chat, 60, now_ms).unwrap();
    assert_eq!((&*reasons[0].category, reasons[0].count), ("stop", 5));

    // One that is cut is no answer.
    model.say(Says::CutStream(&["a", "b"]));
    let cut = gateway.chat_stream("chat").await;
    let refused = tell(&gateway, json!({"id": id(&cut), "correct": true})).await;
    assert_eq!(refused.status, 404, "{}", refused.text);
}

#[tokio::test]
async fn feedback_may_come_as_soon_as_the_answer_is_whole_and_its_stream_still_open() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let (mut upstream, _) = listener.accept().await.unwrap();
        let mut request = [0; 4_096];
        let _ = upstream.read(&mut request).await.unwrap();
        let chunk = |delta: Value, finish: Value| {
            let choice = json!({"index": 0, "delta": delta, "finish_reason": finish});
            let chunk = json!({
                "id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m",
                "choices": [choice],
            });
            format!("data: {chunk}\n\n")
        };
        let text = chunk(json!({"content": "a"}), Value::Null);
        let end = chunk(json!({}), json!("stop"));
        let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n";
        let whole = format!("{head}{text}{end}");
        upstream.write_all(whole.as_bytes()).await.unwrap();
        // The end never comes.
        std::future::pending::<()>().await;
    });
    let gateway = Running::start(&config(addr)).await;
    let request = Request::post(format!("http://{}/v1/chat/completions", gateway.addr))
        .body(Full::new(chat("chat", true).to_string().into()))
        .unwrap();
    let mut stream = gateway.send(request).await;
    let id = stream.headers()["x-backstop-request"]
        .to_str()
        .unwrap()
        .to_owned();
    let mut seen = String::new();
    while !seen.contains("\"stop\"") {
        let frame = stream.body_mut().frame().await.unwrap().unwrap();
        seen.push_str(std::str::from_utf8(frame.data_ref().unwrap()).unwrap());
    }
    let told = tell(&gateway, json!({"id": id, "correct": true})).await;
    assert_eq!(told.status, 200, "{}", told.text);
}

#[tokio::test]
async fn any_number_of_labels_and_tags_takes_a_bounded_place() {
    let (gateway, model) = start().await;
    let mut feedback = Vec::new();
    for n in 0..300 {
        let label: String = format!("label-{n}");
        model.say(Says::Json(json!({"label": label, "p": 0.5})));
        let answer = predict(&gateway, &[("x-tier", &format!("tier-{n}"))]).await;
        feedback.push(json!({"id": id(&answer), "label": format!("right-{n}")}));
    }
    tell(&gateway, json!({"feedback": feedback})).await;
    assert_eq!(rate(&gateway, "accuracy"), (0, 300));
    assert_eq!(rate(&gateway, "accuracy{tier=tier-15}"), (0, 1));
    assert_eq!(rate(&gateway, "accuracy{tier=other}"), (0, 284));
    let store = gateway.gateway.evidence().store();
    let now_ms = gateway.gateway.clock().now_ms();
    let labels = store
        .shares("label", SubjectRef::Route("score"), 60, now_ms)
        .unwrap();
    assert_eq!(labels.len(), 64);
    assert_eq!(labels.iter().map(|share| share.count).sum::<u64>(), 300);
    let series = store.load().series;
    for n in 0..50 {
        let answer = predict(&gateway, &[("x-tier", &format!("new-{n}"))]).await;
        tell(
            &gateway,
            json!({"id": id(&answer), "label": format!("new-{n}")}),
        )
        .await;
    }
    assert_eq!(store.load().series, series);
}

#[tokio::test]
async fn a_restart_loses_no_answer_no_label_and_no_evidence() {
    let (gateway, model) = start().await;
    let told = predict(&gateway, &[("x-tier", "gold")]).await;
    tell(&gateway, json!({"id": id(&told), "label": "fraud"})).await;
    let untold = predict(&gateway, &[("x-tier", "gold")]).await;
    let (dir, _) = gateway.stop().await;

    let gateway = Running::start_in(&config(model.addr), dir.clone()).await;
    assert_eq!(rate(&gateway, "accuracy"), (1, 1));
    assert_eq!(rate(&gateway, "accuracy{tier=gold}"), (1, 1));
    let again = tell(&gateway, json!({"id": id(&told), "label": "fraud"})).await;
    assert_eq!(again.json()["status"], "unchanged");
    let late = tell(&gateway, json!({"id": id(&untold), "label": "ok"})).await;
    assert_eq!(late.status, 200, "{}", late.text);
    assert_eq!(rate(&gateway, "accuracy{tier=gold}"), (1, 2));
    let confidence = mean(&gateway, "confidence").unwrap();
    assert_eq!(
        confidence.samples, 2,
        "what the request path counts as well"
    );

    // A row that is damaged is left out; the others are not.
    let (dir, _) = gateway.stop().await;
    let path = dir.path().join("data/backstop.db");
    let database = rusqlite::Connection::open(path).unwrap();
    let damaged = database
        .execute(
            "UPDATE evidence SET kept = substr(kept, 1, 20) WHERE series LIKE '[\"accuracy\",%score%'",
            [],
        )
        .unwrap();
    assert_eq!(damaged, 3, "of the route, its model and its release");
    drop(database);
    let gateway = Running::start_in(&config(model.addr), dir).await;
    assert_eq!(rate(&gateway, "accuracy"), (0, 0));
    assert_eq!(rate(&gateway, "accuracy{tier=gold}"), (1, 2));
    assert_eq!(rate(&gateway, "precision"), (1, 2));
}

#[tokio::test]
async fn answers_that_are_older_than_they_are_kept_go_by_themselves() {
    let (gateway, model) = start().await;
    let day = 86_400_000;
    let answers = vec![old(&gateway, 5, 2 * day + 5_000), old(&gateway, 6, day)];
    gateway.store.add_answers(answers).await.unwrap();
    let (dir, _) = gateway.stop().await;
    let gateway = Running::start_in(&config(model.addr), dir.clone()).await;
    let found = async |gateway: &Running| {
        let ids = ["old-5", "old-6"].map(str::to_owned).to_vec();
        let found = gateway.store.find_answers(ids).await.unwrap();
        let is_there = |found| matches!(found, &FoundAnswer::Remembered(_));
        found.iter().map(is_there).collect::<Vec<_>>()
    };
    until("the old answer is gone", async || {
        found(&gateway).await == [false, true]
    })
    .await;
    let (dir, _) = gateway.stop().await;
    let text = config(model.addr).replace("segments", "keep_s = 3600\nsegments");
    let gateway = Running::start_in(&text, dir).await;
    until("so is the other", async || {
        found(&gateway).await == [false, false]
    })
    .await;
}

#[tokio::test]
async fn a_store_that_fails_gives_503_and_counts_nothing_until_it_works() {
    let model = Model::start(fraud(0.9)).await;
    let dir = Arc::new(tempfile::tempdir().unwrap());
    let store = Faulty::open(dir.path());
    let gateway = Running::start_on(store.clone(), &config(model.addr), dir).await;
    let written = predict(&gateway, &[]).await;
    tell(&gateway, json!({"id": id(&written), "rating": 1})).await;

    store.writes(Fault::Fails);
    let refused = tell(&gateway, json!({"id": id(&written), "correct": true})).await;
    assert_eq!(
        (refused.status.as_u16(), &*refused.code()),
        (503, "feedback_unavailable")
    );
    let waiting = predict(&gateway, &[]).await;
    for answer in [&written, &waiting] {
        let refused = tell(&gateway, json!({"id": id(answer), "correct": true})).await;
        assert_eq!(
            (refused.status.as_u16(), &*refused.code()),
            (503, "feedback_unavailable")
        );
        let bulk = json!({"feedback": [{"id": id(answer), "correct": true}]});
        assert_eq!(tell(&gateway, bulk).await.status, 503);
    }
    assert_eq!(rate(&gateway, "accuracy"), (0, 0));

    store.writes(Fault::None);
    for answer in [&written, &waiting] {
        let told = tell(&gateway, json!({"id": id(answer), "correct": true})).await;
        assert_eq!(told.json()["taken"], json!(["correct"]), "{}", told.text);
    }
    assert_eq!(rate(&gateway, "accuracy"), (2, 2));
    let remembered = r#"backstop_answers_remembered_total{route="score"}"#;
    assert_eq!(counter(&gateway, remembered), 2);
}

#[tokio::test]
async fn answers_that_the_store_never_takes_are_counted_as_lost() {
    let model = Model::start(fraud(0.9)).await;
    let dir = Arc::new(tempfile::tempdir().unwrap());
    let store = Faulty::open(dir.path());
    let gateway = Running::start_on(store.clone(), &config(model.addr), dir).await;
    store.writes(Fault::Fails);
    for _ in 0..3 {
        predict(&gateway, &[]).await;
    }
    let lost = r#"backstop_answers_lost_total{route="score"}"#;
    // The pauses are long; nothing else happens meanwhile.
    tokio::time::pause();
    for _ in 0..200 {
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    tokio::time::resume();
    assert_eq!(counter(&gateway, lost), 3);
}

#[tokio::test]
async fn a_resolved_review_is_a_label_of_its_answer_and_counts_once() {
    let model = Model::start(Says::Sure(&["a", "b"], 0.5)).await;
    let judged = config(model.addr).replace(
        "[routes.chat.feedback]",
        r#"review = true
        threshold = "confidence"
        [policies.confidence]
        component = "builtin:confidence-threshold"
        grants = { metrics = ["*"] }
        [policies.confidence.settings]
        accept_at = 0.99
        review_below = 0.9
        [routes.chat.feedback]"#,
    );
    let gateway = Running::start(&judged).await;
    let stream = gateway.chat_stream("chat").await;
    gateway.gateway.settle().await;
    let reviews = gateway.store.reviews(ReviewFilter {
        limit: 10,
        ..ReviewFilter::default()
    });
    let reviews = reviews.await.unwrap();
    assert_eq!(reviews.len(), 1);
    assert_eq!(reviews[0].item.confidence, Some(0.5));
    let resolution = json!({"outcome": "corrected", "answer": "c", "by": "ann"});
    resolve(&gateway, &reviews[0].id, resolution).await;
    gateway.gateway.settle().await;
    let chat = SubjectRef::Route("chat");
    assert_eq!(rate_within(&gateway, "accuracy", chat, 60), (0, 1));
    let now_ms = gateway.gateway.clock().now_ms();
    let store = gateway.gateway.evidence().store();
    assert_eq!(
        store.measure("labelled", chat, 60, now_ms).unwrap().samples,
        1
    );
    // The caller finds the same, and later the contrary.
    let same = tell(&gateway, json!({"id": id(&stream), "correct": false})).await;
    assert_eq!(same.json()["status"], "unchanged");
    let contrary = tell(&gateway, json!({"id": id(&stream), "correct": true})).await;
    assert_eq!(contrary.status, 409);
    assert_eq!(rate_within(&gateway, "accuracy", chat, 60), (0, 1));
}

#[tokio::test]
async fn no_two_requests_share_an_id_that_feedback_finds() {
    let (gateway, _model) = start().await;
    let mut ids = BTreeSet::new();
    let own = [("x-request-id", "again")];
    let mut last = String::new();
    for _ in 0..20 {
        let answer = predict(&gateway, &own).await;
        last = id(&answer);
        ids.insert(last.clone());
        ids.insert(answer.header("x-backstop-decision").unwrap().to_owned());
    }
    assert_eq!(ids.len(), 40);
    // An id that a caller gave twice means the newest.
    let told = tell(&gateway, json!({"id": "again", "rating": 1})).await;
    assert_eq!(told.json()["request"], last);
}

#[tokio::test]
async fn a_reload_begins_and_ends_to_take_feedback() {
    let model = Model::start(Says::Text("hi")).await;
    let with = config(model.addr);
    let without = with.replace("[routes.chat.feedback]", "");
    let gateway = Running::start(&without).await;
    let ask = || gateway.post("/v1/chat/completions", chat("chat", false));
    let before = ask().await;
    gateway.reload(&with).await;
    let told = tell(&gateway, json!({"id": id(&before), "correct": true})).await;
    assert_eq!(told.status, 404);
    let during = ask().await;
    let told = tell(&gateway, json!({"id": id(&during), "correct": true})).await;
    assert_eq!(told.status, 200, "{}", told.text);
    gateway.reload(&without).await;
    let told = tell(&gateway, json!({"id": id(&during), "rating": 1})).await;
    assert_eq!(
        (told.status.as_u16(), &*told.code()),
        (404, "feedback_not_taken")
    );
}
