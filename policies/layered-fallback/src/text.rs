//! The reasons, with their numbers.
//!
//! Written digit by digit: a decision costs a few microseconds, and the
//! formatting machinery of the standard library would take a good part of
//! that and a third of the component.

use backstop_sdk::metrics::{Estimate, Proportion};

/// A reason for people.
pub(crate) type Reason = String;

/// Room for the usual reason, so that it is allocated once.
const USUAL_BYTES: usize = 64;

/// Bytes of a list of models that were left out, within the 1,024 that are
/// kept of a reason.
const LEFT_OUT_BYTES_MAX: usize = 800;

/// "3 of 200 calls failed in 60 s", and whether that is enough to judge by.
pub(crate) fn errors(errors: &Proportion, window_s: u32, enough: u64) -> Reason {
    let mut text = String::with_capacity(USUAL_BYTES);
    if errors.trials == 0 {
        text.push_str("no evidence: no calls in ");
        number(&mut text, window_s.into());
        text.push_str(" s");
        return text;
    }
    failed(&mut text, errors, window_s);
    if errors.trials < enough {
        text.push_str(", too few to judge by");
    }
    text
}

/// "60 of 200 calls failed in 60 s: 30.0 %, above 25.0 %".
pub(crate) fn errors_above(errors: &Proportion, window_s: u32, line: f64) -> Reason {
    let mut text = String::with_capacity(USUAL_BYTES);
    failed(&mut text, errors, window_s);
    text.push_str(": ");
    percent(&mut text, errors.rate().unwrap_or(0.0));
    text.push_str(", above ");
    percent(&mut text, line);
    text
}

/// "p95 of 200 answers in 60 s is 2400 ms, above 1500 ms".
pub(crate) fn latency_above(latency: &Estimate, window_s: u32, line_ms: u32) -> Reason {
    let mut text = String::with_capacity(USUAL_BYTES);
    text.push_str("p95 of ");
    number(&mut text, latency.samples);
    text.push_str(" answers in ");
    number(&mut text, window_s.into());
    text.push_str(" s is ");
    // Saturates: what is no number of milliseconds was not above the line.
    number(&mut text, latency.value as u64);
    text.push_str(" ms, above ");
    number(&mut text, line_ms.into());
    text.push_str(" ms");
    text
}

/// A model keeps its place because nothing is known.
pub(crate) fn no_evidence(why: &str) -> Reason {
    ["no evidence: ", why].concat()
}

/// "; left out: big (breaker is open), …", or nothing.
pub(crate) fn left_out<'a>(models: impl Iterator<Item = (&'a str, &'a str)>) -> String {
    let mut text = String::new();
    for (model, why) in models {
        if text.len() + model.len() + why.len() > LEFT_OUT_BYTES_MAX {
            text.push_str(", …");
            break;
        }
        text.push_str(if text.is_empty() {
            "; left out: "
        } else {
            ", "
        });
        text.push_str(model);
        text.push_str(" (");
        text.push_str(why);
        text.push(')');
    }
    text
}

fn failed(text: &mut String, errors: &Proportion, window_s: u32) {
    number(text, errors.events);
    text.push_str(" of ");
    number(text, errors.trials);
    text.push_str(" calls failed in ");
    number(text, window_s.into());
    text.push_str(" s");
}

/// A share as a percentage with one decimal, rounded.
fn percent(text: &mut String, share: f64) {
    let tenths = (share * 1_000.0 + 0.5) as u64;
    number(text, tenths / 10);
    text.push('.');
    number(text, tenths % 10);
    text.push_str(" %");
}

fn number(text: &mut String, mut value: u64) {
    // 20 digits hold every u64.
    let mut digits = [0_u8; 20];
    let mut start = digits.len();
    loop {
        start -= 1;
        digits[start] = b'0' + (value % 10) as u8;
        value /= 10;
        if value == 0 || start == 0 {
            break;
        }
    }
    text.extend(digits[start..].iter().map(|&digit| char::from(digit)));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_as_the_standard_library_does() {
        for value in [0, 7, 10, 99, 100, 12_345, u64::MAX] {
            let mut text = String::new();
            number(&mut text, value);
            assert_eq!(text, value.to_string());
        }
    }

    #[test]
    fn shares_have_one_rounded_decimal() {
        for (share, expected) in [
            (0.0, "0.0 %"),
            (0.2504, "25.0 %"),
            (0.2506, "25.1 %"),
            (1.0, "100.0 %"),
            (f64::NAN, "0.0 %"),
        ] {
            let mut text = String::new();
            percent(&mut text, share);
            assert_eq!(text, expected);
        }
    }

    #[test]
    fn a_long_list_of_models_stays_within_a_reason() {
        let models = vec![("a-model-with-a-long-name", "breaker is open"); 64];
        let text = left_out(models.into_iter());
        assert!(text.len() <= 1_000, "{}", text.len());
        assert!(text.ends_with('…'));
        assert_eq!(left_out(std::iter::empty()), "");
    }
}
