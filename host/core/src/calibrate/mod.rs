//! From labelled history to a threshold with a guarantee.
//!
//! History is, for each answer, how sure the model was and whether it was
//! right. [`Scores`] counts it in bounded memory, [`Curve`] is what the counts
//! say: for each threshold, how many answers would have been accepted and how
//! many of those were wrong. On that, [`choose`] looks for the lowest threshold
//! of which it can be said, with a stated confidence, that not too many of the
//! accepted answers are wrong:
//!
//! - [`Method::FixedSequence`] tests a sequence of thresholds that was fixed
//!   before looking at what was right (Learn Then Test, Angelopoulos et al.,
//!   arXiv 2110.01052), with several starts that pass their share of `delta` on
//!   (the fallback procedure of Wiens, 2003);
//! - [`Method::Sgr`] is the binary search of Geifman and El-Yaniv
//!   (arXiv 1705.08500);
//! - [`Method::Conformal`] bounds another thing, and only in expectation: the
//!   share of *all* answers that are delivered wrong (conformal risk control,
//!   Angelopoulos et al., arXiv 2208.02814).
//!
//! [`segments`] chooses for several groups at once, [`cheapest`] weighs what
//! wrong answers, escalations and reviews cost, [`naive`] is what people do by
//! hand, to compare with. [`bound`] has the bounds under all of them.
//!
//! Always holds: an answer is accepted when its score is **at or above** the
//! threshold, in counting as in deciding; counts are whole numbers, and those of
//! a threshold are exact however coarsely scores were stored; which thresholds
//! are tested depends on scores alone, never on what was right; what cannot be
//! promised is [`Infeasible`], with its numbers, and never a threshold.
//!
//! All of it holds for answers that come from where the history came from. A
//! model, or traffic, that changes takes the guarantee with it.

pub mod bound;
mod choice;
mod conformal;
mod cost;
mod curve;
mod fixed_sequence;
mod scores;
mod segments;
mod sgr;
#[cfg(test)]
mod tests;

pub use bound::Bound;
pub use choice::{
    Answer, Choice, Infeasible, Margin, Method, Question, QuestionError, Settled, Tested, Why,
    choose, naive,
};
pub use cost::{Costs, CostsError, Money, Priced, cheapest};
pub use curve::{Curve, Point};
pub use fixed_sequence::{ERRORS_FORGIVEN, STARTS, STEPS_MAX};
pub use scores::{DISTINCT_MAX, NotAScore, Row, Scores};
pub use segments::{SegmentAnswer, Segmented, segments};
