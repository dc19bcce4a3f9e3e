//! Simulated canaries, each judged by several methods at every look.
//!
//! Shared by the test `peeking` and the example of the same name. The same seed
//! gives the same canaries.

use backstop_core::metric::{
    Comparison, ComparisonOptions, ComparisonVerdict, Direction, Moments, Proportion,
};
use backstop_core::stats::compare::{
    MeanMethod, Question, RateMethod, compare_means_by, compare_rates_by,
};

/// Nominal chance of a false alarm.
pub(crate) const ALPHA: f64 = 0.05;

/// What is measured of every request, and what it is like on either side.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Traffic {
    /// Requests fail at these rates.
    Errors {
        /// Of the baseline.
        baseline: f64,
        /// Of the candidate.
        candidate: f64,
    },
    /// Requests take lognormal milliseconds about this median with sigma 0.5; the
    /// candidate's are longer by a factor.
    Latency {
        /// 1 is no difference.
        factor: f64,
    },
}

/// Many canaries of one kind.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Canaries {
    /// What they see.
    pub(crate) traffic: Traffic,
    /// How many.
    pub(crate) canaries: u32,
    /// How often each is looked at.
    pub(crate) looks: u32,
    /// Requests of the candidate between two looks.
    pub(crate) per_look: u32,
    /// Requests of the baseline for one of the candidate.
    pub(crate) baseline_share: u32,
    /// Of the random numbers.
    pub(crate) seed: u64,
}

/// How a canary is judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    /// The confidence sequence that rollouts use, at every look.
    Sequence,
    /// The exact confidence sequence, at every look; rates only.
    Exact,
    /// A fixed-horizon test, at every look: what is done by hand.
    Naive,
    /// A fixed-horizon test, once.
    Once,
}

impl Way {
    /// For the table.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Way::Sequence => "sequence, every look",
            Way::Exact => "exact sequence, every look",
            Way::Naive => "fixed-horizon test, every look",
            Way::Once => "fixed-horizon test, once",
        }
    }
}

/// What became of the canaries by one way.
#[derive(Debug, Clone)]
pub(crate) struct Outcome {
    /// Of each canary, the look at which there was a verdict of a difference;
    /// none when there was none.
    alarms: Vec<Option<u32>>,
    /// Requests of the candidate at each look.
    per_look: u32,
}

impl Outcome {
    /// Canaries with an alarm within the first `requests` of the candidate.
    pub(crate) fn alarmed_within(&self, requests: u32) -> u64 {
        let within =
            |look: &&Option<u32>| look.is_some_and(|look| look * self.per_look <= requests);
        self.alarms.iter().filter(within).count() as u64
    }

    /// Canaries with an alarm.
    pub(crate) fn alarmed(&self) -> Proportion {
        Proportion {
            events: self.alarmed_within(u32::MAX),
            trials: self.alarms.len() as u64,
        }
    }

    /// Requests of the candidate until half of the canaries had an alarm.
    pub(crate) fn requests_median(&self) -> Option<u32> {
        let mut looks: Vec<u32> = self.alarms.iter().flatten().copied().collect();
        looks.sort_unstable();
        looks
            .get(self.alarms.len() / 2)
            .map(|look| look * self.per_look)
    }
}

/// One side of a canary.
#[derive(Debug, Clone, Copy, Default)]
struct Side {
    events: u64,
    samples: u64,
    sum: f64,
    squares: f64,
}

impl Side {
    fn proportion(self) -> Proportion {
        Proportion {
            events: self.events,
            trials: self.samples,
        }
    }

    fn moments(self) -> Moments {
        let n = self.samples as f64;
        let mean = self.sum / n;
        Moments {
            samples: self.samples,
            mean,
            stddev: ((self.squares - n * mean * mean).max(0.0) / (n - 1.0)).sqrt(),
        }
    }
}

impl Canaries {
    /// Requests of the candidate at the last look.
    pub(crate) fn horizon(&self) -> u32 {
        self.looks * self.per_look
    }

    /// Judges all canaries by a way. `once` is how many requests of the
    /// candidate a single look waits for.
    pub(crate) fn play(&self, way: Way, once: u32) -> Outcome {
        let mut random = fastrand::Rng::with_seed(self.seed);
        let alarms = (0..self.canaries).map(|_| self.canary(way, once, &mut random));
        Outcome {
            alarms: alarms.collect(),
            per_look: self.per_look,
        }
    }

    fn canary(&self, way: Way, once: u32, random: &mut fastrand::Rng) -> Option<u32> {
        // Of its own, so that all ways see the same canary.
        let mut random = random.fork();
        let (mut candidate, mut baseline) = (Side::default(), Side::default());
        for look in 1..=self.looks {
            for _ in 0..self.per_look {
                self.request(&mut candidate, true, &mut random);
                for _ in 0..self.baseline_share {
                    self.request(&mut baseline, false, &mut random);
                }
            }
            if way == Way::Once && look * self.per_look < once {
                continue;
            }
            let verdict = self.judge(way, candidate, baseline).verdict;
            if matches!(
                verdict,
                ComparisonVerdict::Better | ComparisonVerdict::Worse
            ) {
                return Some(look);
            }
            if way == Way::Once {
                return None;
            }
        }
        None
    }

    fn request(&self, side: &mut Side, is_candidate: bool, random: &mut fastrand::Rng) {
        side.samples += 1;
        match self.traffic {
            Traffic::Errors {
                baseline,
                candidate,
            } => {
                let rate = if is_candidate { candidate } else { baseline };
                side.events += u64::from(random.f64() < rate);
            }
            Traffic::Latency { factor } => {
                // By Box and Muller.
                let (u, v) = (1.0 - random.f64(), random.f64());
                let normal = (-2.0 * u.ln()).sqrt() * (std::f64::consts::TAU * v).cos();
                let factor = if is_candidate { factor } else { 1.0 };
                let value = 400.0 * (0.5 * normal).exp() * factor;
                side.sum += value;
                side.squares += value * value;
            }
        }
    }

    fn judge(&self, way: Way, candidate: Side, baseline: Side) -> Comparison {
        let options = ComparisonOptions {
            direction: Direction::LowerIsBetter,
            alpha: ALPHA,
            margin: 0.0,
            samples_min: 20,
        };
        let question = Question::Difference;
        match self.traffic {
            Traffic::Errors { .. } => {
                let method = match way {
                    Way::Sequence => RateMethod::Sequence,
                    Way::Exact => RateMethod::ExactSequence,
                    Way::Naive | Way::Once => RateMethod::Newcombe,
                };
                let (candidate, baseline) = (candidate.proportion(), baseline.proportion());
                compare_rates_by(candidate, baseline, &options, question, method)
            }
            Traffic::Latency { .. } => {
                let method = match way {
                    Way::Sequence | Way::Exact => MeanMethod::Sequence,
                    Way::Naive | Way::Once => MeanMethod::Welch,
                };
                let (candidate, baseline) = (candidate.moments(), baseline.moments());
                compare_means_by(candidate, baseline, &options, question, method)
            }
        }
    }
}
