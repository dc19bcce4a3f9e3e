//! How a policy's run ended, whose fault it was, and what it cost.

use serde::{Deserialize, Serialize};

/// How a failed decision failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FailureKind {
    /// The guest trapped.
    Trap,
    /// Over its deadline or its fuel.
    Deadline,
    /// Over its memory.
    Memory,
    /// What it returned may not be applied.
    InvalidOutput,
    /// The host could not run it.
    Load,
}

impl FailureKind {
    /// The name in metrics, in records and in configuration.
    pub fn as_str(self) -> &'static str {
        match self {
            FailureKind::Trap => "trap",
            FailureKind::Deadline => "deadline",
            FailureKind::Memory => "memory",
            FailureKind::InvalidOutput => "invalid-output",
            FailureKind::Load => "load",
        }
    }
}

/// Who is to blame for a failed decision.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Fault {
    /// The policy.
    Policy,
    /// The host, or the machine that it runs on.
    Host,
}

/// The bound on its length that a run was over. All but the clock stop a run
/// at the same place every time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Over {
    /// Wall time.
    Clock,
    /// Fuel.
    Fuel,
    /// The number of host calls.
    HostCalls,
}

/// How a policy's run ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RunOutcome {
    /// It returned a decision, and the decision passed its checks.
    Answered,
    /// It has no opinion.
    Abstained {
        /// Why.
        reason: String,
    },
    /// It failed.
    Failed {
        /// How.
        kind: FailureKind,
        /// Whose fault it was.
        fault: Fault,
        /// For [`FailureKind::Deadline`], which bound it was over; none for
        /// other kinds, and in records of versions that did not tell.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        over: Option<Over>,
        /// For people.
        detail: String,
    },
    /// It was not asked, because it failed too often.
    Suspended,
}

/// Which decision was applied in the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DecidedBy {
    /// The policy's.
    Policy,
    /// The previous revision's, because this one failed.
    Previous,
    /// The default that came with the question.
    Default,
    /// The closed one: refuse, review, pause.
    Closed,
}

/// What a run cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Cost {
    /// Fuel used.
    pub fuel: u64,
    /// Nanoseconds in guest code, instantiation included.
    pub guest_ns: u64,
    /// Nanoseconds in host calls.
    pub host_ns: u64,
    /// Largest total of linear memory, in bytes.
    pub memory_bytes: u64,
}
