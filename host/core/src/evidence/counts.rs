//! Rates: events and trials.

use crate::metric::Proportion;
use crate::window::{Span, Tally, Window};
use serde::{Deserialize, Serialize};

#[derive(Debug, Default)]
pub(super) struct Rate {
    pub(super) window: Window<Counts>,
    pub(super) total: Proportion,
}

/// Events and trials of one tick or bucket.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Counts {
    pub(super) events: u32,
    pub(super) trials: u32,
}

impl Tally for Counts {
    type Closed = Counts;

    fn is_empty(&self) -> bool {
        self.trials == 0
    }

    fn close(&mut self) -> Counts {
        std::mem::take(self)
    }

    fn copy(&self) -> Counts {
        *self
    }

    fn merge(into: &mut Counts, other: Counts) {
        into.events = into.events.saturating_add(other.events);
        into.trials = into.trials.saturating_add(other.trials);
    }
}

impl Rate {
    /// Counts a trial of the moment `at_ms`; false when that is too long ago.
    pub(super) fn record(&mut self, now_ms: u64, at_ms: u64, event: bool) -> bool {
        let one = Counts {
            events: event.into(),
            trials: 1,
        };
        if self.window.is_past(now_ms, at_ms) {
            if !self.window.add_past(at_ms, one) {
                return false;
            }
        } else {
            Counts::merge(self.window.present(now_ms), one);
        }
        self.total.trials += 1;
        self.total.events += u64::from(event);
        true
    }

    pub(super) fn within(&self, span: Span, now_ms: u64) -> Proportion {
        let (closed, head) = self.window.within(span, now_ms);
        closed
            .chain(head)
            .fold(Proportion::default(), |sum, counts| Proportion {
                events: sum.events + u64::from(counts.events),
                trials: sum.trials + u64::from(counts.trials),
            })
    }
}
