//! Whose fault a failure is: the one table of fault attribution.
//!
//! Rows are tried from top to bottom; the first that fits decides. "Code"
//! means `code`, `type` or `status` of the error body, "text" its message.
//!
//! | status | and | class | why |
//! |---|---|---|---|
//! | any 4xx, in-band | code or text of a full context | `context-length` | another model may have more room; this one is not ill |
//! | any 4xx, in-band | code of declined content | `content-policy` | the model works; routing round a refusal is the operator's choice |
//! | any 4xx, in-band | code of refused credentials or used-up money (`insufficient_quota`, also under 429) | `auth` | waiting does not help, the caller did nothing wrong |
//! | 401, 402, 403 | | `auth` | the credentials are the gateway's, never the caller's |
//! | 404, 405, 410 to a chat target; any 4xx | code `model_not_found` | `server-error` | address and upstream model are the operator's: the deployment is not there, and no caller can mend that |
//! | 408 | | `timeout-total` | the upstream, or a gateway before it, gave up on time |
//! | 429 | | `rate-limit` | with `Retry-After` and its kin |
//! | other 4xx | | `client-fault` | relayed verbatim; counts against nobody. For JSON models also 404: "no such customer" is an answer |
//! | 503, 529; any 5xx, in-band | code `overloaded_error` | `overload` | with `Retry-After` |
//! | other 5xx | | `server-error` | 5xx bodies are not searched for a full context: a broken server quotes requests |
//! | 1xx, 3xx | | `malformed` | redirects are not followed: the answer would come from where nobody configured |
//! | 2xx | error object, no event yet | as in-band | some providers put errors under 200 |
//! | 2xx | HTML, broken JSON, wrong shape, too long, no event stream | `malformed` | |
//! | in-band | code of throttling, `429` | `rate-limit` | |
//! | in-band | anything else | `server-error` | |
//! | no head | refused, reset, closed, TLS | `connection` | nothing of an answer was seen |
//! | no head | no connection in time | `timeout-connect` | also when the system's own timer was first |
//! | no head, no first event | in time | `timeout-first-token` | |
//! | body | still for too long | `timeout-idle` | |
//! | any | longer than the whole may take | `timeout-total` | |
//! | body | reset, shorter than announced, stream ends without finish reason and `[DONE]` | `cut-stream` | what was cut is never presented as complete |

use super::client::ExchangeError;
use super::headers::relayable;
use super::retry_after::{rate_limit_reset, retry_after};
use super::types::{Failure, Relay};
use crate::chain::chain;
use crate::openai::Api;
use crate::openai::error::UpstreamError;
use backstop_core::fault::FailureClass;
use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use std::error::Error;
use std::io;
use std::time::SystemTime;

/// What kind of target answered; the meaning of 404 hangs on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    OpenAi(Api),
    Json,
}

/// Codes and types of a request that does not fit the context.
const CONTEXT_CODES: &[&str] = &[
    "context_length_exceeded",
    "context_window_exceeded",
    "exceed_context_size_error",
    "model_context_window_exceeded",
    "prompt_too_long",
    "input_too_long",
];
/// Phrases of the same, in lower case: OpenAI, vLLM, Anthropic, Google,
/// llama.cpp, Mistral, Bedrock, Cohere.
const CONTEXT_TEXTS: &[&str] = &[
    "maximum context length",
    "max context length",
    "context length exceeded",
    "exceeds the context length",
    "exceeds the context window",
    "exceed context limit",
    "exceeds the available context size",
    "exceeds the maximum number of tokens",
    "exceeds the model's maximum",
    "context window of this model",
    "prompt is too long",
    "prompt contains too many tokens",
    "input is too long for requested model",
    "too many tokens: ",
    "too large for model with",
];
/// Codes and types of content that the provider declines.
const CONTENT_CODES: &[&str] = &[
    "content_policy_violation",
    "content_filter",
    "content_filtered",
    "responsibleaipolicyviolation",
    "moderation_blocked",
    "prompt_blocked",
    "safety_violation",
];
/// Codes and types of refused credentials or used-up money.
const AUTH_CODES: &[&str] = &[
    "invalid_api_key",
    "api_key_invalid",
    "authentication_error",
    "permission_error",
    "permission_denied",
    "insufficient_quota",
    "billing_hard_limit_reached",
    "billing_not_active",
    "billing_error",
    "account_deactivated",
    "insufficient_balance",
];
/// Codes and types of a model that is not deployed.
const MISSING_CODES: &[&str] = &[
    "model_not_found",
    "deploymentnotfound",
    "model_not_available",
];
/// Codes and types of throttling, for errors without a status.
const RATE_CODES: &[&str] = &[
    "429",
    "rate_limit_exceeded",
    "rate_limit_error",
    "too_many_requests",
    "resource_exhausted",
    "throttlingexception",
];
/// Codes and types of an overload.
const OVERLOAD_CODES: &[&str] = &[
    "503",
    "529",
    "overloaded_error",
    "overloaded",
    "engine_overloaded",
    "unavailable",
    "service_unavailable",
    "serviceunavailableexception",
];

