//! The history beside a list of everything, and what odd clocks do to it.

use super::super::config::{DAY_MS, HOUR_MS, MINUTE_MS};
use super::super::{PERIOD_MS_MAX, Slo, SloConfig, alert::AlertState};
use super::*;
use proptest::prelude::*;

fn counts(bad: u64, all: u64) -> Proportion {
    Proportion {
        events: bad,
        trials: all,
    }
}

/// Everything that was counted, with its moment.
#[derive(Default)]
struct List(Vec<(u64, Proportion)>);

impl List {
    fn within(&self, now_ms: u64, window_ms: u64) -> Proportion {
        let tick = |ms: u64| ms / TICK_MS;
        let mut sum = Proportion::default();
        for (at_ms, one) in &self.0 {
            if tick(*at_ms) + window_ms / TICK_MS > tick(now_ms) {
                sum.events += one.events;
                sum.trials += one.trials;
            }
        }
        sum
    }
}

/// As far off as the module's documentation allows.
fn slack_ms(window_ms: u64) -> u64 {
    window_ms / 64 + TICK_MS
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn windows_are_those_of_a_list(
        steps in proptest::collection::vec(
            (prop_oneof![4 => 1_000..60_000_u64, 2 => 60_000..HOUR_MS, 1 => HOUR_MS..20 * DAY_MS],
             0..20_u64, 0..50_u64),
            1..200,
        ),
        window_ms in prop_oneof![30_000..HOUR_MS, HOUR_MS..3 * DAY_MS, 3 * DAY_MS..PERIOD_MS_MAX],
    ) {
        let (mut history, mut list) = (History::default(), List::default());
        let mut now_ms = 1_700_000_000_000;
        for (passed_ms, bad, all) in steps {
            now_ms += passed_ms;
            let one = counts(bad.min(all), all);
            history.record(now_ms, PERIOD_MS_MAX, one);
            list.0.push((now_ms, one));
            let told = history.counts(window_ms);
            let least = list.within(now_ms, window_ms.saturating_sub(slack_ms(window_ms)));
            let most = list.within(now_ms, window_ms + slack_ms(window_ms));
            prop_assert!(told.trials >= least.trials && told.trials <= most.trials,
                "{told:?} is not between {least:?} and {most:?}");
            prop_assert!(told.events >= least.events && told.events <= most.events,
                "{told:?} is not between {least:?} and {most:?}");
            prop_assert!(history.buckets.len() <= BUCKETS_MAX);
            let ordered = history.buckets.windows(2).all(|two| two[0].end() <= two[1].start);
            prop_assert!(ordered, "{:?}", history.buckets);
        }
        let text = serde_json::to_string(&history).unwrap();
        let again: History = serde_json::from_str(&text).unwrap();
        prop_assert_eq!(again, history);
    }
}

#[test]
fn a_year_of_every_tick_stays_small() {
    let mut history = History::default();
    let ticks = PERIOD_MS_MAX / TICK_MS;
    // Eight ticks at once while that makes no difference to the end.
    let old = ticks - ticks / 32;
    for tick in (0..old).step_by(8).chain(old..ticks) {
        let width = if tick < old { 8 } else { 1 };
        history.record(tick * TICK_MS, PERIOD_MS_MAX, counts(width, 2 * width));
        assert!(history.buckets.len() <= BUCKETS_MAX);
    }
    assert!(history.buckets.len() < 600, "{}", history.buckets.len());
    let bytes = serde_json::to_string(&history).unwrap().len();
    assert!(bytes < 24 << 10, "{bytes}");
    let month = history.counts(30 * DAY_MS);
    let exact = 2 * 30 * DAY_MS / TICK_MS;
    let off = month.trials.abs_diff(exact) as f64 / exact as f64;
    assert!(off < 1.0 / 60.0, "{month:?} of {exact}");
    // What the period no longer reaches is forgotten.
    history.record(PERIOD_MS_MAX + 40 * DAY_MS, 30 * DAY_MS, counts(0, 1));
    assert_eq!(history.buckets.len(), 1);
}

