//! What operators write. The doc comments become the settings' schema.

use backstop_sdk::{NothingLeft, Problems, Response, Severity, settings};

/// Settings of `drift-guard`.
#[settings]
#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    /// What is watched.
    #[setting(min_len = 1, max_len = 8)]
    pub watch: Vec<Watch>,
    /// Confidence, 0 to 1, below which an answer is treated as `below` says,
    /// whatever is watched. Without it confidence is not looked at.
    #[setting(default, min = 0.0, max = 1.0)]
    pub accept_at: Option<f64>,
    /// What is done with an answer below `accept_at`.
    #[setting(default = Reaction::Escalate)]
    pub below: Reaction,
    /// What is done with an answer that has no confidence, where there is an
    /// `accept_at`.
    #[setting(default = Response::Escalate)]
    pub without_confidence: Response,
    /// What is done when an answer should go on, but no step is left and the
    /// route has no review queue.
    #[setting(default = NothingLeft::LastResort)]
    pub nothing_left: NothingLeft,
}

/// One figure that is watched, and what is done while it is bad.
#[settings]
#[derive(Debug, Clone, PartialEq)]
pub struct Watch {
    /// Name of the metric, as the grant has it; a segment may follow:
    /// `accuracy{tier=gold}`.
    #[setting(min_len = 1, max_len = 128)]
    pub metric: String,
    /// Whose metric it is.
    #[setting(default = Whose::Model)]
    pub subject: Whose,
    /// What is bad.
    pub kind: Kind,
    /// For `below` and `above`: the limit in the metric's unit or, with a
    /// `baseline`, the smallest difference that matters. For `drift`: the
    /// smallest index that matters, beside the test's own.
    #[setting(default)]
    pub limit: Option<f64>,
    /// Baseline that the window is held against. Without one, drift is held
    /// against the time before the window.
    #[setting(default, min_len = 1, max_len = 128)]
    pub baseline: Option<String>,
    /// Fewest samples in the window; fewer are no evidence.
    #[setting(default = 100, min = 1)]
    pub samples_min: u32,
    /// Seconds that the watch looks back.
    #[setting(default = 3_600, min = 1, max = 86_400)]
    pub window_s: u32,
    /// Seconds before the window that drift is held against, without a
    /// baseline.
    #[setting(default = 21_600, min = 1, max = 86_400)]
    pub reference_s: u32,
    /// What is done with answers while it is bad.
    #[setting(default = Reaction::Escalate)]
    pub response: Reaction,
    /// Share of the answers, 0 to 1, with which that is done. Which ones is
    /// drawn by the seed of the decision.
    #[setting(default = 1.0, min = 0.0, max = 1.0)]
    pub share: f64,
    /// Severity of the incident that is opened while it is bad.
    #[setting(default = Raise::None)]
    pub incident: Raise,
}

/// Whose metric is read.
#[settings]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
pub enum Whose {
    /// That of the model that answered, over all its releases.
    Model,
    /// That of the release that answered.
    Release,
    /// That of the route.
    Route,
}

/// What is bad about a figure.
#[settings]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// Its distribution has changed.
    Drift,
    /// It is below the limit, or below the baseline by more than the limit.
    Below,
    /// It is above the limit, or above the baseline by more than the limit.
    Above,
}

/// What is done with answers while a figure is bad, or with one below the line.
#[settings]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
pub enum Reaction {
    /// Answers go on to the plan's next step; without one, to review.
    Escalate,
    /// Answers go to review; without a queue, to the next step.
    Review,
    /// Answers are delivered, and the reason says what was seen.
    Note,
}

/// Which incident is opened, if any.
#[settings]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
pub enum Raise {
    /// None.
    None,
    /// For the record.
    Info,
    /// Should be looked at.
    Warning,
    /// Something does not work.
    Error,
    /// Wakes somebody up.
    Critical,
}

impl From<Reaction> for Response {
    fn from(reaction: Reaction) -> Self {
        match reaction {
            Reaction::Escalate => Self::Escalate,
            Reaction::Review => Self::Review,
            Reaction::Note => Self::Accept,
        }
    }
}

impl Raise {
    /// The severity; none where no incident is opened.
    pub fn severity(self) -> Option<Severity> {
        match self {
            Self::None => None,
            Self::Info => Some(Severity::Info),
            Self::Warning => Some(Severity::Warning),
            Self::Error => Some(Severity::Error),
            Self::Critical => Some(Severity::Critical),
        }
    }
}

impl Settings {
    /// Looks for the mistakes that the schema cannot express.
    ///
    /// # Errors
    /// A limit that is missing, or negative where it is a difference; a watch
    /// that could do nothing.
    pub fn check(&self) -> Result<(), Problems> {
        let mut problems = Problems::new();
        for (index, watch) in self.watch.iter().enumerate() {
            let at = |key: &str| ["/watch/", &index.to_string(), key].concat();
            let is_difference = watch.kind == Kind::Drift || watch.baseline.is_some();
            match watch.limit {
                None if !is_difference => {
                    problems.add(at("/limit"), "is needed for `below` and `above`");
                }
                Some(limit) if is_difference && limit < 0.0 => {
                    problems.add(at("/limit"), "must not be negative for a difference");
                }
                _ => {}
            }
            if watch.share <= 0.0 && watch.incident == Raise::None {
                problems.add(at("/share"), "must be above 0 where no incident is opened");
            }
        }
        problems.or(())
    }
}
