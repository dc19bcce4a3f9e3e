//! Room for instances: how many decisions may have one at the same time.
//!
//! Policies that may wait for models have a share of their own. They hold an
//! instance for as long as a model takes, and would otherwise leave none for
//! the policies that answer in microseconds. Queueing is bounded in length and
//! in time, and is nobody's deadline: a decision that found no room has failed
//! by the host's fault.

use crate::run::Path;
use std::time::Duration;
use tokio::sync::{Semaphore, SemaphorePermit};

/// Longest wait for room. Whoever waits longer than this is better served by
/// the default decision.
const WAIT_MAX: Duration = Duration::from_millis(500);
/// Decisions that may wait for each instance of a share: with more, those at
/// the end would wait in vain.
const QUEUED_FOR_EACH: usize = 4;

/// The room of a host.
pub(crate) struct Room {
    synchronous: Share,
    waiting: Share,
}

/// Instances that one kind of policy may have.
struct Share {
    instances: Semaphore,
    queue: Semaphore,
}

impl Room {
    /// Room for `instances_max` instances, at least one of each kind. Three
    /// quarters are for policies that wait: the others hold a thread as long as
    /// an instance, so there are never more of them than threads.
    pub(crate) fn new(instances_max: u32) -> Self {
        let synchronous = (instances_max as usize / 4).max(1);
        let waiting = (instances_max as usize).saturating_sub(synchronous).max(1);
        Room {
            synchronous: Share::new(synchronous),
            waiting: Share::new(waiting),
        }
    }

    /// Takes room for one instance until the permit is dropped. Waits for it,
    /// no longer than `deadline` and [`WAIT_MAX`].
    ///
    /// # Errors
    ///
    /// For people: that there was none.
    pub(crate) async fn take(
        &self,
        path: Path,
        deadline: Duration,
    ) -> Result<SemaphorePermit<'_>, String> {
        let share = match path {
            Path::Synchronous => &self.synchronous,
            Path::Waiting => &self.waiting,
        };
        if let Ok(permit) = share.instances.try_acquire() {
            return Ok(permit);
        }
        let Ok(_queued) = share.queue.try_acquire() else {
            return Err(
                "no instance was free and too many decisions wait for one (`instances_max`)"
                    .to_owned(),
            );
        };
        let limit = deadline.min(WAIT_MAX);
        match tokio::time::timeout(limit, share.instances.acquire()).await {
            Ok(Ok(permit)) => Ok(permit),
            _ => Err(format!(
                "no instance was free within {} ms (`instances_max`)",
                limit.as_millis()
            )),
        }
    }
}

impl Share {
    fn new(instances: usize) -> Self {
        Share {
            instances: Semaphore::new(instances),
            queue: Semaphore::new(instances * QUEUED_FOR_EACH),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt;
    use futures_util::future::join_all;

    const LONG: Duration = Duration::from_secs(60);

    #[tokio::test(start_paused = true)]
    async fn policies_that_wait_leave_room_for_those_that_do_not() {
        let room = Room::new(4);
        let mut held = Vec::new();
        for _ in 0..3 {
            held.push(room.take(Path::Waiting, LONG).await.unwrap());
        }
        assert!(room.take(Path::Waiting, LONG).await.is_err());
        assert!(room.take(Path::Synchronous, LONG).now_or_never().is_some());
        held.pop();
        assert!(room.take(Path::Waiting, LONG).now_or_never().is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn the_queue_is_bounded_in_time_and_length() {
        let room = Room::new(1);
        let _held = room.take(Path::Waiting, LONG).await.unwrap();
        let begun = tokio::time::Instant::now();
        let short = Duration::from_millis(20);
        assert!(room.take(Path::Waiting, short).await.is_err());
        assert_eq!(begun.elapsed(), short, "its own deadline");
        assert!(room.take(Path::Waiting, LONG).await.is_err());
        assert_eq!(begun.elapsed(), short + WAIT_MAX);

        let ended = join_all((0..QUEUED_FOR_EACH + 1).map(|_| room.take(Path::Waiting, LONG)));
        let refused = ended.await.into_iter().filter_map(Result::err);
        let at_once = refused.filter(|text| text.contains("too many")).count();
        assert_eq!(at_once, 1);
    }
}
