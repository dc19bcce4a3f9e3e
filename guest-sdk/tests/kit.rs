//! The testing kit: a scripted world behaves as a host promises.

#![expect(missing_docs, reason = "policies of a test are their own description")]
#![expect(
    clippy::unwrap_used,
    reason = "a test is to stop where something is odd"
)]

use backstop_sdk::metrics::{
    Comparison, ComparisonOptions, ComparisonVerdict, DriftVerdict, MetricsError, Moments, Subject,
};
use backstop_sdk::models::{Budget, BudgetKind, ModelCall, ModelError};
use backstop_sdk::state::StateError;
use backstop_sdk::testing::{Bench, answer, json, outline, request, rollout};
use backstop_sdk::{incident, log, metrics, models, state, *};

/// Does what the settings say, so that one policy serves every test.
#[derive(Debug)]
struct Puppet(String);

#[settings]
pub struct Strings {
    /// What to do.
    act: String,
}

impl Policy for Puppet {
    type Settings = Strings;
    const NAME: Option<&'static str> = Some("puppet");

    fn wants() -> Vec<Want> {
        vec![
            Want::metrics("error-*"),
            Want::metrics(metrics::CONFIDENCE),
            Want::models("judge"),
            Want::State,
            Want::Incident,
        ]
    }

    fn configure(settings: Strings) -> Result<Self, Problems> {
        Ok(Self(settings.act))
    }
}

impl Fallback for Puppet {
    fn decide(&self, ctx: &Context, request: &Request) -> Result<Plan, Abstain> {
        let plan = Plan::new();
        Ok(match self.0.as_str() {
            "nothing" => plan,
            "unknown" => plan.call("nobody", ""),
            "endless" => (0..17).fold(plan, |plan, _| plan.call("big", "again")),
            "after-end" => plan.or_rules("sorry", "").call("big", ""),
            "slow" => plan.call(CallStep::to("big").timeout_ms(600_001), ""),
            "stubborn" => plan.call(CallStep::to("big").retries(6), ""),
            "alone" => plan.race(["big"], ""),
            "against-itself" => plan.race(["big", "big"], ""),
            "review" => plan.or_review("unsure", ""),
            "rules" => plan.or_rules("none", ""),
            "refuse" => plan.or_refuse(200, "fine", ""),
            "hedge" => plan
                .hedge(["big", "small"], 250, "slow")
                .or_rules("sorry", ""),
            "body" => plan.call(request.body(10)?, ""),
            "drift" => {
                let reading = metrics::drift(metrics::CONFIDENCE, Subject::Route, 60, 600)?;
                assert_eq!(reading.verdict, DriftVerdict::NotEnoughData);
                plan.call("big", "")
            }
            "forbidden" => {
                metrics::rate("accuracy", Subject::Route, 60)?;
                plan
            }
            "log" => {
                (0..40).for_each(|_| log::warn(&"é".repeat(600)));
                plan.call("big", ctx.now_ms.to_string())
            }
            "incident" => {
                for number in 0..4 {
                    assert!(
                        incident::raise(&number.to_string(), Severity::Warning, "t", "").unwrap()
                    );
                }
                incident::raise("5", Severity::Warning, "t", "")?;
                plan
            }
            "panic" => panic!("as told"),
            _ => return Err("told nothing".into()),
        })
    }
}

impl Threshold for Puppet {
    fn judge(&self, _: &Context, _: &Request, answer: &Answer) -> Result<Verdict, Abstain> {
        let confidence = answer.confidence().ok_or("no confidence")?;
        Ok(match self.0.as_str() {
            "judge" => {
                let call = ModelCall::new("judge", "{}").timeout_ms(50);
                let second = models::call(&call)?;
                Verdict::review(second.body(100)?).with_confidence(confidence)
            }
            _ => Verdict::accept("fine")
                .with_confidence(confidence)
                .with_line(0.5),
        })
    }
}

impl Rollback for Puppet {
    fn assess(&self, _: &Context, rollout: &Rollout) -> Result<Assessment, Abstain> {
        let model = rollout.model();
        let (candidate, stable) = (rollout.candidate(), rollout.stable());
        let comparison = metrics::compare(
            metrics::ERROR_RATE,
            Subject::release(&model, &candidate),
            Subject::release(&model, &stable),
            600,
            ComparisonOptions::lower_is_better(50).with_margin(0.01),
        )?;
        Ok(match comparison.verdict {
            ComparisonVerdict::Worse => Assessment::roll_back_to(self.0.as_str(), "worse"),
            ComparisonVerdict::NotEnoughData => Assessment::hold("too early"),
            _ => Assessment::advance("no worse"),
        })
    }
}

