//! How values are cut into bins before their distributions are compared.
//!
//! A distance means nothing without its bins, so there is no default here: the
//! caller names a rule, and the measures of [`drift`](mod@super::drift) carry it in
//! their names. Edges are those of numpy's `histogram_bin_edges` (rules
//! `sturges` and `doane`), counts those of its `histogram`: a bin holds its
//! lower edge, the last one also its upper. Reference deciles are in
//! [`decile_bins`](super::decile_bins).
//!
//! Always holds: edges rise strictly and are finite; values that are not finite
//! are in no bin; every finite value counts in exactly one cell of
//! [`Edges::pairs`].

use super::BinPair;

/// Edges of bins, at least two, rising.
#[derive(Debug, Clone, PartialEq)]
pub struct Edges(Vec<f64>);

impl Edges {
    /// Equal bins by Sturges' rule: ⌈log₂ n + 1⌉ of them over the range. None
    /// without finite values.
    pub fn sturges(values: &[f64]) -> Option<Self> {
        Self::equal(values, |values, range| {
            range / ((values.len() as f64).log2() + 1.0)
        })
    }

    /// Equal bins by Doane's rule, which adds bins for skew. One bin up to two
    /// values and for values that are all equal. None without finite values.
    pub fn doane(values: &[f64]) -> Option<Self> {
        Self::equal(values, |values, range| {
            let n = values.len() as f64;
            if n <= 2.0 {
                return 0.0;
            }
            let mean = values.iter().sum::<f64>() / n;
            let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
            let deviation = (squares / n).sqrt();
            if deviation <= 0.0 {
                return 0.0;
            }
            let cubes = values
                .iter()
                .map(|value| ((value - mean) / deviation).powi(3));
            let skew = cubes.sum::<f64>() / n;
            let chance = (6.0 * (n - 2.0) / ((n + 1.0) * (n + 3.0))).sqrt();
            range / (1.0 + n.log2() + (1.0 + skew.abs() / chance).log2())
        })
    }

    /// Equal bins of the width that `width` gives for the finite values and
    /// their range; one bin for width 0. Where numpy refuses because the range
    /// is too narrow or too wide for so many different edges, there is one bin.
    fn equal(values: &[f64], width: impl Fn(&[f64], f64) -> f64) -> Option<Self> {
        let values: Vec<f64> = values.iter().copied().filter(|v| v.is_finite()).collect();
        let min = values.iter().copied().reduce(f64::min)?;
        let max = values.iter().copied().reduce(f64::max)?;
        let width = width(&values, max - min);
        let (low, high) = if min < max {
            (min, max)
        } else {
            (min - 0.5, max + 0.5)
        };
        let bins = ((high - low) / width).ceil();
        let bins = if width > 0.0 && bins.is_finite() {
            bins.max(1.0)
        } else {
            1.0
        };
        let step = (high - low) / bins;
        let mut edges: Vec<f64> = (0..bins as usize).map(|i| i as f64 * step + low).collect();
        edges.push(high);
        if !edges.is_sorted_by(|a, b| a < b) {
            // Beyond 2^53 half a unit more may change nothing.
            edges = vec![low.min(min.next_down()), high.max(max.next_up())];
        }
        Some(Self(edges))
    }

    /// The edges themselves.
    pub fn edges(&self) -> &[f64] {
        &self.0
    }

    /// Where a value lies; None outside of all bins and for what is no number.
    fn bin(&self, value: f64) -> Option<usize> {
        let (first, last) = (*self.0.first()?, *self.0.last()?);
        if !(first..=last).contains(&value) {
            return None;
        }
        let above = self.0.partition_point(|edge| *edge <= value);
        Some((above - 1).min(self.0.len() - 2))
    }

    /// How many values each bin holds, and how many finite ones lie outside.
    pub fn counts(&self, values: &[f64]) -> (Vec<u64>, u64) {
        let mut counts = vec![0; self.0.len() - 1];
        let mut outside = 0;
        for value in values.iter().filter(|value| value.is_finite()) {
            match self.bin(*value) {
                Some(bin) => counts[bin] += 1,
                None => outside += 1,
            }
        }
        (counts, outside)
    }

    /// Both sides' counts by bin, with a last cell for what lies outside.
    pub fn pairs(&self, reference: &[f64], current: &[f64]) -> Vec<BinPair> {
        let side = |values| {
            let (mut counts, outside) = self.counts(values);
            counts.push(outside);
            counts
        };
        pairs_of(&side(reference), &side(current))
    }
}

/// Counts of both sides, bin by bin; a side that is shorter has none in the rest.
pub fn pairs_of(reference: &[u64], current: &[u64]) -> Vec<BinPair> {
    let at = |counts: &[u64], bin: usize| counts.get(bin).copied().unwrap_or(0);
    (0..reference.len().max(current.len()))
        .map(|bin| BinPair {
            reference: at(reference, bin),
            current: at(current, bin),
        })
        .collect()
}

/// One cell for each different finite value, in ascending order.
pub fn by_value(reference: &[f64], current: &[f64]) -> Vec<(f64, BinPair)> {
    let side = |is_reference: bool| {
        move |value: &f64| {
            let pair = BinPair {
                reference: is_reference.into(),
                current: (!is_reference).into(),
            };
            // -0 and 0 are one value.
            (*value + 0.0, pair)
        }
    };
    let mut values: Vec<(f64, BinPair)> = reference
        .iter()
        .map(side(true))
        .chain(current.iter().map(side(false)))
        .filter(|(value, _)| value.is_finite())
        .collect();
    values.sort_unstable_by(|a, b| a.0.total_cmp(&b.0));
    let mut cells: Vec<(f64, BinPair)> = Vec::new();
    for (value, pair) in values {
        match cells.last_mut() {
            Some((last, cell)) if last.total_cmp(&value).is_eq() => {
                cell.reference += pair.reference;
                cell.current += pair.current;
            }
            _ => cells.push((value, pair)),
        }
    }
    cells
}
