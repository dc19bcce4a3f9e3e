//! What the store promises, against real files.

mod answers;
mod baselines;
mod messages;
mod objectives;

use super::*;
use crate::store::{Incidents, Order, ReviewOutcome, ReviewStatus};
use backstop::{DecisionId, IncidentSink, PolicyOptions};
use bytes::Bytes;
use serde_json::json;
use std::sync::mpsc;
use tempfile::TempDir;

fn dir() -> TempDir {
    tempfile::tempdir().unwrap()
}

fn open(dir: &TempDir) -> SqliteStore {
    SqliteStore::open(dir.path(), StoreOptions::default()).unwrap()
}

fn item(route: &str, note: &str) -> NewReview {
    NewReview {
        route: route.into(),
        created_ms: 1_700_000_000_000,
        request: Bytes::from_static(b"{\"amount\": 1}"),
        answer: Some(Bytes::from_static(b"\xff not text")),
        decision: Some(DecisionId(u64::MAX)),
        model: Some("fraud".into()),
        release: Some("r1".into()),
        note: note.into(),
        callback: None,
        request_id: None,
        confidence: None,
    }
}

fn agree() -> Resolution {
    Resolution {
        outcome: ReviewOutcome::Agree,
        label: None,
        answer: Some(json!({"fraud": true})),
        by: Some("ann".into()),
        note: None,
    }
}

/// Nobody is told.
fn silent() -> Announce {
    Box::new(|_| None)
}

fn pending(route: &str) -> ReviewFilter {
    ReviewFilter {
        status: Some(ReviewStatus::Pending),
        route: Some(route.into()),
        order: Order::Oldest,
        limit: 100,
        ..ReviewFilter::default()
    }
}

fn report(policy: &str, key: &str, severity: Severity) -> IncidentReport {
    IncidentReport {
        policy: policy.into(),
        key: key.into(),
        severity,
        title: "errors rise".into(),
        detail: "12 of 20".into(),
    }
}

/// Keeps the writer busy until the returned sender is used or dropped.
fn hold_writer(store: &SqliteStore) -> mpsc::Sender<()> {
    let (release, held) = mpsc::channel();
    drop(store.writer.submit("wait", move |_| {
        let _ = held.recv();
        Ok(())
    }));
    release
}

#[tokio::test]
async fn everything_survives_a_restart() {
    let dir = dir();
    let store = open(&dir);
    let kept = store.add_review(item("fraud", "low")).await.unwrap();
    let done = store.add_review(item("fraud", "done")).await.unwrap();
    let done = store.resolve_review(&done.id, agree(), 1_700_000_000_005, silent());
    let done = done.await.unwrap();
    assert!(done.first);
    let (incident, new) = store
        .raise_incident(report("p", "k", Severity::Error), 1, 7)
        .await
        .unwrap();
    assert!(new);
    let event = json!({"share": 25, "what": "advanced"});
    let event = store.add_rollout_event("m", 9, event).await.unwrap();
    let activation = Activation {
        id: 1,
        policy: "p".into(),
        revision: 3,
        digest: "d".into(),
        component_digest: "c".into(),
        options: PolicyOptions {
            settings: json!({"line": 0.5}),
            ..PolicyOptions::default()
        },
        at_ms: 11,
        by: "config".into(),
        source: "builtin:x".into(),
    };
    store.add_activation(activation.clone()).await.unwrap();
    store.close().await;
    assert!(matches!(
        store.add_review(item("fraud", "late")).await,
        Err(StoreError::Closed)
    ));

    let store = open(&dir);
    assert_eq!(store.reviews(pending("fraud")).await.unwrap(), [kept]);
    let stored = store.review(&done.review.id).await.unwrap();
    assert_eq!(stored, Some(done.review));
    let open_incidents = store.incidents(Some(IncidentState::Open), 10).await;
    assert_eq!(open_incidents.unwrap(), [incident]);
    let events = store.rollout_events(Some("m"), 10).await.unwrap();
    assert_eq!(events, [event]);
    assert_eq!(store.rollout_events(None, 10).await.unwrap(), events);
    let kept = store.activations("p", 10).await.unwrap();
    assert_eq!(kept, std::slice::from_ref(&activation));
    assert!(store.activations("q", 10).await.unwrap().is_empty());
    assert_eq!(store.last_revision("p").await.unwrap(), activation.revision);
    assert_eq!(store.last_revision("q").await.unwrap(), 0);
    store.check().await.unwrap();
}

