//! The state machine of one rollout.
//!
//! An order is decided (may it be done now, by this decider?) and then applied
//! as an event; replaying the events gives the same state. Always holds:
//!
//! - a policy never advances before the minimum dwell, and never goes forward
//!   without evidence where that is required;
//! - what a person decided is not undone by a policy: a promotion by hand cannot
//!   be gone behind, and a resumed rollout is not paused or rolled back again
//!   while the pin lasts;
//! - an ended rollout stays as it ended, and a model has one rollout at a time;
//! - other limits hold from where the rollout stands: they move no traffic.

use super::event::{Decider, ReplayError, RolloutChange, RolloutEvent};
use super::{Assessment, Directive, RolloutConfig, RolloutConfigError};
use crate::input::{RolloutFacts, RolloutStage};
use crate::text;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// Most releases that a policy is told could serve at once.
pub const RELEASES_READY_MAX: usize = 16;

/// What a rollout is about.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RolloutPlan {
    /// Model whose releases are being changed.
    pub model: Arc<str>,
    /// Release that is tried.
    pub candidate: Arc<str>,
    /// Release that serves the rest.
    pub stable: Arc<str>,
    /// True when a person made `stable` the stable release: a policy may then
    /// go back to it, but not behind it. [`Rollout::begin`] adds what it knows.
    pub stable_pinned: bool,
    /// The limits.
    pub config: RolloutConfig,
}

/// Where a rollout is in its life.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "status")]
pub enum RolloutStatus {
    /// Policies assess it.
    Running,
    /// It keeps its share, and no policy is asked.
    Paused,
    /// Ended: the candidate is the stable release.
    Promoted,
    /// Ended: the traffic went to this release.
    RolledBack {
        /// Which.
        to: Arc<str>,
    },
    /// Ended: called off.
    Aborted,
}

impl RolloutStatus {
    /// The name in metrics and in records.
    pub fn as_str(&self) -> &'static str {
        match self {
            RolloutStatus::Running => "running",
            RolloutStatus::Paused => "paused",
            RolloutStatus::Promoted => "promoted",
            RolloutStatus::RolledBack { .. } => "rolled-back",
            RolloutStatus::Aborted => "aborted",
        }
    }

    /// True when nothing can happen to it any more.
    pub fn is_end(&self) -> bool {
        !matches!(self, RolloutStatus::Running | RolloutStatus::Paused)
    }
}

/// What is to be done with a rollout.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// What a policy, or a person in a policy's words, says.
    Directive(Directive),
    /// Go on after a pause. Only for a person.
    Resume,
    /// Call it off: all traffic to the stable release. Not for policies.
    Abort,
    /// Go on from here under these limits. Only for the host, whose
    /// configuration has them.
    Limits(RolloutConfig),
}

/// A command, and what has to be known about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Order {
    /// What.
    pub command: Command,
    /// Who.
    pub by: Decider,
    /// Why.
    pub reason: String,
    /// The [`Rollout::version`] that the decider had before it; an order that
    /// was overtaken by another is refused. None does not ask.
    pub version: Option<u64>,
    /// True when there is evidence about the candidate at its present share.
    pub evidence: bool,
}

impl Order {
    /// What a policy said about the rollout as it was at `version`.
    pub fn assessed(assessment: Assessment, by: Decider, version: u64, evidence: bool) -> Order {
        Order {
            command: Command::Directive(assessment.directive),
            by,
            reason: assessment.reason,
            version: Some(version),
            evidence,
        }
    }
}

