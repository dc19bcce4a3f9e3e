//! Draws histories from a real data set, chooses thresholds on them, and looks
//! at what these do on all the rest.
//!
//! Shared by the test `thresholds` and the example of the same name.

use backstop_core::calibrate::{
    Answer, Bound, Curve, Margin, Method, Point, Question, Row, Scores, SegmentAnswer, choose,
    naive, segments,
};
use std::collections::BTreeMap;

/// One answer of the data set.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Labelled {
    /// Which of [`Data::airports`].
    pub(crate) airport: usize,
    /// How sure the model was.
    pub(crate) score: f64,
    /// Whether it was right.
    pub(crate) correct: bool,
}

/// The data set; see `../data/README.md`.
#[derive(Debug)]
pub(crate) struct Data {
    /// All answers.
    pub(crate) rows: Vec<Labelled>,
    /// Names of the groups.
    pub(crate) airports: Vec<String>,
    /// All answers as a curve, and by airport.
    curves: Curves,
}

/// How to choose.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    /// By hand.
    Naive,
    /// A method with a margin.
    Chosen(Method, bool),
    /// Fixed-sequence for each airport and overall.
    Segmented,
}

impl Way {
    /// All that are compared.
    pub(crate) const ALL: [Way; 6] = [
        Way::Naive,
        Way::Chosen(Method::FixedSequence, false),
        Way::Chosen(Method::FixedSequence, true),
        Way::Segmented,
        Way::Chosen(Method::Sgr, false),
        Way::Chosen(Method::Conformal, false),
    ];

    /// For the table.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Way::Naive => "naive",
            Way::Chosen(Method::FixedSequence, false) => "fixed-sequence",
            Way::Chosen(Method::FixedSequence, true) => "  with margin",
            Way::Segmented => "  by airport",
            Way::Chosen(Method::Sgr, _) => "sgr",
            Way::Chosen(Method::Conformal, _) => "conformal",
        }
    }
}

/// What became of many histories.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Outcome {
    /// Histories.
    pub(crate) resamples: u32,
    /// Those with a threshold.
    pub(crate) found: u32,
    /// Those whose threshold lets more errors through on the rest than asked.
    pub(crate) broken: u32,
    /// Mean share of the rest that is accepted, of those with a threshold.
    pub(crate) coverage: f64,
    /// Mean error on the rest: of accepted answers, or of all for conformal,
    /// over all histories (no threshold, no error).
    pub(crate) error: f64,
    /// Standard error of that mean.
    pub(crate) error_stderr: f64,
}

/// What is asked.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ask {
    /// Rows of a history.
    pub(crate) rows: usize,
    /// Largest error.
    pub(crate) error_max: f64,
    /// Largest share of histories that may break it.
    pub(crate) delta: f64,
    /// Histories.
    pub(crate) resamples: u32,
    /// For the draws.
    pub(crate) seed: u64,
}

impl Outcome {
    /// True when the mean error is no more than `error_max`, as far as so many
    /// histories can tell: conformal choices come as near as they may.
    pub(crate) fn mean_holds(&self, error_max: f64) -> bool {
        self.error <= error_max + 3.0 * self.error_stderr
    }
}

impl Data {
    /// Reads the committed data set.
    pub(crate) fn flights() -> Data {
        let text = include_str!("../data/flights.csv");
        let mut rows = Vec::new();
        let mut airports: Vec<String> = Vec::new();
        for line in text.lines().skip(1) {
            let fields: Vec<&str> = line.split(',').collect();
            let [airport, score, correct, count] = fields[..] else {
                panic!("four fields: {line}");
            };
            let known = airports.iter().position(|name| name == airport);
            let airport = known.unwrap_or_else(|| {
                airports.push(airport.to_owned());
                airports.len() - 1
            });
            let row = Labelled {
                airport,
                score: score.parse().expect("a score"),
                correct: correct == "1",
            };
            let count: usize = count.parse().expect("a count");
            rows.extend(std::iter::repeat_n(row, count));
        }
        let curves = Curves::of(rows.iter(), airports.len());
        Data {
            rows,
            airports,
            curves,
        }
    }