#[tokio::test]
async fn an_accepted_review_outlives_a_kill() {
    let dir = dir();
    let store = open(&dir);
    let kept = store.add_review(item("fraud", "low")).await.unwrap();
    // What is on disk at this moment, without anybody closing anything.
    let copy = tempfile::tempdir().unwrap();
    for name in [FILE_NAME.to_owned(), format!("{FILE_NAME}-wal")] {
        std::fs::copy(dir.path().join(&name), copy.path().join(&name)).unwrap();
    }
    let after = open(&copy);
    assert_eq!(after.reviews(pending("fraud")).await.unwrap(), [kept]);
}

#[tokio::test]
async fn every_commit_is_synced() {
    let dir = dir();
    let read = |connection: &Connection| {
        let mode: String = connection.query_row("PRAGMA journal_mode", [], |row| row.get(0))?;
        let synchronous: i64 = connection.query_row("PRAGMA synchronous", [], |row| row.get(0))?;
        Ok((mode, synchronous))
    };
    let store = open(&dir);
    // A pragma of this kind is refused inside a transaction only for writing.
    let found = store.writer.submit("read", read).await.unwrap();
    assert_eq!(found, ("wal".to_owned(), 2));
}

#[tokio::test]
async fn a_second_resolution_is_a_conflict_and_a_repeated_one_is_not() {
    let dir = dir();
    let store = open(&dir);
    let review = store.add_review(item("fraud", "")).await.unwrap();
    let first = store
        .resolve_review(&review.id, agree(), 5, silent())
        .await
        .unwrap();
    let again = store
        .resolve_review(&review.id, agree(), 6, silent())
        .await
        .unwrap();
    assert_eq!((first.first, again.first), (true, false));
    assert_eq!(first.review, again.review);
    let other = Resolution {
        outcome: ReviewOutcome::Reject,
        ..agree()
    };
    match store.resolve_review(&review.id, other, 7, silent()).await {
        Err(StoreError::AlreadyResolved(stored)) => assert_eq!(*stored, first.review),
        other => panic!("{other:?}"),
    }
    assert!(matches!(
        store.resolve_review("rev-none", agree(), 8, silent()).await,
        Err(StoreError::NotFound { what: "review", .. })
    ));
}

#[tokio::test]
async fn a_full_queue_refuses_and_keeps_what_it_has() {
    let dir = dir();
    let options = StoreOptions {
        reviews_pending_max: 2,
        review_bytes_max: 30,
        ..StoreOptions::default()
    };
    let store = SqliteStore::open(dir.path(), options).unwrap();
    let first = store.add_review(item("fraud", "1")).await.unwrap();
    store.add_review(item("fraud", "2")).await.unwrap();
    assert!(matches!(
        store.add_review(item("fraud", "3")).await,
        Err(StoreError::Full { pending: 2, .. })
    ));
    // Another route has its own room, and resolving makes some.
    store.add_review(item("chat", "1")).await.unwrap();
    store
        .resolve_review(&first.id, agree(), 1, silent())
        .await
        .unwrap();
    store.add_review(item("fraud", "3")).await.unwrap();
    let mut counts = store.reviews_pending().await.unwrap();
    counts.sort();
    assert_eq!(counts, [("chat".to_owned(), 1), ("fraud".to_owned(), 2)]);

    let large = NewReview {
        request: vec![b' '; 31].into(),
        ..item("chat", "")
    };
    assert!(matches!(
        store.add_review(large).await,
        Err(StoreError::TooLarge { bytes: 41, max: 30 })
    ));
}

