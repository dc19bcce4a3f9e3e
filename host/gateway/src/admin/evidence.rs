//! Evidence for people and dashboards: which series there are, and everything
//! that can be said about one metric in one window, with the numbers behind it.

use super::error::ApiError;
use super::openapi::{ReadingView, SeriesList};
use super::{AdminState, page};
use crate::evidence::Evidence;
use crate::store::KeptBaseline;
use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use backstop_core::evidence::{MetricKind, SubjectRef};
use backstop_core::metric::{
    self, ComparisonOptions, Direction, LineReading, MetricsError, Proportion, name,
};
use backstop_core::stats::drift::distance;
use backstop_core::stats::interval::wilson;
use backstop_core::stats::{self, BinPair};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use utoipa::IntoParams;

/// The window when none is named: an hour.
const WINDOW_S_DEFAULT: u32 = 3_600;
/// The quantiles that are told of a value.
const QUANTILES: [(&str, f64); 4] = [("p50", 0.5), ("p90", 0.9), ("p95", 0.95), ("p99", 0.99)];
/// Intervals and verdicts are at 95 %, unless asked for otherwise.
const ALPHA_DEFAULT: f64 = 0.05;
/// Fewest samples on both sides of a comparison, unless asked for otherwise.
const SAMPLES_MIN_DEFAULT: u32 = 100;

/// What evidence is of: a route, a model, a release of a model, or, with none
/// of them, the process.
#[derive(Debug, Clone)]
pub(super) struct Of {
    /// A route.
    route: Option<String>,
    /// A model.
    model: Option<String>,
    /// A release of the model.
    release: Option<String>,
}

impl Of {
    pub(super) fn new(
        route: Option<String>,
        model: Option<String>,
        release: Option<String>,
    ) -> Self {
        Of {
            route,
            model,
            release,
        }
    }

    /// By borrowed names.
    ///
    /// # Errors
    ///
    /// More than one thing is named, or a release without its model.
    pub(super) fn subject(&self) -> Result<SubjectRef<'_>, ApiError> {
        match (&self.route, &self.model, &self.release) {
            (None, None, None) => Ok(SubjectRef::Process),
            (Some(route), None, None) => Ok(SubjectRef::Route(route)),
            (None, Some(model), None) => Ok(SubjectRef::Model(model)),
            (None, Some(model), Some(release)) => Ok(SubjectRef::Release { model, release }),
            (None, None, Some(_)) => Err(ApiError::invalid("`release` needs its `model`")),
            (Some(_), ..) => Err(ApiError::invalid(
                "name either a `route`, or a `model` with or without a `release`",
            )),
        }
    }
}

/// `subject` as it is shown.
pub(super) fn shown(subject: SubjectRef<'_>) -> Value {
    match subject {
        SubjectRef::Process => json!({}),
        SubjectRef::Route(route) => json!({ "route": route }),
        SubjectRef::Model(model) => json!({ "model": model }),
        SubjectRef::Release { model, release } => json!({ "model": model, "release": release }),
    }
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(super) struct ListQuery {
    /// Only series of this metric, whole and by segment.
    metric: Option<String>,
    /// Only series of this route.
    route: Option<String>,
    /// Only series of this model and its releases.
    model: Option<String>,
    /// At most so many; 50 without it, never more than 200.
    limit: Option<u32>,
    /// So many are left out first.
    offset: Option<u32>,
}

/// `GET /admin/v1/evidence`, by metric and subject.
#[utoipa::path(get, path = "/evidence", tag = "evidence", summary = "Lists series of evidence",
    params(ListQuery),
    responses((status = 200, body = inline(SeriesList), description = "By metric and subject")))]
