//! One call of a release: why it may not be made, the line before it, and the
//! lease that it is made under.
//!
//! [`Model`](super::Model) picks the release and hands leases out; whoever
//! calls upstream says what came of it. Always holds: every lease answers the
//! permit of its breaker exactly once, also when its future is dropped, and a
//! cancelled call counts against nobody.

use super::Release;
use crate::clock::{Clock, millis};
use crate::evidence::Standard;
use crate::execute::CallerKey;
use crate::gate::{Busy, Place};
use crate::upstream::Failure;
use backstop_core::breaker::{Permit, Recorded, Refused};
use backstop_core::fault::{FailureClass, OnBreaker};
use backstop_core::limit::Priority;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long a release is left alone after it refused our credentials. They do
/// not heal by themselves, but an operator may mend them at the provider, and
/// a reload with new ones starts a new breaker.
const AUTH_OPEN: Duration = Duration::from_secs(60);

/// When a caller that found no place may come again: places become free all
/// the time.
const BUSY_FOR: Duration = Duration::from_secs(1);

/// On whose behalf a call is made, and how long it may wait in line.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Asks<'a> {
    /// Decides which release serves it.
    pub(crate) key: &'a CallerKey,
    /// Who goes first where there is not enough for all.
    pub(crate) priority: Priority,
    /// Takes turns with others of the same priority.
    pub(crate) caller: u64,
    /// When waiting makes no sense any more.
    pub(crate) until: Instant,
    /// True for a call that is made although the breaker refuses it: what
    /// comes of it is not counted.
    pub(crate) regardless: bool,
}

/// A call that its breaker lets pass and that has no place yet. Dropped, it
/// gives its permit back.
pub(super) struct Waiting {
    pub(super) release: Arc<Release>,
    pub(super) permit: Option<Permit>,
    pub(super) clock: Clock,
}

impl Waiting {
    /// Asks the breaker once more.
    pub(super) fn ask_again(&mut self) -> Result<(), NotNow> {
        let now_ms = self.clock.now_ms();
        let breaker = &self.release.breaker;
        if let Some(permit) = self.permit.take() {
            breaker.release(permit, now_ms);
        }
        let asked = breaker.try_acquire(now_ms);
        self.release.tell_events();
        self.permit = Some(asked.map_err(NotNow::Breaker)?);
        Ok(())
    }

    /// Takes the place, or gives the permit back.
    pub(super) fn enter(&mut self, place: Result<Place, Busy>) -> Result<Lease, NotNow> {
        let place = place.map_err(NotNow::Busy)?;
        Ok(Lease {
            release: self.release.clone(),
            permit: self.permit.take(),
            place: Some(place),
            clock: self.clock,
            started: Instant::now(),
        })
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        if let Some(permit) = self.permit.take() {
            self.release.breaker.release(permit, self.clock.now_ms());
        }
    }
}

/// Why a model is not called.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NotNow {
    /// An operator, or its probe, says that it is down.
    #[error("the model is down, as an operator or its probe says")]
    Down,
    /// Its breaker refuses.
    #[error(transparent)]
    Breaker(Refused),
    /// The route's requests have repeated as often as they may.
    #[error("the route's retry budget is used up")]
    RetryBudget,
    /// There is no place for another call.
    #[error("the model has as many calls as it may: {}", .0.as_str())]
    Busy(Busy),
    /// A model with as large a context window found the request too long.
    #[error("the request is too long for the model's context window")]
    TooSmall,
}

impl NotNow {
    /// The name in records and metrics.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            NotNow::Down => "down",
            NotNow::Breaker(_) => "breaker",
            NotNow::RetryBudget => "retry-budget",
            NotNow::Busy(busy) => busy.as_str(),
            NotNow::TooSmall => "too-small",
        }
    }

    /// When it is worth asking again, where that is known.
    pub(crate) fn retry_in(self) -> Option<Duration> {
        match self {
            NotNow::Down | NotNow::RetryBudget | NotNow::TooSmall => None,
            NotNow::Busy(_) => Some(BUSY_FOR),
            // The breaker counts up to the moment after the wait, which is a
            // millisecond more than the provider asked for.
            NotNow::Breaker(refused) => refused
                .retry_in_ms
                .map(|ms| Duration::from_millis(ms.saturating_sub(1))),
        }
    }
}

