//! Model calls that policies make: through breakers and counters like any
//! other, but never through a policy.

use crate::clock::{Clock, millis};
use crate::config::{Price, ProviderKind};
use crate::execute::CallerKey;
use crate::openai::{Api, OpenAiRequest};
use crate::plant::Plant;
use crate::release::Release;
use crate::upstream::{Call, Complete, Path, Reply, Timeouts, Upstream};
use arc_swap::ArcSwapOption;
use backstop::{BoxFuture, ModelAnswer, ModelCall, ModelCaller, ModelError};
use backstop_core::input::AnswerFacts;
use bytes::Bytes;
use serde::Deserialize;
use std::sync::Arc;

/// Calls the models of whatever plant is in place.
pub struct Caller {
    plant: Arc<ArcSwapOption<Plant>>,
    upstream: Arc<Upstream>,
    clock: Clock,
}

impl Caller {
    pub(crate) fn new(
        plant: Arc<ArcSwapOption<Plant>>,
        upstream: Arc<Upstream>,
        clock: Clock,
    ) -> Self {
        Caller {
            plant,
            upstream,
            clock,
        }
    }

    async fn make(&self, call: ModelCall) -> Result<ModelAnswer, ModelError> {
        let unavailable = |why: String| ModelError::Unavailable(why);
        let plant = self
            .plant
            .load_full()
            .ok_or_else(|| unavailable("the gateway is starting".to_owned()))?;
        let model = plant
            .model(&call.model)
            .ok_or_else(|| unavailable(format!("there is no model `{}`", call.model)))?;
        let mut lease = model
            .lease_now(&CallerKey::Nobody, self.clock)
            .map_err(|reason| unavailable(reason.to_string()))?;
        let release = lease.release().clone();
        let (path, body) = read(&release, call.body)?;
        let request_bytes = body.len();
        let timeout = call
            .timeout
            .min(model.spec().timeout.unwrap_or(call.timeout));
        let reply = self
            .upstream
            .call(Call {
                target: release.target().clone(),
                path,
                body,
                stream: false,
                timeouts: Timeouts {
                    connect: release.connect_timeout().min(timeout),
                    first_token: timeout,
                    idle: timeout,
                    total: timeout,
                },
                keep_text_bytes: 0,
                trace: None,
            })
            .await;
        match reply {
            Ok(Reply::Complete(complete)) => {
                lease.succeeded(None);
                Ok(answer(&release, request_bytes, complete))
            }
            // Not asked for; dropped, which cancels it.
            Ok(Reply::Stream(_)) => Err(unavailable("the model answered with a stream".to_owned())),
            Err(failure) => {
                lease.failed(None, &failure);
                Err(ModelError::Failed(failure.class))
            }
        }
    }
}

impl ModelCaller for Caller {
    /// The price of the dearest release that may serve the call.
    fn cost_micros_max(&self, model: &str, body: &str) -> u64 {
        let plant = self.plant.load();
        let Some(model) = plant.as_ref().and_then(|plant| plant.model(model)) else {
            return 0;
        };
        let bound = serde_json::from_str::<Bound>(body).unwrap_or_default();
        let traffic = model.traffic();
        let candidate = traffic.canary.as_ref().map(|canary| &canary.candidate);
        [Some(&traffic.stable), candidate]
            .into_iter()
            .flatten()
            .map(|release| bound.cost_micros_max(&release.spec().price, body.len()))
            .max()
            .unwrap_or_default()
    }

    fn call(&self, call: ModelCall) -> BoxFuture<'_, Result<ModelAnswer, ModelError>> {
        Box::pin(self.make(call))
    }
}

/// How long an answer a chat request asks for, and how many of them.
#[derive(Default, Deserialize)]
struct Bound {
    max_tokens: Option<u64>,
    max_completion_tokens: Option<u64>,
    n: Option<u64>,
}

impl Bound {
    fn cost_micros_max(&self, price: &Price, request_bytes: usize) -> u64 {
        let tokens = self.max_completion_tokens.or(self.max_tokens);
        price.cost_micros_max(request_bytes, tokens, self.n)
    }
}

/// How the body of a policy's call is sent to `release`. A chat request may
/// leave out `model`, which is the host's to say.
fn read(release: &Release, body: String) -> Result<(Path, Bytes), ModelError> {
    let chat =
        |body: &str| OpenAiRequest::parse(Api::Chat, body.as_bytes()).map(|chat| chat.layout);
    let invalid = |error: String| ModelError::Invalid(error);
    match release.provider() {
        ProviderKind::Json(_) => Ok((Path::Json, body.into())),
        ProviderKind::Simulated(_) => Ok(match chat(&body) {
            Ok(layout) => (Path::OpenAi(Api::Chat, layout), body.into()),
            Err(_) => (Path::Json, body.into()),
        }),
        ProviderKind::Openai(_) => {
            let mut document: serde_json::Value =
                serde_json::from_str(&body).map_err(|error| invalid(error.to_string()))?;
            let fields = document
                .as_object_mut()
                .ok_or_else(|| invalid("a chat request is a JSON object".to_owned()))?;
            // An answer that comes in pieces would be of no use to a policy.
            fields.remove("stream");
            fields.remove("stream_options");
            fields
                .entry("model")
                .or_insert_with(|| release.model().to_string().into());
            let body = document.to_string();
            let layout = chat(&body).map_err(|error| invalid(error.to_string()))?;
            Ok((Path::OpenAi(Api::Chat, layout), body.into()))
        }
    }
}

fn answer(release: &Release, request_bytes: usize, complete: Complete) -> ModelAnswer {
    let facts = complete.facts;
    let price = release.spec().price;
    let cost_micros = price.cost_micros(facts.usage, request_bytes, complete.body.len());
    ModelAnswer {
        facts: AnswerFacts {
            model: release.model().clone(),
            release: release.name().clone(),
            step: 0,
            steps_left: 0,
            confidence: facts.confidence,
            label: facts.label,
            scores: facts.scores,
            token_logprobs: facts.token_logprobs,
            finish_reason: facts.finish_reason,
            latency_ms: millis(complete.latency),
            delivered: false,
            body_bytes: complete.body.len() as u64,
            body: std::str::from_utf8(&complete.body).ok().map(Arc::from),
            ..AnswerFacts::default()
        },
        cost_micros,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_answer_that_a_request_asks_for_is_reserved() {
        let price = Price {
            output_micros: 1_000_000,
            ..Price::default()
        };
        for (body, expected) in [
            (r#"{"max_tokens": 10}"#, 10),
            (r#"{"max_tokens": 10, "n": 3}"#, 30),
            (
                r#"{"max_completion_tokens": 5, "max_tokens": 10, "n": 3}"#,
                15,
            ),
            (r#"{"n": 2}"#, 2_048),
            (r#"{"max_tokens": 10, "n": 0}"#, 10),
        ] {
            let bound: Bound = serde_json::from_str(body).unwrap();
            assert_eq!(
                bound.cost_micros_max(&price, body.len()),
                expected,
                "{body}"
            );
        }
    }
}
