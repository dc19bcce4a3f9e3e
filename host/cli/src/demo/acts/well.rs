//! Act (a): every route is served by its first model, and policies decide.

use super::{Evidence, number};
use crate::demo::stage::{Missing, Stage};
use crate::demo::traffic::Who;
use backstop::record::{Output, RunOutcome};
use backstop_core::verdict::Outcome;

/// Requests that have to be served before all counts as well.
const REQUESTS_MIN: u64 = 500;

pub(super) async fn play(stage: &Stage, evidence: &mut Evidence<'_>) -> Result<(), Missing> {
    evidence.doing("traffic on three routes; policies plan and judge every request");
    let mark = stage.traffic().tally();
    let records = stage.newest_decision();
    let served = stage
        .until_served(
            "requests served by the first models",
            &mark,
            REQUESTS_MIN,
            |tally| tally.served(Who::Primary),
        )
        .await?;
    let since = stage.traffic().since(&mark);
    if since.failed() > 0 || since.served(Who::Primary) < since.requests() {
        return Err(Missing(format!(
            "only {} of {} requests were served by the first models",
            since.served(Who::Primary),
            since.requests()
        )));
    }
    evidence.count("served_by_primary", served);

    let planned = stage.decisions_since(records, "layered");
    let judged = stage.decisions_since(records, "confidence");
    let plans = planned.iter().filter(|record| {
        record.outcome == RunOutcome::Answered && matches!(*record.applied, Output::Plan(_))
    });
    let accepted = judged.iter().filter(|record| {
        matches!(&*record.applied, Output::Verdict(verdict) if verdict.outcome == Outcome::Accept)
            && record.outcome == RunOutcome::Answered
    });
    let (plans, accepted) = (number(plans.count()), number(accepted.count()));
    evidence.count("plans_by_policy", plans);
    evidence.count("answers_accepted", accepted);
    if plans == 0 || accepted == 0 {
        return Err(Missing(format!(
            "records show {plans} plans and {accepted} accepted answers by policies"
        )));
    }
    evidence.saw(format!(
        "{served} served by the first models, every plan and verdict by a policy"
    ));
    Ok(())
}
