//! Watching files for changes.
//!
//! The operating system's events only say "look": what counts is whether a
//! file's fingerprint (size, time of change, inode; followed through symbolic
//! links) differs from the one that is remembered. That handles editors that
//! replace a file by renaming another over it, links that are turned to
//! another folder, and folders in which much else happens. Folders are
//! watched rather than files, because a file that is replaced is another file.
//!
//! Files are also looked at every two seconds, events or none. Where the system
//! gives no events, the log says so.

use notify::{RecommendedWatcher, RecursiveMode, Watcher as _};
use parking_lot::Mutex;
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use tokio::sync::Notify;
use tokio::task::AbortHandle;
use tokio::time::{Instant, timeout, timeout_at};

/// How long no event may come before files are looked at: an editor's save and
/// a build's copy come in several.
const QUIET: Duration = Duration::from_millis(200);
/// How long events may keep coming before files are looked at all the same.
const QUIET_WAIT_MAX: Duration = Duration::from_secs(2);
/// Between two looks without an event: all that there is where the system gives
/// none, and a safeguard elsewhere, for some file systems (network, overlays)
/// lose events. A look is one `stat` for each of a few files.
const POLL: Duration = Duration::from_secs(2);

/// How much older than the moment the time in a file may be: file systems
/// stamp with the time of the kernel's last tick.
const STAMP_LAG: Duration = Duration::from_millis(20);

/// How files are watched.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum WatchMode {
    /// By events of the operating system.
    Events,
    /// By looking at them every two seconds.
    Polling,
    /// Not at all.
    Off,
}

/// What tells one content of a file from another; none for a file that is not
/// there.
type Fingerprint = Option<(u64, Option<SystemTime>, u64)>;

fn fingerprint(path: &Path) -> Fingerprint {
    let meta = std::fs::metadata(path).ok()?;
    #[cfg(unix)]
    let inode = std::os::unix::fs::MetadataExt::ino(&meta);
    #[cfg(not(unix))]
    let inode = 0;
    Some((meta.len(), meta.modified().ok(), inode))
}

/// The fingerprint of a file as somebody read it who began at `read_at`; none
/// when it may have changed since.
fn as_read(path: &Path, read_at: SystemTime) -> Fingerprint {
    fingerprint(path)
        .filter(|(_, modified, _)| modified.is_none_or(|modified| modified + STAMP_LAG < read_at))
}

#[derive(Default)]
struct Known {
    files: Mutex<BTreeMap<PathBuf, Fingerprint>>,
    /// There may be something to see.
    look: Notify,
}

impl Known {
    /// True when a file differs from what is remembered, which it then is no
    /// more.
    fn changed(&self) -> bool {
        let mut changed = false;
        for (path, known) in self.files.lock().iter_mut() {
            let now = fingerprint(path);
            changed |= now != *known;
            *known = now;
        }
        changed
    }
}

/// Watches files and calls back when one of them has changed.
pub struct Watcher {
    known: Arc<Known>,
    system: Option<RecommendedWatcher>,
    folders: BTreeSet<PathBuf>,
    mode: WatchMode,
    task: Option<AbortHandle>,
}

impl Drop for Watcher {
    fn drop(&mut self) {
        if let Some(task) = &self.task {
            task.abort();
        }
    }
}

impl Watcher {
    /// Starts to watch, no file at first. `changed` is called on a thread of
    /// the runtime and must not block. Must be called within a tokio runtime.
    pub fn start(changed: impl Fn() + Send + Sync + 'static) -> Watcher {
        let known = Arc::new(Known::default());
        let poke = known.clone();
        let system = notify::recommended_watcher(move |event| match event {
            Ok(_) => poke.look.notify_one(),
            Err(error) => {
                tracing::warn!(%error, "watching files: an event was lost");
                poke.look.notify_one();
            }
        });
        let (system, mode) = match system {
            Ok(system) => (Some(system), WatchMode::Events),
            Err(error) => {
                tracing::warn!(
                    %error,
                    "the system gives no events on files; looking at them every {POLL:?} instead"
                );
                (None, WatchMode::Polling)
            }
        };
        let task = tokio::spawn(look_out(known.clone(), changed)).abort_handle();
        Watcher {
            known,
            system,
            folders: BTreeSet::new(),
            mode,
            task: Some(task),
        }
    }

