//! Conformal risk control: the expected share of all answers that are accepted
//! and wrong.
//!
//! That loss never rises with the threshold, so the lowest threshold with
//! `(wrong + 1) / (rows + 1) <= error_max` keeps its expectation, over histories
//! and the next answer, at or below `error_max`. It promises nothing about one
//! history, nor about the accepted answers by themselves.

use super::choice::{Question, Tested, Trail};
use super::curve::Curve;

/// Tests; `Err` is the fewest rows with which a threshold could pass.
pub(super) fn test(curve: &Curve, question: &Question) -> Result<Trail, u64> {
    let rows = curve.rows();
    let needed = (1.0 / question.error_max - 1.0).ceil().max(1.0) as u64;
    if rows < needed {
        return Err(needed);
    }
    let mut trail = Trail::default();
    for point in curve.points() {
        let tested = Tested {
            threshold: point.threshold,
            accepted: point.accepted,
            wrong: point.wrong,
            bound: bound(point.wrong, rows),
            delta: 0.0,
        };
        if !trail.note(tested, tested.bound <= question.error_max) {
            break;
        }
    }
    Ok(trail)
}

/// n/(n+1) times the loss found, plus 1/(n+1).
pub(super) fn bound(wrong: u64, rows: u64) -> f64 {
    (wrong as f64 + 1.0) / (rows as f64 + 1.0)
}
