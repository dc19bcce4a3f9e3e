//! `incident`, collected.

use super::{KEY_BYTES_MAX, WORLD, raw};
pub(crate) use raw::incident::{IncidentError, Report};

/// Longest title of an incident, in bytes.
const TITLE_BYTES_MAX: usize = 256;
/// Longest detail of an incident, in bytes.
const DETAIL_BYTES_MAX: usize = 4 * 1_024;
/// Most incidents of one decision.
const INCIDENTS_MAX: usize = 4;

pub(crate) fn raise(report: Report<'_>) -> Result<bool, IncidentError> {
    WORLD.with_borrow_mut(|world| {
        if !world.grants.incident {
            return Err(IncidentError::Denied);
        }
        if let Some(error) = &world.incident_error {
            return Err(error.clone());
        }
        for (field, text, bytes_max) in [
            ("key", report.key, KEY_BYTES_MAX),
            ("title", report.title, TITLE_BYTES_MAX),
            ("detail", report.detail, DETAIL_BYTES_MAX),
        ] {
            let empty = text.is_empty() && field != "detail";
            if empty || text.len() > bytes_max {
                return Err(IncidentError::Invalid(field.to_owned()));
            }
        }
        if world.incidents.len() >= INCIDENTS_MAX {
            return Err(IncidentError::OverBudget);
        }
        let is_new = !world.incidents.iter().any(|known| known.key == report.key);
        world.incidents.push(crate::testing::Incident {
            key: report.key.to_owned(),
            severity: report.severity,
            title: report.title.to_owned(),
            detail: report.detail.to_owned(),
        });
        Ok(is_new)
    })
}
