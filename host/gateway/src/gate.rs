//! The gate in front of a release: no more calls under way than its limit, a
//! bounded line of those that wait, and nobody that waits for long.
//!
//! Below the limit a call costs two atomic instructions. At the limit it waits
//! in a queue that serves level by level and caller by caller
//! (`backstop_core::limit`), for as long as the model's `queue_ms` and its own
//! deadline allow; then, or when it gives way to a higher level, the plan goes
//! on to its next step. Always holds: each place is given back once, also
//! when its call is dropped, and goes to whoever waits before anybody new; who
//! hangs up waits no longer.

use crate::config::{Limit, LimitKind};
use backstop_core::limit::{Full, Gradient, Priority, PriorityQueue, Sample, Turn};
use parking_lot::Mutex;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout_at};

/// The gate of one release.
#[derive(Debug)]
pub(crate) struct Gate {
    spec: Limit,
    began: Instant,
    in_flight: AtomicU32,
    /// The limit now.
    limit: AtomicU32,
    /// How many wait; also in `queue`, which is locked.
    queued: AtomicU32,
    queue: Mutex<PriorityQueue<Told>>,
    gradient: Option<Mutex<Gradient>>,
}

/// Tells one that waits of its place, or why there is none.
type Told = oneshot::Sender<Result<Place, Busy>>;

/// Why there is no place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Busy {
    /// The queue is full.
    Full,
    /// The queue is full, and this caller has its share of it.
    OwnShare,
    /// As many of this level wait as may.
    Level,
    /// It gave way to a higher level.
    Outranked,
    /// Others had their turn for as long as it was waited.
    Late,
}

impl Busy {
    /// The name in records and metrics.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Busy::Full => "queue-full",
            Busy::OwnShare => "queue-share",
            Busy::Level => "queue-level",
            Busy::Outranked => "queue-outranked",
            Busy::Late => "queue-late",
        }
    }
}

/// A place for one call, given back when it is dropped.
#[derive(Debug)]
pub(crate) struct Place(Arc<Gate>);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Ordering::AcqRel);
        self.0.serve();
    }
}

impl Place {
    /// Notes that the call of this place answered, or was turned away, after
    /// so long.
    pub(crate) fn sample(&self, latency: Duration, dropped: bool) {
        let gate = &*self.0;
        let Some(gradient) = &gate.gradient else {
            return;
        };
        let sample = Sample {
            latency_us: u64::try_from(latency.as_micros()).unwrap_or(u64::MAX),
            in_flight: gate.in_flight.load(Ordering::Relaxed),
            dropped,
        };
        let now_us = u64::try_from(gate.began.elapsed().as_micros()).unwrap_or(u64::MAX);
        let mut gradient = gradient.lock();
        if gradient.sample(now_us, sample) {
            gate.limit.store(gradient.limit(), Ordering::Relaxed);
        }
    }
}

impl Gate {
    pub(crate) fn new(spec: Limit) -> Arc<Gate> {
        let limit = match spec.kind {
            LimitKind::None => u32::MAX,
            LimitKind::Fixed => spec.gradient.max,
            LimitKind::Adaptive => spec.gradient.initial,
        };
        let adaptive = spec.kind == LimitKind::Adaptive;
        Arc::new(Gate {
            began: Instant::now(),
            in_flight: AtomicU32::new(0),
            limit: AtomicU32::new(limit),
            queued: AtomicU32::new(0),
            queue: Mutex::new(PriorityQueue::new(spec.queue, spec.shares)),
            gradient: adaptive.then(|| Mutex::new(Gradient::new(spec.gradient, 0))),
            spec,
        })
    }

    /// Calls under way.
    pub(crate) fn in_flight(&self) -> u32 {
        self.in_flight.load(Ordering::Relaxed)
    }

    /// How many may be under way; none without a limit.
    pub(crate) fn limit(&self) -> Option<u32> {
        let limit = self.limit.load(Ordering::Relaxed);
        (limit < u32::MAX).then_some(limit)
    }

    /// How many wait.
    pub(crate) fn queued(&self) -> u32 {
        self.queued.load(Ordering::Relaxed)
    }

    /// A place at once, where there is one and nobody waits for it.
    pub(crate) fn try_enter(self: &Arc<Self>) -> Option<Place> {
        (self.queued() == 0).then(|| self.take()).flatten()
    }

