//! The judgement over plain facts: which lines hold, on which side of them the
//! answer is, and what can be done about it where it stands.

use crate::settings::{CutShort, Response, Settings};
use crate::text::dropped;
use backstop_sdk::metrics::{DriftReading, Proportion};
use backstop_sdk::text::{decimal, head};
use backstop_sdk::{FinishReason, Standing, Verdict};

/// Fewest milliseconds over which a pace means something: tokens come in
/// bursts.
const PACE_MS_MIN: u32 = 200;
/// Bytes of a label that a reason shows; labels are a model's own text.
const LABEL_BYTES_MAX: usize = 64;

/// What is known about one answer.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Facts {
    /// Confidence in [0, 1], where there is one.
    pub confidence: Option<f64>,
    /// Why the model stopped.
    pub finish_reason: Option<FinishReason>,
    /// Tokens a second of a beginning that nobody has seen; none of others.
    pub pace: Option<f64>,
    /// What can be done about the answer.
    pub standing: Standing,
}

/// How the model has been doing.
#[derive(Debug, Clone, PartialEq)]
pub enum Quality {
    /// Nothing bad is known.
    Unknown,
    /// Too few labelled answers agree.
    AccuracyLow {
        /// Those that agree, of all.
        accuracy: Proportion,
        /// What they were held against.
        line: f64,
    },
    /// The distribution of the confidence has changed.
    Drifted(DriftReading),
}

/// The lines that hold for one answer.
#[derive(Debug, Clone, PartialEq)]
pub struct Lines<'a> {
    /// Accepted from here on, while quality is as usual.
    pub accept_at: f64,
    /// The band begins here.
    pub review_below: f64,
    /// The label whose lines these are; none for the general ones.
    pub label: Option<&'a str>,
}

impl<'a> Lines<'a> {
    /// The lines for an answer with this label.
    pub fn of(settings: &Settings, label: Option<&'a str>) -> Self {
        let own = label.and_then(|label| Some((label, settings.per_label.get(label)?)));
        Lines {
            accept_at: own
                .and_then(|(_, lines)| lines.accept_at)
                .unwrap_or(settings.accept_at),
            review_below: own
                .and_then(|(_, lines)| lines.review_below)
                .unwrap_or(settings.review_below),
            label: own.map(|(label, _)| label),
        }
    }

    /// The line to accept at while quality has dropped.
    fn tightened(&self, settings: &Settings) -> f64 {
        (self.accept_at + settings.tighten_by).min(1.0)
    }
}

/// True when knowing the model's quality could change the judgement: the
/// answer is between the usual line and the stricter one.
pub fn quality_matters(settings: &Settings, lines: &Lines<'_>, facts: &Facts) -> bool {
    confidence(facts).is_some_and(|confidence| {
        confidence >= lines.accept_at && confidence < lines.tightened(settings)
    }) && cut_short(settings, facts).is_none()
}

/// Tokens a second between the first one and now; none of what is too short to
/// tell.
pub fn pace(tokens: u32, first_token_ms: u32, now_ms: u32) -> Option<f64> {
    let (tokens, ms) = (tokens.checked_sub(1)?, now_ms.checked_sub(first_token_ms)?);
    (ms >= PACE_MS_MIN).then(|| f64::from(tokens) * 1_000.0 / f64::from(ms))
}

/// Judges the answer.
pub fn judge(settings: &Settings, lines: &Lines<'_>, facts: &Facts, quality: &Quality) -> Verdict {
    if let Some((response, why)) = cut_short(settings, facts) {
        return respond(settings, facts, response, why.to_owned());
    }
    if let Some(pace) = facts.pace
        && pace < settings.tokens_per_second_min
        && facts.standing.steps_left > 0
        && !facts.standing.delivered
    {
        let line = decimal(settings.tokens_per_second_min);
        let why = [
            "the stream comes at ",
            &decimal(pace),
            " tokens a second, below ",
            &line,
        ];
        return Verdict::escalate(why.concat());
    }
    let Some(confidence) = confidence(facts) else {
        let why = "the answer has no confidence".to_owned();
        return respond(settings, facts, settings.without_confidence, why);
    };
    let (line, stricter) = match quality {
        Quality::Unknown => (lines.accept_at, String::new()),
        _ => (lines.tightened(settings), dropped(quality)),
    };
    let (response, held_against, side) = if confidence >= line {
        (Response::Accept, line, " is at or above ")
    } else if confidence < lines.review_below {
        (settings.below_band, lines.review_below, " is below ")
    } else {
        (settings.in_band, line, " is in the band below ")
    };
    let mut why = [
        "confidence ",
        &decimal(confidence),
        side,
        &decimal(held_against),
    ]
    .concat();
    if let Some(label) = lines.label {
        why.push_str(" for label `");
        why.push_str(head(label, LABEL_BYTES_MAX));
        why.push('`');
    }
    why.push_str(&stricter);
    respond(settings, facts, response, why)
        .with_confidence(confidence)
        .with_line(held_against)
}

/// A confidence that is one; anything else counts as none.
fn confidence(facts: &Facts) -> Option<f64> {
    facts
        .confidence
        .filter(|confidence| (0.0..=1.0).contains(confidence))
}

/// What the operator said about an answer that did not come to its own end.
fn cut_short(settings: &Settings, facts: &Facts) -> Option<(Response, &'static str)> {
    let (said, why) = match facts.finish_reason? {
        FinishReason::Length => (settings.on_length, "the answer ran into a token limit"),
        FinishReason::ContentFilter => (
            settings.on_content_filter,
            "the provider's filter stopped the answer",
        ),
        _ => return None,
    };
    match said {
        CutShort::Judge => None,
        CutShort::Escalate => Some((Response::Escalate, why)),
        CutShort::Review => Some((Response::Review, why)),
    }
}

fn respond(settings: &Settings, facts: &Facts, response: Response, why: String) -> Verdict {
    facts.standing.respond(response, settings.nothing_left, why)
}
