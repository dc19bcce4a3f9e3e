//! A small gateway that embeds the host: one route, two models, one policy.
//!
//! ```text
//! cargo run -p backstop --example gateway
//! curl -i localhost:8090/ask -d 'is this embedded?'
//! curl -X POST localhost:8090/break       # the primary fails from now on
//! curl -i localhost:8090/ask -d 'and now?'
//! ```
//!
//! It shows what an embedder supplies (facts, metrics, execution of the plan)
//! and what it gets (a checked decision, a record). Models are two functions
//! in this process; the crate `backstop-gateway` is the real thing.

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::IntoResponse;
use axum::routing::post;
use backstop::core::input::{BreakerState, Candidate, RequestFacts};
use backstop::core::metric::{MetricsError, Proportion, Subject};
use backstop::core::plan::{Action, Plan, Step};
use backstop::{Grants, Host, MetricQuery, MetricsSource, PolicyHandle, PolicyOptions};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// Counts of attempts and errors of each model since the start.
#[derive(Default)]
struct Counts {
    primary: [AtomicU64; 2],
    backup: [AtomicU64; 2],
}

impl Counts {
    fn of(&self, model: &str) -> &[AtomicU64; 2] {
        if model == "primary" {
            &self.primary
        } else {
            &self.backup
        }
    }

    fn note(&self, model: &str, failed: bool) {
        let [attempts, errors] = self.of(model);
        attempts.fetch_add(1, Ordering::Relaxed);
        errors.fetch_add(u64::from(failed), Ordering::Relaxed);
    }
}

impl MetricsSource for Counts {
    fn rate(&self, query: MetricQuery<'_>) -> Result<Proportion, MetricsError> {
        match (query.metric, query.subject) {
            ("error-rate", Subject::Model(model)) => {
                let [attempts, errors] = self.of(model);
                let trials = attempts.load(Ordering::Relaxed);
                Ok(Proportion {
                    events: errors.load(Ordering::Relaxed).min(trials),
                    trials,
                })
            }
            _ => Err(query.unknown()),
        }
    }
}

#[derive(Clone)]
struct Gateway {
    host: Host,
    policy: PolicyHandle,
    counts: Arc<Counts>,
    broken: Arc<AtomicBool>,
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let counts = Arc::new(Counts::default());
    let host = Host::builder().metrics(counts.clone()).build()?;
    let builtin = backstop_policies::builtin("layered-fallback").ok_or("it ships with Backstop")?;
    let grants = Grants {
        metrics: vec!["error-rate".to_owned()],
        ..Grants::default()
    };
    let options = PolicyOptions {
        grants,
        ..PolicyOptions::default()
    };
    host.activate("ask", builtin.component, options).await?;
    let policy = host.policy("ask").ok_or("just activated")?;

    let gateway = Gateway {
        host,
        policy,
        counts,
        broken: Arc::default(),
    };
    let app = Router::new()
        .route("/ask", post(ask))
        .route("/break", post(break_primary))
        .with_state(gateway);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:8090").await?;
    axum::serve(listener, app).await?;
    Ok(())
}

async fn break_primary(State(gateway): State<Gateway>) {
    gateway.broken.store(true, Ordering::Relaxed);
}

async fn ask(State(gateway): State<Gateway>, question: String) -> impl IntoResponse {
    let facts = RequestFacts {
        route: "ask".into(),
        candidates: ["primary", "backup"]
            .map(|model| Candidate {
                model: model.into(),
                breaker: BreakerState::Closed,
                healthy: true,
                ..Candidate::default()
            })
            .to_vec(),
        rules: Arc::new(["sorry".into()]),
        has_review: false,
        streaming: false,
        attempts: Vec::new(),
        tags: Vec::new(),
        body_bytes: question.len() as u64,
        body: None,
        ..RequestFacts::default()
    };
    let sorry = Step {
        action: Action::Rules("sorry".into()),
        reason: "default".to_owned(),
    };
    let default = Arc::new(Plan::from(vec![sorry]));
    let decision = gateway
        .host
        .decide_fallback(&gateway.policy, Arc::new(facts), &default)
        .await;

    let mut headers = HeaderMap::new();
    if let Ok(id) = decision.record.id.to_string().parse() {
        headers.insert("x-backstop-decision", id);
    }
    for step in &decision.value.steps {
        match &step.action {
            Action::Call(call) => {
                let answer = gateway.call(&call.model, &question);
                gateway.counts.note(&call.model, answer.is_none());
                if let Some(answer) = answer {
                    return (StatusCode::OK, headers, answer);
                }
            }
            Action::Rules(_) => {
                return (
                    StatusCode::OK,
                    headers,
                    "please ask again later\n".to_owned(),
                );
            }
            // This route has no review queue and races nothing.
            Action::Race(_) | Action::Review { .. } | Action::Refuse { .. } => break,
        }
    }
    (
        StatusCode::SERVICE_UNAVAILABLE,
        headers,
        "no model answered\n".to_owned(),
    )
}

impl Gateway {
    /// The models of this example.
    fn call(&self, model: &str, question: &str) -> Option<String> {
        if model == "primary" && self.broken.load(Ordering::Relaxed) {
            return None;
        }
        Some(format!("{model} says: `{question}` is a good question\n"))
    }
}
