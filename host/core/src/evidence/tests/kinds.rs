//! Categories, labelled answers, segments, what arrives late, and restarts.

use super::*;

const GOLD: &str = "accuracy{tier=gold}";

#[test]
fn categories_are_counted_and_too_many_of_them_are_seen_as_others() {
    let evidence = store();
    let series = evidence.category_series("label", STABLE).unwrap();
    for n in 0..1_000u64 {
        series.record_category(NOW + n, NOW + n, if n % 4 == 0 { "fraud" } else { "fine" });
    }
    for n in 0..10_000u64 {
        series.record_category(NOW + 2_000, NOW + 2_000, &format!("made-up-{n}"));
    }
    series.record_category(NOW + 2_000, NOW + 2_000, "");
    series.record_category(
        NOW + 2_000,
        NOW + 2_000,
        &"x".repeat(CATEGORY_BYTES_MAX + 1),
    );
    let shares = evidence.shares("label", STABLE, 60, NOW + 3_000).unwrap();
    assert_eq!(shares.len(), CATEGORIES_MAX);
    let count = |name: &str| {
        let share = shares.iter().find(|share| share.category == name);
        share.map(|share| share.count)
    };
    assert_eq!((count("fine"), count("fraud")), (Some(750), Some(250)));
    let told_apart = (CATEGORIES_MAX - 3) as u64;
    assert_eq!(count(OTHER), Some(10_002 - told_apart));
    assert_eq!(shares[0].category, OTHER, "the most frequent first");
}

#[test]
fn categories_drift_when_their_shares_change() {
    let evidence = store();
    let series = evidence.category_series("label", STABLE).unwrap();
    let day = |from_ms: u64, every: u64| {
        for n in 0..400 {
            let at = from_ms + n * 1_000;
            series.record_category(at, at, if n % every == 0 { "fraud" } else { "fine" });
        }
    };
    day(NOW, 20);
    day(NOW + 400_000, 20);
    let calm = evidence
        .drift("label", STABLE, 400, 400, NOW + 799_000)
        .unwrap();
    assert_eq!(calm.verdict, DriftVerdict::Stable);
    day(NOW + 800_000, 5);
    let moved = evidence
        .drift("label", STABLE, 400, 800, NOW + 1_199_000)
        .unwrap();
    assert_eq!(moved.verdict, DriftVerdict::Drifted);
    assert!(moved.psi > moved.critical, "{moved:?}");
}

#[test]
fn labelled_answers_are_kept_by_confidence() {
    let evidence = store();
    let series = evidence.labelled_series("labelled", STABLE).unwrap();
    for n in 0..100u32 {
        assert!(series.record_labelled(NOW, NOW, 0.9, n % 10 != 0));
        assert!(series.record_labelled(NOW, NOW, 0.3, n % 10 == 0));
    }
    assert!(series.record_labelled(NOW, NOW, 1.0, true));
    for wrong in [f64::NAN, -0.1, 1.1] {
        assert!(!series.record_labelled(NOW, NOW, wrong, true));
    }
    assert_eq!(series.refused(), 3);
    let bins = evidence.labelled("labelled", STABLE, 60, NOW).unwrap();
    let [low, high, sure] = [bins[15], bins[45], bins[49]];
    assert_eq!((low.answers, low.right), (100, 10));
    assert_eq!((high.answers, high.right, sure.answers), (100, 90, 1));
    assert!((high.confidence - 90.0).abs() < 1e-9);
    let brier = bins.iter().map(|bin| bin.squares).sum::<f64>() / 201.0;
    let expected = (90.0 * 0.01 + 10.0 * 0.81 + 10.0 * 0.49 + 90.0 * 0.09) / 201.0;
    assert!((brier - expected).abs() < 1e-9, "{brier}");
}

#[test]
fn a_segment_is_a_series_of_its_own_and_of_the_kind_of_its_metric() {
    let evidence = store();
    let gold = evidence.rate_series(GOLD, STABLE).unwrap();
    gold.record_rate(NOW, true);
    let trials = |metric| {
        evidence
            .rate(metric, STABLE, 60, NOW)
            .map(|rate| rate.trials)
    };
    assert_eq!(trials(GOLD), Ok(1));
    assert_eq!(trials("accuracy"), Ok(0));
    assert_eq!(
        trials("accuracy{tier=lead}"),
        Ok(0),
        "no evidence, no error"
    );
    assert!(evidence.value_series("accuracy{tier=tin}", STABLE).is_err());
    assert_eq!(metric::base(GOLD), "accuracy");
    assert_eq!(metric::segment(GOLD), Some("tier=gold"));
    assert_eq!(metric::segment("accuracy"), None);
    assert_eq!(metric::base("odd{"), "odd{");
}

