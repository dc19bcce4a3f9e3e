//! sloth's and pyrra's published numbers, and an outage from beginning to end.

use super::config::{DAY_MS, HOUR_MS, MINUTE_MS};
use super::*;
use crate::metric::Severity;

const MINUTE: u64 = MINUTE_MS;

fn factors(windows: &[BurnWindow]) -> Vec<f64> {
    let rounded = |window: &BurnWindow| (window.factor * 10_000.0).round() / 10_000.0;
    windows.iter().map(rounded).collect()
}

fn minutes(windows: &[BurnWindow], of: fn(&BurnWindow) -> u64) -> Vec<u64> {
    windows.iter().map(|window| of(window) / MINUTE).collect()
}

#[test]
fn factors_are_those_of_sloth() {
    assert_eq!(
        factors(&default_windows(30 * DAY_MS)),
        [14.4, 6.0, 3.0, 1.0]
    );
    assert_eq!(
        factors(&default_windows(28 * DAY_MS)),
        [13.44, 5.6, 2.8, 0.9333]
    );
    let windows = default_windows(7 * DAY_MS);
    assert_eq!(
        minutes(&windows, |window| window.long_ms),
        [60, 360, 1_440, 4_320]
    );
    assert_eq!(
        minutes(&windows, |window| window.short_ms),
        [5, 30, 120, 360]
    );
}

#[test]
fn windows_are_those_of_pyrra() {
    let windows = pyrra_windows(28 * DAY_MS);
    assert_eq!(factors(&windows), [14.0, 7.0, 2.0, 1.0]);
    assert_eq!(
        minutes(&windows, |window| window.long_ms),
        [60, 360, 1_440, 5_760]
    );
    assert_eq!(
        minutes(&windows, |window| window.short_ms),
        [5, 30, 120, 360]
    );
    assert_eq!(minutes(&windows, |window| window.for_ms), [2, 15, 60, 180]);
    // Of half the period, half the windows.
    let half = pyrra_windows(14 * DAY_MS);
    assert_eq!(factors(&half), [14.0, 7.0, 2.0, 1.0]);
    assert_eq!(
        minutes(&half, |window| window.long_ms),
        [30, 180, 720, 2_880]
    );
    assert_eq!(minutes(&half, |window| window.for_ms), [1, 8, 30, 90]);
}

#[test]
fn all_mistakes_are_told_together() {
    let window = default_windows(PERIOD_MS_DEFAULT)[0];
    let config = SloConfig {
        objective: 1.0,
        period_ms: 0,
        windows: vec![
            BurnWindow {
                short_ms: window.long_ms,
                factor: f64::NAN,
                ..window
            },
            window,
        ],
        events_min: 1,
    };
    let mistakes = Slo::new(config).expect_err("is wrong");
    let told: Vec<String> = mistakes.iter().map(ToString::to_string).collect();
    assert_eq!(
        told,
        [
            "`objective` is 1, where a share between 0 and 1 is needed: 0.999 is 99.9 %",
            "`period_ms` is 0, where 1 to 31622400000 is possible",
            "`short_ms` of window 0 is not between 0 and its `long_ms`",
            "`long_ms` of window 0 is longer than the period",
            "`factor` of window 0 is not a number above 0",
            "`long_ms` of window 1 is longer than the period",
        ]
    );
    for objective in [0.0, -0.1, f64::NAN, 1.5] {
        assert!(
            !SloConfig::new(objective).mistakes().is_empty(),
            "{objective}"
        );
    }
    let none = SloConfig {
        windows: Vec::new(),
        ..SloConfig::new(0.99)
    };
    assert_eq!(none.mistakes(), [SloMistake::Windows(0)]);
    // 14.4 times 10 % is more than everything.
    assert_eq!(SloConfig::new(0.9).mistakes(), [SloMistake::Unreachable(0)]);
    assert_eq!(SloConfig::new(0.999).mistakes(), []);
}

/// One window to page: 99 % over 30 days, an hour and five minutes, 14.4 times.
fn one_window(for_ms: u64) -> Slo {
    let window = BurnWindow {
        for_ms,
        ..default_windows(PERIOD_MS_DEFAULT)[0]
    };
    let config = SloConfig {
        windows: vec![window],
        ..SloConfig::new(0.99)
    };
    Slo::new(config).expect("is right")
}

/// Counts of the long and of the short window.
fn counts(long: (u64, u64), short: (u64, u64)) -> impl WindowCounts {
    move |window_ms: u64| {
        let (events, trials) = if window_ms == HOUR_MS { long } else { short };
        Proportion { events, trials }
    }
}

fn step(slo: &mut Slo, at_ms: u64, counts: &impl WindowCounts) -> AlertState {
    slo.evaluate(at_ms, counts)[0].state
}

