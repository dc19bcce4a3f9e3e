//! What was found, for all who tell it.

use super::Reading;
use super::history::{SEGMENTS_MAX, grouped};
use crate::table::shown_name;
use backstop_core::calibrate::{
    Answer, Bound, Choice, Costs, Curve, Method, Point, Priced, Question, STEPS_MAX, SegmentAnswer,
    Tested, cheapest, choose, naive, segments,
};
use serde::Serialize;
use std::collections::BTreeMap;

/// The document of `--json`.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    pub(super) data: Data,
    /// What was asked; none when only costs were weighed.
    pub(super) question: Option<Asked>,
    /// The overall answer.
    pub(super) answer: Option<Answer>,
    /// What each question was given of `delta`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) delta_each: Option<f64>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) segments: BTreeMap<String, Segment>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) costs: Option<Costs>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) cheapest: Option<Priced>,
    /// What one would choose by hand, and what can be said of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) naive: Option<Step>,
    /// The risk–coverage curve at even steps of coverage. Each bound holds by
    /// itself, at `1 - delta`.
    pub(super) curve: Vec<Step>,
    pub(super) warnings: Vec<String>,
    #[serde(flatten)]
    pub(super) made: Made,
}

/// The history.
#[derive(Debug, Serialize)]
pub(super) struct Data {
    pub(super) name: String,
    pub(super) sha256: String,
    pub(super) rows: u64,
    pub(super) wrong: u64,
    /// Rows that could not be used and were left out.
    pub(super) left_out: u64,
    /// Distinct scores, or cells of the grid.
    pub(super) scores: usize,
    /// False when there were too many scores to tell all of them apart.
    pub(super) exact: bool,
}

/// The question in the words of the arguments.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Asked {
    pub(super) error_max: f64,
    pub(super) delta: f64,
    pub(super) method: Method,
    pub(super) bound: Bound,
}

/// A group.
#[derive(Debug, Serialize)]
pub(super) struct Segment {
    pub(super) rows: u64,
    pub(super) wrong: u64,
    #[serde(flatten)]
    pub(super) answer: SegmentAnswer,
    /// Rows whose score is 1: a line cannot be above them.
    #[serde(skip)]
    pub(super) at_one: u64,
}

/// A point of the curve.
#[derive(Debug, Clone, Copy, Serialize)]
pub(super) struct Step {
    pub(super) threshold: f64,
    pub(super) coverage: f64,
    pub(super) accepted: u64,
    pub(super) wrong: u64,
    pub(super) error: f64,
    pub(super) bound: f64,
}

/// When, and from what.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Made {
    pub(super) chosen_at: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) release: Option<String>,
}

impl Report {
    /// Asks the core.
    pub(super) fn new(
        name: &str,
        reading: &Reading,
        question: Option<Question>,
        costs: Option<Costs>,
        made: Made,
    ) -> Report {
        let history = &reading.history;
        let curve = history.overall.curve();
        let mut report = Report {
            data: Data {
                name: if name == "-" { "stdin" } else { name }.to_owned(),
                sha256: reading.sha256.clone(),
                rows: curve.rows(),
                wrong: curve.wrong(),
                left_out: history.rows_bad(),
                scores: curve.points().len(),
                exact: curve.is_exact(),
            },
            question: question.map(|question| Asked {
                error_max: question.error_max,
                delta: question.delta,
                method: question.method,
                bound: question.bound,
            }),
            answer: None,
            delta_each: None,
            segments: BTreeMap::new(),
            costs,
            cheapest: None,
            naive: None,
            curve: Vec::new(),
            warnings: Vec::new(),
            made,
        };
        let delta = question.map_or(0.05, |question| question.delta);
        let bound = question.map_or(Bound::ClopperPearson, |question| question.bound);
        let step = |point: &Point| Step {
            threshold: point.threshold,
            coverage: curve.coverage(point),
            accepted: point.accepted,
            wrong: point.wrong,
            error: point.error(),
            bound: bound.upper(point.wrong, point.accepted, delta),
        };
        let steps = curve.steps(curve.rows().div_ceil(STEPS_MAX as u64), STEPS_MAX);
        report.curve = steps.iter().map(|&i| step(&curve.points()[i])).collect();
        if let Some(question) = &question {
            report.naive = naive(&curve, question.error_max).as_ref().map(step);
            if history.segments.is_empty() {
                report.answer = Some(choose(&curve, question));
            } else {
                report.segmented(reading, &curve, question);
            }
        }
        if let Some(costs) = &costs {
            let passed: Option<Option<Vec<Tested>>> = report
                .answer
                .as_ref()
                .map(|answer| answer.found().map(|choice| choice.passed.clone()));
            report.cheapest = match passed {
                // No threshold keeps the promise, so none is cheapest.
                Some(None) => None,
                Some(Some(passed)) => cheapest(&curve, costs, Some(&passed), delta),
                None => cheapest(&curve, costs, None, delta),
            };
        }
        report.warn(reading, &curve);
        report
    }

