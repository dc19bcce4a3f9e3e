//! How long an upstream asks to be left alone.
//!
//! Providers say it in four ways: `retry-after-ms`, `retry-after` (seconds or
//! a date), `x-ratelimit-reset` (seconds or an epoch) and one
//! `x-ratelimit-reset-*` per limit. What cannot be understood counts as not
//! said. The clock is a parameter.

use http::HeaderMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Longest wait that is taken over: a provider's daily limit. What asks for
/// more is a mistake, and would take a model out of service for good.
pub const RETRY_AFTER_MAX: Duration = Duration::from_secs(24 * 60 * 60);

/// `x-ratelimit-reset` below this many seconds (30 days) is a duration; above,
/// it is a moment in seconds since the Unix epoch.
const EPOCH_FROM_SECONDS: f64 = 30.0 * 24.0 * 60.0 * 60.0;

/// What `retry-after-ms` or else `retry-after` asks for.
pub fn retry_after(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    text("retry-after-ms")
        .or_else(|| text("x-ms-retry-after-ms"))
        .and_then(seconds)
        .map(|ms| ms / 1000)
        .or_else(|| text("retry-after").and_then(|value| after(value, now)))
        .map(|wait| wait.min(RETRY_AFTER_MAX))
}

/// As [`retry_after`], and without that what the limits of a 429 say: the
/// smallest of `x-ratelimit-reset-*`, since the first limit that frees itself
/// is worth a trial.
pub fn rate_limit_reset(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    if let Some(wait) = retry_after(headers, now) {
        return Some(wait);
    }
    if let Some(value) = headers.get("x-ratelimit-reset") {
        let wait = value.to_str().ok().and_then(|value| reset(value, now));
        if let Some(wait) = wait {
            return Some(wait.min(RETRY_AFTER_MAX));
        }
    }
    headers
        .iter()
        .filter(|(name, _)| name.as_str().starts_with("x-ratelimit-reset-"))
        .filter_map(|(_, value)| units(value.to_str().ok()?))
        .min()
        .map(|wait| wait.min(RETRY_AFTER_MAX))
}

/// Whole or decimal seconds, not negative.
fn seconds(text: &str) -> Option<Duration> {
    let text = text.trim();
    // `parse` also takes `inf`, `1e9` and `+1`, which no header means.
    if text.is_empty() || !text.bytes().all(|b| b.is_ascii_digit() || b == b'.') {
        return None;
    }
    Duration::try_from_secs_f64(text.parse().ok()?).ok()
}

/// `retry-after`: seconds or an HTTP date. A date in the past asks for nothing.
fn after(text: &str, now: SystemTime) -> Option<Duration> {
    seconds(text).or_else(|| {
        let at = httpdate::parse_http_date(text.trim()).ok()?;
        at.duration_since(now).ok()
    })
}

/// `x-ratelimit-reset`: seconds, or seconds since the epoch.
fn reset(text: &str, now: SystemTime) -> Option<Duration> {
    let value = seconds(text)?;
    if value.as_secs_f64() < EPOCH_FROM_SECONDS {
        return Some(value);
    }
    let now = now.duration_since(UNIX_EPOCH).ok()?;
    value.checked_sub(now)
}

