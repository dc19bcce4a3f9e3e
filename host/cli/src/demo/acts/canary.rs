//! Act (d): a release that fails more and is less sure gets a share of the
//! traffic, and a policy takes the share away.

use super::{Evidence, number};
use crate::demo::stage::{Missing, Stage};
use crate::demo::traffic::Who;
use backstop::record::{DecidedBy, Output};
use backstop_core::rollout::Directive;
use std::time::Duration;

const ROUTE: &str = "writing";
const CANDIDATE: &str = "r2";
/// Requests that show that the candidate takes a share.
const CANDIDATE_MIN: u64 = 3;
/// Requests after the roll-back, none of which may be the candidate's.
const AFTER_MIN: u64 = 80;
/// How long requests that were in flight at the roll-back may take.
const IN_FLIGHT: Duration = Duration::from_millis(500);

pub(super) async fn play(stage: &Stage, evidence: &mut Evidence<'_>) -> Result<(), Missing> {
    evidence.doing("the configuration file gets a rollout: release r2 takes 25 %");
    let records = stage.newest_decision();
    let mark = stage.traffic().tally();
    stage.add_to_config(include_str!("../rollout.toml"))?;
    stage
        .until_served(
            "the candidate serves a share",
            &mark,
            CANDIDATE_MIN,
            |tally| tally.release(ROUTE, CANDIDATE),
        )
        .await?;
    evidence.doing("the rollback policy compares the releases");
    let reason = stage
        .until("a decision of the policy to roll back", || {
            stage
                .decisions_since(records, "canary")
                .iter()
                .filter(|record| record.decided_by == DecidedBy::Policy)
                .find_map(|record| match &*record.applied {
                    Output::Assessment(assessment)
                        if matches!(assessment.directive, Directive::RollBack(_)) =>
                    {
                        Some(assessment.reason.clone())
                    }
                    _ => None,
                })
        })
        .await?;
    let assessments = number(stage.decisions_since(records, "canary").len());
    let since = stage.traffic().since(&mark);
    let candidate = since.release(ROUTE, CANDIDATE);
    evidence.count("served_by_candidate", candidate);
    evidence.count("served_by_stable", since.release(ROUTE, "r1"));
    evidence.count("rescued_by_backup", since.on(ROUTE, Who::Backup));
    evidence.count("assessments", assessments);
    evidence.saw(format!("the candidate served {candidate}"));
    evidence.saw(format!("rolled back by policy: {reason}"));

    tokio::time::sleep(IN_FLIGHT).await;
    let mark = stage.traffic().tally();
    let after = stage
        .until_served(
            "the stable release serves alone",
            &mark,
            AFTER_MIN,
            |tally| tally.release(ROUTE, "r1"),
        )
        .await?;
    let still = stage.traffic().since(&mark).release(ROUTE, CANDIDATE);
    evidence.count("served_by_stable_after", after);
    evidence.count("served_by_candidate_after", still);
    if still > 0 {
        return Err(Missing(format!(
            "the candidate served {still} requests after it was rolled back"
        )));
    }
    Ok(())
}