    fn segmented(&mut self, reading: &Reading, overall: &Curve, question: &Question) {
        let curves: BTreeMap<String, Curve> = reading
            .history
            .segments
            .iter()
            .map(|(name, scores)| (name.clone(), scores.curve()))
            .collect();
        let mut answers = segments(overall, &curves, question);
        self.answer = Some(answers.overall);
        self.delta_each = Some(answers.delta_each);
        for (name, curve) in curves {
            if let Some(answer) = answers.segments.remove(&name) {
                let segment = Segment {
                    rows: curve.rows(),
                    wrong: curve.wrong(),
                    answer,
                    at_one: curve.at(1.0).accepted,
                };
                self.segments.insert(name, segment);
            }
        }
    }

    /// True when there is something to set.
    pub(super) fn feasible(&self) -> bool {
        match (&self.answer, &self.costs) {
            (_, Some(_)) => self.cheapest.is_some(),
            (Some(answer), None) => answer.found().is_some(),
            (None, None) => false,
        }
    }

    /// The overall choice.
    pub(super) fn choice(&self) -> Option<&Choice> {
        self.answer.as_ref().and_then(Answer::found)
    }

    /// The line that is proposed, with its counts and its bound; the latter is
    /// none where nothing was promised.
    pub(super) fn line(&self) -> Option<(f64, f64, Option<f64>)> {
        if let Some(priced) = &self.cheapest {
            let passed = self.choice().map(|choice| choice.passed.iter());
            let bound = passed.into_iter().flatten().find(|tested| {
                // The very number was taken from there.
                tested.threshold.total_cmp(&priced.accept_at).is_eq()
            });
            return Some((
                priced.accept_at,
                priced.accepted,
                bound.map(|tested| tested.bound),
            ));
        }
        if self.costs.is_some() {
            return None;
        }
        let choice = self.choice()?;
        Some((
            choice.line.accept_at,
            choice.coverage,
            Some(choice.line.bound),
        ))
    }

    fn warn(&mut self, reading: &Reading, curve: &Curve) {
        let mut warnings = Vec::new();
        let file = shown_name(&self.data.name);
        if self.data.left_out > 0 {
            let mut text = format!(
                "{} of {} rows of {file} were left out",
                grouped(self.data.left_out),
                grouped(reading.history.rows_read)
            );
            reading.history.describe(&mut text);
            warnings.push(text);
        }
        if self.data.wrong == 0 {
            warnings.push("no answer of the history is wrong; is that the right column?".into());
        } else if self.data.wrong == self.data.rows {
            warnings.push("every answer of the history is wrong; is that the right column?".into());
        }
        if self.data.scores == 1 {
            warnings.push("all scores are equal, so no threshold tells answers apart".into());
        }
        if !self.data.exact {
            warnings.push(
                "there are too many distinct scores to tell all apart: thresholds lie on a grid of \
                 at most 1/4096, finer near 1; counts are exact"
                    .into(),
            );
        }
        if let Some(choice) = self.choice()
            && let Some(failed) = choice.failed_first
            && failed.threshold > choice.found.threshold
        {
            warnings.push(format!(
                "thresholds above the one found failed first, at {}: {} of {} wrong, bound {}; are \
                 the surest answers the best ones?",
                number(failed.threshold),
                grouped(failed.wrong),
                grouped(failed.accepted),
                percent(failed.bound)
            ));
        }
        if let (Some(choice), Some(asked)) = (self.choice(), &self.question)
            && choice.line.bound > asked.error_max
        {
            warnings.push(format!(
                "so few answers are above the margin that their own bound is {}; the promise there \
                 rests on higher scores being no worse",
                percent(choice.line.bound)
            ));
        }
        if let Some(priced) = &self.cheapest {
            let flat = priced
                .accepting_all
                .min(priced.escalating_all)
                .min(priced.reviewing_all);
            if flat < priced.cost.mean {
                warnings.push(format!(
                    "treating all answers alike would cost {} each, less than this",
                    number(flat)
                ));
            }
        }
        for (name, segment) in &self.segments {
            match &segment.answer {
                SegmentAnswer::Overall { rows, needed, .. } => warnings.push(format!(
                    "segment `{}` has {} rows, fewer than the {} that could prove anything; the \
                     overall threshold holds there, whose promise is about all answers together",
                    crate::table::shown(name),
                    grouped(*rows),
                    grouped(*needed)
                )),
                SegmentAnswer::Own(Answer::Infeasible(_)) => warnings.push(format!(
                    "no threshold keeps the promise for segment `{}`; its line is 1",
                    crate::table::shown(name)
                )),
                SegmentAnswer::Own(Answer::Found(_)) => {}
            }
        }
        if self.segments.len() == SEGMENTS_MAX {
            warnings.push(format!(
                "there are {SEGMENTS_MAX} segments, the most there can be"
            ));
        }
        if curve.rows() > 0 && self.costs.is_some() && !curve.next_known() {
            warnings.push(
                "whether the next model would have been right is not known (--next-correct), so it \
                 is taken to be"
                    .into(),
            );
        }
        self.warnings = warnings;
    }
}

/// 0.0312 as `3.12 %`.
pub(super) fn percent(share: f64) -> String {
    format!("{:.2} %", 100.0 * share)
}

/// A number with what digits it needs, at most six.
pub(super) fn number(value: f64) -> String {
    let text = format!("{value:.6}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}
