//! Two responses in one stream, read as a client reads it: by item.

use super::*;

fn answer(id: &str, pieces: &[&str]) -> Answer {
    Answer {
        id: id.to_owned(),
        created_s: id.len() as u64,
        model: format!("model-{id}"),
        pieces: pieces.iter().map(|piece| (*piece).to_owned()).collect(),
        logprobs: None,
        tokens: 2,
    }
}

/// The first `count` events of an answer.
fn begin(answer: &Answer, count: usize) -> Vec<u8> {
    let events = (0..count).map_while(|at| answer.event(at));
    events.flat_map(|event| event.to_vec()).collect()
}

/// The data of events, whose numbers go on from 0 and whose names are right.
fn read(stream: &[u8]) -> Vec<Value> {
    let read = |(position, event): (usize, crate::openai::sse::Event<'_>)| {
        let data: Value = serde_json::from_slice(&event.data.unwrap()).unwrap();
        assert_eq!(data["sequence_number"], position, "{data}");
        assert_eq!(
            data["type"].as_str().unwrap().as_bytes(),
            event.name.unwrap()
        );
        data
    };
    events(stream).enumerate().map(read).collect()
}

/// What a client that follows the protocol makes of a stream: the items as
/// their events built them. Fails where the protocol is not kept.
fn gathered(stream: &[u8]) -> (Vec<Value>, Value) {
    let (mut items, mut end) = (Vec::<Value>::new(), Value::Null);
    for data in read(stream) {
        assert!(end.is_null(), "nothing follows the end: {data}");
        let at = data["output_index"].as_u64().map(|at| at as usize);
        match data["type"].as_str().unwrap() {
            "response.created" => assert!(items.is_empty()),
            "response.output_item.added" => {
                assert_eq!(at, Some(items.len()));
                items.push(data["item"].clone());
            }
            "response.content_part.added" => {
                let content = items[at.unwrap()]["content"].as_array_mut().unwrap();
                assert_eq!(data["content_index"], content.len());
                content.push(data["part"].clone());
            }
            "response.output_text.delta" => {
                let item = &mut items[at.unwrap()];
                assert_eq!(item["id"], data["item_id"]);
                let text = &mut item["content"][0]["text"];
                *text = json!(format!(
                    "{}{}",
                    text.as_str().unwrap(),
                    data["delta"].as_str().unwrap()
                ));
            }
            "response.output_text.done" => {
                assert_eq!(items[at.unwrap()]["content"][0]["text"], data["text"]);
            }
            "response.content_part.done" => {
                let built = &items[at.unwrap()]["content"][0]["text"];
                assert_eq!(*built, data["part"]["text"]);
            }
            "response.output_item.done" => {
                let built = &items[at.unwrap()]["content"][0]["text"];
                assert_eq!(*built, data["item"]["content"][0]["text"]);
                items[at.unwrap()] = data["item"].clone();
            }
            "response.completed" => end = data["response"].clone(),
            other => panic!("{other}"),
        }
    }
    (items, end)
}

/// Text and status of each item.
fn told(items: &[Value]) -> Vec<(&str, &str)> {
    items
        .iter()
        .map(|item| {
            (
                item["content"][0]["text"].as_str().unwrap_or_default(),
                item["status"].as_str().unwrap(),
            )
        })
        .collect()
}

#[test]
fn what_was_cut_is_an_incomplete_item_and_the_answer_starts_again_behind_it() {
    // Created, item, part, and two of three pieces.
    let mut stream = begin(&answer("one", &["a", "b", "c"]), 5);
    let mut joined = Joined::of(&stream).unwrap();
    assert!(joined.can_restart());
    stream.extend_from_slice(&joined.between(" (again) "));
    // The second answer comes in pieces of its own, and ends.
    let second = answer("second", &["x", "y"]);
    for at in 0.. {
        let Some(event) = second.event(at) else { break };
        stream.extend_from_slice(&joined.adopt(&event));
    }
    let (items, end) = gathered(&stream);
    let expected = [
        ("ab", "incomplete"),
        (" (again) ", "completed"),
        ("xy", "completed"),
    ];
    assert_eq!(told(&items), expected);
    assert_eq!(end["output"], json!(items), "the end lists what was told");
    assert_eq!(
        (&end["id"], &end["created_at"]),
        (&json!("resp_one"), &json!(3)),
        "one response"
    );
    assert_eq!(end["model"], "model-second");
    assert_eq!(end["status"], "completed");
    assert!(!joined.can_restart(), "it has ended");
}

