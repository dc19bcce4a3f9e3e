//! The embedded store: SQLite in the data directory.
//!
//! One connection writes and one reads, each on a thread of its own
//! (`worker`); write-ahead logging lets them work at once, and
//! `synchronous=FULL` puts every commit on disk before it is answered. The
//! file is made readable for its owner only: it holds what people asked.

mod answers;
mod baselines;
mod evidence;
mod history;
mod messages;
mod objectives;
mod reviews;
mod schema;
mod worker;

use super::{
    Activation, Announce, AnswerLimits, AttemptEnd, BaselineHead, Fact, FeedbackEnd, FoundAnswer,
    Incident, IncidentState, KeptBaseline, KeptEvidence, KeptObjective, LabelledAnswer, Message,
    MessageCount, MessageFilter, NewBaseline, NewFeedback, NewReview, PAGE_MAX, RememberedAnswer,
    Resolution, Resolved, Review, ReviewFilter, RolloutEvent, Store, StoreError, StoreOptions,
    Taken,
};
use crate::trail::RequestId;
use backstop::{BoxFuture, IncidentReport, Severity};
use rusqlite::{Connection, OpenFlags};
use rustls::crypto::GetRandomFailed;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use worker::{Mode, Worker, translate};

/// Name of the database in the data directory.
pub const FILE_NAME: &str = "backstop.db";
/// How long a lock of another process is waited for. Longer than a backup or
/// a look with the `sqlite3` shell takes, shorter than callers wait.
const LOCK_WAIT: Duration = Duration::from_secs(2);
/// Databases up to this size are read through for damage when they are opened;
/// larger ones would keep the gateway from starting for seconds. Damage is
/// then found where it is met.
const CHECKED_BYTES_MAX: u64 = 64 << 20;
/// Size to which the write-ahead log is cut after a checkpoint.
const WAL_BYTES_MAX: i64 = 16 << 20;

/// A [`Store`] in a file.
pub struct SqliteStore {
    writer: Worker,
    reader: Worker,
    path: PathBuf,
    options: Arc<StoreOptions>,
}

impl std::fmt::Debug for SqliteStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SqliteStore")
            .field("path", &self.path)
            .finish_non_exhaustive()
    }
}

impl SqliteStore {
    /// Opens the database in `data_dir`, both made where they are missing, and
    /// brings it to the current schema. Blocks for as long as that takes.
    ///
    /// # Errors
    ///
    /// [`StoreError::Directory`], [`StoreError::Locked`],
    /// [`StoreError::Corrupt`], [`StoreError::TooNew`] and the like. The file
    /// is left as it was.
    pub fn open(data_dir: &Path, options: StoreOptions) -> Result<SqliteStore, StoreError> {
        make_dir(data_dir).map_err(|source| StoreError::Directory {
            path: data_dir.to_owned(),
            source,
        })?;
        let path = data_dir.join(FILE_NAME);
        let failed = |doing| {
            let path = path.clone();
            move |error: rusqlite::Error| translate(doing, &path, &error)
        };
        let mut writer = open_writer(&path).map_err(failed("open"))?;
        let found = schema::version(&writer).map_err(failed("read the schema's version"))?;
        if found > schema::CURRENT {
            return Err(StoreError::TooNew {
                path,
                found,
                known: schema::CURRENT,
            });
        }
        if found < schema::CURRENT {
            schema::migrate(&mut writer).map_err(failed("update the schema"))?;
        }
        let reader = open_reader(&path).map_err(failed("open for reading"))?;
        let start = |connection, mode| {
            Worker::start(connection, path.clone(), mode).map_err(|source| StoreError::Directory {
                path: data_dir.to_owned(),
                source,
            })
        };
        Ok(SqliteStore {
            writer: start(writer, Mode::Write)?,
            reader: start(reader, Mode::Read)?,
            path,
            options: Arc::new(options),
        })
    }

    /// The database's file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A new id that begins with `kind`: see [`id`].
    fn new_id(&self, kind: &str, at_ms: u64) -> Result<String, StoreError> {
        id(kind, at_ms).map_err(|_| StoreError::Database {
            doing: "make a name",
            path: self.path.clone(),
            source: "the system has no random numbers".into(),
        })
    }

    /// Finishes what is queued and closes the database. Later calls get
    /// [`StoreError::Closed`]. What was answered is on disk without this, too.
    pub async fn close(&self) {
        // The writer last: the last connection to close folds the log in.
        self.reader.stop().await;
        self.writer.stop().await;
    }
}

fn make_dir(dir: &Path) -> std::io::Result<()> {
    let mut builder = std::fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(dir)
}

