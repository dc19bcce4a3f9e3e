//! `POST /v1/decide/{point}`: decisions for gateways in other languages.
//!
//! The caller names a policy, or a route (or, for rollbacks, a model) whose
//! policy is meant, and gives the facts; it gets the decision back and carries
//! it out itself. Facts that the caller leaves out are filled in from the
//! route or the model as it is here. Nothing is executed, nothing that the
//! gateway counts about models is touched, and a policy that fails on facts
//! which somebody made up is not taken back for it.

use super::question::{AnswerInput, Question, RequestInput};
use super::{DECIDE, Served, invalid_json, read_body, unknown_route};
use crate::config::RouteKind;
use crate::execute::CallerKey;
use crate::gateway::Gateway;
use crate::http::respond;
use crate::openai::ApiError;
use crate::plant::{Asked, Plant, Route};
use backstop::Decision;
use backstop::record::{DecidedBy, DecisionId, DecisionPoint, DecisionRecord, RunOutcome};
use backstop_core::fault::FailureClasses;
use backstop_core::input::{AnswerFacts, Candidate, RequestFacts};
use backstop_core::plan::{Action, CallStep, Plan, STEPS_MAX, Step};
use backstop_core::rollout::{Assessment, Directive};
use backstop_core::verdict::{Outcome, Verdict};
use http::{Request, StatusCode};
use hyper::body::Incoming;
use serde::Serialize;
use std::sync::Arc;

/// What was decided. One of the last three is there, after the point.
#[derive(Debug, Serialize)]
struct Decided<'a> {
    id: DecisionId,
    object: &'static str,
    point: DecisionPoint,
    policy: &'a str,
    revision: u64,
    digest: &'a str,
    decided_by: DecidedBy,
    outcome: &'a RunOutcome,
    #[serde(skip_serializing_if = "Option::is_none")]
    plan: Option<&'a Plan>,
    #[serde(skip_serializing_if = "Option::is_none")]
    verdict: Option<&'a Verdict>,
    #[serde(skip_serializing_if = "Option::is_none")]
    assessment: Option<&'a Assessment>,
}

/// Serves one question.
///
/// # Errors
///
/// An answer that says what is wrong with it.
pub(super) async fn serve(gateway: &Gateway, request: Request<Incoming>) -> Served {
    let plant = gateway.plant();
    let (head, body) = request.into_parts();
    let name = head.uri.path().strip_prefix(DECIDE).unwrap_or_default();
    let Some(point) = DecisionPoint::ALL.into_iter().find(|p| p.as_str() == name) else {
        let message = "no such decision point; there are `fallback`, `threshold` and `rollback`";
        return Err(ApiError::new(StatusCode::NOT_FOUND, message)
            .code("not_found")
            .into());
    };
    let body = read_body(&plant, body).await?;
    let question: Question = serde_json::from_slice(&body).map_err(|e| invalid_json(&e))?;
    question.check()?;
    match point {
        DecisionPoint::Fallback => fallback(gateway, &plant, question).await,
        DecisionPoint::Threshold => threshold(gateway, &plant, question).await,
        DecisionPoint::Rollback => rollback(gateway, &plant, question).await,
    }
}

async fn fallback(gateway: &Gateway, plant: &Plant, question: Question) -> Served {
    let route = route(plant, question.route.as_deref())?;
    let bound = route.and_then(Route::fallback);
    let policy = policy(gateway, question.policy, bound, DecisionPoint::Fallback)?;
    let facts = request(gateway, route, question.request.unwrap_or_default());
    if facts.candidates.is_empty() {
        return Err(wrong(
            "request.candidates",
            "name at least one candidate, or a route",
        )
        .into());
    }
    let default = match route {
        Some(route) if route.spec().default_plan.check(&facts).is_ok() => {
            route.spec().default_plan.clone()
        }
        _ => Arc::new(in_order(&facts)),
    };
    let host = gateway.host();
    let asked = policy.handle().without_consequences();
    let decision = host.decide_fallback(&asked, facts, &default).await;
    policy.metrics().decision(&decision.record);
    Ok(respond::json(
        StatusCode::OK,
        &Decided {
            plan: Some(&decision.value),
            ..decided(&decision.record, DecisionPoint::Fallback)
        },
    ))
}

