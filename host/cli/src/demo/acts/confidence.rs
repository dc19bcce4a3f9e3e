//! Act (c): the primary's answers become unsure, so the backup is asked; then
//! they become worse than unsure, so people are.

use super::{Evidence, number};
use crate::demo::stage::{Missing, Stage};
use crate::demo::traffic::Who;
use backstop::DecisionId;
use backstop::record::Output;
use backstop_core::verdict::Outcome;
use std::collections::BTreeSet;

const ROUTE: &str = "support";
/// A confidence between the policy's two lines, and one below both.
const UNSURE: f64 = 0.65;
const LOST: f64 = 0.25;
/// Requests that show that unsure answers go on.
const ESCALATED_MIN: u64 = 150;
/// Requests that show that bad ones go to people.
const REVIEWED_MIN: u64 = 100;

pub(super) async fn play(stage: &Stage, evidence: &mut Evidence<'_>) -> Result<(), Missing> {
    let primary = stage.simulated("primary")?;
    let before = primary.behaviour();
    let played = drop_confidence(stage, evidence).await;
    primary.set(before);
    played
}

async fn drop_confidence(stage: &Stage, evidence: &mut Evidence<'_>) -> Result<(), Missing> {
    let records = stage.newest_decision();
    evidence.doing("the primary's confidence drops to 0.65");
    let mark = stage.traffic().tally();
    set_confidence(stage, UNSURE)?;
    let escalated = stage
        .until_served(
            "unsure answers escalate to the backup",
            &mark,
            ESCALATED_MIN,
            |tally| tally.escalated(ROUTE),
        )
        .await?;
    let verdicts = verdicts(stage, records, Outcome::Escalate);
    evidence.count("escalated", escalated);
    evidence.count("escalate_verdicts", verdicts);
    if verdicts == 0 {
        return Err(Missing("no record of a verdict `escalate`".to_owned()));
    }
    evidence.saw(format!(
        "{escalated} unsure answers escalated to the backup"
    ));

    evidence.doing("and to 0.25");
    let mark = stage.traffic().tally();
    set_confidence(stage, LOST)?;
    let reviewed = stage
        .until_served("answers go to review", &mark, REVIEWED_MIN, |tally| {
            tally.on(ROUTE, Who::Review)
        })
        .await?;
    let kept = kept_reviews(stage).await?;
    evidence.count("sent_to_review", reviewed);
    evidence.count("reviews_in_queue", kept);
    if kept == 0 || self::verdicts(stage, records, Outcome::Review) == 0 {
        return Err(Missing(
            "no review in the queue, or no verdict `review`".to_owned(),
        ));
    }
    evidence.saw(format!("{reviewed} bad ones went to people"));
    Ok(())
}

fn set_confidence(stage: &Stage, confidence: f64) -> Result<(), Missing> {
    let primary = stage.simulated("primary")?;
    let mut behaviour = primary.behaviour();
    behaviour.confidence = confidence;
    primary.set(behaviour);
    Ok(())
}

/// Verdicts of the policy in the records.
fn verdicts(stage: &Stage, mark: DecisionId, outcome: Outcome) -> u64 {
    let records = stage.decisions_since(mark, "confidence");
    let of_outcome = records.iter().filter(
        |record| matches!(&*record.applied, Output::Verdict(verdict) if verdict.outcome == outcome),
    );
    number(of_outcome.count())
}

/// How many of the reviews that callers were told of are in the queue, as an
/// operator sees it.
async fn kept_reviews(stage: &Stage) -> Result<u64, Missing> {
    let told: BTreeSet<String> = stage.traffic().reviews().into_iter().collect();
    let queue = stage
        .admin()
        .get("/admin/v1/reviews?limit=200&order=newest")
        .await?;
    let kept = queue["data"]
        .as_array()
        .into_iter()
        .flatten()
        .filter(|review| review["id"].as_str().is_some_and(|id| told.contains(id)));
    Ok(number(kept.count()))
}
