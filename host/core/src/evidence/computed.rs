//! Metrics that are not recorded but computed from others when they are asked
//! for: `f1` from the counts of `precision` and `recall`; `auc`, `brier` and
//! `calibration-error` from labelled answers; `estimated-accuracy` from the
//! confidence of answers that nobody has labelled yet.
//!
//! Estimated accuracy is confidence-based performance estimation (CBPE, as in
//! NannyML): labelled answers say how often a confidence comes true, and the
//! confidences of the window are read so. It sees answers that become less
//! confident. It cannot see a model that stays confident and is wrong more
//! often until labels say so.
//!
//! Always holds: what cannot be computed (no labels, one kind only) is no
//! evidence, 0 samples, and no error.

use super::labelled::{LABELLED_BINS, LabelledBin, bin_of};
use super::{Evidence, MetricKind, SubjectRef};
use crate::metric::{Measurement, MetricsError, Proportion, name};
use crate::sketch;
use crate::stats::calibration::{Isotonic, Point};
use crate::stats::performance::ranking::binned_auc;
use crate::stats::performance::{Confusion, Score};
use crate::window::RETENTION_MS;

/// Fewest labelled answers to calibrate with: one bin has some five then.
pub const ESTIMATE_LABELS_MIN: u64 = 200;
/// Bins of `calibration-error`, of equal width: the ten of the literature.
const ERROR_BINS: usize = 10;

/// What the metric is computed from; none for one that is not computed.
fn ingredients(base: &str) -> Option<&'static [(&'static str, MetricKind)]> {
    const LABELLED: (&str, MetricKind) = (name::LABELLED, MetricKind::Labelled);
    match base {
        name::F1 => Some(&[
            (name::PRECISION, MetricKind::Rate),
            (name::RECALL, MetricKind::Rate),
        ]),
        name::AUC | name::BRIER | name::CALIBRATION_ERROR => Some(&[LABELLED]),
        name::ESTIMATED_ACCURACY => Some(&[LABELLED, (name::CONFIDENCE, MetricKind::Value)]),
        _ => None,
    }
}

impl Evidence {
    /// A metric that is computed from others. `Unknown` when it is none of
    /// those, or what it is computed from is not known.
    pub(super) fn computed(
        &self,
        metric: &str,
        subject: SubjectRef<'_>,
        window_s: u32,
        now_ms: u64,
    ) -> Result<Measurement, MetricsError> {
        let unknown = || MetricsError::Unknown(metric.to_string());
        let base = crate::metric::base(metric);
        let segment = &metric[base.len()..];
        let parts = ingredients(base).ok_or_else(unknown)?;
        if parts.iter().any(|(of, kind)| self.kind(of) != Some(*kind)) {
            return Err(unknown());
        }
        let names = parts.iter().map(|(of, _)| format!("{of}{segment}"));
        let names: Vec<String> = names.collect();
        let score = match base {
            name::F1 => {
                let precision = self.rate(&names[0], subject, window_s, now_ms)?;
                let recall = self.rate(&names[1], subject, window_s, now_ms)?;
                f1(precision, recall)
            }
            name::ESTIMATED_ACCURACY => self.estimated(&names, subject, window_s, now_ms)?,
            _ => {
                let bins = self.labelled(&names[0], subject, window_s, now_ms)?;
                match base {
                    name::AUC => auc(&bins),
                    name::BRIER => brier(&bins),
                    _ => calibration_error(&bins),
                }
            }
        };
        let newest_ms = names
            .iter()
            .filter_map(|of| self.find(of, subject)?.newest_ms())
            .max();
        Ok(
            score.map_or_else(Measurement::default, |score| Measurement {
                samples: score.samples,
                value: score.value,
                standard_error: score.standard_error,
                age_ms: newest_ms.map_or(0, |newest_ms| now_ms.saturating_sub(newest_ms)),
            }),
        )
    }

    /// Estimated accuracy, from all labelled answers that are kept and the
    /// confidences of the window.
    fn estimated(
        &self,
        names: &[String],
        subject: SubjectRef<'_>,
        window_s: u32,
        now_ms: u64,
    ) -> Result<Option<Score>, MetricsError> {
        // The window is checked before anything is read.
        let current = self.mean(&names[1], subject, window_s, now_ms)?;
        let Some((labelled, confidence)) = self
            .find(&names[0], subject)
            .zip(self.find(&names[1], subject))
        else {
            return Ok(None);
        };
        if current.samples == 0 {
            return Ok(None);
        }
        let all = crate::window::Span {
            older_ms: RETENTION_MS,
            newer_ms: 0,
        };
        let bins = labelled.labelled(all, now_ms);
        let window = confidence.sketch(crate::window::Span::last_s(window_s), now_ms);
        let counts = window.bins();
        let counts = counts.map(|(key, n)| (sketch::value(key).clamp(0.0, 1.0), n.into()));
        Ok(estimate(&bins, counts))
    }
}

fn f1(precision: Proportion, recall: Proportion) -> Option<Score> {
    // Both count the same answers as events.
    let found = precision.events.min(recall.events);
    let confusion = Confusion {
        true_positives: found,
        false_positives: precision.trials.saturating_sub(found),
        false_negatives: recall.trials.saturating_sub(found),
        true_negatives: 0,
    };
    confusion.f1()
}

