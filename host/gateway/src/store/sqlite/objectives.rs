//! Objectives in SQL: one row for each. Called inside the worker's transaction.

use super::super::KeptObjective;
use super::worker::OpError;
use rusqlite::{Connection, params};

/// Writes objectives, and removes those that are not `known`.
pub(super) fn keep(
    connection: &Connection,
    kept: &[KeptObjective],
    known: &[String],
) -> Result<(), OpError> {
    let mut statement = connection.prepare_cached(
        "INSERT INTO objectives (name, state) VALUES (?1, ?2) \
         ON CONFLICT (name) DO UPDATE SET state = excluded.state",
    )?;
    for one in kept {
        statement.execute(params![one.name, one.state])?;
    }
    // There are few: the names of a configuration, and those of the one before.
    let mut names = connection.prepare_cached("SELECT name FROM objectives")?;
    let names: Vec<String> = names
        .query_map([], |row| row.get(0))?
        .collect::<rusqlite::Result<_>>()?;
    for gone in names.iter().filter(|name| !known.contains(name)) {
        connection
            .prepare_cached("DELETE FROM objectives WHERE name = ?1")?
            .execute([gone])?;
    }
    Ok(())
}

/// All of them.
pub(super) fn all(connection: &Connection) -> Result<Vec<KeptObjective>, OpError> {
    let mut statement =
        connection.prepare_cached("SELECT name, state FROM objectives ORDER BY name")?;
    let rows = statement.query_map([], |row| {
        Ok(KeptObjective {
            name: row.get(0)?,
            state: row.get(1)?,
        })
    })?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}
