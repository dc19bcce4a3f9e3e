//! What a scrape shows after what was counted.

use super::release::BREAKER_STATES;
use super::*;
use crate::objectives::{AlertWord, CountReport, WindowReport};
use backstop::record::{
    Cost, DecisionRecord, FailureKind, Fault, Input, Moment, Output, RevisionRef, RunOutcome,
};
use backstop::{DecidedBy, DecisionId};
use backstop_core::fault::FailureClass;
use backstop_core::input::RolloutFacts;
use backstop_core::input::RolloutStage;
use backstop_core::metric::ObjectiveState;
use backstop_core::rollout::{Assessment, Directive};
use backstop_core::slo::Urgency;
use backstop_core::verdict::Outcome;
use std::sync::Arc;
use std::time::Duration;

fn encoded(telemetry: &Telemetry, snapshot: &Snapshot) -> String {
    telemetry.encode(snapshot).unwrap()
}

fn has(text: &str, line: &str) {
    assert!(
        text.lines().any(|l| l == line),
        "`{line}` is not in\n{text}"
    );
}

fn record(outcome: RunOutcome, decided_by: DecidedBy, fuel: u64) -> DecisionRecord {
    DecisionRecord {
        id: DecisionId(1),
        revision: RevisionRef {
            policy: "p".into(),
            number: 2,
            digest: "d".into(),
        },
        moment: Moment {
            now_ms: 1,
            seed: 1,
            time_left_us: 1,
        },
        input: Input::Rollback(Arc::new(RolloutFacts {
            model: "m".into(),
            candidate: "r2".into(),
            stable: "r1".into(),
            stage: RolloutStage::Canary,
            share_percent: 5,
            next_share_percent: None,
            age_ms: 1,
            step_age_ms: 1,
            ready_releases: Vec::new(),
        })),
        calls: Vec::new(),
        outcome,
        returned: None,
        decided_by,
        applied: Arc::new(Output::Assessment(Assessment {
            directive: Directive::Hold,
            reason: String::new(),
        })),
        cost: Cost {
            fuel,
            guest_ns: 2_000_000_000,
            host_ns: 1_000_000_000,
            memory_bytes: 0,
        },
        previous: None,
    }
}

#[test]
fn a_route_counts_what_its_callers_got() {
    let telemetry = Telemetry::new();
    let route = telemetry.route("chat");
    let running = route.in_flight();
    route.request(RequestOutcome::Answered, Duration::from_millis(20));
    route.request(RequestOutcome::Cancelled, Duration::from_secs(700));
    route.first_token(Duration::from_millis(3));
    route.served_by(ServedBy::Step(0));
    route.served_by(ServedBy::Step(1));
    route.served_by(ServedBy::Step(99));
    route.served_by(ServedBy::Rules);
    route.verdict(Outcome::Escalate);
    // The counters of a route that is set up again are the same.
    telemetry
        .route("chat")
        .request(RequestOutcome::Answered, Duration::ZERO);

    let text = encoded(&telemetry, &Snapshot::default());
    for line in [
        "backstop_requests_total{route=\"chat\",outcome=\"answered\"} 2",
        "backstop_requests_total{route=\"chat\",outcome=\"cancelled\"} 1",
        "backstop_requests_total{route=\"chat\",outcome=\"failed\"} 0",
        "backstop_request_duration_seconds_count{route=\"chat\"} 3",
        "backstop_request_duration_seconds_bucket{le=\"600.0\",route=\"chat\"} 2",
        "backstop_time_to_first_token_seconds_count{route=\"chat\"} 1",
        "backstop_fallbacks_total{route=\"chat\",step=\"0\"} 0",
        "backstop_fallbacks_total{route=\"chat\",step=\"1\"} 1",
        "backstop_fallbacks_total{route=\"chat\",step=\"15\"} 1",
        "backstop_fallbacks_total{route=\"chat\",step=\"rules\"} 1",
        "backstop_verdicts_total{route=\"chat\",outcome=\"escalate\"} 1",
        "backstop_requests_in_flight{route=\"chat\"} 1",
    ] {
        has(&text, line);
    }
    drop(running);
    let text = encoded(&telemetry, &Snapshot::default());
    has(&text, "backstop_requests_in_flight{route=\"chat\"} 0");
}

#[test]
fn a_release_counts_each_class_and_each_state() {
    let telemetry = Telemetry::new();
    let release = telemetry.release("m", "r1");
    release.attempt(None);
    for class in FailureClass::ALL {
        release.attempt(Some(class));
    }
    for state in BREAKER_STATES {
        release.breaker_went(state);
    }
    let text = encoded(&telemetry, &Snapshot::default());
    let labels = "model=\"m\",release=\"r1\"";
    let classes = FailureClass::ALL.iter().map(|class| class.as_str());
    for class in classes.chain(["ok"]) {
        let line = format!("backstop_attempts_total{{{labels},class=\"{class}\"}} 1");
        has(&text, &line);
    }
    for state in BREAKER_STATES.map(BreakerState::as_str) {
        let name = "backstop_breaker_transitions_total";
        has(&text, &format!("{name}{{{labels},to=\"{state}\"}} 1"));
    }
}

