//! The outbox as the store keeps it.

use super::*;
use crate::store::{MessageState, NewMessage};
use std::ops::Range;

/// Resolves a new review at `at_ms` with a message to `receiver`.
async fn announce(store: &SqliteStore, receiver: &str, at_ms: u64) -> Message {
    let review = store.add_review(item("fraud", "")).await.unwrap();
    let receiver = receiver.to_owned();
    let announce: Announce = Box::new(move |review| Some(message(review, &receiver, at_ms)));
    let resolved = store.resolve_review(&review.id, agree(), at_ms, announce);
    assert!(resolved.await.unwrap().first);
    let newest = messages(store, None).await.remove(0);
    assert_eq!(newest.message.about, review.id);
    newest
}

fn message(review: &Review, receiver: &str, at_ms: u64) -> NewMessage {
    let outcome = review.resolution.as_ref().unwrap().outcome;
    NewMessage {
        channel: "callbacks".into(),
        receiver: receiver.into(),
        url: format!("{receiver}/hook"),
        about: review.id.clone(),
        body: outcome.as_str().into(),
        created_ms: at_ms,
    }
}

async fn messages(store: &SqliteStore, state: Option<MessageState>) -> Vec<Message> {
    let filter = MessageFilter {
        state,
        limit: 100,
        ..MessageFilter::default()
    };
    store.messages(filter).await.unwrap()
}

/// Takes what is due at `times.start`, leased until `times.end`.
async fn take(store: &SqliteStore, times: Range<u64>, busy: &[&str]) -> Taken {
    let busy = busy.iter().map(|&name| name.to_owned()).collect();
    let taken = store.take_message(times.start, times.end, busy);
    taken.await.unwrap()
}

#[tokio::test]
async fn a_resolution_and_its_message_are_kept_together_and_once() {
    let dir = dir();
    let store = open(&dir);
    let told = announce(&store, "http://a", 10).await;
    assert_eq!(told.message.body, "agree");
    assert!(
        told.id.starts_with("msg-") && told.id.len() == 48,
        "{told:?}"
    );
    // The same again is no news.
    let again = store.resolve_review(
        &told.message.about,
        agree(),
        11,
        Box::new(|review| Some(message(review, "http://a", 11))),
    );
    assert!(!again.await.unwrap().first);
    // A resolution that is not kept has no message.
    let release = hold_writer(&store);
    let review = store.add_review(item("fraud", ""));
    drop(release);
    let review = review.await.unwrap();
    let filled = store.writer.submit("break", |connection| {
        connection.execute_batch(
            "CREATE TRIGGER no BEFORE INSERT ON outbox BEGIN SELECT raise(ABORT, 'no'); END",
        )?;
        Ok(())
    });
    filled.await.unwrap();
    let failed = store.resolve_review(
        &review.id,
        agree(),
        12,
        Box::new(|review| Some(message(review, "http://a", 12))),
    );
    assert!(matches!(failed.await, Err(StoreError::Database { .. })));
    let review = store.review(&review.id).await.unwrap().unwrap();
    assert_eq!(review.resolution, None);
    store.close().await;
    let store = open(&dir);
    assert_eq!(messages(&store, None).await, [told]);
}

#[tokio::test]
async fn what_is_taken_and_not_ended_is_due_again_after_its_lease() {
    let dir = dir();
    let store = open(&dir);
    let first = announce(&store, "http://a", 10).await;
    let second = announce(&store, "http://a", 20).await;
    let other = announce(&store, "http://b", 30).await;
    let taken = take(&store, 9..50, &[]).await;
    assert_eq!((taken.message, taken.next_due_ms), (None, Some(10)));
    // The one that has been due for longest, with its attempt counted.
    let taken = take(&store, 40..50, &[]).await.message.unwrap();
    assert_eq!(
        (&taken.id, taken.attempts, taken.due_ms),
        (&first.id, 1, Some(50))
    );
    // Others do not wait for a receiver that has its share.
    let taken = take(&store, 40..50, &["http://a"]).await.message.unwrap();
    assert_eq!(taken.id, other.id);
    let none = take(&store, 40..50, &["http://a"]).await;
    assert_eq!((none.message, none.next_due_ms), (None, Some(50)));
    assert_eq!(
        take(&store, 40..60, &[]).await.message.unwrap().id,
        second.id
    );
    // The process ends here, and nobody tells how the attempts did.
    store.close().await;
    let store = open(&dir);
    assert_eq!(take(&store, 49..90, &[]).await.next_due_ms, Some(50));
    let again = take(&store, 50..90, &[]).await.message.unwrap();
    assert_eq!((&again.id, again.attempts), (&first.id, 2));
    assert_eq!(again.message, first.message);
}

