//! What a decision of `layered-fallback` costs: two models, two metric
//! queries, epoch and fuel on, the record written. Prints medians for fresh
//! instances, for those that are put back, and for warm ones, and what each
//! shipped component weighs.
//!
//! `cargo run --release -p backstop-policies --example cost`

#![expect(clippy::print_stdout, reason = "an example that prints a table")]
#![expect(clippy::unwrap_used, reason = "an example that may stop at a surprise")]

use backstop::core::input::{BreakerState, Candidate, RequestFacts};
use backstop::core::metric::{MetricsError, Proportion};
use backstop::core::plan::{Action, Plan, Step};
use backstop::{Grants, Host, Isolation, MetricQuery, MetricsSource, PolicyOptions};
use std::sync::Arc;
use std::time::Instant;

/// Decisions before the clock counts, and those that it counts.
const WARM_UP: usize = 2_000;
const MEASURED: usize = 20_000;

/// Three failures of two hundred calls, whatever is asked.
struct Steady;

impl MetricsSource for Steady {
    fn rate(&self, _: MetricQuery<'_>) -> Result<Proportion, MetricsError> {
        Ok(Proportion {
            events: 3,
            trials: 200,
        })
    }
}

fn request() -> Arc<RequestFacts> {
    let candidate = |model: &str| Candidate {
        model: model.into(),
        breaker: BreakerState::Closed,
        healthy: true,
        ..Candidate::default()
    };
    Arc::new(RequestFacts {
        route: "chat".into(),
        candidates: vec![candidate("primary"), candidate("backup")],
        rules: Arc::new(["sorry".into()]),
        has_review: true,
        streaming: false,
        attempts: Vec::new(),
        tags: Vec::new(),
        body_bytes: 0,
        body: None,
        ..RequestFacts::default()
    })
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    for builtin in backstop_policies::BUILTINS {
        let inspection = backstop_build::inspect(builtin.component).unwrap();
        println!(
            "{:<22} {:>6} bytes, {} page of memory",
            builtin.name, inspection.bytes, inspection.memory_pages
        );
    }
    let host = Host::builder().metrics(Arc::new(Steady)).build().unwrap();
    let default = Arc::new(Plan::from(vec![Step {
        action: Action::Rules("sorry".into()),
        reason: String::new(),
    }]));
    let request = request();
    for isolation in [Isolation::Fresh, Isolation::Reset, Isolation::Warm] {
        let name = "layered-fallback";
        let options = PolicyOptions {
            grants: Grants {
                metrics: vec!["error-rate".into(), "latency-ms".into()],
                ..Grants::default()
            },
            isolation,
            ..PolicyOptions::default()
        };
        let component = backstop_policies::component(name).unwrap();
        host.activate(name, component, options).await.unwrap();
        let policy = host.policy(name).unwrap();
        let mut times = Vec::with_capacity(MEASURED);
        let mut fuel = 0;
        for round in 0..WARM_UP + MEASURED {
            let begun = Instant::now();
            let decision = host
                .decide_fallback(&policy, request.clone(), &default)
                .await;
            let took = begun.elapsed();
            assert_eq!(decision.value.steps.len(), 3);
            fuel = decision.record.cost.fuel;
            if round >= WARM_UP {
                times.push(took);
            }
        }
        times.sort_unstable();
        println!(
            "{isolation:?}: median {:?}, 99 % {:?}, fuel {fuel}",
            times[MEASURED / 2],
            times[MEASURED * 99 / 100]
        );
    }
}