/// Permission for one call of one release. Dropped without a result, it was
/// cancelled, which counts against nobody.
#[derive(Debug)]
pub(crate) struct Lease {
    release: Arc<Release>,
    permit: Option<Permit>,
    /// Its place among the calls that are under way; given back when what came
    /// of it is known, whether or not the caller has read it.
    place: Option<Place>,
    clock: Clock,
    started: Instant,
}

impl Lease {
    /// Notes the time to the first token of a stream, which tells the limiter
    /// more than the length of the answer does.
    pub(crate) fn first_token(&self, latency: Duration) {
        self.sample(latency, false);
    }

    fn sample(&self, latency: Duration, dropped: bool) {
        if let Some(place) = &self.place {
            place.sample(latency, dropped);
        }
    }

    /// Notes how long a whole answer took.
    pub(crate) fn whole(&self, latency: Duration) {
        self.sample(latency, false);
    }

    /// The release that is called.
    pub(crate) fn release(&self) -> &Arc<Release> {
        &self.release
    }

    /// Notes that the call gave a complete answer.
    pub(crate) fn succeeded(&mut self, route: Option<&Standard>) {
        self.ended(route, None);
    }

    /// Notes that the call failed. What the class says decides what is
    /// counted, and whether the release is left alone for a while.
    pub(crate) fn failed(&mut self, route: Option<&Standard>, failure: &Failure) {
        self.ended(route, Some(failure));
    }

    fn ended(&mut self, route: Option<&Standard>, failure: Option<&Failure>) {
        let Some(permit) = self.permit.take() else {
            return;
        };
        let now = Instant::now();
        let now_ms = self.clock.at_ms(now);
        let duration_ms = u64::from(millis(now.saturating_duration_since(self.started)));
        let recorded = match failure.map(|failure| failure.class) {
            None => Recorded::Success,
            Some(class) if class.effect().breaker == OnBreaker::Ignored => Recorded::Ignored,
            Some(_) => Recorded::Failure,
        };
        let release = &*self.release;
        release
            .breaker
            .on_result(permit, now_ms, duration_ms, recorded);
        if let Some(wait) = failure.and_then(leave_alone) {
            let wait_ms = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
            release.breaker.leave_alone_for(wait_ms, now_ms);
        }
        if failure.is_some_and(|failure| turned_away(failure.class)) {
            self.sample(now - self.started, true);
        }
        self.place = None;
        release.tell_events();
        release.refusal.ended(&release.spec.target, failure, now_ms);
        release
            .metrics
            .attempt(failure.map(|failure| failure.class));
        if recorded != Recorded::Ignored {
            let failed = recorded == Recorded::Failure;
            for series in release.series() {
                series.attempt(now_ms, failed);
            }
            if let Some(route) = route {
                route.attempt(now_ms, failed);
            }
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if let Some(permit) = self.permit.take() {
            self.release.breaker.release(permit, self.clock.now_ms());
        }
    }
}

/// True for failures by which a release says that it is asked too much.
fn turned_away(class: FailureClass) -> bool {
    matches!(
        class,
        FailureClass::RateLimit
            | FailureClass::Overload
            | FailureClass::TimeoutConnect
            | FailureClass::TimeoutFirstToken
    )
}

/// How long a release is not to be called after `failure`, whatever its
/// breaker has counted: the provider said so, or will refuse us anyway.
fn leave_alone(failure: &Failure) -> Option<Duration> {
    match failure.class.effect().breaker {
        OnBreaker::OpensUntil => failure.retry_after,
        OnBreaker::Opens => Some(failure.retry_after.unwrap_or(AUTH_OPEN)),
        OnBreaker::Counts | OnBreaker::Ignored => None,
    }
}
