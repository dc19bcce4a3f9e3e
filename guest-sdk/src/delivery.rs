//! Import `delivery`: what a `fallback` policy asks for besides its plan.
//!
//! For this request alone. What is not asked for is as the route is
//! configured, and the route's limits hold for what is. Needs no grant, and is
//! refused outside of `fallback`.

use crate::backend::delivery as backend;
use crate::metrics::quoted;
use crate::{Abstain, FailureClasses};

pub use crate::bindings::base::backstop::policy::delivery::{
    AfterCut, Beginning, DeliveryError, Hold,
};

/// Sets how much of a stream is held back before its caller sees any of it;
/// the last call holds.
///
/// # Errors
/// A beginning out of range, or no `fallback` decision. Nothing was changed.
pub fn hold(hold: Hold) -> Result<(), DeliveryError> {
    backend::set_hold(hold)
}

/// Sets what follows when a stream is cut that its caller has begun to see;
/// the last call holds. A route that does not restart goes on not to.
///
/// # Errors
/// No `fallback` decision. Nothing was changed.
pub fn after_cut(after_cut: AfterCut) -> Result<(), DeliveryError> {
    backend::set_after_cut(after_cut)
}

/// Sets how often the plan's calls are repeated after failures of `classes`,
/// 0 to 5, instead of their step's `retries`. The last call that names a class
/// holds for it.
///
/// # Errors
/// More than 5, the fifteenth rule, or no `fallback` decision. Nothing was
/// changed.
pub fn retries(classes: FailureClasses, retries: u8) -> Result<(), DeliveryError> {
    backend::set_retries(classes, retries)
}

impl From<DeliveryError> for Abstain {
    fn from(error: DeliveryError) -> Self {
        match error {
            DeliveryError::Invalid(what) => quoted("delivery is invalid: ", &what, ""),
            DeliveryError::Refused => Self::because("delivery was refused"),
        }
    }
}