    /// A place for a call of `caller` that matters so much, now or before
    /// `until`.
    ///
    /// # Errors
    ///
    /// Why there is none. Nothing is left behind.
    pub(crate) async fn enter(
        self: &Arc<Self>,
        priority: Priority,
        caller: u64,
        until: Instant,
    ) -> Result<Place, Busy> {
        match self.try_enter() {
            Some(place) => Ok(place),
            None => self.wait(priority, caller, until).await,
        }
    }

    async fn wait(
        self: &Arc<Self>,
        priority: Priority,
        caller: u64,
        until: Instant,
    ) -> Result<Place, Busy> {
        let until = until.min(Instant::now() + self.spec.queue_wait);
        let (sender, receiver) = oneshot::channel();
        let mut waiter = Waiter {
            gate: self,
            turn: None,
        };
        let pushed_out = {
            let mut queue = self.queue.lock();
            let pushed = queue.push(priority, caller, sender);
            let (turn, pushed_out) = pushed.map_err(|full| match full {
                Full::Queue => Busy::Full,
                Full::OwnShare => Busy::OwnShare,
                Full::Level => Busy::Level,
            })?;
            waiter.turn = Some(turn);
            self.note_queued(&queue);
            pushed_out
        };
        if let Some((level, gone)) = pushed_out {
            let why = if level < priority {
                Busy::Outranked
            } else {
                Busy::Full
            };
            // Who has just hung up need not be told.
            let _ = gone.send(Err(why));
        }
        // A place may have become free before this one was in the queue.
        self.serve();
        match timeout_at(until, receiver).await {
            Ok(Ok(told)) => {
                waiter.turn = None;
                told
            }
            Ok(Err(_)) => Err(Busy::Full),
            Err(_) => Err(Busy::Late),
        }
    }

    fn take(self: &Arc<Self>) -> Option<Place> {
        let limit = self.limit.load(Ordering::Relaxed);
        self.in_flight
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, |in_flight| {
                (in_flight < limit).then_some(in_flight + 1)
            })
            .ok()
            .map(|_| Place(self.clone()))
    }

    /// Gives free places to those that wait.
    fn serve(self: &Arc<Self>) {
        while self.queued() > 0 {
            let Some(mut place) = self.take() else { return };
            // Who has just hung up gives it back.
            while let Some(next) = self.next() {
                match next.send(Ok(place)) {
                    Err(Ok(unwanted)) => place = unwanted,
                    _ => break,
                }
            }
        }
    }

    /// Whose turn it is. The queue is unlocked when this returns.
    fn next(&self) -> Option<Told> {
        let mut queue = self.queue.lock();
        let next = queue.pop();
        self.note_queued(&queue);
        next
    }

    fn note_queued(&self, queue: &PriorityQueue<Told>) {
        let queued = u32::try_from(queue.len()).unwrap_or(u32::MAX);
        self.queued.store(queued, Ordering::Release);
    }
}

/// Leaves the queue when it is dropped.
struct Waiter<'a> {
    gate: &'a Gate,
    turn: Option<Turn>,
}