/// The class of an error with a status and what its body said.
pub(super) fn class_of(status: StatusCode, error: &UpstreamError, kind: Kind) -> FailureClass {
    use FailureClass as F;
    let code = status.as_u16();
    match code {
        400..=499 => {
            if let Some(class) = class_of_words(error) {
                return class;
            }
            match code {
                401..=403 => F::Auth,
                404 | 405 | 410 if matches!(kind, Kind::OpenAi(_)) => F::ServerError,
                _ if has_code(error, MISSING_CODES) => F::ServerError,
                408 => F::TimeoutTotal,
                429 => F::RateLimit,
                _ => F::ClientFault,
            }
        }
        503 | 529 => F::Overload,
        500..=599 if has_code(error, OVERLOAD_CODES) => F::Overload,
        500..=599 => F::ServerError,
        _ => F::Malformed,
    }
}

/// The class of an error that came under a good status or inside a stream.
pub(super) fn class_in_band(error: &UpstreamError) -> FailureClass {
    class_of_words(error).unwrap_or_else(|| {
        if has_code(error, RATE_CODES) {
            FailureClass::RateLimit
        } else if has_code(error, OVERLOAD_CODES) {
            FailureClass::Overload
        } else {
            FailureClass::ServerError
        }
    })
}

fn class_of_words(error: &UpstreamError) -> Option<FailureClass> {
    if has_code(error, CONTEXT_CODES) {
        return Some(FailureClass::ContextLength);
    }
    if has_code(error, CONTENT_CODES) {
        return Some(FailureClass::ContentPolicy);
    }
    if has_code(error, AUTH_CODES) {
        return Some(FailureClass::Auth);
    }
    let text = error.message.to_ascii_lowercase();
    if CONTEXT_TEXTS.iter().any(|phrase| text.contains(phrase)) {
        return Some(FailureClass::ContextLength);
    }
    // Google answers 400 INVALID_ARGUMENT and says it in words only.
    text.contains("api key not valid")
        .then_some(FailureClass::Auth)
}

fn has_code(error: &UpstreamError, codes: &[&str]) -> bool {
    // Azure's two codes stand in one text.
    error
        .code
        .split(' ')
        .chain([&*error.kind])
        .any(|found| codes.iter().any(|code| code.eq_ignore_ascii_case(found)))
}

/// The failure of a response whose status is not 2xx. `body` is none when it
/// could not be read or was too long to keep; the status then speaks alone.
pub(super) fn response_failure(
    status: StatusCode,
    headers: &HeaderMap,
    body: Option<Bytes>,
    kind: Kind,
    now: SystemTime,
) -> Failure {
    let error = body
        .as_deref()
        .map(UpstreamError::from_body)
        .unwrap_or_default();
    let class = class_of(status, &error, kind);
    let mut failure =
        Failure::new(class, format!("answered {}: {error}", status.as_u16())).with_status(status);
    failure.retry_after = match status.as_u16() {
        429 => rate_limit_reset(headers, now),
        408 | 500..=599 => retry_after(headers, now),
        _ => None,
    };
    if let (true, Some(body)) = (class.effect().relayed, body) {
        failure.relay = Some(Box::new(Relay {
            status,
            headers: relayable(headers),
            body,
        }));
    }
    failure
}

/// The failure of an error object under a good status or inside a stream.
pub(super) fn in_band_failure(status: StatusCode, error: &UpstreamError) -> Failure {
    Failure::new(class_in_band(error), format!("answered an error: {error}")).with_status(status)
}