#[test]
fn a_clock_that_is_set_back_goes_on_from_where_it_was() {
    let mut history = History::default();
    history.record(DAY_MS, DAY_MS, counts(3, 10));
    // Back by half a day: nothing grows younger, and nothing is lost.
    history.record(DAY_MS / 2, DAY_MS, counts(1, 10));
    assert_eq!(history.counts(HOUR_MS), counts(4, 20));
    // It grows old from there.
    history.record(DAY_MS / 2 + 2 * HOUR_MS, DAY_MS, counts(0, 5));
    assert_eq!(history.counts(HOUR_MS), counts(0, 5));
    assert_eq!(history.counts(3 * HOUR_MS), counts(4, 25));
    // And the same after it was kept.
    let text = serde_json::to_string(&history).unwrap();
    let mut history: History = serde_json::from_str(&text).unwrap();
    history.record(HOUR_MS, DAY_MS, counts(1, 1));
    assert_eq!(history.counts(HOUR_MS), counts(1, 6));
}

#[test]
fn a_clock_that_is_set_forward_is_a_silence() {
    let mut history = History::default();
    history.record(0, 30 * DAY_MS, counts(3, 10));
    history.record(10 * DAY_MS, 30 * DAY_MS, Proportion::default());
    assert_eq!(history.counts(DAY_MS), Proportion::default());
    assert_eq!(history.counts(30 * DAY_MS), counts(3, 10));
    history.record(u64::MAX, 30 * DAY_MS, Proportion::default());
    assert_eq!(history.counts(30 * DAY_MS), Proportion::default());
}

#[test]
fn what_was_kept_is_checked_like_a_stranger_s() {
    let text = r#"{"now_tick": 100, "ahead_ticks": 0, "buckets":
        [[8, 2, 1, 2], [9, 0, 1, 1], [13, 1, 1, 1], [20, 99, 1, 1], [30, 0, 5, 4], [40, 0, 0, 0],
         [101, 0, 1, 1], [50, 0, 1, 3]]}"#;
    let history: History = serde_json::from_str(text).unwrap();
    let kept: Vec<_> = history.buckets.iter().map(|of| of.start).collect();
    assert_eq!(kept, [8, 50]);
}

/// sloth's windows for 99.9 % over 30 days, an outage of everything at ten
/// requests a second: the page's hour is burnt 14.4 times after 14.4 ‰ of it.
#[test]
fn an_outage_pages_after_the_time_that_the_workbook_gives() {
    let config = SloConfig::new(0.999);
    let mut slo = Slo::new(config).unwrap();
    let mut history = History::default();
    let keep_ms = slo.config().period_ms;
    let began_ms = DAY_MS + 12 * HOUR_MS;
    let (mut paged_ms, mut quiet_ms) = (None, None);
    let ended_ms = began_ms + 10 * MINUTE_MS;
    let mut now_ms = 0;
    while now_ms < began_ms + 3 * HOUR_MS {
        now_ms += TICK_MS;
        let out = now_ms > began_ms && now_ms <= ended_ms;
        history.record(now_ms, keep_ms, counts(if out { 100 } else { 0 }, 100));
        let page = slo.evaluate(now_ms, &history)[0].state;
        match page {
            AlertState::Firing { .. } => {
                paged_ms.get_or_insert(now_ms - began_ms);
            }
            AlertState::Resolved { .. } if paged_ms.is_some() => {
                quiet_ms.get_or_insert(now_ms - ended_ms);
            }
            _ => {}
        }
    }
    // 1.44 % of an hour is 51.84 s; counted in ticks, with the edge's 1.6 %.
    let paged_ms = paged_ms.unwrap();
    assert!((50_000..=60_000).contains(&paged_ms), "{paged_ms}");
    // The short window is empty of it after five minutes, give or take.
    let quiet_ms = quiet_ms.unwrap();
    assert!((280_000..=320_000).contains(&quiet_ms), "{quiet_ms}");
    // Ten minutes of 30 days at 99.9 % (43.2 min of budget). So far a day and a
    // half have passed, of which they are 0.44 %, 4.4 times what is allowed.
    let left = slo.budget_left(&history).unwrap();
    let spent = 10.0 / (39.0 * 60.0) / 0.001;
    assert!(
        (left - (1.0 - spent)).abs() < 0.1,
        "{left} of {}",
        1.0 - spent
    );
}