    /// A watcher that never sees anything.
    pub fn off() -> Watcher {
        Watcher {
            known: Arc::default(),
            system: None,
            folders: BTreeSet::new(),
            mode: WatchMode::Off,
            task: None,
        }
    }

    /// How files are watched.
    pub fn mode(&self) -> WatchMode {
        self.mode
    }

    /// The files that are watched.
    pub fn files(&self) -> Vec<PathBuf> {
        self.known.files.lock().keys().cloned().collect()
    }

    /// Takes the files as they are now for known.
    pub fn remember(&self) {
        self.known.changed();
    }

    /// Watches `files` from now on, and no others. What is remembered of those
    /// that were watched before stays; others that were changed since
    /// `read_at`, when somebody began to read them, count as changed.
    pub fn watch(&mut self, files: &[PathBuf], read_at: SystemTime) {
        if self.mode == WatchMode::Off {
            return;
        }
        let before = std::mem::take(&mut *self.known.files.lock());
        let now: BTreeMap<PathBuf, Fingerprint> = files
            .iter()
            .map(|path| {
                let known = before.get(path).copied();
                let known = known.unwrap_or_else(|| as_read(path, read_at));
                (path.clone(), known)
            })
            .collect();
        let folders = now.keys().flat_map(|path| folders_of(path)).collect();
        *self.known.files.lock() = now;
        self.watch_folders(folders);
        // A change before the folder was watched has caused no event.
        self.known.look.notify_one();
    }

    fn watch_folders(&mut self, folders: BTreeSet<PathBuf>) {
        let Some(system) = &mut self.system else {
            return;
        };
        for gone in self.folders.difference(&folders) {
            // A folder that was removed is not watched any more by itself.
            let _ = system.unwatch(gone);
        }
        let mut failed = None;
        for folder in &folders {
            // Those that were watched before are watched again: the folder may
            // have been replaced by another of its name.
            let _ = system.unwatch(folder);
            if let Err(error) = system.watch(folder, RecursiveMode::NonRecursive) {
                failed = Some((folder, error));
            }
        }
        self.mode = match failed {
            None => WatchMode::Events,
            Some((folder, error)) => {
                tracing::warn!(
                    folder = %folder.display(),
                    %error,
                    "a folder gives no events on its files; \
                     looking at them every {POLL:?} instead"
                );
                WatchMode::Polling
            }
        };
        self.folders = folders;
    }
}

/// The folder of a file and, where the file is a link, that of its target.
fn folders_of(path: &Path) -> Vec<PathBuf> {
    let folder = |path: &Path| match path.parent() {
        Some(parent) if parent.as_os_str().is_empty() => PathBuf::from("."),
        Some(parent) => parent.to_owned(),
        None => PathBuf::from("/"),
    };
    let mut folders = vec![folder(path)];
    if let Ok(target) = path.canonicalize() {
        folders.push(folder(&target));
    }
    folders
}

async fn look_out(known: Arc<Known>, changed: impl Fn()) {
    loop {
        if timeout(POLL, known.look.notified()).await.is_ok() {
            settle(&known.look).await;
        }
        if look(&known).await {
            // Somebody may still be writing, unheard.
            let end = Instant::now() + QUIET_WAIT_MAX;
            loop {
                tokio::time::sleep(QUIET).await;
                if !look(&known).await || Instant::now() >= end {
                    break;
                }
            }
            changed();
        }
    }
}

/// True when a file has changed. On a thread for blocking work: a network file
/// system may take its time to answer.
async fn look(known: &Arc<Known>) -> bool {
    let known = known.clone();
    let looked = tokio::task::spawn_blocking(move || known.changed()).await;
    looked.unwrap_or(false)
}

/// Waits until events stop coming.
async fn settle(look: &Notify) {
    let end = Instant::now() + QUIET_WAIT_MAX;
    while Instant::now() < end {
        let quiet = (Instant::now() + QUIET).min(end);
        if timeout_at(quiet, look.notified()).await.is_err() {
            return;
        }
    }
}