#[test]
fn an_answer_may_be_cut_twice_and_ids_stay_different() {
    let one = answer("one", &["a", "b"]);
    let mut stream = begin(&one, 4);
    let mut joined = Joined::of(&stream).unwrap();
    stream.extend_from_slice(&joined.between(" - "));
    // The same server says the same id again.
    let part = joined.adopt(&begin(&one, 5));
    stream.extend_from_slice(&part);
    assert!(joined.can_restart());
    stream.extend_from_slice(&joined.between(" - "));
    let last = joined.adopt(&one.events());
    stream.extend_from_slice(&last);
    let (items, end) = gathered(&stream);
    let expected = [
        ("a", "incomplete"),
        (" - ", "completed"),
        ("ab", "incomplete"),
        (" - ", "completed"),
        ("ab", "completed"),
    ];
    assert_eq!(told(&items), expected);
    assert_eq!(end["output"], json!(items));
    let mut ids: Vec<_> = items.iter().map(|item| item["id"].to_string()).collect();
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), 5, "{ids:?}");
}

#[test]
fn a_cut_between_the_ends_of_a_message_closes_the_rest() {
    let one = answer("one", &["a"]);
    // The seventh event ends the message.
    for count in 2..8 {
        let mut stream = begin(&one, count);
        let mut joined = Joined::of(&stream).unwrap();
        assert!(joined.can_restart(), "{count}");
        stream.extend_from_slice(&joined.between("again"));
        stream.extend_from_slice(&joined.adopt(&one.events()));
        let (items, end) = gathered(&stream);
        assert_eq!(items.len(), 3, "{count}");
        let status = if count < 7 { "incomplete" } else { "completed" };
        assert_eq!(items[0]["status"], status, "{count}");
        assert_eq!(end["output"], json!(items), "{count}");
    }
}

fn event(data: &Value) -> Bytes {
    named(data["type"].as_str().unwrap(), data)
}

#[test]
fn only_text_starts_again() {
    let created = begin(&answer("one", &[]), 1);
    let added = |item: Value| json!({"type": "response.output_item.added", "output_index": 0, "item": item});
    let call = added(json!({"type": "function_call", "id": "fc", "arguments": ""}));
    let reasoning = added(json!({"type": "reasoning", "id": "rs", "summary": []}));
    let ended = json!({"type": "response.output_item.done", "output_index": 0,
                       "item": {"type": "reasoning", "id": "rs", "summary": []}});
    let stray = json!({"type": "response.output_text.delta", "output_index": 0, "delta": "a"});
    let refusal = json!({"type": "response.refusal.delta", "output_index": 0, "delta": "a"});
    let message = added(json!({"type": "message", "id": "m", "content": []}));
    let unknown = json!({"type": "response.invented.tomorrow", "x": 1});
    for (passed, restarts) in [
        (vec![&call], false),
        (vec![&stray], false),
        (vec![&reasoning], false),
        (vec![&reasoning, &ended], true),
        (vec![&message, &refusal], false),
        (vec![&message, &unknown], true),
        (vec![&message, &message], false),
    ] {
        let mut joined = Joined::of(&created).unwrap();
        passed.iter().for_each(|data| joined.seen(&event(data)));
        assert_eq!(joined.can_restart(), restarts, "{passed:?}");
    }
    // What is kept has a bound.
    let mut joined = Joined::of(&begin(&answer("one", &["a"]), 3)).unwrap();
    let delta = json!({"type": "response.output_text.delta", "output_index": 0,
                       "delta": "b".repeat(KEPT_BYTES_MAX / 2)});
    joined.seen(&event(&delta));
    assert!(joined.can_restart());
    joined.seen(&event(&delta));
    joined.seen(&event(&delta));
    assert!(!joined.can_restart());
    // Beyond it nothing is kept any more, and probabilities count.
    assert!(joined.open.is_none());
    let kept = joined.kept_bytes;
    joined.seen(&event(&delta));
    assert_eq!(joined.kept_bytes, kept);
    let mut joined = Joined::of(&begin(&answer("one", &["a"]), 3)).unwrap();
    let likely = json!({"type": "response.output_text.delta", "output_index": 0, "delta": "b",
                        "logprobs": [{"token": "b".repeat(KEPT_BYTES_MAX), "logprob": -0.1}]});
    joined.seen(&event(&likely));
    assert!(!joined.can_restart());
}

#[test]
fn a_stream_that_does_not_begin_as_responses_do_cannot_go_on() {
    for first in [
        "",
        "data: oops\n\n",
        "data: {\"type\":\"response.created\",\"response\":{}}\n\n",
        "data: {\"type\":\"response.output_text.delta\",\"delta\":\"a\"}\n\n",
    ] {
        assert!(Joined::of(first.as_bytes()).is_none(), "{first}");
    }
}
