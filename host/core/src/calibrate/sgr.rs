//! Selection with guaranteed risk (Geifman and El-Yaniv, 2017): a binary search
//! for the lowest threshold that passes, whose tests share `delta`.
//!
//! The reference code truncates a product of a share and a count to get errors
//! back, and returns the last threshold it looked at whether it passed or not.
//! Here errors are counted, and only what passed is returned. The search is over
//! distinct scores instead of rows, and `delta` is divided by as many tests as the
//! search can make, which is one more than theirs.

use super::choice::{Question, Trail, tested};
use super::curve::Curve;

/// Tests; `Err` is the fewest rows with which a threshold could pass.
pub(super) fn test(curve: &Curve, question: &Question) -> Result<Trail, u64> {
    let points = curve.points();
    let delta = question.delta / tests_max(points.len());
    let needed = question.bound.trials_min(0, question.error_max, delta);
    let needed = needed.unwrap_or(u64::MAX);
    if curve.rows() < needed {
        return Err(needed);
    }
    let mut trail = Trail::default();
    let (mut low, mut high) = (0, points.len());
    while low < high {
        let middle = low + (high - low) / 2;
        let result = tested(&points[middle], question.bound, delta);
        let passed = result.bound <= question.error_max;
        if trail.note(result, passed) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    Ok(trail)
}

/// Most tests of a binary search among so many: the bits of the number.
fn tests_max(points: usize) -> f64 {
    f64::from((usize::BITS - points.leading_zeros()).max(1))
}
