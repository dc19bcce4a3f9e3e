//! Taking feedback: find the answers, keep what is said, count what is new.
//!
//! All of it runs as work of its own: a caller that hangs up in between does
//! not keep what is on disk from being counted.

use super::count::{self, kind};
use super::given::{Given, Wrong};
use super::remember::kept_ms;
use crate::clock::system_now_ms;
use crate::config;
use crate::evidence::AnswerOf;
use crate::gateway::Gateway;
use crate::plant::Plant;
use crate::store::{
    Fact, FeedbackEnd, FoundAnswer, NewFeedback, RememberedAnswer, Review, ReviewOutcome,
    StoreError,
};
use crate::trail::RequestRecord;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::oneshot;

/// How long a caller waits for the store. What it does later still counts.
const STORE_WAIT: Duration = Duration::from_secs(10);

/// What became of one piece of feedback.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum End {
    /// It is kept.
    Kept {
        /// What it is about.
        answer: Box<RememberedAnswer>,
        /// The kinds that are new.
        taken: Vec<String>,
        /// The kinds of which the very same had been said before.
        unchanged: Vec<String>,
    },
    /// It says what it cannot say.
    Wrong(Vec<Wrong>),
    /// There is no such answer.
    Unknown {
        /// How the request with this id ended, where that is known.
        outcome: Option<&'static str>,
    },
    /// The answer is not remembered any more.
    Expired,
    /// The answer's route takes no feedback.
    NotTaken {
        /// The route.
        route: Arc<str>,
    },
    /// Something else was said before, and stands.
    Contradicts {
        /// About an answer of this route.
        route: Arc<str>,
        /// What.
        stands: Fact,
    },
}

/// The store does not answer, or fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Unavailable;

/// Takes feedback; what became of each piece, in order.
///
/// # Errors
///
/// When the store fails. Nothing was kept or counted, unless the store was too
/// slow: then it may still be.
pub(crate) async fn take(gateway: &Gateway, given: Vec<Given>) -> Result<Vec<End>, Unavailable> {
    let (reply, ends) = oneshot::channel();
    let taking = gateway.clone();
    gateway.background(async move {
        // The caller may be gone.
        let _ = reply.send(taken(&taking, &given).await);
    });
    let ends = tokio::time::timeout(STORE_WAIT, ends).await;
    ends.ok().and_then(Result::ok).unwrap_or(Err(Unavailable))
}

/// One piece of feedback that fits its answer.
struct Fitting {
    answer: Box<RememberedAnswer>,
    spec: Arc<config::Feedback>,
    facts: Vec<Fact>,
}

async fn taken(gateway: &Gateway, given: &[Given]) -> Result<Vec<End>, Unavailable> {
    if !gateway.shared().feedback.flush().await {
        tracing::error!("feedback is not taken: answers wait to be written and cannot be");
        return Err(Unavailable);
    }
    let store = gateway.store();
    let ids = given.iter().map(|given| given.id.clone()).collect();
    let found = store.find_answers(ids).await.map_err(unavailable)?;
    let plant = gateway.plant();
    let now_ms = gateway.clock().now_ms();
    let fits = |(given, found)| fitting(&plant, now_ms, given, found);
    let mut fitting: Vec<_> = given.iter().zip(found).map(fits).collect();
    explain(gateway, &plant, given, &mut fitting);

    let telling = given.iter().zip(&fitting);
    let telling: Vec<NewFeedback> = telling
        .filter_map(|(given, fitting)| {
            let fitting = fitting.as_ref().ok()?;
            Some(NewFeedback {
                request: fitting.answer.request,
                facts: fitting.facts.clone(),
                by: given.by.clone(),
            })
        })
        .collect();
    let told = if telling.is_empty() {
        Vec::new()
    } else {
        let adding = store.add_feedback(telling, system_now_ms());
        adding.await.map_err(unavailable)?
    };
    let mut told = told.into_iter();
    let ends = fitting.into_iter().map(|fitting| {
        let end = match fitting {
            Err(end) => end,
            // There is one for each.
            Ok(fitting) => ended(gateway, fitting, told.next().unwrap_or(FeedbackEnd::Gone)),
        };
        count_end(gateway, &end);
        end
    });
    Ok(ends.collect())
}

/// What `given` says about the answer that was found.
///
/// # Errors
///
/// Why it cannot be taken.
fn fitting(plant: &Plant, now_ms: u64, given: &Given, found: FoundAnswer) -> Result<Fitting, End> {
    let answer = match found {
        FoundAnswer::Remembered(answer) => answer,
        FoundAnswer::Removed => return Err(End::Expired),
        FoundAnswer::Unknown => return Err(End::Unknown { outcome: None }),
    };
    let Some(spec) = feedback_of(plant, &answer.route) else {
        let route = answer.route.clone();
        return Err(End::NotTaken { route });
    };
    if answer.arrived_ms.saturating_add(kept_ms(spec.keep)) < now_ms {
        return Err(End::Expired);
    }
    let facts = given.facts(&answer, &spec).map_err(End::Wrong)?;
    Ok(Fitting {
        answer,
        spec,
        facts,
    })
}

fn feedback_of(plant: &Plant, route: &str) -> Option<Arc<config::Feedback>> {
    plant.route(route)?.spec().feedback.clone()
}

/// What became of it in the store; counts what is new.
fn ended(gateway: &Gateway, fitting: Fitting, told: FeedbackEnd) -> End {
    let Fitting {
        answer,
        spec,
        facts,
    } = fitting;
    match told {
        FeedbackEnd::Gone => End::Expired,
        FeedbackEnd::Contradicts(stands) => {
            let route = answer.route.clone();
            End::Contradicts { route, stands }
        }
        FeedbackEnd::Kept { is_new } => {
            let now_ms = gateway.clock().now_ms();
            let positive = spec.positive_label.as_deref();
            let evidence = gateway.evidence();
            count::facts(evidence, now_ms, &answer, &facts, &is_new, positive);
            kept(answer, &facts, &is_new)
        }
    }
}

