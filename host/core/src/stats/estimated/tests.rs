//! What is refused, what is not known, and the alarm on a window where the model
//! is unsure; `tests/oracle/` holds the figures against NannyML's.

use super::classes::{ClassAnswer, ClassEstimator, LabelledClassAnswer};
use super::*;

/// Rows whose scores come true as often as they say; `narrow` draws them
/// towards one half.
fn history(rows: u32, narrow: f64) -> Vec<LabelledAnswer> {
    (0..rows)
        .map(|row| {
            let score = 0.5 + (f64::from(row * 37 % 1_009) / 1_009.0 - 0.5) * narrow;
            let actual = f64::from(row * 613 % 997) / 997.0 < score;
            let predicted = score >= 0.5;
            let answer = Answer { score, predicted };
            LabelledAnswer { answer, actual }
        })
        .collect()
}

fn answers(rows: &[LabelledAnswer]) -> Vec<Answer> {
    rows.iter().map(|row| row.answer).collect()
}

#[test]
fn a_window_where_the_model_is_unsure_is_below() {
    let estimator = Estimator::fit(&history(6_000, 1.0), 500).expect("enough history");
    assert_eq!(estimator.expectations.len(), EstimatedMetric::ALL.len());
    let verdicts = |window: &[Answer]| {
        let estimates = estimator.estimate(window);
        let of = |metric| {
            estimates
                .iter()
                .find(|of| of.metric == metric)
                .map(|of| of.verdict)
        };
        (of(EstimatedMetric::Accuracy), of(EstimatedMetric::Auc))
    };
    let usual = Some(EstimateVerdict::Usual);
    assert_eq!(verdicts(&answers(&history(500, 1.0))), (usual, usual));
    let below = Some(EstimateVerdict::Below);
    assert_eq!(verdicts(&answers(&history(500, 0.2))), (below, below));
    // Sure of everything is unusual, too.
    let sure = vec![
        Answer {
            score: 0.999,
            predicted: true
        };
        500
    ];
    assert_eq!(verdicts(&sure).0, Some(EstimateVerdict::Above));
}

#[test]
fn without_answers_there_is_no_estimate_and_no_good_sign() {
    let estimator = Estimator::fit(&history(6_000, 1.0), 500).expect("enough history");
    let unreadable = [
        Answer {
            score: f64::NAN,
            predicted: true,
        },
        Answer {
            score: 1.5,
            predicted: true,
        },
    ];
    for window in [&[][..], &unreadable] {
        for estimate in estimator.estimate(window) {
            assert_eq!(estimate.verdict, EstimateVerdict::NotEnoughData);
            assert_eq!(
                (estimate.value, estimate.sampling_error, estimate.samples),
                (None, None, 0)
            );
            assert_eq!((estimate.low, estimate.high), (None, None));
        }
    }
    // Nothing called positive: a precision of nothing is not 0.
    let negative = [Answer {
        score: 0.1,
        predicted: false,
    }; 50];
    for estimate in estimator.estimate(&negative) {
        let undefined = estimate.metric == EstimatedMetric::Precision;
        assert_eq!(estimate.value.is_none(), undefined, "{estimate:?}");
    }
}

#[test]
fn too_little_history_is_refused_with_what_would_do() {
    let fit = |rows, chunk_rows| Estimator::fit(&history(rows, 1.0), chunk_rows).map(|_| ());
    let short = EstimateError::TooShort {
        rows: 500,
        chunks: 5,
    };
    assert_eq!(fit(500, 100), Err(short));
    assert!(short.to_string().contains("smaller chunks"));
    // The last chunk counts from half its size.
    assert_eq!(
        fit(549, 100),
        Err(EstimateError::TooShort {
            rows: 549,
            chunks: 5
        })
    );
    assert_eq!(fit(550, 100), Ok(()));
    assert_eq!(fit(500, 1), Err(EstimateError::ChunkRows(1)));
    assert_eq!(
        fit(0, 100),
        Err(EstimateError::TooShort { rows: 0, chunks: 0 })
    );
    let mut broken = history(1_000, 1.0);
    broken[7].answer.score = -0.1;
    assert_eq!(Estimator::fit(&broken, 100), Err(EstimateError::Score(7)));
}

