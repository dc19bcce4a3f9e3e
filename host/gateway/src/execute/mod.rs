//! The request path: from a request to an answer.
//!
//! [`serve`] asks the fallback policy for a plan, walks through its steps and
//! delivers what comes of it. In the order of the path:
//!
//! - [`ask`]: the request, and the facts that policies see;
//! - [`walk`]: from move to move, until something ends the plan;
//! - [`attempt`]: one call of one model;
//! - [`hold`]: streams before the caller sees anything of them;
//! - [`judge`]: the threshold policy, and review;
//! - [`unavailable`]: when no model can be called;
//! - [`passing`]: streams after their first event;
//! - [`keep`]: reviews of what has been delivered.
//!
//! Always holds: the plan that is walked was checked against this request;
//! each attempt is answered to its breaker and its evidence once; a request
//! that its caller gave up is counted as cancelled and against nobody.

pub(crate) mod ask;
mod attempt;
mod hold;
mod judge;
mod keep;
mod passing;
mod unavailable;
mod walk;

pub(crate) use ask::{Ask, CallerKey, Heard};
pub(crate) use keep::WAITING_MAX as REVIEWS_WAITING_MAX;
pub(crate) use passing::Passing;
pub(crate) use walk::{Answer, End, LastFailure};

use crate::feedback::Delivered;
use crate::gateway::Gateway;
use crate::http::body::Body;
use crate::http::deliver;
use crate::release::Release;
use crate::store::{PassedOver, RememberedAnswer, Segment};
use crate::telemetry::{InFlight, NO_ROUTE, RequestOutcome, RouteMetrics, ServedBy};
use crate::trail::{Arrival, Trail};
use crate::upstream::Extracted;
use backstop::record::DecisionId;
use backstop_core::limit::Priority;
use backstop_core::plan::Plan;
use http::Response;
use parking_lot::Mutex;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Instant;

/// One request while its plan is walked.
#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) gateway: Gateway,
    pub(crate) ask: Ask,
    /// Id of the fallback decision; none for routes without such a policy.
    pub(crate) decision: Option<DecisionId>,
    /// Calls that were started.
    calls: AtomicU32,
    count: Count,
    /// What was judged not good enough, where the route remembers answers.
    passed_over: Mutex<Vec<PassedOver>>,
}

impl Run {
    /// Calls of models that were started so far.
    pub(crate) fn calls(&self) -> u32 {
        self.calls.load(Ordering::Relaxed)
    }
}

/// Counts a request when it ends; as cancelled when nothing else was said.
#[derive(Debug)]
pub(crate) struct Count {
    metrics: Arc<RouteMetrics>,
    trail: Arc<Trail>,
    arrived: Instant,
    counted: AtomicBool,
    _in_flight: InFlight,
}

impl Count {
    fn new(metrics: &Arc<RouteMetrics>, trail: Arc<Trail>, arrived: Instant) -> Self {
        Count {
            _in_flight: metrics.in_flight(),
            metrics: metrics.clone(),
            trail,
            arrived,
            counted: AtomicBool::new(false),
        }
    }

    /// Says how the request ended; only the first word counts.
    fn outcome(&self, outcome: RequestOutcome) {
        if !self.counted.swap(true, Ordering::Relaxed) {
            let took = self.arrived.elapsed();
            self.metrics.request(outcome, took);
            self.trail.ended(outcome, took);
        }
    }
}

impl Drop for Count {
    fn drop(&mut self) {
        self.outcome(RequestOutcome::Cancelled);
    }
}

impl Run {
    /// Says how the request ended.
    pub(crate) fn outcome(&self, outcome: RequestOutcome) {
        self.count.outcome(outcome);
    }

    /// Says which step answers, with which release.
    pub(crate) fn served(&self, step: u32, release: &Release) {
        self.count.metrics.served_by(ServedBy::Step(step as usize));
        self.trail().served(step, release);
    }

    /// True when the route's answers are remembered for feedback.
    fn remembers(&self) -> bool {
        self.ask.route.spec().feedback.is_some()
    }

