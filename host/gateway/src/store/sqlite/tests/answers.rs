//! Remembered answers, what is said about them, and evidence that is kept.

use super::*;
use crate::store::{KeptEvidence, PassedOver, RememberedAnswer, Segment};
use crate::trail::RequestId;
use backstop::DecisionId;

/// Ids of decisions are a thousand times as large.
const DECISION: u64 = 1 << 20;

fn answer(request: u64, route: &str, arrived_ms: u64) -> RememberedAnswer {
    RememberedAnswer {
        request: RequestId(request),
        caller_id: Some("mine".into()),
        decision: Some(DecisionId(request * DECISION)),
        route: route.into(),
        model: "m".into(),
        release: "r1".into(),
        arrived_ms,
        confidence: Some(0.1 + 0.2),
        label: Some("fraud".into()),
        segments: vec![Segment {
            tag: "tier".into(),
            value: "gold".into(),
        }],
        passed_over: vec![PassedOver {
            model: "small".into(),
            release: "r7".into(),
            confidence: 0.3,
            label: "fine".into(),
        }],
    }
}

fn hex(id: u64) -> String {
    format!("{id:016x}")
}

async fn found(store: &SqliteStore, id: &str) -> FoundAnswer {
    store.find_answers(vec![id.into()]).await.unwrap().remove(0)
}

fn remembered(answer: &RememberedAnswer) -> FoundAnswer {
    FoundAnswer::Remembered(Box::new(answer.clone()))
}

fn says(request: u64, facts: &[(&str, serde_json::Value)]) -> NewFeedback {
    let fact = |(kind, value): &(&str, serde_json::Value)| Fact {
        kind: (*kind).to_owned(),
        value: value.clone(),
    };
    NewFeedback {
        request: RequestId(request),
        facts: facts.iter().map(fact).collect(),
        by: Some("ann".into()),
    }
}

#[tokio::test]
async fn an_answer_is_found_as_it_was_by_each_of_its_ids() {
    let dir = dir();
    let store = open(&dir);
    let (first, second) = (answer(1_000, "a", 5), answer(1_001, "a", 6));
    let batch = vec![first.clone(), second.clone()];
    store.add_answers(batch.clone()).await.unwrap();
    store.add_answers(batch).await.unwrap(); // as after a timeout
    for (id, expected) in [
        (hex(1_000), &first),
        (hex(1_001 * DECISION), &second),
        ("mine".into(), &second),
    ] {
        assert_eq!(found(&store, &id).await, remembered(expected), "{id}");
    }
    for unknown in ["3e8", "", "x", &hex(2), &hex(1_002), &hex(u64::MAX)] {
        assert_eq!(
            found(&store, unknown).await,
            FoundAnswer::Unknown,
            "{unknown}"
        );
    }
    store.close().await;
    assert_eq!(found(&open(&dir), &hex(1_000)).await, remembered(&first));
}

#[tokio::test]
async fn what_is_said_of_an_answer_stands_and_goes_with_it() {
    let dir = dir();
    let store = open(&dir);
    store
        .add_answers(vec![answer(1_000, "a", 5)])
        .await
        .unwrap();
    let first = says(1_000, &[("label", json!("x")), ("rating", json!(0.5))]);
    let both = says(1_000, &[("correct", json!(true)), ("label", json!("y"))]);
    let more = says(
        1_000,
        &[("answer", json!({"b": 1, "a": 2})), ("label", json!("x"))],
    );
    let again = says(1_000, &[("answer", json!({"a": 2, "b": 1}))]);
    let told = vec![first, both, more, again, says(7, &[("label", json!("x"))])];
    let ends = store.add_feedback(told, 9).await.unwrap();
    let stands = Fact {
        kind: "label".into(),
        value: json!("x"),
    };
    let is_new = |is_new: &[bool]| FeedbackEnd::Kept {
        is_new: is_new.to_vec(),
    };
    assert_eq!(
        ends,
        [
            is_new(&[true, true]),
            FeedbackEnd::Contradicts(stands),
            is_new(&[true, false]),
            is_new(&[false]),
            FeedbackEnd::Gone,
        ]
    );
    let kinds = |facts: Vec<Fact>| facts.into_iter().map(|fact| fact.kind).collect::<Vec<_>>();
    let facts = store.feedback(RequestId(1_000)).await.unwrap();
    assert_eq!(
        kinds(facts),
        ["answer", "label", "rating"],
        "nothing of what was refused"
    );
    store.remove_answers(Vec::new(), 6).await.unwrap();
    assert_eq!(store.feedback(RequestId(1_000)).await.unwrap(), []);
}

