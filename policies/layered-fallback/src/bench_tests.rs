//! Stories through the SDK's bench: settings through the schema, facts through
//! scripted metrics, plans checked as a host checks them.

use crate::LayeredFallback;
use backstop_sdk::metrics::{MetricsError, Subject};
use backstop_sdk::testing::{Bench, Value, json, outline, request};
use backstop_sdk::{Action, BreakerState, Plan};

fn bench(settings: Value) -> Bench<LayeredFallback> {
    Bench::new(settings).expect("the settings are valid")
}

/// A route with two models, rules and a review queue.
fn chat() -> backstop_sdk::testing::RequestScript {
    request("chat")
        .model("big")
        .model("small")
        .rules("sorry")
        .review()
}

fn errors(bench: &mut Bench<LayeredFallback>, model: &str, events: u64, trials: u64) {
    bench.rate("error-rate", Subject::Model(model), events, trials);
}

fn reason(plan: &Plan, step: usize) -> &str {
    &plan.steps[step].reason
}

#[test]
fn healthy_models_keep_the_routes_order() {
    let mut bench = bench(json!({}));
    errors(&mut bench, "big", 3, 200);
    let plan = bench.decide(chat()).expect("a plan");
    assert_eq!(outline(&plan), "big, small, rules(sorry)");
    assert_eq!(reason(&plan, 0), "3 of 200 calls failed in 60 s");
    assert_eq!(reason(&plan, 1), "no evidence: no calls in 60 s");
    assert_eq!(reason(&plan, 2), "no model answered");
}

#[test]
fn a_model_that_fails_too_often_comes_after_the_others() {
    let mut bench = bench(json!({}));
    errors(&mut bench, "big", 60, 200);
    let plan = bench.decide(chat()).expect("a plan");
    assert_eq!(outline(&plan), "small, big, rules(sorry)");
    assert_eq!(
        reason(&plan, 1),
        "60 of 200 calls failed in 60 s: 30.0 %, above 25.0 %"
    );
}

#[test]
fn the_line_itself_is_still_fine_and_few_calls_prove_nothing() {
    let mut bench = bench(json!({}));
    errors(&mut bench, "big", 50, 200);
    errors(&mut bench, "small", 19, 19);
    let plan = bench.decide(chat()).expect("a plan");
    assert_eq!(outline(&plan), "big, small, rules(sorry)");
    assert_eq!(
        reason(&plan, 1),
        "19 of 19 calls failed in 60 s, too few to judge by"
    );
    errors(&mut bench, "small", 20, 20);
    errors(&mut bench, "big", 51, 200);
    let plan = bench.decide(chat()).expect("a plan");
    assert_eq!(
        outline(&plan),
        "big, small, rules(sorry)",
        "least bad first"
    );
}

#[test]
fn a_slow_model_comes_after_the_others_when_latency_has_a_line() {
    let mut slow = bench(json!({"latency_p95_ms_max": 1_500}));
    slow.quantile("latency-ms", Subject::Model("big"), 0.95, 200, 2_400.4);
    let plan = slow.decide(chat()).expect("a plan");
    assert_eq!(outline(&plan), "small, big, rules(sorry)");
    assert_eq!(
        reason(&plan, 1),
        "p95 of 200 answers in 60 s is 2400 ms, above 1500 ms"
    );
    let mut unmeasured = bench(json!({}));
    unmeasured.quantile("latency-ms", Subject::Model("big"), 0.95, 200, 2_400.0);
    let plan = unmeasured.decide(chat()).expect("a plan");
    assert_eq!(outline(&plan), "big, small, rules(sorry)");
}

#[test]
fn models_that_calls_would_not_reach_are_left_out() {
    let mut bench = bench(json!({"knock_percent": 0}));
    for broken in [
        request("chat").model_with_breaker("big", BreakerState::Open),
        request("chat").model_with_breaker("big", BreakerState::ForcedOpen),
        request("chat").model_down("big"),
    ] {
        let plan = bench
            .decide(broken.model("small").rules("sorry"))
            .expect("a plan");
        assert_eq!(outline(&plan), "small, rules(sorry)");
        assert!(reason(&plan, 1).starts_with("no model answered; left out: big ("));
    }
}

#[test]
fn half_open_models_keep_their_place_whatever_their_error_rate() {
    let mut bench = bench(json!({}));
    errors(&mut bench, "big", 100, 100);
    let plan = bench
        .decide(
            request("chat")
                .model_with_breaker("big", BreakerState::HalfOpen)
                .model("small"),
        )
        .expect("a plan");
    assert_eq!(outline(&plan), "big, small");
}

#[test]
fn one_request_in_ten_knocks_at_an_open_breaker() {
    let mut bench = bench(json!({}));
    let broken = request("chat")
        .model_with_breaker("big", BreakerState::Open)
        .model("small");
    let mut knocks = 0;
    for seed in 0..1_000 {
        let plan = bench.seed(seed).decide(&broken).expect("a plan");
        knocks += usize::from(outline(&plan) == "big, small");
    }
    assert_eq!(knocks, 100);
    let held = request("chat")
        .model_with_breaker("big", BreakerState::ForcedOpen)
        .model("small");
    let plan = bench.seed(0).decide(held).expect("a plan");
    assert_eq!(outline(&plan), "small", "an operator's word is final");
}