/// `x-ratelimit-reset-*`: seconds, or a duration like `2m30s` or `120ms`.
fn units(text: &str) -> Option<Duration> {
    let text = text.trim();
    if let Some(plain) = seconds(text) {
        return Some(plain);
    }
    let mut total = Duration::ZERO;
    let mut rest = text;
    while !rest.is_empty() {
        let unit_at = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (number, tail) = rest.split_at(unit_at);
        let unit_end = tail
            .find(|c: char| c.is_ascii_digit())
            .unwrap_or(tail.len());
        let (unit, next) = tail.split_at(unit_end);
        let factor = match unit {
            "ms" => 0.001,
            "s" => 1.0,
            "m" => 60.0,
            "h" => 3600.0,
            "d" => 86_400.0,
            _ => return None,
        };
        let number = seconds(number)?.as_secs_f64();
        total = total.checked_add(Duration::try_from_secs_f64(number * factor).ok()?)?;
        rest = next;
    }
    (!text.is_empty()).then_some(total)
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::{HeaderName, HeaderValue};

    /// An arbitrary moment.
    const NOW_S: u64 = 1_790_000_000;

    fn now() -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(NOW_S)
    }

    fn wait_s(headers: &[(&'static str, &str)]) -> Option<f64> {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(
                HeaderName::from_static(name),
                HeaderValue::from_str(value).unwrap(),
            );
        }
        rate_limit_reset(&map, now()).map(|wait| wait.as_secs_f64())
    }

    fn check(header: &'static str, cases: &[(&str, Option<f64>)]) {
        for (value, expected) in cases {
            let found = wait_s(&[(header, value)]);
            let same = match (found, *expected) {
                (Some(found), Some(expected)) => (found - expected).abs() < 1e-6,
                (None, None) => true,
                _ => false,
            };
            assert!(same, "{header}: {value}: {found:?}, not {expected:?}");
        }
    }

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        let date = httpdate::fmt_http_date(now() + Duration::from_secs(300));
        let past = httpdate::fmt_http_date(now() - Duration::from_secs(300));
        check(
            "retry-after",
            &[
                ("120", Some(120.0)),
                ("0", Some(0.0)),
                ("1.5", Some(1.5)),
                (&date, Some(300.0)),
                (&past, None),
                ("120s", None),
                ("invalid", None),
                ("-1", None),
                ("inf", None),
                ("", None),
                ("99999999999999999999999999999999", None),
                ("864000", Some(86_400.0)),
            ],
        );
        check("retry-after-ms", &[("1500", Some(1.5)), ("x", None)]);
        check("x-ms-retry-after-ms", &[("20", Some(0.02))]);
    }

    #[test]
    fn milliseconds_are_the_more_precise_word() {
        assert_eq!(
            wait_s(&[("retry-after", "2"), ("retry-after-ms", "1500")]),
            Some(1.5)
        );
        assert_eq!(
            wait_s(&[("retry-after", "2"), ("retry-after-ms", "soon")]),
            Some(2.0)
        );
        assert_eq!(
            wait_s(&[("x-ratelimit-reset-requests", "1s"), ("retry-after", "9")]),
            Some(9.0)
        );
    }

    #[test]
    fn a_reset_is_a_duration_or_a_moment() {
        let future = (NOW_S + 60).to_string();
        let past = (NOW_S - 60).to_string();
        check(
            "x-ratelimit-reset",
            &[
                ("1234", Some(1234.0)),
                (&future, Some(60.0)),
                (&past, None),
                ("soon", None),
                ("2591999", Some(86_400.0)),
            ],
        );
    }

    #[test]
    fn resets_per_limit_have_units() {
        for header in [
            "x-ratelimit-reset-requests",
            "x-ratelimit-reset-tokens",
            "x-ratelimit-reset-requests-day",
            "x-ratelimit-reset-tokens-minute",
        ] {
            check(
                header,
                &[
                    ("5m", Some(300.0)),
                    ("2m30s", Some(150.0)),
                    ("24h", Some(86_400.0)),
                    ("120", Some(120.0)),
                    ("6m0.5s", Some(360.5)),
                    ("120ms", Some(0.12)),
                    ("1m2x", None),
                    ("1m2", None),
                    ("abc", None),
                    ("-1m", None),
                    ("m", None),
                    ("1.2.3s", None),
                    ("", None),
                ],
            );
        }
    }

    #[test]
    fn of_several_limits_the_first_to_free_itself_counts() {
        assert_eq!(
            wait_s(&[
                ("x-ratelimit-reset-tokens-minute", "33011.38"),
                ("x-ratelimit-reset-requests-day", "11.1"),
                ("x-ratelimit-reset-tokens", "nonsense"),
            ]),
            Some(11.1)
        );
    }
}
