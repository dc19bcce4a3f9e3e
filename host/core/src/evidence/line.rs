//! Where labelled answers say that the line of confidence may be.
//!
//! The look itself is [`crate::calibrate`]'s, with its fixed sequence and its
//! exact bounds; here are the labels that it looks at. A label's bin stands for
//! its lower edge, so that the line is a fiftieth of the scale, and what it
//! accepts is counted exactly.

use super::labelled::{LabelledBin, lowest_of};
use super::{Evidence, SubjectRef};
use crate::calibrate::{Answer, Bound, Margin, Method, Question, Row, Scores, Why, choose};
use crate::metric::{Line, LineReading, MetricsError};

impl Evidence {
    /// The lowest line of confidence at which at most `error_max` of the
    /// accepted answers are wrong, with probability `1 - delta`, by the labelled
    /// answers of the last `window_s` seconds in `metric`.
    ///
    /// # Errors
    ///
    /// `Unknown` for a metric that is not of labelled answers; `Invalid` for a
    /// window outside 1 to 86,400 s, and an `error_max` or a `delta` that is not
    /// between 0 and 1. A `delta` above a half is taken for a half.
    pub fn find_line(
        &self,
        metric: &str,
        subject: SubjectRef<'_>,
        window_s: u32,
        error_max: f64,
        delta: f64,
        now_ms: u64,
    ) -> Result<LineReading, MetricsError> {
        if !(delta > 0.0 && delta < 1.0) {
            return Err(MetricsError::Invalid(format!(
                "`delta` is {delta}, must be above 0 and below 1"
            )));
        }
        let question = Question {
            error_max,
            delta: delta.min(0.5),
            method: Method::FixedSequence,
            bound: Bound::ClopperPearson,
            margin: Margin::None,
        };
        if let Some(mistake) = question.mistakes().first() {
            return Err(MetricsError::Invalid(mistake.to_string()));
        }
        let bins = self.labelled(metric, subject, window_s, now_ms)?;
        Ok(line(&bins, &question))
    }
}

fn line(bins: &[LabelledBin], question: &Question) -> LineReading {
    let mut scores = Scores::default();
    for (at, bin) in bins.iter().enumerate() {
        for (correct, count) in [
            (true, bin.right),
            (false, bin.answers.saturating_sub(bin.right)),
        ] {
            let row = Row {
                count,
                ..Row::new(correct)
            };
            if count > 0 {
                // An edge of a bin is a score.
                let _ = scores.add(lowest_of(at), row);
            }
        }
    }
    let curve = scores.curve();
    match choose(&curve, question) {
        Answer::Found(choice) => LineReading::Line(Line {
            confidence: choice.line.accept_at,
            coverage: choice.coverage,
            accepted: choice.line.accepted,
            wrong: choice.line.wrong,
            bound: choice.line.bound,
        }),
        Answer::Infeasible(infeasible) => match infeasible.why {
            Why::TooFewRows { .. } => LineReading::NotEnoughData(infeasible.rows),
            Why::NonePassed { .. } => LineReading::Infeasible,
        },
    }
}