fn open_writer(path: &Path) -> rusqlite::Result<Connection> {
    // SQLite gives its companions (-wal, -shm) the mode of the main file.
    #[cfg(unix)]
    if !path.exists() {
        use std::os::unix::fs::OpenOptionsExt;
        // An error shows again, and better worded, when SQLite opens the file.
        let _ = std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .mode(0o600)
            .open(path);
    }
    let connection = Connection::open_with_flags(
        path,
        OpenFlags::SQLITE_OPEN_READ_WRITE
            | OpenFlags::SQLITE_OPEN_CREATE
            | OpenFlags::SQLITE_OPEN_NO_MUTEX,
    )?;
    connection.busy_timeout(LOCK_WAIT)?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.pragma_update(None, "journal_size_limit", WAL_BYTES_MAX)?;
    let bytes = std::fs::metadata(path).map_or(0, |meta| meta.len());
    if bytes <= CHECKED_BYTES_MAX {
        let found: String = connection.query_row("PRAGMA quick_check(1)", [], |row| row.get(0))?;
        if found != "ok" {
            return Err(rusqlite::Error::SqliteFailure(
                rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_CORRUPT),
                Some(found),
            ));
        }
    }
    Ok(connection)
}

fn open_reader(path: &Path) -> rusqlite::Result<Connection> {
    let connection = Connection::open_with_flags(
        path,
        OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX,
    )?;
    connection.busy_timeout(LOCK_WAIT)?;
    connection.pragma_update(None, "query_only", true)?;
    Ok(connection)
}