    /// Remembers the answer that is delivered, where the route does. Does not
    /// wait.
    pub(crate) fn remember(&self, release: &Release, said: &Extracted) {
        let Some(feedback) = &self.ask.route.spec().feedback else {
            return;
        };
        let tags = &self.ask.facts.tags;
        let segment = |tag: &Arc<str>| {
            let (_, value) = tags.iter().find(|(name, _)| name == tag)?;
            let (tag, value) = (tag.clone(), value.as_str().into());
            Some(Segment { tag, value })
        };
        let mut passed_over = std::mem::take(&mut *self.passed_over.lock());
        // One that is delivered after all, for want of a better one, is no other.
        passed_over.retain(|one| one.release != *release.name() || one.model != *release.model());
        self.gateway.shared().feedback.remember(Delivered {
            answer: RememberedAnswer {
                request: self.trail().id(),
                caller_id: self.ask.caller_id.clone(),
                decision: self.decision,
                route: self.ask.route.name().clone(),
                model: release.model().clone(),
                release: release.name().clone(),
                arrived_ms: self.gateway.clock().at_ms(self.ask.arrived),
                confidence: said.confidence,
                label: said.label.clone(),
                segments: feedback.segments.iter().filter_map(segment).collect(),
                passed_over,
            },
            finish_reason: said.finish_reason,
        });
    }

    /// Notes an answer that was judged not good enough, where the route
    /// remembers answers. Of an answer without confidence or label nothing
    /// could be learned.
    fn passed_over(&self, release: &Release, said: &Extracted) {
        if let (true, Some(confidence), Some(label)) =
            (self.remembers(), said.confidence, &said.label)
        {
            self.passed_over.lock().push(PassedOver {
                model: release.model().clone(),
                release: release.name().clone(),
                confidence,
                label: label.clone(),
            });
        }
    }

    /// Notes that the caller gets the first token now.
    fn first_token(&self) {
        let took = self.ask.arrived.elapsed();
        self.count.metrics.first_token(took);
        self.trail().first_token(took);
    }

    fn trail(&self) -> &Arc<Trail> {
        &self.count.trail
    }
}

/// Serves one request to a route.
pub(crate) async fn serve(gateway: &Gateway, ask: Ask) -> Response<Body> {
    ask.route.retries().request();
    ask.route.hedges().request();
    let trail = Trail::new(gateway, Arrival::of(&ask));
    let caller_id = ask.caller_id.clone();
    let count = Count::new(ask.route.metrics(), trail.clone(), ask.arrived);
    let (plan, decision) = plan(gateway, &ask).await;
    trail.decided(decision);
    let run = Run {
        gateway: gateway.clone(),
        ask,
        decision,
        calls: AtomicU32::new(0),
        count,
        passed_over: Mutex::default(),
    };
    let end = walk::walk(&run, plan.clone()).await;
    let end = unavailable::instead(&run, plan, end).await;
    let mut response = deliver::respond(run, end);
    trail.told(response.status());
    deliver::about_request(response.headers_mut(), trail.id(), caller_id.as_deref());
    response
}

/// Answers a request that found no route, or that cannot be read, with
/// `refusal`.
pub(crate) fn refuse(
    gateway: &Gateway,
    arrived: Instant,
    mut refusal: Response<Body>,
) -> Response<Body> {
    let took = arrived.elapsed();
    gateway.count_unrouted(took);
    let trail = Trail::new(gateway, Arrival::unrouted(arrived));
    trail.ended(RequestOutcome::ClientFault, took);
    trail.told(refusal.status());
    deliver::about_request(refusal.headers_mut(), trail.id(), None);
    refusal
}

impl Arrival {
    fn of(ask: &Ask) -> Self {
        Arrival {
            route: ask.route.name().clone(),
            operation: ask.path.operation(),
            streaming: ask.streaming,
            priority: ask.route.spec().priority,
            arrived: ask.arrived,
            caller_id: ask.caller_id.clone(),
            trace: ask.trace.clone(),
        }
    }

    fn unrouted(arrived: Instant) -> Self {
        Arrival {
            route: NO_ROUTE.into(),
            operation: "",
            streaming: false,
            priority: Priority::default(),
            arrived,
            caller_id: None,
            trace: None,
        }
    }
}

/// The plan for a request, and the id of the decision where a policy made it.
async fn plan(gateway: &Gateway, ask: &Ask) -> (Arc<Plan>, Option<DecisionId>) {
    let default = &ask.route.spec().default_plan;
    let Some(policy) = ask.route.fallback() else {
        return (default.clone(), None);
    };
    let decision = gateway
        .host()
        .decide_fallback(policy.handle(), ask.facts.clone(), default)
        .await;
    policy.metrics().decision(&decision.record);
    (decision.value, Some(decision.record.id))
}