#[tokio::test]
async fn pages_follow_each_other_in_both_orders() {
    let dir = dir();
    let store = open(&dir);
    let mut ids = Vec::new();
    for n in 0..5 {
        let review = store.add_review(item("fraud", &n.to_string())).await;
        ids.push(review.unwrap().id);
    }
    for order in [Order::Oldest, Order::Newest] {
        let mut seen = Vec::new();
        loop {
            let filter = ReviewFilter {
                after: seen.last().cloned(),
                order,
                limit: 2,
                ..ReviewFilter::default()
            };
            let page = store.reviews(filter).await.unwrap();
            if page.is_empty() {
                break;
            }
            seen.extend(page.into_iter().map(|review| review.id));
        }
        if order == Order::Newest {
            seen.reverse();
        }
        assert_eq!(seen, ids);
    }
    let filter = ReviewFilter {
        after: Some("rev-none".into()),
        ..pending("fraud")
    };
    assert!(matches!(
        store.reviews(filter).await,
        Err(StoreError::NotFound { .. })
    ));
}

#[tokio::test]
async fn resolved_reviews_make_room_and_pending_ones_never_do() {
    let dir = dir();
    let options = StoreOptions {
        reviews_resolved_max: 1,
        ..StoreOptions::default()
    };
    let store = SqliteStore::open(dir.path(), options).unwrap();
    let mut ids = Vec::new();
    for _ in 0..3 {
        ids.push(store.add_review(item("fraud", "")).await.unwrap().id);
    }
    // The youngest first: what was resolved last is kept, not what came last.
    for (at, id) in [(20, &ids[2]), (30, &ids[1])] {
        let at = 1_700_000_000_000 + at;
        store
            .resolve_review(id, agree(), at, silent())
            .await
            .unwrap();
    }
    assert_eq!(store.review(&ids[2]).await.unwrap(), None);
    assert!(store.review(&ids[1]).await.unwrap().is_some());
    assert!(store.review(&ids[0]).await.unwrap().is_some());
}

#[tokio::test]
async fn a_job_that_fails_leaves_the_others_of_its_transaction_alone() {
    let dir = dir();
    let store = open(&dir);
    let release = hold_writer(&store);
    let first = store.add_review(item("fraud", "1"));
    let broken = store.writer.submit("break", |connection| {
        connection.execute("DELETE FROM reviews", [])?;
        connection.execute("INSERT INTO reviews (id) VALUES (1)", [])?;
        Ok(())
    });
    let second = store.add_review(item("fraud", "2"));
    drop(release);
    first.await.unwrap();
    assert!(matches!(broken.await, Err(StoreError::Database { .. })));
    second.await.unwrap();
    assert_eq!(store.reviews(pending("fraud")).await.unwrap().len(), 2);
}

#[tokio::test]
async fn a_full_disk_refuses_the_review_and_loses_none() {
    let dir = dir();
    let store = open(&dir);
    let set_pages = |pages: i64| {
        store.writer.submit("limit", move |connection| {
            connection.pragma_update_and_check(None, "max_page_count", pages, |_| Ok(()))?;
            Ok(())
        })
    };
    let kept = store.add_review(item("fraud", "1")).await.unwrap();
    set_pages(1).await.unwrap();
    let large = NewReview {
        request: vec![b' '; 1 << 20].into(),
        ..item("fraud", "2")
    };
    // Two at once: the second one must not slip in behind the roll-back.
    let release = hold_writer(&store);
    let (one, two) = (
        store.add_review(large),
        store.add_review(item("fraud", "3")),
    );
    drop(release);
    assert!(matches!(one.await, Err(StoreError::DiskFull(_))));
    let two = two.await;
    let mut expected = vec![kept];
    expected.extend(two.ok());
    set_pages(1 << 30).await.unwrap();
    expected.push(store.add_review(item("fraud", "4")).await.unwrap());
    assert_eq!(store.reviews(pending("fraud")).await.unwrap(), expected);
}

