//! The task that writes delivered answers into the store, many at once.
//!
//! It also counts what is evidence already when an answer is given (the
//! predicted label, the finish reason), decides which values of tags are told
//! apart, and removes answers that are too old or too many.
//!
//! A store that fails is asked again for a minute; what it has not taken by
//! then is lost, which is counted and logged.

use super::{Inner, count};
use crate::store::{AnswerLimits, RememberedAnswer, Segment};
use crate::telemetry::FeedbackMetrics;
use backstop_core::input::FinishReason;
use backstop_core::metric::base;
use backstop_core::window::RETENTION_MS;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

/// Answers of one transaction.
const BATCH_MAX: usize = 512;
/// How long the first answer of a batch waits for others: ten commits a second
/// are what any disk does.
const BATCH_WAIT: Duration = Duration::from_millis(100);
/// First pause after a failure; each is twice the one before, up to ten seconds.
const PAUSE_FIRST: Duration = Duration::from_millis(100);
const PAUSE_MAX: Duration = Duration::from_secs(10);
/// How long one write may take.
const WRITE_WAIT: Duration = Duration::from_secs(10);
/// How long a batch is tried: then the disk wants a person.
const GIVE_UP: Duration = Duration::from_secs(60);
/// How often what is beyond its limits is removed.
const REMOVE_EVERY: Duration = Duration::from_secs(10);
/// Most calls that remove, each time.
const REMOVALS_MAX: usize = 32;
/// Values of one tag that are told apart.
const SEGMENT_VALUES_MAX: usize = 16;
/// Longest value that is told apart.
const SEGMENT_BYTES_MAX: usize = 64;
/// What all other values are.
const OTHER: &str = "other";

/// What the task hears.
pub(super) enum Heard {
    Answer(Box<Delivered>),
    /// To be told whether everything before it is written.
    Flush(oneshot::Sender<bool>),
}

/// An answer that a caller has, or will have in a moment.
#[derive(Debug)]
pub(crate) struct Delivered {
    /// With the tags' values as they came.
    pub(crate) answer: RememberedAnswer,
    /// Why the model stopped.
    pub(crate) finish_reason: Option<FinishReason>,
}

/// A value of a route's tag that is told apart already.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SegmentSeed {
    pub(crate) route: Arc<str>,
    pub(crate) segment: Segment,
}

impl SegmentSeed {
    /// The seed in the name of a metric, `accuracy{tier=gold}`.
    pub(crate) fn of(route: &Arc<str>, metric: &str) -> Option<SegmentSeed> {
        let (tag, value) = backstop_core::metric::segment(metric)?.split_once('=')?;
        (base(metric) != metric).then(|| SegmentSeed {
            route: route.clone(),
            segment: Segment {
                tag: tag.into(),
                value: value.into(),
            },
        })
    }
}

/// Which values of each route's tags are told apart: the first that came.
#[derive(Debug, Default)]
struct Values(HashMap<Tag, Vec<Arc<str>>>);

/// A route and one of its tags.
type Tag = (Arc<str>, Arc<str>);

impl Values {
    /// The value under which `segment` of `route` counts.
    fn told_apart(&mut self, route: &Arc<str>, segment: &Segment) -> Arc<str> {
        let key = (route.clone(), segment.tag.clone());
        let known = self.0.entry(key).or_default();
        if let Some(value) = known.iter().find(|value| **value == segment.value) {
            return value.clone();
        }
        if known.len() < SEGMENT_VALUES_MAX && is_plain(&segment.value) {
            known.push(segment.value.clone());
            return segment.value.clone();
        }
        OTHER.into()
    }
}

/// True for what can stand in a metric's name.
fn is_plain(value: &str) -> bool {
    let odd = |c: char| c.is_control() || matches!(c, '{' | '}' | '=' | ',' | '"');
    (1..=SEGMENT_BYTES_MAX).contains(&value.len()) && value != OTHER && !value.contains(odd)
}

struct Writer {
    inner: Arc<Inner>,
    values: Values,
    /// Not written yet.
    batch: Vec<RememberedAnswer>,
    /// Who waits for the batch.
    waiting: Vec<oneshot::Sender<bool>>,
    /// Since when the store fails, and how long to wait before it is asked again.
    failing: Option<(Instant, Duration)>,
}

/// Writes what it hears until nobody can say anything more.
pub(super) async fn run(
    inner: Arc<Inner>,
    mut heard: mpsc::Receiver<Heard>,
    seeds: Vec<SegmentSeed>,
) {
    let mut values = Values::default();
    for seed in &seeds {
        values.told_apart(&seed.route, &seed.segment);
    }
    let mut writer = Writer {
        inner,
        values,
        batch: Vec::new(),
        waiting: Vec::new(),
        failing: None,
    };
    let mut remove_at = Instant::now();
    loop {
        if writer.takes_feedback() && remove_at <= Instant::now() {
            writer.remove().await;
            remove_at = Instant::now() + REMOVE_EVERY;
        }
        if writer.batch.is_empty() {
            let first = tokio::select! {
                first = heard.recv() => first,
                () = tokio::time::sleep_until(remove_at), if writer.takes_feedback() => continue,
            };
            match first {
                Some(first) => writer.hear(first),
                None => return,
            }
        }
        writer.gather(&mut heard).await;
        writer.write().await;
    }
}

impl Writer {
    fn takes_feedback(&self) -> bool {
        !self.inner.routes.load().is_empty()
    }