/// The failure of an exchange that broke. `answering` is true once the
/// response head was there.
pub(super) fn exchange_failure(error: &ExchangeError, answering: bool) -> Failure {
    use FailureClass as F;
    let class = match error {
        ExchangeError::ConnectTimeout | ExchangeError::Busy(_) => F::TimeoutConnect,
        ExchangeError::Connect(_) if has_timed_out(error) => F::TimeoutConnect,
        ExchangeError::Connect(_) => F::Connection,
        // A head or a chunk that is not HTTP.
        ExchangeError::Http(http) if http.is_parse() => F::Malformed,
        ExchangeError::Http(_) | ExchangeError::Simulated if answering => F::CutStream,
        ExchangeError::Http(_) | ExchangeError::Simulated => F::Connection,
    };
    let mut failure = Failure::new(class, chain(error));
    // A connection that never stood carried no request.
    failure.may_have_acted &= !matches!(
        error,
        ExchangeError::Connect(_) | ExchangeError::ConnectTimeout | ExchangeError::Busy(_)
    );
    failure
}

fn has_timed_out(error: &(dyn Error + 'static)) -> bool {
    sources(error).any(|source| {
        source
            .downcast_ref::<io::Error>()
            .is_some_and(|io| io.kind() == io::ErrorKind::TimedOut)
    })
}

fn sources<'a>(
    error: &'a (dyn Error + 'static),
) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    let mut next = Some(error);
    std::iter::from_fn(move || {
        let error = next?;
        next = error.source();
        Some(error)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use FailureClass as F;
    use std::time::Duration;

    fn classify(status: u16, kind: Kind, body: &str) -> FailureClass {
        let status = StatusCode::from_u16(status).unwrap();
        let body = Bytes::copy_from_slice(body.as_bytes());
        let now = SystemTime::UNIX_EPOCH;
        response_failure(status, &HeaderMap::new(), Some(body), kind, now).class
    }

    #[test]
    fn a_status_alone_decides_where_the_body_says_nothing() {
        for (status, chat, json) in [
            (301, F::Malformed, F::Malformed),
            (400, F::ClientFault, F::ClientFault),
            (401, F::Auth, F::Auth),
            (402, F::Auth, F::Auth),
            (403, F::Auth, F::Auth),
            (404, F::ServerError, F::ClientFault),
            (405, F::ServerError, F::ClientFault),
            (408, F::TimeoutTotal, F::TimeoutTotal),
            (409, F::ClientFault, F::ClientFault),
            (410, F::ServerError, F::ClientFault),
            (413, F::ClientFault, F::ClientFault),
            (422, F::ClientFault, F::ClientFault),
            (429, F::RateLimit, F::RateLimit),
            (451, F::ClientFault, F::ClientFault),
            (500, F::ServerError, F::ServerError),
            (502, F::ServerError, F::ServerError),
            (503, F::Overload, F::Overload),
            (504, F::ServerError, F::ServerError),
            (529, F::Overload, F::Overload),
        ] {
            for body in ["", "<html>no</html>", "{}", r#"{"error":{"message":"no"}}"#] {
                assert_eq!(
                    classify(status, Kind::OpenAi(Api::Chat), body),
                    chat,
                    "{status} {body}"
                );
                assert_eq!(classify(status, Kind::Json, body), json, "{status} {body}");
            }
        }
    }

    #[test]
    fn a_full_context_is_known_by_code_and_by_words() {
        for body in [
            r#"{"error":{"message":"This model's maximum context length is 8192 tokens.","type":"invalid_request_error","param":"messages","code":"context_length_exceeded"}}"#,
            r#"{"object":"error","message":"This model's maximum context length is 4096 tokens. However, you requested 5000","type":"BadRequestError","code":400}"#,
            r#"{"type":"error","error":{"type":"invalid_request_error","message":"prompt is too long: 210000 tokens > 200000 maximum"}}"#,
            r#"{"error":{"code":400,"message":"The input token count (1200000) exceeds the maximum number of tokens allowed (1048575).","status":"INVALID_ARGUMENT"}}"#,
            r#"{"error":{"code":400,"message":"the request exceeds the available context size","type":"exceed_context_size_error"}}"#,
        ] {
            for status in [400, 413, 422] {
                assert_eq!(
                    classify(status, Kind::OpenAi(Api::Chat), body),
                    F::ContextLength,
                    "{body}"
                );
            }
            assert_eq!(
                classify(500, Kind::OpenAi(Api::Chat), body),
                F::ServerError,
                "{body}"
            );
        }
    }

    #[test]
    fn declined_content_is_no_fault_of_the_model() {
        for body in [
            r#"{"error":{"message":"rejected","type":"image_generation_user_error","code":"content_policy_violation"}}"#,
            r#"{"error":{"message":"filtered","code":"content_filter","innererror":{"code":"ResponsibleAIPolicyViolation"}}}"#,
            r#"{"error":{"message":"x","code":"other","innererror":{"code":"ResponsibleAIPolicyViolation"}}}"#,
        ] {
            for status in [400, 403, 422] {
                assert_eq!(
                    classify(status, Kind::OpenAi(Api::Chat), body),
                    F::ContentPolicy,
                    "{body}"
                );
            }
        }
    }

    #[test]
    fn used_up_money_is_no_rate_limit() {
        let quota = r#"{"error":{"message":"You exceeded your current quota","type":"insufficient_quota","param":null,"code":"insufficient_quota"}}"#;
        assert_eq!(classify(429, Kind::OpenAi(Api::Chat), quota), F::Auth);
        let google = r#"{"error":{"code":400,"message":"API key not valid. Please pass a valid API key.","status":"INVALID_ARGUMENT"}}"#;
        assert_eq!(classify(400, Kind::OpenAi(Api::Chat), google), F::Auth);
    }

    #[test]
    fn a_model_that_is_not_deployed_is_not_the_callers_fault() {
        let body =
            r#"{"error":{"message":"The model `x` does not exist","code":"model_not_found"}}"#;
        assert_eq!(classify(404, Kind::OpenAi(Api::Chat), body), F::ServerError);
        assert_eq!(classify(400, Kind::Json, body), F::ServerError);
    }

    #[test]
    fn errors_without_a_status_are_classed_by_their_words() {
        for (body, class) in [
            (
                r#"{"message":"Overloaded","type":"overloaded_error"}"#,
                F::Overload,
            ),
            (r#"{"message":"x","code":429}"#, F::RateLimit),
            (
                r#"{"message":"x","code":"rate_limit_exceeded"}"#,
                F::RateLimit,
            ),
            (
                r#"{"message":"x","code":"context_length_exceeded"}"#,
                F::ContextLength,
            ),
            (
                r#"{"message":"x","code":"content_filter"}"#,
                F::ContentPolicy,
            ),
            (r#"{"message":"x","type":"authentication_error"}"#, F::Auth),
            (r#"{"message":"boom"}"#, F::ServerError),
            (r#""boom""#, F::ServerError),
        ] {
            let error = UpstreamError::from_value(body);
            assert_eq!(class_in_band(&error), class, "{body}");
        }
    }

    #[test]
    fn faults_of_the_client_are_relayed_verbatim_and_others_are_not() {
        let mut headers = HeaderMap::new();
        headers.insert("content-type", "application/problem+json".parse().unwrap());
        headers.insert("set-cookie", "a=b".parse().unwrap());
        headers.insert("retry-after", "7".parse().unwrap());
        let body = Bytes::from_static(b"{ \"odd\":  1 }");
        let fail = |status: u16| {
            let status = StatusCode::from_u16(status).unwrap();
            let now = SystemTime::UNIX_EPOCH;
            response_failure(status, &headers, Some(body.clone()), Kind::Json, now)
        };
        let relay = fail(422).relay.unwrap();
        assert_eq!(relay.status, 422);
        assert_eq!(relay.body, body);
        assert_eq!(relay.headers["content-type"], "application/problem+json");
        assert!(!relay.headers.contains_key("set-cookie"));
        for status in [401, 429, 500, 503] {
            assert!(fail(status).relay.is_none(), "{status}");
        }
        for (status, expected) in [(422, false), (429, false), (503, false), (500, true)] {
            assert_eq!(fail(status).may_have_acted, expected, "{status}");
        }
        for status in [429, 503, 529] {
            assert_eq!(fail(status).retry_after, Some(Duration::from_secs(7)));
        }
        assert_eq!(fail(422).retry_after, None);
    }
}