pub(super) async fn list(
    State(state): State<AdminState>,
    query: Result<Query<ListQuery>, QueryRejection>,
) -> Result<Json<Value>, ApiError> {
    let Query(query) = query?;
    let store = state.evidence.store();
    let mut series: Vec<_> = store
        .names()
        .filter(|(metric, _)| {
            let wanted = query.metric.as_deref();
            wanted.is_none_or(|wanted| metric::base(metric) == wanted || **metric == *wanted)
        })
        .filter(|(_, subject)| match subject.as_ref() {
            SubjectRef::Route(route) => {
                query.model.is_none() && query.route.as_deref().is_none_or(|only| only == route)
            }
            SubjectRef::Model(model) | SubjectRef::Release { model, .. } => {
                query.route.is_none() && query.model.as_deref().is_none_or(|only| only == model)
            }
            SubjectRef::Process => query.route.is_none() && query.model.is_none(),
        })
        .collect();
    series.sort_by_key(|(metric, subject)| (metric.clone(), shown(subject.as_ref()).to_string()));
    let limit = page(query.limit) as usize;
    let offset = query.offset.unwrap_or(0) as usize;
    let load = store.load();
    let data: Vec<Value> = series
        .iter()
        .skip(offset)
        .take(limit)
        .map(|(metric, subject)| {
            let kind = store.kind(metric).map(MetricKind::as_str);
            json!({"metric": metric, "kind": kind, "subject": shown(subject.as_ref())})
        })
        .collect();
    Ok(Json(json!({
        "has_more": offset + data.len() < series.len(),
        "data": data,
        "series": load.series,
        "overflowed": load.overflowed,
        "refused": load.refused,
    })))
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(super) struct ReadQuery {
    /// The metric, with or without a segment: `accuracy{tier=gold}`.
    metric: String,
    /// Of a route.
    route: Option<String>,
    /// Of a model.
    model: Option<String>,
    /// Of a release of the model.
    release: Option<String>,
    /// Seconds that the window reaches back, 1 to 86,400; an hour without it.
    window_s: Option<u32>,
    /// Seconds before the window that it is held against for drift; as long as
    /// the window without it.
    reference_s: Option<u32>,
    /// A baseline that it is held against.
    baseline: Option<String>,
    /// A release of the same model that it is compared with.
    against_release: Option<String>,
    /// A model that it is compared with.
    against_model: Option<String>,
    /// `higher-is-better` or `lower-is-better`, for comparisons; as usual for
    /// the metric without it.
    #[param(value_type = Option<String>)]
    direction: Option<Direction>,
    /// Chance of a wrong verdict; 0.05 without it.
    alpha: Option<f64>,
    /// Difference that is none; 0 without it.
    margin: Option<f64>,
    /// Fewest samples of both sides of a comparison; 100 without it.
    samples_min: Option<u32>,
    /// For `labelled`: looks for the line of confidence above which at most this
    /// share of answers is wrong.
    error_max: Option<f64>,
    /// Chance that the line breaks its promise; 0.05 without it.
    delta: Option<f64>,
}

impl ReadQuery {
    fn options(&self) -> ComparisonOptions {
        let usual = match metric::base(&self.metric) {
            name::ACCURACY | name::PRECISION | name::RECALL | name::CONFIDENCE | "rating" => {
                Direction::HigherIsBetter
            }
            _ => Direction::LowerIsBetter,
        };
        ComparisonOptions {
            direction: self.direction.unwrap_or(usual),
            alpha: self.alpha.unwrap_or(ALPHA_DEFAULT),
            margin: self.margin.unwrap_or(0.0),
            samples_min: self.samples_min.unwrap_or(SAMPLES_MIN_DEFAULT),
        }
    }
}

/// `GET /admin/v1/evidence/read`: what is known of a metric in a window.
#[utoipa::path(get, path = "/evidence/read", tag = "evidence",
    summary = "Reads a metric in a window, with its verdicts",
    params(ReadQuery),
    responses((status = 200, body = ReadingView, description = "All that can be said")))]
pub(super) async fn read(
    State(state): State<AdminState>,
    query: Result<Query<ReadQuery>, QueryRejection>,
) -> Result<Json<Value>, ApiError> {
    let Query(query) = query?;
    let kept = match &query.baseline {
        None => None,
        Some(name) => Some(
            state
                .baselines
                .get(name)
                .ok_or_else(|| ApiError::not_found("baseline", name))?,
        ),
    };
    let now_ms = state.clock.now_ms();
    let of = Of::new(
        query.route.clone(),
        query.model.clone(),
        query.release.clone(),
    );
    let reader = Reader {
        evidence: &state.evidence,
        query: &query,
        subject: of.subject()?,
        window_s: query.window_s.unwrap_or(WINDOW_S_DEFAULT),
        now_ms,
    };
    Ok(Json(reader.read(kept.as_deref())?))
}

impl From<MetricsError> for ApiError {
    fn from(error: MetricsError) -> Self {
        match error {
            MetricsError::Unknown(metric) => ApiError::not_found("metric", &metric),
            other => ApiError::invalid(other.to_string()),
        }
    }
}

/// One question.
struct Reader<'a> {
    evidence: &'a Evidence,
    query: &'a ReadQuery,
    subject: SubjectRef<'a>,
    window_s: u32,
    now_ms: u64,
}

