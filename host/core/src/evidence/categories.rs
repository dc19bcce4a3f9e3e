//! Categories: how often each of a few names was seen.
//!
//! Always holds: a series knows at most [`CATEGORIES_MAX`] names; what comes
//! after them is counted as [`OTHER`], so that a caller who invents names costs
//! no memory and is still seen.

use crate::stats::BinPair;
use crate::window::{Span, Tally, Window};
use hashbrown::HashMap;
use std::sync::Arc;

/// Most names that a series tells apart.
pub const CATEGORIES_MAX: usize = 64;
/// The name of what is beyond them, and of names that are empty or longer than
/// [`CATEGORY_BYTES_MAX`].
pub const OTHER: &str = "(other)";
/// Longest name in bytes.
pub const CATEGORY_BYTES_MAX: usize = 128;

/// Counts by the number of the name.
type CategoryCounts = Vec<(u16, u32)>;

#[derive(Debug, Default)]
pub(super) struct Category {
    pub(super) names: Vec<Arc<str>>,
    numbers: HashMap<Arc<str>, u16>,
    pub(super) window: Window<Seen>,
    pub(super) count: u64,
}

/// What was seen in one tick.
#[derive(Debug, Default)]
pub(super) struct Seen(CategoryCounts);

fn add(into: &mut CategoryCounts, number: u16, n: u32) {
    match into.iter_mut().find(|(known, _)| *known == number) {
        Some((_, count)) => *count = count.saturating_add(n),
        None => into.push((number, n)),
    }
}

impl Tally for Seen {
    type Closed = CategoryCounts;

    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn close(&mut self) -> CategoryCounts {
        std::mem::take(&mut self.0)
    }

    fn copy(&self) -> CategoryCounts {
        self.0.clone()
    }

    fn merge(into: &mut CategoryCounts, other: CategoryCounts) {
        for (number, n) in other {
            add(into, number, n);
        }
    }
}

impl Category {
    /// The number of a name, which it gets where there is room.
    fn number(&mut self, name: &str) -> u16 {
        if let Some(number) = self.numbers.get(name) {
            return *number;
        }
        let fits = (1..=CATEGORY_BYTES_MAX).contains(&name.len());
        let room = self.names.len() < CATEGORIES_MAX - 1 || name == OTHER;
        if !fits || !room {
            return self.number(OTHER);
        }
        let number = self.names.len() as u16; // at most 64
        let name: Arc<str> = name.into();
        self.names.push(name.clone());
        self.numbers.insert(name, number);
        number
    }

    /// Counts one of the moment `at_ms`; false when that is too long ago.
    pub(super) fn record(&mut self, now_ms: u64, at_ms: u64, name: &str) -> bool {
        let number = self.number(name);
        if self.window.is_past(now_ms, at_ms) {
            if !self.window.add_past(at_ms, vec![(number, 1)]) {
                return false;
            }
        } else {
            add(&mut self.window.present(now_ms).0, number, 1);
        }
        self.count += 1;
        true
    }

    /// Counts of a span by number.
    fn within(&self, span: Span, now_ms: u64) -> CategoryCounts {
        let (closed, head) = self.window.within(span, now_ms);
        let mut sum = CategoryCounts::new();
        for counts in closed.chain(head.map(|head| &head.0)) {
            for (number, n) in counts {
                add(&mut sum, *number, *n);
            }
        }
        sum
    }

    /// Names and counts of a span, the most frequent first.
    pub(super) fn shares(&self, span: Span, now_ms: u64) -> Vec<(Arc<str>, u64)> {
        let named = |(number, n): (u16, u32)| {
            let name = self.names.get(usize::from(number))?;
            Some((name.clone(), u64::from(n)))
        };
        let counts = self.within(span, now_ms);
        let mut shares: Vec<_> = counts.into_iter().filter_map(named).collect();
        shares.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
        shares
    }

    /// One pair for each name that was seen in either span.
    pub(super) fn bin_pairs(&self, current: Span, reference: Span, now_ms: u64) -> Vec<BinPair> {
        let none = BinPair {
            reference: 0,
            current: 0,
        };
        let mut pairs = vec![none; self.names.len()];
        for (number, n) in self.within(current, now_ms) {
            pairs[usize::from(number)].current += u64::from(n);
        }
        for (number, n) in self.within(reference, now_ms) {
            pairs[usize::from(number)].reference += u64::from(n);
        }
        pairs.retain(|pair| pair.reference + pair.current > 0);
        pairs
    }

    /// As it was kept: counts of names that are not known are left out.
    pub(super) fn restored(names: Vec<Arc<str>>, window: Window<Seen>, count: u64) -> Category {
        let mut category = Category {
            window,
            count,
            ..Category::default()
        };
        for name in names {
            category.number(&name);
        }
        category
    }
}
