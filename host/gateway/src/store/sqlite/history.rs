//! Incidents, rollout events and activations in SQL. Called inside the
//! worker's transaction.

use super::super::{
    Activation, Incident, IncidentState, PAGE_MAX, RolloutEvent, StoreError, StoreOptions,
    TEXT_BYTES_MAX,
};
use super::worker::OpError;
use super::{from_json_column, from_ms, json_column, to_ms};
use backstop::{IncidentReport, Severity};
use backstop_core::text::cut;
use rusqlite::{Connection, OptionalExtension, Row, params};

const INCIDENT: &str = "id, policy, key, severity, title, detail, state, opened_ms, \
                        last_seen_ms, count, closed_ms, closed_by";

/// Severities by the number that stands for them in the database; the higher
/// the worse. The order is stored and must not change.
const SEVERITIES: [Severity; 4] = [
    Severity::Info,
    Severity::Warning,
    Severity::Error,
    Severity::Critical,
];

pub(super) fn raise(
    connection: &Connection,
    report: &IncidentReport,
    times: u64,
    at_ms: u64,
    options: &StoreOptions,
) -> Result<(Incident, bool), OpError> {
    let known: Option<i64> = connection
        .prepare_cached(
            "UPDATE incidents SET last_seen_ms = max(last_seen_ms, ?3), count = count + ?4, \
             severity = max(severity, ?5), title = ?6, detail = ?7 \
             WHERE policy = ?1 AND key = ?2 AND state = 'open' RETURNING id",
        )?
        .query_row(
            params![
                report.policy,
                report.key,
                to_ms(at_ms),
                times.max(1).cast_signed(),
                rank(report.severity),
                report.title,
                report.detail,
            ],
            |row| row.get(0),
        )
        .optional()?;
    if let Some(id) = known {
        return Ok((incident(connection, id)?, false));
    }
    let open: i64 = connection
        .prepare_cached("SELECT count(*) FROM incidents WHERE policy = ?1 AND state = 'open'")?
        .query_row([&report.policy], |row| row.get(0))?;
    if open.cast_unsigned() >= options.incidents_open_max {
        return Err(StoreError::IncidentsFull {
            policy: report.policy.clone(),
            open: open.cast_unsigned(),
        }
        .into());
    }
    let id = connection
        .prepare_cached(
            "INSERT INTO incidents (policy, key, severity, title, detail, state, opened_ms, \
             last_seen_ms, count) VALUES (?1, ?2, ?3, ?4, ?5, 'open', ?6, ?6, ?7)",
        )?
        .insert(params![
            report.policy,
            report.key,
            rank(report.severity),
            report.title,
            report.detail,
            to_ms(at_ms),
            times.max(1).cast_signed(),
        ])?;
    Ok((incident(connection, id)?, true))
}

pub(super) fn incidents(
    connection: &Connection,
    state: Option<IncidentState>,
    limit: u32,
) -> Result<Vec<Incident>, OpError> {
    let filter = match state {
        None => "",
        Some(IncidentState::Open) => "WHERE state = 'open'",
        Some(IncidentState::Closed) => "WHERE state = 'closed'",
    };
    let mut statement = connection.prepare_cached(&format!(
        "SELECT {INCIDENT} FROM incidents {filter} ORDER BY id DESC LIMIT ?1"
    ))?;
    let rows = statement.query_map([limit.min(PAGE_MAX)], read_incident)?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}

pub(super) fn close(
    connection: &Connection,
    id: u64,
    by: Option<&str>,
    at_ms: u64,
    options: &StoreOptions,
) -> Result<Incident, OpError> {
    let id = id.cast_signed();
    connection
        .prepare_cached(
            "UPDATE incidents SET state = 'closed', closed_ms = max(?2, opened_ms), closed_by = ?3 \
             WHERE id = ?1 AND state = 'open'",
        )?
        .execute(params![
            id,
            to_ms(at_ms),
            by.map(|by| cut(by, TEXT_BYTES_MAX)),
        ])?;
    let closed = incident(connection, id)?;
    connection
        .prepare_cached(
            "DELETE FROM incidents WHERE state = 'closed' AND id <= (SELECT id FROM incidents \
             WHERE state = 'closed' ORDER BY id DESC LIMIT 1 OFFSET ?1)",
        )?
        .execute([options.incidents_closed_max.max(1).cast_signed()])?;
    Ok(closed)
}

pub(super) fn open_by_severity(connection: &Connection) -> Result<Vec<(Severity, u64)>, OpError> {
    let mut statement = connection.prepare_cached(
        "SELECT severity, count(*) FROM incidents WHERE state = 'open' GROUP BY severity",
    )?;
    let rows = statement.query_map([], |row| {
        Ok((severity(row.get(0)?), row.get::<_, i64>(1)?.cast_unsigned()))
    })?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}

fn incident(connection: &Connection, id: i64) -> Result<Incident, OpError> {
    connection
        .prepare_cached(&format!("SELECT {INCIDENT} FROM incidents WHERE id = ?1"))?
        .query_row([id], read_incident)
        .optional()?
        .ok_or_else(|| {
            StoreError::NotFound {
                what: "incident",
                id: id.to_string(),
            }
            .into()
        })
}

