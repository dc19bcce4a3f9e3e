//! Judges: models that score a sample of the answers, after they are delivered.
//!
//! A judge reads the text and answers with a number from 0 to 1, which becomes
//! evidence of the route, the model and the release, in the window of the
//! answer. Always holds: no caller waits for a judge; what does not fit into the
//! queue is not judged, and counted; [`AT_ONCE`] calls are under way at most, and
//! they go through breakers and limits like any other, but never through a
//! policy.

use crate::caller::Caller;
use crate::clock::Clock;
use crate::evidence::{AnswerOf, Evidence};
use crate::telemetry::Telemetry;
use backstop::{ModelCall, ModelCaller};
use backstop_core::evidence::MetricKind;
use futures_util::StreamExt;
use parking_lot::Mutex;
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

/// Answers that wait to be judged.
const WAITING_MAX: usize = 64;
/// Calls that are under way.
const AT_ONCE: usize = 2;
/// Longest call.
const TIMEOUT: Duration = Duration::from_secs(30);
/// Most tokens of a judgement.
const TOKENS_MAX: u32 = 16;

/// An answer to be judged.
#[derive(Debug)]
pub(crate) struct Case {
    pub(super) feature: Arc<str>,
    pub(super) judge: Arc<str>,
    pub(super) prompt: Arc<str>,
    pub(super) text: String,
    pub(super) route: Arc<str>,
    pub(super) model: Arc<str>,
    pub(super) release: Arc<str>,
    pub(super) at_ms: u64,
}

/// The judges of a gateway.
pub(crate) struct Judges {
    telemetry: Arc<Telemetry>,
    waiting: mpsc::Sender<Case>,
    running: Mutex<JoinHandle<()>>,
}

impl Drop for Judges {
    fn drop(&mut self) {
        self.running.get_mut().abort();
    }
}

impl Judges {
    /// Starts. Must be called within a tokio runtime.
    pub(crate) fn start(
        caller: Arc<Caller>,
        evidence: Arc<Evidence>,
        telemetry: Arc<Telemetry>,
        clock: Clock,
    ) -> Judges {
        let (waiting, cases) = mpsc::channel(WAITING_MAX);
        let bench = Arc::new(Bench {
            caller,
            evidence,
            telemetry: telemetry.clone(),
            clock,
        });
        let cases = futures_util::stream::unfold(cases, |mut cases| async {
            cases.recv().await.map(|case| (case, cases))
        });
        let judging = cases.for_each_concurrent(AT_ONCE, move |case| {
            let bench = bench.clone();
            async move { bench.judge(case).await }
        });
        Judges {
            telemetry,
            waiting,
            running: Mutex::new(tokio::spawn(judging)),
        }
    }

    /// Has `case` judged when there is time.
    pub(super) fn hear(&self, case: Case) {
        if let Err(full) = self.waiting.try_send(case) {
            let case = full.into_inner();
            self.telemetry.judged(&case.route, &case.feature, "dropped");
        }
    }
}

struct Bench {
    caller: Arc<Caller>,
    evidence: Arc<Evidence>,
    telemetry: Arc<Telemetry>,
    clock: Clock,
}

impl Bench {
    async fn judge(&self, case: Case) {
        let body = json!({
            "messages": [
                {"role": "system", "content": &*case.prompt},
                {"role": "user", "content": case.text},
            ],
            "max_tokens": TOKENS_MAX,
            "temperature": 0,
        });
        let call = ModelCall {
            model: case.judge.to_string(),
            body: body.to_string(),
            timeout: TIMEOUT,
        };
        let result = match self.caller.call(call).await {
            Ok(answer) => match answer.facts.body.as_deref().and_then(score) {
                Some(score) => {
                    self.record(&case, score);
                    "ok"
                }
                None => "no-number",
            },
            Err(error) => {
                tracing::debug!(feature = &*case.feature, %error, "an answer is not judged");
                "failed"
            }
        };
        self.telemetry.judged(&case.route, &case.feature, result);
    }

    fn record(&self, case: &Case, score: f64) {
        let of = AnswerOf {
            route: Some(&case.route),
            model: Some(&case.model),
            release: Some(&case.release),
            at_ms: case.at_ms,
            segments: &[],
        };
        let now_ms = self.clock.now_ms();
        let metric = super::metric(&case.feature, "");
        self.evidence
            .each(&of, &metric, MetricKind::Value, |series| {
                series.record_value_at(now_ms, of.at_ms, score);
            });
    }
}

/// The first number from 0 to 1 in what a judge says.
fn score(body: &str) -> Option<f64> {
    let body: Value = serde_json::from_str(body).ok()?;
    let said = body.pointer("/choices/0/message/content")?.as_str()?;
    said.split(|c: char| !(c.is_ascii_digit() || c == '.'))
        .map(|number| number.trim_end_matches('.'))
        .filter(|number| number.starts_with(|c: char| c.is_ascii_digit()))
        .find_map(|number| number.parse().ok())
        .filter(|number| (0.0..=1.0).contains(number))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_score_is_the_first_number_and_within_its_range() {
        let said = |text: &str| {
            let message = json!({"role": "assistant", "content": text});
            score(&json!({"choices": [{"message": message}]}).to_string())
        };
        for (text, expected) in [
            ("0.75", Some(0.75)),
            ("Score: 0.5.", Some(0.5)),
            ("1", Some(1.0)),
            ("0.25 because 3 facts are wrong", Some(0.25)),
            ("7 of 10", None),
            ("good", None),
            ("...", None),
            ("", None),
        ] {
            assert_eq!(said(text), expected, "{text}");
        }
        assert_eq!(score("{}"), None);
        assert_eq!(score("0.5"), None);
    }
}
