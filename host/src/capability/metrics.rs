//! `metrics`: queries about live metrics, within the grant.

use super::{covered, replayed, timed};
use crate::bindings::metrics as wit;
use crate::record::HostCall;
use crate::run_state::{Mode, RunState};
use crate::sources::MetricQuery;
use backstop_core::metric::{
    Comparison, ComparisonOptions, ComparisonVerdict, Direction, DriftReading, DriftVerdict,
    Estimate, MetricsError, Moments, Proportion, Subject, base, name,
};
use std::borrow::Cow;
use wasmtime::Result;

/// Longest window: a day. More belongs to a metrics system.
const WINDOW_S_MAX: u32 = 86_400;

pub(super) type Answer<T> = std::result::Result<T, wit::MetricsError>;

impl RunState {
    pub(super) fn query<'a>(
        &'a self,
        metric: &'a str,
        subject: &'a Subject,
        window_s: u32,
    ) -> std::result::Result<MetricQuery<'a>, MetricsError> {
        if !covered(&self.grants.metrics, base(metric)) {
            return Err(MetricsError::Denied(metric.to_owned()));
        }
        if !(1..=WINDOW_S_MAX).contains(&window_s) {
            return Err(MetricsError::Invalid(format!(
                "`window-s` is {window_s}, must be 1 to {WINDOW_S_MAX}"
            )));
        }
        let route = self.route();
        if route.is_none() && *subject == Subject::Route {
            return Err(MetricsError::Invalid(
                "a rollout has no route; ask for a model or a release".to_owned(),
            ));
        }
        if self.time_left().is_none() {
            return Err(MetricsError::Deadline);
        }
        Ok(MetricQuery {
            metric,
            subject,
            route,
            window_s,
            now_ms: self.now_ms,
        })
    }

    /// The subject, with the names of the decision's input where they are in it.
    pub(super) fn subject_from(&self, subject: wit::Subject) -> Subject {
        match (subject, &self.input) {
            (wit::Subject::Route, _) => Subject::Route,
            (wit::Subject::Model(model), Some(input)) => Subject::Model(input.known(model)),
            (wit::Subject::Model(model), None) => Subject::Model(model.into()),
            (wit::Subject::Release(id), Some(input)) => Subject::Release {
                model: input.known(id.model),
                release: input.known(id.release),
            },
            (wit::Subject::Release(id), None) => Subject::Release {
                model: id.model.into(),
                release: id.release.into(),
            },
        }
    }

    /// What a query is answered: by the record in a replay, `nothing` in a
    /// canary call, else by the source.
    pub(super) fn answered<T>(
        &mut self,
        replayed: Option<std::result::Result<T, MetricsError>>,
        nothing: T,
        live: impl FnOnce(&RunState) -> std::result::Result<T, MetricsError>,
    ) -> std::result::Result<T, MetricsError> {
        match replayed {
            Some(result) => result,
            None if self.is_canary() => Ok(nothing),
            None => timed!(self, live(self)),
        }
    }

    /// True while a component is tried at activation: no source is asked.
    fn is_canary(&self) -> bool {
        matches!(self.mode, Mode::Canary)
    }
}

impl wit::Host for RunState {
    fn rate(
        &mut self,
        metric: String,
        subject: wit::Subject,
        window_s: u32,
    ) -> Result<Answer<wit::Proportion>> {
        self.enter("metrics.rate")?;
        let subject = self.subject_from(subject);
        let metric = metric_from(metric);
        let replayed = replayed!(self, "metrics.rate", HostCall::Rate { result, .. } => result);
        let result = self.answered(replayed, Proportion::default(), |run| {
            let query = run.query(&metric, &subject, window_s)?;
            run.services.metrics.rate(query)
        });
        let answer = match &result {
            Ok(rate) => Ok(wit::Proportion {
                events: rate.events,
                trials: rate.trials,
            }),
            Err(error) => Err(error_to(error)),
        };
        self.settle(HostCall::Rate {
            metric,
            subject,
            window_s,
            result,
        })?;
        Ok(answer)
    }

