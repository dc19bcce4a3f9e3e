//! Reviews in SQL. Called inside the worker's transaction.

use super::super::{
    Announce, NewReview, Order, PAGE_MAX, Resolution, Resolved, Review, ReviewFilter, ReviewStatus,
    StoreError, StoreOptions, TEXT_BYTES_MAX,
};
use super::worker::OpError;
use super::{from_ms, json_column, messages, to_ms};
use crate::trail::RequestId;
use backstop::DecisionId;
use backstop_core::text::cut;
use bytes::Bytes;
use rusqlite::{Connection, OptionalExtension, Row, params};

const COLUMNS: &str = "id, route, created_ms, request, answer, decision, model, release, note, \
                       resolution, resolved_ms, callback, request_id, confidence";

/// Checks that need no database, so that a body that is too large does not
/// even enter the queue.
pub(super) fn check(review: &NewReview, options: &StoreOptions) -> Result<(), StoreError> {
    let bytes = review.request.len() + review.answer.as_ref().map_or(0, Bytes::len);
    if bytes > options.review_bytes_max {
        return Err(StoreError::TooLarge {
            bytes,
            max: options.review_bytes_max,
        });
    }
    Ok(())
}

pub(super) fn add(
    connection: &Connection,
    id: String,
    mut item: NewReview,
    options: &StoreOptions,
) -> Result<Review, OpError> {
    let pending = count_pending(connection, &item.route)?;
    if pending >= options.reviews_pending_max {
        return Err(StoreError::Full {
            route: item.route,
            pending,
        }
        .into());
    }
    item.note = cut(&item.note, TEXT_BYTES_MAX).to_owned();
    connection
        .prepare_cached(
            "INSERT INTO reviews (id, route, created_ms, request, answer, decision, model, \
             release, note, callback, request_id, confidence, status) \
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, 'pending')",
        )?
        .execute(params![
            id,
            item.route,
            to_ms(item.created_ms),
            item.request.as_ref(),
            item.answer.as_deref(),
            // Decision numbers are unsigned in Rust and signed in SQLite; the
            // bits are kept.
            item.decision.map(|id| id.0.cast_signed()),
            item.model,
            item.release,
            item.note,
            item.callback,
            item.request_id.map(|id| id.0.cast_signed()),
            item.confidence,
        ])?;
    Ok(Review {
        id,
        item,
        resolution: None,
        resolved_ms: None,
    })
}

fn count_pending(connection: &Connection, route: &str) -> rusqlite::Result<u64> {
    connection
        .prepare_cached("SELECT count(*) FROM reviews WHERE route = ?1 AND status = 'pending'")?
        .query_row([route], |row| row.get::<_, i64>(0))
        .map(i64::cast_unsigned)
}

pub(super) fn get(connection: &Connection, id: &str) -> Result<Option<Review>, OpError> {
    Ok(connection
        .prepare_cached(&format!("SELECT {COLUMNS} FROM reviews WHERE id = ?1"))?
        .query_row([id], read)
        .optional()?)
}

pub(super) fn list(connection: &Connection, filter: &ReviewFilter) -> Result<Vec<Review>, OpError> {
    let after = match &filter.after {
        None => None,
        Some(id) => Some(
            connection
                .query_row("SELECT seq FROM reviews WHERE id = ?1", [id], |row| {
                    row.get::<_, i64>(0)
                })
                .optional()?
                .ok_or_else(|| no_review(id))?,
        ),
    };
    let status = filter.status.map(|status| match status {
        ReviewStatus::Pending => "pending",
        ReviewStatus::Resolved => "resolved",
    });
    let (beyond, direction) = match filter.order {
        Order::Newest => ("<", "DESC"),
        Order::Oldest => (">", "ASC"),
    };
    // Only the conditions that apply are written, so that an index serves.
    let mut conditions = vec!["1"];
    if filter.route.is_some() {
        conditions.push("route = :route");
    }
    if status.is_some() {
        conditions.push("status = :status");
    }
    let seq = format!("seq {beyond} :after");
    if after.is_some() {
        conditions.push(&seq);
    }
    let sql = format!(
        "SELECT {COLUMNS} FROM reviews WHERE {} ORDER BY seq {direction} LIMIT :limit",
        conditions.join(" AND ")
    );
    let limit = filter.limit.min(PAGE_MAX);
    let mut named: Vec<(&str, &dyn rusqlite::ToSql)> = vec![(":limit", &limit)];
    if let Some(route) = &filter.route {
        named.push((":route", route));
    }
    if let Some(status) = &status {
        named.push((":status", status));
    }
    if let Some(after) = &after {
        named.push((":after", after));
    }
    let mut statement = connection.prepare_cached(&sql)?;
    let rows = statement.query_map(named.as_slice(), read)?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}