#[tokio::test]
async fn answers_go_when_they_are_too_old_or_too_many_and_their_ids_say_so() {
    let dir = dir();
    let store = open(&dir);
    let old = (0..10).map(|n| answer(1_000 + n, "a", 100 + n));
    let other = (10..15).map(|n| answer(1_000 + n, "b", 100 + n));
    store.add_answers(old.chain(other).collect()).await.unwrap();
    let limit = |route: &str, oldest_ms, answers_max| AnswerLimits {
        route: route.into(),
        oldest_ms,
        answers_max,
    };
    // Of `a` the two oldest by age, then all but five; of `b` none.
    let limits = vec![limit("a", 102, 100), limit("b", 0, 5)];
    assert!(!store.remove_answers(limits, 0).await.unwrap());
    assert_eq!(found(&store, &hex(1_001)).await, FoundAnswer::Removed);
    assert_ne!(found(&store, &hex(1_002)).await, FoundAnswer::Removed);
    store
        .remove_answers(vec![limit("a", 0, 5)], 0)
        .await
        .unwrap();
    assert_eq!(found(&store, &hex(1_004)).await, FoundAnswer::Removed);
    assert_eq!(
        found(&store, &hex(1_004 * DECISION)).await,
        FoundAnswer::Removed
    );
    assert_eq!(
        found(&store, &hex(1_005)).await,
        remembered(&answer(1_005, "a", 105))
    );
    assert_eq!(
        found(&store, &hex(1_010)).await,
        remembered(&answer(1_010, "b", 110))
    );
    // What was never given is not called removed.
    assert_eq!(found(&store, &hex(1_020)).await, FoundAnswer::Unknown);
    assert_eq!(
        found(&store, &hex(1_020 * DECISION)).await,
        FoundAnswer::Unknown
    );
    // Those of a route that is gone, by age alone.
    store.remove_answers(Vec::new(), 112).await.unwrap();
    assert_eq!(found(&store, &hex(1_011)).await, FoundAnswer::Removed);
    assert_eq!(
        found(&store, &hex(1_012)).await,
        remembered(&answer(1_012, "b", 112))
    );
}

#[tokio::test]
async fn many_answers_are_removed_in_several_short_steps() {
    let dir = dir();
    let store = open(&dir);
    let many = (0..4_500).map(|n| answer(10_000 + n, "a", n));
    store.add_answers(many.collect()).await.unwrap();
    let mut steps = Vec::new();
    for _ in 0..3 {
        steps.push(store.remove_answers(Vec::new(), 5_000).await.unwrap());
    }
    assert_eq!(steps, [true, true, false]);
    assert_eq!(found(&store, "mine").await, FoundAnswer::Unknown);
}

#[tokio::test]
async fn evidence_is_kept_series_by_series_and_read_in_pages() {
    let dir = dir();
    let store = open(&dir);
    let one = |n: usize, series: &[u8]| KeptEvidence {
        key: format!("series-{n:04}"),
        series: series.to_vec(),
    };
    let first: Vec<_> = (0..100).map(|n| one(n, b"first")).collect();
    store.keep_evidence(first, 10, 0).await.unwrap();
    store
        .keep_evidence(vec![one(7, b"second")], 20, 0)
        .await
        .unwrap();
    let mut read = store.evidence("").await.unwrap();
    assert!(read.len() < 100);
    let rest = store.evidence(&read.last().unwrap().key).await.unwrap();
    read.extend(rest);
    assert_eq!(read.len(), 100);
    assert_eq!(
        (&read[6], &read[7]),
        (&one(6, b"first"), &one(7, b"second"))
    );
    assert_eq!(store.evidence("series-0099").await.unwrap(), []);
    // What was last kept before there is a window that reaches it goes.
    store
        .keep_evidence(vec![one(8, b"third")], 30, 20)
        .await
        .unwrap();
    let left = store.evidence("").await.unwrap();
    assert_eq!(left, [one(7, b"second"), one(8, b"third")]);
}

#[tokio::test]
async fn a_review_keeps_its_request_and_the_confidence_of_its_answer() {
    let dir = dir();
    let store = open(&dir);
    let review = NewReview {
        request_id: Some(RequestId(u64::MAX)),
        confidence: Some(0.25),
        ..item("fraud", "")
    };
    let kept = store.add_review(review.clone()).await.unwrap();
    assert_eq!(store.review(&kept.id).await.unwrap().unwrap().item, review);
}
