//! Evidence beyond `metrics`: answered within the grant, recorded, replayed.

use super::*;
use backstop::record::RunOutcome;

#[tokio::test]
async fn evidence_is_answered_within_the_grant_and_replays() {
    let world = world();
    let policy = world.activate(options("ask-evidence")).await;
    let record = world.ask(&policy).await.record;
    let RunOutcome::Abstained { reason } = &record.outcome else {
        panic!("no abstention: {:?}", record.outcome);
    };
    let expected = [
        r#""fraud""#,
        "0.25",
        r#"MetricsError::Denied("secret{tier=gold}")"#,
        "0.4",
        r#"MetricsError::Unknown("never")"#,
        "ComparisonVerdict::Worse",
        r#"MetricsError::Invalid("`alpha` must be above 0 and at most 0.5")"#,
        "Some(Severity::Critical)",
        r#"MetricsError::Denied("objective:secret")"#,
        r#"MetricsError::Unavailable("the number is not finite")"#,
        "LineReading::NotEnoughData(7)",
        r#"MetricsError::Invalid("`error-max` is 1, must be above 0 and below 1")"#,
    ];
    assert_eq!(*reason, expected.join("; "));
    assert_eq!(record.calls.len(), 12);

    let text = serde_json::to_string(&*record).unwrap();
    let record = serde_json::from_str(&text).unwrap();
    let replayer = world.host.replayer(HOSTILE, options("ask-evidence"));
    let replayer = replayer.await.unwrap();
    assert_eq!(replayer.replay(Arc::new(record)).await, None);
}
