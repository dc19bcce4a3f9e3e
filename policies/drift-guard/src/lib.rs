//! The policy `drift-guard`: turn drift, and figures past their limits, into
//! escalation, a share of answers to review, or an incident.
//!
//! [`settings`] holds what operators write, [`judge`] the judgement over plain
//! facts, `text` the numbers for people. This file gathers the evidence through
//! the SDK, one query for each watch that could change something for this
//! answer, and opens the incidents.
//!
//! Always true: nothing is done on no evidence, and no evidence is never called
//! good; which answers a share concerns is in the record of the decision;
//! nothing in here panics.

#[cfg(test)]
mod bench_tests;
pub mod judge;
#[cfg(test)]
mod property_tests;
pub mod settings;
mod text;

use backstop_sdk::metrics::{self, ComparisonOptions, Subject};
use backstop_sdk::{
    Abstain, Answer, Context, Policy, Problems, Request, Standing, Threshold, Verdict, Want,
    evidence, export, incident,
};
use judge::{Evidence, Facts, State};
use settings::{Kind, Raise, Settings, Watch, Whose};

/// Most incidents that a policy may raise in one decision, as the contract
/// says.
const INCIDENTS_MAX: usize = 4;

/// The policy, configured.
#[derive(Debug)]
pub struct DriftGuard {
    settings: Settings,
}

impl Policy for DriftGuard {
    type Settings = Settings;

    fn wants() -> Vec<Want> {
        // What is watched is known with the settings only.
        vec![Want::metrics("*"), Want::Incident]
    }

    fn configure(settings: Settings) -> Result<Self, Problems> {
        settings.check().map(|()| Self { settings })
    }
}

impl Threshold for DriftGuard {
    fn judge(&self, ctx: &Context, request: &Request, answer: &Answer) -> Result<Verdict, Abstain> {
        let facts = Facts {
            confidence: answer.confidence(),
            standing: Standing::of(request, answer),
            seed: ctx.seed,
        };
        let names = self.names(request, answer);
        let watches = &self.settings.watch;
        let evidence: Vec<_> = watches
            .iter()
            .map(|watch| {
                let matters = judge::concerns(watch, ctx.seed) || watch.incident != Raise::None;
                if matters {
                    query(watch, names.subject(watch))
                } else {
                    Evidence::NotAsked
                }
            })
            .collect();
        let mut verdict = judge::judge(&self.settings, &facts, &evidence);
        if let Some(why) = self.raise(&evidence, &names, ctx.seed) {
            verdict.reason.push_str("; ");
            verdict.reason.push_str(&why);
        }
        Ok(verdict)
    }
}

/// Whose metrics may be asked for. What no watch needs is empty.
struct Names {
    route: String,
    model: String,
    release: String,
}

impl Names {
    fn subject(&self, watch: &Watch) -> Subject<'_> {
        match watch.subject {
            Whose::Model => Subject::Model(&self.model),
            Whose::Release => Subject::release(&self.model, &self.release),
            Whose::Route => Subject::Route,
        }
    }

    /// For people.
    fn text(&self, watch: &Watch) -> String {
        match watch.subject {
            Whose::Model => ["model `", &self.model, "`"].concat(),
            Whose::Release => {
                ["release `", &self.release, "` of model `", &self.model, "`"].concat()
            }
            Whose::Route => ["route `", &self.route, "`"].concat(),
        }
    }
}

/// Asks what the watch wants to know. A query that fails is no evidence.
fn query(watch: &Watch, subject: Subject<'_>) -> Evidence {
    let (metric, window_s) = (watch.metric.as_str(), watch.window_s);
    let answered = match (watch.kind, watch.baseline.as_deref()) {
        (Kind::Drift, None) => {
            metrics::drift(metric, subject, window_s, watch.reference_s).map(Evidence::Drift)
        }
        (Kind::Drift, Some(baseline)) => {
            evidence::drift_from(metric, subject, window_s, baseline).map(Evidence::Drift)
        }
        (Kind::Below | Kind::Above, None) => {
            evidence::measure(metric, subject, window_s).map(Evidence::Number)
        }
        (Kind::Below | Kind::Above, Some(baseline)) => {
            evidence::compare_with(metric, subject, window_s, baseline, options(watch))
                .map(Evidence::Comparison)
        }
    };
    answered.unwrap_or(Evidence::None)
}

/// How a figure is held against a baseline: bad is what is worse by more than
/// the limit.
fn options(watch: &Watch) -> ComparisonOptions {
    let options = match watch.kind {
        Kind::Above => ComparisonOptions::lower_is_better(watch.samples_min),
        Kind::Below | Kind::Drift => ComparisonOptions::higher_is_better(watch.samples_min),
    };
    options.with_margin(watch.limit.unwrap_or(0.0))
}

impl DriftGuard {
    fn names(&self, request: &Request, answer: &Answer) -> Names {
        let watches = |whose| {
            let mut watches = self.settings.watch.iter();
            watches.any(move |watch| watch.subject == whose)
        };
        let with_release = watches(Whose::Release);
        let when = |needed: bool, name: &dyn Fn() -> String| {
            if needed { name() } else { String::new() }
        };
        Names {
            route: when(watches(Whose::Route), &|| request.route()),
            model: when(with_release || watches(Whose::Model), &|| answer.model()),
            release: when(with_release, &|| answer.release()),
        }
    }

    /// Opens an incident for each watch that holds and asks for one, and
    /// returns why one could not be opened. A host takes a few for each
    /// decision, so with more of them the seed says where to begin. The verdict
    /// does not depend on it.
    fn raise(&self, evidence: &[Evidence], names: &Names, seed: u64) -> Option<String> {
        let mut held = Vec::new();
        for (watch, evidence) in self.settings.watch.iter().zip(evidence) {
            if let Some(severity) = watch.incident.severity()
                && judge::state(watch, evidence) == State::Holds
            {
                held.push((watch, evidence, severity));
            }
        }
        let first = if held.len() > INCIDENTS_MAX {
            (seed % held.len() as u64) as usize
        } else {
            0
        };
        let mut failed = None;
        for turn in 0..held.len().min(INCIDENTS_MAX) {
            let Some(&(watch, evidence, severity)) = held.get((first + turn) % held.len()) else {
                break;
            };
            let subject = names.text(watch);
            let raised = incident::raise(
                &text::incident_key(watch, &subject),
                severity,
                &text::incident_title(watch, evidence, &subject),
                &text::incident_detail(watch, evidence, &subject),
            );
            if let Err(error) = raised {
                failed = Some(Abstain::from(error).reason);
            }
        }
        failed
    }
}

export!(DriftGuard: threshold);
