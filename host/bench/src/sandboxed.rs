//! The decision in Backstop: the shipped policy, through the public interface
//! of the host, with limits on and the record written.

use crate::{Counters, ERROR_RATE_MAX, Facts, Order, TRIALS_MIN};
use backstop::core::input::{BreakerState, Candidate, RequestFacts};
use backstop::core::metric::{MetricsError, Proportion, Subject};
use backstop::core::plan::{Action, Plan, Step};
use backstop::{
    Decision, Grants, Host, Isolation, MetricQuery, MetricsSource, PolicyHandle, PolicyOptions,
};
use std::sync::Arc;
use tokio::runtime::Runtime;

struct Metrics(Arc<Counters>);

impl MetricsSource for Metrics {
    fn rate(&self, query: MetricQuery<'_>) -> Result<Proportion, MetricsError> {
        let Subject::Model(model) = query.subject else {
            return Err(query.unknown());
        };
        let (events, trials) = self.0.errors(model);
        Ok(Proportion { events, trials })
    }
}

/// A host with the shipped policy `layered-fallback`.
pub struct Backstop {
    runtime: Runtime,
    host: Host,
    policy: PolicyHandle,
    default: Arc<Plan>,
}

impl Backstop {
    /// Activates the policy with this isolation.
    ///
    /// # Panics
    ///
    /// When the host does not start or refuses the policy.
    pub fn new(counters: Arc<Counters>, isolation: Isolation) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime");
        let host = Host::builder()
            .metrics(Arc::new(Metrics(counters)))
            .build()
            .expect("a host");
        let builtin = backstop_policies::builtin("layered-fallback").expect("it ships");
        let options = PolicyOptions {
            settings: serde_json::json!({"error_rate_max": ERROR_RATE_MAX, "trials_min": TRIALS_MIN}),
            grants: Grants {
                metrics: vec!["error-rate".to_owned()],
                ..Grants::default()
            },
            isolation,
            ..PolicyOptions::default()
        };
        runtime
            .block_on(host.activate("fallback", builtin.component, options))
            .expect("it activates");
        let policy = host.policy("fallback").expect("it is active");
        let default = Step {
            action: Action::Rules("sorry".into()),
            reason: String::new(),
        };
        Backstop {
            runtime,
            host,
            policy,
            default: Arc::new(Plan::from(vec![default])),
        }
    }

    /// Decides, facts and all.
    pub fn decide(&self, facts: &Facts) -> Decision<Arc<Plan>> {
        let candidates = facts
            .candidates
            .iter()
            .map(|(model, closed, healthy)| Candidate {
                model: (*model).into(),
                breaker: if *closed {
                    BreakerState::Closed
                } else {
                    BreakerState::Open
                },
                healthy: *healthy,
                ..Candidate::default()
            });
        let request = RequestFacts {
            route: "chat".into(),
            candidates: candidates.collect(),
            rules: Arc::new([facts.rules.into()]),
            has_review: false,
            streaming: false,
            attempts: Vec::new(),
            tags: Vec::new(),
            body_bytes: 512,
            body: None,
            ..RequestFacts::default()
        };
        self.runtime.block_on(self.host.decide_fallback(
            &self.policy,
            Arc::new(request),
            &self.default,
        ))
    }

    /// Decides; the order in the form of the other engines.
    ///
    /// # Panics
    ///
    /// When the policy did not decide.
    pub fn order(&self, facts: &Facts) -> Order {
        let decision = self.decide(facts);
        assert!(
            decision.record.returned.is_some(),
            "{:?}",
            decision.record.outcome
        );
        decision
            .value
            .steps
            .iter()
            .map(|step| match &step.action {
                Action::Call(call) => call.model.to_string(),
                Action::Rules(rules) => rules.to_string(),
                other => panic!("not in this decision: {other:?}"),
            })
            .collect()
    }
}
