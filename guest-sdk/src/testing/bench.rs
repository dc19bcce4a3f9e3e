//! The bench: one configured policy in its scripted world.

use super::world::delivery::Delivery;
use super::world::{self, Grants, Measured, Reading, World};
use super::{AnswerScript, check_assessment, check_plan, check_verdict};
use crate::bindings::base::exports::backstop::policy::lifecycle::Description;
use crate::evidence::{LineReading, Measurement, ObjectiveStatus, Share};
use crate::export::{self, Exported};
use crate::incident::IncidentError;
use crate::log::Level;
use crate::metrics::{
    Comparison, DriftReading, Estimate, MetricsError, Moments, Proportion, Subject,
};
use crate::models::{Budget, ModelError};
use crate::{
    Abstain, Answer, Assessment, Context, Fallback, Plan, Problem, Problems, Request, Rollback,
    Rollout, Severity, Threshold, Verdict, Want,
};
use serde_json::Value;

/// The time of the first decision: an arbitrary day in 2026.
const NOW_MS: u64 = 1_775_000_000_000;
/// What a decision has left of its deadline when the policy is entered.
const TIME_LEFT_US: u64 = 10_000;
/// Longest name and version, as in `wit/lifecycle.wit`.
const NAME_CHARS_MAX: usize = 64;
/// Longest summary.
const SUMMARY_BYTES_MAX: usize = 1_024;
/// Longest settings schema.
const SCHEMA_BYTES_MAX: usize = 64 * 1_024;
/// Most wants.
const WANTS_MAX: usize = 64;

/// An incident that the policy raised.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Incident {
    /// Identifies the problem.
    pub key: String,
    /// How bad it is.
    pub severity: Severity,
    /// One line.
    pub title: String,
    /// The evidence.
    pub detail: String,
}

/// One configured policy, the world that it sees, and what it did there.
///
/// ```
/// use backstop_sdk::testing::{Bench, json, outline, request};
/// use backstop_sdk::{metrics::Subject, *};
/// # #[settings]
/// # struct Settings {
/// #     /// Error rate above which the first model is left out.
/// #     #[setting(default = 0.2, min = 0.0, max = 1.0)]
/// #     max_error_rate: f64,
/// # }
/// # struct Careful(Settings);
/// # impl Policy for Careful {
/// #     type Settings = Settings;
/// #     fn wants() -> Vec<Want> { vec![Want::metrics(metrics::ERROR_RATE)] }
/// #     fn configure(settings: Settings) -> Result<Self, Problems> { Ok(Self(settings)) }
/// # }
/// # impl Fallback for Careful {
/// #     fn decide(&self, _: &Context, request: &Request) -> Result<Plan, Abstain> {
/// #         let mut plan = Plan::new();
/// #         for candidate in request.candidates() {
/// #             let errors = metrics::rate(metrics::ERROR_RATE, Subject::Model(&candidate.model), 60)?;
/// #             if errors.rate().is_none_or(|rate| rate <= self.0.max_error_rate) {
/// #                 plan = plan.call(candidate.model, "few errors");
/// #             }
/// #         }
/// #         Ok(plan.or_rules("sorry", "no model left"))
/// #     }
/// # }
/// # export!(Careful: fallback);
///
/// let mut bench = Bench::<Careful>::new(json!({})).unwrap();
/// bench.rate("error-rate", Subject::Model("big"), 30, 100);
/// let plan = bench
///     .decide(request("chat").model("big").model("small").rules("sorry"))
///     .unwrap();
/// assert_eq!(outline(&plan), "small, rules(sorry)");
///
/// assert!(Bench::<Careful>::new(json!({"max_error_rate": 2})).is_err());
/// ```
#[derive(Debug)]
pub struct Bench<P> {
    policy: P,
    world: World,
    ctx: Context,
    delivery: Delivery,
}

impl<P: Exported> Bench<P> {
    /// Activates the policy with these settings, as a host does: checks what
    /// it says about itself, checks the settings against its schema, and
    /// configures it.
    ///
    /// # Errors
    /// What is wrong with the settings.
    ///
    /// # Panics
    /// When a host would refuse the policy whatever its settings: a
    /// description outside the contract's ranges, a schema that is none.
    pub fn new(settings: Value) -> Result<Self, Problems> {
        let description = export::describe::<P>();
        check_description(&description);
        check_settings(&description.settings_schema, &settings)?;
        let policy = export::configure::<P>(&settings.to_string())?;
        let world = World {
            now_ms: NOW_MS,
            grants: grants(&description.wants),
            ..World::default()
        };
        let ctx = Context {
            now_ms: NOW_MS,
            seed: 0,
            time_left_us: TIME_LEFT_US,
        };
        Ok(Self {
            policy,
            world,
            ctx,
            delivery: Delivery::default(),
        })
    }

