//! Failure classes: why an attempt at a model failed.
//!
//! Every failed attempt has exactly one class. The class decides what happens
//! to breaker, retry and fallback, and what the caller is told ([`Effect`]).
//! The words are those of `wit/types.wit`.

mod effect;

pub use effect::{Effect, MovesOn, OnBreaker};

use serde::{Deserialize, Serialize};

/// Why an attempt failed. See `failure-class` in the contract.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[repr(u8)]
pub enum FailureClass {
    /// The request itself was wrong (other 4xx). Never counts against a model.
    ClientFault,
    /// Credentials were refused or billing has stopped (401, 402, 403).
    Auth,
    /// The provider throttled the request (429).
    RateLimit,
    /// The provider said that it is overloaded (503, 529).
    Overload,
    /// Any other server error (5xx).
    ServerError,
    /// The connection was refused, reset or closed before an answer began.
    Connection,
    /// No connection within the connect timeout.
    TimeoutConnect,
    /// No first token, or no response head, within its timeout.
    TimeoutFirstToken,
    /// The answer began and then stood still for the idle timeout.
    TimeoutIdle,
    /// The attempt as a whole took longer than it was given.
    TimeoutTotal,
    /// The answer began and ended before it was complete.
    CutStream,
    /// The answer could not be understood.
    Malformed,
    /// The request is larger than the model's context window.
    ContextLength,
    /// The provider declined the content of the request.
    ContentPolicy,
}

impl FailureClass {
    /// All classes, in the order of the contract.
    pub const ALL: [FailureClass; 14] = [
        FailureClass::ClientFault,
        FailureClass::Auth,
        FailureClass::RateLimit,
        FailureClass::Overload,
        FailureClass::ServerError,
        FailureClass::Connection,
        FailureClass::TimeoutConnect,
        FailureClass::TimeoutFirstToken,
        FailureClass::TimeoutIdle,
        FailureClass::TimeoutTotal,
        FailureClass::CutStream,
        FailureClass::Malformed,
        FailureClass::ContextLength,
        FailureClass::ContentPolicy,
    ];

    /// The name in the contract, in metrics and in records.
    pub fn as_str(self) -> &'static str {
        match self {
            FailureClass::ClientFault => "client-fault",
            FailureClass::Auth => "auth",
            FailureClass::RateLimit => "rate-limit",
            FailureClass::Overload => "overload",
            FailureClass::ServerError => "server-error",
            FailureClass::Connection => "connection",
            FailureClass::TimeoutConnect => "timeout-connect",
            FailureClass::TimeoutFirstToken => "timeout-first-token",
            FailureClass::TimeoutIdle => "timeout-idle",
            FailureClass::TimeoutTotal => "timeout-total",
            FailureClass::CutStream => "cut-stream",
            FailureClass::Malformed => "malformed",
            FailureClass::ContextLength => "context-length",
            FailureClass::ContentPolicy => "content-policy",
        }
    }
}

impl std::fmt::Display for FailureClass {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A set of failure classes, as a plan's step carries it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(from = "Vec<FailureClass>", into = "Vec<FailureClass>")]
pub struct FailureClasses(u16);

impl FailureClasses {
    /// No class.
    pub const NONE: FailureClasses = FailureClasses(0);
    /// Every class.
    pub const ALL: FailureClasses = FailureClasses((1 << FailureClass::ALL.len()) - 1);

    /// The set whose bit `n` is the class at position `n` of
    /// [`FailureClass::ALL`]; higher bits are dropped.
    pub const fn from_bits(bits: u16) -> Self {
        FailureClasses(bits & Self::ALL.0)
    }

    /// The bits, as [`FailureClasses::from_bits`] takes them.
    pub const fn bits(self) -> u16 {
        self.0
    }

    /// True when `class` is in the set.
    pub const fn contains(self, class: FailureClass) -> bool {
        self.0 & (1 << class as u16) != 0
    }

    /// The set with `class` in it.
    #[must_use]
    pub const fn with(self, class: FailureClass) -> Self {
        FailureClasses(self.0 | (1 << class as u16))
    }

    /// The set without `class`.
    #[must_use]
    pub const fn without(self, class: FailureClass) -> Self {
        FailureClasses(self.0 & !(1 << class as u16))
    }

    /// The members, in the order of the contract.
    pub fn iter(self) -> impl Iterator<Item = FailureClass> {
        FailureClass::ALL
            .into_iter()
            .filter(move |class| self.contains(*class))
    }
}

impl std::fmt::Debug for FailureClasses {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.iter()).finish()
    }
}

impl From<Vec<FailureClass>> for FailureClasses {
    fn from(classes: Vec<FailureClass>) -> Self {
        classes.into_iter().collect()
    }
}

impl From<FailureClasses> for Vec<FailureClass> {
    fn from(set: FailureClasses) -> Self {
        set.iter().collect()
    }
}

impl FromIterator<FailureClass> for FailureClasses {
    fn from_iter<I: IntoIterator<Item = FailureClass>>(classes: I) -> Self {
        classes.into_iter().fold(Self::NONE, Self::with)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bit_of_a_class_is_its_position() {
        for (position, class) in FailureClass::ALL.into_iter().enumerate() {
            assert_eq!(class as usize, position);
            assert_eq!(
                FailureClasses::from_bits(1 << position),
                FailureClasses::NONE.with(class)
            );
        }
        assert_eq!(FailureClasses::from_bits(u16::MAX), FailureClasses::ALL);
    }

    #[test]
    fn a_set_reads_as_the_names_of_the_contract() {
        let set = FailureClasses::NONE
            .with(FailureClass::CutStream)
            .with(FailureClass::Auth);
        let json = serde_json::to_string(&set).unwrap();
        assert_eq!(json, r#"["auth","cut-stream"]"#);
        assert_eq!(serde_json::from_str::<FailureClasses>(&json).unwrap(), set);
    }

    #[test]
    fn faults_of_the_client_stay_with_the_client() {
        assert!(!FailureClasses::MODEL_FAULTS.contains(FailureClass::ClientFault));
        assert!(!FailureClasses::MODEL_FAULTS.contains(FailureClass::ContentPolicy));
        assert!(FailureClasses::MODEL_FAULTS.contains(FailureClass::Connection));
    }
}