fn unavailable(error: StoreError) -> Unavailable {
    tracing::error!(
        error = &error as &dyn std::error::Error,
        "feedback is not taken: the store fails"
    );
    Unavailable
}

fn kept(answer: Box<RememberedAnswer>, facts: &[Fact], is_new: &[bool]) -> End {
    let of = |wanted: bool| {
        let kinds = facts.iter().zip(is_new);
        let kinds = kinds.filter(|(_, new)| **new == wanted);
        kinds.map(|(fact, _)| fact.kind.clone()).collect()
    };
    End::Kept {
        taken: of(true),
        unchanged: of(false),
        answer,
    }
}

/// Says of ids that no answer has what became of their requests, as far as the
/// newest requests tell.
fn explain(
    gateway: &Gateway,
    plant: &Plant,
    given: &[Given],
    fitting: &mut [Result<Fitting, End>],
) {
    let mut missing: HashMap<&str, Option<Arc<RequestRecord>>> = HashMap::new();
    for (given, fitting) in given.iter().zip(&*fitting) {
        if let Err(End::Unknown { .. } | End::Expired) = fitting {
            missing.insert(&given.id, None);
        }
    }
    if missing.is_empty() {
        return;
    }
    let ids = missing.keys().copied();
    let own: HashMap<u64, &str> = ids
        .filter_map(|id| Some((u64::from_str_radix(id, 16).ok()?, id)))
        .collect();
    for record in gateway.telemetry().requests().newest(usize::MAX, |_| true) {
        let decision = record.decision.map(|id| id.0);
        let by_number = [Some(record.id.0), decision].into_iter().flatten();
        let by_number = by_number.filter_map(|id| own.get(&id).copied());
        for id in by_number.chain(record.caller_id.as_deref()) {
            if let Some(known @ None) = missing.get_mut(id) {
                *known = Some(record.clone());
            }
        }
    }
    for (given, fitting) in given.iter().zip(fitting) {
        let Err(end @ (End::Unknown { .. } | End::Expired)) = fitting else {
            continue;
        };
        let Some(Some(record)) = missing.get(&*given.id) else {
            continue;
        };
        if plant.route(&record.route).is_some() && feedback_of(plant, &record.route).is_none() {
            let route = record.route.clone();
            *end = End::NotTaken { route };
        } else if let End::Unknown { outcome } = end {
            *outcome = Some(record.outcome.as_str());
        }
    }
}

fn count_end(gateway: &Gateway, end: &End) {
    let metrics = gateway.telemetry().feedback();
    match end {
        End::Kept {
            answer,
            taken,
            unchanged,
        } => {
            for kind in taken {
                metrics.feedback(&answer.route, kind, "taken");
            }
            for kind in unchanged {
                metrics.feedback(&answer.route, kind, "unchanged");
            }
        }
        End::Contradicts { route, stands } => {
            metrics.feedback(route, &stands.kind, "contradicts");
        }
        End::Wrong(_) => metrics.refused("-", "invalid"),
        End::Unknown { .. } => metrics.refused("-", "unknown"),
        End::Expired => metrics.refused("-", "expired"),
        End::NotTaken { .. } => metrics.refused("-", "not-taken"),
    }
}

/// Counts what a person found out about a reviewed answer: as feedback where
/// the answer is remembered, so that it counts once; else by what the review
/// itself knows of it. Does not wait.
pub(crate) fn review_resolved(gateway: &Gateway, review: &Review) {
    let (item, Some(resolution)) = (&review.item, &review.resolution) else {
        return;
    };
    let right = match resolution.outcome {
        ReviewOutcome::Agree => true,
        ReviewOutcome::Corrected => false,
        // That a request should not be answered says nothing of the answer.
        ReviewOutcome::Reject => return,
    };
    // A review without an answer has nothing that could be right.
    if item.model.is_none() {
        return;
    }
    let plant = gateway.plant();
    let route = plant.route(&item.route);
    let takes = route.is_some_and(|route| route.spec().feedback.is_some());
    let (true, Some(request)) = (takes, item.request_id) else {
        by_itself(gateway, review, right);
        return;
    };
    let given = Given::of_review(
        request.to_string(),
        right,
        resolution.label.clone(),
        resolution.answer.clone(),
        resolution.by.clone(),
    );
    let (gateway, review) = (gateway.clone(), review.clone());
    gateway.clone().background(async move {
        match taken(&gateway, &[given]).await.as_deref() {
            Ok([End::Kept { .. }]) => {}
            // It was not delivered, and so is not remembered; or nobody can tell,
            // and nobody resolves it again.
            Ok([End::Unknown { .. } | End::Expired | End::NotTaken { .. }]) | Err(Unavailable) => {
                by_itself(&gateway, &review, right);
            }
            end => tracing::warn!(
                review = review.id,
                ?end,
                "the resolution of a review is not counted: it does not fit what is known of the \
                 answer"
            ),
        }
    });
}

fn by_itself(gateway: &Gateway, review: &Review, right: bool) {
    let item = &review.item;
    let of = AnswerOf {
        route: Some(&item.route),
        model: item.model.as_deref(),
        release: item.release.as_deref(),
        at_ms: item.created_ms,
        segments: count::NO_SEGMENTS,
    };
    let now_ms = gateway.clock().now_ms();
    count::right(gateway.evidence(), now_ms, &of, item.confidence, right);
    let metrics = gateway.telemetry().feedback();
    metrics.feedback(&item.route, kind::CORRECT, "taken");
}