impl Drop for Waiter<'_> {
    fn drop(&mut self) {
        if let Some(turn) = self.turn.take() {
            let mut queue = self.gate.queue.lock();
            let removed = queue.remove(turn);
            self.gate.note_queued(&queue);
            drop(queue);
            drop(removed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use backstop_core::limit::{GradientOptions, Shares};

    fn gate(limit: u32, queue: usize, queue_ms: u64) -> Arc<Gate> {
        Gate::new(Limit {
            kind: LimitKind::Fixed,
            gradient: GradientOptions {
                initial: limit,
                min: 1,
                max: limit,
                tolerance: 2.0,
                smoothing: 0.2,
            },
            queue,
            shares: Shares {
                normal: 100,
                sheddable: 50,
            },
            queue_wait: Duration::from_millis(queue_ms),
        })
    }

    fn later() -> Instant {
        Instant::now() + Duration::from_secs(60)
    }

    async fn enter(gate: &Arc<Gate>, caller: u64) -> Result<Place, Busy> {
        gate.enter(Priority::Normal, caller, later()).await
    }

    #[tokio::test(start_paused = true)]
    async fn places_are_given_back_to_who_waits() {
        let gate = gate(1, 10, 1_000);
        let first = enter(&gate, 1).await.unwrap();
        let waiting = tokio::spawn({
            let gate = gate.clone();
            async move { enter(&gate, 2).await.map(drop) }
        });
        tokio::task::yield_now().await;
        assert_eq!((gate.in_flight(), gate.queued()), (1, 1));
        assert!(gate.try_enter().is_none(), "not past who waits");
        drop(first);
        waiting.await.unwrap().unwrap();
        assert_eq!((gate.in_flight(), gate.queued()), (0, 0));
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_waits_for_long() {
        let gate = gate(1, 10, 1_000);
        let _first = enter(&gate, 1).await.unwrap();
        let begun = Instant::now();
        assert_eq!(enter(&gate, 2).await.unwrap_err(), Busy::Late);
        assert_eq!(begun.elapsed().as_millis(), 1_000);
        let soon = Instant::now() + Duration::from_millis(10);
        let begun = Instant::now();
        let told = gate.enter(Priority::Critical, 2, soon).await;
        assert_eq!(told.unwrap_err(), Busy::Late);
        assert_eq!(begun.elapsed().as_millis(), 10);
        assert_eq!(gate.queued(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_full_queue_is_told_at_once_and_shared() {
        let gate = gate(1, 2, 1_000);
        let first = enter(&gate, 1).await.unwrap();
        let greedy: Vec<_> = (0..2)
            .map(|_| {
                let gate = gate.clone();
                tokio::spawn(async move { enter(&gate, 1).await.map(drop) })
            })
            .collect();
        tokio::task::yield_now().await;
        assert_eq!(enter(&gate, 1).await.unwrap_err(), Busy::OwnShare);
        let modest = tokio::spawn({
            let gate = gate.clone();
            async move { enter(&gate, 2).await.map(drop) }
        });
        tokio::task::yield_now().await;
        assert_eq!(enter(&gate, 3).await.unwrap_err(), Busy::Full);
        drop(first);
        modest.await.unwrap().unwrap();
        let mut ends = Vec::new();
        for greedy in greedy {
            ends.push(greedy.await.unwrap());
        }
        assert_eq!(ends, [Ok(()), Err(Busy::Full)], "the last to come gave way");
    }

    #[tokio::test(start_paused = true)]
    async fn a_lower_level_gives_way_and_is_told_at_once() {
        let gate = gate(1, 2, 1_000);
        let first = enter(&gate, 1).await.unwrap();
        let asks = |priority, caller| {
            let gate = gate.clone();
            tokio::spawn(async move {
                let begun = Instant::now();
                let told = gate.enter(priority, caller, later()).await.map(drop);
                (told, begun.elapsed().as_millis())
            })
        };
        let cheap = asks(Priority::Sheddable, 2);
        tokio::task::yield_now().await;
        // Its share of two is one.
        let (told, _) = asks(Priority::Sheddable, 3).await.unwrap();
        assert_eq!(told, Err(Busy::Level));
        let normal = asks(Priority::Normal, 4);
        tokio::task::yield_now().await;
        let critical = asks(Priority::Critical, 5);
        tokio::task::yield_now().await;
        assert_eq!(cheap.await.unwrap(), (Err(Busy::Outranked), 0));
        let place = gate.try_enter();
        assert!(place.is_none(), "a free place is for who waits");
        drop(first);
        assert_eq!(critical.await.unwrap(), (Ok(()), 0));
        assert_eq!(normal.await.unwrap(), (Ok(()), 0));
        assert_eq!((gate.in_flight(), gate.queued()), (0, 0));
    }

    #[tokio::test(start_paused = true)]
    async fn who_hangs_up_leaves_the_queue() {
        let gate = gate(1, 1, 1_000);
        let _first = enter(&gate, 1).await.unwrap();
        for _ in 0..3 {
            let waits = tokio::time::timeout(Duration::from_millis(1), enter(&gate, 2));
            assert!(waits.await.is_err());
            assert_eq!(gate.queued(), 0);
        }
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn nobody_is_forgotten_and_the_limit_holds() {
        let gate = gate(3, 10_000, 60_000);
        let most = Arc::new(AtomicU32::new(0));
        let callers: Vec<_> = (0..200)
            .map(|caller| {
                let (gate, most) = (gate.clone(), most.clone());
                tokio::spawn(async move {
                    for _ in 0..50 {
                        let place = enter(&gate, caller % 7).await.unwrap();
                        most.fetch_max(gate.in_flight(), Ordering::Relaxed);
                        tokio::task::yield_now().await;
                        drop(place);
                    }
                })
            })
            .collect();
        for caller in callers {
            caller.await.unwrap();
        }
        assert_eq!(most.load(Ordering::Relaxed), 3);
        assert_eq!((gate.in_flight(), gate.queued()), (0, 0));
    }
}
