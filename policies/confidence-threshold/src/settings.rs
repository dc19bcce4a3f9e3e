//! What operators write. The doc comments become the settings' schema.

pub use backstop_sdk::{NothingLeft, Provenance, Response};
use backstop_sdk::{Problems, settings};
use std::collections::BTreeMap;

/// Settings of `confidence-threshold`.
#[settings]
#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    /// Confidence, 0 to 1, from which on an answer is accepted.
    #[setting(default = 0.8, min = 0.0, max = 1.0)]
    pub accept_at: f64,
    /// Confidence, 0 to 1, below which an answer is treated as `below_band`
    /// says. From here up to `accept_at` is the band. At 0 nothing is below.
    #[setting(default = 0.0, min = 0.0, max = 1.0)]
    pub review_below: f64,
    /// What is done with an answer in the band.
    #[setting(default = Response::Escalate)]
    pub in_band: Response,
    /// What is done with an answer below the band.
    #[setting(default = Response::Review)]
    pub below_band: Response,
    /// Lines of their own for some labels.
    #[setting(default, max_len = 256)]
    pub per_label: BTreeMap<String, LabelLines>,
    /// What is done with an answer that has no confidence. Not having evidence
    /// is no good sign, so the usual is to ask the next model or people; choose
    /// `accept` for models that never give one.
    #[setting(default = Response::Escalate)]
    pub without_confidence: Response,
    /// What is done with an answer that ran into a token limit.
    #[setting(default = CutShort::Judge)]
    pub on_length: CutShort,
    /// What is done with an answer that the provider's filter stopped.
    #[setting(default = CutShort::Review)]
    pub on_content_filter: CutShort,
    /// Tokens a second below which a stream that is still being written, and
    /// that nobody has seen, goes on to the plan's next step. 0 switches that
    /// off. It takes a route that holds the beginning of its streams.
    #[setting(default = 0.0, min = 0.0, max = 10_000.0)]
    pub tokens_per_second_min: f64,
    /// What is done when an answer should go on, but no step is left and the
    /// route has no review queue.
    #[setting(default = NothingLeft::LastResort)]
    pub nothing_left: NothingLeft,
    /// How much `accept_at` rises while quality is known to have dropped. 0
    /// switches that off; the line never rises above 1.
    #[setting(default = 0.1, min = 0.0, max = 1.0)]
    pub tighten_by: f64,
    /// Accuracy, 0 to 1, of the model's labelled answers under which its
    /// quality counts as dropped. 0 switches that off.
    #[setting(default = 0.9, min = 0.0, max = 1.0)]
    pub accuracy_min: f64,
    /// Fewest labelled answers in the window before accuracy counts.
    #[setting(default = 50, min = 1)]
    pub labels_min: u32,
    /// Count quality as dropped, too, while the distribution of the model's
    /// confidence has drifted, in whichever direction.
    #[setting(default = false)]
    pub tighten_on_drift: bool,
    /// Seconds that accuracy and drift look back.
    #[setting(default = 3_600, min = 1, max = 86_400)]
    pub window_s: u32,
    /// Seconds before the window that drift is held against.
    #[setting(default = 21_600, min = 1, max = 86_400)]
    pub reference_s: u32,
    /// Where the lines come from, as `backstop calibrate --write` leaves it. For
    /// people and audits; nothing is decided by it.
    #[setting(default)]
    pub provenance: Option<Provenance>,
}

/// The lines of one label; a line that is left out is the general one.
#[settings]
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LabelLines {
    /// In place of the general `accept_at`.
    #[setting(default, min = 0.0, max = 1.0)]
    pub accept_at: Option<f64>,
    /// In place of the general `review_below`.
    #[setting(default, min = 0.0, max = 1.0)]
    pub review_below: Option<f64>,
}

/// What is done with an answer that did not come to its own end.
#[settings]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
pub enum CutShort {
    /// Judge it by its confidence like any other.
    Judge,
    /// Go on to the plan's next step; without one, to review.
    Escalate,
    /// Send it to review; without a queue, to the next step.
    Review,
}

impl Settings {
    /// Looks for the mistakes that the schema cannot express.
    ///
    /// # Errors
    /// Lines that cross, in general or for a label.
    pub fn check(&self) -> Result<(), Problems> {
        const CROSSED: &str = "must not be above `accept_at`";
        let mut problems = Problems::new();
        problems.require(
            self.review_below <= self.accept_at,
            "/review_below",
            CROSSED,
        );
        for (label, lines) in &self.per_label {
            let accept_at = lines.accept_at.unwrap_or(self.accept_at);
            let review_below = lines.review_below.unwrap_or(self.review_below);
            if review_below > accept_at {
                problems.add(["/per_label/", &escaped(label)].concat(), CROSSED);
            }
        }
        problems.or(())
    }
}

/// A key in a JSON pointer (RFC 6901).
fn escaped(key: &str) -> String {
    let mut text = String::with_capacity(key.len());
    for character in key.chars() {
        match character {
            '~' => text.push_str("~0"),
            '/' => text.push_str("~1"),
            other => text.push(other),
        }
    }
    text
}
