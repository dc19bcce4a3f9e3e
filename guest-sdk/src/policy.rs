//! What a policy is: the traits an author implements, and the two ways not to
//! decide (settings that cannot be used, and having no opinion).

use crate::answer::Answer;
use crate::request::Request;
use crate::rollout::Rollout;
use crate::settings::Settings;
use crate::{Assessment, Context, Plan, Verdict, Want};

/// A policy: who it is, what it wants, and its settings.
///
/// The configured value is made once per activation by
/// [`configure`](Policy::configure) and is there, unchanged, at every
/// decision. A policy also implements one or more of [`Fallback`],
/// [`Threshold`] and [`Rollback`], and names them in
/// [`export!`](crate::export).
pub trait Policy: Sized + 'static {
    /// The settings that operators write: a type marked with
    /// [`#[settings]`](crate::settings), or
    /// [`NoSettings`](crate::NoSettings).
    type Settings: Settings;

    /// Name of the policy: 1 to 64 characters of `a`-`z`, `0`-`9` and `-`.
    /// By default the name of the package, with `_` turned into `-`.
    const NAME: Option<&'static str> = None;

    /// Version of the policy: 1 to 64 characters. By default the version of
    /// the package.
    const VERSION: Option<&'static str> = None;

    /// One sentence for a list; at most 1,024 bytes. By default the
    /// description of the package.
    const SUMMARY: Option<&'static str> = None;

    /// What the policy would like to be granted; by default nothing. A host
    /// answers everything else with a `Denied` error.
    fn wants() -> Vec<Want> {
        Vec::new()
    }

    /// Takes settings that already fit their schema.
    ///
    /// # Errors
    /// Every mistake that the schema cannot express, all at once; the
    /// activation then fails and what served before goes on serving. Gather
    /// them in a [`Problems`] and end with [`Problems::or`].
    fn configure(settings: Self::Settings) -> Result<Self, Problems>;
}

/// Decides what to do for a request, in which order.
pub trait Fallback: Policy {
    /// Returns the plan for `request`; the host executes it. Called once per
    /// request, before the first model is called.
    ///
    /// # Errors
    /// An [`Abstain`] when the policy has no opinion: the route's default
    /// decision applies, and the reason is recorded.
    fn decide(&self, ctx: &Context, request: &Request) -> Result<Plan, Abstain>;
}

/// Judges whether an answer is good enough.
pub trait Threshold: Policy {
    /// Judges one answer before it is delivered (after it for a stream that
    /// has passed; see [`Answer::delivered`]).
    ///
    /// # Errors
    /// An [`Abstain`] when the policy has no opinion: the route's default
    /// decision applies, and the reason is recorded.
    fn judge(&self, ctx: &Context, request: &Request, answer: &Answer) -> Result<Verdict, Abstain>;
}

/// Assesses whether a release should stay.
pub trait Rollback: Policy {
    /// Assesses one rollout; called on every tick of it, one at a time for
    /// each model.
    ///
    /// # Errors
    /// An [`Abstain`] when the policy has no opinion: the rollout stays as it
    /// is, and the reason is recorded.
    fn assess(&self, ctx: &Context, rollout: &Rollout) -> Result<Assessment, Abstain>;
}

/// Having no opinion, and why.
///
/// Every error of the imports turns into one with `?`, and then names what
/// was not answered.
///
/// ```
/// use backstop_sdk::{Abstain, metrics, metrics::Subject};
///
/// fn error_rate(model: &str) -> Result<Option<f64>, Abstain> {
///     Ok(metrics::rate(metrics::ERROR_RATE, Subject::Model(model), 60)?.rate())
/// }
/// # assert_eq!(error_rate("big").unwrap_err().reason, "metric `error-rate` is not granted");
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Abstain {
    /// For people; at most 1,024 bytes are kept, and it may be empty.
    pub reason: String,
}

impl Abstain {
    /// Abstains because of `reason`.
    pub fn because(reason: impl Into<String>) -> Self {
        Self {
            reason: reason.into(),
        }
    }
}

impl From<&str> for Abstain {
    fn from(reason: &str) -> Self {
        Self::because(reason)
    }
}

impl From<String> for Abstain {
    fn from(reason: String) -> Self {
        Self { reason }
    }
}

/// One mistake in the settings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Where: a JSON pointer (RFC 6901) into the settings, such as
    /// `/per_label/spam`; empty for the whole.
    pub path: String,
    /// What is wrong and what would be right: a lower-case fragment.
    pub message: String,
}

/// Mistakes in the settings, collected so that an operator sees all of them
/// at once.
///
/// ```
/// use backstop_sdk::Problems;
///
/// fn check(low: f64, high: f64) -> Result<(), Problems> {
///     let mut problems = Problems::new();
///     problems.require(low <= high, "/low", "must not be above `high`");
///     problems.or(())
/// }
/// assert!(check(0.2, 0.8).is_ok());
/// assert_eq!(check(0.9, 0.8).unwrap_err().iter().count(), 1);
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Problems(Vec<Problem>);

impl Problems {
    /// No mistakes so far.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a mistake at `path`, a JSON pointer.
    pub fn add(&mut self, path: impl Into<String>, message: impl Into<String>) {
        self.0.push(Problem {
            path: path.into(),
            message: message.into(),
        });
    }

    /// Adds the mistake unless `holds`.
    pub fn require(&mut self, holds: bool, path: &str, message: &str) {
        if !holds {
            self.add(path, message);
        }
    }

    /// True when there is no mistake.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The mistakes in the order in which they were added.
    pub fn iter(&self) -> std::slice::Iter<'_, Problem> {
        self.0.iter()
    }

    /// Ends the collecting.
    ///
    /// # Errors
    /// The mistakes, if there are any; else `value` is returned.
    pub fn or<T>(self, value: T) -> Result<T, Self> {
        if self.0.is_empty() {
            Ok(value)
        } else {
            Err(self)
        }
    }
}

impl From<Problem> for Problems {
    fn from(problem: Problem) -> Self {
        Self(vec![problem])
    }
}

impl IntoIterator for Problems {
    type Item = Problem;
    type IntoIter = std::vec::IntoIter<Problem>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

impl<'a> IntoIterator for &'a Problems {
    type Item = &'a Problem;
    type IntoIter = std::slice::Iter<'a, Problem>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}
