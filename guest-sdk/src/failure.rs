//! Failure classes and the sets of them that policies name.

use crate::{FailureClass, FailureClasses};

impl FailureClass {
    /// The class in the contract's word, such as `timeout-total`.
    pub fn name(self) -> &'static str {
        match self {
            Self::ClientFault => "client-fault",
            Self::Auth => "auth",
            Self::RateLimit => "rate-limit",
            Self::Overload => "overload",
            Self::ServerError => "server-error",
            Self::Connection => "connection",
            Self::TimeoutConnect => "timeout-connect",
            Self::TimeoutFirstToken => "timeout-first-token",
            Self::TimeoutIdle => "timeout-idle",
            Self::TimeoutTotal => "timeout-total",
            Self::CutStream => "cut-stream",
            Self::Malformed => "malformed",
            Self::ContextLength => "context-length",
            Self::ContentPolicy => "content-policy",
        }
    }
}

impl FailureClasses {
    /// Failures that another model may not have: all but a fault of the
    /// client and a refusal of the content, which would meet the next model
    /// too. What [`Plan::call`](crate::Plan::call) moves on after.
    pub const MODEL_FAULTS: Self = Self::all()
        .difference(Self::CLIENT_FAULT)
        .difference(Self::CONTENT_POLICY);

    /// The four timeouts.
    pub const TIMEOUTS: Self = Self::TIMEOUT_CONNECT
        .union(Self::TIMEOUT_FIRST_TOKEN)
        .union(Self::TIMEOUT_IDLE)
        .union(Self::TIMEOUT_TOTAL);
}

impl From<FailureClass> for FailureClasses {
    fn from(class: FailureClass) -> Self {
        match class {
            FailureClass::ClientFault => Self::CLIENT_FAULT,
            FailureClass::Auth => Self::AUTH,
            FailureClass::RateLimit => Self::RATE_LIMIT,
            FailureClass::Overload => Self::OVERLOAD,
            FailureClass::ServerError => Self::SERVER_ERROR,
            FailureClass::Connection => Self::CONNECTION,
            FailureClass::TimeoutConnect => Self::TIMEOUT_CONNECT,
            FailureClass::TimeoutFirstToken => Self::TIMEOUT_FIRST_TOKEN,
            FailureClass::TimeoutIdle => Self::TIMEOUT_IDLE,
            FailureClass::TimeoutTotal => Self::TIMEOUT_TOTAL,
            FailureClass::CutStream => Self::CUT_STREAM,
            FailureClass::Malformed => Self::MALFORMED,
            FailureClass::ContextLength => Self::CONTEXT_LENGTH,
            FailureClass::ContentPolicy => Self::CONTENT_POLICY,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn model_faults_leave_out_what_every_model_would_refuse() {
        let faults = FailureClasses::MODEL_FAULTS;
        assert!(!faults.contains(FailureClass::ClientFault.into()));
        assert!(!faults.contains(FailureClass::ContentPolicy.into()));
        assert_eq!(faults.bits().count_ones(), 12);
        assert!(faults.contains(FailureClasses::TIMEOUTS));
    }
}