#[test]
fn both_windows_have_to_burn_faster_than_the_factor() {
    let reading = |long, short| one_window(0).evaluate(0, &counts(long, short))[0].reading;
    let burning = |long, short| match reading(long, short) {
        BurnReading::Measured { burning, .. } => burning,
        other => panic!("{other:?}"),
    };
    // 14.4 % is the line, and is not above itself.
    assert!(burning((145, 1_000), (15, 100)));
    assert!(!burning((143, 1_000), (15, 100)));
    assert!(!burning((145, 1_000), (14, 100)));
    assert_eq!(reading((0, 0), (0, 0)), BurnReading::NoEvidence);
    assert_eq!(reading((900, 1_000), (0, 0)), BurnReading::NoEvidence);
    assert_eq!(
        reading((19, 19), (19, 19)),
        BurnReading::NotEnoughData { events: 19 }
    );
    let slo = one_window(0);
    let rate = slo.burn_rate(Proportion {
        events: 5,
        trials: 100,
    });
    assert!((rate.expect("events") - 5.0).abs() < 1e-9);
    assert_eq!(slo.burn_rate(Proportion::default()), None);
    let left = slo.budget_left(&|_: u64| Proportion {
        events: 5,
        trials: 1_000,
    });
    assert!((left.expect("events") - 0.5).abs() < 1e-9);
}

#[test]
fn an_alert_waits_fires_and_resolves() {
    use AlertState::{Firing, Pending, Quiet, Resolved};
    let mut slo = one_window(2 * MINUTE);
    let bad = counts((500, 1_000), (50, 100));
    let good = counts((500, 1_000), (0, 100));
    assert_eq!(step(&mut slo, 0, &good), Quiet);
    assert_eq!(step(&mut slo, MINUTE, &bad), Pending { since_ms: MINUTE });
    // A blip is forgotten.
    assert_eq!(step(&mut slo, 2 * MINUTE, &good), Quiet);
    assert_eq!(
        step(&mut slo, 3 * MINUTE, &bad),
        Pending {
            since_ms: 3 * MINUTE
        }
    );
    assert_eq!(
        step(&mut slo, 4 * MINUTE, &bad),
        Pending {
            since_ms: 3 * MINUTE
        }
    );
    let firing = Firing {
        since_ms: 5 * MINUTE,
        blind_since_ms: None,
    };
    assert_eq!(step(&mut slo, 5 * MINUTE, &bad), firing);
    assert_eq!(step(&mut slo, 9 * MINUTE, &bad), firing);
    assert_eq!(slo.state(Urgency::Page), Some(firing));
    assert_eq!(slo.state(Urgency::Ticket), None);
    let resolved = Resolved {
        since_ms: 10 * MINUTE,
        fired_ms: 5 * MINUTE,
    };
    assert_eq!(step(&mut slo, 10 * MINUTE, &good), resolved);
    assert_eq!(step(&mut slo, 20 * MINUTE, &good), resolved);
    assert_eq!(step(&mut slo, 25 * MINUTE, &good), Quiet);
    // A clock that steps back lets nothing last longer.
    assert_eq!(
        step(&mut slo, 30 * MINUTE, &bad),
        Pending {
            since_ms: 30 * MINUTE
        }
    );
    assert_eq!(
        step(&mut slo, 29 * MINUTE, &bad),
        Pending {
            since_ms: 30 * MINUTE
        }
    );
}

#[test]
fn silence_neither_ends_an_alert_nor_counts_as_good() {
    use AlertState::{Firing, NoEvidence, NotEnoughData, Pending, Quiet};
    let mut slo = one_window(MINUTE);
    let bad = counts((500, 1_000), (50, 100));
    let nothing = counts((0, 0), (0, 0));
    let little = counts((3, 10), (3, 10));
    assert_eq!(slo.state(Urgency::Page), Some(NoEvidence));
    assert_eq!(step(&mut slo, 0, &nothing), NoEvidence);
    assert_eq!(step(&mut slo, 1, &little), NotEnoughData);
    // What was pending has to begin again.
    assert_eq!(step(&mut slo, 2, &bad), Pending { since_ms: 2 });
    assert_eq!(step(&mut slo, 3, &nothing), NoEvidence);
    assert_eq!(step(&mut slo, 4, &bad), Pending { since_ms: 4 });
    let firing = |blind_since_ms| Firing {
        since_ms: 4 + MINUTE,
        blind_since_ms,
    };
    assert_eq!(step(&mut slo, 4 + MINUTE, &bad), firing(None));
    assert_eq!(
        step(&mut slo, 5 + MINUTE, &nothing),
        firing(Some(5 + MINUTE))
    );
    assert_eq!(
        step(&mut slo, 9 + MINUTE, &little),
        firing(Some(5 + MINUTE))
    );
    assert!(slo.state(Urgency::Page).is_some_and(|state| state.fires()));
    // It survives a restart, and ends by a measurement.
    let json = serde_json::to_string(slo.alerts()).expect("serializes");
    let alerts: Vec<alert::Alert> = serde_json::from_str(&json).expect("reads back");
    // One that has another number of windows is another objective.
    let other = Slo::resume(SloConfig::new(0.99), alerts.clone()).expect("is right");
    assert_eq!(other.state(Urgency::Page), Some(NoEvidence));
    let mut slo = Slo::resume(slo.config().clone(), alerts).expect("is right");
    assert_eq!(step(&mut slo, 10 + MINUTE, &bad), firing(None));
    assert!(!step(&mut slo, 11 + MINUTE, &counts((0, 1_000), (0, 100))).fires());
    assert_eq!(
        step(
            &mut slo,
            12 + MINUTE + alert::RESOLVED_SHOWN_MS,
            &counts((0, 1_000), (0, 100))
        ),
        Quiet
    );
}

