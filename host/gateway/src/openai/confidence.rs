//! From token log-probabilities to one number.

/// Running mean of natural log-probabilities, and the first of them.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Logprobs {
    sum: f64,
    count: u64,
    kept: Vec<f64>,
}

impl Logprobs {
    /// Adds one token's log-probability; what is not a number is passed over,
    /// and what is above 0 (rounding in the provider) counts as 0. The first
    /// `kept_max` are kept as they are.
    pub fn push(&mut self, logprob: f64, kept_max: usize) {
        if logprob.is_nan() {
            return;
        }
        // Providers write -9999 for "almost impossible"; minus infinity cannot
        // be written in JSON, but a number beyond f64 reads as it.
        let logprob = logprob.clamp(LOGPROB_MIN, 0.0);
        self.sum += logprob;
        self.count += 1;
        if self.kept.len() < kept_max {
            self.kept.push(logprob);
        }
    }

    /// The geometric mean of the token probabilities, `exp(mean(logprob))`, in
    /// `[0, 1]`; none without tokens.
    #[expect(
        clippy::cast_precision_loss,
        reason = "a count of tokens is far below 2^52"
    )]
    pub fn confidence(&self) -> Option<f64> {
        (self.count > 0).then(|| (self.sum / self.count as f64).exp().clamp(0.0, 1.0))
    }

    /// The log-probabilities that were kept, in the order of the tokens.
    pub fn kept(&self) -> &[f64] {
        &self.kept
    }

    /// The same, taking them.
    pub fn into_kept(self) -> Vec<f64> {
        self.kept
    }
}

/// Lowest log-probability that is counted: OpenAI's stand-in for "outside the
/// top 20 and practically impossible".
const LOGPROB_MIN: f64 = -9999.0;

#[cfg(test)]
mod tests {
    use super::*;

    fn confidence(logprobs: &[f64]) -> Option<f64> {
        let mut all = Logprobs::default();
        for logprob in logprobs {
            all.push(*logprob, 2);
        }
        all.confidence()
    }

    #[test]
    fn confidence_is_the_geometric_mean_of_the_probabilities() {
        let mean = confidence(&[0.9_f64.ln(), 0.4_f64.ln()]).unwrap();
        assert!((mean - 0.6).abs() < 1e-12, "{mean}");
        assert_eq!(confidence(&[]), None);
        assert_eq!(confidence(&[f64::NAN]), None);
        assert_eq!(confidence(&[1e-9]), Some(1.0));
        assert_eq!(confidence(&[f64::NEG_INFINITY]), Some(0.0));
    }

    #[test]
    fn all_tokens_count_and_the_first_are_kept() {
        let mut all = Logprobs::default();
        for _ in 0..9 {
            all.push(-1.0, 2);
        }
        assert_eq!(all.kept(), [-1.0, -1.0]);
        assert_eq!(all.count, 9);
    }
}
