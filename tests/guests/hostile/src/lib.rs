//! A guest that does to the host whatever its settings say.
//!
//! One misdeed for each promise of the sandbox; `tests/all/hostile.rs` holds
//! the host to them.

use backstop_sdk::{
    Abstain, Answer, Assessment, CallStep, Context, FailureClasses, Fallback, Plan, Policy,
    Problems, Request, Rollback, Rollout, Threshold, Verdict, delivery, evidence, export, log,
    metrics, models, settings, state,
};
use std::sync::atomic::{AtomicU32, Ordering};

/// What to do.
#[settings]
#[derive(Debug)]
pub struct Settings {
    /// The misdeed.
    #[setting(default = "none")]
    misdeed: String,
    /// Settings can be refused.
    #[setting(default = 0, min = 0, max = 10)]
    number: u32,
}

/// The guest.
#[derive(Debug)]
pub struct Hostile(Settings);

impl Policy for Hostile {
    type Settings = Settings;

    fn configure(settings: Settings) -> Result<Self, Problems> {
        match settings.misdeed.as_str() {
            "loop-in-configure" => spin(),
            "trap-in-configure" => panic!("as told"),
            "grow-in-configure" => grow(),
            "import-in-configure" => log::info("hello"),
            "refuse-settings" => {
                let mut problems = Problems::new();
                problems.add("/misdeed", "is not nice");
                problems.add("/number", "is not my number");
                return Err(problems);
            }
            _ => {}
        }
        Ok(Self(settings))
    }
}

impl Fallback for Hostile {
    fn decide(&self, ctx: &Context, request: &Request) -> Result<Plan, Abstain> {
        // The canary call of an activation is at the beginning of time.
        if ctx.now_ms == 0 && !self.0.misdeed.ends_with("-in-canary") {
            return Ok(good_plan(request));
        }
        match self.0.misdeed.trim_end_matches("-in-canary") {
            "loop" => spin(),
            "grow" => grow(),
            "recurse" => drop(recurse(u64::from(self.0.number))),
            "trap" => panic!("as told"),
            "panic-with-10-mb" => panic!("{}", "x".repeat(10 << 20)),
            "flood-log" => loop {
                log::info("flood");
            },
            "long-log" => log::info(&"x".repeat(100 << 10)),
            "escape-log" => log::info("\u{1b}[2J\nforged line"),
            "loop-in-host-calls" => loop {
                let _ = request.route();
            },
            "wait-for-model" => {
                let answer = models::call(&models::ModelCall::new("slow", "{}"));
                return Err(Abstain::because(format!("{:?}", answer.map(|_| ()))));
            }
            "call-model-too-often" => {
                let calls: Vec<_> = (0..3)
                    .map(|_| models::call(&models::ModelCall::new("quick", "{}")).map(|_| ()))
                    .collect();
                return Err(Abstain::because(format!("{calls:?}")));
            }
            "call-other-model" => {
                let answer = models::call(&models::ModelCall::new("secret", "{}"));
                return Err(Abstain::because(format!("{:?}", answer.map(|_| ()))));
            }
            "read-other-metric" => {
                let rate = metrics::rate("secret", metrics::Subject::Route, 60);
                return Err(Abstain::because(format!("{rate:?}")));
            }
            "bad-metric-arguments" => {
                let subject = metrics::Subject::Route;
                let found = (
                    metrics::rate("error-rate", subject, 0).is_err(),
                    metrics::rate("error-rate", metrics::Subject::Route, u32::MAX).is_err(),
                    metrics::quantile("latency-ms", metrics::Subject::Route, 60, f64::NAN).is_err(),
                );
                return Err(Abstain::because(format!("{found:?}")));
            }
            "fill-state" => {
                let mut set = 0;
                for key in 0..200 {
                    if state::set(&format!("{key}"), &[0; 4_096], 0).is_ok() {
                        set += 1;
                    }
                }
                return Err(Abstain::because(format!("{set}")));
            }
            "large-state" => {
                let result = state::set("key", &[0; 5_000], 0);
                return Err(Abstain::because(format!("{result:?}")));
            }
            "count" => {
                let count = state::add("count", 1, 0);
                return Err(Abstain::because(format!("{count:?}")));
            }
            "count-in-memory" => {
                static DECISIONS: AtomicU32 = AtomicU32::new(0);
                let before = DECISIONS.fetch_add(1, Ordering::Relaxed);
                return Err(Abstain::because(format!("{before}")));
            }
            "ask-besides" => {
                let beginning = delivery::Beginning {
                    tokens: 16,
                    ms: 900,
                };
                delivery::hold(delivery::Hold::Beginning(beginning))?;
                delivery::after_cut(delivery::AfterCut::Error)?;
                delivery::retries(FailureClasses::all(), 1)?;
                delivery::retries(FailureClasses::RATE_LIMIT, 3)?;
            }
            "ask-too-much" => {
                let long = delivery::Beginning { tokens: 1, ms: 0 };
                let mut found = vec![
                    delivery::hold(delivery::Hold::Beginning(long)),
                    delivery::retries(FailureClasses::AUTH, 6),
                ];
                found.extend((0..15).map(|_| delivery::retries(FailureClasses::AUTH, 1)));
                found.retain(Result::is_err);
                return Err(Abstain::because(format!("{found:?}")));
            }
            "tell-load" => {
                let told = request.candidates().into_iter().map(|candidate| {
                    let model = &*candidate.model;
                    (
                        request.in_flight(model),
                        request.limit(model),
                        request.queued(model),
                        request.retry_in_ms(model),
                        request.context_tokens(model),
                    )
                });
                let told: Vec<_> = told.collect();
                let none = request.in_flight("imaginary");
                return Err(Abstain::because(format!(
                    "{:?} {told:?} {none}",
                    request.time_left_ms()
                )));
            }
            "ask-evidence" => return Err(Abstain::because(evidence_of_everything())),
            "unknown-model" => return Ok(Plan::new().call("gpt-imaginary", "why not")),
            "no-steps" => return Ok(Plan::new()),
            "ten-thousand-steps" => {
                let model = request.candidates()[0].model.clone();
                return Ok(
                    (0..10_000).fold(Plan::new(), |plan, _| plan.call(model.as_str(), "again"))
                );
            }
            "huge-timeout" => {
                let model = request.candidates()[0].model.clone();
                return Ok(Plan::new().call(CallStep::to(model).timeout_ms(u32::MAX), "wait"));
            }
            "invalid-utf-8" => {
                #[expect(
                    unsafe_code,
                    reason = "the host must survive what no honest guest can return"
                )]
                // SAFETY: none; that is the misdeed.
                let reason = unsafe { String::from_utf8_unchecked(vec![0xff, 0xfe, 0x80]) };
                return Ok(Plan::new().or_refuse(503, "no", reason));
            }
            "megabytes-of-reason" => {
                return Ok(Plan::new().or_refuse(503, "no", "x".repeat(2 << 20)));
            }
            _ => {}
        }
        Ok(good_plan(request))
    }
}