    /// What the policy says about itself: the name, version, summary and JSON
    /// Schema of the settings.
    pub fn schema() -> Value {
        let text = export::describe::<P>().settings_schema;
        serde_json::from_str(&text).expect("a settings schema is JSON")
    }

    /// Runs `f` with the policy, in this world: for testing helpers that query
    /// metrics.
    pub fn within<R>(&mut self, f: impl FnOnce(&P) -> R) -> R {
        let policy = &self.policy;
        world::within(&mut self.world, || f(policy))
    }

    /// Begins a decision: what the last one logged and raised is forgotten.
    fn run<R>(&mut self, f: impl FnOnce(&P, &Context) -> R) -> R {
        self.world.log.clear();
        self.world.incidents.clear();
        self.world.model_calls.clear();
        self.world.now_ms = self.ctx.now_ms;
        let (policy, ctx) = (&self.policy, &self.ctx);
        world::within(&mut self.world, || f(policy, ctx))
    }

    /// Asks for a plan.
    ///
    /// # Errors
    /// The policy abstained.
    ///
    /// # Panics
    /// When a host would refuse the plan as invalid output.
    pub fn decide(&mut self, request: impl Into<Request>) -> Result<Plan, Abstain>
    where
        P: Fallback,
    {
        let request = request.into();
        self.world.delivery = Some(Delivery::default());
        let planned = self.run(|policy, ctx| policy.decide(ctx, &request));
        self.delivery = self.world.delivery.take().unwrap_or_default();
        let plan = planned?;
        refuse(check_plan(&plan, &request), &plan);
        Ok(plan)
    }

    /// Asks for a verdict.
    ///
    /// # Errors
    /// The policy abstained.
    ///
    /// # Panics
    /// When a host would refuse the verdict as invalid output.
    pub fn judge(
        &mut self,
        request: impl Into<Request>,
        answer: impl Into<Answer>,
    ) -> Result<Verdict, Abstain>
    where
        P: Threshold,
    {
        let (request, answer) = (request.into(), answer.into());
        let verdict = self.run(|policy, ctx| policy.judge(ctx, &request, &answer))?;
        refuse(check_verdict(&verdict), &verdict);
        Ok(verdict)
    }

    /// Asks for an assessment.
    ///
    /// # Errors
    /// The policy abstained.
    ///
    /// # Panics
    /// When a host would refuse the assessment as invalid output.
    pub fn assess(&mut self, rollout: impl Into<Rollout>) -> Result<Assessment, Abstain>
    where
        P: Rollback,
    {
        let rollout = rollout.into();
        let assessment = self.run(|policy, ctx| policy.assess(ctx, &rollout))?;
        refuse(check_assessment(&assessment, &rollout), &assessment);
        Ok(assessment)
    }
}

/// Scripting the world. Later scripts win over earlier ones; a window that is
/// named wins over any window.
impl<P> Bench<P> {
    /// A rate over any window: `events` of `trials`.
    pub fn rate(
        &mut self,
        metric: &str,
        subject: Subject<'_>,
        events: u64,
        trials: u64,
    ) -> &mut Self {
        let value = Measured::Rate(Proportion { events, trials });
        self.reading(metric, &[subject], None, value)
    }

    /// A rate over one window only.
    pub fn rate_over(
        &mut self,
        window_s: u32,
        metric: &str,
        subject: Subject<'_>,
        events: u64,
        trials: u64,
    ) -> &mut Self {
        let value = Measured::Rate(Proportion { events, trials });
        self.reading(metric, &[subject], Some(window_s), value)
    }

    /// A mean over any window.
    pub fn mean(&mut self, metric: &str, subject: Subject<'_>, moments: Moments) -> &mut Self {
        self.reading(metric, &[subject], None, Measured::Mean(moments))
    }

    /// A mean over one window only.
    pub fn mean_over(
        &mut self,
        window_s: u32,
        metric: &str,
        subject: Subject<'_>,
        moments: Moments,
    ) -> &mut Self {
        self.reading(metric, &[subject], Some(window_s), Measured::Mean(moments))
    }

    /// The `q` quantile over any window.
    pub fn quantile(
        &mut self,
        metric: &str,
        subject: Subject<'_>,
        q: f64,
        samples: u64,
        value: f64,
    ) -> &mut Self {
        let value = Measured::Quantile(q, Estimate { samples, value });
        self.reading(metric, &[subject], None, value)
    }

