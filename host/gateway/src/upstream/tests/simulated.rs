//! The simulated provider, through the same calls as the real ones.

use super::*;
use FailureClass as F;
use backstop_core::fault::FailureClass;
use serde_json::Value;

fn simulated(upstream: &Upstream, behaviour: Behaviour) -> (Arc<Simulated>, Arc<Target>) {
    let options = SimulatedOptions {
        seed: 5,
        behaviour,
        ..SimulatedOptions::default()
    };
    let simulated = upstream.simulate("sim", options);
    let endpoint = EndpointOptions::Simulated {
        simulated: Arc::clone(&simulated),
        upstream_model: None,
    };
    let target = target(upstream, endpoint, ReadingOptions::default());
    (simulated, target)
}

fn sure() -> Behaviour {
    Behaviour {
        confidence: 0.7,
        ..Behaviour::default()
    }
}

#[tokio::test(start_paused = true)]
async fn answers_have_the_configured_confidence_in_every_shape() {
    let upstream = Upstream::new();
    let (_, target) = simulated(&upstream, sure());
    let near = |confidence: Option<f64>| (confidence.unwrap() - 0.7).abs() < 1e-9;

    let whole = complete(
        upstream
            .call(chat(&target, false, patient()))
            .await
            .unwrap(),
    );
    assert!(near(whole.facts.confidence));
    assert_eq!(whole.facts.served_model.as_deref(), Some("m"));

    let reply = upstream.call(chat(&target, true, patient())).await.unwrap();
    let (body, failure, seen) = drain(reply).await;
    assert!(failure.is_none());
    assert!(near(seen.facts.confidence) && seen.done);
    assert!(body.ends_with("data: [DONE]\n\n"));
    assert_eq!(seen.text.split(' ').count(), 12);

    let predicted = complete(upstream.call(json(&target, patient())).await.unwrap());
    assert!(near(predicted.facts.confidence));
    assert_eq!(predicted.facts.scores.len(), 2);
    let value: Value = serde_json::from_slice(&predicted.body).unwrap();
    assert_eq!(value["label"].as_str(), predicted.facts.label.as_deref());
}

#[tokio::test(start_paused = true)]
async fn every_fault_is_attributed_like_a_real_one() {
    let upstream = Upstream::new();
    for (fault, status, whole, stream) in [
        (Fault::Status, 503, F::Overload, F::Overload),
        (Fault::Status, 429, F::RateLimit, F::RateLimit),
        (Fault::Status, 400, F::ClientFault, F::ClientFault),
        (Fault::Refuse, 503, F::Connection, F::Connection),
        (Fault::Hang, 503, F::TimeoutFirstToken, F::TimeoutFirstToken),
        (Fault::Cut, 503, F::CutStream, F::CutStream),
        (Fault::Malformed, 503, F::Malformed, F::Malformed),
    ] {
        let behaviour = Behaviour {
            error_rate: 1.0,
            fault,
            status,
            retry_after_s: Some(3),
            ..sure()
        };
        let (_, target) = simulated(&upstream, behaviour);
        let timeouts = Timeouts {
            first_token: SHORT,
            ..patient()
        };
        let failure = upstream
            .call(chat(&target, false, timeouts))
            .await
            .unwrap_err();
        assert_eq!(failure.class, whole, "{fault:?} {status}");
        if matches!(status, 429 | 503) && fault == Fault::Status {
            assert_eq!(failure.retry_after, Some(Duration::from_secs(3)));
        }
        match upstream.call(chat(&target, true, timeouts)).await {
            Err(failure) => assert_eq!(failure.class, stream, "{fault:?}"),
            Ok(reply) => {
                let (body, failure, seen) = drain(reply).await;
                assert_eq!(failure.unwrap().class, stream, "{fault:?}");
                assert!(!seen.complete && !body.contains("[DONE]"));
                assert!(seen.text_bytes > 0, "it breaks off half way");
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn it_can_be_made_to_fail_and_to_recover_while_it_runs() {
    let upstream = Upstream::new();
    let (_, target) = simulated(&upstream, sure());
    let handle = upstream.simulated("sim").unwrap();
    upstream.call(json(&target, patient())).await.unwrap();
    handle.change(Change {
        error_rate: Some(1.0),
        ..Change::default()
    });
    upstream.call(json(&target, patient())).await.unwrap_err();
    handle.reset();
    upstream.call(json(&target, patient())).await.unwrap();
    assert_eq!(handle.requests(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_reload_without_a_change_lets_it_play_on() {
    let upstream = Upstream::new();
    let (first, _) = simulated(&upstream, sure());
    let (same, _) = simulated(&upstream, sure());
    assert!(Arc::ptr_eq(&first, &same));
    let (other, _) = simulated(&upstream, Behaviour::default());
    assert!(!Arc::ptr_eq(&first, &other));
}

#[tokio::test(start_paused = true)]
async fn latency_and_pace_take_their_time() {
    let upstream = Upstream::new();
    let behaviour = Behaviour {
        latency_ms: 500,
        token_interval_ms: 100,
        tokens: 10,
        ..sure()
    };
    let (_, target) = simulated(&upstream, behaviour);
    let whole = complete(
        upstream
            .call(chat(&target, false, patient()))
            .await
            .unwrap(),
    );
    assert_eq!(whole.latency.as_millis() / 100, 15);
    let started = tokio::time::Instant::now();
    let reply = upstream.call(chat(&target, true, patient())).await.unwrap();
    if let Reply::Stream(reply) = &reply {
        assert_eq!(reply.first_token.as_millis() / 100, 5);
    }
    drain(reply).await;
    // The role with the first of ten words, the others, finish, end.
    assert_eq!(started.elapsed().as_millis() / 100, 5 + 11);
    let hasty = Timeouts {
        first_token: SHORT,
        ..patient()
    };
    let failure = upstream
        .call(chat(&target, false, hasty))
        .await
        .unwrap_err();
    assert_eq!(failure.class, F::TimeoutFirstToken);
}

#[tokio::test(start_paused = true)]
async fn a_request_that_is_none_is_the_clients_fault() {
    let upstream = Upstream::new();
    let (_, target) = simulated(&upstream, sure());
    let mut call = chat(&target, false, patient());
    call.body = Bytes::from_static(b"{}");
    let failure = upstream.call(call).await.unwrap_err();
    assert_eq!(failure.class, F::ClientFault);
    assert!(failure.relay.is_some());
}