#[test]
fn a_metric_that_history_does_not_define_is_not_estimated() {
    let mut never = history(1_000, 1.0);
    for row in &mut never {
        row.actual = false;
    }
    let estimator = Estimator::fit(&never, 100).expect("enough history");
    let known: Vec<EstimatedMetric> = estimator.expectations.iter().map(|of| of.metric).collect();
    use EstimatedMetric::{Accuracy, F1, Precision};
    assert_eq!(known, [Accuracy, Precision, F1]);
    // Nor one that only a few chunks define.
    for row in &mut never[..300] {
        row.actual = row.answer.score > 0.3;
    }
    let estimator = Estimator::fit(&never, 100).expect("enough history");
    let known: Vec<EstimatedMetric> = estimator.expectations.iter().map(|of| of.metric).collect();
    assert_eq!(known, [Accuracy, Precision, F1]);
}

#[test]
fn an_estimator_reads_the_same_after_a_restart() {
    let estimator = Estimator::fit(&history(3_000, 0.9), 250).expect("enough history");
    let json = serde_json::to_string(&estimator).expect("serializes");
    let back: Estimator = serde_json::from_str(&json).expect("reads back");
    let window = answers(&history(250, 0.7));
    assert_eq!(back.estimate(&window), estimator.estimate(&window));
}

#[test]
fn expected_counts_add_up_over_windows() {
    let (mut whole, mut parts) = (
        ExpectedConfusion::default(),
        [ExpectedConfusion::default(); 2],
    );
    for (at, (probability, predicted)) in [(0.75, true), (0.25, false), (0.5, true)]
        .into_iter()
        .enumerate()
    {
        whole.add(probability, predicted);
        parts[at % 2].add(probability, predicted);
    }
    whole.add(f64::NAN, true);
    let accuracy = whole.metric(EstimatedMetric::Accuracy).expect("rows");
    assert!((accuracy - 2.0 / 3.0).abs() < 1e-12);
    assert!(
        (parts[0].true_positives + parts[1].true_positives - whole.true_positives).abs() < 1e-12
    );
    assert_eq!(
        ExpectedConfusion::default().metric(EstimatedMetric::Accuracy),
        None
    );
    assert_eq!(expected_auc(&[]), None);
    assert_eq!(expected_auc(&[(0.5, 1.0), (0.6, 1.0)]), None);
    assert_eq!(expected_auc(&[(0.1, 0.0), (0.9, 1.0)]), Some(1.0));
}

#[test]
fn rows_of_classes_are_checked() {
    let row = |scores: &[f64], predicted, actual| LabelledClassAnswer {
        answer: ClassAnswer {
            scores: scores.to_vec(),
            predicted,
        },
        actual,
    };
    let good = vec![row(&[0.6, 0.4], 0, 0); 60];
    let fit = |rows: &[LabelledClassAnswer], classes| ClassEstimator::fit(rows, classes, 10);
    let estimator = fit(&good, 2).expect("enough history");
    let nothing = estimator.estimate(&[]);
    assert_eq!(
        (nothing.verdict, nothing.value),
        (EstimateVerdict::NotEnoughData, None)
    );
    let misfit = ClassAnswer {
        scores: vec![1.0],
        predicted: 0,
    };
    assert_eq!(estimator.estimate(&[misfit]).samples, 0);
    for wrong in [
        row(&[0.6], 0, 0),
        row(&[0.6, 0.4], 2, 0),
        row(&[0.6, 0.4], 0, 2),
    ] {
        let rows = [&good[..], &[wrong]].concat();
        assert_eq!(fit(&rows, 2), Err(EstimateError::Classes(60)));
    }
    let rows = [&good[..], &[row(&[0.6, f64::NAN], 0, 0)]].concat();
    assert_eq!(fit(&rows, 2), Err(EstimateError::Score(60)));
    assert_eq!(fit(&good, 1), Err(EstimateError::ClassCount(1)));
}