async fn threshold(gateway: &Gateway, plant: &Plant, question: Question) -> Served {
    let route = route(plant, question.route.as_deref())?;
    let bound = route.and_then(Route::threshold);
    let policy = policy(gateway, question.policy, bound, DecisionPoint::Threshold)?;
    let Some(input) = question.answer else {
        return Err(wrong("answer", "give the answer that is to be judged").into());
    };
    let facts = request(gateway, route, question.request.unwrap_or_default());
    let answer = Arc::new(answer(input)?);
    let default = Verdict {
        outcome: Outcome::Accept,
        reason: "default: accept".to_owned(),
        confidence: None,
        line: None,
    };
    let asked = policy.handle().without_consequences();
    let decision: Decision<Verdict> = gateway
        .host()
        .decide_threshold(&asked, facts, answer, &default)
        .await;
    policy.metrics().decision(&decision.record);
    Ok(respond::json(
        StatusCode::OK,
        &Decided {
            verdict: Some(&decision.value),
            ..decided(&decision.record, DecisionPoint::Threshold)
        },
    ))
}

async fn rollback(gateway: &Gateway, plant: &Plant, question: Question) -> Served {
    let bound = question.model.as_deref().and_then(|name| {
        let rollout = plant.model(name)?.spec().rollout.as_ref()?;
        let policy = rollout.policy.as_deref()?;
        gateway.shared().asked(policy, DecisionPoint::Rollback).ok()
    });
    let policy = policy(
        gateway,
        question.policy,
        bound.as_ref(),
        DecisionPoint::Rollback,
    )?;
    let running = |model: &str| gateway.rollout_facts(model);
    let Some(facts) = question
        .rollout
        .or_else(|| question.model.as_deref().and_then(running))
    else {
        let message = "give the rollout, or the model of one that runs here";
        return Err(wrong("rollout", message).into());
    };
    let default = Assessment {
        directive: Directive::Hold,
        reason: "default: hold".to_owned(),
    };
    let host = gateway.host();
    let asked = policy.handle().without_consequences();
    let decision = host
        .decide_rollback(&asked, Arc::new(facts), &default)
        .await;
    policy.metrics().decision(&decision.record);
    Ok(respond::json(
        StatusCode::OK,
        &Decided {
            assessment: Some(&decision.value),
            ..decided(&decision.record, DecisionPoint::Rollback)
        },
    ))
}

fn decided(record: &DecisionRecord, point: DecisionPoint) -> Decided<'_> {
    Decided {
        id: record.id,
        object: "decision",
        point,
        policy: &record.revision.policy,
        revision: record.revision.number,
        digest: &record.revision.digest,
        decided_by: record.decided_by,
        outcome: &record.outcome,
        plan: None,
        verdict: None,
        assessment: None,
    }
}

/// The answer to a question with something wrong in `param`.
pub(super) fn wrong(param: &'static str, message: impl Into<String>) -> ApiError {
    ApiError::new(StatusCode::BAD_REQUEST, message.into())
        .code("invalid_question")
        .param(param)
}

fn route<'a>(plant: &'a Plant, name: Option<&str>) -> Result<Option<&'a Route>, ApiError> {
    match name {
        None => Ok(None),
        Some(name) => match plant.route(name) {
            Some(route) => Ok(Some(route)),
            None => Err(unknown_route(plant, name, RouteKind::Json)),
        },
    }
}

