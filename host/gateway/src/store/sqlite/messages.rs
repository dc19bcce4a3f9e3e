//! The outbox in SQL. Called inside the worker's transaction.

use super::super::{
    AttemptEnd, Message, MessageCount, MessageFilter, MessageState, NewMessage, PAGE_MAX,
    StoreError, StoreOptions, TEXT_BYTES_MAX, Taken,
};
use super::worker::OpError;
use super::{from_ms, json_column, to_ms};
use backstop_core::text::cut;
use rusqlite::{Connection, OptionalExtension, Row, params};

const COLUMNS: &str = "id, channel, receiver, url, about, body, created_ms, state, attempts, \
                       due_ms, ended_ms, last_error";

/// Due messages, but for those to receivers that have their share of attempts
/// under way.
const WAITING: &str = "state = 'pending' AND receiver NOT IN (SELECT value FROM json_each(:busy))";

/// Adds a message. Where too many wait already it becomes a dead letter at
/// once: what it tells has happened, and must not fail for it.
pub(super) fn add(
    connection: &Connection,
    id: &str,
    message: &NewMessage,
    options: &StoreOptions,
) -> rusqlite::Result<()> {
    let pending: i64 = connection
        .prepare_cached("SELECT count(*) FROM outbox WHERE state = 'pending'")?
        .query_row([], |row| row.get(0))?;
    let pending = pending.cast_unsigned();
    let full = pending >= options.messages_pending_max;
    let created_ms = to_ms(message.created_ms);
    let (state, due, ended, error) = if full {
        let error = format!("the outbox was full with {pending} messages");
        let state = MessageState::Dead;
        (state, None, Some(created_ms), Some(error))
    } else {
        (MessageState::Pending, Some(created_ms), None, None)
    };
    connection
        .prepare_cached(
            "INSERT INTO outbox (id, channel, receiver, url, about, body, created_ms, state, \
             attempts, due_ms, ended_ms, last_error) \
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, 0, ?9, ?10, ?11)",
        )?
        .execute(params![
            id,
            message.channel,
            message.receiver,
            message.url,
            message.about,
            message.body.as_ref(),
            created_ms,
            state.as_str(),
            due,
            ended,
            error,
        ])?;
    if full {
        tracing::error!(
            message = id,
            channel = message.channel,
            about = message.about,
            pending,
            "message is a dead letter: the outbox is full"
        );
        prune(connection, state, options)?;
    }
    Ok(())
}

pub(super) fn take(
    connection: &Connection,
    now_ms: u64,
    lease_until_ms: u64,
    busy: &[String],
) -> Result<Taken, OpError> {
    let busy = json_column(&busy)?;
    let message = connection
        .prepare_cached(&format!(
            "UPDATE outbox SET attempts = attempts + 1, due_ms = :lease WHERE seq = (SELECT seq \
             FROM outbox WHERE {WAITING} AND due_ms <= :now ORDER BY due_ms, seq LIMIT 1) \
             RETURNING {COLUMNS}"
        ))?
        .query_row(
            rusqlite::named_params! {
                ":busy": busy, ":now": to_ms(now_ms), ":lease": to_ms(lease_until_ms),
            },
            read,
        )
        .optional()?;
    let next_due_ms = match message {
        Some(_) => None,
        None => connection
            .prepare_cached(&format!("SELECT min(due_ms) FROM outbox WHERE {WAITING}"))?
            .query_row(rusqlite::named_params! { ":busy": busy }, |row| {
                row.get::<_, Option<i64>>(0)
            })?
            .map(from_ms),
    };
    Ok(Taken {
        message,
        next_due_ms,
    })
}

pub(super) fn end(
    connection: &Connection,
    id: &str,
    attempt: u32,
    end: &AttemptEnd,
    at_ms: u64,
    options: &StoreOptions,
) -> Result<(), OpError> {
    match end {
        // However late: the receiver has it.
        AttemptEnd::Delivered => {
            connection
                .prepare_cached(
                    "UPDATE outbox SET state = 'delivered', due_ms = NULL, ended_ms = ?2, \
                     last_error = NULL, body = x'' WHERE id = ?1 AND state = 'pending'",
                )?
                .execute(params![id, to_ms(at_ms)])?;
            prune(connection, MessageState::Delivered, options)?;
        }
        // Of an attempt that outlived its lease a later one has the word.
        AttemptEnd::Again { due_ms, error } => {
            connection
                .prepare_cached(
                    "UPDATE outbox SET due_ms = ?3, last_error = ?4 \
                     WHERE id = ?1 AND state = 'pending' AND attempts = ?2",
                )?
                .execute(params![
                    id,
                    attempt,
                    to_ms(*due_ms),
                    cut(error, TEXT_BYTES_MAX)
                ])?;
        }
        AttemptEnd::Dead { error } => {
            connection
                .prepare_cached(
                    "UPDATE outbox SET state = 'dead', due_ms = NULL, ended_ms = ?3, \
                     last_error = ?4 WHERE id = ?1 AND state = 'pending' AND attempts = ?2",
                )?
                .execute(params![
                    id,
                    attempt,
                    to_ms(at_ms),
                    cut(error, TEXT_BYTES_MAX)
                ])?;
            prune(connection, MessageState::Dead, options)?;
        }
    }
    Ok(())
}

