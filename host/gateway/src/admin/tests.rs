//! The admin plane, asked through its router: the gateway of a few fields that
//! it stands in front of, and how it is asked. The tests are in the folder.

mod document;
mod plane;
mod policies;

use super::*;
use crate::config::ComponentSource;
use crate::objectives::{CountReport, ObjectiveReport};
use crate::reload::{Applied, Refused, Reload, ReloaderOptions};
use crate::store::{NewMessage, NewReview, Review, SqliteStore, StoreOptions};
use axum::body::Body;
use backstop::{BoxFuture, DecisionPoint, HostOptions, IncidentReport, IncidentSink, Severity};
use backstop_core::input::{BreakerState, Candidate, RequestFacts};
use backstop_core::metric::ObjectiveState;
use backstop_core::plan::{Action, Plan, Step};
use bytes::Bytes;
use http::{Request, StatusCode};
use parking_lot::Mutex;
use serde_json::{Value, json};
use tempfile::TempDir;
use tower::ServiceExt;

const TOKEN: &str = "correct horse";
const POLICY: &str = "layered-fallback";

/// A gateway of a few fields.
#[derive(Default)]
struct Fake {
    ready: Mutex<bool>,
    labelled: Mutex<Vec<String>>,
    commands: Mutex<Vec<(String, RolloutCommand, Option<String>)>>,
    /// Where every policy is asked.
    points: Mutex<Vec<DecisionPoint>>,
}

impl Control for Fake {
    fn readiness(&self) -> Vec<Check> {
        vec![Check {
            name: "listeners",
            ok: *self.ready.lock(),
            detail: "the data plane is not bound".into(),
        }]
    }

    fn models(&self) -> Vec<ModelStatus> {
        let release = |name: &str, share_percent, state| ReleaseStatus {
            name: name.into(),
            provider: "lab".into(),
            upstream_model: None,
            share_percent,
            breaker: BreakerStatus {
                state,
                failure_rate: Some(12.5),
                slow_call_rate: None,
                calls: 8,
                failed_calls: 1,
                consecutive_failures: 1,
                refused_calls: 0,
            },
            load: LoadStatus::default(),
            keys: Vec::new(),
        };
        vec![ModelStatus {
            name: "m".into(),
            stable: "r1".into(),
            healthy: true,
            releases: vec![
                release("r1", 75.0, BreakerState::Closed),
                release("r2", 25.0, BreakerState::Open),
            ],
        }]
    }

    fn set_breaker(
        &self,
        model: &str,
        release: &str,
        state: BreakerState,
        for_ms: Option<u64>,
    ) -> Result<ModelStatus, ControlError> {
        if state == BreakerState::HalfOpen {
            let message = "circuit breaker cannot go from closed to half-open";
            return Err(ControlError::Conflict(message.to_owned()));
        }
        let mut status = self.models().remove(0);
        let known = status
            .releases
            .iter_mut()
            .find(|known| known.name == release);
        match known.filter(|_| model == "m") {
            Some(known) => {
                known.breaker.state = state;
                known.breaker.calls = u32::try_from(for_ms.unwrap_or_default()).unwrap();
                Ok(status)
            }
            None => Err(ControlError::NotFound {
                what: "release",
                name: release.to_owned(),
            }),
        }
    }

    fn set_healthy(&self, _: &str, healthy: bool) -> Result<ModelStatus, ControlError> {
        let mut status = self.models().remove(0);
        status.healthy = healthy;
        Ok(status)
    }

    fn rollouts(&self) -> Vec<RolloutStatus> {
        vec![RolloutStatus {
            model: "m".into(),
            candidate: "r2".into(),
            stable: "r1".into(),
            policy: None,
            phase: RolloutPhase::Running,
            problem: None,
            share_percent: 25.0,
            next_share_percent: Some(50.0),
            began_ms: 1,
            step_since_ms: 2,
            last_directive: None,
            last_reason: None,
            last_decision: None,
        }]
    }

    fn command_rollout(
        &self,
        model: &str,
        command: RolloutCommand,
        by: Option<String>,
    ) -> BoxFuture<'_, Result<RolloutStatus, ControlError>> {
        let result = if model == "m" {
            self.commands.lock().push((model.into(), command, by));
            Ok(self.rollouts().remove(0))
        } else {
            Err(ControlError::NotFound {
                what: "rollout",
                name: model.into(),
            })
        };
        Box::pin(async { result })
    }

    fn announcement(&self, _: &Review) -> Option<NewMessage> {
        None
    }

    fn message_added(&self) {}

    fn objectives(&self) -> Vec<ObjectiveReport> {
        vec![ObjectiveReport {
            name: "answers".into(),
            route: Some("chat".into()),
            model: None,
            metric: "error-rate".into(),
            bad: "yes".into(),
            target: 0.999,
            period_s: 2_592_000,
            state: ObjectiveState::NoEvidence,
            urgency: None,
            period: CountReport {
                bad: 0,
                events: 0,
                burn_rate: None,
            },
            budget_left: None,
            events_min: 20,
            windows: Vec::new(),
            looked_ms: 1,
        }]
    }

    fn labelled(&self, review: &Review) {
        self.labelled.lock().push(review.id.clone());
    }

    fn points(&self, _: &str) -> Vec<DecisionPoint> {
        self.points.lock().clone()
    }

    fn load_component(
        &self,
        source: &ComponentSource,
        _: usize,
    ) -> BoxFuture<'_, Result<Arc<[u8]>, ControlError>> {
        let component = match source {
            ComponentSource::Builtin(name) => backstop_policies::component(name),
            ComponentSource::File(_) => None,
        };
        let name = source.to_string();
        Box::pin(async move {
            component.map(Arc::from).ok_or(ControlError::NotFound {
                what: "component",
                name,
            })
        })
    }
}

