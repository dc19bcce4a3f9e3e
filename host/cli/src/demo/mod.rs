//! The demo: the real gateway, simulated models, real traffic, six mishaps.
//!
//! [`stage`] is what it is played on, [`traffic`] the callers, [`acts`] what is
//! done and what has to be seen, [`view`] how it is watched, [`report`] what
//! was found. Nothing in here decides for the gateway: it changes what the
//! models do, files and uploads, and then looks at answers and records.

mod acts;
mod report;
mod stage;
mod traffic;
mod view;

pub(crate) use report::Report;
pub(crate) use view::View;

use crate::failure::Failure;
use crate::output::OutputClosed;
use acts::{Act, Evidence};
use report::ActReport;
use stage::Stage;
use std::time::Instant;

/// Plays all acts, one after the other; one that is not observed does not keep
/// the others from being played.
///
/// # Errors
///
/// The gateway does not start, or nobody reads the output any more.
pub(crate) async fn play(concurrency: u32, view: &View) -> Result<Report, Failure> {
    let begun = Instant::now();
    let stage = Stage::start(concurrency).await?;
    view.opening(&stage.opening());
    let acts = {
        let mut refresh = tokio::time::interval(view::REFRESH);
        let mut show = std::pin::pin!(play_all(&stage, view));
        loop {
            tokio::select! {
                acts = &mut show => break acts,
                _ = refresh.tick() => view.traffic(&stage.traffic().tally()),
                () = view.closed() => return Err(anyhow::Error::new(OutputClosed).into()),
            }
        }
    };
    view.clear();
    let total = stage.finish().await;
    Ok(Report {
        acts,
        requests: total.requests(),
        failed: total.failed(),
        duration: begun.elapsed(),
    })
}

async fn play_all(stage: &Stage, view: &View) -> Vec<ActReport> {
    let mut reports = Vec::new();
    for act in Act::ALL {
        view.begin(act);
        let begun = Instant::now();
        let mark = stage.traffic().tally();
        let mut evidence = Evidence::new(view);
        let played = act.play(stage, &mut evidence).await;
        let during = stage.traffic().since(&mark);
        let Evidence { seen, counts, .. } = evidence;
        let report = ActReport {
            act,
            seen,
            counts,
            missing: played.err().map(|missing| missing.to_string()),
            requests: during.requests(),
            failed: during.failed(),
            duration: begun.elapsed(),
        };
        view.end(&report);
        reports.push(report);
    }
    reports
}