impl Reader<'_> {
    fn read(&self, baseline: Option<&KeptBaseline>) -> Result<Value, MetricsError> {
        let (store, metric) = (self.evidence.store(), &*self.query.metric);
        let (subject, window_s, now_ms) = (self.subject, self.window_s, self.now_ms);
        let kind = store.kind(metric);
        let mut told = Map::new();
        told.insert("metric".into(), json!(metric));
        told.insert("subject".into(), shown(subject));
        told.insert("window_s".into(), json!(window_s));
        told.insert("at_ms".into(), json!(now_ms));
        told.insert(
            "kind".into(),
            json!(kind.map_or("computed", MetricKind::as_str)),
        );
        if kind != Some(MetricKind::Category) {
            let measured = store.measure(metric, subject, window_s, now_ms)?;
            told.insert("measure".into(), json!(measured));
        }
        match kind {
            Some(MetricKind::Rate) => {
                let counts = store.rate(metric, subject, window_s, now_ms)?;
                told.insert("rate".into(), rate(counts));
            }
            Some(MetricKind::Value) => {
                let mean = store.mean(metric, subject, window_s, now_ms)?;
                let mut value = json!(mean);
                for (name, q) in QUANTILES {
                    let quantile = store.quantile(metric, subject, window_s, q, now_ms)?;
                    value[name] = json!(quantile.value);
                }
                told.insert("value".into(), value);
            }
            Some(MetricKind::Category) => {
                let shares = store.shares(metric, subject, window_s, now_ms)?;
                told.insert("shares".into(), json!(shares));
            }
            Some(MetricKind::Labelled) => {
                if let Some(error_max) = self.query.error_max {
                    let delta = self.query.delta.unwrap_or(ALPHA_DEFAULT);
                    let reading =
                        store.find_line(metric, subject, window_s, error_max, delta, now_ms)?;
                    told.insert("line".into(), line(&reading));
                }
            }
            None => {}
        }
        if let Some(MetricKind::Value | MetricKind::Category) = kind {
            let reference_s = self.query.reference_s.unwrap_or(window_s);
            let bins = store.drift_bins(metric, subject, window_s, reference_s, now_ms)?;
            told.insert("drift".into(), json!(stats::drift(&bins)));
            told.insert("distances".into(), distances(&bins, kind));
        }
        if let Some(against) = self.against()? {
            let options = self.query.options();
            let compared = store.compare(metric, subject, against, window_s, &options, now_ms)?;
            told.insert("comparison".into(), json!(compared));
        }
        if let Some(kept) = baseline {
            told.insert("baseline".into(), self.held_against(kept, kind)?);
        }
        Ok(Value::Object(told))
    }

    /// What it is compared with.
    fn against(&self) -> Result<Option<SubjectRef<'_>>, MetricsError> {
        let invalid = |text: &str| Err(MetricsError::Invalid(text.to_owned()));
        match (&self.query.against_model, &self.query.against_release) {
            (None, None) => Ok(None),
            (Some(model), None) => Ok(Some(SubjectRef::Model(model))),
            (Some(model), Some(release)) => Ok(Some(SubjectRef::Release { model, release })),
            (None, Some(release)) => match &self.query.model {
                Some(model) => Ok(Some(SubjectRef::Release { model, release })),
                None => invalid("`against_release` needs a `model`"),
            },
        }
    }

    fn held_against(
        &self,
        kept: &KeptBaseline,
        kind: Option<MetricKind>,
    ) -> Result<Value, MetricsError> {
        let (store, metric) = (self.evidence.store(), &*self.query.metric);
        let (subject, window_s, now_ms) = (self.subject, self.window_s, self.now_ms);
        let head = &kept.head;
        let Some(held) = kept.baseline.metrics.get(metric) else {
            return Err(MetricsError::Invalid(format!(
                "baseline `{}` holds nothing of `{metric}`; it has {}",
                head.name,
                head.metrics.join(", ")
            )));
        };
        let mut told = json!({
            "name": head.name,
            "version": head.version,
            "samples": held.reference.samples(),
        });
        if let Some(MetricKind::Rate | MetricKind::Value) = kind {
            let options = self.query.options();
            let reference = &held.reference;
            told["comparison"] =
                json!(store.compare_with(metric, subject, window_s, reference, &options, now_ms)?);
            let measured = store.measure(metric, subject, window_s, now_ms)?;
            let limits = held.limits.filter(|_| measured.samples > 0);
            told["limits"] = json!(held.limits);
            told["place"] = json!(limits.map(|limits| limits.place(measured.value)));
        }
        if let Some(MetricKind::Value | MetricKind::Category) = kind {
            let drift = store.drift_from(metric, subject, window_s, &held.reference, now_ms);
            // A reference that is only moments has no distribution to drift from.
            told["drift"] = json!(drift.ok());
        }
        Ok(told)
    }
}

/// Other distances of the bins that drift is judged on, each by its name: what
/// other tools call drift. They have no verdict: it would depend on the samples.
fn distances(bins: &[BinPair], kind: Option<MetricKind>) -> Value {
    let of = match kind {
        Some(MetricKind::Category) => "categories",
        _ => "tenths of the reference",
    };
    let both = bins.iter().any(|bin| bin.current > 0) && bins.iter().any(|bin| bin.reference > 0);
    if !both {
        return Value::Null;
    }
    json!({
        "bins": of,
        "jensen_shannon_2": distance::jensen_shannon_2(bins),
        "jensen_shannon_e": distance::jensen_shannon_e(bins),
        "hellinger": distance::hellinger(bins),
        "total_variation": distance::total_variation(bins),
        "largest_difference": distance::largest_difference(bins),
    })
}

/// A rate with Wilson's interval at 95 %; without trials it has none.
fn rate(counts: Proportion) -> Value {
    let interval = wilson(counts, ALPHA_DEFAULT);
    json!({
        "events": counts.events,
        "trials": counts.trials,
        "low": interval.map(|interval| interval.low),
        "high": interval.map(|interval| interval.high),
    })
}

fn line(reading: &LineReading) -> Value {
    match reading {
        LineReading::Line(line) => json!({"verdict": "line", "line": line}),
        LineReading::Infeasible => json!({"verdict": "infeasible"}),
        LineReading::NotEnoughData(labels) => {
            json!({"verdict": "not-enough-data", "labels": labels})
        }
    }
}
