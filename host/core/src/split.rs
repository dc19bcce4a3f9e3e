//! The sticky weighted split: which release serves which caller.
//!
//! Same assignment as flagd's `fractional` operator (version 2), so that a
//! split can be computed again by any OpenFeature tool: MurmurHash3-x86-32 of
//! the split's key followed by the caller's key, mapped to the sum of the
//! weights with a multiplication and a shift. Always holds: the same keys and
//! weights give the same answer on every node and after every restart, and a
//! caller that is in the last entry's share stays in it while that share grows
//! and no other entry's place moves.

/// Largest sum of the weights, which keeps hash times sum within 64 bits and
/// is flagd's own limit.
pub const WEIGHT_SUM_MAX: u32 = i32::MAX as u32;

/// Weights, ready for picking. Cheap to pick from: no allocation, no division.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Split {
    /// Running sums of the weights; the last one is the sum of all.
    cumulative: Box<[u32]>,
}

/// Why weights are no split.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SplitError {
    /// The sum of the weights is too large.
    #[error("weights add up to {0}, at most {WEIGHT_SUM_MAX} is allowed")]
    TooLarge(u64),
}

impl Split {
    /// A split by `weights`, in any unit. A negative weight counts as 0.
    ///
    /// # Errors
    ///
    /// When the weights add up to more than [`WEIGHT_SUM_MAX`].
    pub fn new<W: Into<i64>>(weights: impl IntoIterator<Item = W>) -> Result<Split, SplitError> {
        let mut sum = 0u64;
        let mut cumulative = Vec::new();
        for weight in weights {
            let weight: i64 = weight.into();
            sum = sum.saturating_add(weight.max(0).unsigned_abs());
            match u32::try_from(sum) {
                Ok(running) if running <= WEIGHT_SUM_MAX => cumulative.push(running),
                _ => return Err(SplitError::TooLarge(sum)),
            }
        }
        Ok(Split {
            cumulative: cumulative.into_boxed_slice(),
        })
    }

    /// The position of the entry that `caller` belongs to, in the split named
    /// `key`. None when the weights add up to 0 or `caller` is empty: whoever
    /// asks then uses the default, which is the stable release.
    pub fn pick(&self, key: &str, caller: &str) -> Option<usize> {
        if caller.is_empty() {
            return None;
        }
        self.pick_hash(hash(key, caller))
    }

    /// The position of the entry that `hash` falls into; see [`hash`].
    pub fn pick_hash(&self, hash: u32) -> Option<usize> {
        let sum = *self.cumulative.last()?;
        let bucket = bucket(hash, sum);
        self.cumulative.iter().position(|&upper| upper > bucket)
    }

    /// Sum of the weights.
    pub fn weight_sum(&self) -> u32 {
        self.cumulative.last().copied().unwrap_or(0)
    }
}

/// MurmurHash3-x86-32, seed 0, of `key` followed by `caller`.
pub fn hash(key: &str, caller: &str) -> u32 {
    use std::io::Read;
    let mut source = key.as_bytes().chain(caller.as_bytes());
    murmur3::murmur3_32(&mut source, 0).unwrap_or_default() // slices never fail to read
}

/// Where `hash` falls when the whole is `sum` wide: 0 to `sum - 1`.
pub fn bucket(hash: u32, sum: u32) -> u32 {
    let wide = (u64::from(hash) * u64::from(sum)) >> 32;
    wide as u32 // below `sum`, which is 32 bits
}

#[cfg(test)]
mod tests {
    use super::*;

    const SUITS: [&str; 4] = ["clubs", "diamonds", "hearts", "spades"];

    #[test]
    fn cards_fall_to_the_suits_that_flagd_deals() {
        let split = Split::new([25, 25, 25, 25]).unwrap();
        let suit = |key, caller| SUITS[split.pick(key, caller).unwrap()];
        for (caller, expected) in [
            ("jack", "hearts"),
            ("queen", "spades"),
            ("ten", "clubs"),
            ("nine", "diamonds"),
            ("3", "clubs"),
        ] {
            assert_eq!(suit("fractional-flag", caller), expected, "{caller}");
        }
        for (caller, expected) in [
            ("seven", "hearts"),
            ("eight", "diamonds"),
            ("nine", "clubs"),
            ("two", "spades"),
        ] {
            assert_eq!(suit("shared-seed", caller), expected, "{caller}");
        }
        assert_eq!(hash("fractional-flag", "jack"), 0x9fe8_43e0);
    }

    #[test]
    fn hashes_at_the_edges_of_the_range_fall_on_the_right_side() {
        let split = Split::new([50, 50]).unwrap();
        for (caller, hashed, position) in [
            ("ejOoVL", 0, 0),
            ("bY9fO-", 1, 0),
            ("SI7p-", 0x7fff_ffff, 0),
            ("6LvT0", 0x8000_0000, 1),
            ("ceQdGm", 0xffff_ffff, 1),
        ] {
            assert_eq!(hash("", caller), hashed, "{caller}");
            assert_eq!(split.pick("", caller), Some(position), "{caller}");
        }
    }

    #[test]
    fn callers_fall_into_the_published_buckets_of_a_hundred() {
        assert_eq!(bucket(hash("", "jon@company.com"), 100), 36);
        assert_eq!(bucket(hash("", "user1"), 100), 76);
    }

    #[test]
    fn a_negative_weight_takes_nobody() {
        let split = Split::new([-50, 100]).unwrap();
        for caller in 0..1000 {
            assert_eq!(split.pick("flag", &caller.to_string()), Some(1));
        }
    }

    #[test]
    fn without_weights_or_caller_there_is_no_pick() {
        assert_eq!(Split::new([0, 0]).unwrap().pick("flag", "jack"), None);
        assert_eq!(Split::new([0i64; 0]).unwrap().pick("flag", "jack"), None);
        assert_eq!(Split::new([1, 1]).unwrap().pick("flag", ""), None);
    }

    #[test]
    fn weights_beyond_the_limit_are_refused() {
        assert_eq!(Split::new([i32::MAX]).unwrap().weight_sum(), WEIGHT_SUM_MAX);
        assert_eq!(
            Split::new([i32::MAX, 1]),
            Err(SplitError::TooLarge(1 << 31))
        );
        assert!(Split::new([i64::MAX, i64::MAX, i64::MAX]).is_err());
    }

    #[test]
    fn a_caller_stays_with_the_candidate_while_its_share_grows() {
        for caller in (0..2000).map(|n| format!("caller-{n}")) {
            let mut with_candidate = false;
            for share in [0, 1, 5, 10, 25, 50, 100] {
                let split = Split::new([100 - share, share]).unwrap();
                let now = split.pick("model", &caller) == Some(1);
                assert!(now || !with_candidate, "{caller} left at {share} %");
                with_candidate = now;
            }
            assert!(with_candidate);
        }
    }
}