pub(super) fn revive(connection: &Connection, id: &str, at_ms: u64) -> Result<Message, OpError> {
    connection
        .prepare_cached(
            "UPDATE outbox SET state = 'pending', attempts = 0, due_ms = ?2, ended_ms = NULL \
             WHERE id = ?1 AND state = 'dead'",
        )?
        .execute(params![id, to_ms(at_ms)])?;
    get(connection, id)?.ok_or_else(|| no_message(id).into())
}

pub(super) fn get(connection: &Connection, id: &str) -> Result<Option<Message>, OpError> {
    Ok(connection
        .prepare_cached(&format!("SELECT {COLUMNS} FROM outbox WHERE id = ?1"))?
        .query_row([id], read)
        .optional()?)
}

pub(super) fn list(
    connection: &Connection,
    filter: &MessageFilter,
) -> Result<Vec<Message>, OpError> {
    let after = match &filter.after {
        None => i64::MAX,
        Some(id) => connection
            .query_row("SELECT seq FROM outbox WHERE id = ?1", [id], |row| {
                row.get(0)
            })
            .optional()?
            .ok_or_else(|| no_message(id))?,
    };
    let state = filter.state.map_or("1", |state| match state {
        MessageState::Pending => "state = 'pending'",
        MessageState::Delivered => "state = 'delivered'",
        MessageState::Dead => "state = 'dead'",
    });
    let mut statement = connection.prepare_cached(&format!(
        "SELECT {COLUMNS} FROM outbox WHERE {state} AND seq < ?1 ORDER BY seq DESC LIMIT ?2"
    ))?;
    let rows = statement.query_map(params![after, filter.limit.min(PAGE_MAX)], read)?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}

pub(super) fn counts(connection: &Connection) -> Result<Vec<MessageCount>, OpError> {
    let mut statement = connection.prepare_cached(
        "SELECT channel, count(*) FILTER (WHERE state = 'pending'), \
         count(*) FILTER (WHERE state = 'dead') FROM outbox GROUP BY channel",
    )?;
    let rows = statement.query_map([], |row| {
        Ok(MessageCount {
            channel: row.get(0)?,
            pending: row.get::<_, i64>(1)?.cast_unsigned(),
            dead: row.get::<_, i64>(2)?.cast_unsigned(),
        })
    })?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}

/// Removes all but the newest messages in `state`, which is an end.
fn prune(
    connection: &Connection,
    state: MessageState,
    options: &StoreOptions,
) -> rusqlite::Result<()> {
    connection
        .prepare_cached(
            "DELETE FROM outbox WHERE seq IN (SELECT seq FROM outbox WHERE state = ?1 \
             ORDER BY seq DESC LIMIT -1 OFFSET ?2)",
        )?
        .execute(params![
            state.as_str(),
            options.messages_ended_max.max(1).cast_signed()
        ])?;
    Ok(())
}

fn no_message(id: &str) -> StoreError {
    StoreError::NotFound {
        what: "message",
        id: cut(id, 64).to_owned(),
    }
}

fn read(row: &Row<'_>) -> rusqlite::Result<Message> {
    let state: String = row.get(7)?;
    let state = MessageState::from_name(&state).ok_or_else(|| {
        let kind = rusqlite::types::Type::Text;
        rusqlite::Error::InvalidColumnType(7, "state".to_owned(), kind)
    })?;
    Ok(Message {
        id: row.get(0)?,
        message: NewMessage {
            channel: row.get(1)?,
            receiver: row.get(2)?,
            url: row.get(3)?,
            about: row.get(4)?,
            body: row.get::<_, Vec<u8>>(5)?.into(),
            created_ms: from_ms(row.get(6)?),
        },
        state,
        attempts: row.get(8)?,
        due_ms: row.get::<_, Option<i64>>(9)?.map(from_ms),
        ended_ms: row.get::<_, Option<i64>>(10)?.map(from_ms),
        last_error: row.get(11)?,
    })
}
