//! Evidence in SQL: one row for each series. Called inside the worker's
//! transaction.

use super::super::KeptEvidence;
use super::to_ms;
use super::worker::OpError;
use rusqlite::{Connection, params};

/// Most series of one page.
pub(super) const PAGE: u32 = 64;

/// Writes series, and removes those that were last written before `oldest_ms`:
/// no window finds anything in them.
pub(super) fn keep(
    connection: &Connection,
    series: &[KeptEvidence],
    at_ms: u64,
    oldest_ms: u64,
) -> Result<(), OpError> {
    let mut statement = connection.prepare_cached(
        "INSERT INTO evidence (series, kept, kept_ms) VALUES (?1, ?2, ?3) \
         ON CONFLICT (series) DO UPDATE SET kept = excluded.kept, kept_ms = excluded.kept_ms",
    )?;
    for one in series {
        statement.execute(params![one.key, one.series, to_ms(at_ms)])?;
    }
    connection
        .prepare_cached("DELETE FROM evidence WHERE kept_ms < ?1")?
        .execute([to_ms(oldest_ms)])?;
    Ok(())
}

/// The series that come after `after` by their keys, [`PAGE`] at most.
pub(super) fn page(connection: &Connection, after: &str) -> Result<Vec<KeptEvidence>, OpError> {
    let mut statement = connection.prepare_cached(
        "SELECT series, kept FROM evidence WHERE series > ?1 ORDER BY series LIMIT ?2",
    )?;
    let rows = statement.query_map(params![after, PAGE], |row| {
        Ok(KeptEvidence {
            key: row.get(0)?,
            series: row.get(1)?,
        })
    })?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}
