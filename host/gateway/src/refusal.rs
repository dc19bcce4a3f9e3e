//! Credentials that a provider refuses: the operator's incident.
//!
//! Nobody but the operator can mend a key or a bill, so the first refusal opens
//! an incident, and the first call that is let in closes it. Always holds: a
//! release reports at most once in [`TOLD_AGAIN`]; what it reports goes into a
//! queue in memory, so that no request waits; no report holds what a provider
//! wrote, which may repeat the key.

use crate::config::Target;
use crate::store::Incidents;
use crate::upstream::Failure;
use backstop::{IncidentReport, IncidentSink, Severity};
use backstop_core::fault::FailureClass;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Who reports, in place of a policy; no policy can have this name.
pub(crate) const REPORTER: &str = "(gateway)";
/// How long a release that is still refused keeps quiet: as long as its breaker
/// leaves it alone.
const TOLD_AGAIN: Duration = Duration::from_secs(60);

/// Whether a release's credentials are refused.
#[derive(Debug)]
pub(crate) struct Refusal {
    incidents: Incidents,
    key: String,
    /// When it was last told, on the gateway's clock; 0 while all is well.
    told_ms: AtomicU64,
}

impl Refusal {
    /// That of the release of `target`. An incident that is open, from before
    /// a restart or a reload, is closed by the first call that is let in.
    pub(crate) fn new(incidents: &Incidents, target: &Target) -> Self {
        let key = format!("auth:{}/{}", target.model, target.release);
        let told_ms = u64::from(incidents.is_open(REPORTER, &key));
        Refusal {
            incidents: incidents.clone(),
            key,
            told_ms: AtomicU64::new(told_ms),
        }
    }

    /// Notes how a call of the release ended.
    pub(crate) fn ended(&self, target: &Target, failure: Option<&Failure>, now_ms: u64) {
        match failure {
            None => {
                if self.told_ms.load(Ordering::Relaxed) != 0
                    && self.told_ms.swap(0, Ordering::Relaxed) != 0
                {
                    self.incidents.resolve(REPORTER, &self.key);
                }
            }
            Some(failure) if failure.class == FailureClass::Auth => {
                self.refused(target, failure, now_ms);
            }
            Some(_) => {}
        }
    }

    fn refused(&self, target: &Target, failure: &Failure, now_ms: u64) {
        let told_ms = self.told_ms.load(Ordering::Relaxed);
        let quiet_ms = u64::try_from(TOLD_AGAIN.as_millis()).unwrap_or(u64::MAX);
        if told_ms > 1 && now_ms.saturating_sub(told_ms) < quiet_ms {
            return;
        }
        let mine = self.told_ms.compare_exchange(
            told_ms,
            now_ms.max(1),
            Ordering::Relaxed,
            Ordering::Relaxed,
        );
        if mine.is_err() {
            return;
        }
        let status = failure.status.map_or_else(
            || "no status".to_owned(),
            |status| format!("status {}", status.as_u16()),
        );
        let report = IncidentReport {
            policy: REPORTER.to_owned(),
            key: self.key.clone(),
            severity: Severity::Error,
            title: format!(
                "provider `{}` refuses the credentials for model `{}`",
                target.provider.name, target.model
            ),
            detail: format!(
                "release `{}` got {status}: the key is wrong, may not use `{}`, or its account is \
                 out of credit; mend it at the provider, or set another key and reload",
                target.release, target.upstream_model
            ),
        };
        // A full queue is counted and logged where it is.
        let _ = self.incidents.raise(report);
    }
}