    /// The outcome of comparing `candidate` with `baseline`.
    pub fn comparison(
        &mut self,
        metric: &str,
        candidate: Subject<'_>,
        baseline: Subject<'_>,
        comparison: Comparison,
    ) -> &mut Self {
        let value = Measured::Comparison(comparison);
        self.reading(metric, &[candidate, baseline], None, value)
    }

    /// The outcome of a drift query.
    pub fn drift(
        &mut self,
        metric: &str,
        subject: Subject<'_>,
        reading: DriftReading,
    ) -> &mut Self {
        self.reading(metric, &[subject], None, Measured::Drift(reading))
    }

    /// How often each category was seen, over any window.
    pub fn shares(
        &mut self,
        metric: &str,
        subject: Subject<'_>,
        shares: &[(&str, u64)],
    ) -> &mut Self {
        let share = |(category, count): &(&str, u64)| Share {
            category: (*category).to_owned(),
            count: *count,
        };
        let value = Measured::Shares(shares.iter().map(share).collect());
        self.reading(metric, &[subject], None, value)
    }

    /// A measurement over any window.
    pub fn measurement(
        &mut self,
        metric: &str,
        subject: Subject<'_>,
        measured: Measurement,
    ) -> &mut Self {
        self.reading(metric, &[subject], None, Measured::Number(measured))
    }

    /// The outcome of holding a metric against a named baseline for drift.
    pub fn drift_from(
        &mut self,
        metric: &str,
        subject: Subject<'_>,
        baseline: &str,
        reading: DriftReading,
    ) -> &mut Self {
        self.against(metric, subject, baseline, Measured::Drift(reading))
    }

    /// The outcome of comparing a metric with a named baseline.
    pub fn comparison_with(
        &mut self,
        metric: &str,
        subject: Subject<'_>,
        baseline: &str,
        comparison: Comparison,
    ) -> &mut Self {
        self.against(metric, subject, baseline, Measured::Comparison(comparison))
    }

    /// What labelled answers say about where the line may be.
    pub fn line(&mut self, subject: Subject<'_>, reading: LineReading) -> &mut Self {
        self.reading("labelled", &[subject], None, Measured::Line(reading))
    }

    /// How an objective stands.
    pub fn objective(&mut self, name: &str, status: ObjectiveStatus) -> &mut Self {
        self.world.objectives.push((name.to_owned(), status));
        self
    }

    fn against(
        &mut self,
        metric: &str,
        subject: Subject<'_>,
        baseline: &str,
        value: Measured,
    ) -> &mut Self {
        let baseline = world::evidence::baseline_key(baseline);
        let keys = vec![world::subject_key(&subject), baseline];
        self.script(metric, keys, None, value)
    }

    /// Every query of this metric fails, whatever else is scripted before.
    pub fn metric_fails(&mut self, metric: &str, error: MetricsError) -> &mut Self {
        self.reading(metric, &[], None, Measured::Error(error))
    }