export!(Puppet: fallback, threshold, rollback);

fn puppet(act: &str) -> Bench<Puppet> {
    Bench::new(json!({ "act": act })).unwrap()
}

fn chat() -> testing::RequestScript {
    request("chat")
        .model("big")
        .model("small")
        .rules("sorry")
        .body("big news")
}

#[test]
fn a_plan_that_a_host_would_refuse_fails_the_test() {
    for (act, why) in [
        ("nothing", "plan has 0 steps"),
        ("endless", "plan has 17 steps"),
        ("unknown", "no model `nobody`"),
        ("after-end", "step 0 ends the plan"),
        ("slow", "`timeout-ms` is 600001"),
        ("stubborn", "`retries` is 6"),
        ("alone", "races 1 calls"),
        ("against-itself", "against itself"),
        ("review", "no review queue"),
        ("rules", "no rules `none`"),
        ("refuse", "`status` is 200"),
    ] {
        let panic = std::panic::catch_unwind(|| puppet(act).decide(chat())).unwrap_err();
        let message = panic.downcast_ref::<String>().unwrap();
        assert!(message.contains(why), "{act}: {message}");
    }
    let plan = puppet("hedge").decide(chat()).unwrap();
    assert_eq!(outline(&plan), "hedge(big small), rules(sorry)");
}

#[test]
fn what_is_not_wanted_is_denied_and_the_abstention_names_it() {
    let abstain = puppet("forbidden").decide(chat()).unwrap_err();
    assert_eq!(abstain.reason, "metric `accuracy` is not granted");
    let abstain = puppet("body").decide(chat()).unwrap_err();
    assert_eq!(abstain.reason, "body is not granted");
    let abstain = puppet("drift").grant_nothing().decide(chat()).unwrap_err();
    assert_eq!(abstain.reason, "metric `confidence` is not granted");
    puppet("drift").decide(chat()).unwrap();
}

#[test]
fn logs_and_incidents_are_bounded_and_belong_to_one_decision() {
    let mut bench = puppet("log");
    let plan = bench.now_ms(5).sleep_ms(2).decide(chat()).unwrap();
    assert_eq!(plan.steps[0].reason, "7");
    assert_eq!(bench.log().len(), 32);
    assert_eq!(bench.log()[0], (log::Level::Warn, "é".repeat(512)));
    let mut bench = puppet("incident");
    for _ in 0..2 {
        let abstain = bench.decide(chat()).unwrap_err();
        assert_eq!(abstain.reason, "incident is one too many for one decision");
        assert_eq!(bench.incidents().len(), 4);
    }
}

#[test]
fn a_panic_gives_the_world_back() {
    let mut bench = puppet("panic");
    bench.rate(metrics::ERROR_RATE, Subject::Route, 1, 2);
    let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| bench.decide(chat())));
    assert!(outcome.is_err());
    let read = |_: &Puppet| metrics::rate(metrics::ERROR_RATE, Subject::Route, 60);
    assert_eq!(bench.within(read).unwrap().rate(), Some(0.5));
    let outside = metrics::rate(metrics::ERROR_RATE, Subject::Route, 60);
    assert!(matches!(outside, Err(MetricsError::Denied(_))));
}

#[test]
fn scripts_answer_by_metric_subject_and_window() {
    let mut bench = puppet("");
    bench
        .rate(metrics::ERROR_RATE, Subject::Model("big"), 1, 10)
        .rate_over(3_600, metrics::ERROR_RATE, Subject::Model("big"), 9, 10)
        .mean(
            metrics::CONFIDENCE,
            Subject::Route,
            Moments {
                samples: 3,
                mean: 0.5,
                stddev: 0.1,
            },
        )
        .quantile(metrics::CONFIDENCE, Subject::Route, 0.1, 40, 0.2)
        .metric_fails(
            "error-budget",
            MetricsError::Unavailable("maintenance".to_owned()),
        );
    bench.within(|_| {
        let rate = |model, window| metrics::rate("error-rate", Subject::Model(model), window);
        assert_eq!(rate("big", 60).unwrap().rate(), Some(0.1));
        assert_eq!(rate("big", 3_600).unwrap().rate(), Some(0.9));
        assert_eq!(rate("big", 60).unwrap().rate_of_at_least(11), None);
        assert_eq!(rate("small", 60).unwrap().rate(), None);
        assert!(matches!(rate("big", 0), Err(MetricsError::Invalid(_))));
        let mean = metrics::mean("confidence", Subject::Route, 60).unwrap();
        assert_eq!((mean.mean(), mean.mean_of_at_least(4)), (Some(0.5), None));
        let quantile = |q| metrics::quantile("confidence", Subject::Route, 60, q);
        assert_eq!(quantile(0.1).unwrap().value_of_at_least(40), Some(0.2));
        assert_eq!(quantile(0.9).unwrap().value(), None);
        assert!(quantile(1.5).is_err());
        let error = metrics::rate("error-budget", Subject::Route, 60).unwrap_err();
        assert_eq!(
            Abstain::from(error).reason,
            "metric is not available: maintenance"
        );
    });
}

