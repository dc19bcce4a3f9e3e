//! Where a request stands in a trace: W3C Trace Context.
//!
//! A caller's `traceparent` goes on to the models. Where spans are exported,
//! the gateway takes part: the request's span is below the caller's, each
//! attempt's below the request's, and models are told of the latter.

use crate::upstream::TraceHeaders;
use http::{HeaderMap, HeaderValue};
use serde::{Serialize, Serializer};

/// The header that names the span of whoever calls.
pub(crate) const TRACEPARENT: &str = "traceparent";
/// The header in which tracing systems keep what is theirs.
pub(crate) const TRACESTATE: &str = "tracestate";
/// Longest `tracestate` that goes on; the specification asks for at least that.
const TRACESTATE_BYTES_MAX: usize = 512;

/// What the caller says about its trace, as it is sent on.
pub(crate) fn of_caller(headers: &HeaderMap) -> Option<TraceHeaders> {
    let traceparent = headers.get(TRACEPARENT)?;
    TraceContext::parse(traceparent.to_str().ok()?)?;
    let tracestate = headers.get(TRACESTATE);
    Some(TraceHeaders {
        traceparent: traceparent.clone(),
        tracestate: tracestate
            .filter(|state| state.len() <= TRACESTATE_BYTES_MAX)
            .cloned(),
    })
}

/// A place in a trace. Shown as the id of the trace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TraceContext {
    /// Identifies the trace; never 0.
    pub trace: u128,
    /// Identifies the request's span; never 0.
    pub span: u64,
    /// The caller's span, which it is below.
    pub parent: Option<u64>,
    /// Whether spans are exported.
    pub sampled: bool,
}

impl Serialize for TraceContext {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&format_args!("{:032x}", self.trace))
    }
}

/// A new id of a span.
pub(crate) fn span_id() -> u64 {
    fastrand::u64(1..)
}

impl TraceContext {
    /// The place of a request: in the caller's trace, as sampled as that is,
    /// or in a new one, of which `ratio` are sampled.
    pub(crate) fn begin(caller: Option<&TraceHeaders>, ratio: f64) -> Self {
        let known =
            caller.and_then(|caller| TraceContext::parse(caller.traceparent.to_str().ok()?));
        let span = span_id();
        match known {
            Some(known) => TraceContext {
                span,
                parent: Some(known.span),
                ..known
            },
            None => TraceContext {
                trace: fastrand::u128(1..),
                span,
                parent: None,
                sampled: fastrand::f64() < ratio,
            },
        }
    }

    /// The headers for a call whose span is `span`; the caller's `tracestate`
    /// goes on.
    pub(crate) fn headers(&self, span: u64, caller: Option<&TraceHeaders>) -> Option<TraceHeaders> {
        let flags = u8::from(self.sampled);
        let text = format!("00-{:032x}-{span:016x}-{flags:02x}", self.trace);
        Some(TraceHeaders {
            traceparent: HeaderValue::try_from(text).ok()?,
            tracestate: caller.and_then(|caller| caller.tracestate.clone()),
        })
    }

    /// Reads a `traceparent`; none when it is not valid, which is to be
    /// treated as if there were none. Later versions may add fields.
    fn parse(text: &str) -> Option<Self> {
        let mut fields = text.split('-');
        let mut hex = |digits: usize| {
            let field = fields.next()?;
            let is_hex = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
            let fits = field.len() == digits && field.bytes().all(is_hex);
            fits.then(|| u128::from_str_radix(field, 16).ok())?
        };
        let (version, trace, span, flags) = (hex(2)?, hex(32)?, hex(16)?, hex(2)?);
        let is_known = version != 0xff && (version != 0 || fields.next().is_none());
        let span = u64::try_from(span).ok()?;
        (is_known && trace != 0 && span != 0).then_some(TraceContext {
            trace,
            span,
            parent: None,
            sampled: flags & 1 == 1,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn caller(traceparent: &'static str) -> Option<TraceHeaders> {
        let mut headers = HeaderMap::new();
        headers.insert(TRACEPARENT, HeaderValue::from_static(traceparent));
        headers.insert(TRACESTATE, HeaderValue::from_static("v=1"));
        of_caller(&headers)
    }

    #[test]
    fn a_request_joins_the_trace_of_its_caller() {
        let caller = caller("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01").unwrap();
        let here = TraceContext::begin(Some(&caller), 0.0);
        assert_eq!(here.parent, Some(0xb7ad_6b71_6920_3331));
        assert!(here.sampled, "as the caller's");
        let on = here.headers(7, Some(&caller)).unwrap();
        assert_eq!(
            on.traceparent,
            "00-0af7651916cd43dd8448eb211c80319c-0000000000000007-01"
        );
        assert_eq!(on.tracestate.unwrap(), "v=1");
        let alone = TraceContext::begin(None, 0.0);
        assert_eq!((alone.parent, alone.sampled), (None, false));
        assert!(TraceContext::begin(None, 1.0).sampled);
    }

    #[test]
    fn what_is_no_traceparent_is_none() {
        for (text, is_one) in [
            (
                "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00",
                true,
            ),
            (
                "01-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00-x",
                true,
            ),
            (
                "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00-x",
                false,
            ),
            (
                "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00",
                false,
            ),
            (
                "00-00000000000000000000000000000000-b7ad6b7169203331-00",
                false,
            ),
            (
                "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-00",
                false,
            ),
            (
                "00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-00",
                false,
            ),
            ("00-0af7-b7ad6b7169203331-00", false),
            ("", false),
        ] {
            assert_eq!(caller(text).is_some(), is_one, "{text}");
        }
    }
}
