//! What holds for every answer: the verdict passes the host's checks, more
//! confidence is never treated worse, and dropped quality never makes an
//! answer pass that did not pass before.

use crate::judge::{Facts, Lines, Quality, judge};
use crate::settings::{CutShort, NothingLeft, Response, Settings};
use backstop_sdk::metrics::Proportion;
use backstop_sdk::{FinishReason, Outcome, Standing};
use proptest::prelude::*;
use std::collections::BTreeMap;

fn response() -> impl Strategy<Value = Response> {
    prop_oneof![
        Just(Response::Accept),
        Just(Response::Escalate),
        Just(Response::Review)
    ]
}

fn cut_short() -> impl Strategy<Value = CutShort> {
    prop_oneof![
        Just(CutShort::Judge),
        Just(CutShort::Escalate),
        Just(CutShort::Review)
    ]
}

prop_compose! {
    fn settings()(
        lines in (0.0..=1.0_f64, 0.0..=1.0_f64),
        responses in (response(), response(), response()),
        cuts in (cut_short(), cut_short()),
        accept_last in any::<bool>(),
        tighten_by in 0.0..=1.0_f64,
    ) -> Settings {
        Settings {
            accept_at: lines.0.max(lines.1),
            review_below: lines.0.min(lines.1),
            in_band: responses.0,
            below_band: responses.1,
            per_label: BTreeMap::new(),
            without_confidence: responses.2,
            on_length: cuts.0,
            on_content_filter: cuts.1,
            tokens_per_second_min: 5.0,
            nothing_left: if accept_last { NothingLeft::Accept } else { NothingLeft::LastResort },
            tighten_by,
            accuracy_min: 0.9,
            labels_min: 50,
            tighten_on_drift: false,
            window_s: 60,
            reference_s: 600,
            provenance: None,
        }
    }
}

prop_compose! {
    fn facts()(
        confidence in prop::option::of(prop_oneof![0.0..=1.0_f64, any::<f64>()]),
        finish_reason in prop::option::of(prop_oneof![
            Just(FinishReason::Stop),
            Just(FinishReason::Length),
            Just(FinishReason::ContentFilter),
        ]),
        steps_left in 0..3_u32,
        pace in prop::option::of(0.0..=10.0_f64),
        delivered in any::<bool>(),
        has_review in any::<bool>(),
    ) -> Facts {
        Facts {
            confidence,
            finish_reason,
            pace,
            standing: Standing { steps_left, delivered, has_review },
        }
    }
}

const DROPPED: Quality = Quality::AccuracyLow {
    accuracy: Proportion {
        events: 1,
        trials: 100,
    },
    line: 0.9,
};

proptest! {
    #[test]
    fn every_verdict_is_one_that_a_host_applies(settings in settings(), facts in facts()) {
        let lines = Lines::of(&settings, None);
        for quality in [Quality::Unknown, DROPPED] {
            let verdict = judge(&settings, &lines, &facts, &quality);
            for value in [verdict.confidence, verdict.line].into_iter().flatten() {
                prop_assert!((0.0..=1.0).contains(&value), "{value}");
            }
            prop_assert!(verdict.reason.len() <= 1_024);
            if facts.standing.delivered {
                prop_assert_ne!(verdict.outcome, Outcome::Escalate);
            }
            if !facts.standing.has_review {
                prop_assert_ne!(verdict.outcome, Outcome::Review);
            }
        }
    }

    #[test]
    fn dropped_quality_lets_nothing_more_pass(mut settings in settings(), facts in facts()) {
        // What an operator lets pass inside the band would pass on both sides.
        settings.in_band = Response::Escalate;
        settings.below_band = Response::Review;
        let lines = Lines::of(&settings, None);
        let usual = judge(&settings, &lines, &facts, &Quality::Unknown);
        let strict = judge(&settings, &lines, &facts, &DROPPED);
        prop_assert!(usual.outcome == Outcome::Accept || strict.outcome != Outcome::Accept);
    }

    #[test]
    fn more_confidence_is_never_treated_worse(
        mut settings in settings(),
        facts in facts(),
        a in 0.0..=1.0_f64,
        b in 0.0..=1.0_f64,
    ) {
        settings.in_band = Response::Escalate;
        settings.below_band = Response::Review;
        let lines = Lines::of(&settings, None);
        let of = |confidence| {
            let facts = Facts { confidence: Some(confidence), ..facts };
            judge(&settings, &lines, &facts, &Quality::Unknown).outcome
        };
        if of(a.min(b)) == Outcome::Accept {
            prop_assert_eq!(of(a.max(b)), Outcome::Accept);
        }
    }
}
