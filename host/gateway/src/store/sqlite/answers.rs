//! Remembered answers and what is said about them in SQL. Called inside the
//! worker's transaction.

use super::super::{
    AnswerLimits, Fact, FeedbackEnd, FoundAnswer, LabelledAnswer, NewFeedback, RememberedAnswer,
};
use super::worker::OpError;
use super::{from_json_column, from_ms, json_column, to_ms};
use crate::trail::RequestId;
use backstop::DecisionId;
use rusqlite::{Connection, OptionalExtension, Row, params};
use serde_json::Value;

const COLUMNS: &str = "request, caller_id, decision, route, model, release, arrived_ms, \
                       confidence, label, segments, passed_over";
/// Most answers that one call removes: a transaction of some milliseconds.
pub(super) const REMOVED_MAX: usize = 2_000;
/// Digits of the gateway's own ids.
const ID_DIGITS: usize = 16;

pub(super) fn add(connection: &Connection, answers: &[RememberedAnswer]) -> Result<(), OpError> {
    let mut statement = connection.prepare_cached(&format!(
        "INSERT OR IGNORE INTO answers ({COLUMNS}) \
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)"
    ))?;
    for answer in answers {
        statement.execute(params![
            answer.request.0.cast_signed(),
            answer.caller_id,
            answer.decision.map(|id| id.0.cast_signed()),
            answer.route,
            answer.model,
            answer.release,
            to_ms(answer.arrived_ms),
            answer.confidence,
            answer.label,
            json_column(&answer.segments)?,
            json_column(&answer.passed_over)?,
        ])?;
    }
    Ok(())
}

/// One of the gateway's own ids, of a request or a decision.
fn own(id: &str) -> Option<i64> {
    let digits = id.len() == ID_DIGITS && id.bytes().all(|byte| byte.is_ascii_hexdigit());
    let number = u64::from_str_radix(id, 16).ok().filter(|_| digits)?;
    Some(number.cast_signed())
}

/// The answer that `id` names: the gateway's own id of the request or of its
/// decision, else the newest with the caller's.
pub(super) fn find(connection: &Connection, id: &str) -> Result<FoundAnswer, OpError> {
    let one = |condition: &str, id: &dyn rusqlite::ToSql| {
        connection
            .prepare_cached(&format!(
                "SELECT {COLUMNS} FROM answers WHERE {condition} ORDER BY request DESC LIMIT 1"
            ))?
            .query_row([id], read)
            .optional()
    };
    let own = own(id);
    let mut found = None;
    if let Some(own) = own {
        found = one("request = ?1", &own)?;
        if found.is_none() {
            found = one("decision = ?1", &own)?;
        }
    }
    if found.is_none() {
        found = one("caller_id = ?1", &id)?;
    }
    match (found, own) {
        (Some(answer), _) => Ok(FoundAnswer::Remembered(Box::new(answer))),
        (None, Some(own)) if is_removed(connection, own)? => Ok(FoundAnswer::Removed),
        (None, _) => Ok(FoundAnswer::Unknown),
    }
}

