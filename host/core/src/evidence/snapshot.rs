//! What a store holds, to be kept over a restart.
//!
//! Always holds: what was kept is checked like a stranger's: buckets that do
//! not fit are left out ([`Window::restored`]), a series that is of another
//! kind by now is left out, and the cap on series holds.

use super::categories::{CATEGORIES_MAX, Category, Seen};
use super::counts::{Counts, Rate};
use super::labelled::{Bins, KeptBins, Labelled};
use super::numbers::{ClosedNumbers, Numbers, Value};
use super::series::{Body, MetricKind, Series};
use super::{Evidence, Subject};
use crate::metric::Proportion;
use crate::window::{Bucket, Window};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// One series as it is kept.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct KeptSeries {
    metric: Arc<str>,
    subject: Subject,
    body: KeptBody,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
enum KeptBody {
    Rate(Vec<Bucket<Counts>>, Proportion),
    Value(Vec<Bucket<ClosedNumbers>>, u64, f64),
    Category(Vec<Arc<str>>, Vec<Bucket<Vec<(u16, u32)>>>, u64),
    Labelled(Vec<Bucket<KeptBins>>, Proportion),
}

impl KeptSeries {
    /// Name of the metric, with its segment where it has one.
    pub fn metric(&self) -> &str {
        &self.metric
    }

    /// What it is of.
    pub fn subject(&self) -> &Subject {
        &self.subject
    }

    fn kind(&self) -> MetricKind {
        match &self.body {
            KeptBody::Rate(..) => MetricKind::Rate,
            KeptBody::Value(..) => MetricKind::Value,
            KeptBody::Category(..) => MetricKind::Category,
            KeptBody::Labelled(..) => MetricKind::Labelled,
        }
    }
}

impl Series {
    /// Everything in it, to be kept. None where nothing is.
    fn keep(&self) -> Option<KeptSeries> {
        let body = match &self.body {
            Body::Rate(rate) => {
                let rate = rate.lock();
                KeptBody::Rate(rate.window.buckets(), rate.total)
            }
            Body::Value(value) => {
                let value = value.lock();
                KeptBody::Value(value.window.buckets(), value.count, value.sum)
            }
            Body::Category(category) => {
                let category = category.lock();
                let names = category.names.clone();
                KeptBody::Category(names, category.window.buckets(), category.count)
            }
            Body::Labelled(labelled) => {
                let labelled = labelled.lock();
                KeptBody::Labelled(labelled.window.buckets(), labelled.total)
            }
            Body::Detached(_) => return None,
        };
        Some(KeptSeries {
            metric: self.metric.clone(),
            subject: self.subject.clone(),
            body,
        })
    }
}

fn restored(body: KeptBody, now_ms: u64) -> Body {
    match body {
        KeptBody::Rate(buckets, total) => Body::Rate(Mutex::new(Rate {
            window: Window::restored(buckets, now_ms),
            total,
        })),
        KeptBody::Value(buckets, count, sum) => Body::Value(Mutex::new(Value::restored(
            Window::<Numbers>::restored(buckets, now_ms),
            count,
            sum,
        ))),
        KeptBody::Category(mut names, mut buckets, count) => {
            names.truncate(CATEGORIES_MAX);
            for bucket in &mut buckets {
                bucket
                    .closed
                    .retain(|(number, _)| usize::from(*number) < names.len());
            }
            let window = Window::<Seen>::restored(buckets, now_ms);
            Body::Category(Mutex::new(Category::restored(names, window, count)))
        }
        KeptBody::Labelled(buckets, total) => Body::Labelled(Mutex::new(Labelled {
            window: Window::<Bins>::restored(buckets, now_ms),
            total,
        })),
    }
}

impl Evidence {
    /// Every series as it is, one after the other, in no order. Each is locked
    /// only while it is copied, so that recording goes on.
    pub fn kept(&self) -> impl Iterator<Item = KeptSeries> + '_ {
        self.all().filter_map(|series| series.keep())
    }

    /// Takes back a series that was kept. True when it was; false when there is
    /// one already, the store is full, or the metric is of another kind by now.
    /// To be done before the first record.
    pub fn restore(&self, kept: KeptSeries, now_ms: u64) -> bool {
        if self.declare(&kept.metric, kept.kind()).is_err() {
            return false;
        }
        let body = restored(kept.body, now_ms);
        self.adopt(Series::with(kept.metric, kept.subject, body))
    }
}
