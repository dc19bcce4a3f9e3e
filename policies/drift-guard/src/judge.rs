//! The judgement over plain facts: which watches hold, which of them concern
//! this answer, and what is done about it.
//!
//! A watch holds only on evidence. Where nothing is known it is neither bad nor
//! good: there is no response, and the reason counts it apart.

use crate::settings::{Kind, Reaction, Settings, Watch};
use crate::text;
use backstop_sdk::evidence::Measurement;
use backstop_sdk::metrics::{Comparison, ComparisonVerdict, DriftReading, DriftVerdict};
use backstop_sdk::{Response, Standing, Verdict};

/// How many standard errors a figure has to lie past its limit. Two are
/// exceeded by chance in about one of forty windows.
const ERRORS: f64 = 2.0;

/// Random bits that a draw takes: as many as an `f64` holds exactly.
const DRAW_BITS: u32 = 53;

/// What is known about one answer.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Facts {
    /// Confidence in [0, 1], where there is one.
    pub confidence: Option<f64>,
    /// What can be done about the answer.
    pub standing: Standing,
    /// Uniform random bits of the decision.
    pub seed: u64,
}

/// What a watch was answered.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Evidence {
    /// It was not asked, since it would change nothing for this answer.
    NotAsked,
    /// The query failed.
    None,
    /// Drift.
    Drift(DriftReading),
    /// The figure, held against the limit.
    Number(Measurement),
    /// The figure, held against a baseline.
    Comparison(Comparison),
}

/// How a watch stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Not asked.
    NotAsked,
    /// Nothing is known.
    Unknown,
    /// There is evidence, and nothing bad in it.
    Quiet,
    /// There is evidence of what is bad.
    Holds,
}

/// True when the watch concerns this answer.
pub fn concerns(watch: &Watch, seed: u64) -> bool {
    let draw = (seed >> (u64::BITS - DRAW_BITS)) as f64 / (1_u64 << DRAW_BITS) as f64;
    draw < watch.share
}

/// How the watch stands by this evidence.
pub fn state(watch: &Watch, evidence: &Evidence) -> State {
    let samples_min = u64::from(watch.samples_min);
    let holds = match evidence {
        Evidence::NotAsked => return State::NotAsked,
        Evidence::None => None,
        Evidence::Drift(reading) if reading.current_samples < samples_min => None,
        Evidence::Drift(reading) => match reading.verdict {
            DriftVerdict::NotEnoughData => None,
            DriftVerdict::Stable => Some(false),
            DriftVerdict::Drifted => Some(reading.psi >= watch.limit.unwrap_or(0.0)),
        },
        Evidence::Number(measured) => past_limit(watch, measured),
        Evidence::Comparison(comparison) if comparison.candidate_samples < samples_min => None,
        Evidence::Comparison(comparison) => match comparison.verdict {
            ComparisonVerdict::NotEnoughData => None,
            ComparisonVerdict::Better | ComparisonVerdict::Equivalent => Some(false),
            ComparisonVerdict::Worse => Some(true),
        },
    };
    match holds {
        None => State::Unknown,
        Some(false) => State::Quiet,
        Some(true) => State::Holds,
    }
}

/// Whether the figure is past its limit by more than its error explains; none
/// without enough samples that are new enough.
fn past_limit(watch: &Watch, measured: &Measurement) -> Option<bool> {
    let age_ms_max = u64::from(watch.window_s) * 1_000;
    let value = measured.value_of(watch.samples_min.into(), age_ms_max)?;
    let (limit, error) = (watch.limit?, ERRORS * measured.standard_error);
    let known = value.is_finite() && error.is_finite();
    let past = match watch.kind {
        Kind::Below => value + error < limit,
        Kind::Above => value - error > limit,
        Kind::Drift => false,
    };
    known.then_some(past)
}

/// Judges the answer; `evidence` is that of each watch, in their order.
pub fn judge(settings: &Settings, facts: &Facts, evidence: &[Evidence]) -> Verdict {
    let confidence = facts
        .confidence
        .filter(|confidence| (0.0..=1.0).contains(confidence));
    let mut wanted = Response::Accept;
    let mut why = text::Reason::new();
    if let Some(line) = settings.accept_at {
        match confidence {
            None => wanted = settings.without_confidence,
            Some(confidence) if confidence < line => wanted = settings.below.into(),
            Some(_) => {}
        }
        why.add(&text::confidence(confidence, line));
    }
    let mut counts = text::Counts::default();
    for (watch, evidence) in settings.watch.iter().zip(evidence) {
        match state(watch, evidence) {
            State::NotAsked => counts.not_asked += 1,
            State::Unknown => counts.unknown += 1,
            State::Quiet => counts.quiet += 1,
            State::Holds if !concerns(watch, facts.seed) => counts.others += 1,
            State::Holds => {
                wanted = stricter(wanted, watch.response.into());
                if watch.response == Reaction::Note {
                    why.add(&["noted: ", &text::watch(watch, evidence)].concat());
                } else {
                    why.add(&text::watch(watch, evidence));
                }
                counts.concern += 1;
            }
        }
    }
    if counts.concern == 0 {
        why.add(&counts.text());
    }
    let verdict = facts
        .standing
        .respond(wanted, settings.nothing_left, why.into_text());
    match (confidence, settings.accept_at) {
        (Some(confidence), Some(line)) => verdict.with_confidence(confidence).with_line(line),
        _ => verdict,
    }
}

/// People see more than the next model does.
fn stricter(one: Response, other: Response) -> Response {
    match (one, other) {
        (Response::Review, _) | (_, Response::Review) => Response::Review,
        (Response::Escalate, _) | (_, Response::Escalate) => Response::Escalate,
        (Response::Accept, Response::Accept) => Response::Accept,
    }
}