/// True for an id that is not greater than that of an answer that was removed.
/// Ids of decisions are a thousand times those of requests, so that the two
/// are never taken for each other.
fn is_removed(connection: &Connection, id: i64) -> rusqlite::Result<bool> {
    let newest: Option<(i64, Option<i64>)> = connection
        .prepare_cached("SELECT request, decision FROM answers_removed WHERE one = 1")?
        .query_row([], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    let Some((request, decision)) = newest else {
        return Ok(false);
    };
    // Both grow with the time of the start: 12 and 20 bits a millisecond.
    let is_request = id < request.saturating_mul(8);
    Ok(match is_request {
        true => id <= request,
        false => decision.is_some_and(|newest| id <= newest),
    })
}

/// Removes what is beyond `limits`, [`REMOVED_MAX`] at most, and says how many.
pub(super) fn remove(
    connection: &Connection,
    limits: &[AnswerLimits],
    oldest_ms: u64,
) -> Result<usize, OpError> {
    let mut removed = Vec::new();
    for limit in limits {
        let left = REMOVED_MAX - removed.len();
        removed.extend(delete(
            connection,
            "route = ?1 AND (arrived_ms < ?2 OR arrived_ms < (SELECT arrived_ms FROM answers \
             WHERE route = ?1 ORDER BY arrived_ms DESC, request DESC LIMIT 1 OFFSET ?3)) \
             ORDER BY arrived_ms LIMIT ?4",
            params![
                limit.route,
                to_ms(limit.oldest_ms),
                limit.answers_max.max(1).cast_signed() - 1,
                left.cast_signed(),
            ],
        )?);
    }
    // Those of routes that take no feedback any more.
    let left = REMOVED_MAX - removed.len();
    removed.extend(delete(
        connection,
        "arrived_ms < ?1 LIMIT ?2",
        params![to_ms(oldest_ms), left.cast_signed()],
    )?);
    let newest = removed.iter().map(|(request, _)| *request).max();
    if let Some(request) = newest {
        let decision = removed.iter().filter_map(|(_, decision)| *decision).max();
        connection
            .prepare_cached(
                "INSERT INTO answers_removed (one, request, decision) VALUES (1, ?1, ?2) \
                 ON CONFLICT (one) DO UPDATE SET request = max(request, excluded.request), \
                 decision = max(coalesce(decision, excluded.decision), \
                 coalesce(excluded.decision, decision))",
            )?
            .execute(params![request, decision])?;
    }
    Ok(removed.len())
}

fn delete(
    connection: &Connection,
    condition: &str,
    params: &[&dyn rusqlite::ToSql],
) -> rusqlite::Result<Vec<(i64, Option<i64>)>> {
    connection
        .prepare_cached(&format!(
            "DELETE FROM answers WHERE request IN (SELECT request FROM answers WHERE {condition}) \
             RETURNING request, decision"
        ))?
        .query_map(params, |row| Ok((row.get(0)?, row.get(1)?)))?
        .collect()
}

/// Keeps what is said about one answer, whole or not at all.
pub(super) fn tell(
    connection: &Connection,
    feedback: &NewFeedback,
    at_ms: u64,
) -> Result<FeedbackEnd, OpError> {
    let request = feedback.request.0.cast_signed();
    let is_there: bool = connection
        .prepare_cached("SELECT EXISTS (SELECT 1 FROM answers WHERE request = ?1)")?
        .query_row([request], |row| row.get(0))?;
    if !is_there {
        return Ok(FeedbackEnd::Gone);
    }
    let mut is_new = Vec::with_capacity(feedback.facts.len());
    for fact in &feedback.facts {
        let stands: Option<String> = connection
            .prepare_cached("SELECT value FROM feedback WHERE request = ?1 AND kind = ?2")?
            .query_row(params![request, fact.kind], |row| row.get(0))
            .optional()?;
        let stands: Option<Value> = stands.map(|json| from_json_column(0, &json)).transpose()?;
        match stands {
            Some(value) if value != fact.value => {
                let kind = fact.kind.clone();
                return Ok(FeedbackEnd::Contradicts(Fact { kind, value }));
            }
            stands => is_new.push(stands.is_none()),
        }
    }
    let new = feedback.facts.iter().zip(&is_new).filter(|(_, new)| **new);
    for (fact, _) in new {
        let inserted = connection
            .prepare_cached(
                "INSERT INTO feedback (request, kind, value, by_whom, told_ms) \
                 VALUES (?1, ?2, ?3, ?4, ?5)",
            )?
            .execute(params![
                request,
                fact.kind,
                json_column(&fact.value)?,
                feedback.by,
                to_ms(at_ms),
            ]);
        inserted?;
    }
    Ok(FeedbackEnd::Kept { is_new })
}

/// As [`tell`], for several in their order.
pub(super) fn tell_all(
    connection: &Connection,
    feedback: &[NewFeedback],
    at_ms: u64,
) -> Result<Vec<FeedbackEnd>, OpError> {
    feedback
        .iter()
        .map(|feedback| tell(connection, feedback, at_ms))
        .collect()
}

/// What has been said about one answer, by kind.
pub(super) fn told(connection: &Connection, request: RequestId) -> Result<Vec<Fact>, OpError> {
    let mut statement = connection
        .prepare_cached("SELECT kind, value FROM feedback WHERE request = ?1 ORDER BY kind")?;
    let facts = statement.query_map([request.0.cast_signed()], |row| {
        let json: String = row.get(1)?;
        Ok(Fact {
            kind: row.get(0)?,
            value: from_json_column(1, &json)?,
        })
    })?;
    Ok(facts.collect::<rusqlite::Result<_>>()?)
}

/// Labelled answers of a route, the newest first.
pub(super) fn labelled(
    connection: &Connection,
    route: &str,
    before: Option<RequestId>,
    limit: u32,
) -> Result<Vec<LabelledAnswer>, OpError> {
    let mut statement = connection.prepare_cached(&format!(
        "SELECT {COLUMNS} FROM answers WHERE route = ?1 AND request < ?2 AND EXISTS (SELECT 1 \
         FROM feedback WHERE feedback.request = answers.request AND kind IN ('label', 'correct')) \
         ORDER BY request DESC LIMIT ?3"
    ))?;
    let before = before.map_or(i64::MAX, |id| id.0.cast_signed());
    let answers = statement.query_map(params![route, before, limit], read)?;
    let answers: Vec<RememberedAnswer> = answers.collect::<rusqlite::Result<_>>()?;
    answers
        .into_iter()
        .map(|answer| {
            let facts = told(connection, answer.request)?;
            Ok((answer, facts))
        })
        .collect()
}

fn read(row: &Row<'_>) -> rusqlite::Result<RememberedAnswer> {
    let segments: String = row.get(9)?;
    let passed_over: String = row.get(10)?;
    Ok(RememberedAnswer {
        request: RequestId(row.get::<_, i64>(0)?.cast_unsigned()),
        caller_id: row.get::<_, Option<String>>(1)?.map(Into::into),
        decision: row
            .get::<_, Option<i64>>(2)?
            .map(|id| DecisionId(id.cast_unsigned())),
        route: row.get::<_, String>(3)?.into(),
        model: row.get::<_, String>(4)?.into(),
        release: row.get::<_, String>(5)?.into(),
        arrived_ms: from_ms(row.get(6)?),
        confidence: row.get(7)?,
        label: row.get(8)?,
        segments: from_json_column(9, &segments)?,
        passed_over: from_json_column(10, &passed_over)?,
    })
}
