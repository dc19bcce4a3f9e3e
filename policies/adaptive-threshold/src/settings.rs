//! What operators write. The doc comments become the settings' schema.

use backstop_sdk::{NothingLeft, Problems, Provenance, Response, settings};

/// Settings of `adaptive-threshold`.
#[settings]
#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    /// Confidence, 0 to 1, from which on answers are accepted while nothing
    /// speaks against it: the calibrated line, as `backstop calibrate` finds
    /// it. No evidence takes the line below it.
    #[setting(min = 0.0, max = 1.0)]
    pub accept_at: f64,
    /// Confidence, 0 to 1, from which on answers are accepted whatever the
    /// evidence says; the line never rises above it. Not below `accept_at`.
    #[setting(default = 0.99, min = 0.0, max = 1.0)]
    pub ceiling: f64,
    /// The largest share of accepted answers that may be wrong. The line that
    /// recent labels promise is looked for with it.
    #[setting(default = 0.05, above = 0.0, below = 1.0)]
    pub error_max: f64,
    /// The chance that such a line lets more than that through all the same.
    #[setting(default = 0.1, above = 0.0, below = 1.0)]
    pub delta: f64,
    /// Fewest labelled answers in the window before labels move the line. The
    /// estimate takes as many answers.
    #[setting(default = 200, min = 1)]
    pub labels_min: u32,
    /// How much the line rises for each sign that the model has changed. 0
    /// switches the signs off.
    #[setting(default = 0.05, min = 0.0, max = 1.0)]
    pub tighten_by: f64,
    /// Baseline that the confidence of the model is held against for drift.
    /// Without one, the window is held against the time before it.
    #[setting(default, min_len = 1, max_len = 128)]
    pub baseline: Option<String>,
    /// Objective that is a sign while it fires.
    #[setting(default, min_len = 1, max_len = 128)]
    pub objective: Option<String>,
    /// Take it for a sign, too, while the accuracy that is estimated without
    /// labels is below 1 − `error_max` by more than its error explains. It is
    /// an estimate over all answers of the model, not only the accepted ones.
    #[setting(default = false)]
    pub estimate: bool,
    /// Seconds that labels, drift and the estimate look back.
    #[setting(default = 21_600, min = 1, max = 86_400)]
    pub window_s: u32,
    /// Seconds before the window that drift is held against, without a
    /// baseline.
    #[setting(default = 86_400, min = 1, max = 86_400)]
    pub reference_s: u32,
    /// What is done with an answer below the line.
    #[setting(default = Below::Escalate)]
    pub below: Below,
    /// What is done with an answer that has no confidence. Not having evidence
    /// is no good sign, so the usual is to ask the next model or people.
    #[setting(default = Response::Escalate)]
    pub without_confidence: Response,
    /// What is done when an answer should go on, but no step is left and the
    /// route has no review queue.
    #[setting(default = NothingLeft::LastResort)]
    pub nothing_left: NothingLeft,
    /// Where the calibrated line comes from, as `backstop calibrate --write`
    /// leaves it. For people and audits; nothing is decided by it.
    #[setting(default)]
    pub provenance: Option<Provenance>,
}

/// What is done with an answer below the line.
#[settings]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
pub enum Below {
    /// Go on to the plan's next step; without one, to review.
    Escalate,
    /// Send it to review; without a queue, to the next step.
    Review,
}

impl From<Below> for Response {
    fn from(below: Below) -> Self {
        match below {
            Below::Escalate => Self::Escalate,
            Below::Review => Self::Review,
        }
    }
}

impl Settings {
    /// Looks for the mistakes that the schema cannot express.
    ///
    /// # Errors
    /// A ceiling below the calibrated line.
    pub fn check(&self) -> Result<(), Problems> {
        let mut problems = Problems::new();
        problems.require(
            self.ceiling >= self.accept_at,
            "/ceiling",
            "must not be below `accept_at`",
        );
        problems.or(())
    }
}