/// The area under the curve of confidence against being right, pairs within a
/// bin counting half; its standard error is Hanley and McNeil's (1982).
fn auc(bins: &[LabelledBin]) -> Option<Score> {
    let counts: Vec<Proportion> = bins.iter().map(right_of).collect();
    let auc = binned_auc(&counts)?;
    let (a, right, wrong) = (auc.value, auc.positives as f64, auc.negatives as f64);
    let (q1, q2) = (a / (2.0 - a), 2.0 * a * a / (1.0 + a));
    let variance = a * (1.0 - a) + (right - 1.0) * (q1 - a * a) + (wrong - 1.0) * (q2 - a * a);
    Some(Score {
        value: a,
        standard_error: (variance / (right * wrong)).max(0.0).sqrt(),
        samples: auc.positives.saturating_add(auc.negatives),
    })
}

fn right_of(bin: &LabelledBin) -> Proportion {
    Proportion {
        events: bin.right,
        trials: bin.answers,
    }
}

/// The mean square of confidence less truth; exact. The spread behind its
/// standard error takes each bin's confidences for their mean.
fn brier(bins: &[LabelledBin]) -> Option<Score> {
    let answers: u64 = bins.iter().map(|bin| bin.answers).sum();
    if answers < 2 {
        return None;
    }
    let n = answers as f64;
    let value = bins.iter().map(|bin| bin.squares).sum::<f64>() / n;
    let fourth: f64 = bins
        .iter()
        .filter(|bin| bin.answers > 0)
        .map(|bin| {
            let confidence = bin.confidence / bin.answers as f64;
            let wrong = bin.answers.saturating_sub(bin.right) as f64;
            bin.right as f64 * (1.0 - confidence).powi(4) + wrong * confidence.powi(4)
        })
        .sum();
    let variance = (fourth / n - value * value).max(0.0) * n / (n - 1.0);
    Some(Score {
        value,
        standard_error: (variance / n).sqrt(),
        samples: answers,
    })
}

/// The expected calibration error over ten bins of equal width, closed to the
/// left. It has no standard error that is worth the name.
fn calibration_error(bins: &[LabelledBin]) -> Option<Score> {
    let answers: u64 = bins.iter().map(|bin| bin.answers).sum();
    let gap = |bins: &[LabelledBin]| {
        let right: u64 = bins.iter().map(|bin| bin.right).sum();
        let confidence: f64 = bins.iter().map(|bin| bin.confidence).sum();
        (confidence - right as f64).abs()
    };
    let gaps = bins.chunks(LABELLED_BINS / ERROR_BINS).map(gap);
    (answers > 0).then(|| Score {
        value: gaps.sum::<f64>() / answers as f64,
        standard_error: 0.0,
        samples: answers,
    })
}

/// The expected accuracy of answers by their confidences, read as `bins` say.
/// None with too few labels.
///
/// Its variance is that of drawing the answers, `Σ p (1 - p) / n²`, and that
/// of the calibration: each labelled bin's share of the answers, squared, times
/// `p (1 - p) / labels`, which is generous where bins are pooled.
fn estimate(bins: &[LabelledBin], confidences: impl Iterator<Item = (f64, u64)>) -> Option<Score> {
    let labels: u64 = bins.iter().map(|bin| bin.answers).sum();
    if labels < ESTIMATE_LABELS_MIN {
        return None;
    }
    let points: Vec<Point> = bins
        .iter()
        .filter(|bin| bin.answers > 0)
        .map(|bin| Point {
            score: bin.confidence / bin.answers as f64,
            outcome: bin.right as f64 / bin.answers as f64,
            weight: bin.answers as f64,
        })
        .collect();
    let curve = Isotonic::fit(&points)?;
    let (mut answers, mut sum, mut drawn) = (0u64, 0.0, 0.0);
    let mut per_bin = [0.0; LABELLED_BINS];
    for (confidence, count) in confidences {
        let (p, n) = (curve.apply(confidence), count as f64);
        answers = answers.saturating_add(count);
        sum += n * p;
        drawn += n * p * (1.0 - p);
        per_bin[nearest_labelled(bins, usize::from(bin_of(confidence)))] += n;
    }
    let n = answers as f64;
    let calibration: f64 = per_bin
        .iter()
        .zip(bins)
        .filter(|(_, bin)| bin.answers > 0)
        .map(|(here, bin)| {
            let p = curve.apply(bin.confidence / bin.answers as f64);
            (here / n) * (here / n) * p * (1.0 - p) / bin.answers as f64
        })
        .sum();
    (answers > 0).then(|| Score {
        value: sum / n,
        standard_error: (drawn / (n * n) + calibration).sqrt(),
        samples: answers,
    })
}

/// The bin with labels that is nearest to `at`.
fn nearest_labelled(bins: &[LabelledBin], at: usize) -> usize {
    (0..bins.len())
        .filter(|bin| bins[*bin].answers > 0)
        .min_by_key(|bin| bin.abs_diff(at))
        .unwrap_or(at)
}