/// Why an order was not carried out. The rollout is as it was.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// It has ended.
    #[error("the rollout has ended: {0}")]
    Ended(&'static str),
    /// It is paused, and a policy wants something.
    #[error("the rollout is paused until a person resumes it")]
    Paused,
    /// It is not paused, so there is nothing to resume.
    #[error("the rollout is not paused")]
    NotPaused,
    /// It has changed since the decider looked.
    #[error("the rollout has changed since it was assessed")]
    Overtaken,
    /// The share has not been kept long enough.
    #[error("the share must be kept for another {left_ms} ms")]
    Dwell {
        /// Milliseconds until it may advance.
        left_ms: u64,
    },
    /// There is no evidence about the candidate.
    #[error("there is no evidence about the candidate at this share")]
    NoEvidence,
    /// A person decided otherwise.
    #[error("a person decided otherwise")]
    Pinned,
    /// The release to go back to is not ready, or is the candidate itself.
    #[error("release `{0}` is not one to roll back to")]
    NoTarget(String),
    /// Only a person may do this, or a person or the host.
    #[error("this is not for a policy to decide")]
    NotAllowed,
    /// The limits are none.
    #[error(transparent)]
    Limits(#[from] RolloutConfigError),
}

/// Why no rollout begins.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BeginError {
    /// The model has one already.
    #[error("model `{model}` has a rollout of `{candidate}` already: end it first")]
    InProgress {
        /// Name of the model.
        model: Arc<str>,
        /// The release that is being tried.
        candidate: Arc<str>,
    },
    /// The candidate is the stable release.
    #[error("release `{0}` is the stable one already")]
    Same(Arc<str>),
    /// The limits are none.
    #[error(transparent)]
    Config(#[from] RolloutConfigError),
}

/// Where the candidate stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Position {
    Shadow,
    /// Canary with this share in percent: a step when it was set, which it need
    /// not be any more under other limits.
    Canary(u32),
}

/// One rollout.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rollout {
    plan: RolloutPlan,
    status: RolloutStatus,
    position: Position,
    began_ms: u64,
    since_ms: u64,
    /// When a person resumed at the present share.
    pinned_ms: Option<u64>,
    /// True when the last word was a person's; of use once it has ended.
    by_person: bool,
    version: u64,
}

impl Rollout {
    /// Begins a rollout. `previous` is the model's last one, where there was one.
    ///
    /// # Errors
    ///
    /// When `previous` has not ended, the candidate is the stable release
    /// already, or the configuration is not valid.
    pub fn begin(
        mut plan: RolloutPlan,
        previous: Option<&Rollout>,
        by: Decider,
        reason: &str,
        now_ms: u64,
    ) -> Result<(Rollout, RolloutEvent), BeginError> {
        if let Some(previous) = previous {
            if !previous.status.is_end() {
                return Err(BeginError::InProgress {
                    model: previous.plan.model.clone(),
                    candidate: previous.plan.candidate.clone(),
                });
            }
            plan.stable_pinned |= previous.by_person && *previous.serving() == plan.stable;
        }
        if plan.candidate == plan.stable {
            return Err(BeginError::Same(plan.candidate));
        }
        plan.config.check()?;
        let event = RolloutEvent {
            at_ms: now_ms,
            by,
            reason: text::sanitize(reason.to_string(), text::REASON_BYTES_MAX),
            change: RolloutChange::Began { plan: plan.clone() },
        };
        Ok((Rollout::begun(plan, &event), event))
    }

