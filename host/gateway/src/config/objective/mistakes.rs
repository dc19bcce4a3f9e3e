//! What is wrong with an objective as a whole, at the key that is to be changed.
//!
//! Always holds: of what [`SloConfig::mistakes`] finds each is noted here, or
//! was noted because a key is missing, of another type or out of its range.

use super::super::mistake::MistakeKind;
use super::super::section::{Resolver, Section};
use super::{LONG_S_MIN, PERIOD_MS_MIN, SHORT_S_MIN};
use backstop_core::slo::{PERIOD_MS_MAX, SloConfig, SloMistake};

const OWN: &str = "set windows of your own";

/// Notes a mistake. Of the windows that a word asks for, the one that asks most
/// speaks for all.
pub(super) fn note(
    cx: &mut Resolver<'_>,
    section: &Section<'_>,
    slo: &SloConfig,
    mistake: SloMistake,
) {
    let own = section.list("windows");
    let path = &section.path;
    let mut conflict = |section: &Section<'_>, key: &str, message: String| {
        cx.note(MistakeKind::Conflict, section, key, message);
    };
    match mistake {
        SloMistake::Period(_) | SloMistake::Windows(_) => {}
        SloMistake::Objective(share) => {
            if section.node("target").is_some() && (0.0..=1.0).contains(&share) {
                let message = format!(
                    "`{path}.target` is {share}, must be above 0 and below 1: 0.999 is 99.9 %"
                );
                cx.note(MistakeKind::OutOfRange, section, "target", message);
            }
        }
        SloMistake::Factor(at) => {
            let is_zero = |window: &&Section<'_>| window.number_if_set("factor") == Some(0.0);
            if let Some(window) = own.get(at).filter(is_zero) {
                let message = format!("`{}.factor` must be above 0", window.path);
                cx.note(MistakeKind::OutOfRange, window, "factor", message);
            }
        }
        SloMistake::Short(at) => match own.get(at) {
            Some(window) if are_numbers(window) => {
                let message = format!("`{}.short_s` must be below its `long_s`", window.path);
                conflict(window, "short_s", message);
            }
            None if at == 0 && is_in_range(slo) => {
                let message = format!(
                    "`{path}.period_s` leaves the windows that `windows` asks for no whole minute; \
                     set a longer one, or {OWN}"
                );
                conflict(section, "period_s", message);
            }
            _ => {}
        },
        SloMistake::Long(at) => {
            let longest_ms = slo.windows.iter().map(|of| of.long_ms).max().unwrap_or(0);
            let asks_most = slo.windows.get(at).map(|of| of.long_ms) == Some(longest_ms);
            match own.get(at) {
                Some(window) => {
                    let message = format!(
                        "`{}.long_s` is longer than the period, {} s",
                        window.path,
                        slo.period_ms / 1_000
                    );
                    conflict(window, "long_s", message);
                }
                None if asks_most && is_in_range(slo) => {
                    let message = format!(
                        "`{path}.period_s` is shorter than the window of {} s that `windows` asks \
                         for; set a longer one, or {OWN}",
                        longest_ms / 1_000
                    );
                    conflict(section, "period_s", message);
                }
                None => {}
            }
        }
        SloMistake::Unreachable(at) => {
            let is_share = slo.objective > 0.0 && slo.objective < 1.0;
            let Some(window) = slo.windows.get(at).filter(|_| is_share) else {
                return;
            };
            let highest = slo.windows.iter().map(|of| of.factor).fold(0.0, f64::max);
            let message = format!(
                "the window of {} s can never alert: with a `target` of {} no burn rate is above \
                 {}, and its factor is {}",
                window.long_ms / 1_000,
                number(slo.objective),
                number(1.0 / (1.0 - slo.objective)),
                number(window.factor),
            );
            match own.get(at) {
                Some(own) => conflict(own, "factor", format!("{message}; lower it")),
                None if window.factor >= highest => {
                    let message = format!("{message}; raise the target, or {OWN}");
                    conflict(section, "target", message);
                }
                None => {}
            }
        }
    }
}

fn is_in_range(slo: &SloConfig) -> bool {
    (PERIOD_MS_MIN..=PERIOD_MS_MAX).contains(&slo.period_ms)
}

/// A number as a person reads it: four digits after the point at most.
fn number(exact: f64) -> f64 {
    (exact * 1e4).round() / 1e4
}

/// Both ends of a window are there and in range.
fn are_numbers(window: &Section<'_>) -> bool {
    let in_range = |key, min| {
        let seconds = window.integer_if_set::<u64>(key);
        seconds.is_some_and(|seconds| seconds >= min)
    };
    in_range("long_s", LONG_S_MIN) && in_range("short_s", SHORT_S_MIN)
}
