//! The admin plane, asked through its router.

mod document;
mod policies;

use super::*;
use crate::config::ComponentSource;
use crate::reload::{Applied, Refused, Reload, ReloaderOptions};
use crate::store::{NewReview, Review, SqliteStore, StoreOptions};
use axum::body::Body;
use backstop::{BoxFuture, DecisionPoint, HostOptions, IncidentReport, IncidentSink, Severity};
use backstop_core::input::{BreakerState, Candidate, RequestFacts};
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

#[tokio::test]
async fn the_token_opens_everything_and_nothing_else_does() {
    let kit = kit().await;
    let paths = ["/admin/v1/policies", "/metrics", "/admin/v1/nothing"];
    for path in paths {
        for given in [
            "",
            "Bearer wrong",
            "Basic correct horse",
            "Bearer correct hors",
        ] {
            let request = Request::get(path)
                .header("host", "127.0.0.1:8081")
                .header("authorization", given);
            let (status, headers, body) = kit.send(request.body(Body::empty()).unwrap()).await;
            assert_eq!(status, StatusCode::UNAUTHORIZED, "{path} with {given:?}");
            assert_eq!(headers["www-authenticate"], "Bearer");
            assert!(!String::from_utf8_lossy(&body).contains(TOKEN));
        }
    }
    assert_eq!(kit.get(paths[0]).await.0, StatusCode::OK);
    assert_eq!(kit.get(paths[2]).await.0, StatusCode::NOT_FOUND);
    for open in ["/", "/livez"] {
        let request = Request::get(open).body(Body::empty()).unwrap();
        assert_eq!(kit.send(request).await.0, StatusCode::OK, "{open}");
    }
}

#[tokio::test]
async fn without_a_token_other_web_pages_get_nothing() {
    let kit = kit_with(None).await;
    let get = |host: &str, origin: Option<&str>| {
        let mut request = Request::get("/admin/v1/policies").header("host", host);
        if let Some(origin) = origin {
            request = request.header("origin", origin);
        }
        kit.send(request.body(Body::empty()).unwrap())
    };
    assert_eq!(get("localhost:8081", None).await.0, StatusCode::OK);
    let same = Some("http://localhost:8081");
    assert_eq!(get("localhost:8081", same).await.0, StatusCode::OK);
    let rebound = get("rebound.example:8081", None).await;
    assert_eq!(rebound.0, StatusCode::FORBIDDEN);
    let foreign = get("localhost:8081", Some("https://evil.example")).await;
    assert_eq!(foreign.0, StatusCode::FORBIDDEN);
}

#[tokio::test]
async fn readiness_lists_what_is_missing() {
    let kit = kit().await;
    let (status, body) = kit.get("/readyz").await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
    let checks = body["checks"].as_array().unwrap();
    let listeners = checks.iter().find(|c| c["name"] == "listeners").unwrap();
    assert_eq!(listeners["ok"], false);
    assert_eq!(listeners["detail"], "the data plane is not bound");

    *kit.control.ready.lock() = true;
    let (status, body) = kit.get("/readyz").await;
    assert_eq!((status, &body["ready"]), (StatusCode::OK, &json!(true)));
    // A probe has no token and is told no details.
    let probe = Request::get("/readyz").body(Body::empty()).unwrap();
    let (status, body) = kit.json(probe).await;
    assert_eq!(status, StatusCode::OK);
    assert!(body["checks"][0].get("detail").is_none(), "{body}");
}

#[tokio::test]
async fn a_store_that_is_gone_makes_the_gateway_unready() {
    let kit = kit().await;
    *kit.control.ready.lock() = true;
    std::fs::remove_dir_all(kit._dir.path()).unwrap();
    let (status, body) = kit.get("/readyz").await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
    let failed: Vec<_> = body["checks"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|c| c["ok"] == false)
        .collect();
    assert_eq!(
        (failed.len(), &failed[0]["name"]),
        (1, &json!("store")),
        "{body}"
    );
}

