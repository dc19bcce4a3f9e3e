//! Reloading the configuration while it serves.
//!
//! A change of the configuration file or of a component file, SIGHUP and the
//! admin call all go to one task. It runs one reload at a time; what arrives
//! meanwhile is answered by the next one together. A reload ([`Reload`], the
//! gateway implements it) loads and checks everything, then swaps; on a
//! mistake the last good configuration keeps serving, the gauge
//! `backstop_config_synchronized` falls to 0, and every mistake is logged and
//! kept for `GET /admin/v1/config`.
//!
//! Files are watched through [`watch`].

pub mod watch;

use crate::telemetry::Telemetry;
use arc_swap::ArcSwap;
use backstop::BoxFuture;
use serde::Serialize;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};
use tokio::sync::{mpsc, oneshot};
use tokio::task::AbortHandle;
use utoipa::ToSchema;
use watch::{WatchMode, Watcher};

/// Requests that may wait for a reload. Each of them is a person, a script or
/// the watcher; together they cause one more reload.
const REQUESTS_MAX: usize = 64;
/// Mistakes of a refused configuration that are kept and logged.
const MISTAKES_MAX: usize = 200;

/// What caused a reload.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Trigger {
    /// The gateway started.
    Start,
    /// A watched file changed.
    File,
    /// SIGHUP.
    Signal,
    /// `POST /admin/v1/reload`.
    Admin,
}

impl Trigger {
    fn as_str(self) -> &'static str {
        match self {
            Trigger::Start => "start",
            Trigger::File => "file",
            Trigger::Signal => "signal",
            Trigger::Admin => "admin",
        }
    }
}

/// A configuration that was applied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Applied {
    /// Identifies its content, for people and scripts to compare.
    pub digest: String,
    /// Every file that it was made of: the configuration and all components.
    pub files: Vec<PathBuf>,
    /// Keys that differ from those of the start, and take effect at the next
    /// one only; in order.
    pub needs_restart: Vec<String>,
}

/// A configuration that was refused. What served before still serves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// Every mistake, with its line where it has one.
    pub mistakes: Vec<String>,
    /// Files whose change may mend it; those of the last good configuration
    /// stay watched besides.
    pub files: Vec<PathBuf>,
}

/// Loads a configuration whole and applies it, or refuses it.
pub trait Reload: Send + Sync + 'static {
    /// Loads and applies. Called for one reload at a time.
    ///
    /// # Errors
    ///
    /// [`Refused`]; nothing was changed.
    fn reload(&self) -> BoxFuture<'_, Result<Applied, Refused>>;
}

/// The last applied configuration.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct AppliedStatus {
    /// See [`Applied::digest`].
    pub digest: String,
    /// When, in milliseconds since the Unix epoch.
    pub at_ms: u64,
    /// What caused it.
    pub trigger: Trigger,
}

/// What became of the configuration.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct ConfigStatus {
    /// True when what serves is what the last reload found.
    pub synchronized: bool,
    /// What serves; none before the first one was applied.
    pub applied: Option<AppliedStatus>,
    /// When the last reload ended, in milliseconds since the Unix epoch.
    pub last_reload_ms: Option<u64>,
    /// What caused it.
    pub last_trigger: Option<Trigger>,
    /// Keys that differ from those of the start and take effect at the next
    /// one. A key whose change was taken back is none of them.
    pub needs_restart: Vec<String>,
    /// Why the last reload was refused; empty when it was applied.
    pub mistakes: Vec<String>,
    /// How many reloads were applied since the start.
    pub reloads_applied: u64,
    /// How many were refused.
    pub reloads_refused: u64,
    /// How files are watched.
    pub watch: WatchMode,
    /// Files that are watched.
    #[schema(value_type = Vec<String>)]
    pub files: Vec<PathBuf>,
}

/// The reloading task has ended; the gateway is stopping.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ReloadError {
    /// The gateway is stopping.
    #[error("the gateway is stopping")]
    Stopped,
    /// Too many wait already.
    #[error("too many reloads wait already")]
    Busy,
}

