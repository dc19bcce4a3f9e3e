//! Act (e): the file of a policy is replaced while traffic flows; the watcher
//! loads it, and the next requests are decided by it.

use super::Evidence;
use crate::demo::stage::{Missing, Stage};
use crate::demo::traffic::Who;
use backstop::record::RunOutcome;

const ROUTE: &str = "triage";
const POLICY: &str = "triage";
/// Another component: it calls the route's last model first.
const BACKUP_FIRST: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/backup-first.wasm"));
/// Requests that show who decides, before and after.
const SERVED_MIN: u64 = 60;

pub(super) async fn play(stage: &Stage, evidence: &mut Evidence<'_>) -> Result<(), Missing> {
    let act = stage.traffic().tally();
    evidence.doing("`layered-fallback` decides: the first model serves");
    let before = stage
        .until_served("the first model serves", &act, SERVED_MIN, |tally| {
            tally.on(ROUTE, Who::Primary)
        })
        .await?;
    let old = stage.serving(POLICY);
    let records = stage.newest_decision();

    evidence.doing("its file is replaced by `backup-first`");
    let mark = stage.traffic().tally();
    stage.replace_policy_file(BACKUP_FIRST)?;
    let after = stage
        .until_served("the backup serves first", &mark, SERVED_MIN, |tally| {
            tally.on(ROUTE, Who::Backup)
        })
        .await?;
    let (from, to) = stage
        .until("a decision by the new revision", || {
            let new = stage
                .decisions_since(records, POLICY)
                .iter()
                .filter(|record| record.outcome == RunOutcome::Answered)
                .map(|record| record.revision.number)
                .next();
            old.zip(new).filter(|(old, new)| new > old)
        })
        .await?;
    let failed = stage.traffic().since(&act).failed();
    evidence.count("served_by_primary_before", before);
    evidence.count("served_by_backup_after", after);
    evidence.count("revision_before", from);
    evidence.count("revision_after", to);
    if failed > 0 {
        return Err(Missing(format!("{failed} requests failed during the swap")));
    }
    evidence.saw(format!(
        "revision {from} became {to}, the backup serves, no request failed"
    ));
    Ok(())
}