    fn hear(&mut self, heard: Heard) {
        match heard {
            Heard::Flush(reply) => self.waiting.push(reply),
            Heard::Answer(delivered) => {
                let Delivered {
                    mut answer,
                    finish_reason,
                } = *delivered;
                for segment in &mut answer.segments {
                    segment.value = self.values.told_apart(&answer.route, segment);
                }
                let now_ms = self.inner.clock.now_ms();
                count::given(&self.inner.evidence, now_ms, &answer, finish_reason);
                self.batch.push(answer);
            }
        }
    }

    /// Waits for more until the batch is full, its time is over, or somebody
    /// waits for it.
    async fn gather(&mut self, heard: &mut mpsc::Receiver<Heard>) {
        let wait = self.failing.map_or(BATCH_WAIT, |(_, pause)| pause);
        let until = Instant::now() + wait;
        while self.batch.len() < BATCH_MAX && self.waiting.is_empty() {
            match tokio::time::timeout_at(until, heard.recv()).await {
                Ok(Some(more)) => self.hear(more),
                Ok(None) | Err(_) => break,
            }
        }
        while self.batch.len() < BATCH_MAX
            && let Ok(more) = heard.try_recv()
        {
            self.hear(more);
        }
        // A batch that is full while the store fails still has its pause.
        if self.batch.len() >= BATCH_MAX && self.failing.is_some() && self.waiting.is_empty() {
            tokio::time::sleep_until(until).await;
        }
    }

    async fn write(&mut self) {
        let written = if self.batch.is_empty() {
            Ok(())
        } else {
            let adding = self.inner.store.add_answers(self.batch.clone());
            match tokio::time::timeout(WRITE_WAIT, adding).await {
                Ok(added) => added.map_err(|error| error.to_string()),
                Err(_) => Err(format!("the store did not answer within {WRITE_WAIT:?}")),
            }
        };
        let is_written = written.is_ok();
        match written {
            Ok(()) => {
                self.counted(FeedbackMetrics::remembered);
                self.batch.clear();
                self.failing = None;
            }
            Err(error) => self.failed(&error),
        }
        for reply in self.waiting.drain(..) {
            // Who asked may have gone away.
            let _ = reply.send(is_written);
        }
    }

    fn failed(&mut self, error: &str) {
        let now = Instant::now();
        let (since, pause) = match self.failing {
            None => (now, PAUSE_FIRST),
            Some((since, pause)) => (since, (pause * 2).min(PAUSE_MAX)),
        };
        self.failing = Some((since, pause));
        if now.duration_since(since) < GIVE_UP {
            return;
        }
        tracing::error!(
            answers = self.batch.len(),
            why = error,
            "answers are lost: no feedback will find them"
        );
        self.counted(FeedbackMetrics::lost);
        self.batch.clear();
        self.failing = None;
    }

    /// Counts the batch, route by route.
    fn counted(&self, count: impl Fn(&FeedbackMetrics, &str, u64)) {
        let mut routes: HashMap<&str, u64> = HashMap::new();
        for answer in &self.batch {
            *routes.entry(&answer.route).or_default() += 1;
        }
        for (route, n) in routes {
            count(self.inner.telemetry.feedback(), route, n);
        }
    }

    async fn remove(&self) {
        let now_ms = self.inner.clock.now_ms();
        let limits: Vec<AnswerLimits> = self
            .inner
            .routes
            .load()
            .iter()
            .map(|(route, feedback)| AnswerLimits {
                route: route.clone(),
                oldest_ms: now_ms.saturating_sub(kept_ms(feedback.keep)),
                answers_max: feedback.answers_max,
            })
            .collect();
        let oldest_ms = now_ms.saturating_sub(RETENTION_MS);
        for _ in 0..REMOVALS_MAX {
            let removing = self.inner.store.remove_answers(limits.clone(), oldest_ms);
            match tokio::time::timeout(WRITE_WAIT, removing).await {
                Ok(Ok(true)) => {}
                Ok(Ok(false)) => return,
                Ok(Err(error)) => {
                    tracing::warn!(
                        error = &error as &dyn std::error::Error,
                        "failed to remove answers that are not to be remembered any more"
                    );
                    return;
                }
                Err(_) => return,
            }
        }
    }
}

/// `keep` in milliseconds.
pub(super) fn kept_ms(keep: Duration) -> u64 {
    u64::try_from(keep.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_tag_sixteen_values_are_told_apart_and_none_that_a_name_cannot_hold() {
        let mut values = Values::default();
        let route: Arc<str> = "r".into();
        let mut told = |tag: &str, value: &str| {
            let segment = Segment {
                tag: tag.into(),
                value: value.into(),
            };
            values.told_apart(&route, &segment)
        };
        for odd in ["", "a}b", "a=b", "a\nb", "other", &"x".repeat(65)] {
            assert_eq!(&*told("tier", odd), OTHER, "{odd:?}");
        }
        for n in 0..16 {
            let value = n.to_string();
            assert_eq!(*told("tier", &value), *value);
        }
        assert_eq!(&*told("tier", "16"), OTHER);
        assert_eq!(&*told("tier", "3"), "3");
        assert_eq!(&*told("country", "16"), "16");
        assert!(values.0.len() == 2);
    }

    #[test]
    fn a_series_that_was_kept_tells_the_value_of_its_tag() {
        let route: Arc<str> = "r".into();
        let seed = SegmentSeed::of(&route, "accuracy{tier=gold}").map(|seed| seed.segment);
        let expected = Segment {
            tag: "tier".into(),
            value: "gold".into(),
        };
        assert_eq!(seed, Some(expected));
        assert_eq!(SegmentSeed::of(&route, "accuracy"), None);
    }
}
