//! A host whose metrics come from the real evidence store, in a time of its
//! own that a test moves on; and a place where incidents are kept.

use backstop::core::evidence::{Evidence, EvidenceOptions, SubjectRef};
use backstop::core::input::{AnswerFacts, BreakerState, Candidate, RequestFacts, RolloutFacts};
use backstop::core::input::{FinishReason, RolloutStage};
use backstop::core::plan::{Action, Plan, Step};
use backstop::core::rollout::{Assessment, Directive};
use backstop::core::verdict::{Outcome, Verdict};
use backstop::{
    Grants, Host, HostOptions, IncidentReport, IncidentSink, Limits, MetricsSource, PolicyHandle,
    PolicyOptions,
};
use parking_lot::Mutex;
use serde_json::{Value, json};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

/// Far above what a decision takes, so that a busy machine fails no test.
const DEADLINE_MS: u32 = 10_000;

/// What a test has recorded, and what policies raised.
pub(crate) struct Story {
    evidence: Arc<Evidence>,
    ahead_ms: AtomicU64,
    pub(crate) incidents: Mutex<Vec<IncidentReport>>,
}

impl Story {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self {
            evidence: Arc::new(Evidence::new(EvidenceOptions::default())),
            ahead_ms: AtomicU64::new(0),
            incidents: Mutex::new(Vec::new()),
        })
    }

    /// Lets time pass.
    pub(crate) fn sleep_s(&self, seconds: u64) {
        self.ahead_ms.fetch_add(seconds * 1_000, Ordering::Relaxed);
    }

    fn now_ms(&self) -> u64 {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        since.as_millis() as u64 + self.ahead_ms.load(Ordering::Relaxed)
    }

    /// Records `events` of `trials` of a rate.
    pub(crate) fn rate(&self, metric: &str, subject: SubjectRef<'_>, events: u32, trials: u32) {
        let series = self.evidence.rate_series(metric, subject).unwrap();
        for trial in 0..trials {
            assert!(series.record_rate(self.now_ms(), trial < events));
        }
    }

    /// Records values that scatter evenly by `spread` around `mean`.
    pub(crate) fn values(
        &self,
        metric: &str,
        subject: SubjectRef<'_>,
        mean: f64,
        spread: f64,
        samples: u32,
    ) {
        let series = self.evidence.value_series(metric, subject).unwrap();
        for sample in 0..samples {
            let offset = f64::from(sample % 21) / 10.0 - 1.0;
            assert!(series.record_value(self.now_ms(), mean + offset * spread));
        }
    }

    /// A host that reads what was recorded.
    pub(crate) fn host(self: &Arc<Self>) -> Host {
        self.host_over(self.evidence.clone())
    }

    /// A host in this time that reads other metrics.
    pub(crate) fn host_over(self: &Arc<Self>, metrics: Arc<dyn MetricsSource>) -> Host {
        let story = self.clone();
        Host::builder()
            .options(HostOptions {
                instances_max: 8,
                ..HostOptions::default()
            })
            .metrics(metrics)
            .incidents(self.clone())
            .clock(move || story.now_ms())
            .build()
            .unwrap()
    }
}

impl IncidentSink for Story {
    fn raise(&self, report: IncidentReport) -> Result<bool, String> {
        let mut incidents = self.incidents.lock();
        let is_new = !incidents.iter().any(|known| known.key == report.key);
        incidents.push(report);
        Ok(is_new)
    }
}

/// What the README of each policy says that it needs.
pub(crate) fn grants(builtin: &str) -> Grants {
    let (metrics, incident): (&[&str], bool) = match builtin {
        "layered-fallback" => (&["error-rate", "latency-ms"], false),
        "confidence-threshold" => (&["accuracy", "confidence"], false),
        "adaptive-threshold" => (
            &[
                "labelled",
                "confidence",
                "estimated-accuracy",
                "objective:*",
            ],
            false,
        ),
        "drift-guard" => (&["*"], true),
        "canary-rollback" => (&["error-rate", "latency-ms", "confidence"], true),
        other => panic!("no grants for {other}"),
    };
    Grants {
        metrics: metrics.iter().map(|&name| name.to_owned()).collect(),
        incident,
        ..Grants::default()
    }
}