fn read_incident(row: &Row<'_>) -> rusqlite::Result<Incident> {
    Ok(Incident {
        id: row.get::<_, i64>(0)?.cast_unsigned(),
        report: IncidentReport {
            policy: row.get(1)?,
            key: row.get(2)?,
            severity: severity(row.get(3)?),
            title: row.get(4)?,
            detail: row.get(5)?,
        },
        state: if row.get_ref(6)?.as_str()? == "open" {
            IncidentState::Open
        } else {
            IncidentState::Closed
        },
        opened_ms: from_ms(row.get(7)?),
        last_seen_ms: from_ms(row.get(8)?),
        count: row.get::<_, i64>(9)?.cast_unsigned(),
        closed_ms: row.get::<_, Option<i64>>(10)?.map(from_ms),
        closed_by: row.get(11)?,
    })
}

fn rank(severity: Severity) -> i64 {
    match severity {
        Severity::Info => 0,
        Severity::Warning => 1,
        Severity::Error => 2,
        Severity::Critical => 3,
    }
}

fn severity(rank: i64) -> Severity {
    usize::try_from(rank)
        .ok()
        .and_then(|rank| SEVERITIES.get(rank).copied())
        .unwrap_or(Severity::Critical)
}

pub(super) fn add_event(
    connection: &Connection,
    model: String,
    at_ms: u64,
    event: serde_json::Value,
    options: &StoreOptions,
) -> Result<RolloutEvent, OpError> {
    let id = connection
        .prepare_cached("INSERT INTO rollout_events (model, at_ms, event) VALUES (?1, ?2, ?3)")?
        .insert(params![model, to_ms(at_ms), json_column(&event)?])?;
    connection
        .prepare_cached(
            "DELETE FROM rollout_events WHERE model = ?1 AND id <= (SELECT id FROM \
             rollout_events WHERE model = ?1 ORDER BY id DESC LIMIT 1 OFFSET ?2)",
        )?
        .execute(params![
            model,
            options.rollout_events_max.max(1).cast_signed()
        ])?;
    Ok(RolloutEvent {
        id: id.cast_unsigned(),
        model,
        at_ms,
        event,
    })
}

pub(super) fn events(
    connection: &Connection,
    model: Option<&str>,
    limit: u32,
) -> Result<Vec<RolloutEvent>, OpError> {
    let filter = if model.is_some() {
        "WHERE model = ?2"
    } else {
        // The parameter is bound either way.
        "WHERE ?2 IS NULL"
    };
    let mut statement = connection.prepare_cached(&format!(
        "SELECT id, model, at_ms, event FROM rollout_events {filter} ORDER BY id DESC LIMIT ?1"
    ))?;
    let rows = statement.query_map(params![limit.min(PAGE_MAX), model], |row| {
        Ok(RolloutEvent {
            id: row.get::<_, i64>(0)?.cast_unsigned(),
            model: row.get(1)?,
            at_ms: from_ms(row.get(2)?),
            event: from_json_column(3, row.get_ref(3)?.as_str()?)?,
        })
    })?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}

pub(super) fn add_activation(
    connection: &Connection,
    activation: &Activation,
    options: &StoreOptions,
) -> Result<(), OpError> {
    connection
        .prepare_cached(
            "INSERT INTO activations (policy, revision, digest, component_digest, options, at_ms, \
             by_whom, source) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
        )?
        .execute(params![
            activation.policy,
            activation.revision.cast_signed(),
            activation.digest,
            activation.component_digest,
            json_column(&activation.options)?,
            to_ms(activation.at_ms),
            cut(&activation.by, TEXT_BYTES_MAX),
            cut(&activation.source, TEXT_BYTES_MAX),
        ])?;
    connection
        .prepare_cached(
            "DELETE FROM activations WHERE policy = ?1 AND id <= (SELECT id FROM activations \
             WHERE policy = ?1 ORDER BY id DESC LIMIT 1 OFFSET ?2)",
        )?
        .execute(params![
            activation.policy,
            options.activations_max.max(1).cast_signed()
        ])?;
    Ok(())
}

pub(super) fn last_revision(connection: &Connection, policy: &str) -> Result<u64, OpError> {
    let last: Option<i64> = connection
        .prepare_cached("SELECT MAX(revision) FROM activations WHERE policy = ?1")?
        .query_row(params![policy], |row| row.get(0))?;
    Ok(last.map_or(0, i64::cast_unsigned))
}

pub(super) fn activations(
    connection: &Connection,
    policy: &str,
    limit: u32,
) -> Result<Vec<Activation>, OpError> {
    let mut statement = connection.prepare_cached(
        "SELECT id, policy, revision, digest, component_digest, options, at_ms, by_whom, source \
         FROM activations WHERE policy = ?1 ORDER BY id DESC LIMIT ?2",
    )?;
    let rows = statement.query_map(params![policy, limit.min(PAGE_MAX)], |row| {
        Ok(Activation {
            id: row.get::<_, i64>(0)?.cast_unsigned(),
            policy: row.get(1)?,
            revision: row.get::<_, i64>(2)?.cast_unsigned(),
            digest: row.get(3)?,
            component_digest: row.get(4)?,
            options: from_json_column(5, row.get_ref(5)?.as_str()?)?,
            at_ms: from_ms(row.get(6)?),
            by: row.get(7)?,
            source: row.get(8)?,
        })
    })?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}
