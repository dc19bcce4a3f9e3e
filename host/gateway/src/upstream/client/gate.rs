//! A waker that stays quiet while its owner is at work.
//!
//! Whoever drives a connection and waits for its response in one task is woken
//! by itself: the driver hands a piece over and wakes the reader, the reader
//! takes it and wakes the driver. Passed on, each such wake would schedule the
//! running task once more and rouse a sleeping worker thread to steal it,
//! which costs as much as the request. A [`Gate`] notes these wakes for its
//! owner, who looks again before it goes to sleep.

use futures_util::task::AtomicWaker;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};

/// Most rounds of one poll. A round moves at least one piece; after so many it
/// is another task's turn.
const ROUNDS_MAX: usize = 16;

/// See the module's text.
pub(super) struct Gate {
    state: Arc<State>,
    waker: Waker,
}

#[derive(Default)]
struct State {
    task: AtomicWaker,
    at_work: AtomicBool,
    woken: AtomicBool,
}

impl Wake for State {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        // In this order, and the owner's in the other: either the owner sees
        // the wake or the wake sees that the owner has gone to sleep.
        self.woken.store(true, Ordering::SeqCst);
        if !self.at_work.load(Ordering::SeqCst) {
            self.task.wake();
        }
    }
}

impl Gate {
    pub(super) fn new() -> Self {
        let state = Arc::new(State::default());
        Gate {
            waker: Waker::from(Arc::clone(&state)),
            state,
        }
    }

    /// Polls until nothing moves any more: `round` is repeated as long as it
    /// wakes itself. When it stays pending, wakes reach the task of `cx`.
    pub(super) fn poll<T>(
        &self,
        cx: &mut Context<'_>,
        mut round: impl FnMut(&mut Context<'_>) -> Poll<T>,
    ) -> Poll<T> {
        let state = &*self.state;
        state.task.register(cx.waker());
        for _ in 0..ROUNDS_MAX {
            state.woken.store(false, Ordering::SeqCst);
            state.at_work.store(true, Ordering::SeqCst);
            let polled = round(&mut Context::from_waker(&self.waker));
            state.at_work.store(false, Ordering::SeqCst);
            // Ready: the owner comes back before it sleeps.
            if polled.is_ready() || !state.woken.load(Ordering::SeqCst) {
                return polled;
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// Polls once on nobody's behalf; later wakes reach nobody.
    pub(super) fn poll_unattended<T>(
        &self,
        poll: impl FnOnce(&mut Context<'_>) -> Poll<T>,
    ) -> Poll<T> {
        self.state.task.take();
        poll(&mut Context::from_waker(&self.waker))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicUsize;

    #[derive(Default)]
    struct Count(AtomicUsize);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    #[test]
    fn wakes_from_within_repeat_the_round_and_stay_within() {
        let count = Arc::new(Count::default());
        let waker = Waker::from(Arc::clone(&count));
        let gate = Gate::new();
        let mut rounds = 0;
        let polled = gate.poll(&mut Context::from_waker(&waker), |cx| {
            rounds += 1;
            if rounds < 4 {
                cx.waker().wake_by_ref();
            }
            Poll::<()>::Pending
        });
        assert!(polled.is_pending());
        assert_eq!((rounds, count.0.load(Ordering::SeqCst)), (4, 0));
    }

    #[test]
    fn wakes_from_outside_reach_the_task_and_only_while_there_is_one() {
        let count = Arc::new(Count::default());
        let waker = Waker::from(Arc::clone(&count));
        let gate = Gate::new();
        let mut inner = None;
        let _ = gate.poll(&mut Context::from_waker(&waker), |cx| {
            inner = Some(cx.waker().clone());
            Poll::<()>::Pending
        });
        let inner = inner.unwrap();
        inner.wake_by_ref();
        assert_eq!(count.0.load(Ordering::SeqCst), 1);
        let _ = gate.poll_unattended(|_| Poll::<()>::Pending);
        inner.wake_by_ref();
        assert_eq!(count.0.load(Ordering::SeqCst), 1);
    }

    #[test]
    fn a_round_that_never_rests_gives_way() {
        let count = Arc::new(Count::default());
        let waker = Waker::from(Arc::clone(&count));
        let mut rounds = 0;
        let polled = Gate::new().poll(&mut Context::from_waker(&waker), |cx| {
            rounds += 1;
            cx.waker().wake_by_ref();
            Poll::<()>::Pending
        });
        assert!(polled.is_pending());
        assert_eq!((rounds, count.0.load(Ordering::SeqCst)), (ROUNDS_MAX, 1));
    }
}