/// The least that a policy has to be told.
pub(crate) fn settings(builtin: &str) -> Value {
    match builtin {
        "adaptive-threshold" => json!({"accept_at": 0.8}),
        "drift-guard" => json!({"watch": [{"metric": "confidence", "kind": "drift"}]}),
        _ => json!({}),
    }
}

pub(crate) fn options(builtin: &str, settings: Value) -> PolicyOptions {
    PolicyOptions {
        settings,
        grants: grants(builtin),
        limits: Limits {
            deadline_ms: Some(DEADLINE_MS),
            load_deadline_ms: DEADLINE_MS,
            ..Limits::default()
        },
        ..PolicyOptions::default()
    }
}

/// Activates a shipped policy under its own name.
pub(crate) async fn activate(host: &Host, builtin: &str, settings: Value) -> PolicyHandle {
    let component = backstop_policies::component(builtin).unwrap();
    host.activate(builtin, component, options(builtin, settings))
        .await
        .unwrap();
    host.policy(builtin).unwrap()
}

/// A request to `chat` with `primary` and `backup`, rules and a review queue.
pub(crate) fn request() -> RequestFacts {
    let candidate = |model: &str| Candidate {
        model: model.into(),
        breaker: BreakerState::Closed,
        healthy: true,
        ..Candidate::default()
    };
    RequestFacts {
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
    }
}

/// An answer of `primary`, with one more step to go.
pub(crate) fn answer(confidence: Option<f64>) -> AnswerFacts {
    AnswerFacts {
        model: "primary".into(),
        release: "r1".into(),
        step: 0,
        steps_left: 1,
        confidence,
        label: None,
        scores: Vec::new(),
        token_logprobs: Vec::new(),
        finish_reason: Some(FinishReason::Stop),
        latency_ms: 120,
        delivered: false,
        body_bytes: 0,
        body: None,
        ..AnswerFacts::default()
    }
}

/// A rollout of `primary` from `r1` to `r2`, half an hour old and ten minutes
/// at 25 %.
pub(crate) fn rollout() -> RolloutFacts {
    RolloutFacts {
        model: "primary".into(),
        candidate: "r2".into(),
        stable: "r1".into(),
        stage: RolloutStage::Canary,
        share_percent: 25,
        next_share_percent: Some(50),
        age_ms: 1_800_000,
        step_age_ms: 600_000,
        ready_releases: vec!["r2".into(), "r1".into()],
    }
}

/// A plan that no policy makes: to tell a default from a decision.
pub(crate) fn default_plan() -> Arc<Plan> {
    Arc::new(Plan::from(vec![Step {
        action: Action::Rules("sorry".into()),
        reason: "default".into(),
    }]))
}

pub(crate) fn default_verdict() -> Verdict {
    Verdict {
        outcome: Outcome::Accept,
        reason: "default".into(),
        confidence: None,
        line: None,
    }
}

pub(crate) fn default_assessment() -> Assessment {
    Assessment {
        directive: Directive::Hold,
        reason: "default".into(),
    }
}

/// A plan in one line.
pub(crate) fn outline(plan: &Plan) -> String {
    let step = |step: &Step| match &step.action {
        Action::Call(call) => call.model.to_string(),
        Action::Race(_) => "race".to_owned(),
        Action::Rules(rules) => format!("rules({rules})"),
        Action::Review { .. } => "review".to_owned(),
        Action::Refuse { status, .. } => format!("refuse({status})"),
    };
    let steps: Vec<_> = plan.steps.iter().map(step).collect();
    steps.join(", ")
}
