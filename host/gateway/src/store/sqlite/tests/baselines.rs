//! Baselines on disk: versions, the one in use, bounds.

use super::*;
use crate::store::NewBaseline;
use crate::store::baselines::{BASELINE_VERSIONS_MAX, BASELINES_MAX};
use backstop_core::evidence::baseline::Builder;

fn new(name: &str, at_ms: u64) -> NewBaseline {
    let mut builder = Builder::default();
    builder.value("latency-ms", at_ms as f64).unwrap();
    builder.rate("accuracy", true).unwrap();
    NewBaseline {
        name: name.into(),
        at_ms,
        by: "ann".into(),
        source: "a file".into(),
        note: String::new(),
        baseline: builder.build(),
    }
}

#[tokio::test]
async fn versions_are_counted_and_the_one_in_use_is_never_removed() {
    let dir = dir();
    let store = open(&dir);
    for at in 1..=3 {
        let head = store.add_baseline(new("calm", at)).await.unwrap();
        assert_eq!((u64::from(head.version), head.in_use), (at, true));
    }
    store.use_baseline("calm", 1).await.unwrap();
    let kept = store.baseline("calm", None).await.unwrap().unwrap();
    assert_eq!(kept.head.version, 1);
    assert_eq!(kept.baseline, new("calm", 1).baseline);
    assert_eq!(kept.head.metrics, ["accuracy", "latency-ms"]);
    let missing = store.use_baseline("calm", 9).await;
    assert!(
        matches!(missing, Err(StoreError::NotFound { .. })),
        "{missing:?}"
    );
    let still = store.baseline("calm", None).await.unwrap().unwrap();
    assert_eq!(still.head.version, 1, "a mistake changes nothing");

    // The newest that there may be, and the one that was in use until the last.
    for at in 4..=u64::from(BASELINE_VERSIONS_MAX) + 10 {
        store.add_baseline(new("calm", at)).await.unwrap();
    }
    let versions: Vec<u32> = store
        .baselines()
        .await
        .unwrap()
        .iter()
        .map(|h| h.version)
        .collect();
    assert_eq!(versions.len(), BASELINE_VERSIONS_MAX as usize);
    assert_eq!(versions.first(), Some(&(BASELINE_VERSIONS_MAX + 10)));
    store.use_baseline("calm", 11).await.unwrap();
    for at in 0..10 {
        store.add_baseline(new("other", at)).await.unwrap();
    }
    let kept = store.baseline("calm", Some(11)).await.unwrap();
    assert!(kept.is_some_and(|kept| kept.head.in_use));
}

#[tokio::test]
async fn names_are_bounded_and_removing_one_makes_room() {
    let dir = dir();
    let store = open(&dir);
    for at in 0..BASELINES_MAX {
        store.add_baseline(new(&format!("b{at}"), 1)).await.unwrap();
    }
    let full = store.add_baseline(new("more", 1)).await;
    assert!(matches!(
        full,
        Err(StoreError::BaselinesFull(BASELINES_MAX))
    ));
    store.add_baseline(new("b3", 2)).await.unwrap();
    store.remove_baseline("b3").await.unwrap();
    assert_eq!(store.baseline("b3", None).await.unwrap(), None);
    store.add_baseline(new("more", 1)).await.unwrap();
    let gone = store.remove_baseline("b3").await;
    assert!(matches!(gone, Err(StoreError::NotFound { .. })));
}