#[test]
fn an_urgency_shows_the_worst_of_its_windows() {
    let mut slo = Slo::new(SloConfig::new(0.999)).expect("is right");
    // Burning in the six hours, nothing known of the last one.
    let partly = |window_ms: u64| match window_ms {
        HOUR_MS => Proportion::default(),
        _ => Proportion {
            events: 20,
            trials: 1_000,
        },
    };
    let told = status(&slo.evaluate(7, &partly));
    let firing = AlertState::Firing {
        since_ms: 7,
        blind_since_ms: None,
    };
    assert_eq!(slo.state(Urgency::Page), Some(firing));
    assert_eq!(
        (told.state, told.severity),
        (ObjectiveState::Firing, Some(Severity::Critical))
    );
    assert!(
        (told.burn_rate - 20.0).abs() < 1e-9 && told.samples == 1_000,
        "{told:?}"
    );
    // All well where anything is known: not all is known.
    let mut slo = Slo::new(SloConfig::new(0.999)).expect("is right");
    let partly = |window_ms: u64| match window_ms {
        HOUR_MS => Proportion::default(),
        _ => Proportion {
            events: 0,
            trials: 1_000,
        },
    };
    let told = status(&slo.evaluate(7, &partly));
    assert_eq!(slo.state(Urgency::Page), Some(AlertState::NoEvidence));
    assert_eq!(slo.state(Urgency::Ticket), Some(AlertState::Quiet));
    assert_eq!(
        (told.state, told.severity, told.samples),
        (ObjectiveState::NoEvidence, None, 0)
    );
    // All known, and some of it slow: a ticket.
    let mut slo = Slo::new(SloConfig::new(0.999)).expect("is right");
    let slow = |_: u64| Proportion {
        events: 4,
        trials: 1_000,
    };
    let told = status(&slo.evaluate(7, &slow));
    assert_eq!(
        (told.state, told.severity),
        (ObjectiveState::Firing, Some(Severity::Warning))
    );
    let well = |_: u64| Proportion {
        events: 0,
        trials: 1_000,
    };
    let told = status(&slo.evaluate(8, &well));
    assert_eq!(
        (told.state, told.severity, told.samples),
        (ObjectiveState::Met, None, 1_000)
    );
    assert_eq!(status(&[]).state, ObjectiveState::NoEvidence);
}

/// When a page fires, in minutes, in a day of 100 requests a minute of which
/// those of one half hour (from minute 720) fail.
fn outage(slo: &mut Slo) -> Vec<u64> {
    let firing = |now: &u64| {
        let counts = |window_ms: u64| {
            let minutes = now.saturating_sub(window_ms / MINUTE)..*now;
            let failed = minutes
                .clone()
                .filter(|minute| (720..750).contains(minute))
                .count();
            Proportion {
                events: 100 * failed as u64,
                trials: 100 * (minutes.end - minutes.start),
            }
        };
        slo.evaluate(now * MINUTE, &counts);
        slo.state(Urgency::Page).is_some_and(|state| state.fires())
    };
    (1..=1_440).filter(firing).collect()
}

/// The Workbook: at 99.9 %, a whole outage is above 14.4 times over the hour
/// after 0.864 minutes of it.
#[test]
fn an_outage_pages_within_a_minute_and_ends_with_the_short_window() {
    let quick = SloConfig {
        windows: default_windows(PERIOD_MS_DEFAULT)[..1].to_vec(),
        ..SloConfig::new(0.999)
    };
    let fired = outage(&mut Slo::new(quick).expect("is right"));
    assert_eq!(fired, (721..=754).collect::<Vec<u64>>());
    // The slow pair goes on while the last half hour has a bad minute in it.
    let fired = outage(&mut Slo::new(SloConfig::new(0.999)).expect("is right"));
    assert_eq!(fired, (721..=779).collect::<Vec<u64>>());
}
