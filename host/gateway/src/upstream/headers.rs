//! Which of an upstream's headers a caller may see.
//!
//! An allow list: what is not known to be harmless (cookies, server names,
//! hop-by-hop fields, lengths of bodies that may change) stays here.

use http::HeaderMap;
use http::header::{CONTENT_LANGUAGE, CONTENT_TYPE, RETRY_AFTER};

/// The headers of `upstream` that may be relayed.
pub(super) fn relayable(upstream: &HeaderMap) -> HeaderMap {
    // Room for these and for what the gateway adds, so that it does not grow.
    let mut relayed = HeaderMap::with_capacity(12);
    for (name, value) in upstream {
        let passes = name == CONTENT_TYPE
            || name == RETRY_AFTER
            || name == CONTENT_LANGUAGE
            || match name.as_str() {
                "x-request-id" | "retry-after-ms" | "openai-processing-ms" | "openai-version" => {
                    true
                }
                other => other.starts_with("x-ratelimit-"),
            };
        if passes {
            relayed.append(name, value.clone());
        }
    }
    relayed
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_harmless_headers_pass() {
        let mut upstream = HeaderMap::new();
        for name in [
            "content-type",
            "content-length",
            "connection",
            "transfer-encoding",
            "set-cookie",
            "server",
            "date",
            "x-request-id",
            "openai-processing-ms",
            "x-ratelimit-remaining-tokens",
            "x-internal",
            "openai-organization",
        ] {
            upstream.insert(name, "1".parse().unwrap());
        }
        let mut names: Vec<_> = relayable(&upstream)
            .keys()
            .map(ToString::to_string)
            .collect();
        names.sort();
        assert_eq!(
            names,
            [
                "content-type",
                "openai-processing-ms",
                "x-ratelimit-remaining-tokens",
                "x-request-id"
            ]
        );
    }
}
