//! The judgement over plain facts: where the line is, and on which side of it
//! the answer.
//!
//! The line begins at the calibrated one, rises to the one that recent labels
//! promise where that is higher, and from there for each sign. It never leaves
//! the range from `accept_at` to `ceiling`, so an answer outside of it is
//! judged without any evidence.

use crate::settings::Settings;
use crate::text;
use backstop_sdk::evidence::{Line, Measurement, ObjectiveState, ObjectiveStatus};
use backstop_sdk::metrics::{DriftReading, DriftVerdict};
use backstop_sdk::text::decimal;
use backstop_sdk::{Response, Standing, Verdict};

/// How many standard errors an estimate has to lie below what it should be.
/// Two are exceeded by chance in about one of forty windows.
const ERRORS: f64 = 2.0;

/// Raised lines are rounded to as many parts of one, so that 0.8 and 0.05 make the
/// 0.85 that an operator expects, and not a little more.
const PARTS: f64 = 1e9;

/// What is known about one answer.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Facts {
    /// Confidence in [0, 1], where there is one.
    pub confidence: Option<f64>,
    /// What can be done about the answer.
    pub standing: Standing,
}

/// What is known about the model. Nothing, by default: what a host did not
/// answer is in here as nothing, too.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Evidence {
    /// What recent labels say.
    pub labels: Labels,
    /// Drift of its confidence.
    pub drift: Option<DriftReading>,
    /// How the objective stands.
    pub objective: Option<ObjectiveStatus>,
    /// Its accuracy, estimated without labels.
    pub estimate: Option<Measurement>,
}

/// What recent labels say about where the line may be.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub enum Labels {
    /// Nothing, or there are too few.
    #[default]
    Unknown,
    /// They promise this line.
    Promise(Line),
    /// So many of them promise none.
    Infeasible(u64),
}

/// A sign that the model is not what the line was calibrated on.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Sign {
    /// The distribution of its confidence has changed.
    Drifted(DriftReading),
    /// The objective fires.
    Firing(ObjectiveStatus),
    /// The estimated accuracy is too low.
    EstimateLow(Measurement),
}

/// True when evidence could change the judgement.
pub fn evidence_matters(settings: &Settings, facts: &Facts) -> bool {
    confidence(facts).is_some_and(|confidence| between(settings, confidence))
}

fn between(settings: &Settings, confidence: f64) -> bool {
    confidence >= settings.accept_at && confidence < settings.ceiling
}

/// Signs in the evidence. What is not known is none.
pub fn signs(settings: &Settings, evidence: &Evidence) -> impl Iterator<Item = Sign> {
    let wanted = 1.0 - settings.error_max;
    let samples_min = u64::from(settings.labels_min);
    let age_ms_max = u64::from(settings.window_s) * 1_000;
    let drifted = evidence
        .drift
        .filter(|reading| reading.verdict == DriftVerdict::Drifted)
        .map(Sign::Drifted);
    let firing = evidence
        .objective
        .filter(|status| status.state == ObjectiveState::Firing)
        .map(Sign::Firing);
    let low = evidence
        .estimate
        .filter(|estimate| {
            estimate
                .value_of(samples_min, age_ms_max)
                .is_some_and(|value| value + ERRORS * estimate.standard_error < wanted)
        })
        .map(Sign::EstimateLow);
    [drifted, firing, low].into_iter().flatten()
}

/// Where the line begins: the calibrated one, or what labels say where that is
/// higher. It is not above the ceiling.
pub fn base(settings: &Settings, labels: &Labels) -> f64 {
    let said = match labels {
        Labels::Unknown => settings.accept_at,
        Labels::Promise(line) => line.confidence,
        Labels::Infeasible(_) => settings.ceiling,
    };
    said.min(settings.ceiling).max(settings.accept_at)
}

/// The line that holds under this evidence.
pub fn line(settings: &Settings, evidence: &Evidence) -> f64 {
    let base = base(settings, &evidence.labels);
    let signs = signs(settings, evidence).count() as f64;
    let raised = base + settings.tighten_by * signs;
    let rounded = (raised * PARTS).round() / PARTS;
    rounded.max(base).min(settings.ceiling)
}

/// Judges the answer.
pub fn judge(settings: &Settings, facts: &Facts, evidence: &Evidence) -> Verdict {
    let Some(confidence) = confidence(facts) else {
        return facts.standing.respond(
            settings.without_confidence,
            settings.nothing_left,
            "the answer has no confidence",
        );
    };
    let (line, because) = if between(settings, confidence) {
        (line(settings, evidence), text::line(settings, evidence))
    } else if confidence < settings.accept_at {
        (settings.accept_at, ", the calibrated line".to_owned())
    } else {
        (settings.ceiling, ", the ceiling".to_owned())
    };
    let (response, side) = if confidence >= line {
        (Response::Accept, " is at or above ")
    } else {
        (settings.below.into(), " is below ")
    };
    let why = [
        "confidence ",
        &decimal(confidence),
        side,
        &decimal(line),
        &because,
    ];
    facts
        .standing
        .respond(response, settings.nothing_left, why.concat())
        .with_confidence(confidence)
        .with_line(line)
}

/// A confidence that is one; anything else counts as none.
fn confidence(facts: &Facts) -> Option<f64> {
    facts
        .confidence
        .filter(|confidence| (0.0..=1.0).contains(confidence))
}
