//! Activations: everything between a component's bytes and the swap.
//!
//! One at a time, each within a bounded time. Whatever fails, what served
//! before still serves.

use super::Host;
use crate::error::{ActivationError, ActivationErrorKind};
use crate::load::{GUEST_STEPS, Loaded};
use crate::options::{ActivationRequest, HostOptions, PolicyOptions};
use crate::registry::Slot;
use crate::revision::{Revision, RevisionInfo, component_digest, revision_digest};
use std::sync::Arc;
use std::time::Duration;

/// Components that are loaded at once. One that is given up goes on until it
/// is done, and leaves room for another; with two of them, further ones are
/// told that the host is busy.
pub(super) const LOADS_MAX: usize = 2;

impl Host {
    /// Loads a component and makes it serve as the newest revision of the
    /// policy `name`: inspect, compile, check world and imports, link grants,
    /// describe, configure, canary call, swap. Work that takes long is done on
    /// tokio's threads for blocking work, and given up after
    /// [`HostOptions::load_ms_max`]. A component and options that are ready
    /// already are not loaded again. `request` is the policy's options, or an
    /// [`ActivationRequest`] that also says where the policy is asked.
    ///
    /// # Errors
    ///
    /// The step that failed. What served before still serves, and
    /// [`PolicyStatus::last_activation_error`](crate::PolicyStatus) tells.
    pub async fn activate(
        &self,
        name: &str,
        component: impl Into<Arc<[u8]>>,
        request: impl Into<ActivationRequest>,
    ) -> Result<RevisionInfo, ActivationError> {
        let _one = self.0.activation.lock().await;
        let slot = self.0.registry.get(name);
        match self
            .prepare(name, component.into(), request.into(), slot.as_deref())
            .await
        {
            Ok(revision) => {
                let info = revision.info.clone();
                self.0.registry.activate(revision);
                tracing::info!(
                    policy = name,
                    revision = info.number,
                    digest = &*info.digest,
                    "policy activated"
                );
                Ok(info)
            }
            Err(kind) => {
                let serving = slot.as_ref().map(|slot| slot.current().info.number);
                let error = ActivationError {
                    policy: name.to_owned(),
                    serving,
                    kind,
                };
                if let Some(slot) = slot {
                    *slot.last_activation_error.lock() = Some(error.to_string());
                }
                tracing::warn!(policy = name, serving, %error, "policy not activated");
                Err(error)
            }
        }
    }

    /// Goes through all steps of an activation but the swap.
    ///
    /// # Errors
    ///
    /// As [`Host::activate`]; nothing is changed or noted either way.
    pub async fn check(
        &self,
        name: &str,
        component: impl Into<Arc<[u8]>>,
        request: impl Into<ActivationRequest>,
    ) -> Result<RevisionInfo, ActivationError> {
        let prepared = self
            .prepare(name, component.into(), request.into(), None)
            .await;
        prepared
            .map(|revision| revision.info.clone())
            .map_err(|kind| ActivationError {
                policy: name.to_owned(),
                serving: self
                    .0
                    .registry
                    .get(name)
                    .map(|slot| slot.current().info.number),
                kind,
            })
    }

    /// All steps but the swap. `slot` is the policy whose next revision it is.
    pub(super) async fn prepare(
        &self,
        name: &str,
        component: Arc<[u8]>,
        request: ActivationRequest,
        slot: Option<&Slot>,
    ) -> Result<Arc<Revision>, ActivationErrorKind> {
        let ActivationRequest {
            options,
            points,
            number_before,
        } = request;
        check_activation(name, &options, &self.0.options)?;
        let policy: Arc<str> = Arc::from(name);
        let component_digest = component_digest(&component);
        let digest = revision_digest(&component_digest, &options);
        let ready = slot.and_then(|slot| slot.ready_with_digest(&digest));
        let (image, description) = match ready {
            Some(ready) => (ready.image().clone(), ready.info.description.clone()),
            None => {
                let loaded = self.load(policy.clone(), component, &options).await?;
                (Arc::new(loaded.image), loaded.description)
            }
        };
        let exports = image.points();
        if let Some(point) = points.into_iter().find(|point| !exports.contains(point)) {
            return Err(ActivationErrorKind::MissingPoint { point, exports });
        }
        let info = RevisionInfo {
            policy,
            number: slot.map_or(0, Slot::last_number).max(number_before) + 1,
            digest,
            component_digest,
            points: exports,
            description,
            options,
            activated_ms: self.now_ms(),
        };
        Ok(Arc::new(Revision::new(info, image)))
    }

    /// Loads on a thread for blocking work, and gives up when that takes too
    /// long: whoever activates holds up all other activations. The thread
    /// cannot be stopped; it keeps its permit until it is done, and its result
    /// is dropped.
    async fn load(
        &self,
        policy: Arc<str>,
        component: Arc<[u8]>,
        options: &PolicyOptions,
    ) -> Result<Loaded, ActivationErrorKind> {
        let guest_ms = GUEST_STEPS * u64::from(options.limits.load_deadline_ms);
        let limit_ms = u64::from(self.0.options.load_ms_max) + guest_ms;
        let limit = Duration::from_millis(limit_ms);
        let permit = tokio::time::timeout(limit, self.0.loads.clone().acquire_owned()).await;
        let Ok(Ok(permit)) = permit else {
            return Err(ActivationErrorKind::Busy(LOADS_MAX));
        };
        let (loader, options) = (self.0.loader.clone(), options.clone());
        let load = tokio::task::spawn_blocking(move || {
            let loaded = loader.load(&policy, &component, &options);
            drop(permit);
            loaded
        });
        match tokio::time::timeout(limit, load).await {
            Ok(Err(error)) if error.is_panic() => Err(ActivationErrorKind::Panicked),
            Ok(loaded) => loaded.map_err(|_| ActivationErrorKind::Cancelled)?,
            Err(_) => Err(ActivationErrorKind::TooSlow { limit_ms }),
        }
    }
}

fn check_activation(
    name: &str,
    options: &PolicyOptions,
    host: &HostOptions,
) -> Result<(), ActivationErrorKind> {
    let plain = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'-' || c == b'_';
    if name.is_empty() || name.len() > 64 || !name.bytes().all(plain) {
        let name = backstop_core::text::sanitize(name.to_owned(), 64);
        return Err(ActivationErrorKind::Name(name));
    }
    let in_range = |option, value: u64, min: u64, max: u64, range| {
        if (min..=max).contains(&value) {
            Ok(())
        } else {
            Err(ActivationErrorKind::Option {
                option,
                value,
                range,
            })
        }
    };
    let limits = &options.limits;
    in_range(
        "limits.deadline_ms",
        limits.deadline_ms.unwrap_or(1).into(),
        1,
        60_000,
        "1 to 60,000",
    )?;
    in_range(
        "limits.load_deadline_ms",
        limits.load_deadline_ms.into(),
        1,
        60_000,
        "1 to 60,000",
    )?;
    in_range("limits.fuel", limits.fuel, 1, u64::MAX, "at least 1")?;
    in_range(
        "limits.host_calls",
        limits.host_calls.into(),
        1,
        1 << 20,
        "1 to 1,048,576",
    )?;
    let memory_max = host.memory_bytes_max as u64;
    in_range(
        "limits.memory_bytes",
        limits.memory_bytes as u64,
        64 << 10,
        memory_max,
        "64 KiB to the host's `memory_bytes_max`",
    )
}
