//! Fixed-sequence testing, with several starts.
//!
//! The thresholds to test are at most [`STEPS_MAX`] even steps of coverage, the
//! first of which accepts so many rows that [`ERRORS_FORGIVEN`] errors among
//! them would pass; the order is from high to low. Half of `delta` is given to
//! the first step, the rest in equal parts to later starts. A step that passes
//! hands all it had to the next one; a step that fails loses it, and the next
//! start goes on with its own part. That is the fallback procedure (Wiens 2003;
//! Wiens and Dmitrienko 2005): a step that must not pass is the first such to
//! pass only with what was given out since the one before it, so the parts add up
//! to at most `delta`. With one start it is plain fixed-sequence testing, which
//! one unlucky step at the top brings to its end.
//!
//! The p-value is the binomial tail of the errors among accepted rows. The row on
//! the threshold is counted with those above it; that errs on the safe side as
//! long as it is no better than they are.

use super::choice::{Question, Trail, tested};
use super::curve::Curve;

/// Most thresholds that are tested.
pub const STEPS_MAX: usize = 100;
/// Errors among the accepted rows with which the first step would still pass,
/// where there are rows enough: with none forgiven, one unlucky row in the
/// beginning would decide.
pub const ERRORS_FORGIVEN: u64 = 2;
/// Places in the sequence that have a part of `delta` of their own.
pub const STARTS: usize = 5;

/// Tests; `Err` is the fewest rows with which any threshold could pass.
pub(super) fn test(curve: &Curve, question: &Question) -> Result<Trail, u64> {
    let plan = Plan::of(curve, question)?;
    let mut trail = Trail::default();
    let mut carried = 0.0;
    for (step, &index) in plan.steps.iter().enumerate() {
        let delta = carried + question.delta * plan.share(step);
        if delta <= 0.0 {
            continue;
        }
        let point = &curve.points()[index];
        let p = question
            .bound
            .p_value(point.wrong, point.accepted, question.error_max);
        let passed = p <= delta;
        carried = if passed { delta } else { 0.0 };
        trail.note(tested(point, question.bound, delta), passed);
    }
    Ok(trail)
}

/// Which thresholds are tested, and what each is given; made from scores alone.
struct Plan {
    steps: Vec<usize>,
    starts: usize,
}

impl Plan {
    fn of(curve: &Curve, question: &Question) -> Result<Plan, u64> {
        let rows = curve.rows();
        let needed = |errors, delta| {
            question
                .bound
                .trials_min(errors, question.error_max, delta)
                .unwrap_or(u64::MAX)
        };
        let shared = needed(ERRORS_FORGIVEN, question.delta / 2.0);
        if rows >= shared {
            let steps = curve.steps(shared, STEPS_MAX);
            let starts = STARTS.min(steps.len());
            return Ok(Plan { steps, starts });
        }
        // Too few rows to share anything: one start, which forgives what it can.
        let accepted_min = (0..=ERRORS_FORGIVEN)
            .rev()
            .map(|errors| needed(errors, question.delta))
            .find(|&accepted| accepted <= rows)
            .ok_or_else(|| needed(0, question.delta))?;
        let steps = curve.steps(accepted_min, STEPS_MAX);
        Ok(Plan { steps, starts: 1 })
    }

    /// The part of `delta` that begins at `step`.
    fn share(&self, step: usize) -> f64 {
        match (step, self.starts) {
            (0, 1) => 1.0,
            (0, _) => 0.5,
            (_, 1) => 0.0,
            (step, starts) => {
                let begins = (1..starts).any(|start| start * self.steps.len() / starts == step);
                if begins {
                    0.5 / (starts - 1) as f64
                } else {
                    0.0
                }
            }
        }
    }
}