    fn mean(
        &mut self,
        metric: String,
        subject: wit::Subject,
        window_s: u32,
    ) -> Result<Answer<wit::Moments>> {
        self.enter("metrics.mean")?;
        let subject = self.subject_from(subject);
        let metric = metric_from(metric);
        let replayed = replayed!(self, "metrics.mean", HostCall::Mean { result, .. } => result);
        let result = self.answered(replayed, Moments::default(), |run| {
            let query = run.query(&metric, &subject, window_s)?;
            run.services.metrics.mean(query)
        });
        let answer = match &result {
            Ok(m) => Ok(wit::Moments {
                samples: m.samples,
                mean: m.mean,
                stddev: m.stddev,
            }),
            Err(error) => Err(error_to(error)),
        };
        self.settle(HostCall::Mean {
            metric,
            subject,
            window_s,
            result,
        })?;
        Ok(answer)
    }

    fn quantile(
        &mut self,
        metric: String,
        subject: wit::Subject,
        window_s: u32,
        q: f64,
    ) -> Result<Answer<wit::Estimate>> {
        self.enter("metrics.quantile")?;
        let subject = self.subject_from(subject);
        let metric = metric_from(metric);
        let q = recordable(q);
        let replayed =
            replayed!(self, "metrics.quantile", HostCall::Quantile { result, .. } => result);
        let replayed = replayed.or_else(|| {
            let out_of_range = !(0.0..=1.0).contains(&q);
            out_of_range.then(|| Err(MetricsError::Invalid("`q` must be 0 to 1".to_owned())))
        });
        let result = self.answered(replayed, Estimate::default(), |run| {
            let query = run.query(&metric, &subject, window_s)?;
            run.services.metrics.quantile(query, q)
        });
        let answer = match &result {
            Ok(e) => Ok(wit::Estimate {
                samples: e.samples,
                value: e.value,
            }),
            Err(error) => Err(error_to(error)),
        };
        self.settle(HostCall::Quantile {
            metric,
            subject,
            window_s,
            q,
            result,
        })?;
        Ok(answer)
    }

    fn compare(
        &mut self,
        metric: String,
        candidate: wit::Subject,
        baseline: wit::Subject,
        window_s: u32,
        options: wit::ComparisonOptions,
    ) -> Result<Answer<wit::Comparison>> {
        self.enter("metrics.compare")?;
        let candidate = self.subject_from(candidate);
        let baseline = self.subject_from(baseline);
        let metric = metric_from(metric);
        let options = options_from(options);
        let replayed =
            replayed!(self, "metrics.compare", HostCall::Compare { result, .. } => result);
        let replayed = replayed.or_else(|| check_options(&options).err().map(Err));
        let result = self.answered(replayed, NO_COMPARISON, |run| {
            let query = run.query(&metric, &candidate, window_s)?;
            run.services.metrics.compare(query, &baseline, options)
        });
        let answer = match &result {
            Ok(comparison) => Ok(comparison_to(comparison)),
            Err(error) => Err(error_to(error)),
        };
        self.settle(HostCall::Compare {
            metric,
            candidate,
            baseline,
            window_s,
            options,
            result,
        })?;
        Ok(answer)
    }

    fn drift(
        &mut self,
        metric: String,
        subject: wit::Subject,
        window_s: u32,
        reference_s: u32,
    ) -> Result<Answer<wit::DriftReading>> {
        self.enter("metrics.drift")?;
        let subject = self.subject_from(subject);
        let metric = metric_from(metric);
        let replayed = replayed!(self, "metrics.drift", HostCall::Drift { result, .. } => result);
        let replayed = replayed.or_else(|| {
            let out_of_range = !(1..=WINDOW_S_MAX).contains(&reference_s);
            out_of_range.then(|| {
                Err(MetricsError::Invalid(format!(
                    "`reference-s` is {reference_s}, must be 1 to {WINDOW_S_MAX}"
                )))
            })
        });
        let result = self.answered(replayed, NO_DRIFT, |run| {
            let query = run.query(&metric, &subject, window_s)?;
            run.services.metrics.drift(query, reference_s)
        });
        let answer = match &result {
            Ok(reading) => Ok(drift_to(reading)),
            Err(error) => Err(error_to(error)),
        };
        self.settle(HostCall::Drift {
            metric,
            subject,
            window_s,
            reference_s,
            result,
        })?;
        Ok(answer)
    }
}