#[tokio::test]
async fn a_locked_database_is_an_error_and_recovers() {
    let dir = dir();
    let store = open(&dir);
    let other = Connection::open(store.path()).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let refused = store.add_review(item("fraud", "1")).await;
    assert!(matches!(refused, Err(StoreError::Locked(_))));
    // Reading goes on meanwhile.
    assert!(store.reviews(pending("fraud")).await.unwrap().is_empty());
    other.execute_batch("ROLLBACK").unwrap();
    store.add_review(item("fraud", "2")).await.unwrap();
}

#[tokio::test]
async fn more_work_than_the_queue_holds_is_refused_at_once() {
    let dir = dir();
    let store = open(&dir);
    let release = hold_writer(&store);
    // The thread may have taken what it commits together before it was held, so
    // twice what fits, and one.
    let mut results = Vec::new();
    for _ in 0..=2 * worker::JOBS_MAX {
        results.push(store.add_rollout_event("m", 1, json!(1)));
    }
    let busy = results.pop().unwrap();
    drop(release);
    assert!(matches!(busy.await, Err(StoreError::Busy(_))));
    results.remove(0).await.unwrap();
}

#[test]
fn damaged_files_are_named_and_left_alone() {
    let noise = vec![7_u8; 8192];
    let dir = dir();
    let path = dir.path().join(FILE_NAME);
    std::fs::write(&path, &noise).unwrap();
    let error = SqliteStore::open(dir.path(), StoreOptions::default()).unwrap_err();
    assert!(matches!(error, StoreError::Corrupt(_)), "{error:?}");
    assert_eq!(std::fs::read(&path).unwrap(), noise);
}

#[tokio::test]
async fn a_database_with_a_damaged_page_is_refused() {
    let dir = dir();
    let store = open(&dir);
    for _ in 0..50 {
        store.add_review(item("fraud", "1")).await.unwrap();
    }
    store.close().await;
    let path = dir.path().join(FILE_NAME);
    let mut bytes = std::fs::read(&path).unwrap();
    for byte in &mut bytes[4096..3 * 4096] {
        *byte = 0xa5;
    }
    std::fs::write(&path, &bytes).unwrap();
    let error = SqliteStore::open(dir.path(), StoreOptions::default()).unwrap_err();
    assert!(matches!(error, StoreError::Corrupt(_)), "{error:?}");
}

#[test]
fn a_newer_schema_is_left_to_the_version_that_wrote_it() {
    let dir = dir();
    drop(open(&dir));
    let path = dir.path().join(FILE_NAME);
    let connection = Connection::open(&path).unwrap();
    connection.pragma_update(None, "user_version", 99).unwrap();
    drop(connection);
    let error = SqliteStore::open(dir.path(), StoreOptions::default()).unwrap_err();
    assert!(matches!(error, StoreError::TooNew { found: 99, .. }));
}

#[test]
fn a_data_directory_that_is_a_file_is_an_error() {
    let dir = dir();
    let file = dir.path().join("data");
    std::fs::write(&file, "").unwrap();
    let error = SqliteStore::open(&file, StoreOptions::default()).unwrap_err();
    assert!(matches!(error, StoreError::Directory { .. }), "{error:?}");
}

#[cfg(unix)]
#[test]
fn what_people_asked_is_readable_for_the_owner_only() {
    use std::os::unix::fs::PermissionsExt;
    let dir = dir();
    let data = dir.path().join("data");
    let store = SqliteStore::open(&data, StoreOptions::default()).unwrap();
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(store.path()), 0o600);
    assert_eq!(mode(&data), 0o700);
}