/// Refuses every configuration whose number is odd.
#[derive(Default)]
struct Counting(Mutex<u32>);

impl Reload for Counting {
    fn reload(&self) -> BoxFuture<'_, Result<Applied, Refused>> {
        let number = *self.0.lock();
        *self.0.lock() += 1;
        Box::pin(async move {
            if number % 2 == 1 {
                return Err(Refused {
                    mistakes: vec!["line 7: unknown key `modle`".into()],
                    files: Vec::new(),
                });
            }
            Ok(Applied {
                digest: number.to_string(),
                files: Vec::new(),
                needs_restart: Vec::new(),
            })
        })
    }
}

struct Kit {
    _dir: TempDir,
    host: Host,
    store: Arc<dyn Store>,
    incidents: Incidents,
    control: Arc<Fake>,
    router: Router,
}

async fn kit_with(token: Option<&str>) -> Kit {
    let dir = tempfile::tempdir().unwrap();
    let store: Arc<dyn Store> =
        Arc::new(SqliteStore::open(dir.path(), StoreOptions::default()).unwrap());
    let incidents = Incidents::start(store.clone()).await.unwrap();
    let options = HostOptions {
        instances_max: 4,
        ..HostOptions::default()
    };
    let host = Host::builder().options(options).build().unwrap();
    let control = Arc::new(Fake::default());
    let telemetry = Arc::new(Telemetry::new());
    let reloader = Reloader::start(
        Arc::new(Counting::default()),
        telemetry.clone(),
        ReloaderOptions {
            applied: None,
            read_at: std::time::SystemTime::now(),
            watch: false,
            signal: false,
        },
    );
    while reloader.status().applied.is_none() {
        tokio::task::yield_now().await;
    }
    let router = router(AdminState::new(AdminParts {
        host: host.clone(),
        control: control.clone(),
        store: store.clone(),
        incidents: incidents.clone(),
        telemetry,
        evidence: Arc::new(crate::evidence::Evidence::new()),
        baselines: Arc::new(crate::baselines::Baselines::load(store.clone()).await),
        clock: crate::clock::Clock::start(),
        reloader,
        token: token.map(Secret::new),
        component_bytes_max: 4 << 20,
    }));
    Kit {
        _dir: dir,
        host,
        store,
        incidents,
        control,
        router,
    }
}

async fn kit() -> Kit {
    kit_with(Some(TOKEN)).await
}

fn request(method: &str, path: &str) -> http::request::Builder {
    Request::builder()
        .method(method)
        .uri(path)
        .header("host", "127.0.0.1:8081")
        .header("authorization", format!("Bearer {TOKEN}"))
}

impl Kit {
    async fn send(&self, request: Request<Body>) -> (StatusCode, http::HeaderMap, Bytes) {
        let response = self.router.clone().oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        let body = axum::body::to_bytes(body, 16 << 20).await.unwrap();
        (parts.status, parts.headers, body)
    }

    async fn json(&self, request: Request<Body>) -> (StatusCode, Value) {
        let (status, _, body) = self.send(request).await;
        let body = serde_json::from_slice(&body)
            .unwrap_or_else(|_| panic!("no JSON: {}", String::from_utf8_lossy(&body)));
        (status, body)
    }

    async fn get(&self, path: &str) -> (StatusCode, Value) {
        self.json(request("GET", path).body(Body::empty()).unwrap())
            .await
    }

    async fn post(&self, path: &str, body: Value) -> (StatusCode, Value) {
        let request = request("POST", path).header("content-type", "application/json");
        self.json(request.body(Body::from(body.to_string())).unwrap())
            .await
    }

    async fn upload(&self, path: &str, component: Vec<u8>) -> (StatusCode, Value) {
        let request = request("POST", path).header("content-type", "application/wasm");
        self.json(request.body(Body::from(component)).unwrap())
            .await
    }

    async fn activate(&self) {
        let grants = json!({"metrics": ["*"]});
        let body = json!({"builtin": POLICY, "grants": grants, "by": "ann"});
        let (status, reply) = self.post("/admin/v1/policies/p/activate", body).await;
        assert_eq!(status, StatusCode::OK, "{reply}");
        assert_eq!(reply["history_kept"], true);
    }

    async fn review(&self) -> Review {
        let review = NewReview {
            route: "fraud".into(),
            created_ms: 5,
            request: Bytes::from_static(b"{\"amount\": 1}"),
            answer: Some(Bytes::from_static(b"<script>")),
            decision: None,
            model: Some("m".into()),
            release: Some("r1".into()),
            note: "low".into(),
            callback: None,
            request_id: None,
            confidence: None,
        };
        self.store.add_review(review).await.unwrap()
    }

    /// Lets policy `p` decide once for `route`.
    async fn decide(&self, route: &str) -> backstop::DecisionId {
        let facts = RequestFacts {
            route: route.into(),
            candidates: vec![Candidate {
                model: "m".into(),
                breaker: BreakerState::Closed,
                healthy: true,
                ..Candidate::default()
            }],
            rules: Arc::from([]),
            has_review: true,
            streaming: false,
            attempts: Vec::new(),
            tags: Vec::new(),
            body_bytes: 2,
            body: None,
            ..RequestFacts::default()
        };
        let default = Arc::new(Plan::from(vec![Step {
            action: Action::Review { note: "n".into() },
            reason: "default".into(),
        }]));
        let policy = self.host.policy("p").unwrap();
        let decision = self
            .host
            .decide_fallback(&policy, Arc::new(facts), &default)
            .await;
        decision.record.id
    }
}
