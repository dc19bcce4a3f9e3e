//! A concurrency limit that follows a release's capacity.
//!
//! Below its capacity a server's latency does not depend on how much it is
//! asked at once; above, it grows in proportion. So the limit is multiplied by
//! how much faster the release is when it has little to do than it is now (the
//! gradient), and a little is added to find out whether there is room for
//! more. The form is that of Netflix's `Gradient2Limit`
//! (github.com/Netflix/concurrency-limits) with two changes that Envoy's
//! adaptive concurrency filter makes as well: samples are looked at window by
//! window, by their median; and the latency at rest is measured, not averaged,
//! since an average drifts upward through an overload that lasts.
//!
//! The latency at rest is the lowest median of a window in the last one to two
//! minutes. When every window of a minute was at the limit, one is measured at
//! half of it.
//!
//! A release that turns calls away (throttled, overloaded, out of time) says
//! itself that there are too many: the limit then falls by a tenth a window,
//! as with TCP.

/// Most samples of one window; the median of more is no better.
const WINDOW_SAMPLES_MAX: usize = 64;
/// Fewest samples that a median means anything of.
const WINDOW_SAMPLES_MIN: usize = 8;
/// Shortest window, in microseconds.
const WINDOW_US_MIN: u64 = 50_000;
/// How long a latency at rest is believed, in microseconds; then the next one
/// takes over.
const AT_REST_US: u64 = 60_000_000;
/// Differences of latency below this are the machine's, not the model's.
const NOISE_US: u64 = 3_000;
/// The limit falls by no more than half in one window.
const GRADIENT_MIN: f64 = 0.5;
/// What it falls by after a window in which calls were turned away.
const BACKOFF: f64 = 0.9;
/// What is added when there may be room: a twentieth, at least one.
const HEADROOM: f64 = 0.05;

/// Settings of a limit.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct GradientOptions {
    /// The limit in the beginning.
    pub initial: u32,
    /// It never falls below this; at least 1.
    pub min: u32,
    /// It never rises above this.
    pub max: u32,
    /// How many times the latency at rest is still no sign of overload; at
    /// least 1.
    pub tolerance: f64,
    /// Share of a change that is made in one window, above 0, at most 1.
    pub smoothing: f64,
}

/// One call that has answered, or was turned away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sample {
    /// Microseconds until the first token, or the whole answer where it is no
    /// stream.
    pub latency_us: u64,
    /// Calls under way when it ended, itself included.
    pub in_flight: u32,
    /// True when the release turned it away.
    pub dropped: bool,
}

/// The limit of one release.
#[derive(Debug)]
pub struct Gradient {
    options: GradientOptions,
    limit: f64,
    /// Until the first overload the limit doubles.
    slow_start: bool,
    /// True while a window is measured at half of the limit.
    resting: bool,
    window: Window,
    /// Lowest medians of the present and the last minute.
    at_rest: [Option<u64>; 2],
    minute_began_us: u64,
    /// True when the present minute had a window below the limit.
    rested: bool,
}

#[derive(Debug, Default)]
struct Window {
    began_us: u64,
    latencies_us: Vec<u64>,
    in_flight_max: u32,
    dropped: u32,
    calls: u32,
}

impl Gradient {
    /// A limit that begins now.
    pub fn new(options: GradientOptions, now_us: u64) -> Gradient {
        Gradient {
            limit: f64::from(
                options
                    .initial
                    .clamp(options.min.max(1), options.max.max(1)),
            ),
            options,
            slow_start: true,
            resting: false,
            window: Window {
                began_us: now_us,
                ..Window::default()
            },
            at_rest: [None; 2],
            minute_began_us: now_us,
            rested: false,
        }
    }

    /// The limit now, at least 1.
    pub fn limit(&self) -> u32 {
        let limit = if self.resting {
            (self.limit / 2.0).max(f64::from(self.options.min))
        } else {
            self.limit
        };
        (limit.round() as u32).max(1)
    }

    /// The latency at rest in microseconds, once there is one.
    pub fn at_rest_us(&self) -> Option<u64> {
        self.at_rest.into_iter().flatten().min()
    }