impl Store for SqliteStore {
    fn add_review(&self, review: NewReview) -> BoxFuture<'_, Result<Review, StoreError>> {
        if let Err(error) = reviews::check(&review, &self.options) {
            return Box::pin(async { Err(error) });
        }
        let options = self.options.clone();
        let id = match self.new_id("rev", review.created_ms) {
            Ok(id) => id,
            Err(error) => return Box::pin(async { Err(error) }),
        };
        Box::pin(self.writer.submit("add a review", move |connection| {
            reviews::add(connection, id, review, &options)
        }))
    }

    fn review(&self, id: &str) -> BoxFuture<'_, Result<Option<Review>, StoreError>> {
        let id = id.to_owned();
        Box::pin(self.reader.submit("read a review", move |connection| {
            reviews::get(connection, &id)
        }))
    }

    fn reviews(&self, filter: ReviewFilter) -> BoxFuture<'_, Result<Vec<Review>, StoreError>> {
        Box::pin(self.reader.submit("list reviews", move |connection| {
            reviews::list(connection, &filter)
        }))
    }

    fn resolve_review(
        &self,
        id: &str,
        resolution: Resolution,
        at_ms: u64,
        announce: Announce,
    ) -> BoxFuture<'_, Result<Resolved, StoreError>> {
        let (id, options) = (id.to_owned(), self.options.clone());
        let announcement = match self.new_id("msg", at_ms) {
            Ok(id) => reviews::Announcement { id, make: announce },
            Err(error) => return Box::pin(async { Err(error) }),
        };
        Box::pin(self.writer.submit("resolve a review", move |connection| {
            reviews::resolve(connection, &id, resolution, at_ms, announcement, &options)
        }))
    }

    fn reviews_pending(&self) -> BoxFuture<'_, Result<Vec<(String, u64)>, StoreError>> {
        Box::pin(self.reader.submit("count reviews", reviews::pending))
    }

    fn raise_incident(
        &self,
        report: IncidentReport,
        times: u64,
        at_ms: u64,
    ) -> BoxFuture<'_, Result<(Incident, bool), StoreError>> {
        let options = self.options.clone();
        Box::pin(self.writer.submit("add an incident", move |connection| {
            history::raise(connection, &report, times, at_ms, &options)
        }))
    }

    fn incidents(
        &self,
        state: Option<IncidentState>,
        limit: u32,
    ) -> BoxFuture<'_, Result<Vec<Incident>, StoreError>> {
        Box::pin(self.reader.submit("list incidents", move |connection| {
            history::incidents(connection, state, limit)
        }))
    }

    fn close_incident(
        &self,
        id: u64,
        by: Option<String>,
        at_ms: u64,
    ) -> BoxFuture<'_, Result<Incident, StoreError>> {
        let options = self.options.clone();
        Box::pin(self.writer.submit("close an incident", move |connection| {
            history::close(connection, id, by.as_deref(), at_ms, &options)
        }))
    }

    fn incidents_open(&self) -> BoxFuture<'_, Result<Vec<(Severity, u64)>, StoreError>> {
        Box::pin(
            self.reader
                .submit("count incidents", history::open_by_severity),
        )
    }

    fn add_rollout_event(
        &self,
        model: &str,
        at_ms: u64,
        event: serde_json::Value,
    ) -> BoxFuture<'_, Result<RolloutEvent, StoreError>> {
        let (model, options) = (model.to_owned(), self.options.clone());
        Box::pin(
            self.writer
                .submit("add a rollout event", move |connection| {
                    history::add_event(connection, model, at_ms, event, &options)
                }),
        )
    }

    fn rollout_events(
        &self,
        model: Option<&str>,
        limit: u32,
    ) -> BoxFuture<'_, Result<Vec<RolloutEvent>, StoreError>> {
        let model = model.map(str::to_owned);
        Box::pin(
            self.reader
                .submit("list rollout events", move |connection| {
                    history::events(connection, model.as_deref(), limit)
                }),
        )
    }

    fn add_activation(&self, activation: Activation) -> BoxFuture<'_, Result<(), StoreError>> {
        let options = self.options.clone();
        Box::pin(self.writer.submit("add an activation", move |connection| {
            history::add_activation(connection, &activation, &options)
        }))
    }

    fn activations(
        &self,
        policy: &str,
        limit: u32,
    ) -> BoxFuture<'_, Result<Vec<Activation>, StoreError>> {
        let policy = policy.to_owned();
        Box::pin(self.reader.submit("list activations", move |connection| {
            history::activations(connection, &policy, limit)
        }))
    }

    fn last_revision(&self, policy: &str) -> BoxFuture<'_, Result<u64, StoreError>> {
        let policy = policy.to_owned();
        // The writer's queue: what was noted before counts.
        Box::pin(
            self.writer
                .submit("find the last revision", move |connection| {
                    history::last_revision(connection, &policy)
                }),
        )
    }

    fn take_message(
        &self,
        now_ms: u64,
        lease_until_ms: u64,
        busy: Vec<String>,
    ) -> BoxFuture<'_, Result<Taken, StoreError>> {
        Box::pin(self.writer.submit("take a message", move |connection| {
            messages::take(connection, now_ms, lease_until_ms, &busy)
        }))
    }

    fn end_attempt(
        &self,
        id: &str,
        attempt: u32,
        end: AttemptEnd,
        at_ms: u64,
    ) -> BoxFuture<'_, Result<(), StoreError>> {
        let (id, options) = (id.to_owned(), self.options.clone());
        Box::pin(self.writer.submit("end an attempt", move |connection| {
            messages::end(connection, &id, attempt, &end, at_ms, &options)
        }))
    }

    fn revive_message(&self, id: &str, at_ms: u64) -> BoxFuture<'_, Result<Message, StoreError>> {
        let id = id.to_owned();
        Box::pin(self.writer.submit("revive a message", move |connection| {
            messages::revive(connection, &id, at_ms)
        }))
    }

    fn message(&self, id: &str) -> BoxFuture<'_, Result<Option<Message>, StoreError>> {
        let id = id.to_owned();
        Box::pin(self.reader.submit("read a message", move |connection| {
            messages::get(connection, &id)
        }))
    }

    fn messages(&self, filter: MessageFilter) -> BoxFuture<'_, Result<Vec<Message>, StoreError>> {
        Box::pin(self.reader.submit("list messages", move |connection| {
            messages::list(connection, &filter)
        }))
    }

    fn message_counts(&self) -> BoxFuture<'_, Result<Vec<MessageCount>, StoreError>> {
        Box::pin(self.reader.submit("count messages", messages::counts))
    }

    fn add_answers(&self, answers: Vec<RememberedAnswer>) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(self.writer.submit("add answers", move |connection| {
            answers::add(connection, &answers)
        }))
    }

    fn find_answers(
        &self,
        ids: Vec<String>,
    ) -> BoxFuture<'_, Result<Vec<FoundAnswer>, StoreError>> {
        Box::pin(self.reader.submit("find answers", move |connection| {
            ids.iter().map(|id| answers::find(connection, id)).collect()
        }))
    }

    fn remove_answers(
        &self,
        limits: Vec<AnswerLimits>,
        oldest_ms: u64,
    ) -> BoxFuture<'_, Result<bool, StoreError>> {
        Box::pin(self.writer.submit("remove answers", move |connection| {
            let removed = answers::remove(connection, &limits, oldest_ms)?;
            Ok(removed >= answers::REMOVED_MAX)
        }))
    }

    fn add_feedback(
        &self,
        feedback: Vec<NewFeedback>,
        at_ms: u64,
    ) -> BoxFuture<'_, Result<Vec<FeedbackEnd>, StoreError>> {
        Box::pin(self.writer.submit("add feedback", move |connection| {
            answers::tell_all(connection, &feedback, at_ms)
        }))
    }

    fn feedback(&self, request: RequestId) -> BoxFuture<'_, Result<Vec<Fact>, StoreError>> {
        Box::pin(self.reader.submit("read feedback", move |connection| {
            answers::told(connection, request)
        }))
    }

    fn labelled_answers(
        &self,
        route: &str,
        before: Option<RequestId>,
        limit: u32,
    ) -> BoxFuture<'_, Result<Vec<LabelledAnswer>, StoreError>> {
        let route = route.to_owned();
        let read = move |connection: &Connection| {
            answers::labelled(connection, &route, before, limit.min(PAGE_MAX))
        };
        Box::pin(self.reader.submit("list labelled answers", read))
    }

    fn keep_evidence(
        &self,
        series: Vec<KeptEvidence>,
        at_ms: u64,
        oldest_ms: u64,
    ) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(self.writer.submit("keep evidence", move |connection| {
            evidence::keep(connection, &series, at_ms, oldest_ms)
        }))
    }

    fn evidence(&self, after: &str) -> BoxFuture<'_, Result<Vec<KeptEvidence>, StoreError>> {
        let after = after.to_owned();
        Box::pin(self.reader.submit("read evidence", move |connection| {
            evidence::page(connection, &after)
        }))
    }

    fn add_baseline(&self, new: NewBaseline) -> BoxFuture<'_, Result<BaselineHead, StoreError>> {
        Box::pin(self.writer.submit("add a baseline", move |connection| {
            baselines::add(connection, &new)
        }))
    }

    fn use_baseline(
        &self,
        name: &str,
        version: u32,
    ) -> BoxFuture<'_, Result<BaselineHead, StoreError>> {
        let name = name.to_owned();
        Box::pin(self.writer.submit("use a baseline", move |connection| {
            baselines::put_to_use(connection, &name, version)
        }))
    }

    fn remove_baseline(&self, name: &str) -> BoxFuture<'_, Result<(), StoreError>> {
        let name = name.to_owned();
        Box::pin(self.writer.submit("remove a baseline", move |connection| {
            baselines::remove(connection, &name)
        }))
    }

    fn baselines(&self) -> BoxFuture<'_, Result<Vec<BaselineHead>, StoreError>> {
        Box::pin(self.reader.submit("list baselines", baselines::list))
    }

    fn baseline(
        &self,
        name: &str,
        version: Option<u32>,
    ) -> BoxFuture<'_, Result<Option<KeptBaseline>, StoreError>> {
        let name = name.to_owned();
        Box::pin(self.reader.submit("read a baseline", move |connection| {
            baselines::get(connection, &name, version)
        }))
    }

    fn keep_objectives(
        &self,
        kept: Vec<KeptObjective>,
        known: Vec<String>,
    ) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(self.writer.submit("keep objectives", move |connection| {
            objectives::keep(connection, &kept, &known)
        }))
    }

    fn objectives(&self) -> BoxFuture<'_, Result<Vec<KeptObjective>, StoreError>> {
        Box::pin(self.reader.submit("read objectives", objectives::all))
    }

    fn check(&self) -> BoxFuture<'_, Result<(), StoreError>> {
        let path = self.path.clone();
        Box::pin(self.writer.submit("check", move |connection| {
            // A database whose file was taken away keeps working on the file
            // that nobody will find again.
            if !path.exists() {
                return Err(StoreError::Directory {
                    path: path.clone(),
                    source: std::io::ErrorKind::NotFound.into(),
                }
                .into());
            }
            connection.pragma_update(None, "user_version", schema::CURRENT)?;
            Ok(())
        }))
    }
}

