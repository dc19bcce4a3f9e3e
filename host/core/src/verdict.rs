//! Verdicts: what a threshold policy returns for an answer, and its checks.

use serde::{Deserialize, Serialize};

/// What to do with an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// Deliver it.
    Accept,
    /// Drop it and go on to the plan's next step.
    Escalate,
    /// Send request and answer to people.
    Review,
}

impl Outcome {
    /// The name in the contract, in metrics and in records.
    pub fn as_str(self) -> &'static str {
        match self {
            Outcome::Accept => "accept",
            Outcome::Escalate => "escalate",
            Outcome::Review => "review",
        }
    }
}

/// The judgement of one answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Verdict {
    /// What to do.
    pub outcome: Outcome,
    /// Why.
    pub reason: String,
    /// The confidence that it rests on, in `[0, 1]`.
    pub confidence: Option<f64>,
    /// The line that it was held against, in `[0, 1]`.
    pub line: Option<f64>,
}

/// Why a verdict cannot be applied.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum VerdictError {
    /// A number is not finite or outside `[0, 1]`.
    #[error("verdict: `{field}` is {value}, must be a number from 0 to 1")]
    OutOfRange {
        /// Which field.
        field: &'static str,
        /// What it held.
        value: f64,
    },
}

impl Verdict {
    /// Checks what a policy returned.
    ///
    /// # Errors
    ///
    /// The first field that is out of range.
    pub fn check(&self) -> Result<(), VerdictError> {
        for (field, value) in [("confidence", self.confidence), ("line", self.line)] {
            if let Some(value) = value
                && !(0.0..=1.0).contains(&value)
            {
                return Err(VerdictError::OutOfRange { field, value });
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_that_are_no_probability_are_refused() {
        for value in [f64::NAN, f64::INFINITY, -0.1, 1.1] {
            let verdict = Verdict {
                outcome: Outcome::Accept,
                reason: String::new(),
                confidence: Some(0.5),
                line: Some(value),
            };
            assert!(verdict.check().is_err(), "{value} passed");
        }
    }
}