    /// Takes a sample; true when the limit may have changed.
    pub fn sample(&mut self, now_us: u64, sample: Sample) -> bool {
        let window = &mut self.window;
        window.calls += 1;
        window.in_flight_max = window.in_flight_max.max(sample.in_flight);
        if sample.dropped {
            window.dropped += 1;
        } else if window.latencies_us.len() < WINDOW_SAMPLES_MAX {
            window.latencies_us.push(sample.latency_us);
        }
        let long_enough = now_us.saturating_sub(window.began_us) >= WINDOW_US_MIN;
        if !long_enough || (window.calls as usize) < WINDOW_SAMPLES_MIN {
            return false;
        }
        let next = Window {
            began_us: now_us,
            latencies_us: Vec::with_capacity(WINDOW_SAMPLES_MAX),
            ..Window::default()
        };
        let window = std::mem::replace(&mut self.window, next);
        self.close(now_us, window);
        true
    }

    fn close(&mut self, now_us: u64, mut window: Window) {
        let limit = self.limit();
        let median_us = if window.latencies_us.is_empty() {
            None
        } else {
            let middle = window.latencies_us.len() / 2;
            Some(*window.latencies_us.select_nth_unstable(middle).1)
        };
        let at_limit = window.in_flight_max >= limit;
        let rested = std::mem::take(&mut self.resting);
        self.note_at_rest(now_us, median_us, at_limit && !rested);
        if rested {
            return;
        }
        if window.dropped > 0 {
            self.slow_start = false;
            // Calls under way tell more than a limit that nobody reaches.
            let from = self.limit.min(f64::from(window.in_flight_max.max(1)));
            self.set(from * BACKOFF);
            return;
        }
        let (Some(median_us), Some(at_rest_us)) = (median_us, self.at_rest_us()) else {
            return;
        };
        let bearable_us =
            (at_rest_us as f64 * self.options.tolerance).max((at_rest_us + NOISE_US) as f64);
        let gradient = (bearable_us / median_us.max(1) as f64).clamp(GRADIENT_MIN, 1.0);
        if gradient < 1.0 {
            self.slow_start = false;
            let from = self.limit.min(f64::from(window.in_flight_max));
            let wanted = from * gradient + headroom(from);
            self.set(from + (wanted - from) * self.options.smoothing);
        } else if at_limit {
            let wanted = if self.slow_start {
                self.limit * 2.0
            } else {
                self.limit + headroom(self.limit) * self.options.smoothing.max(0.2)
            };
            self.set(wanted);
        }
    }

    fn set(&mut self, limit: f64) {
        let (min, max) = (self.options.min.max(1), self.options.max.max(1));
        self.limit = limit.clamp(f64::from(min.min(max)), f64::from(max));
    }

    /// Keeps the lowest median of each minute.
    fn note_at_rest(&mut self, now_us: u64, median_us: Option<u64>, at_limit: bool) {
        if now_us.saturating_sub(self.minute_began_us) >= AT_REST_US {
            self.minute_began_us = now_us;
            if self.rested {
                self.at_rest = [None, self.at_rest[0]];
            } else {
                // Nothing of this minute was at rest: measure before the old
                // figure is forgotten.
                self.resting = true;
                self.at_rest = [None, None];
            }
            self.rested = false;
        }
        let Some(median_us) = median_us else { return };
        self.rested |= !at_limit;
        let lowest = &mut self.at_rest[0];
        *lowest = Some(lowest.map_or(median_us, |lowest| lowest.min(median_us)));
    }
}

