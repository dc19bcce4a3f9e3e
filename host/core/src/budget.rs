//! Budgets for calls beyond the first: repetitions and hedges.
//!
//! Each request pays a share of a call in, each further call takes a whole one
//! out, and a few a second are free, so that little traffic can repeat at all.
//! The idea and the usual numbers are Finagle's `RetryBudget`. Time is a
//! parameter; all operations are a few atomic instructions and may be called
//! from anywhere.
//!
//! Always holds: over any time with `n` requests and `t` seconds, no more than
//! `n * percent / 100 + per_second_min * t` calls beyond the first are allowed,
//! and the [`SAVED_MAX`] that could be saved up before.

use serde::{Deserialize, Serialize};
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

/// Most calls that can be saved up: a burst, not an outage.
pub const SAVED_MAX: u32 = 100;

/// A call, in the unit that is counted in.
const CALL: i64 = 100_000;

/// How much a budget allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct BudgetOptions {
    /// Calls beyond the first, in percent of requests: 0 to 1,000.
    pub percent: u32,
    /// Calls beyond the first that are allowed in each second anyway, 0 to
    /// 1,000.
    pub per_second_min: u32,
}

/// A budget; shared by reference.
#[derive(Debug)]
pub struct Budget {
    options: BudgetOptions,
    saved: AtomicI64,
    /// Until when what is free was paid in.
    paid_ms: AtomicU64,
}

impl Budget {
    /// A budget with what one second allows in it.
    pub fn new(options: BudgetOptions, now_ms: u64) -> Budget {
        let first = i64::from(options.per_second_min.min(SAVED_MAX)) * CALL;
        Budget {
            options,
            saved: AtomicI64::new(first),
            paid_ms: AtomicU64::new(now_ms),
        }
    }

    /// How much it allows.
    pub fn options(&self) -> BudgetOptions {
        self.options
    }

    /// Notes a request.
    pub fn request(&self) {
        let share = i64::from(self.options.percent) * CALL / 100;
        // What does not fit is lost; that two requests may both see room for
        // the last share is mended by the next one.
        if share > 0 && self.saved.load(Ordering::Relaxed) < i64::from(SAVED_MAX) * CALL {
            self.saved.fetch_add(share, Ordering::Relaxed);
        }
    }

    /// Takes `calls` out; false, and nothing is taken, where there are not so
    /// many.
    pub fn take(&self, calls: u32, now_ms: u64) -> bool {
        self.pay_free(now_ms);
        let wanted = i64::from(calls) * CALL;
        self.saved
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |saved| {
                (saved >= wanted).then_some(saved - wanted)
            })
            .is_ok()
    }

    /// Puts back what was taken for calls that were not made.
    pub fn give_back(&self, calls: u32) {
        self.saved
            .fetch_add(i64::from(calls) * CALL, Ordering::Relaxed);
    }

    /// Calls that could be taken now.
    pub fn left(&self, now_ms: u64) -> u32 {
        self.pay_free(now_ms);
        let saved = self.saved.load(Ordering::Relaxed).max(0) / CALL;
        u32::try_from(saved).unwrap_or(u32::MAX)
    }

    /// Pays in what is free since the last time.
    fn pay_free(&self, now_ms: u64) {
        let paid_ms = self.paid_ms.load(Ordering::Relaxed);
        let passed_ms = now_ms.saturating_sub(paid_ms);
        if passed_ms == 0 {
            // Nothing, or a clock that stepped back: the free part waits for
            // it, for no longer than the step.
            return;
        }
        let exchange =
            self.paid_ms
                .compare_exchange(paid_ms, now_ms, Ordering::Relaxed, Ordering::Relaxed);
        if exchange.is_err() {
            return;
        }
        let passed_ms = i64::try_from(passed_ms.min(86_400_000)).unwrap_or(i64::MAX);
        let free = passed_ms * i64::from(self.options.per_second_min) * (CALL / 1_000);
        let _ = self
            .saved
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |saved| {
                Some((saved + free).min((i64::from(SAVED_MAX) * CALL).max(saved)))
            });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn budget(percent: u32, per_second_min: u32) -> Budget {
        let options = BudgetOptions {
            percent,
            per_second_min,
        };
        Budget::new(options, 0)
    }

    #[test]
    fn each_request_pays_its_share() {
        let budget = budget(20, 0);
        assert!(!budget.take(1, 0));
        for _ in 0..4 {
            budget.request();
        }
        assert!(!budget.take(1, 0), "four fifths of a call");
        budget.request();
        assert!(budget.take(1, 0));
        assert!(!budget.take(1, 0));
    }

    #[test]
    fn a_few_are_free_each_second() {
        let budget = budget(0, 2);
        assert_eq!(budget.left(0), 2);
        assert!(budget.take(2, 0) && !budget.take(1, 499));
        assert!(budget.take(1, 500));
        assert_eq!(
            budget.left(1_000_000),
            SAVED_MAX,
            "and are not saved for ever"
        );
        assert!(!budget.take(SAVED_MAX + 1, 1_000_000));
        assert_eq!(budget.left(1_000_000), SAVED_MAX);
    }

    proptest! {
        #[test]
        fn an_outage_multiplies_load_by_no_more_than_the_budget(
            percent in 0..100_u32,
            per_second_min in 0..20_u32,
            gaps_ms in prop::collection::vec(0..50_u64, 1..2_000),
        ) {
            let budget = budget(percent, per_second_min);
            let (mut now_ms, mut taken) = (0, 0_u64);
            for gap_ms in &gaps_ms {
                now_ms += gap_ms;
                budget.request();
                // Everything fails: each request would repeat five times.
                taken += (0..5).filter(|_| budget.take(1, now_ms)).count() as u64;
            }
            let requests = gaps_ms.len() as u64;
            let allowed = requests * u64::from(percent) / 100
                + u64::from(per_second_min) * (now_ms / 1_000 + 2);
            prop_assert!(taken <= allowed, "{taken} of {allowed}");
        }
    }
}