    /// Draws histories and plays all ways on each.
    pub(crate) fn play(&mut self, ask: &Ask) -> Vec<(Way, Outcome)> {
        let mut outcomes: Vec<(Way, Outcome)> =
            Way::ALL.map(|way| (way, Outcome::default())).to_vec();
        let mut random = fastrand::Rng::with_seed(ask.seed);
        for _ in 0..ask.resamples {
            for i in 0..ask.rows {
                let other = random.usize(i..self.rows.len());
                self.rows.swap(i, other);
            }
            let history = Curves::of(self.rows[..ask.rows].iter(), self.airports.len());
            for (way, outcome) in &mut outcomes {
                self.judge(*way, ask, &history, outcome);
            }
        }
        for (_, outcome) in &mut outcomes {
            outcome.coverage /= f64::from(outcome.found.max(1));
            let n = f64::from(outcome.resamples);
            outcome.error /= n;
            // It has held the sum of squares so far.
            let variance = outcome.error_stderr / n - outcome.error * outcome.error;
            outcome.error_stderr = (variance.max(0.0) / n).sqrt();
        }
        outcomes
    }

    fn judge(&self, way: Way, ask: &Ask, history: &Curves, outcome: &mut Outcome) {
        let question = Question {
            error_max: ask.error_max,
            delta: ask.delta,
            method: Method::FixedSequence,
            bound: Bound::ClopperPearson,
            margin: Margin::None,
        };
        let rest = |all: &Curve, drawn: &Curve, threshold| rest_at(all, drawn, threshold);
        let line = |answer: &Answer| answer.found().map(|choice| choice.line.accept_at);
        let (threshold, of_all) = match way {
            Way::Naive => {
                let point = naive(&history.overall, ask.error_max);
                (point.map(|point| point.threshold), false)
            }
            Way::Chosen(method, margin) => {
                let margin = if margin {
                    Margin::NextScore
                } else {
                    Margin::None
                };
                let question = Question {
                    method,
                    margin,
                    ..question
                };
                let answer = choose(&history.overall, &question);
                (line(&answer), method == Method::Conformal)
            }
            Way::Segmented => {
                let names = self.airports.iter().cloned();
                let groups: BTreeMap<String, Curve> =
                    names.zip(history.by_airport.iter().cloned()).collect();
                let answers = segments(&history.overall, &groups, &question);
                // Each that has a line of its own, and the overall one.
                let mut broken = false;
                for (airport, name) in self.airports.iter().enumerate() {
                    if let SegmentAnswer::Own(answer) = &answers.segments[name]
                        && let Some(threshold) = line(answer)
                    {
                        let all = &self.curves.by_airport[airport];
                        let drawn = &history.by_airport[airport];
                        broken |= rest(all, drawn, threshold).0.error() > ask.error_max;
                    }
                }
                let overall = line(&answers.overall);
                if let Some(threshold) = overall {
                    let (point, _) = rest(&self.curves.overall, &history.overall, threshold);
                    // Counted once, below.
                    broken &= point.error() <= ask.error_max;
                }
                outcome.broken += u32::from(broken);
                (overall, false)
            }
        };
        outcome.resamples += 1;
        let Some(threshold) = threshold else { return };
        let (point, rows) = rest(&self.curves.overall, &history.overall, threshold);
        let error = if of_all {
            point.wrong as f64 / rows as f64
        } else {
            point.error()
        };
        outcome.found += 1;
        outcome.coverage += point.accepted as f64 / rows as f64;
        outcome.error += error;
        outcome.error_stderr += error * error;
        outcome.broken += u32::from(error > ask.error_max);
    }
}

/// What a threshold accepts of what was not drawn, and how much that is.
fn rest_at(all: &Curve, drawn: &Curve, threshold: f64) -> (Point, u64) {
    let (whole, part) = (all.at(threshold), drawn.at(threshold));
    let point = Point {
        threshold,
        accepted: whole.accepted - part.accepted,
        wrong: whole.wrong - part.wrong,
        next_wrong: 0,
    };
    (point, all.rows() - drawn.rows())
}

#[derive(Debug)]
struct Curves {
    overall: Curve,
    by_airport: Vec<Curve>,
}

impl Curves {
    fn of<'a>(rows: impl Iterator<Item = &'a Labelled>, airports: usize) -> Curves {
        let mut overall = Scores::default();
        let mut by_airport = vec![Scores::default(); airports];
        for row in rows {
            let counted = Row::new(row.correct);
            overall.add(row.score, counted).expect("a score");
            by_airport[row.airport]
                .add(row.score, counted)
                .expect("a score");
        }
        Curves {
            overall: overall.curve(),
            by_airport: by_airport.iter().map(Scores::curve).collect(),
        }
    }
}
