//! The Page-Hinkley test: Page, "Continuous inspection schemes", 1954, with the
//! forgetting factor and both directions of river.

use serde::{Deserialize, Serialize};

/// Which changes of the mean count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PageHinkleyMode {
    /// Increases.
    Up,
    /// Decreases.
    Down,
    /// Both.
    #[default]
    Both,
}

/// Parameters, by default river's.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PageHinkleyOptions {
    /// Values before the first alarm.
    pub samples_min: u64,
    /// Change of the mean that does not matter, in the values' unit.
    pub delta: f64,
    /// How far values may run, in the values' unit times values. With the default
    /// a rate that rises by 0.1 is seen after some 500 values.
    pub threshold: f64,
    /// What is kept of the sums with each value, in `(0, 1]`.
    pub alpha: f64,
    /// Which changes count.
    pub mode: PageHinkleyMode,
}

impl Default for PageHinkleyOptions {
    fn default() -> Self {
        Self {
            samples_min: 30,
            delta: 0.005,
            threshold: 50.0,
            alpha: 0.9999,
            mode: PageHinkleyMode::Both,
        }
    }
}

/// The running sums. Quirk of river, kept: the largest falling sum starts at −1,
/// not at its first value, which changes nothing once sums have been above −1.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PageHinkley {
    options: PageHinkleyOptions,
    samples: u64,
    mean: f64,
    rising: f64,
    falling: f64,
    /// None before the first value, since JSON has no infinity.
    rising_min: Option<f64>,
    falling_max: f64,
    drifted: bool,
}

impl PageHinkley {
    /// Without values.
    pub fn new(options: PageHinkleyOptions) -> Self {
        Self {
            options,
            samples: 0,
            mean: 0.0,
            rising: 0.0,
            falling: 0.0,
            rising_min: None,
            falling_max: -1.0,
            drifted: false,
        }
    }

    /// Values since the beginning or the last alarm.
    pub fn samples(&self) -> u64 {
        self.samples
    }

    /// Their mean.
    pub fn mean(&self) -> f64 {
        self.mean
    }

    /// Whether the last value raised the alarm.
    pub fn drifted(&self) -> bool {
        self.drifted
    }

    /// How far values have run upwards and downwards; the alarm is one of these
    /// above the threshold.
    pub fn runs(&self) -> (f64, f64) {
        let up = self.rising - self.rising_min.unwrap_or(self.rising);
        (up, self.falling_max - self.falling)
    }

    /// Takes a value; true when the mean has moved.
    pub fn update(&mut self, value: f64) -> bool {
        if !value.is_finite() {
            return false;
        }
        if self.drifted {
            *self = Self::new(self.options);
        }
        let PageHinkleyOptions { alpha, delta, .. } = self.options;
        self.samples += 1;
        self.mean += (value - self.mean) / self.samples as f64;
        let off = value - self.mean;
        self.rising = alpha * self.rising + off - delta;
        self.falling = alpha * self.falling + off + delta;
        let least = self.rising_min.unwrap_or(self.rising).min(self.rising);
        self.rising_min = Some(least);
        self.falling_max = self.falling_max.max(self.falling);
        if self.samples >= self.options.samples_min {
            let (up, down) = self.runs();
            let threshold = self.options.threshold;
            self.drifted = match self.options.mode {
                PageHinkleyMode::Up => up > threshold,
                PageHinkleyMode::Down => down > threshold,
                PageHinkleyMode::Both => up > threshold || down > threshold,
            };
        }
        self.drifted
    }
}

impl Default for PageHinkley {
    fn default() -> Self {
        Self::new(PageHinkleyOptions::default())
    }
}