    fn reading(
        &mut self,
        metric: &str,
        subjects: &[Subject<'_>],
        window_s: Option<u32>,
        value: Measured,
    ) -> &mut Self {
        let keys = subjects.iter().map(world::subject_key).collect();
        self.script(metric, keys, window_s, value)
    }

    fn script(
        &mut self,
        metric: &str,
        subjects: Vec<String>,
        window_s: Option<u32>,
        value: Measured,
    ) -> &mut Self {
        self.world.readings.push(Reading {
            metric: metric.to_owned(),
            subjects,
            window_s,
            value,
        });
        self
    }

    /// No incident can be opened from now on.
    pub fn incidents_fail(&mut self, error: IncidentError) -> &mut Self {
        self.world.incident_error = Some(error);
        self
    }

    /// The next answer of `model` to a call of the policy's own; the last one
    /// that is scripted stays.
    pub fn model_answers(&mut self, model: &str, answer: AnswerScript) -> &mut Self {
        let mut answer = answer.0;
        answer.own = true;
        self.model_result(model, Ok(answer))
    }

    /// The next call of `model` fails.
    pub fn model_fails(&mut self, model: &str, error: ModelError) -> &mut Self {
        self.model_result(model, Err(error))
    }

    fn model_result(
        &mut self,
        model: &str,
        result: Result<world::answers::Answer, ModelError>,
    ) -> &mut Self {
        let queue = self.world.model_answers.entry(model.to_owned());
        queue.or_default().push_back(result);
        self
    }

    /// What the policy may spend on its own calls; 8 calls, 10 s and one unit
    /// of currency if nothing is said.
    pub fn budget(&mut self, budget: Budget) -> &mut Self {
        self.world.budget = budget;
        self
    }

    /// A value that the policy finds in its state.
    pub fn state(&mut self, key: &str, value: &[u8]) -> &mut Self {
        let entry = world::state::Entry::new(value.to_vec(), self.ctx.now_ms, 0);
        self.world.values.insert(key.to_owned(), entry);
        self
    }

    /// A number that the policy finds in its state.
    pub fn state_number(&mut self, key: &str, number: i64) -> &mut Self {
        let entry = world::state::Entry::new(number, self.ctx.now_ms, 0);
        self.world.numbers.insert(key.to_owned(), entry);
        self
    }

    /// Nothing is granted from now on, as by a careful operator.
    pub fn grant_nothing(&mut self) -> &mut Self {
        self.world.grants = Grants::default();
        self
    }

    /// The time of the decisions that follow, in milliseconds since the Unix
    /// epoch.
    pub fn now_ms(&mut self, now_ms: u64) -> &mut Self {
        self.ctx.now_ms = now_ms;
        self
    }

    /// Lets time pass.
    pub fn sleep_ms(&mut self, ms: u64) -> &mut Self {
        self.ctx.now_ms += ms;
        self
    }

    /// The random bits of the decisions that follow.
    pub fn seed(&mut self, seed: u64) -> &mut Self {
        self.ctx.seed = seed;
        self
    }

    /// Microseconds that decisions have left when the policy is entered.
    pub fn time_left_us(&mut self, time_left_us: u64) -> &mut Self {
        self.ctx.time_left_us = time_left_us;
        self
    }

    /// The policy.
    pub fn policy(&self) -> &P {
        &self.policy
    }

    /// What the last decision logged, at most 32 lines.
    pub fn log(&self) -> &[(Level, String)] {
        &self.world.log
    }

    /// What the last plan's policy asked for besides.
    pub fn delivery(&self) -> &Delivery {
        &self.delivery
    }

    /// The incidents that the last decision raised.
    pub fn incidents(&self) -> &[Incident] {
        &self.world.incidents
    }

    /// Models that the last decision called, and with which bodies.
    pub fn model_calls(&self) -> &[(String, String)] {
        &self.world.model_calls
    }
}

fn refuse(check: Result<(), String>, output: &dyn std::fmt::Debug) {
    if let Err(why) = check {
        panic!("a host would refuse this as invalid output: {why}\n{output:#?}");
    }
}

fn grants(wants: &[Want]) -> Grants {
    let mut grants = Grants::default();
    for want in wants {
        match want {
            Want::Metrics(pattern) => grants.metrics.push(pattern.clone()),
            Want::Models(pattern) => grants.models.push(pattern.clone()),
            Want::State => grants.state = true,
            Want::Incident => grants.incident = true,
            Want::Bodies => grants.bodies = true,
        }
    }
    grants
}

fn check_description(description: &Description) {
    let name = &description.name;
    let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    assert!(
        (1..=NAME_CHARS_MAX).contains(&name.len()) && name.chars().all(allowed),
        "policy name `{name}` must be 1 to {NAME_CHARS_MAX} of a-z, 0-9 and -"
    );
    assert!(
        (1..=NAME_CHARS_MAX).contains(&description.version.chars().count()),
        "policy version must be 1 to {NAME_CHARS_MAX} characters"
    );
    assert!(
        description.summary.len() <= SUMMARY_BYTES_MAX,
        "policy summary must be at most {SUMMARY_BYTES_MAX} bytes"
    );
    assert!(
        description.settings_schema.len() <= SCHEMA_BYTES_MAX,
        "settings schema must be at most {SCHEMA_BYTES_MAX} bytes"
    );
    assert!(
        description.wants.len() <= WANTS_MAX,
        "a policy wants at most {WANTS_MAX} grants"
    );
}

fn check_settings(schema: &str, settings: &Value) -> Result<(), Problems> {
    let schema: Value = serde_json::from_str(schema).expect("a settings schema is JSON");
    let validator = jsonschema::validator_for(&schema).expect("a settings schema is valid");
    let mut problems = Problems::new();
    for error in validator.iter_errors(settings) {
        let problem = Problem {
            path: error.instance_path().to_string(),
            message: error.to_string(),
        };
        problems.add(problem.path, problem.message);
    }
    problems.or(())
}