#[tokio::test]
async fn metrics_are_open_metrics_text_with_every_family() {
    let kit = kit().await;
    kit.activate().await;
    kit.review().await;
    let scrape = request("GET", "/metrics").body(Body::empty()).unwrap();
    let (status, headers, body) = kit.send(scrape).await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!(
        headers["content-type"],
        "application/openmetrics-text; version=1.0.0; charset=utf-8"
    );
    let text = String::from_utf8(body.to_vec()).unwrap();
    assert!(text.ends_with("# EOF\n"));
    for line in [
        "backstop_breaker_state{model=\"m\",release=\"r2\"} 2",
        "backstop_rollout_share{model=\"m\"} 25.0",
        "backstop_policy_revision{policy=\"p\"} 1",
        "backstop_reviews_pending{route=\"fraud\"} 1",
        "backstop_incidents_open{severity=\"critical\"} 0",
        "backstop_config_synchronized 1",
    ] {
        assert!(text.contains(line), "{line} is not in\n{text}");
    }
}

#[tokio::test]
async fn decisions_are_listed_filtered_and_shown_whole() {
    let kit = kit().await;
    kit.activate().await;
    let first = kit.decide("chat").await;
    let second = kit.decide("fraud").await;
    let (_, list) = kit.get("/admin/v1/decisions").await;
    let ids: Vec<_> = list["data"]
        .as_array()
        .unwrap()
        .iter()
        .map(|d| &d["id"])
        .collect();
    assert_eq!(ids, [&json!(second), &json!(first)]);
    assert_eq!(list["data"][0]["decided_by"], "policy", "{list}");

    for (filter, count) in [
        ("route=chat", 1),
        ("route=none", 0),
        ("policy=p&limit=1", 1),
        ("policy=q", 0),
        ("point=threshold", 0),
        ("limit=0", 1),
        ("limit=4000000000", 2),
    ] {
        let (_, list) = kit.get(&format!("/admin/v1/decisions?{filter}")).await;
        assert_eq!(list["data"].as_array().unwrap().len(), count, "{filter}");
    }
    let (status, _) = kit.get("/admin/v1/decisions?lmit=1").await;
    assert_eq!(status, StatusCode::BAD_REQUEST);

    let (_, record) = kit.get(&format!("/admin/v1/decisions/{first}")).await;
    let record: backstop::DecisionRecord = serde_json::from_value(record).unwrap();
    assert_eq!(record.id, first);
    let (status, _) = kit.get("/admin/v1/decisions/0000000000000000").await;
    assert_eq!(status, StatusCode::NOT_FOUND);
    let (status, _) = kit.get("/admin/v1/decisions/xyz").await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn a_review_is_resolved_once_and_its_label_counts_once() {
    let kit = kit().await;
    let review = kit.review().await;
    let (_, list) = kit
        .get("/admin/v1/reviews?status=pending&route=fraud")
        .await;
    assert_eq!(list["data"][0]["id"], review.id);
    assert!(
        list["data"][0].get("request").is_none(),
        "bodies only one by one"
    );
    let path = format!("/admin/v1/reviews/{}", review.id);
    let (_, one) = kit.get(&path).await;
    assert_eq!(one["request"], json!({"amount": 1}));
    assert_eq!(one["answer"], "<script>");

    let resolve = format!("{path}/resolve");
    let (status, body) = kit.post(&resolve, json!({"outcome": "corrected"})).await;
    assert_eq!(status, StatusCode::BAD_REQUEST, "{body}");
    let label = json!({"outcome": "corrected", "label": "fraud", "by": "ann"});
    for _ in 0..2 {
        let (status, body) = kit.post(&resolve, label.clone()).await;
        assert_eq!(status, StatusCode::OK, "{body}");
        assert_eq!(body["status"], "resolved");
        assert_eq!(body["resolution"]["label"], "fraud");
    }
    let (status, body) = kit.post(&resolve, json!({"outcome": "agree"})).await;
    assert_eq!(status, StatusCode::CONFLICT);
    assert_eq!(body["error"]["code"], "already_resolved");
    assert_eq!(body["error"]["review"]["resolution"]["by"], "ann");
    assert_eq!(*kit.control.labelled.lock(), [review.id]);

    let agree = json!({"outcome": "agree"});
    let (status, _) = kit.post("/admin/v1/reviews/rev-0/resolve", agree).await;
    assert_eq!(status, StatusCode::NOT_FOUND);
    let huge = json!({"outcome": "agree", "note": "x".repeat(2 << 20)});
    let (status, body) = kit.post(&resolve, huge).await;
    assert_eq!(status, StatusCode::PAYLOAD_TOO_LARGE, "{body}");
}

#[tokio::test]
async fn incidents_are_listed_and_closed() {
    let kit = kit().await;
    let report = IncidentReport {
        policy: "p".into(),
        key: "k".into(),
        severity: Severity::Error,
        title: "errors rise".into(),
        detail: String::new(),
    };
    assert_eq!(kit.incidents.raise(report), Ok(true));
    let mut listed = Value::Null;
    for _ in 0..500 {
        listed = kit.get("/admin/v1/incidents?state=open").await.1;
        if listed["data"][0]["id"].is_u64() {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    assert_eq!(listed["data"][0]["severity"], "error", "{listed}");
    let path = format!("/admin/v1/incidents/{}/close", listed["data"][0]["id"]);
    let (status, closed) = kit.post(&path, json!({"by": "ann"})).await;
    assert_eq!(status, StatusCode::OK, "{closed}");
    assert_eq!(
        (&closed["state"], &closed["closed_by"]),
        (&json!("closed"), &json!("ann"))
    );
    let (status, _) = kit.post("/admin/v1/incidents/77/close", json!({})).await;
    assert_eq!(status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn rollouts_take_commands() {
    let kit = kit().await;
    let (_, models) = kit.get("/admin/v1/models").await;
    assert_eq!(models["data"][0]["releases"][1]["breaker"]["state"], "open");
    let (_, rollouts) = kit.get("/admin/v1/rollouts").await;
    assert_eq!(rollouts["data"][0]["phase"], "running");

    let path = "/admin/v1/rollouts/m/abort";
    let (status, body) = kit.post(path, json!({"by": "ann"})).await;
    assert_eq!(status, StatusCode::OK, "{body}");
    let sent = kit.control.commands.lock().clone();
    assert_eq!(
        sent,
        [("m".into(), RolloutCommand::Abort, Some("ann".into()))]
    );
    for wrong in ["m/explode", "x/pause"] {
        let path = format!("/admin/v1/rollouts/{wrong}");
        let (status, body) = kit.post(&path, json!({})).await;
        assert_eq!(status, StatusCode::NOT_FOUND, "{body}");
    }
}

#[tokio::test]
async fn a_refused_reload_is_told_with_every_mistake() {
    let kit = kit().await;
    let path = "/admin/v1/reload";
    let (status, body) = kit.post(path, json!(null)).await;
    assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY, "{body}");
    let mistakes = json!(["line 7: unknown key `modle`"]);
    assert_eq!(body["error"]["mistakes"], mistakes);
    let (_, config) = kit.get("/admin/v1/config").await;
    assert_eq!(config["synchronized"], false);
    assert_eq!(config["mistakes"], mistakes);
    assert_eq!(config["applied"]["digest"], "0", "the last good one");
    let (status, body) = kit.post(path, json!(null)).await;
    assert_eq!(
        (status, &body["synchronized"]),
        (StatusCode::OK, &json!(true))
    );
}

#[tokio::test]
async fn errors_are_json_whatever_was_wrong() {
    let kit = kit().await;
    let (status, body) = kit.get("/admin/v1/nothing").await;
    assert_eq!(
        (status, &body["error"]["code"]),
        (StatusCode::NOT_FOUND, &json!("not_found"))
    );
    let (status, body) = kit.post("/admin/v1/policies", json!({})).await;
    assert_eq!(status, StatusCode::METHOD_NOT_ALLOWED);
    assert_eq!(body["error"]["code"], "method_not_allowed");
}

#[tokio::test]
async fn the_dashboard_brings_everything_itself() {
    let kit = kit().await;
    let get = || kit.send(Request::get("/").body(Body::empty()).unwrap());
    let (_, headers, body) = get().await;
    let page = String::from_utf8(body.to_vec()).unwrap();
    for foreign in [
        "src=",
        "href=",
        "@import",
        "url(",
        "innerHTML =",
        "NONCE_OF",
    ] {
        assert!(!page.contains(foreign), "the page contains `{foreign}`");
    }
    let policy = headers["content-security-policy"].to_str().unwrap();
    let nonce = policy
        .split("'nonce-")
        .nth(1)
        .unwrap()
        .split('\'')
        .next()
        .unwrap();
    assert_eq!(page.matches(&format!("nonce=\"{nonce}\"")).count(), 2);
    assert_ne!(
        get().await.1["content-security-policy"],
        headers["content-security-policy"]
    );
}
