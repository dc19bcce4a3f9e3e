//! From the configuration's targets to the upstream client's.
//!
//! The one place where a secret leaves the configuration: it becomes a header
//! of the calls to its provider. Simulated providers keep their state (script,
//! request count) over a reload that does not change them.

use crate::config::{self, Config, HttpProvider, Name, Provider, ProviderKind, Secret};
use crate::telemetry::Telemetry;
use crate::upstream::{
    Behaviour, Change, EndpointOptions, Keys, ReadingOptions, Simulated, SimulatedOptions, Target,
    TargetError, TargetOptions, Upstream,
};
use http::HeaderName;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// The simulated providers of a plant, shared by their targets.
#[derive(Debug, Default)]
pub(crate) struct Targets {
    simulated: BTreeMap<Name, (Arc<Provider>, Arc<Simulated>)>,
    /// Of providers that have several.
    keys: BTreeMap<Name, (Arc<Provider>, Arc<Keys>)>,
}

impl Targets {
    /// The simulated providers of `config`; those that `before` has with the
    /// same configuration are taken over as they are.
    pub(crate) fn for_config(
        config: &Config,
        before: Option<&Targets>,
        telemetry: &Telemetry,
    ) -> Self {
        let mut simulated = BTreeMap::new();
        let mut keys = BTreeMap::new();
        for (name, provider) in &config.providers {
            let spec = match &provider.kind {
                ProviderKind::Simulated(spec) => spec,
                ProviderKind::Openai(http) | ProviderKind::Json(http) => {
                    let known = before
                        .and_then(|before| before.keys.get(name))
                        .filter(|(known, _)| known == provider);
                    let several = match known {
                        Some((_, keys)) => Some(keys.clone()),
                        None => several_keys(name, http, telemetry),
                    };
                    if let Some(several) = several {
                        keys.insert(name.clone(), (provider.clone(), several));
                    }
                    continue;
                }
            };
            let known = before
                .and_then(|before| before.simulated.get(name))
                .filter(|(known, _)| known == provider);
            let running = match known {
                Some((_, running)) => running.clone(),
                None => Arc::new(Simulated::new(simulated_options(spec))),
            };
            simulated.insert(name.clone(), (provider.clone(), running));
        }
        Targets { simulated, keys }
    }

    /// The simulated provider of this name.
    pub(crate) fn simulated(&self, provider: &str) -> Option<&Arc<Simulated>> {
        self.simulated.get(provider).map(|(_, running)| running)
    }

    /// The target that `spec` describes.
    ///
    /// # Errors
    ///
    /// When it cannot be called.
    pub(crate) fn target(
        &self,
        spec: &config::Target,
        upstream: &Upstream,
    ) -> Result<Arc<Target>, TargetError> {
        let endpoint = match &spec.provider.kind {
            ProviderKind::Openai(http) => EndpointOptions::OpenAi {
                base_url: http.base_url.to_string(),
                api_key: None,
                headers: headers(&http.headers),
                upstream_model: Some(spec.upstream_model.to_string()),
                request_logprobs: false,
            },
            ProviderKind::Json(http) => EndpointOptions::Json {
                base_url: http.base_url.to_string(),
                path: spec.path.to_string(),
                api_key: None,
                headers: headers(&http.headers),
            },
            ProviderKind::Simulated(options) => EndpointOptions::Simulated {
                simulated: match self.simulated(&spec.provider.name) {
                    Some(running) => running.clone(),
                    None => Arc::new(Simulated::new(simulated_options(options))),
                },
                upstream_model: Some(spec.upstream_model.to_string()),
            },
        };
        let text = |pointer: &Option<Arc<str>>| pointer.as_deref().map(str::to_owned);
        let options = TargetOptions {
            model: spec.model.to_string(),
            release: spec.release.to_string(),
            endpoint,
            keys: self
                .keys
                .get(&spec.provider.name)
                .map(|(_, keys)| keys.clone()),
            reading: ReadingOptions {
                answer_pointer: text(&spec.pointers.answer),
                confidence_pointer: text(&spec.pointers.confidence),
                label_pointer: text(&spec.pointers.label),
                scores_pointer: text(&spec.pointers.scores),
            },
            answer_bytes_max: None,
        };
        upstream.target(options)
    }
}

/// The keys of a provider that has `api_keys`. The configuration holds only
/// keys that can be sent.
fn several_keys(name: &str, http: &HttpProvider, telemetry: &Telemetry) -> Option<Arc<Keys>> {
    if http.keys.is_empty() {
        return None;
    }
    let key = |(position, secret): (usize, &'_ Secret)| {
        let metrics = telemetry.provider_key(name, position);
        (secret.expose().to_owned(), metrics)
    };
    let keys: Vec<_> = http.keys.iter().enumerate().map(key).collect();
    let keys = keys
        .iter()
        .map(|(secret, metrics)| (&**secret, metrics.clone()));
    Keys::new(name, http.key_header.clone(), keys)
        .ok()
        .map(Arc::new)
}

fn headers(secret: &[(HeaderName, Secret)]) -> Vec<(String, String)> {
    secret
        .iter()
        .map(|(name, value)| (name.to_string(), value.expose().to_owned()))
        .collect()
}

fn simulated_options(spec: &config::Simulated) -> SimulatedOptions {
    SimulatedOptions {
        seed: spec.seed,
        labels: spec
            .behaviour
            .labels
            .iter()
            .map(ToString::to_string)
            .collect(),
        truth: spec.truth.as_deref().map(str::to_owned),
        text: None,
        behaviour: behaviour(&spec.behaviour),
        script: spec
            .script
            .iter()
            .map(|entry| change(entry.at, behaviour(&entry.behaviour)))
            .collect(),
    }
}

fn behaviour(spec: &config::Behaviour) -> Behaviour {
    let ms = |duration: Duration| u32::try_from(duration.as_millis()).unwrap_or(u32::MAX);
    Behaviour {
        latency_ms: ms(spec.latency),
        latency_jitter_ms: ms(spec.latency_jitter),
        error_rate: spec.error_rate,
        status: spec.status,
        confidence: spec.confidence,
        confidence_jitter: spec.confidence_jitter,
        overconfidence: spec.overconfidence,
        logprobs: spec.logprobs,
        tokens: spec.tokens,
        token_interval_ms: ms(spec.token_interval),
        ..Behaviour::default()
    }
}

/// Entries of the configuration's script hold the whole behaviour.
fn change(at: Duration, to: Behaviour) -> Change {
    Change {
        at_s: at.as_secs_f64(),
        ..Change::from(to)
    }
}
