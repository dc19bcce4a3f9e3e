//! Quantile sketches: DDSketch with a relative error of 1 %.
//!
//! The mapping is DDSketch's (γ = (1 + α) / (1 − α), key = ⌈log_γ x⌉,
//! value = 2γ^key / (1 + γ), rank = q·(n − 1)), so that results equal those of
//! its other implementations; a test holds them against `sketches-ddsketch`.
//! The store is our own, because a window keeps some 130 sketches for each
//! series: that crate's take at least 1 KiB each (dense 64-bit bins, two signs),
//! while one of these takes 8 bytes for each bin that is in use. Keys are
//! limited to magnitudes from 1e-9 to 1e12, which bounds a sketch at 4,841 bins
//! without ever collapsing any.

/// Relative error of a quantile.
pub const RELATIVE_ERROR: f64 = 0.01;
const GAMMA: f64 = (1.0 + RELATIVE_ERROR) / (1.0 - RELATIVE_ERROR);
/// 1 / ln(γ); checked by a test.
const PER_LN: f64 = 49.998_333_288_887_67;
/// Magnitudes below this are zero.
const MAGNITUDE_MIN: f64 = 1e-9;
/// Added to DDSketch's key, so that the smallest magnitude has key 1.
const OFFSET: i32 = 1_037;
/// The key of 1e12; what is larger is counted there.
const KEY_MAX: i32 = 2_419;
/// Bins by which a dense sketch grows: room for a factor of three.
const GROWTH: i32 = 64;

/// The bin of a value: 0 is zero, negative keys are negative values, and keys
/// are in the order of the values.
pub type Key = i16;

/// The bin that `value` falls into. `value` must be finite.
pub fn key(value: f64) -> Key {
    let magnitude = value.abs();
    if magnitude < MAGNITUDE_MIN {
        return 0;
    }
    let key = (magnitude.ln() * PER_LN).ceil() as i32 + OFFSET;
    let key = key.clamp(1, KEY_MAX) as Key;
    if value < 0.0 { -key } else { key }
}

/// The value that stands for the bin.
pub fn value(key: Key) -> f64 {
    if key == 0 {
        return 0.0;
    }
    let power = i32::from(key.unsigned_abs()) - OFFSET;
    let magnitude = 2.0 * GAMMA.powi(power) / (1.0 + GAMMA);
    if key < 0 { -magnitude } else { magnitude }
}

/// A sketch to count into: one counter for each bin between the outermost.
#[derive(Debug, Clone, Default)]
pub struct Dense {
    first: i32,
    counts: Vec<u32>,
    total: u64,
}

/// A sketch to keep: the bins in use and their counts, in order.
pub type Sparse = Box<[(Key, u32)]>;

impl Dense {
    /// Counts `value`, which must be finite.
    #[inline]
    pub fn add(&mut self, value: f64) {
        self.add_key(key(value), 1);
    }

    /// Counts `n` values of one bin.
    #[inline]
    pub fn add_key(&mut self, key: Key, n: u32) {
        let at = i32::from(key) - self.first;
        if at < 0 || at as usize >= self.counts.len() {
            return self.grow_and_add(key, n);
        }
        let count = &mut self.counts[at as usize];
        *count = count.saturating_add(n);
        self.total += u64::from(n);
    }

    #[cold]
    fn grow_and_add(&mut self, key: Key, n: u32) {
        let key = i32::from(key);
        if self.counts.is_empty() {
            self.first = key - GROWTH / 2;
            self.counts.resize(GROWTH as usize, 0);
        } else if key < self.first {
            let more = self.first - key + GROWTH / 2;
            self.counts
                .splice(0..0, std::iter::repeat_n(0, more as usize));
            self.first -= more;
        } else {
            let len = key - self.first + 1 + GROWTH / 2;
            self.counts.resize(len as usize, 0);
        }
        self.counts[(key - self.first) as usize] += n;
        self.total += u64::from(n);
    }

    /// Adds a kept sketch.
    pub fn add_sparse(&mut self, other: &Sparse) {
        for &(key, n) in other {
            self.add_key(key, n);
        }
    }

    /// Adds another sketch.
    pub fn add_dense(&mut self, other: &Dense) {
        for (key, n) in other.bins() {
            self.add_key(key, n);
        }
    }

    /// How many values were counted.
    pub fn total(&self) -> u64 {
        self.total
    }

    /// Forgets the values and keeps the memory.
    pub fn clear(&mut self) {
        self.counts.fill(0);
        self.total = 0;
    }

    /// The bins in use and their counts, in order.
    pub fn bins(&self) -> impl Iterator<Item = (Key, u32)> + '_ {
        (self.first..)
            .zip(&self.counts)
            .filter(|(_, n)| **n > 0)
            .map(|(key, n)| (key as Key, *n))
    }

    /// The sketch as it is kept.
    pub fn to_sparse(&self) -> Sparse {
        self.bins().collect()
    }
}