#[test]
fn models_answer_in_turn_and_cost_budget() {
    let mut bench = puppet("judge");
    bench
        .model_answers("judge", answer("judge").body("first"))
        .model_fails("judge", ModelError::Failed(FailureClass::TimeoutIdle))
        .model_answers("judge", answer("judge").body("last"))
        .budget(Budget {
            calls: 4,
            time_ms: 1,
            cost_micros: 1,
        });
    let mut judge = || bench.judge(chat(), answer("big").confidence(0.4));
    let verdict = judge().unwrap();
    assert_eq!(
        (verdict.outcome, verdict.reason.as_str()),
        (Outcome::Review, "first")
    );
    assert_eq!(
        judge().unwrap_err().reason,
        "model call failed: timeout-idle"
    );
    assert_eq!(judge().unwrap().reason, "last");
    assert_eq!(judge().unwrap().reason, "last");
    assert_eq!(
        judge().unwrap_err().reason,
        "model call is over the budget of calls"
    );
    assert_eq!(bench.model_calls().len(), 0);
    bench.within(|_| {
        let many = models::call_many(&vec![ModelCall::new("judge", "{}"); 9]);
        assert!(
            many.iter()
                .all(|result| matches!(result, Err(ModelError::Invalid(_))))
        );
        let denied = models::call(&ModelCall::new("big", "{}")).unwrap_err();
        assert_eq!(Abstain::from(denied).reason, "model `big` is not granted");
        assert_eq!(models::budget_left().calls, 0);
        let over = models::call(&ModelCall::new("judge", "{}")).unwrap_err();
        assert_eq!(over, ModelError::OverBudget(BudgetKind::Calls));
    });
}

#[test]
fn a_verdict_or_assessment_out_of_range_fails_the_test() {
    let judged =
        std::panic::catch_unwind(|| puppet("").judge(chat(), answer("big").confidence(1.5)));
    assert!(judged.is_err());
    assert_eq!(
        puppet("").judge(chat(), answer("big")).unwrap_err().reason,
        "no confidence"
    );

    let worse = |release: &str| {
        let mut bench = puppet(release);
        let comparison = Comparison {
            verdict: ComparisonVerdict::Worse,
            effect: 0.1,
            low: 0.05,
            high: 0.2,
            candidate_samples: 100,
            baseline_samples: 900,
        };
        let (new, old) = (Subject::release("big", "2"), Subject::release("big", "1"));
        bench.comparison(metrics::ERROR_RATE, new, old, comparison);
        bench.assess(rollout("big", "1", "2"))
    };
    let assessment = worse("1").unwrap();
    assert_eq!(assessment, Assessment::roll_back_to("1", "worse"));
    assert!(std::panic::catch_unwind(|| worse("0")).is_err());
    let early = puppet("1").assess(rollout("big", "1", "2")).unwrap();
    assert_eq!(early.directive, Directive::Hold);
}

#[test]
fn state_expires_counts_and_has_limits() {
    let mut bench = puppet("drift");
    bench.state("known", b"value").state_number("count", 41);
    bench.within(|_| {
        assert_eq!(state::get("known").unwrap().as_deref(), Some(&b"value"[..]));
        assert_eq!(state::add("count", 1, 0), Ok(42));
        assert_eq!(
            state::add("count", i64::MAX, 0),
            Err(StateError::NotANumber)
        );
        assert_eq!(state::set("short", b"x", 1), Ok(()));
        assert_eq!(state::remove("known"), Ok(true));
        assert_eq!(state::remove("known"), Ok(false));
        assert!(matches!(state::get(""), Err(StateError::Invalid(_))));
        assert!(matches!(
            state::set("big", &[0; 4_097], 0),
            Err(StateError::Invalid(_))
        ));
        for number in 0..1_022 {
            state::set(&number.to_string(), b"", 0).unwrap();
        }
        assert_eq!(state::set("one-more", b"", 0), Err(StateError::Full));
        assert_eq!(state::set("short", b"y", 1), Ok(()));
    });
    bench.sleep_ms(1_000).decide(chat()).unwrap();
    bench.within(|_| assert_eq!(state::get("short"), Ok(None)));
    bench.grant_nothing();
    bench.within(|_| assert_eq!(state::get("0"), Err(StateError::Denied)));
}
