//! Act (b): primary, then backup, then rules; and back again when they recover.

use super::Evidence;
use crate::demo::stage::{Missing, Stage};
use crate::demo::traffic::Who;
use backstop::DecisionId;
use backstop::record::Input;
use backstop_core::input::BreakerState;

const ROUTE: &str = "support";
/// Requests that show that a layer has taken over.
const TAKEN_OVER_MIN: u64 = 150;

pub(super) async fn play(stage: &Stage, evidence: &mut Evidence<'_>) -> Result<(), Missing> {
    let primary = stage.simulated("primary")?;
    let backup = stage.simulated("backup")?;
    let behave = [primary.behaviour(), backup.behaviour()];
    let played = fail_and_recover(stage, evidence).await;
    // Whatever was seen: the next act begins with models that are well.
    let [was_primary, was_backup] = behave;
    primary.set(was_primary);
    backup.set(was_backup);
    played
}

async fn fail_and_recover(stage: &Stage, evidence: &mut Evidence<'_>) -> Result<(), Missing> {
    let begun = stage.newest_decision();
    fail(
        stage,
        evidence,
        "primary",
        "primary answers 503",
        Who::Backup,
        "served_by_backup",
    )
    .await?;
    breaker(stage, begun, "primary", BreakerState::Open).await?;
    evidence.saw("its breaker opened");
    fail(
        stage,
        evidence,
        "backup",
        "backup answers 503 too",
        Who::Rules,
        "served_by_rules",
    )
    .await?;

    // The backup first: once the primary serves, nobody calls the backup, and a
    // breaker that is open closes only after trial calls.
    recover(
        stage,
        evidence,
        "backup",
        Who::Backup,
        "recovered_to_backup",
    )
    .await?;
    recover(
        stage,
        evidence,
        "primary",
        Who::Primary,
        "recovered_to_primary",
    )
    .await
}

/// Lets a provider answer again and waits until it serves and its breaker is
/// closed.
async fn recover(
    stage: &Stage,
    evidence: &mut Evidence<'_>,
    provider: &str,
    who: Who,
    count: &'static str,
) -> Result<(), Missing> {
    evidence.doing(&format!("{provider} recovers"));
    let recovered = stage.newest_decision();
    let mark = stage.traffic().tally();
    set_error_rate(stage, provider, 0.0)?;
    let what = format!("{provider} serves again");
    let again = stage
        .until_served(&what, &mark, TAKEN_OVER_MIN, |tally| tally.on(ROUTE, who))
        .await?;
    breaker(stage, recovered, provider, BreakerState::Closed).await?;
    evidence.count(count, again);
    evidence.saw(format!(
        "{provider} recovers: its breaker closed, it served {again}"
    ));
    Ok(())
}

/// Lets a provider fail and waits until the next layer serves.
async fn fail(
    stage: &Stage,
    evidence: &mut Evidence<'_>,
    provider: &str,
    doing: &str,
    next: Who,
    count: &'static str,
) -> Result<(), Missing> {
    evidence.doing(doing);
    let mark = stage.traffic().tally();
    set_error_rate(stage, provider, 1.0)?;
    let what = format!("{} serves while {doing}", next.as_str());
    let served = stage
        .until_served(&what, &mark, TAKEN_OVER_MIN, |tally| tally.on(ROUTE, next))
        .await?;
    evidence.count(count, served);
    evidence.saw(format!("{doing}: {} served {served}", next.as_str()));
    Ok(())
}

fn set_error_rate(stage: &Stage, provider: &str, error_rate: f64) -> Result<(), Missing> {
    let provider = stage.simulated(provider)?;
    let mut behaviour = provider.behaviour();
    behaviour.error_rate = error_rate;
    behaviour.status = 503;
    provider.set(behaviour);
    Ok(())
}

/// Waits until a decision was told that the breaker of `model` is in `state`.
async fn breaker(
    stage: &Stage,
    mark: DecisionId,
    model: &str,
    state: BreakerState,
) -> Result<(), Missing> {
    let what = format!(
        "a decision with the breaker of `{model}` {}",
        state.as_str()
    );
    stage
        .until(&what, || {
            let records = stage.decisions_since(mark, "layered");
            // The newest one that was asked about this model.
            let told = records.iter().find_map(|record| match &record.input {
                Input::Fallback(request) => request
                    .candidates
                    .iter()
                    .find(|candidate| *candidate.model == *model)
                    .map(|candidate| candidate.breaker),
                _ => None,
            });
            (told == Some(state)).then_some(())
        })
        .await
}
