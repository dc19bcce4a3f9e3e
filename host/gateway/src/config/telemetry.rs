//! `[telemetry]`: what leaves the gateway about requests.

use super::attributes::{self, ATTRIBUTES, AttributeNames};
use super::provider;
use super::schema::{Default, HEADERS_MAX, Key, Kind, NAME_BYTES_MAX, Schema};
use super::secret::Secret;
use super::section::{Resolver, Section};
use http::Uri;
use http::header::HeaderName;
use std::sync::Arc;

/// Where the specification of OTLP puts traces, below a collector's address.
const TRACES_PATH: &str = "/v1/traces";
/// The variables by which collectors are usually set.
const ENV_TRACES_ENDPOINT: &str = "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT";
const ENV_ENDPOINT: &str = "OTEL_EXPORTER_OTLP_ENDPOINT";

/// What leaves the gateway about requests.
#[derive(Debug, Clone, PartialEq)]
pub struct Telemetry {
    /// Where spans go; none exports none.
    pub otlp: Option<Otlp>,
    /// Whether metrics have OpenTelemetry's names for generative AI, besides
    /// our own.
    pub genai_metrics: bool,
    /// What attributes of spans, and labels of those metrics, are called.
    pub attributes: AttributeNames,
}

/// Where spans go.
#[derive(Debug, Clone, PartialEq)]
pub struct Otlp {
    /// The whole address that spans are sent to.
    pub endpoint: Uri,
    /// Sent with them.
    pub headers: Vec<(HeaderName, Secret)>,
    /// The share of traces that begin here and are exported, 0 to 1. Callers
    /// with a trace of their own say themselves whether it is.
    pub sample_ratio: f64,
    /// What the gateway is called in traces.
    pub service_name: Arc<str>,
}

/// `[telemetry]`.
pub(super) static TELEMETRY: Schema = Schema {
    name: "telemetry",
    about: "What leaves the gateway about requests, besides what its admin plane shows.",
    keys: &[
        Key {
            name: "genai_metrics",
            kind: Kind::Choice(&["2025", "off"]),
            default: Default::Text("2025"),
            about: "Metrics of attempts with OpenTelemetry's names for generative AI besides our \
                    own, at `/metrics`: `gen_ai_client_operation_duration_seconds`, \
                    `gen_ai_client_operation_time_to_first_chunk_seconds` and \
                    `gen_ai_client_token_usage`, as the conventions of 2025 have them. Later \
                    ones rename some; a scraper can rename too. A change takes a restart.",
        },
        Key {
            name: "attributes",
            kind: Kind::Table(&ATTRIBUTES),
            default: Default::Words("OpenTelemetry's names, and our own"),
            about: "Other names for attributes of spans and labels of these metrics.",
        },
        Key {
            name: "otlp",
            kind: Kind::Table(&OTLP),
            default: Default::Words("no spans are exported"),
            about: "A collector of OpenTelemetry for spans: one for each request, and below it \
                    one for each attempt.",
        },
    ],
};

/// `[telemetry.otlp]`.
pub(super) static OTLP: Schema = Schema {
    name: "telemetry.otlp",
    about: "Where spans go, as protobuf over HTTP. They hold names, times, classes and token \
            counts, nothing of bodies and keys. A change takes a restart.",
    keys: &[
        Key {
            name: "endpoint",
            kind: Kind::Environment,
            default: Default::Words(
                "`OTEL_EXPORTER_OTLP_TRACES_ENDPOINT`, else `OTEL_EXPORTER_OTLP_ENDPOINT`; \
                 without them no spans are exported",
            ),
            about: "Address of the collector, such as `http://127.0.0.1:4318`; `/v1/traces` is \
                    appended.",
        },
        Key {
            name: "headers",
            kind: Kind::Secrets(HEADERS_MAX),
            default: Default::Words("none"),
            about: "Headers sent with every message, besides those in \
                    `OTEL_EXPORTER_OTLP_HEADERS`.",
        },
        Key {
            name: "sample_ratio",
            kind: Kind::Number(0.0, 1.0),
            default: Default::Number(1.0),
            about: "Share of the traces that begin here and are exported. A caller's \
                    `traceparent` says itself whether its trace is.",
        },
        Key {
            name: "service_name",
            kind: Kind::Text(NAME_BYTES_MAX),
            default: Default::Text("backstop"),
            about: "What the gateway is called in traces.",
        },
    ],
};

/// Resolves `[telemetry]`.
pub(super) fn resolve(cx: &mut Resolver<'_>, section: &Section<'_>) -> Telemetry {
    let genai_metrics = section.text("genai_metrics").text == "2025";
    let attributes = attributes::resolve(cx, &section.section("attributes"));
    let section = section.section("otlp");
    let base = if section.node("endpoint").is_some() {
        provider::resolve_base_url(cx, &section, "endpoint")
    } else {
        None
    };
    let endpoint = match base {
        Some(base) => below(&base),
        None => from_environment(cx),
    };
    let headers = provider::resolve_headers(cx, &section);
    let sample_ratio = section.number("sample_ratio");
    let service_name = section.text("service_name").text.into();
    Telemetry {
        genai_metrics,
        attributes,
        otlp: endpoint.map(|endpoint| Otlp {
            endpoint,
            headers,
            sample_ratio,
            service_name,
        }),
    }
}

fn below(base: &Uri) -> Option<Uri> {
    let base = base.to_string();
    let base = base.strip_suffix('/').unwrap_or(&base);
    format!("{base}{TRACES_PATH}").parse().ok()
}

/// What the environment says; an address that is none exports no spans, as
/// OpenTelemetry asks of settings that cannot be read.
fn from_environment(cx: &Resolver<'_>) -> Option<Uri> {
    let http = |uri: &Uri| matches!(uri.scheme_str(), Some("http" | "https"));
    let set = |name| (cx.env)(name).filter(|value| !value.is_empty());
    let uri = match set(ENV_TRACES_ENDPOINT) {
        Some(whole) => whole.parse().ok(),
        None => below(&set(ENV_ENDPOINT)?.parse().ok()?),
    };
    uri.filter(http)
}

#[cfg(test)]
mod tests {
    use crate::config::Config;
    use std::path::Path;

    fn endpoint(text: &str, env: &dyn Fn(&str) -> Option<String>) -> Option<String> {
        let text = format!("include = \"builtin:demo\"\n{text}");
        let config = Config::from_str(&text, "test", Path::new(""), env).unwrap();
        Some(config.telemetry.otlp?.endpoint.to_string())
    }

    #[test]
    fn the_environment_says_where_spans_go_unless_the_file_does() {
        let file = "[telemetry.otlp]\nendpoint = \"http://here:4318/base/\"";
        let below_here = Some("http://here:4318/base/v1/traces".to_owned());
        assert_eq!(endpoint("", &|_| None), None);
        assert_eq!(endpoint(file, &|_| None), below_here);
        let base = |name: &str| {
            (name == "OTEL_EXPORTER_OTLP_ENDPOINT").then(|| "http://there:4318".to_owned())
        };
        let below_there = Some("http://there:4318/v1/traces".to_owned());
        assert_eq!(endpoint("", &base), below_there);
        assert_eq!(endpoint(file, &base), below_here);
        let whole = |name: &str| {
            let whole = name == "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT";
            whole.then(|| "https://there/t".to_owned())
        };
        assert_eq!(endpoint("", &whole), Some("https://there/t".to_owned()));
        assert_eq!(endpoint("", &|_| Some("there".to_owned())), None);
    }
}