/// What it is of (`rev` or `msg`), 12 hex digits of time, 32 of chance: lists
/// that are sorted by name are in order, and who knows some ids, or other
/// numbers of this process, guesses no other. The id alone lets a caller read
/// its review.
fn id(kind: &str, created_ms: u64) -> Result<String, GetRandomFailed> {
    const TWELVE_DIGITS: u64 = (1 << 48) - 1;
    let mut chance = [0; 16];
    rustls::crypto::ring::default_provider()
        .secure_random
        .fill(&mut chance)?;
    Ok(format!(
        "{kind}-{:012x}{:032x}",
        created_ms & TWELVE_DIGITS,
        u128::from_be_bytes(chance)
    ))
}

/// Times beyond the year 292,277,026 are cut.
fn to_ms(ms: u64) -> i64 {
    i64::try_from(ms).unwrap_or(i64::MAX)
}

fn from_ms(ms: i64) -> u64 {
    u64::try_from(ms).unwrap_or(0)
}

fn json_column(value: &impl serde::Serialize) -> rusqlite::Result<String> {
    serde_json::to_string(value)
        .map_err(|error| rusqlite::Error::ToSqlConversionFailure(Box::new(error)))
}

fn from_json_column<T: serde::de::DeserializeOwned>(
    column: usize,
    json: &str,
) -> rusqlite::Result<T> {
    serde_json::from_str(json).map_err(|error| {
        rusqlite::Error::FromSqlConversionFailure(
            column,
            rusqlite::types::Type::Text,
            Box::new(error),
        )
    })
}

#[cfg(test)]
mod tests;