/// Records hold JSON, which has no NaN; -1 is as much out of every range.
pub(super) fn recordable(value: f64) -> f64 {
    if value.is_finite() { value } else { -1.0 }
}

pub(super) fn check_options(options: &ComparisonOptions) -> std::result::Result<(), MetricsError> {
    if !(options.alpha > 0.0 && options.alpha <= 0.5) {
        return Err(MetricsError::Invalid(
            "`alpha` must be above 0 and at most 0.5".to_owned(),
        ));
    }
    if options.margin < 0.0 {
        return Err(MetricsError::Invalid(
            "`margin` must be at least 0".to_owned(),
        ));
    }
    Ok(())
}

pub(super) const NO_COMPARISON: Comparison = Comparison {
    verdict: ComparisonVerdict::NotEnoughData,
    effect: 0.0,
    low: 0.0,
    high: 0.0,
    candidate_samples: 0,
    baseline_samples: 0,
};

pub(super) const NO_DRIFT: DriftReading = DriftReading {
    verdict: DriftVerdict::NotEnoughData,
    psi: 0.0,
    critical: 0.0,
    current_samples: 0,
    reference_samples: 0,
};

/// The metric's name; the standard ones are not kept anew in each record.
pub(super) fn metric_from(metric: String) -> Cow<'static, str> {
    match name::ALL.into_iter().find(|known| *known == metric) {
        Some(known) => Cow::Borrowed(known),
        None => Cow::Owned(metric),
    }
}

pub(super) fn options_from(options: wit::ComparisonOptions) -> ComparisonOptions {
    ComparisonOptions {
        direction: match options.direction {
            wit::Direction::LowerIsBetter => Direction::LowerIsBetter,
            wit::Direction::HigherIsBetter => Direction::HigherIsBetter,
        },
        alpha: recordable(options.alpha),
        margin: recordable(options.margin),
        samples_min: options.samples_min,
    }
}

pub(super) fn error_to(error: &MetricsError) -> wit::MetricsError {
    match error {
        MetricsError::Denied(metric) => wit::MetricsError::Denied(metric.clone()),
        MetricsError::Unknown(metric) => wit::MetricsError::Unknown(metric.clone()),
        MetricsError::Invalid(what) => wit::MetricsError::Invalid(what.clone()),
        MetricsError::Deadline => wit::MetricsError::Deadline,
        MetricsError::Unavailable(why) => wit::MetricsError::Unavailable(why.clone()),
    }
}

pub(super) fn comparison_to(comparison: &Comparison) -> wit::Comparison {
    wit::Comparison {
        verdict: match comparison.verdict {
            ComparisonVerdict::Better => wit::ComparisonVerdict::Better,
            ComparisonVerdict::Equivalent => wit::ComparisonVerdict::Equivalent,
            ComparisonVerdict::Worse => wit::ComparisonVerdict::Worse,
            ComparisonVerdict::NotEnoughData => wit::ComparisonVerdict::NotEnoughData,
        },
        effect: comparison.effect,
        low: comparison.low,
        high: comparison.high,
        candidate_samples: comparison.candidate_samples,
        baseline_samples: comparison.baseline_samples,
    }
}

pub(super) fn drift_to(reading: &DriftReading) -> wit::DriftReading {
    wit::DriftReading {
        verdict: match reading.verdict {
            DriftVerdict::Stable => wit::DriftVerdict::Stable,
            DriftVerdict::Drifted => wit::DriftVerdict::Drifted,
            DriftVerdict::NotEnoughData => wit::DriftVerdict::NotEnoughData,
        },
        psi: reading.psi,
        critical: reading.critical,
        current_samples: reading.current_samples,
        reference_samples: reading.reference_samples,
    }
}