#[tokio::test]
async fn incidents_are_one_for_each_problem_until_closed() {
    let dir = dir();
    let options = StoreOptions {
        incidents_open_max: 2,
        ..StoreOptions::default()
    };
    let store = SqliteStore::open(dir.path(), options).unwrap();
    let raise = |key: &str, severity, at| store.raise_incident(report("p", key, severity), 1, at);
    let (first, _) = raise("k", Severity::Error, 10).await.unwrap();
    let (again, new) = raise("k", Severity::Info, 20).await.unwrap();
    assert!(!new);
    assert_eq!((again.id, again.count), (first.id, 2));
    assert_eq!(again.report.severity, Severity::Error, "the worst stands");
    assert_eq!((again.opened_ms, again.last_seen_ms), (10, 20));

    let closed = store.close_incident(first.id, Some("ann".into()), 30).await;
    let closed = closed.unwrap();
    assert_eq!(closed.state, IncidentState::Closed);
    let twice = store.close_incident(first.id, Some("bob".into()), 40).await;
    assert_eq!(twice.unwrap(), closed);
    let (reopened, new) = raise("k", Severity::Critical, 50).await.unwrap();
    assert!(new && reopened.id != first.id);

    raise("k2", Severity::Info, 60).await.unwrap();
    assert!(matches!(
        raise("k3", Severity::Info, 70).await,
        Err(StoreError::IncidentsFull { open: 2, .. })
    ));
    let mut open = store.incidents_open().await.unwrap();
    open.sort();
    assert_eq!(open, [(Severity::Info, 1), (Severity::Critical, 1)]);
    assert!(matches!(
        store.close_incident(999, None, 80).await,
        Err(StoreError::NotFound { .. })
    ));
}

#[tokio::test]
async fn histories_keep_the_newest() {
    let dir = dir();
    let options = StoreOptions {
        rollout_events_max: 2,
        ..StoreOptions::default()
    };
    let store = SqliteStore::open(dir.path(), options).unwrap();
    for n in 0..4 {
        store.add_rollout_event("m", n, json!(n)).await.unwrap();
    }
    store.add_rollout_event("other", 9, json!(9)).await.unwrap();
    let events = store.rollout_events(Some("m"), 10).await.unwrap();
    let kept: Vec<_> = events.into_iter().map(|event| event.event).collect();
    assert_eq!(kept, [json!(3), json!(2)]);
}

#[tokio::test]
async fn the_sink_tells_new_from_known_and_survives_a_restart() {
    let dir = dir();
    let store: Arc<dyn Store> = Arc::new(open(&dir));
    let sink = Incidents::start(store.clone()).await.unwrap();
    assert_eq!(sink.raise(report("p", "k", Severity::Info)), Ok(true));
    for _ in 0..9 {
        assert_eq!(sink.raise(report("p", "k", Severity::Error)), Ok(false));
    }
    let stored = settled(&store, 10).await;
    assert_eq!(stored.report.severity, Severity::Error);

    let sink = Incidents::start(store.clone()).await.unwrap();
    assert_eq!(sink.raise(report("p", "k", Severity::Info)), Ok(false));
    let id = settled(&store, 11).await.id;
    sink.close(id, None).await.unwrap();
    assert_eq!(sink.raise(report("p", "k", Severity::Info)), Ok(true));
    assert_eq!(sink.dropped(), 0);
}

#[tokio::test]
async fn a_flood_of_incidents_is_dropped_and_counted() {
    let dir = dir();
    let store = Arc::new(open(&dir));
    let sink = Incidents::start(store.clone()).await.unwrap();
    let release = hold_writer(&store);
    // Nothing is awaited in between: the task that writes cannot run.
    let refused = (0..2_000)
        .filter(|_| sink.raise(report("p", "k", Severity::Info)).is_err())
        .count();
    assert_eq!(refused, 2_000 - 1_024);
    assert_eq!(sink.dropped(), refused as u64);
    drop(release);
    let store: Arc<dyn Store> = store;
    settled(&store, 1_024).await;
}

/// Waits until the newest open incident was counted `count` times.
async fn settled(store: &Arc<dyn Store>, count: u64) -> Incident {
    for _ in 0..500 {
        let open = store.incidents(Some(IncidentState::Open), 1).await.unwrap();
        if let Some(incident) = open.into_iter().next()
            && incident.count == count
        {
            return incident;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("the incident was not counted {count} times");
}
