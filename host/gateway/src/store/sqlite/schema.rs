//! The database's schema and its migrations.
//!
//! A migration that was released is never edited; a change is a new one at the
//! end. `user_version` of the database counts how many were applied.

use rusqlite::{Connection, TransactionBehavior};

/// Migrations in order; number `n` leads from schema `n` to schema `n + 1`.
pub(super) const MIGRATIONS: [&str; 5] = [
    r"
CREATE TABLE reviews (
    seq             INTEGER PRIMARY KEY AUTOINCREMENT,
    id              TEXT NOT NULL UNIQUE,
    route           TEXT NOT NULL,
    created_ms      INTEGER NOT NULL,
    request         BLOB NOT NULL,
    answer          BLOB,
    decision        INTEGER,
    model           TEXT,
    release         TEXT,
    note            TEXT NOT NULL,
    status          TEXT NOT NULL CHECK (status IN ('pending', 'resolved')),
    resolution      TEXT,
    resolved_ms     INTEGER,
    CHECK ((status = 'resolved') = (resolution IS NOT NULL)),
    CHECK ((status = 'resolved') = (resolved_ms IS NOT NULL))
) STRICT;
CREATE INDEX reviews_by_route ON reviews (route, status, seq);
CREATE INDEX reviews_by_status ON reviews (status, seq);
CREATE INDEX reviews_resolved ON reviews (resolved_ms, seq) WHERE status = 'resolved';

CREATE TABLE incidents (
    id              INTEGER PRIMARY KEY AUTOINCREMENT,
    policy          TEXT NOT NULL,
    key             TEXT NOT NULL,
    severity        INTEGER NOT NULL,
    title           TEXT NOT NULL,
    detail          TEXT NOT NULL,
    state           TEXT NOT NULL CHECK (state IN ('open', 'closed')),
    opened_ms       INTEGER NOT NULL,
    last_seen_ms    INTEGER NOT NULL,
    count           INTEGER NOT NULL,
    closed_ms       INTEGER,
    closed_by       TEXT
) STRICT;
CREATE UNIQUE INDEX incidents_open ON incidents (policy, key) WHERE state = 'open';
CREATE INDEX incidents_by_state ON incidents (state, id);

CREATE TABLE rollout_events (
    id              INTEGER PRIMARY KEY AUTOINCREMENT,
    model           TEXT NOT NULL,
    at_ms           INTEGER NOT NULL,
    event           TEXT NOT NULL
) STRICT;
CREATE INDEX rollout_events_by_model ON rollout_events (model, id);

CREATE TABLE activations (
    id               INTEGER PRIMARY KEY AUTOINCREMENT,
    policy           TEXT NOT NULL,
    revision         INTEGER NOT NULL,
    digest           TEXT NOT NULL,
    component_digest TEXT NOT NULL,
    options          TEXT NOT NULL,
    at_ms            INTEGER NOT NULL,
    by_whom          TEXT NOT NULL,
    source           TEXT NOT NULL
) STRICT;
CREATE INDEX activations_by_policy ON activations (policy, id);
",
    r"
ALTER TABLE reviews ADD COLUMN callback TEXT;

CREATE TABLE outbox (
    seq             INTEGER PRIMARY KEY AUTOINCREMENT,
    id              TEXT NOT NULL UNIQUE,
    channel         TEXT NOT NULL,
    receiver        TEXT NOT NULL,
    url             TEXT NOT NULL,
    about           TEXT NOT NULL,
    body            BLOB NOT NULL,
    created_ms      INTEGER NOT NULL,
    state           TEXT NOT NULL CHECK (state IN ('pending', 'delivered', 'dead')),
    attempts        INTEGER NOT NULL,
    due_ms          INTEGER,
    ended_ms        INTEGER,
    last_error      TEXT,
    CHECK ((state = 'pending') = (due_ms IS NOT NULL)),
    CHECK ((state = 'pending') = (ended_ms IS NULL))
) STRICT;
CREATE INDEX outbox_due ON outbox (due_ms, seq, receiver) WHERE state = 'pending';
CREATE INDEX outbox_by_state ON outbox (state, seq);
",
    r"
ALTER TABLE reviews ADD COLUMN request_id INTEGER;
ALTER TABLE reviews ADD COLUMN confidence REAL;

CREATE TABLE answers (
    request         INTEGER PRIMARY KEY,
    caller_id       TEXT,
    decision        INTEGER,
    route           TEXT NOT NULL,
    model           TEXT NOT NULL,
    release         TEXT NOT NULL,
    arrived_ms      INTEGER NOT NULL,
    confidence      REAL,
    label           TEXT,
    segments        TEXT NOT NULL
) STRICT;
CREATE INDEX answers_by_caller_id ON answers (caller_id, request) WHERE caller_id IS NOT NULL;
CREATE INDEX answers_by_decision ON answers (decision, request) WHERE decision IS NOT NULL;
CREATE INDEX answers_by_route ON answers (route, arrived_ms, request);
CREATE INDEX answers_by_age ON answers (arrived_ms);

-- The newest of the answers that were removed.
CREATE TABLE answers_removed (
    one             INTEGER PRIMARY KEY CHECK (one = 1),
    request         INTEGER NOT NULL,
    decision        INTEGER
) STRICT;

CREATE TABLE feedback (
    request         INTEGER NOT NULL,
    kind            TEXT NOT NULL,
    value           TEXT NOT NULL,
    by_whom         TEXT,
    told_ms         INTEGER NOT NULL,
    PRIMARY KEY (request, kind)
) STRICT, WITHOUT ROWID;
CREATE TRIGGER feedback_goes AFTER DELETE ON answers BEGIN
    DELETE FROM feedback WHERE request = OLD.request;
END;

CREATE TABLE evidence (
    series          TEXT PRIMARY KEY,
    kept            BLOB NOT NULL,
    kept_ms         INTEGER NOT NULL
) STRICT;
CREATE INDEX evidence_by_age ON evidence (kept_ms);
",
    r"
CREATE TABLE baselines (
    name            TEXT NOT NULL,
    version         INTEGER NOT NULL,
    in_use          INTEGER NOT NULL CHECK (in_use IN (0, 1)),
    at_ms           INTEGER NOT NULL,
    by_whom         TEXT NOT NULL,
    source          TEXT NOT NULL,
    note            TEXT NOT NULL,
    metrics         TEXT NOT NULL,
    held            TEXT NOT NULL,
    PRIMARY KEY (name, version)
) STRICT;
ALTER TABLE answers ADD COLUMN passed_over TEXT NOT NULL DEFAULT '[]';
CREATE UNIQUE INDEX baselines_in_use ON baselines (name) WHERE in_use = 1;
",
    r"
CREATE TABLE objectives (
    name            TEXT PRIMARY KEY,
    state           BLOB NOT NULL
) STRICT;
",
];

/// The schema that this version writes.
pub(super) const CURRENT: i64 = MIGRATIONS.len() as i64;

/// The schema of the database.
pub(super) fn version(connection: &Connection) -> rusqlite::Result<i64> {
    connection.query_row("PRAGMA user_version", [], |row| row.get(0))
}

/// Applies what is missing, in one transaction: a database has either the old
/// schema or the new one.
pub(super) fn migrate(connection: &mut Connection) -> rusqlite::Result<()> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    // Read again inside the transaction: another process may have been first.
    let from = usize::try_from(version(&transaction)?).unwrap_or(0);
    for migration in MIGRATIONS.iter().skip(from) {
        transaction.execute_batch(migration)?;
    }
    transaction.pragma_update(None, "user_version", CURRENT)?;
    transaction.commit()
}