    /// The rollout that these events, oldest first, tell of.
    ///
    /// # Errors
    ///
    /// When they are no rollout's events from its beginning on.
    pub fn replay<'a>(
        events: impl IntoIterator<Item = &'a RolloutEvent>,
    ) -> Result<Rollout, ReplayError> {
        let mut events = events.into_iter();
        let first = events.next().ok_or(ReplayError::Empty)?;
        let RolloutChange::Began { plan } = &first.change else {
            return Err(ReplayError::NotBegun);
        };
        if plan.config.check().is_err() {
            return Err(ReplayError::OutOfPlace(0));
        }
        let mut rollout = Rollout::begun(plan.clone(), first);
        for (index, event) in events.enumerate() {
            if !rollout.follow(event) {
                return Err(ReplayError::OutOfPlace(index + 1));
            }
        }
        Ok(rollout)
    }

    fn begun(plan: RolloutPlan, event: &RolloutEvent) -> Rollout {
        let position = match plan.config.steps.first() {
            Some(share_percent) if !plan.config.shadow => Position::Canary(*share_percent),
            _ => Position::Shadow,
        };
        Rollout {
            plan,
            status: RolloutStatus::Running,
            position,
            began_ms: event.at_ms,
            since_ms: event.at_ms,
            pinned_ms: None,
            by_person: event.by.is_person(),
            version: 1,
        }
    }

    /// Carries out an order, or says why not. `ready` are the releases that
    /// could serve at once. None means that everything stays as it is.
    ///
    /// # Errors
    ///
    /// When the limits of the rollout forbid it; nothing has changed then.
    pub fn apply(
        &mut self,
        order: Order,
        ready: &[Arc<str>],
        now_ms: u64,
    ) -> Result<Option<RolloutEvent>, Refused> {
        if order.version.is_some_and(|version| version != self.version) {
            return Err(Refused::Overtaken);
        }
        let Some(change) = self.decide(&order, ready, now_ms)? else {
            return Ok(None);
        };
        let event = RolloutEvent {
            at_ms: now_ms,
            by: order.by,
            reason: text::sanitize(order.reason, text::REASON_BYTES_MAX),
            change,
        };
        let followed = self.follow(&event);
        debug_assert!(followed, "decided what cannot follow: {event:?}");
        Ok(Some(event))
    }

    /// The change that an order leads to, without making it.
    fn decide(
        &self,
        order: &Order,
        ready: &[Arc<str>],
        now_ms: u64,
    ) -> Result<Option<RolloutChange>, Refused> {
        if self.status.is_end() {
            return Err(Refused::Ended(self.status.as_str()));
        }
        let person = order.by.is_person();
        let directive = match &order.command {
            Command::Directive(directive) => directive,
            Command::Resume if !person => return Err(Refused::NotAllowed),
            Command::Resume if self.status == RolloutStatus::Paused => {
                return Ok(Some(RolloutChange::Resumed));
            }
            Command::Resume => return Err(Refused::NotPaused),
            Command::Abort if matches!(order.by, Decider::Policy { .. }) => {
                return Err(Refused::NotAllowed);
            }
            Command::Abort => return Ok(Some(RolloutChange::Aborted)),
            Command::Limits(_) if order.by != Decider::Host => return Err(Refused::NotAllowed),
            Command::Limits(config) if *config == self.plan.config => return Ok(None),
            Command::Limits(config) => {
                config.check()?;
                let config = config.clone();
                return Ok(Some(RolloutChange::LimitsChanged { config }));
            }
        };
        let paused = self.status == RolloutStatus::Paused;
        if *directive == Directive::Hold || (paused && *directive == Directive::Pause) {
            return Ok(None);
        }
        if paused && !person {
            return Err(Refused::Paused);
        }
        match directive {
            Directive::Hold => Ok(None),
            Directive::Pause if !person && self.is_pinned(now_ms) => Err(Refused::Pinned),
            Directive::Pause => Ok(Some(RolloutChange::Paused)),
            Directive::RollBack(to) => self.roll_back(to.as_deref(), person, ready, now_ms),
            Directive::Advance | Directive::Promote => {
                if !person {
                    self.may_go_forward(order.evidence, now_ms)?;
                }
                let next = match directive {
                    Directive::Advance => self.next_share_percent(),
                    _ => None,
                };
                Ok(Some(match next {
                    Some(share_percent) => RolloutChange::Advanced { share_percent },
                    None => RolloutChange::Promoted,
                }))
            }
        }
    }

    fn may_go_forward(&self, evidence: bool, now_ms: u64) -> Result<(), Refused> {
        let age_ms = now_ms.saturating_sub(self.since_ms);
        let left_ms = self.plan.config.dwell_ms_min.saturating_sub(age_ms);
        if left_ms > 0 {
            return Err(Refused::Dwell { left_ms });
        }
        if self.plan.config.evidence_required && !evidence {
            return Err(Refused::NoEvidence);
        }
        Ok(())
    }

    fn roll_back(
        &self,
        to: Option<&str>,
        person: bool,
        ready: &[Arc<str>],
        now_ms: u64,
    ) -> Result<Option<RolloutChange>, Refused> {
        let stable = &self.plan.stable;
        let to = match to {
            Some(name) if *name != **stable => {
                let known = ready.iter().find(|release| ***release == *name);
                match known.filter(|release| **release != self.plan.candidate) {
                    Some(release) => release,
                    None => return Err(Refused::NoTarget(name.to_string())),
                }
            }
            _ => stable,
        };
        let behind = self.plan.stable_pinned && to != stable;
        if !person && (behind || self.is_pinned(now_ms)) {
            return Err(Refused::Pinned);
        }
        Ok(Some(RolloutChange::RolledBack { to: to.clone() }))
    }

    fn is_pinned(&self, now_ms: u64) -> bool {
        let lasts = |since_ms| match self.plan.config.pin_ms {
            0 => true,
            pin_ms => now_ms.saturating_sub(since_ms) < pin_ms,
        };
        self.pinned_ms.is_some_and(lasts)
    }

    /// Becomes what the event says. False, with nothing changed, for one that
    /// cannot follow.
    fn follow(&mut self, event: &RolloutEvent) -> bool {
        if self.status.is_end() {
            return false;
        }
        match &event.change {
            RolloutChange::Began { .. } => return false,
            RolloutChange::Advanced { share_percent } => {
                if !self.plan.config.steps.contains(share_percent) {
                    return false;
                }
                self.position = Position::Canary(*share_percent);
                self.since_ms = event.at_ms;
                self.pinned_ms = None;
                self.status = RolloutStatus::Running;
            }
            RolloutChange::Promoted => self.status = RolloutStatus::Promoted,
            RolloutChange::RolledBack { to } => {
                self.status = RolloutStatus::RolledBack { to: to.clone() };
            }
            RolloutChange::Paused => self.status = RolloutStatus::Paused,
            RolloutChange::Resumed if self.status == RolloutStatus::Paused => {
                self.status = RolloutStatus::Running;
                self.pinned_ms = Some(event.at_ms);
            }
            RolloutChange::Resumed => return false,
            RolloutChange::Aborted => self.status = RolloutStatus::Aborted,
            RolloutChange::LimitsChanged { config } => {
                if config.check().is_err() {
                    return false;
                }
                self.plan.config = config.clone();
            }
        }
        self.by_person = event.by.is_person();
        self.version += 1;
        true
    }

    /// What it is about.
    pub fn plan(&self) -> &RolloutPlan {
        &self.plan
    }

    /// When it began, in milliseconds since the Unix epoch.
    pub fn began_ms(&self) -> u64 {
        self.began_ms
    }

    /// When the present share was set, in milliseconds since the Unix epoch.
    pub fn since_ms(&self) -> u64 {
        self.since_ms
    }

    /// Where it is in its life.
    pub fn status(&self) -> &RolloutStatus {
        &self.status
    }

    /// Grows with every event; see [`Order::version`].
    pub fn version(&self) -> u64 {
        self.version
    }

    /// True when a policy is to be asked about it.
    pub fn is_assessed(&self) -> bool {
        self.status == RolloutStatus::Running
    }

    /// True while the candidate gets copies of requests.
    pub fn is_shadow(&self) -> bool {
        !self.status.is_end() && self.position == Position::Shadow
    }

    /// The release that serves whatever the candidate does not: the stable one
    /// until the end, then what the end made of it.
    pub fn serving(&self) -> &Arc<str> {
        match &self.status {
            RolloutStatus::Promoted => &self.plan.candidate,
            RolloutStatus::RolledBack { to } => to,
            RolloutStatus::Running | RolloutStatus::Paused | RolloutStatus::Aborted => {
                &self.plan.stable
            }
        }
    }

    /// The candidate's share of the traffic in percent, 0 to 100. Once it has
    /// ended, that is all or nothing.
    pub fn share_percent(&self) -> u32 {
        match (&self.status, self.position) {
            (RolloutStatus::Promoted, _) => 100,
            (RolloutStatus::RolledBack { .. } | RolloutStatus::Aborted, _) => 0,
            (_, Position::Shadow) => 0,
            (_, Position::Canary(share_percent)) => share_percent,
        }
    }

    /// The share after an advance; none when that would promote.
    pub fn next_share_percent(&self) -> Option<u32> {
        let now = match self.position {
            Position::Shadow => 0,
            Position::Canary(share_percent) => share_percent,
        };
        let mut steps = self.plan.config.steps.iter().copied();
        steps.find(|step| *step > now)
    }

    /// What a policy is told. `ready` are the releases that could serve at
    /// once, newest first; the first sixteen are told.
    pub fn facts(&self, ready: &[Arc<str>], now_ms: u64) -> RolloutFacts {
        RolloutFacts {
            model: self.plan.model.clone(),
            candidate: self.plan.candidate.clone(),
            stable: self.plan.stable.clone(),
            stage: match self.position {
                Position::Shadow => RolloutStage::Shadow,
                Position::Canary(_) => RolloutStage::Canary,
            },
            share_percent: self.share_percent(),
            next_share_percent: self.next_share_percent(),
            age_ms: now_ms.saturating_sub(self.began_ms),
            step_age_ms: now_ms.saturating_sub(self.since_ms),
            ready_releases: ready.iter().take(RELEASES_READY_MAX).cloned().collect(),
        }
    }
}