/// `a` and `b` as one sketch.
pub fn merge(a: &Sparse, b: &Sparse) -> Sparse {
    let mut merged = Vec::with_capacity(a.len() + b.len());
    let (mut a, mut b) = (a.iter().copied().peekable(), b.iter().copied().peekable());
    loop {
        let next = match (a.peek(), b.peek()) {
            (Some(left), Some(right)) if left.0 == right.0 => {
                let sum = left.1.saturating_add(right.1);
                let key = left.0;
                b.next();
                a.next();
                Some((key, sum))
            }
            (Some(left), Some(right)) if left.0 < right.0 => a.next(),
            (_, Some(_)) => b.next(),
            (_, None) => a.next(),
        };
        match next {
            Some(bin) => merged.push(bin),
            None => return merged.into_boxed_slice(),
        }
    }
}

/// The `q` quantile over two sketches as if they were one; none without values.
/// `q` is from 0 to 1.
pub fn quantile(a: &Dense, b: &Dense, q: f64) -> Option<f64> {
    let total = a.total + b.total;
    if total == 0 {
        return None;
    }
    let rank = q * (total - 1) as f64;
    let mut seen = 0u64;
    let (mut a, mut b) = (a.bins().peekable(), b.bins().peekable());
    loop {
        let (bin, n) = match (a.peek(), b.peek()) {
            (Some(left), Some(right)) if left.0 > right.0 => b.next(),
            (None, Some(_)) => b.next(),
            _ => a.next(),
        }?;
        seen += u64::from(n);
        if seen as f64 > rank {
            return Some(value(bin));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn sketch(values: &[f64]) -> Dense {
        let mut sketch = Dense::default();
        values.iter().for_each(|value| sketch.add(*value));
        sketch
    }

    #[test]
    fn the_constant_is_one_over_the_logarithm_of_gamma() {
        assert!((PER_LN - 1.0 / GAMMA.ln()).abs() < 1e-10);
        assert_eq!(key(1e-9), 1);
        assert_eq!(i32::from(key(1e12)), KEY_MAX);
        assert_eq!(i32::from(key(f64::MAX)), KEY_MAX);
        assert_eq!(key(-0.0), 0);
    }

    #[test]
    fn quantiles_equal_those_of_the_crate_that_is_known_to_be_right() {
        use sketches_ddsketch::{Config, DDSketch};
        let values: Vec<f64> = (1..=1000).map(|n| f64::from(n) * 1.7 - 300.0).collect();
        let mut theirs = DDSketch::new(Config::new(RELATIVE_ERROR, 4_096, 1e-9));
        values.iter().for_each(|value| theirs.add(*value));
        let ours = sketch(&values);
        for percent in 1..100 {
            let q = f64::from(percent) / 100.0;
            let expected = theirs.quantile(q).unwrap().unwrap();
            let found = quantile(&ours, &Dense::default(), q).unwrap();
            assert!(
                (found - expected).abs() < 1e-9 * expected.abs().max(1.0),
                "{q}: {found} {expected}"
            );
        }
    }

    #[test]
    fn an_empty_sketch_has_no_quantile() {
        assert_eq!(quantile(&Dense::default(), &Dense::default(), 0.5), None);
    }

    proptest! {
        #[test]
        fn quantiles_are_within_one_percent(
            values in prop::collection::vec(prop_oneof![-1e6..1e6f64, -1.0..1.0f64, Just(0.0)], 1..300),
            q in 0.0..=1.0f64,
            split in 0..300usize,
        ) {
            let (a, b) = values.split_at(split.min(values.len()));
            let found = quantile(&sketch(a), &sketch(b), q).unwrap();
            let mut sorted = values.clone();
            sorted.sort_by(f64::total_cmp);
            let rank = (q * (values.len() - 1) as f64).floor() as usize;
            let expected = sorted[rank];
            prop_assert!((found - expected).abs() <= 0.010_001 * expected.abs() + 1e-9,
                "{found} for {expected}");
        }

        #[test]
        fn merging_is_adding(
            a in prop::collection::vec(-50.0..50.0f64, 0..80),
            b in prop::collection::vec(-50.0..50.0f64, 0..80),
        ) {
            let mut both = sketch(&a);
            both.add_dense(&sketch(&b));
            let merged = merge(&sketch(&a).to_sparse(), &sketch(&b).to_sparse());
            prop_assert_eq!(&both.to_sparse(), &merged);
            let mut again = Dense::default();
            again.add_sparse(&merged);
            prop_assert_eq!(again.total(), (a.len() + b.len()) as u64);
        }
    }
}