#[test]
fn a_metric_of_the_process_answers_whatever_is_asked_for() {
    let evidence = store();
    evidence
        .declare_of_process("process-cpu", MetricKind::Value)
        .unwrap();
    let series = evidence
        .value_series("process-cpu", SubjectRef::Process)
        .unwrap();
    series.record_value(NOW, 0.5);
    let mean = |subject| evidence.mean("process-cpu", subject, 60, NOW).unwrap();
    assert_eq!(mean(STABLE).samples, 1);
    assert_eq!(mean(SubjectRef::Route("chat")).samples, 1);
}

#[test]
fn what_arrives_late_counts_in_the_window_of_its_answer() {
    let evidence = store();
    let rate = evidence.rate_series(name::ACCURACY, STABLE).unwrap();
    let value = evidence.value_series("basket", STABLE).unwrap();
    let hour_ago = NOW - 3_600_000;
    assert_eq!(
        evidence
            .quantile("basket", STABLE, 7_200, 0.5, NOW)
            .unwrap()
            .samples,
        0
    );
    assert!(rate.record_rate_at(NOW, hour_ago, true));
    assert!(value.record_value_at(NOW, hour_ago, 40.0));
    let trials = |window_s| {
        let rate = evidence.rate(name::ACCURACY, STABLE, window_s, NOW);
        rate.unwrap().trials
    };
    assert_eq!((trials(60), trials(7_200)), (0, 1));
    let quantile = |window_s| {
        evidence
            .quantile("basket", STABLE, window_s, 0.5, NOW)
            .unwrap()
    };
    assert_eq!((quantile(60).samples, quantile(7_200).samples), (0, 1));
    let mean = evidence.mean("basket", STABLE, 7_200, NOW).unwrap().mean;
    assert!((mean - 40.0).abs() < 1e-9);
    // Of the future is of now; of long ago is refused, and said.
    assert!(rate.record_rate_at(NOW, NOW + 90_000, false));
    assert_eq!(trials(60), 1);
    assert!(!rate.record_rate_at(NOW, NOW - 3 * 86_400_000, true));
    assert_eq!(rate.refused(), 1);
}

#[test]
fn evidence_is_the_same_after_a_restart() {
    let evidence = store();
    let rate = evidence.rate_series(GOLD, STABLE).unwrap();
    let value = evidence.value_series(name::LATENCY_MS, CANDIDATE).unwrap();
    let category = evidence.category_series("label", STABLE).unwrap();
    let labelled = evidence.labelled_series("labelled", STABLE).unwrap();
    for n in 0..5_000u64 {
        let at = NOW + n * 1_700;
        rate.record_rate(at, n % 3 == 0);
        value.record_value(at, 10.0 + (n % 97) as f64);
        category.record_category(at, at, ["a", "b", "c"][n as usize % 3]);
        labelled.record_labelled(at, at, (n % 64) as f64 / 64.0, n % 2 == 0);
    }
    let kept: Vec<KeptSeries> = evidence.kept().collect();
    let text = serde_json::to_string(&kept).unwrap();
    let now_ms = NOW + 5_000 * 1_700 + 45_000;
    let after = store();
    for series in serde_json::from_str::<Vec<KeptSeries>>(&text).unwrap() {
        assert!(after.restore(series.clone(), now_ms));
        assert!(!after.restore(series, now_ms), "there is one already");
    }
    assert_eq!(after.load().series, 4);
    for window_s in [300, 3_600, 86_400] {
        let answers = |evidence: &Evidence| {
            (
                evidence.rate(GOLD, STABLE, window_s, now_ms).unwrap(),
                evidence
                    .mean(name::LATENCY_MS, CANDIDATE, window_s, now_ms)
                    .unwrap(),
                evidence
                    .quantile(name::LATENCY_MS, CANDIDATE, window_s, 0.9, now_ms)
                    .unwrap(),
                evidence.shares("label", STABLE, window_s, now_ms).unwrap(),
                evidence
                    .labelled("labelled", STABLE, window_s, now_ms)
                    .unwrap(),
            )
        };
        assert_eq!(answers(&after), answers(&evidence));
        assert!(answers(&after).0.trials > 0);
    }
    // What is of another kind by now is left out, and so is what does not fit.
    let other = store();
    other.declare("label", MetricKind::Value).unwrap();
    let taken = kept
        .into_iter()
        .filter(|kept| other.restore(kept.clone(), now_ms));
    assert_eq!(taken.count(), 3);
}

