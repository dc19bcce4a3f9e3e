//! A threshold for each of several groups of answers.
//!
//! `delta` is divided evenly among the groups that have rows enough to prove
//! anything and the overall threshold (Bonferroni), so that all promises hold at
//! once. Which groups these are (as many as can share, the largest first) is read
//! from their sizes, never from what was right. A group with fewer rows uses the overall threshold, whose promise is
//! about all answers together and not about that group.

use super::choice::{Answer, Infeasible, Method, Question, Why, choose};
use super::curve::Curve;
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};

/// What holds for one group.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum SegmentAnswer {
    /// It has been asked about by itself.
    Own(Answer),
    /// It has too few rows; the overall threshold holds.
    Overall {
        /// Its rows.
        rows: u64,
        /// Of these, wrong.
        wrong: u64,
        /// Fewest rows, all of them right, that would prove anything.
        needed: u64,
    },
}

/// The answers for all groups.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Segmented {
    /// For answers of all groups together.
    pub overall: Answer,
    /// What each question was given of `delta`.
    pub delta_each: f64,
    /// By name of the group.
    pub segments: BTreeMap<String, SegmentAnswer>,
}

/// Asks about all of them.
pub fn segments(
    overall: &Curve,
    groups: &BTreeMap<String, Curve>,
    question: &Question,
) -> Segmented {
    // The most groups that can share: the more, the more rows each has to have.
    let mut by_size: Vec<(&String, u64)> = groups
        .iter()
        .map(|(name, curve)| (name, curve.rows()))
        .collect();
    by_size.sort_by_key(|&(_, rows)| std::cmp::Reverse(rows));
    let share = |asked: usize| match question.method {
        // Expectations hold side by side.
        Method::Conformal => question.delta,
        _ => question.delta / (asked + 1) as f64,
    };
    let enough = |asked: usize| by_size[asked - 1].1 >= rows_min(question, share(asked));
    let asked = (1..=groups.len()).rev().find(|&asked| enough(asked));
    let asked = asked.unwrap_or(0);
    let own: BTreeSet<&String> = by_size[..asked].iter().map(|(name, _)| *name).collect();
    let needed = rows_min(question, share(asked + 1));
    let each = share(asked);
    let question = Question {
        delta: each,
        ..*question
    };
    let answer = |name: &String, curve: &Curve| {
        if !own.contains(name) {
            return SegmentAnswer::Overall {
                rows: curve.rows(),
                wrong: curve.wrong(),
                needed,
            };
        }
        match choose(curve, &question) {
            // A method that needs more than the least.
            Answer::Infeasible(Infeasible {
                rows,
                wrong,
                why: Why::TooFewRows { needed },
            }) => SegmentAnswer::Overall {
                rows,
                wrong,
                needed,
            },
            answer => SegmentAnswer::Own(answer),
        }
    };
    Segmented {
        overall: choose(overall, &question),
        delta_each: each,
        segments: groups
            .iter()
            .map(|(name, curve)| (name.clone(), answer(name, curve)))
            .collect(),
    }
}

fn rows_min(question: &Question, delta: f64) -> u64 {
    match question.method {
        Method::Conformal => 1,
        _ => question
            .bound
            .trials_min(0, question.error_max, delta)
            .unwrap_or(u64::MAX),
    }
}
