//! Import `incident`: opening incidents.

use crate::backend::incident as backend;
use crate::metrics::quoted;
use crate::{Abstain, Severity};

pub use crate::bindings::base::backstop::policy::incident::IncidentError;

/// Opens an incident, or adds to the open one with the same `key`. True when
/// it was new.
///
/// `key` (1 to 128 bytes) identifies the problem; the host joins it with the
/// policy's name. `title` is one line of at most 256 bytes, `detail` the
/// evidence for whoever is called, at most 4 KiB.
///
/// # Errors
/// Not granted, a field empty or too long, the fifth in one decision, the
/// deadline, or the host cannot take it now.
pub fn raise(
    key: &str,
    severity: Severity,
    title: &str,
    detail: &str,
) -> Result<bool, IncidentError> {
    backend::raise(backend::Report {
        key,
        severity,
        title,
        detail,
    })
}

impl From<IncidentError> for Abstain {
    fn from(error: IncidentError) -> Self {
        match error {
            IncidentError::Denied => Self::because("incidents are not granted"),
            IncidentError::Invalid(what) => quoted("incident is invalid: ", &what, ""),
            IncidentError::OverBudget => Self::because("incident is one too many for one decision"),
            IncidentError::Deadline => Self::because("incident came past the deadline"),
            IncidentError::Unavailable(why) => quoted("incident was not taken: ", &why, ""),
        }
    }
}
