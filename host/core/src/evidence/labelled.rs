//! Labelled answers: how confident a model was, and whether it was right.
//!
//! One count for each fiftieth of the scale of confidence is enough for what is
//! asked of them: accuracy, the expected calibration error over ten bins
//! (exactly), the Brier score (exactly), the area under the curve of
//! confidence against being right (to the width of a bin), and the calibration
//! that estimates without labels are made with.

use crate::metric::Proportion;
use crate::window::{Span, Tally, Window};
use serde::{Deserialize, Serialize};

/// Bins over `[0, 1]`: a multiple of the ten of the calibration error.
pub const LABELLED_BINS: usize = 50;

/// Labelled answers of one bin of confidence.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct LabelledBin {
    /// How many.
    pub answers: u64,
    /// How many of them were right.
    pub right: u64,
    /// Sum of their confidences.
    pub confidence: f64,
    /// Sum of `(confidence - right)²`.
    pub squares: f64,
}

impl LabelledBin {
    fn add(&mut self, other: &LabelledBin) {
        self.answers += other.answers;
        self.right += other.right;
        self.confidence += other.confidence;
        self.squares += other.squares;
    }
}

/// The bins in use, by their position.
pub(super) type KeptBins = Vec<(u8, LabelledBin)>;

#[derive(Debug, Default)]
pub(super) struct Labelled {
    pub(super) window: Window<Bins>,
    pub(super) total: Proportion,
}

#[derive(Debug, Default)]
pub(super) struct Bins(KeptBins);

fn add(into: &mut KeptBins, at: u8, bin: &LabelledBin) {
    match into.iter_mut().find(|(known, _)| *known == at) {
        Some((_, known)) => known.add(bin),
        None => into.push((at, *bin)),
    }
}

impl Tally for Bins {
    type Closed = KeptBins;

    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn close(&mut self) -> KeptBins {
        std::mem::take(&mut self.0)
    }

    fn copy(&self) -> KeptBins {
        self.0.clone()
    }

    fn merge(into: &mut KeptBins, other: KeptBins) {
        for (at, bin) in other {
            add(into, at, &bin);
        }
    }
}

/// The bin of a confidence in `[0, 1]`: the last one whose lower edge it
/// reaches; 1 belongs to the last.
pub(super) fn bin_of(confidence: f64) -> u8 {
    // The product may be off by a rounding; the edges decide, for a line on an
    // edge accepts by them.
    let near = (confidence * LABELLED_BINS as f64) as usize;
    let at = match near {
        near if confidence >= lowest_of(near + 1) => near + 1,
        near if confidence < lowest_of(near) => near.saturating_sub(1),
        near => near,
    };
    at.min(LABELLED_BINS - 1) as u8
}

/// The lower edge of a bin.
pub(super) fn lowest_of(at: usize) -> f64 {
    at as f64 / LABELLED_BINS as f64
}

impl Labelled {
    /// Counts an answer of the moment `at_ms`; false when that is too long ago.
    pub(super) fn record(&mut self, now_ms: u64, at_ms: u64, confidence: f64, right: bool) -> bool {
        let off = confidence - f64::from(u8::from(right));
        let one = LabelledBin {
            answers: 1,
            right: right.into(),
            confidence,
            squares: off * off,
        };
        let at = bin_of(confidence);
        if self.window.is_past(now_ms, at_ms) {
            if !self.window.add_past(at_ms, vec![(at, one)]) {
                return false;
            }
        } else {
            add(&mut self.window.present(now_ms).0, at, &one);
        }
        self.total.trials += 1;
        self.total.events += u64::from(right);
        true
    }

    /// All bins of a span, in the order of confidence.
    pub(super) fn within(&self, span: Span, now_ms: u64) -> [LabelledBin; LABELLED_BINS] {
        let (closed, head) = self.window.within(span, now_ms);
        let mut bins = [LabelledBin::default(); LABELLED_BINS];
        for kept in closed.chain(head.map(|head| &head.0)) {
            for (at, bin) in kept {
                if let Some(known) = bins.get_mut(usize::from(*at)) {
                    known.add(bin);
                }
            }
        }
        bins
    }
}