#[test]
fn a_policy_counts_its_run_and_that_of_the_revision_before() {
    let telemetry = Telemetry::new();
    let failed = RunOutcome::Failed {
        kind: FailureKind::Memory,
        fault: Fault::Policy,
        over: None,
        detail: String::new(),
    };
    let mut failed = record(failed, DecidedBy::Previous, 5);
    let before = record(RunOutcome::Answered, DecidedBy::Policy, 7);
    failed.previous = Some(Box::new(before));
    telemetry.policy("p").decision(&failed);
    let text = encoded(&telemetry, &Snapshot::default());
    let labels = "policy=\"p\",point=\"rollback\"";
    for line in [
        &*format!("backstop_policy_decisions_total{{{labels},decided_by=\"previous\"}} 1"),
        &*format!("backstop_policy_decisions_total{{{labels},decided_by=\"policy\"}} 0"),
        "backstop_policy_failures_total{policy=\"p\",kind=\"memory\"} 1",
        "backstop_policy_failures_total{policy=\"p\",kind=\"trap\"} 0",
        "backstop_policy_duration_seconds_count{policy=\"p\"} 2",
        "backstop_policy_fuel_total{policy=\"p\"} 12",
        "backstop_policy_time_seconds_total{policy=\"p\",place=\"guest\"} 4.0",
        "backstop_policy_time_seconds_total{policy=\"p\",place=\"host\"} 2.0",
    ] {
        has(&text, line);
    }
}

/// An objective of which the long window has events and the short one has none.
fn objective() -> ObjectiveReport {
    let counts = |burn_rate| CountReport {
        bad: 0,
        events: 0,
        burn_rate,
    };
    ObjectiveReport {
        name: "o".into(),
        route: None,
        model: Some("m".into()),
        metric: "error-rate".into(),
        bad: "yes".into(),
        target: 0.999,
        period_s: 86_400,
        state: ObjectiveState::Pending,
        urgency: None,
        period: counts(None),
        budget_left: Some(0.5),
        events_min: 20,
        windows: vec![WindowReport {
            urgency: Urgency::Page,
            long_s: 3_600,
            short_s: 300,
            factor: 14.4,
            for_s: 0,
            state: AlertWord::Pending,
            since_ms: Some(1),
            blind_since_ms: None,
            long: counts(Some(2.5)),
            short: counts(None),
        }],
        looked_ms: 1,
    }
}

#[test]
fn gauges_show_what_is_there_at_the_scrape_and_nothing_else() {
    let telemetry = Telemetry::new();
    let first = Snapshot {
        breakers: vec![("m".into(), "r1".into(), BreakerState::ForcedOpen)],
        loads: vec![(
            "m".into(),
            "r1".into(),
            LoadStatus {
                in_flight: 3,
                limit: Some(20),
                queued: 1,
            },
        )],
        provider_keys: vec![("p".into(), 0, "ready"), ("p".into(), 1, "cooling")],
        rollout_shares: vec![("m".into(), 12.5)],
        policy_revisions: vec![("p".into(), 3)],
        policies_suspended: vec![("p".into(), true)],
        records_dropped: 9,
        incidents_dropped: 2,
        reviews_pending: Some(vec![("chat".into(), 4)]),
        messages: Some(vec![MessageCount {
            channel: "callbacks".into(),
            pending: 5,
            dead: 6,
        }]),
        objectives: vec![objective()],
        incidents_open: Some(vec![(Severity::Error, 1)]),
    };
    let text = encoded(&telemetry, &first);
    for line in [
        "backstop_breaker_state{model=\"m\",release=\"r1\"} 3",
        "backstop_release_load{model=\"m\",release=\"r1\",what=\"in-flight\"} 3",
        "backstop_release_load{model=\"m\",release=\"r1\",what=\"limit\"} 20",
        "backstop_provider_key_state{provider=\"p\",key=\"0\",state=\"ready\"} 1",
        "backstop_provider_key_state{provider=\"p\",key=\"1\",state=\"cooling\"} 1",
        "backstop_provider_key_state{provider=\"p\",key=\"1\",state=\"ready\"} 0",
        "backstop_rollout_share{model=\"m\"} 12.5",
        "backstop_policy_revision{policy=\"p\"} 3",
        "backstop_policy_suspended{policy=\"p\"} 1",
        "backstop_records_dropped_total 9",
        "backstop_incidents_dropped_total 2",
        "backstop_reviews_pending{route=\"chat\"} 4",
        "backstop_outbox_messages{channel=\"callbacks\",state=\"pending\"} 5",
        "backstop_outbox_messages{channel=\"callbacks\",state=\"dead\"} 6",
        "backstop_incidents_open{severity=\"error\"} 1",
        "backstop_incidents_open{severity=\"info\"} 0",
        "backstop_objective_state{objective=\"o\"} 1",
        "backstop_objective_budget_left{objective=\"o\"} 0.5",
        "backstop_objective_burn_rate{objective=\"o\",window=\"1h\"} 2.5",
    ] {
        has(&text, line);
    }
    // The store did not answer: its figures stand. What is gone is gone.
    let text = encoded(&telemetry, &Snapshot::default());
    has(&text, "backstop_reviews_pending{route=\"chat\"} 4");
    has(&text, "backstop_incidents_open{severity=\"error\"} 1");
    has(&text, "backstop_records_dropped_total 9");
    for gone in [
        "breaker_state{",
        "release_load{",
        "provider_key_state{",
        "rollout_share{",
        "policy_revision{",
        "objective_state{",
        "objective_burn_rate{",
        "objective_budget_left{",
    ] {
        assert!(!text.contains(gone), "{gone} is still in\n{text}");
    }
}

#[test]
fn a_refused_reload_shows() {
    let telemetry = Telemetry::new();
    telemetry.reloaded(true);
    let text = encoded(&telemetry, &Snapshot::default());
    has(&text, "backstop_config_synchronized 1");
    telemetry.reloaded(false);
    let text = encoded(&telemetry, &Snapshot::default());
    has(&text, "backstop_config_synchronized 0");
    has(&text, "backstop_config_reloads_total{result=\"applied\"} 1");
    has(&text, "backstop_config_reloads_total{result=\"refused\"} 1");
    assert!(text.ends_with("# EOF\n"));
}
