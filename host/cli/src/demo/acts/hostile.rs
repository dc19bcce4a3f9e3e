//! Act (f): hostile components are uploaded for a policy that serves. One
//! never comes back from `configure` and is refused; one loops and one traps
//! in decisions, and is taken back by the host.

use super::{Evidence, number};
use crate::demo::stage::{Missing, Stage};
use crate::exit_code::ExitCode;
use backstop::record::{FailureKind, RunOutcome};
use serde_json::json;

const ROUTE: &str = "triage";
const POLICY: &str = "triage";
/// A component that misbehaves as its settings say.
const HOSTILE: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/hostile.wasm"));
/// Requests that show that the revision before serves on.
const SERVED_MIN: u64 = 60;

pub(super) async fn play(stage: &Stage, evidence: &mut Evidence<'_>) -> Result<(), Missing> {
    let act = stage.traffic().tally();
    let good = stage
        .serving(POLICY)
        .ok_or_else(|| Missing(format!("policy `{POLICY}` does not serve")))?;

    evidence.doing("a policy that loops in `configure` is uploaded");
    refused(stage, good).await?;
    evidence.count("refused_at_load", 1);
    evidence.saw("looping in `configure`: refused at load");

    for (misdeed, kind, count) in [
        ("loop", FailureKind::Deadline, "stopped_loops"),
        ("trap", FailureKind::Trap, "stopped_traps"),
    ] {
        evidence.doing(&format!(
            "a policy that does `{misdeed}` in decisions is uploaded"
        ));
        let stopped = taken_back(stage, good, misdeed, kind).await?;
        evidence.count(count, stopped);
        evidence.saw(format!(
            "`{misdeed}` in decisions: stopped {stopped} times, then taken back"
        ));
    }
    let incidents = incidents(stage).await?;
    evidence.count("incidents", incidents);
    if incidents == 0 {
        return Err(Missing(
            "no incident was opened about the policy".to_owned(),
        ));
    }

    let mark = stage.traffic().tally();
    let served = stage
        .until_served("the good revision serves on", &mark, SERVED_MIN, |tally| {
            tally.route(ROUTE)
        })
        .await?;
    evidence.count("served_after", served);
    let failed = stage.traffic().since(&act).failed();
    if failed > 0 {
        return Err(Missing(format!("{failed} requests failed")));
    }
    evidence.saw("the revision before serves on, no request failed");
    Ok(())
}

/// Uploads a component that must be refused while the good one serves.
async fn refused(stage: &Stage, good: u64) -> Result<(), Missing> {
    let records = stage.newest_decision();
    let options = json!({ "settings": { "misdeed": "loop-in-configure", "route": ROUTE } });
    match stage.activate(POLICY, HOSTILE, &options).await {
        Ok(_) => return Err(Missing("a looping `configure` was accepted".to_owned())),
        Err(failure) if failure.code == ExitCode::Refused => {}
        Err(failure) => return Err(failure.into()),
    }
    stage
        .until(
            "the good revision decides during and after the refusal",
            || {
                let decided = stage
                    .decisions_since(records, POLICY)
                    .iter()
                    .any(|record| record.revision.number == good);
                (decided && stage.serving(POLICY) == Some(good)).then_some(())
            },
        )
        .await
}

/// Uploads a component that passes its load and fails at every decision, and
/// waits until the host has gone back to the good one; returns how often the
/// bad one was stopped.
async fn taken_back(
    stage: &Stage,
    good: u64,
    misdeed: &str,
    expected: FailureKind,
) -> Result<u64, Missing> {
    let records = stage.newest_decision();
    let options = json!({ "settings": { "misdeed": misdeed, "route": ROUTE } });
    let answer = stage.activate(POLICY, HOSTILE, &options).await?;
    let bad = answer["revision"]["number"]
        .as_u64()
        .ok_or_else(|| Missing("the activation names no revision".to_owned()))?;
    stage
        .until("the host takes the hostile revision back", || {
            let newest = stage
                .decisions_since(records, POLICY)
                .first()
                .is_some_and(|record| {
                    record.revision.number == good && record.outcome == RunOutcome::Answered
                });
            (newest && stage.serving(POLICY) == Some(good)).then_some(())
        })
        .await?;
    let decisions = stage.decisions_since(records, POLICY);
    let stopped = decisions.iter().filter(|record| {
        record.revision.number == bad
            && matches!(record.outcome, RunOutcome::Failed { kind, .. } if kind == expected)
    });
    match number(stopped.count()) {
        0 => Err(Missing(format!(
            "no record of revision {bad} being stopped for `{}`",
            expected.as_str()
        ))),
        stopped => Ok(stopped),
    }
}

/// Incidents about the policy, as an operator sees them.
async fn incidents(stage: &Stage) -> Result<u64, Missing> {
    let answer = stage.admin().get("/admin/v1/incidents").await?;
    let about = answer["data"]
        .as_array()
        .into_iter()
        .flatten()
        .filter(|incident| incident["policy"] == POLICY);
    Ok(number(about.count()))
}
