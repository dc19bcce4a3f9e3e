//! `incident`: opening incidents, a few for each decision.

use super::{replayed, timed};
use crate::bindings::{incident as wit, types};
use crate::record::{HostCall, IncidentError};
use crate::run_state::{Mode, RunState};
use crate::sources::{IncidentReport, Severity};
use backstop_core::text::{cut, sanitize};
use wasmtime::Result;

/// Longest key, in bytes; see the contract.
const KEY_BYTES_MAX: usize = 128;
/// Longest title, in bytes; see the contract.
const TITLE_BYTES_MAX: usize = 256;
/// Longest detail, in bytes; see the contract.
const DETAIL_BYTES_MAX: usize = 4_096;

impl RunState {
    fn raise_live(
        &mut self,
        report: &IncidentReport,
        detail_bytes: usize,
    ) -> Result<bool, IncidentError> {
        if report.key.is_empty() || report.key.len() > KEY_BYTES_MAX {
            return Err(IncidentError::Invalid(format!(
                "`key` has 1 to {KEY_BYTES_MAX} bytes"
            )));
        }
        if report.title.is_empty() || report.title.len() > TITLE_BYTES_MAX {
            return Err(IncidentError::Invalid(format!(
                "`title` has 1 to {TITLE_BYTES_MAX} bytes"
            )));
        }
        if detail_bytes > DETAIL_BYTES_MAX {
            return Err(IncidentError::Invalid(format!(
                "`detail` has at most {DETAIL_BYTES_MAX} bytes"
            )));
        }
        if self.time_left().is_none() {
            return Err(IncidentError::Deadline);
        }
        if self.incidents_left == 0 {
            return Err(IncidentError::OverBudget);
        }
        self.incidents_left -= 1;
        if matches!(self.mode, Mode::Canary) {
            return Ok(true);
        }
        timed!(self, self.services.incidents.raise(report.clone()))
            .map_err(IncidentError::Unavailable)
    }
}

impl wit::Host for RunState {
    fn raise(&mut self, report: wit::Report) -> Result<Result<bool, wit::IncidentError>> {
        self.enter("incident.raise")?;
        let detail_bytes = report.detail.len();
        let report = IncidentReport {
            policy: self.policy.to_string(),
            // One byte more than allowed shows that it was too long.
            key: sanitize(report.key, KEY_BYTES_MAX + 4),
            severity: match report.severity {
                types::Severity::Critical => Severity::Critical,
                types::Severity::Error => Severity::Error,
                types::Severity::Warning => Severity::Warning,
                types::Severity::Info => Severity::Info,
            },
            title: sanitize(report.title, TITLE_BYTES_MAX + 4),
            detail: cut(&report.detail, DETAIL_BYTES_MAX).to_owned(),
        };
        let result = match replayed!(self, "incident.raise", HostCall::Incident { result, .. } => result)
        {
            Some(result) => result,
            None => self.raise_live(&report, detail_bytes),
        };
        self.settle(HostCall::Incident {
            report,
            result: result.clone(),
        })?;
        Ok(result.map_err(|error| match error {
            IncidentError::Invalid(what) => wit::IncidentError::Invalid(what),
            IncidentError::OverBudget => wit::IncidentError::OverBudget,
            IncidentError::Deadline => wit::IncidentError::Deadline,
            IncidentError::Unavailable(why) => wit::IncidentError::Unavailable(why),
        }))
    }
}
