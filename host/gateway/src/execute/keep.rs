//! Reviews of answers that have been delivered: kept although the store
//! stumbles.
//!
//! Nobody waits for such a review who could be told that it was not kept, so
//! the store is asked again, within bounds: so many times, so many reviews at
//! once, and no longer than a shutdown waits once one has begun. Always holds: a review that was
//! not kept is counted (`backstop_reviews_lost_total`) and logged with the
//! decision that sent it, whatever kept it from the store.

use crate::gateway::Gateway;
use crate::store::{NewReview, StoreError};
use std::time::Duration;

/// How often the store is asked again.
const RETRIES_MAX: u32 = 9;
/// First pause; each is twice the one before, 51 s in all. By then a disk that
/// is full or locked wants a person.
const PAUSE_FIRST: Duration = Duration::from_millis(100);
/// How long one attempt may take. It is not repeated: the store may have the
/// review after all, and would have it twice.
const ATTEMPT_WAIT: Duration = Duration::from_secs(10);
/// Reviews that wait for the store at once, each with its request and answer
/// in memory.
pub(crate) const WAITING_MAX: usize = 64;

/// Keeps `review` of an answer that was delivered.
pub(super) async fn keep(gateway: &Gateway, review: NewReview) {
    let mut review = Unkept {
        gateway,
        review,
        why: Some("the gateway stopped first".to_owned()),
    };
    if review.attempt().await {
        return;
    }
    let Ok(_place) = gateway.shared().reviews_waiting.try_acquire() else {
        review.why = Some(format!("{WAITING_MAX} other reviews wait already"));
        return;
    };
    let mut pause = PAUSE_FIRST;
    for _ in 0..RETRIES_MAX {
        tokio::time::sleep(pause).await;
        if review.attempt().await {
            return;
        }
        pause *= 2;
    }
}

/// A review that counts as lost when it is dropped, which also happens when
/// the runtime ends before its time.
struct Unkept<'a> {
    gateway: &'a Gateway,
    review: NewReview,
    /// Why it is not kept; none once it is.
    why: Option<String>,
}

impl Unkept<'_> {
    /// Asks the store; false when it is worth asking again.
    async fn attempt(&mut self) -> bool {
        let adding = self.gateway.store().add_review(self.review.clone());
        match tokio::time::timeout(ATTEMPT_WAIT, adding).await {
            Ok(Ok(kept)) => {
                tracing::debug!(route = kept.item.route, id = kept.id, "sent to review");
                self.why = None;
                true
            }
            Ok(Err(error)) => {
                let again = is_passing(&error);
                self.why = Some(error.to_string());
                !again
            }
            Err(_) => {
                self.why = Some(format!("the store did not answer within {ATTEMPT_WAIT:?}"));
                true
            }
        }
    }
}

impl Drop for Unkept<'_> {
    fn drop(&mut self) {
        let Some(why) = &self.why else {
            return;
        };
        let route = &self.review.route;
        self.gateway.telemetry().review_lost(route);
        let decision = self.review.decision.map(|id| id.to_string());
        tracing::error!(
            route,
            decision,
            why,
            "the review of a delivered answer is lost"
        );
    }
}

/// True for what may pass by itself.
fn is_passing(error: &StoreError) -> bool {
    match error {
        StoreError::Busy(_)
        | StoreError::Locked(_)
        | StoreError::DiskFull(_)
        | StoreError::Directory { .. }
        | StoreError::Database { .. } => true,
        StoreError::Full { .. }
        | StoreError::IncidentsFull { .. }
        | StoreError::BaselinesFull(_)
        | StoreError::TooLarge { .. }
        | StoreError::NotFound { .. }
        | StoreError::AlreadyResolved(_)
        | StoreError::Corrupt(_)
        | StoreError::TooNew { .. }
        | StoreError::Closed => false,
    }
}
