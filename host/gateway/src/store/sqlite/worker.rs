//! A thread that owns a connection and works off a bounded queue of jobs.
//!
//! SQLite blocks, so it never runs on a thread of the async runtime. The
//! writer commits everything that waits at once in one transaction (a savepoint
//! for each job), so that the price of a durable commit is shared when many
//! reviews arrive together. A job is answered only after its commit.

use super::super::StoreError;
use rusqlite::{Connection, TransactionBehavior};
use std::path::{Path, PathBuf};
use std::thread::JoinHandle;
use tokio::sync::{mpsc, oneshot};

/// Jobs that may wait; more are refused as busy. At a millisecond for a batch
/// of commits this is far beyond what the timeouts of callers allow.
pub(super) const JOBS_MAX: usize = 1024;
/// Jobs in one transaction: enough to share the commit, few enough to keep
/// the first of them from waiting long.
const BATCH_MAX: usize = 64;

/// Why a job did not do its work: an answer of the store's own, or the
/// database's.
pub(super) enum OpError {
    Store(StoreError),
    Sqlite(rusqlite::Error),
}

impl From<rusqlite::Error> for OpError {
    fn from(error: rusqlite::Error) -> Self {
        OpError::Sqlite(error)
    }
}

impl From<StoreError> for OpError {
    fn from(error: StoreError) -> Self {
        OpError::Store(error)
    }
}

/// What a worker does with a transaction that holds several jobs.
trait Job: Send {
    /// Does the work; false when it failed and its part is to be undone.
    fn run(&mut self, connection: &Connection) -> bool;
    /// Answers. `committed` is the fate of the transaction around it.
    fn reply(self: Box<Self>, committed: Result<(), &rusqlite::Error>, path: &Path);
}

struct Work<F, T> {
    doing: &'static str,
    work: Option<F>,
    result: Option<Result<T, OpError>>,
    reply: oneshot::Sender<Result<T, StoreError>>,
}

impl<F, T> Job for Work<F, T>
where
    F: FnOnce(&Connection) -> Result<T, OpError> + Send,
    T: Send,
{
    fn run(&mut self, connection: &Connection) -> bool {
        self.result = self.work.take().map(|work| work(connection));
        matches!(self.result, Some(Ok(_)))
    }

    fn reply(self: Box<Self>, committed: Result<(), &rusqlite::Error>, path: &Path) {
        let answer = match (self.result, committed) {
            (Some(Ok(value)), Ok(())) => Ok(value),
            // What a job found wrong on its own is more telling than the
            // commit that failed after it.
            (Some(Err(OpError::Store(error))), _) => Err(error),
            (Some(Err(OpError::Sqlite(error))), _) => Err(translate(self.doing, path, &error)),
            (_, Err(error)) => Err(translate(self.doing, path, error)),
            (None, Ok(())) => Err(StoreError::Closed),
        };
        // The asker may have gone away; what was committed stays.
        let _ = self.reply.send(answer);
    }
}

enum Message {
    Job(Box<dyn Job>),
    Stop,
}

/// Handle to the thread.
pub(super) struct Worker {
    messages: mpsc::Sender<Message>,
    thread: parking_lot::Mutex<Option<JoinHandle<()>>>,
}

/// How a worker treats its jobs.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    /// In transactions, several at once.
    Write,
    /// One by one, outside any transaction.
    Read,
}

impl Worker {
    /// Starts the thread.
    pub(super) fn start(
        connection: Connection,
        path: PathBuf,
        mode: Mode,
    ) -> std::io::Result<Worker> {
        let (messages, queue) = mpsc::channel(JOBS_MAX);
        let name = match mode {
            Mode::Write => "store-writer",
            Mode::Read => "store-reader",
        };
        let thread = std::thread::Builder::new()
            .name(name.to_owned())
            .spawn(move || work_off(connection, queue, &path, mode))?;
        Ok(Worker {
            messages,
            thread: parking_lot::Mutex::new(Some(thread)),
        })
    }

    /// Queues `work` at once and returns the future of its result. The work is
    /// done whether or not that future is polled.
    pub(super) fn submit<T, F>(
        &self,
        doing: &'static str,
        work: F,
    ) -> impl Future<Output = Result<T, StoreError>> + Send + use<T, F>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> Result<T, OpError> + Send + 'static,
    {
        let (reply, answer) = oneshot::channel();
        let job = Message::Job(Box::new(Work {
            doing,
            work: Some(work),
            result: None,
            reply,
        }));
        let queued = self.messages.try_send(job).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => StoreError::Busy(JOBS_MAX),
            mpsc::error::TrySendError::Closed(_) => StoreError::Closed,
        });
        async move {
            queued?;
            answer.await.unwrap_or(Err(StoreError::Closed))
        }
    }

    /// Lets the thread finish what is queued, close its connection and end.
    pub(super) async fn stop(&self) {
        let _ = self.messages.send(Message::Stop).await;
        let thread = self.thread.lock().take();
        if let Some(thread) = thread {
            let _ = tokio::task::spawn_blocking(move || thread.join()).await;
        }
    }
}

fn work_off(
    mut connection: Connection,
    mut queue: mpsc::Receiver<Message>,
    path: &Path,
    mode: Mode,
) {
    let mut stopped = false;
    while !stopped {
        let Some(Message::Job(first)) = queue.blocking_recv() else {
            break;
        };
        let mut batch = vec![first];
        while batch.len() < BATCH_MAX {
            match queue.try_recv() {
                Ok(Message::Job(job)) => batch.push(job),
                Ok(Message::Stop) => {
                    stopped = true;
                    break;
                }
                Err(_) => break,
            }
        }
        match mode {
            Mode::Write => {
                let committed = commit(&mut connection, &mut batch);
                for job in batch {
                    job.reply(committed.as_ref().copied(), path);
                }
            }
            Mode::Read => {
                for mut job in batch {
                    job.run(&connection);
                    job.reply(Ok(()), path);
                }
            }
        }
    }
}

fn commit(connection: &mut Connection, batch: &mut [Box<dyn Job>]) -> rusqlite::Result<()> {
    let mut transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    for job in batch {
        let savepoint = transaction.savepoint()?;
        if job.run(&savepoint) {
            savepoint.commit()?;
        } else {
            // Rolls back to where this job began; the others stand.
            savepoint.finish()?;
        }
        // A full disk, for one, makes SQLite roll the whole transaction back
        // by itself. Going on would commit the later jobs one by one and then
        // tell them that they failed.
        if transaction.is_autocommit() {
            return Err(rusqlite::Error::SqliteFailure(
                rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_ABORT_ROLLBACK),
                Some("the transaction was rolled back".to_owned()),
            ));
        }
    }
    transaction.commit()
}

/// What a failure of SQLite means to the operator.
pub(super) fn translate(doing: &'static str, path: &Path, error: &rusqlite::Error) -> StoreError {
    use rusqlite::ErrorCode;
    match error.sqlite_error_code() {
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => {
            StoreError::Locked(path.to_owned())
        }
        Some(ErrorCode::DiskFull) => StoreError::DiskFull(path.to_owned()),
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => {
            StoreError::Corrupt(path.to_owned())
        }
        _ => StoreError::Database {
            doing,
            path: path.to_owned(),
            source: error.to_string().into(),
        },
    }
}