#[test]
fn a_reference_is_held_against_its_own_kind_only() {
    let evidence = store();
    let rate = evidence.rate_series(name::ERROR_RATE, STABLE).unwrap();
    let value = evidence.value_series(name::LATENCY_MS, STABLE).unwrap();
    let label = evidence.category_series("label", STABLE).unwrap();
    for n in 0..2_000u64 {
        rate.record_rate(NOW + n, n % 20 == 0);
        value.record_value(NOW + n, 100.0 + ((37 * n) % 100) as f64);
        label.record_category(NOW + n, NOW + n, if n % 10 == 0 { "fraud" } else { "fine" });
    }
    let then = NOW + 2_000;
    let take = |metric| {
        evidence
            .reference(metric, STABLE, 60, then)
            .unwrap()
            .unwrap()
    };
    let [rates, values, labels] = [name::ERROR_RATE, name::LATENCY_MS, "label"].map(take);
    assert_eq!(
        (rates.samples(), values.samples(), labels.samples()),
        (2_000, 2_000, 2_000)
    );
    assert_eq!(
        evidence.reference(name::CONFIDENCE, STABLE, 60, then),
        Ok(None)
    );

    // An hour later errors are three times as many, and values half as large again.
    let later = NOW + 3_600_000;
    for n in 0..1_000u64 {
        rate.record_rate(later + n, n % 20 < 3);
        value.record_value(later + n, 150.0 + ((37 * n) % 100) as f64);
        label.record_category(
            later + n,
            later + n,
            if n % 10 == 0 { "fraud" } else { "fine" },
        );
    }
    let now_ms = later + 1_000;
    let compared = evidence.compare_with(name::ERROR_RATE, STABLE, 60, &rates, &options(), now_ms);
    assert_eq!(compared.unwrap().verdict, ComparisonVerdict::Worse);
    let compared = evidence.compare_with(name::LATENCY_MS, STABLE, 60, &values, &options(), now_ms);
    assert!((compared.unwrap().effect - 50.0).abs() < 1e-6);
    let drift = |metric, reference| evidence.drift_from(metric, STABLE, 60, reference, now_ms);
    assert_eq!(
        drift(name::LATENCY_MS, &values).unwrap().verdict,
        DriftVerdict::Drifted
    );
    assert_eq!(
        drift("label", &labels).unwrap().verdict,
        DriftVerdict::Stable
    );

    let kept = serde_json::to_string(&values).unwrap();
    assert_eq!(serde_json::from_str::<Reference>(&kept).unwrap(), values);
    let of_file = Reference::of_values((0..2_000u64).map(|n| 100.0 + ((37 * n) % 100) as f64));
    assert_eq!(
        drift(name::LATENCY_MS, &of_file),
        drift(name::LATENCY_MS, &values)
    );

    let refused = drift(name::LATENCY_MS, &labels).unwrap_err().to_string();
    assert!(
        refused.contains("of kind value, its reference of kind category"),
        "{refused}"
    );
    let bare = Reference::Value {
        moments: Moments::default(),
        bins: Vec::new(),
    };
    assert!(
        drift(name::LATENCY_MS, &bare)
            .unwrap_err()
            .to_string()
            .contains("only its moments")
    );
    assert_eq!(
        drift("nothing", &labels),
        Err(MetricsError::Unknown("nothing".into()))
    );
}

#[test]
fn a_measurement_knows_its_error_and_its_age() {
    let evidence = store();
    let rate = evidence.rate_series(name::ACCURACY, STABLE).unwrap();
    for n in 0..400 {
        rate.record_rate(NOW, n % 4 != 0);
    }
    let now_ms = NOW + 20_000;
    let accuracy = evidence
        .measure(name::ACCURACY, STABLE, 60, now_ms)
        .unwrap();
    assert_eq!(accuracy.samples, 400);
    assert!((accuracy.value - 0.75).abs() < 1e-12);
    assert!((accuracy.standard_error - (0.75 * 0.25 / 400.0f64).sqrt()).abs() < 1e-12);
    assert!(accuracy.age_ms.abs_diff(20_000) <= 200, "{accuracy:?}");
    let nothing = evidence
        .measure(name::LATENCY_MS, STABLE, 60, now_ms)
        .unwrap();
    assert_eq!(nothing, crate::metric::Measurement::default());
    assert!(evidence.measure("nothing", STABLE, 60, now_ms).is_err());
}