/// The policy that is asked: the one named, else the one that is bound to what
/// was named.
fn policy(
    gateway: &Gateway,
    named: Option<String>,
    bound: Option<&Asked>,
    point: DecisionPoint,
) -> Result<Asked, ApiError> {
    match (named, bound) {
        (Some(name), _) => gateway.shared().asked(&name, point).map_err(|problem| {
            ApiError::new(StatusCode::NOT_FOUND, problem.to_string())
                .code("policy_not_found")
                .param("policy")
        }),
        (None, Some(bound)) => Ok(bound.clone()),
        (None, None) => Err(ApiError::new(
            StatusCode::BAD_REQUEST,
            format!("name a `policy`, or a route or model whose policy decides at `{point}`"),
        )
        .code("no_policy")
        .param("policy")),
    }
}

/// The facts about the request: what the caller says, the rest from the route.
fn request(gateway: &Gateway, route: Option<&Route>, input: RequestInput) -> Arc<RequestFacts> {
    let key = match input.key {
        Some(key) => CallerKey::Given(key),
        None => CallerKey::Random(fastrand::u32(..)),
    };
    let candidates = if input.candidates.is_empty() {
        let now_ms = gateway.clock().now_ms();
        let models = route.map_or(&[][..], Route::models);
        models
            .iter()
            .map(|model| model.candidate(&key, now_ms))
            .collect()
    } else {
        input
            .candidates
            .into_iter()
            .map(|candidate| Candidate {
                model: candidate.model,
                breaker: candidate.breaker,
                healthy: candidate.healthy,
                ..Candidate::default()
            })
            .collect()
    };
    Arc::new(RequestFacts {
        route: route.map_or_else(|| Arc::from(""), |route| route.name().clone()),
        candidates,
        rules: match (input.rules, route) {
            (Some(rules), _) => rules.into(),
            (None, Some(route)) => route.rule_names().clone(),
            (None, None) => Arc::from([]),
        },
        has_review: input
            .has_review
            .unwrap_or_else(|| route.is_some_and(|route| route.spec().review)),
        streaming: input.streaming,
        attempts: input.attempts,
        tags: input.tags.into_iter().collect(),
        body_bytes: input
            .body_bytes
            .unwrap_or_else(|| input.body.as_ref().map_or(0, |body| body.len() as u64)),
        body: input.body,
        ..RequestFacts::default()
    })
}

fn answer(input: AnswerInput) -> Result<AnswerFacts, ApiError> {
    if let Some(confidence) = input.confidence
        && !(0.0..=1.0).contains(&confidence)
    {
        return Err(wrong("answer.confidence", "must be a number from 0 to 1"));
    }
    Ok(AnswerFacts {
        model: input.model,
        release: input.release.unwrap_or_else(|| Arc::from("")),
        step: input.step,
        steps_left: input.steps_left,
        confidence: input.confidence,
        label: input.label,
        scores: input.scores,
        token_logprobs: input.token_logprobs,
        finish_reason: input.finish_reason,
        latency_ms: input.latency_ms,
        delivered: input.delivered,
        body_bytes: input
            .body_bytes
            .unwrap_or_else(|| input.body.as_ref().map_or(0, |body| body.len() as u64)),
        body: input.body,
        ..AnswerFacts::default()
    })
}

/// The default plan for a caller whose candidates are not a route's: each in
/// the order given, then the first rules, else review.
fn in_order(facts: &RequestFacts) -> Plan {
    let reason = "default plan: the candidates in their order";
    let mut steps: Vec<Step> = facts
        .candidates
        .iter()
        .take(STEPS_MAX - 1)
        .map(|candidate| Step {
            action: Action::Call(CallStep {
                model: candidate.model.clone(),
                timeout_ms: 0,
                first_token_ms: 0,
                retries: 0,
                move_on: FailureClasses::MODEL_FAULTS,
            }),
            reason: reason.to_owned(),
        })
        .collect();
    let last = match facts.rules.first() {
        Some(rules) => Some(Action::Rules(rules.clone())),
        None if facts.has_review => Some(Action::Review {
            note: "no model answered".to_owned(),
        }),
        None => None,
    };
    steps.extend(last.map(|action| Step {
        action,
        reason: reason.to_owned(),
    }));
    steps.into()
}