struct Request {
    trigger: Trigger,
    reply: Option<oneshot::Sender<Arc<ConfigStatus>>>,
}

/// Handle to the reloading task. Cheap to clone; the task ends with the last
/// clone.
#[derive(Clone)]
pub struct Reloader {
    inner: Arc<Inner>,
}

struct Inner {
    requests: mpsc::Sender<Request>,
    status: Arc<ArcSwap<ConfigStatus>>,
    tasks: Vec<AbortHandle>,
}

impl Drop for Inner {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}

impl std::fmt::Debug for Reloader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reloader").finish_non_exhaustive()
    }
}

/// How a [`Reloader`] begins.
pub struct ReloaderOptions {
    /// The configuration that the gateway started with. None when it has not
    /// been applied yet: then the first reload is made at once.
    pub applied: Option<Applied>,
    /// When reading that configuration began: files that were changed since
    /// are read again.
    pub read_at: SystemTime,
    /// Watch the files of the configuration.
    pub watch: bool,
    /// Reload on SIGHUP. There is one such signal in a process.
    pub signal: bool,
}

impl Reloader {
    /// Starts the task. Must be called within a tokio runtime.
    pub fn start(
        reload: Arc<dyn Reload>,
        telemetry: Arc<Telemetry>,
        options: ReloaderOptions,
    ) -> Reloader {
        let (requests, queue) = mpsc::channel(REQUESTS_MAX);
        let first = options.applied.is_none();
        let watcher = if options.watch {
            let requests = requests.downgrade();
            Watcher::start(move || {
                if let Some(requests) = requests.upgrade() {
                    // When the queue is full, a reload follows anyway.
                    let _ = requests.try_send(Request {
                        trigger: Trigger::File,
                        reply: None,
                    });
                }
            })
        } else {
            Watcher::off()
        };
        let status = Arc::new(ArcSwap::from_pointee(ConfigStatus {
            synchronized: false,
            applied: None,
            last_reload_ms: None,
            last_trigger: None,
            needs_restart: Vec::new(),
            mistakes: Vec::new(),
            reloads_applied: 0,
            reloads_refused: 0,
            watch: watcher.mode(),
            files: Vec::new(),
        }));
        let mut task = Task {
            reload,
            telemetry,
            status: status.clone(),
            watcher,
            good_files: Vec::new(),
        };
        if let Some(applied) = options.applied {
            task.watcher.watch(&applied.files, options.read_at);
            task.note(Trigger::Start, Ok(applied));
        }
        let mut tasks = vec![tokio::spawn(task.run(queue, first)).abort_handle()];
        if options.signal {
            tasks.extend(watch_signal(requests.downgrade()));
        }
        Reloader {
            inner: Arc::new(Inner {
                requests,
                status,
                tasks,
            }),
        }
    }

    /// What became of the configuration.
    pub fn status(&self) -> Arc<ConfigStatus> {
        self.inner.status.load_full()
    }

    /// Reloads and returns what became of it. A reload that began before this
    /// call does not count: what is on disk now is read.
    ///
    /// # Errors
    ///
    /// When no reload can be made; nothing was changed.
    pub async fn reload(&self) -> Result<Arc<ConfigStatus>, ReloadError> {
        let (reply, answer) = oneshot::channel();
        let request = Request {
            trigger: Trigger::Admin,
            reply: Some(reply),
        };
        match self.inner.requests.try_send(request) {
            Ok(()) => answer.await.map_err(|_| ReloadError::Stopped),
            Err(mpsc::error::TrySendError::Full(_)) => Err(ReloadError::Busy),
            Err(mpsc::error::TrySendError::Closed(_)) => Err(ReloadError::Stopped),
        }
    }
}

struct Task {
    reload: Arc<dyn Reload>,
    telemetry: Arc<Telemetry>,
    status: Arc<ArcSwap<ConfigStatus>>,
    watcher: Watcher,
    /// Files of the configuration that serves.
    good_files: Vec<PathBuf>,
}

