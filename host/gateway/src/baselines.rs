//! Baselines in use: what policies' `drift-from` and `compare-with` are held
//! against.
//!
//! The store keeps all versions (`store/baselines.rs`); here are those in use,
//! read at the start and after each change, so that queries are answered from
//! memory. Operators make and change them (`admin/baselines.rs`).
//!
//! Always holds: what is in memory was in the store before; a change that the
//! store did not take changes nothing here; a baseline that cannot be read at
//! the start is left out with a warning, and never keeps the gateway from
//! serving.

use crate::chain::chain;
use crate::store::{BaselineHead, KeptBaseline, NewBaseline, Store, StoreError};
use arc_swap::ArcSwap;
use backstop_core::evidence::Evidence;
use backstop_core::evidence::baseline::{Baseline, Held};
use backstop_core::metric;
use std::collections::HashMap;
use std::sync::Arc;

type InUse = HashMap<String, Arc<KeptBaseline>>;

/// The baselines of a gateway.
pub struct Baselines {
    store: Arc<dyn Store>,
    in_use: ArcSwap<InUse>,
    /// One change at a time, so that memory follows the store.
    changing: tokio::sync::Mutex<()>,
}

impl std::fmt::Debug for Baselines {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Baselines").finish_non_exhaustive()
    }
}

impl Baselines {
    /// Those that `store` says are in use.
    pub async fn load(store: Arc<dyn Store>) -> Baselines {
        let baselines = Baselines {
            store,
            in_use: ArcSwap::default(),
            changing: tokio::sync::Mutex::default(),
        };
        match baselines.store.baselines().await {
            Ok(heads) => {
                let mut in_use = InUse::new();
                for head in heads.into_iter().filter(|head| head.in_use) {
                    match baselines.store.baseline(&head.name, None).await {
                        Ok(Some(kept)) => {
                            in_use.insert(head.name, Arc::new(kept));
                        }
                        Ok(None) => {}
                        Err(error) => tracing::warn!(
                            baseline = head.name,
                            error = chain(&error),
                            "baseline cannot be read; it is not in use"
                        ),
                    }
                }
                baselines.in_use.store(Arc::new(in_use));
            }
            Err(error) => tracing::warn!(
                error = chain(&error),
                "baselines cannot be read; none is in use"
            ),
        }
        baselines
    }

    /// The version in use of the baseline `name`.
    pub fn get(&self, name: &str) -> Option<Arc<KeptBaseline>> {
        self.in_use.load().get(name).cloned()
    }

    /// What `read` makes of what the baseline `name` holds of `metric`; none
    /// where it holds nothing.
    pub(crate) fn with<T>(
        &self,
        name: &str,
        metric: &str,
        read: impl FnOnce(&Held) -> T,
    ) -> Option<T> {
        let in_use = self.in_use.load();
        in_use.get(name)?.baseline.metrics.get(metric).map(read)
    }

    /// All versions of all baselines.
    ///
    /// # Errors
    ///
    /// A failure of the store.
    pub async fn list(&self) -> Result<Vec<BaselineHead>, StoreError> {
        self.store.baselines().await
    }

    /// One version, or the one in use.
    ///
    /// # Errors
    ///
    /// A failure of the store.
    pub async fn find(
        &self,
        name: &str,
        version: Option<u32>,
    ) -> Result<Option<KeptBaseline>, StoreError> {
        self.store.baseline(name, version).await
    }

    /// Keeps a new version and puts it to use.
    ///
    /// # Errors
    ///
    /// As [`Store::add_baseline`]; the version that was in use still is.
    pub async fn add(&self, new: NewBaseline) -> Result<BaselineHead, StoreError> {
        let _changing = self.changing.lock().await;
        let baseline = new.baseline.clone();
        let head = self.store.add_baseline(new).await?;
        self.put(KeptBaseline {
            head: head.clone(),
            baseline,
        });
        Ok(head)
    }

    /// Puts another version to use.
    ///
    /// # Errors
    ///
    /// As [`Store::use_baseline`]; the version that was in use still is.
    pub async fn put_to_use(&self, name: &str, version: u32) -> Result<BaselineHead, StoreError> {
        let _changing = self.changing.lock().await;
        let not_found = || StoreError::NotFound {
            what: "version of the baseline",
            id: format!("{name} {version}"),
        };
        // Read first: a version that cannot be read is not put to use.
        let found = self.store.baseline(name, Some(version)).await?;
        let KeptBaseline { baseline, .. } = found.ok_or_else(not_found)?;
        let head = self.store.use_baseline(name, version).await?;
        self.put(KeptBaseline {
            head: head.clone(),
            baseline,
        });
        Ok(head)
    }

    /// Forgets a baseline with all its versions.
    ///
    /// # Errors
    ///
    /// As [`Store::remove_baseline`]; it is still there.
    pub async fn remove(&self, name: &str) -> Result<(), StoreError> {
        let _changing = self.changing.lock().await;
        self.store.remove_baseline(name).await?;
        self.in_use.rcu(|in_use| {
            let mut in_use = InUse::clone(in_use);
            in_use.remove(name);
            in_use
        });
        Ok(())
    }

    fn put(&self, kept: KeptBaseline) {
        let (name, kept) = (kept.head.name.clone(), Arc::new(kept));
        self.in_use.rcu(|in_use| {
            let mut in_use = InUse::clone(in_use);
            in_use.insert(name.clone(), kept.clone());
            in_use
        });
    }
}

/// What of `baseline` cannot be held against what `evidence` knows: all of it.
pub(crate) fn mistakes(baseline: &Baseline, evidence: &Evidence) -> Vec<String> {
    let mut mistakes = baseline.mistakes();
    for (name, held) in &baseline.metrics {
        let (kind, known) = (held.reference.kind(), evidence.kind(metric::base(name)));
        if let Some(known) = known.filter(|known| *known != kind) {
            mistakes.push(format!(
                "metric `{name}` is of kind {} here, of kind {} in the baseline",
                known.as_str(),
                kind.as_str()
            ));
        }
    }
    mistakes
}
