//! Baselines in SQL. Called inside the worker's transaction.

use super::super::baselines::{
    BASELINE_VERSIONS_MAX, BASELINES_MAX, BaselineHead, KeptBaseline, NewBaseline,
};
use super::super::{StoreError, TEXT_BYTES_MAX};
use super::worker::OpError;
use super::{from_json_column, from_ms, json_column, to_ms};
use backstop_core::text::cut;
use rusqlite::{Connection, OptionalExtension, Row, params};

const HEAD: &str = "name, version, in_use, at_ms, by_whom, source, note, metrics";

/// Keeps a version and puts it to use; the oldest that is not in use makes room.
pub(super) fn add(connection: &Connection, new: &NewBaseline) -> Result<BaselineHead, OpError> {
    let last: Option<u32> = connection
        .prepare_cached("SELECT max(version) FROM baselines WHERE name = ?1")?
        .query_row([&new.name], |row| row.get(0))?;
    if last.is_none() {
        let names: u32 = connection
            .prepare_cached("SELECT count(DISTINCT name) FROM baselines")?
            .query_row([], |row| row.get(0))?;
        if names >= BASELINES_MAX {
            return Err(StoreError::BaselinesFull(names).into());
        }
    }
    let version = last.unwrap_or(0) + 1;
    let metrics: Vec<&String> = new.baseline.metrics.keys().collect();
    release(connection, &new.name)?;
    connection
        .prepare_cached(
            "INSERT INTO baselines (name, version, in_use, at_ms, by_whom, source, note, metrics, \
             held) VALUES (?1, ?2, 1, ?3, ?4, ?5, ?6, ?7, ?8)",
        )?
        .execute(params![
            new.name,
            version,
            to_ms(new.at_ms),
            cut(&new.by, TEXT_BYTES_MAX),
            cut(&new.source, TEXT_BYTES_MAX),
            cut(&new.note, TEXT_BYTES_MAX),
            json_column(&metrics)?,
            json_column(&new.baseline)?,
        ])?;
    connection
        .prepare_cached(
            "DELETE FROM baselines WHERE name = ?1 AND in_use = 0 AND version NOT IN (SELECT \
             version FROM baselines WHERE name = ?1 ORDER BY version DESC LIMIT ?2)",
        )?
        .execute(params![new.name, BASELINE_VERSIONS_MAX])?;
    head(connection, &new.name, version)
}

/// Puts a version to use.
pub(super) fn put_to_use(
    connection: &Connection,
    name: &str,
    version: u32,
) -> Result<BaselineHead, OpError> {
    let found = head(connection, name, version)?;
    // The one in use is unique at every step.
    release(connection, name)?;
    connection
        .prepare_cached("UPDATE baselines SET in_use = 1 WHERE name = ?1 AND version = ?2")?
        .execute(params![name, version])?;
    Ok(BaselineHead {
        in_use: true,
        ..found
    })
}

/// Takes the version in use out of it.
fn release(connection: &Connection, name: &str) -> Result<(), OpError> {
    connection
        .prepare_cached("UPDATE baselines SET in_use = 0 WHERE name = ?1 AND in_use = 1")?
        .execute([name])?;
    Ok(())
}

/// Forgets all versions of a name.
pub(super) fn remove(connection: &Connection, name: &str) -> Result<(), OpError> {
    let removed = connection
        .prepare_cached("DELETE FROM baselines WHERE name = ?1")?
        .execute([name])?;
    if removed == 0 {
        return Err(not_found(name));
    }
    Ok(())
}

/// All versions of all names, the newest of each first.
pub(super) fn list(connection: &Connection) -> Result<Vec<BaselineHead>, OpError> {
    let sql = format!("SELECT {HEAD} FROM baselines ORDER BY name, version DESC");
    let mut statement = connection.prepare_cached(&sql)?;
    let rows = statement.query_map([], head_of)?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}

/// One version, or the one in use; none where there is none.
pub(super) fn get(
    connection: &Connection,
    name: &str,
    version: Option<u32>,
) -> Result<Option<KeptBaseline>, OpError> {
    let sql = format!(
        "SELECT {HEAD}, held FROM baselines WHERE name = ?1 AND \
         CASE WHEN ?2 IS NULL THEN in_use = 1 ELSE version = ?2 END"
    );
    let kept = connection
        .prepare_cached(&sql)?
        .query_row(params![name, version], |row| {
            Ok(KeptBaseline {
                head: head_of(row)?,
                baseline: from_json_column(8, &row.get::<_, String>(8)?)?,
            })
        })
        .optional()?;
    Ok(kept)
}

fn head(connection: &Connection, name: &str, version: u32) -> Result<BaselineHead, OpError> {
    let sql = format!("SELECT {HEAD} FROM baselines WHERE name = ?1 AND version = ?2");
    connection
        .prepare_cached(&sql)?
        .query_row(params![name, version], head_of)
        .optional()?
        .ok_or_else(|| not_found(&format!("{name}` version `{version}")))
}

fn not_found(id: &str) -> OpError {
    StoreError::NotFound {
        what: "baseline",
        id: id.to_owned(),
    }
    .into()
}

fn head_of(row: &Row<'_>) -> rusqlite::Result<BaselineHead> {
    Ok(BaselineHead {
        name: row.get("name")?,
        version: row.get("version")?,
        in_use: row.get("in_use")?,
        at_ms: from_ms(row.get("at_ms")?),
        by: row.get("by_whom")?,
        source: row.get("source")?,
        note: row.get("note")?,
        metrics: from_json_column(7, &row.get::<_, String>(7)?)?,
    })
}