#[tokio::test]
async fn an_attempt_ends_once() {
    let dir = dir();
    let store = open(&dir);
    let id = announce(&store, "http://a", 10).await.id;
    let again = |due_ms| AttemptEnd::Again {
        due_ms,
        error: "status 500".into(),
    };
    let dead = || AttemptEnd::Dead {
        error: "status 410".into(),
    };
    let now = async || store.message(&id).await.unwrap().unwrap();
    take(&store, 10..20, &[]).await;
    store.end_attempt(&id, 1, again(40), 15).await.unwrap();
    let failed = now().await;
    assert_eq!(
        (failed.state, failed.due_ms),
        (MessageState::Pending, Some(40))
    );
    assert_eq!(failed.last_error.as_deref(), Some("status 500"));
    take(&store, 40..50, &[]).await;
    // A word about an attempt before comes too late, unless it is the good one.
    store.end_attempt(&id, 1, dead(), 45).await.unwrap();
    assert_eq!(now().await.state, MessageState::Pending);
    store
        .end_attempt(&id, 1, AttemptEnd::Delivered, 46)
        .await
        .unwrap();
    let delivered = now().await;
    assert_eq!(delivered.state, MessageState::Delivered);
    assert_eq!((delivered.ended_ms, delivered.last_error), (Some(46), None));
    assert!(
        delivered.message.body.is_empty(),
        "nobody needs it any more"
    );
    store.end_attempt(&id, 2, dead(), 47).await.unwrap();
    assert_eq!(now().await.state, MessageState::Delivered);
    assert_eq!(take(&store, 1_000..2_000, &[]).await, Taken::default());
}

#[tokio::test]
async fn the_outbox_is_bounded_and_dead_letters_can_be_revived() {
    let dir = dir();
    let options = StoreOptions {
        messages_pending_max: 2,
        messages_ended_max: 1,
        ..StoreOptions::default()
    };
    let store = SqliteStore::open(dir.path(), options).unwrap();
    for at in [1, 2] {
        announce(&store, "http://a", at).await;
    }
    // People are not kept from their work by a receiver that is down.
    let third = announce(&store, "http://a", 3).await;
    assert_eq!(third.state, MessageState::Dead);
    let error = third.last_error.as_deref();
    assert_eq!(error, Some("the outbox was full with 2 messages"));
    let fourth = announce(&store, "http://a", 4).await;
    let dead = messages(&store, Some(MessageState::Dead)).await;
    assert_eq!(dead, std::slice::from_ref(&fourth));
    let counts = store.message_counts().await.unwrap();
    let expected = MessageCount {
        channel: "callbacks".into(),
        pending: 2,
        dead: 1,
    };
    assert_eq!(counts, [expected]);

    let revived = store.revive_message(&fourth.id, 50).await.unwrap();
    assert_eq!(
        (revived.state, revived.due_ms),
        (MessageState::Pending, Some(50))
    );
    assert_eq!(revived.message, fourth.message);
    let again = store.revive_message(&fourth.id, 60).await.unwrap();
    assert_eq!(again, revived, "it is no dead letter any more");
    assert!(matches!(
        store.revive_message("msg-none", 60).await,
        Err(StoreError::NotFound {
            what: "message",
            ..
        })
    ));
    let page = MessageFilter {
        after: Some(fourth.id),
        limit: 1,
        ..MessageFilter::default()
    };
    let page = store.messages(page).await.unwrap();
    assert_eq!(page[0].message.created_ms, 2);
}

#[tokio::test]
async fn a_database_of_the_first_schema_is_brought_to_this_one() {
    let dir = dir();
    let old = Connection::open(dir.path().join(FILE_NAME)).unwrap();
    old.execute_batch(schema::MIGRATIONS[0]).unwrap();
    old.pragma_update(None, "user_version", 1).unwrap();
    old.execute(
        "INSERT INTO reviews (id, route, created_ms, request, note, status) \
         VALUES ('rev-1', 'fraud', 1, x'7b7d', '', 'pending')",
        [],
    )
    .unwrap();
    drop(old);
    let store = open(&dir);
    let review = store.review("rev-1").await.unwrap().unwrap();
    assert_eq!(review.item.callback, None);
    assert_eq!(
        (review.item.request_id, review.item.confidence),
        (None, None)
    );
    announce(&store, "http://a", 1).await;
}