#[test]
fn when_all_models_are_bad_the_least_bad_are_tried_before_rules() {
    let mut demoting = bench(json!({}));
    errors(&mut demoting, "big", 90, 100);
    errors(&mut demoting, "small", 40, 100);
    let plan = demoting.decide(chat()).expect("a plan");
    assert_eq!(outline(&plan), "small, big, rules(sorry)");

    let mut skipping = bench(json!({"troubled": "skip"}));
    errors(&mut skipping, "big", 90, 100);
    errors(&mut skipping, "small", 40, 100);
    let plan = skipping.decide(chat()).expect("a plan");
    assert_eq!(outline(&plan), "small, rules(sorry)");

    let mut strict = bench(json!({"try_least_bad": false}));
    errors(&mut strict, "big", 90, 100);
    errors(&mut strict, "small", 40, 100);
    let plan = strict.decide(chat()).expect("a plan");
    assert_eq!(outline(&plan), "rules(sorry)");
}

#[test]
fn when_all_models_are_down_the_one_with_a_wary_probe_is_tried_first() {
    let mut bench = bench(json!({"knock_percent": 0}));
    let all_down = request("chat")
        .model_with_breaker("held", BreakerState::ForcedOpen)
        .model_with_breaker("open", BreakerState::Open)
        .model_down("probed")
        .rules("sorry");
    let plan = bench.decide(all_down).expect("a plan");
    assert_eq!(outline(&plan), "probed, rules(sorry)");
    assert_eq!(
        reason(&plan, 0),
        "health probe or operator says down, but no other model is left"
    );
}

#[test]
fn with_everything_held_open_and_no_end_the_request_is_refused() {
    let mut bench = bench(json!({}));
    let nothing = request("chat").model_with_breaker("big", BreakerState::ForcedOpen);
    let plan = bench.decide(nothing).expect("a plan");
    assert_eq!(outline(&plan), "refuse(503)");
    assert_eq!(
        reason(&plan, 0),
        "no model may be called; left out: big (breaker is held open by an operator)"
    );
}

#[test]
fn operators_choose_how_the_plan_ends() {
    for (settings, expected) in [
        (json!({}), "big, small, rules(sorry)"),
        (json!({"rules": "sorry"}), "big, small, rules(sorry)"),
        (json!({"rules": "unknown here"}), "big, small, review"),
        (json!({"rules": ""}), "big, small, review"),
        (json!({"rules": null}), "big, small, rules(sorry)"),
        (json!({"rules": "", "review": false}), "big, small"),
    ] {
        let plan = bench(settings.clone()).decide(chat()).expect("a plan");
        assert_eq!(outline(&plan), expected, "{settings}");
    }
}

#[test]
fn an_explicit_order_replaces_the_routes() {
    for (models, expected) in [
        (json!(["small", "big"]), "small, big, rules(sorry)"),
        (json!(["small"]), "small, rules(sorry)"),
        (json!(["other", "small"]), "small, rules(sorry)"),
        (json!(["other"]), "big, small, rules(sorry)"),
    ] {
        let mut bench = bench(json!({"models": models}));
        let plan = bench.decide(chat()).expect("a plan");
        assert_eq!(outline(&plan), expected, "{models}");
    }
}

#[test]
fn calls_carry_the_timeouts_and_retries_of_the_settings() {
    let mut bench = bench(json!({"retries": 2, "timeout_ms": 9_000, "first_token_ms": 800}));
    let plan = bench.decide(chat()).expect("a plan");
    let Action::Call(call) = &plan.steps[0].action else {
        panic!("a call comes first");
    };
    assert_eq!(
        (call.retries, call.timeout_ms, call.first_token_ms),
        (2, 9_000, 800)
    );
}

#[test]
fn without_metrics_the_plan_is_the_operators_order() {
    for error in [
        MetricsError::Denied("error-rate".into()),
        MetricsError::Unavailable("starting".into()),
        MetricsError::Deadline,
    ] {
        let mut bench = bench(json!({"latency_p95_ms_max": 100}));
        bench.metric_fails("error-rate", error);
        let plan = bench.decide(chat()).expect("a plan");
        assert_eq!(outline(&plan), "big, small, rules(sorry)");
        assert!(reason(&plan, 0).starts_with("no evidence: "));
    }
}

#[test]
fn more_models_than_a_plan_holds_are_cut_at_its_end() {
    let mut bench = bench(json!({}));
    let many = (0..64).fold(request("chat"), |route, n| route.model(&format!("m{n}")));
    let plan = bench.decide(many.rules("sorry")).expect("a plan");
    assert_eq!(plan.steps.len(), 16);
}

#[test]
fn mistakes_in_the_settings_are_all_told() {
    let problems = Bench::<LayeredFallback>::new(json!({"models": ["big", "", "big"]}))
        .expect_err("two mistakes");
    let paths: Vec<_> = problems.iter().map(|problem| &*problem.path).collect();
    assert_eq!(paths, ["/models/1", "/models/2"]);
    for wrong in [
        json!({"error_rate_max": 1.5}),
        json!({"window_s": 0}),
        json!({"retries": 6}),
        json!({"troubled": "explode"}),
        json!({"unknown": 1}),
    ] {
        assert!(
            Bench::<LayeredFallback>::new(wrong.clone()).is_err(),
            "{wrong}"
        );
    }
}