impl Threshold for Hostile {
    fn judge(&self, ctx: &Context, _: &Request, answer: &Answer) -> Result<Verdict, Abstain> {
        let confidence = match self.0.misdeed.as_str() {
            _ if ctx.now_ms == 0 => 0.5,
            "not-a-number" => f64::NAN,
            "above-one" => 1.5,
            "ask-besides" => {
                let asked = delivery::hold(delivery::Hold::Whole);
                let partial = answer.partial();
                let pace = (answer.first_token_ms(), answer.tokens());
                return Err(Abstain::because(format!("{asked:?} {partial} {pace:?}")));
            }
            "read-body" => {
                return Err(Abstain::because(format!("{:?}", answer.body(100))));
            }
            _ => 0.5,
        };
        Ok(Verdict::accept("fine").with_confidence(confidence))
    }
}

impl Rollback for Hostile {
    fn assess(&self, ctx: &Context, _: &Rollout) -> Result<Assessment, Abstain> {
        match self.0.misdeed.as_str() {
            "unknown-release" if ctx.now_ms != 0 => {
                Ok(Assessment::roll_back_to("imaginary", "why not"))
            }
            _ => Ok(Assessment::hold("fine")),
        }
    }
}

fn good_plan(request: &Request) -> Plan {
    let candidates = request.candidates();
    candidates.into_iter().fold(Plan::new(), |plan, candidate| {
        plan.call(candidate.model, "in order")
    })
}

/// Every question of `evidence`, and what is worth knowing of each answer.
fn evidence_of_everything() -> String {
    use metrics::{ComparisonOptions, Subject};
    fn told<T, V: std::fmt::Debug>(
        answer: Result<T, metrics::MetricsError>,
        part: impl FnOnce(T) -> V,
    ) -> String {
        match answer {
            Ok(value) => format!("{:?}", part(value)),
            Err(error) => format!("{error:?}"),
        }
    }
    let route = || Subject::Route;
    let options = ComparisonOptions::lower_is_better(20);
    let metric = "error-rate{tier=gold}";
    let measured = |metric| told(evidence::measure(metric, route(), 60), |m| m.value);
    let drift = |baseline| {
        let reading = evidence::drift_from(metric, route(), 60, baseline);
        told(reading, |reading| reading.psi)
    };
    let compared = |options| {
        let comparison = evidence::compare_with(metric, route(), 60, "spring", options);
        told(comparison, |comparison| comparison.verdict)
    };
    let objective = |name| told(evidence::objective(name), |status| status.severity);
    let shares = evidence::shares("error-rate", route(), 60);
    [
        told(shares, |shares| shares[0].category.clone()),
        measured(metric),
        measured("secret{tier=gold}"),
        drift("spring"),
        drift("never"),
        compared(options),
        compared(options.with_alpha(2.0)),
        objective("answers"),
        objective("secret"),
        measured("latency-nan"),
        told(evidence::find_line(route(), 60, 0.05, 0.1), |reading| {
            reading
        }),
        told(evidence::find_line(route(), 60, 1.0, f64::NAN), |_| ()),
    ]
    .join("; ")
}

fn spin() {
    let mut n: u64 = 1;
    loop {
        n = std::hint::black_box(n.wrapping_mul(3));
        if n == 0 {
            break;
        }
    }
}

fn grow() {
    let mut hoard: Vec<Vec<u8>> = Vec::new();
    loop {
        hoard.push(vec![1; 64 << 10]);
        std::hint::black_box(&hoard);
    }
}

fn recurse(n: u64) -> u64 {
    if std::hint::black_box(n) == u64::MAX {
        return n;
    }
    recurse(std::hint::black_box(n + 1)).wrapping_add(n)
}

export!(Hostile: fallback, threshold, rollback);