/// The message about a resolution, and what it will be called.
pub(super) struct Announcement {
    pub(super) id: String,
    pub(super) make: Announce,
}

pub(super) fn resolve(
    connection: &Connection,
    id: &str,
    mut resolution: Resolution,
    at_ms: u64,
    announcement: Announcement,
    options: &StoreOptions,
) -> Result<Resolved, OpError> {
    for text in [
        &mut resolution.label,
        &mut resolution.by,
        &mut resolution.note,
    ] {
        *text = text.take().map(|t| cut(&t, TEXT_BYTES_MAX).to_owned());
    }
    let review = get(connection, id)?.ok_or_else(|| no_review(id))?;
    if let Some(stored) = &review.resolution {
        return if *stored == resolution {
            Ok(Resolved {
                review,
                first: false,
            })
        } else {
            Err(StoreError::AlreadyResolved(Box::new(review)).into())
        };
    }
    let changed = connection
        .prepare_cached(
            "UPDATE reviews SET status = 'resolved', resolution = ?2, resolved_ms = ?3 \
             WHERE id = ?1 AND status = 'pending'",
        )?
        .execute(params![
            id,
            json_column(&resolution)?,
            to_ms(at_ms.max(review.item.created_ms)),
        ])?;
    debug_assert_eq!(changed, 1, "nobody else writes in the writer's transaction");
    let review = get(connection, id)?.ok_or_else(|| no_review(id))?;
    if let Some(message) = (announcement.make)(&review) {
        messages::add(connection, &announcement.id, &message, options)?;
    }
    prune(connection, options.reviews_resolved_max)?;
    Ok(Resolved {
        review,
        first: true,
    })
}

/// Removes all but the `keep` reviews that were resolved last. Pending ones
/// are never removed.
fn prune(connection: &Connection, keep: u64) -> rusqlite::Result<()> {
    connection
        .prepare_cached(
            "DELETE FROM reviews WHERE seq IN (SELECT seq FROM reviews WHERE status = 'resolved' \
             ORDER BY resolved_ms DESC, seq DESC LIMIT -1 OFFSET ?1)",
        )?
        .execute([keep.max(1).cast_signed()])?;
    Ok(())
}

pub(super) fn pending(connection: &Connection) -> Result<Vec<(String, u64)>, OpError> {
    // Routes whose queue ran empty are listed with 0 for as long as one of
    // their resolved items is kept: a gauge that vanishes alarms people.
    let mut statement = connection.prepare_cached(
        "SELECT route, count(*) FILTER (WHERE status = 'pending') FROM reviews GROUP BY route",
    )?;
    let rows = statement.query_map([], |row| {
        Ok((row.get(0)?, row.get::<_, i64>(1)?.cast_unsigned()))
    })?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}

fn no_review(id: &str) -> StoreError {
    StoreError::NotFound {
        what: "review",
        id: cut(id, 64).to_owned(),
    }
}

fn read(row: &Row<'_>) -> rusqlite::Result<Review> {
    let resolution: Option<String> = row.get(9)?;
    Ok(Review {
        id: row.get(0)?,
        item: NewReview {
            route: row.get(1)?,
            created_ms: from_ms(row.get(2)?),
            request: row.get::<_, Vec<u8>>(3)?.into(),
            answer: row.get::<_, Option<Vec<u8>>>(4)?.map(Bytes::from),
            decision: row
                .get::<_, Option<i64>>(5)?
                .map(|id| DecisionId(id.cast_unsigned())),
            model: row.get(6)?,
            release: row.get(7)?,
            note: row.get(8)?,
            callback: row.get(11)?,
            request_id: row
                .get::<_, Option<i64>>(12)?
                .map(|id| RequestId(id.cast_unsigned())),
            confidence: row.get(13)?,
        },
        resolution: resolution
            .map(|json| super::from_json_column(9, &json))
            .transpose()?,
        resolved_ms: row.get::<_, Option<i64>>(10)?.map(from_ms),
    })
}