impl Task {
    async fn run(mut self, mut queue: mpsc::Receiver<Request>, first: bool) {
        if first {
            self.once(Trigger::Start).await;
        }
        let mut burst = Vec::with_capacity(REQUESTS_MAX);
        while queue.recv_many(&mut burst, REQUESTS_MAX).await > 0 {
            let trigger = burst
                .iter()
                .map(|request| request.trigger)
                .find(|trigger| *trigger != Trigger::File)
                .unwrap_or(Trigger::File);
            self.once(trigger).await;
            for request in burst.drain(..) {
                if let Some(reply) = request.reply {
                    let _ = reply.send(self.status.load_full());
                }
            }
        }
    }

    async fn once(&mut self, trigger: Trigger) {
        // Remembered before anything is read: a change while the reload runs
        // is then seen as one, and causes another.
        self.watcher.remember();
        let read_at = SystemTime::now();
        let result = self.reload.reload().await;
        let mut files = match &result {
            Ok(applied) => applied.files.clone(),
            Err(refused) => [&self.good_files[..], &refused.files[..]].concat(),
        };
        files.sort();
        files.dedup();
        self.watcher.watch(&files, read_at);
        self.note(trigger, result);
    }

    fn note(&mut self, trigger: Trigger, result: Result<Applied, Refused>) {
        let mut status = ConfigStatus::clone(&self.status.load());
        let now_ms = now_ms();
        status.last_reload_ms = Some(now_ms);
        status.last_trigger = Some(trigger);
        status.watch = self.watcher.mode();
        status.files = self.watcher.files();
        match result {
            Ok(applied) => {
                tracing::info!(
                    trigger = trigger.as_str(),
                    digest = applied.digest,
                    "configuration applied"
                );
                if !applied.needs_restart.is_empty() {
                    tracing::warn!(
                        keys = applied.needs_restart.join(", "),
                        "changes of these keys take effect at the next start"
                    );
                }
                self.good_files = applied.files;
                status.needs_restart = applied.needs_restart;
                status.synchronized = true;
                status.applied = Some(AppliedStatus {
                    digest: applied.digest,
                    at_ms: now_ms,
                    trigger,
                });
                status.mistakes = Vec::new();
                status.reloads_applied += 1;
            }
            Err(refused) => {
                let count = refused.mistakes.len();
                tracing::error!(
                    trigger = trigger.as_str(),
                    mistakes = count,
                    "configuration refused; the last good one keeps serving"
                );
                status.mistakes = refused.mistakes;
                status.mistakes.truncate(MISTAKES_MAX);
                for mistake in &status.mistakes {
                    tracing::error!(mistake, "configuration mistake");
                }
                if count > MISTAKES_MAX {
                    let more = count - MISTAKES_MAX;
                    status.mistakes.push(format!("and {more} more"));
                }
                status.synchronized = false;
                status.reloads_refused += 1;
            }
        }
        self.telemetry.reloaded(status.synchronized);
        self.status.store(Arc::new(status));
    }
}

#[cfg(unix)]
fn watch_signal(requests: mpsc::WeakSender<Request>) -> Option<AbortHandle> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut hangups = match signal(SignalKind::hangup()) {
        Ok(hangups) => hangups,
        Err(error) => {
            tracing::error!(%error, "SIGHUP will not reload the configuration");
            return None;
        }
    };
    let task = tokio::spawn(async move {
        while hangups.recv().await.is_some() {
            let Some(requests) = requests.upgrade() else {
                return;
            };
            let _ = requests.try_send(Request {
                trigger: Trigger::Signal,
                reply: None,
            });
        }
    });
    Some(task.abort_handle())
}

#[cfg(not(unix))]
fn watch_signal(_: mpsc::WeakSender<Request>) -> Option<AbortHandle> {
    None
}

fn now_ms() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| {
            u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
        })
}

#[cfg(test)]
mod tests;
