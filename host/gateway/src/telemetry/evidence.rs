//! Every series of evidence at each scrape: counts since it was made, from which
//! a scraper has any window, and for values the quantiles of the last ten
//! minutes.
//!
//! Always holds: as many series as evidence keeps, which is bounded; nothing is
//! kept here.

use crate::clock::Clock;
use backstop_core::evidence::{Evidence, SeriesSummary, Subject, SummaryNumbers};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use std::fmt;
use std::sync::Arc;

/// What evidence a series is of; those that do not apply are empty.
type Labels = [(&'static str, String); 4];

/// A number, with a label more where there is one.
type Line = (Labels, Option<(&'static str, String)>, f64);

/// Reads evidence when it is scraped.
pub(super) struct EvidenceCollector {
    pub(super) store: Arc<Evidence>,
    pub(super) clock: Clock,
}

impl fmt::Debug for EvidenceCollector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EvidenceCollector").finish_non_exhaustive()
    }
}

fn labels(series: &SeriesSummary) -> Labels {
    let (mut route, mut model, mut release) = (String::new(), String::new(), String::new());
    match &series.subject {
        Subject::Route(name) => route = name.to_string(),
        Subject::Model(name) => model = name.to_string(),
        Subject::Release {
            model: of,
            release: name,
        } => (model, release) = (of.to_string(), name.to_string()),
        Subject::Process => {}
    }
    [
        ("metric", series.metric.to_string()),
        ("route", route),
        ("model", model),
        ("release", release),
    ]
}

impl EvidenceCollector {
    /// Writes one family: a line for each of `lines`, with a label more where
    /// there is one.
    fn family(
        encoder: &mut DescriptorEncoder<'_>,
        (name, help, kind): (&str, &str, MetricType),
        lines: &[Line],
    ) -> fmt::Result {
        if lines.is_empty() {
            return Ok(());
        }
        let mut family = encoder.encode_descriptor(name, help, None, kind)?;
        for (labels, more, number) in lines {
            let mut all = labels.to_vec();
            all.extend(more.clone());
            let line = family.encode_family(&all)?;
            match kind {
                MetricType::Counter => ConstCounter::new(*number).encode(line)?,
                _ => ConstGauge::new(*number).encode(line)?,
            }
        }
        Ok(())
    }
}

impl Collector for EvidenceCollector {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let (mut events, mut trials) = (Vec::new(), Vec::new());
        let (mut counts, mut sums, mut quantiles) = (Vec::new(), Vec::new(), Vec::new());
        let mut categories = Vec::new();
        for series in self.store.summaries(self.clock.now_ms()) {
            let labels = labels(&series);
            match series.numbers {
                SummaryNumbers::Rate(total) => {
                    events.push((labels.clone(), None, total.events as f64));
                    trials.push((labels, None, total.trials as f64));
                }
                SummaryNumbers::Value {
                    count,
                    sum,
                    quantiles: of_late,
                } => {
                    for (q, value) in of_late {
                        let label = Some(("quantile", q.to_string()));
                        quantiles.push((labels.clone(), label, value));
                    }
                    sums.push((labels.clone(), None, sum));
                    counts.push((labels, None, count as f64));
                }
                SummaryNumbers::Category(shares) => {
                    for (category, count) in shares {
                        let label = Some(("category", category.to_string()));
                        categories.push((labels.clone(), label, count as f64));
                    }
                }
            }
        }
        use MetricType::{Counter, Gauge};
        for (about, lines) in [
            (
                (
                    "evidence_events",
                    "Events of rates, and right ones of labelled answers",
                    Counter,
                ),
                events,
            ),
            (
                (
                    "evidence_trials",
                    "What rates are of, and labelled answers",
                    Counter,
                ),
                trials,
            ),
            (("evidence_values", "Numbers recorded", Counter), counts),
            (("evidence_sum", "Sum of the numbers recorded", Gauge), sums),
            (
                (
                    "evidence_quantile",
                    "Quantiles of the numbers of the last ten minutes",
                    Gauge,
                ),
                quantiles,
            ),
            (
                (
                    "evidence_categories",
                    "How often each category was seen in the last ten minutes",
                    Gauge,
                ),
                categories,
            ),
        ] {
            Self::family(&mut encoder, about, &lines)?;
        }
        let load = self.store.load();
        for (name, help, number) in [
            (
                "evidence_series",
                "Series of evidence that are kept",
                load.series as u64,
            ),
            (
                "evidence_overflowed",
                "How often a series was asked for that did not fit",
                load.overflowed,
            ),
            (
                "evidence_refused",
                "Records that series refused",
                load.refused,
            ),
        ] {
            let line = encoder.encode_descriptor(name, help, None, Gauge)?;
            ConstGauge::new(number as f64).encode(line)?;
        }
        Ok(())
    }
}