fn headroom(limit: f64) -> f64 {
    (limit * HEADROOM).max(1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const OPTIONS: GradientOptions = GradientOptions {
        initial: 20,
        min: 1,
        max: 1_000,
        tolerance: 1.2,
        smoothing: 0.2,
    };

    /// A server that works on so many calls at once, each for so long, and
    /// keeps the others waiting in line; always asked as much as the limit
    /// lets pass, or `demand` where that is less.
    struct Server {
        capacity: u32,
        service_us: u64,
        demand: u32,
        now_us: u64,
    }

    impl Server {
        /// Plays for `seconds`; returns the lowest and the highest limit of
        /// the last half, but for windows at rest.
        fn play(&mut self, gradient: &mut Gradient, seconds: u64) -> (u32, u32) {
            let (begun_us, end_us) = (self.now_us, self.now_us + seconds * 1_000_000);
            let (mut lowest, mut highest) = (u32::MAX, 0);
            while self.now_us < end_us {
                let in_flight = gradient.limit().min(self.demand);
                // In a line of this length each waits its share of it.
                let queued = f64::from(in_flight.max(self.capacity)) / f64::from(self.capacity);
                let latency_us = (self.service_us as f64 * queued) as u64;
                let working = u64::from(in_flight.min(self.capacity));
                self.now_us += self.service_us / working.max(1);
                let sample = Sample {
                    latency_us,
                    in_flight,
                    dropped: false,
                };
                gradient.sample(self.now_us, sample);
                if self.now_us - begun_us > seconds * 500_000 && !gradient.resting {
                    lowest = lowest.min(gradient.limit());
                    highest = highest.max(gradient.limit());
                }
            }
            (lowest, highest)
        }
    }

    fn server(capacity: u32, demand: u32) -> Server {
        Server {
            capacity,
            service_us: 50_000,
            demand,
            now_us: 0,
        }
    }

    #[test]
    fn it_settles_a_little_above_what_the_server_can_do() {
        for initial in [2, 20, 200] {
            let mut gradient = Gradient::new(GradientOptions { initial, ..OPTIONS }, 0);
            let mut server = server(8, 4);
            server.play(&mut gradient, 2);
            server.demand = 1_000;
            let (lowest, highest) = server.play(&mut gradient, 20);
            assert!(lowest >= 8, "{initial}: {lowest}: capacity lies idle");
            assert!(highest <= 12, "{initial}: {highest}: a line forms");
        }
    }

    #[test]
    fn an_overload_that_lasts_does_not_wear_it_down() {
        let mut gradient = Gradient::new(OPTIONS, 0);
        let mut server = server(8, 4);
        server.play(&mut gradient, 2);
        server.demand = 1_000;
        server.play(&mut gradient, 600);
        let mut overloaded = 0;
        for _ in 0..600 {
            let (_, highest) = server.play(&mut gradient, 1);
            overloaded += u32::from(highest > 12);
        }
        assert!(overloaded < 6, "above for {overloaded} of 600 s");
    }

    #[test]
    fn it_finds_room_again() {
        let mut gradient = Gradient::new(OPTIONS, 0);
        let mut server = server(8, 1_000);
        server.play(&mut gradient, 30);
        server.capacity = 64;
        let (lowest, _) = server.play(&mut gradient, 120);
        assert!(lowest >= 60, "{lowest}");
    }

    #[test]
    fn a_model_that_became_slower_for_good_is_not_starved() {
        let mut gradient = Gradient::new(OPTIONS, 0);
        let mut server = server(64, 32);
        server.play(&mut gradient, 10);
        server.service_us *= 4;
        server.demand = 1_000;
        let (lowest, _) = server.play(&mut gradient, 400);
        assert!(lowest >= 58, "{lowest}");
    }

    #[test]
    fn little_traffic_leaves_it_alone() {
        let mut gradient = Gradient::new(OPTIONS, 0);
        server(8, 3).play(&mut gradient, 200);
        assert_eq!(gradient.limit(), 20);
        assert_eq!(gradient.at_rest_us(), Some(50_000));
    }

    #[test]
    fn calls_that_are_turned_away_lower_it() {
        let mut gradient = Gradient::new(OPTIONS, 0);
        let mut now_us = 0;
        for _ in 0..100 {
            now_us += 10_000;
            let sample = Sample {
                latency_us: 1_000,
                in_flight: gradient.limit(),
                dropped: true,
            };
            gradient.sample(now_us, sample);
        }
        assert!(gradient.limit() < 8, "{}", gradient.limit());
        assert_eq!(gradient.at_rest_us(), None, "a refusal is no answer");
    }

    #[test]
    fn noise_of_a_fast_model_is_no_overload() {
        let mut gradient = Gradient::new(OPTIONS, 0);
        for call in 0..10_000 {
            let sample = Sample {
                latency_us: if call % 100 < 50 { 200 } else { 2_500 },
                in_flight: 20,
                dropped: false,
            };
            gradient.sample(call * 1_000, sample);
        }
        assert!(gradient.limit() > 20, "{}", gradient.limit());
    }
}
