//! What a call of a release costs: the `price_…` keys of models and releases.
//!
//! Prices bound what policies may spend on calls of their own
//! (`grants.model_budget.cost_micros`). Without any, calls cost nothing.

use super::schema::{Default, Key, Kind};
use crate::upstream::Usage;

/// Highest price, in millionths of the operator's currency.
const PRICE_MICROS_MAX: u64 = 1_000_000_000_000;
/// Bytes that are counted as one token where nobody counted: about what
/// English text has. JSON around it makes the estimate one on the high side.
const BYTES_PER_TOKEN: u64 = 4;
/// Tokens of an answer that are reserved where the request names no bound: a
/// judge's word with its reasons.
const ANSWER_TOKENS_ASSUMED: u64 = 1_024;
/// Most answers to one request that are reserved: as many as chat APIs give.
const ANSWERS_MAX: u64 = 128;

/// Prices of one release, in millionths of the operator's currency.
#[derive(Debug, Clone, Copy, PartialEq, Eq, std::default::Default)]
pub struct Price {
    /// Of a call as such.
    pub call_micros: u64,
    /// Of a million tokens of requests.
    pub input_micros: u64,
    /// Of a million tokens of answers.
    pub output_micros: u64,
}

impl Price {
    /// What a call cost, in millionths of the operator's currency, rounded up.
    /// A provider that reports no usage is believed to have used a token for
    /// each four bytes.
    pub fn cost_micros(&self, usage: Option<Usage>, request: usize, answer: usize) -> u64 {
        match usage {
            // Tokens that are neither the request's nor the answer's, or only
            // counted together, were most likely spent on the answer.
            Some(usage) => self.of_tokens(
                usage.prompt_tokens,
                usage
                    .completion_tokens
                    .max(usage.total_tokens.saturating_sub(usage.prompt_tokens)),
            ),
            None => self.of_tokens(tokens(request), tokens(answer)),
        }
    }

    /// What a call with a body of `request` bytes may cost before it is made.
    /// `answer_tokens` is the bound of one answer that the request itself
    /// names, `answers` how many it asks for (`n`; one when it does not say).
    pub fn cost_micros_max(
        &self,
        request: usize,
        answer_tokens: Option<u64>,
        answers: Option<u64>,
    ) -> u64 {
        let answer = answer_tokens.unwrap_or(ANSWER_TOKENS_ASSUMED);
        let answers = answers.unwrap_or(1).clamp(1, ANSWERS_MAX);
        self.of_tokens(tokens(request), answer.saturating_mul(answers))
    }

    fn of_tokens(&self, input: u64, output: u64) -> u64 {
        let part = |tokens: u64, price: u64| u128::from(tokens) * u128::from(price);
        let parts = part(input, self.input_micros) + part(output, self.output_micros);
        let micros = u64::try_from(parts.div_ceil(1_000_000)).unwrap_or(u64::MAX);
        micros.saturating_add(self.call_micros)
    }
}

fn tokens(bytes: usize) -> u64 {
    u64::try_from(bytes)
        .unwrap_or(u64::MAX)
        .div_ceil(BYTES_PER_TOKEN)
}

pub(super) const CALL: Key = Key {
    name: "price_call_micros",
    kind: Kind::Integer(0, PRICE_MICROS_MAX),
    default: Default::Integer(0),
    about: "Price of a call as such, in millionths of your currency.",
};

pub(super) const INPUT: Key = Key {
    name: "price_input_micros",
    kind: Kind::Integer(0, PRICE_MICROS_MAX),
    default: Default::Integer(0),
    about: "Price of a million tokens of requests, in millionths of your currency; not with a \
            provider of kind `json`. Tokens are those that the provider reports, else one for \
            each four bytes.",
};

pub(super) const OUTPUT: Key = Key {
    name: "price_output_micros",
    kind: Kind::Integer(0, PRICE_MICROS_MAX),
    default: Default::Integer(0),
    about: "The same of answers. Before a policy's call, the price of as many tokens is reserved \
            as its `max_tokens` says, else of 1024.",
};

#[cfg(test)]
mod tests {
    use super::*;

    const PRICE: Price = Price {
        call_micros: 7,
        input_micros: 2_000_000,
        output_micros: 10_000_000,
    };

    fn usage(prompt_tokens: u64, completion_tokens: u64, total_tokens: u64) -> Option<Usage> {
        Some(Usage {
            prompt_tokens,
            completion_tokens,
            total_tokens,
        })
    }

    #[test]
    fn a_call_costs_its_tokens_and_itself() {
        for (usage, expected) in [
            (usage(100, 20, 120), 7 + 200 + 200),
            // Hidden tokens are in the total only.
            (usage(100, 20, 150), 7 + 200 + 500),
            (usage(0, 0, 9), 7 + 90),
            (usage(0, 0, 0), 7),
            // 5 bytes are two tokens, 8 are two.
            (None, 7 + 4 + 20),
        ] {
            assert_eq!(PRICE.cost_micros(usage, 5, 8), expected, "{usage:?}");
        }
        let cheap = Price {
            input_micros: 1,
            ..Price::default()
        };
        assert_eq!(cheap.cost_micros(usage(1, 0, 1), 0, 0), 1, "rounded up");
        let dear = Price {
            output_micros: PRICE_MICROS_MAX,
            ..Price::default()
        };
        assert_eq!(dear.cost_micros(usage(0, u64::MAX, 0), 0, 0), u64::MAX);
        assert_eq!(Price::default().cost_micros(usage(9, 9, 18), 9, 9), 0);
    }

    #[test]
    fn a_call_is_reserved_by_its_bound() {
        for (tokens, answers, expected) in [
            (Some(3), None, 7 + 2 + 30),
            (None, None, 7 + 2 + 10_240),
            (Some(3), Some(4), 7 + 2 + 120),
            (Some(3), Some(0), 7 + 2 + 30),
            (Some(3), Some(u64::MAX), 7 + 2 + 30 * ANSWERS_MAX),
        ] {
            assert_eq!(
                PRICE.cost_micros_max(4, tokens, answers),
                expected,
                "{tokens:?}, {answers:?}"
            );
        }
    }
}
