//! From the end of a plan to the caller: status, headers, body.
//!
//! Callers learn from `x-backstop-*` headers who served them. Errors tell them
//! what went wrong last, without an upstream's address or words, except for
//! faults of their own, which are relayed as the provider wrote them.

use super::body::Body;
use super::respond::{self, EVENT_STREAM, JSON};
use super::reviews;
use crate::config::{RouteKind, RulesBody};
use crate::execute::{Answer, End, LastFailure, Passing, Run};
use crate::gate::Busy;
use crate::openai::rules::RulesAnswer;
use crate::openai::{Api, ApiError};
use crate::release::{NotNow, Release};
use crate::store::StoreError;
use crate::telemetry::{RequestOutcome, ServedBy};
use crate::trail::RequestId;
use crate::upstream::Failure;
use backstop_core::fault::OnBreaker;
use backstop_core::plan::STEPS_MAX;
use backstop_core::verdict::Outcome;
use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, LOCATION};
use http::{Response, StatusCode};
use serde::Serialize;
use std::borrow::Cow;

/// Id of the request, under which the admin plane shows its attempts.
const REQUEST: HeaderName = HeaderName::from_static("x-backstop-request");
/// The same for clients that know nothing of this gateway.
const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// Id of the fallback decision.
const DECISION: HeaderName = HeaderName::from_static("x-backstop-decision");
/// The model that answered.
const MODEL: HeaderName = HeaderName::from_static("x-backstop-model");
/// Its release.
const RELEASE: HeaderName = HeaderName::from_static("x-backstop-release");
/// The plan's step, from 0, or `rules`, `review`, `refuse`.
const STEP: HeaderName = HeaderName::from_static("x-backstop-step");
/// How many calls of models it took.
const ATTEMPTS: HeaderName = HeaderName::from_static("x-backstop-attempts");
/// What the threshold policy said.
const VERDICT: HeaderName = HeaderName::from_static("x-backstop-verdict");
/// Id of the review item.
const REVIEW: HeaderName = HeaderName::from_static("x-backstop-review");
/// Name of the rules that answered.
const RULES: HeaderName = HeaderName::from_static("x-backstop-rules");

/// The positions of steps as headers, made once.
const STEPS: [HeaderValue; STEPS_MAX] = {
    const fn step(text: &'static str) -> HeaderValue {
        HeaderValue::from_static(text)
    }
    [
        step("0"),
        step("1"),
        step("2"),
        step("3"),
        step("4"),
        step("5"),
        step("6"),
        step("7"),
        step("8"),
        step("9"),
        step("10"),
        step("11"),
        step("12"),
        step("13"),
        step("14"),
        step("15"),
    ]
};

/// Turns the end of a plan into the caller's answer, and counts it.
pub(crate) fn respond(run: Run, end: End) -> Response<Body> {
    let metrics = run.ask.route.metrics();
    match end {
        End::Answer(answer) => {
            run.served(answer.step, &answer.release);
            run.remember(&answer.release, &answer.complete.facts);
            let counting = run.gateway.shared().counting();
            counting.answer(&run.ask.route, &answer.release, &answer.complete.body);
            run.outcome(RequestOutcome::Answered);
            answered(&run, *answer)
        }
        End::Stream(streaming) => {
            run.served(streaming.step(), streaming.release());
            let mut headers = streaming.reply().headers.clone();
            headers.entry(CONTENT_TYPE).or_insert(EVENT_STREAM);
            headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
            about_run(&mut headers, &run);
            about_release(&mut headers, streaming.release(), streaming.step());
            if streaming.judged() {
                headers.insert(VERDICT, HeaderValue::from_static(Outcome::Accept.as_str()));
            }
            let mut response = Response::new(Body::Whole(Bytes::new()));
            *response.status_mut() = streaming.reply().status;
            *response.headers_mut() = headers;
            *response.body_mut() = Body::Pieces(Box::pin(Passing::new(run, *streaming)));
            response
        }
        End::Rules(position) => {
            metrics.served_by(ServedBy::Rules);
            run.outcome(RequestOutcome::Rules);
            rules(&run, position)
        }
        End::Review { id, judged } => {
            metrics.served_by(ServedBy::Review);
            run.outcome(RequestOutcome::Review);
            review(&run, &id, judged)
        }
        End::Refused { status, message } => {
            metrics.served_by(ServedBy::Refuse);
            run.outcome(RequestOutcome::Refused);
            let status = StatusCode::from_u16(status).unwrap_or(StatusCode::SERVICE_UNAVAILABLE);
            let error = ApiError::new(status, message).code("refused");
            let mut response = respond::error(&error, None);
            response
                .headers_mut()
                .insert(STEP, HeaderValue::from_static("refuse"));
            about_run(response.headers_mut(), &run);
            response
        }
        End::Failed(failure) => {
            tell_operator(&run, &failure);
            let (outcome, mut response) = failed(failure);
            run.outcome(outcome);
            about_run(response.headers_mut(), &run);
            response
        }
    }
}

/// The event that ends a stream that broke off after `position` events: an
/// error, and no end.
pub(crate) fn in_band(run: &Run, failure: &Failure, position: u64) -> Bytes {
    ApiError::from_failure(failure).to_event(api(run), position)
}

/// What the caller reads: a stream of a JSON route is a chat's.
fn api(run: &Run) -> Api {
    run.ask.route.kind().api().unwrap_or(Api::Chat)
}

/// The same for a plan that went on after a stream was cut and came to `end`.
pub(crate) fn in_band_end(run: &Run, end: &End, position: u64) -> Bytes {
    let error = match end {
        End::Failed(LastFailure::Failed(failure)) => ApiError::from_failure(failure),
        End::Failed(LastFailure::NotNow(_)) => no_model(),
        _ => unavailable(
            "the answer was interrupted and no other could be given",
            "interrupted",
        ),
    };
    error.to_event(api(run), position)
}

fn rules_text(body: &RulesBody) -> Cow<'_, str> {
    match body {
        RulesBody::Text(text) => text.as_ref().into(),
        RulesBody::Json(value) => value.to_string().into(),
    }
}

/// The rules at `position` as the events of a stream.
pub(crate) fn rules_events(run: &Run, position: usize) -> Bytes {
    let rules = &run.ask.route.spec().rules[position];
    let id = format!("rules-{:016x}", fastrand::u64(..));
    let answer = RulesAnswer {
        api: api(run),
        id: &id,
        created_s: run.gateway.clock().now_ms() / 1_000,
        model: &rules.name,
        text: &rules_text(&rules.body),
    };
    run.ask.route.metrics().served_by(ServedBy::Rules);
    answer.to_events(run.ask.include_usage)
}

/// Tells the caller the id of its request. `x-request-id`, which clients of
/// OpenAI show, is the caller's own where it gave one, else the upstream's,
/// else the gateway's.
pub(crate) fn about_request(headers: &mut HeaderMap, id: RequestId, caller_id: Option<&str>) {
    if let Ok(id) = HeaderValue::try_from(id.to_string()) {
        headers.entry(X_REQUEST_ID).or_insert_with(|| id.clone());
        headers.insert(REQUEST, id);
    }
    if let Some(id) = caller_id.and_then(|id| HeaderValue::from_str(id).ok()) {
        headers.insert(X_REQUEST_ID, id);
    }
}

fn about_run(headers: &mut HeaderMap, run: &Run) {
    if let Some(decision) = run.decision
        && let Ok(id) = HeaderValue::try_from(decision.to_string())
    {
        headers.insert(DECISION, id);
    }
    headers.insert(ATTEMPTS, HeaderValue::from(run.calls()));
}

fn about_release(headers: &mut HeaderMap, release: &Release, step: u32) {
    headers.insert(MODEL, release.model_header().clone());
    headers.insert(RELEASE, release.release_header().clone());
    headers.insert(STEP, STEPS[(step as usize).min(STEPS_MAX - 1)].clone());
}

fn answered(run: &Run, answer: Answer) -> Response<Body> {
    let mut response = Response::new(Body::Whole(answer.complete.body));
    *response.status_mut() = answer.complete.status;
    let mut headers = answer.complete.headers;
    headers.entry(CONTENT_TYPE).or_insert(JSON);
    about_run(&mut headers, run);
    about_release(&mut headers, &answer.release, answer.step);
    if answer.judged {
        headers.insert(VERDICT, HeaderValue::from_static(Outcome::Accept.as_str()));
    }
    *response.headers_mut() = headers;
    response
}

fn rules(run: &Run, position: usize) -> Response<Body> {
    let rules = &run.ask.route.spec().rules[position];
    let status = StatusCode::from_u16(rules.status).unwrap_or(StatusCode::OK);
    let text = &*rules_text(&rules.body);
    let mut response = match (run.ask.route.kind(), &rules.body) {
        (RouteKind::Json | RouteKind::OpenAi(Api::Embeddings), RulesBody::Json(_)) => {
            respond::json_bytes(status, Bytes::copy_from_slice(text.as_bytes()))
        }
        (RouteKind::Json, RulesBody::Text(_)) => {
            respond::json(status, &serde_json::json!({ "answer": text }))
        }
        (RouteKind::OpenAi(api), _) => {
            let id = format!("rules-{:016x}", fastrand::u64(..));
            let answer = RulesAnswer {
                api,
                id: &id,
                created_s: run.gateway.clock().now_ms() / 1_000,
                model: &rules.name,
                text,
            };
            if run.ask.streaming && status.is_success() {
                let stream = answer.to_events(run.ask.include_usage);
                let mut response = respond::json_bytes(status, stream);
                response.headers_mut().insert(CONTENT_TYPE, EVENT_STREAM);
                response
            } else {
                respond::json_bytes(status, answer.to_whole())
            }
        }
    };
    let headers = response.headers_mut();
    headers.insert(STEP, HeaderValue::from_static("rules"));
    if let Ok(name) = HeaderValue::from_str(&rules.name) {
        headers.insert(RULES, name);
    }
    about_run(headers, run);
    response
}

#[derive(Serialize)]
struct ReviewAnswer<'a> {
    id: &'a str,
    object: &'static str,
    status: &'static str,
}

fn review(run: &Run, id: &str, judged: bool) -> Response<Body> {
    let answer = ReviewAnswer {
        id,
        object: "review",
        status: "pending",
    };
    let mut response = respond::json(StatusCode::ACCEPTED, &answer);
    let headers = response.headers_mut();
    headers.insert(STEP, HeaderValue::from_static("review"));
    if let Ok(id) = HeaderValue::from_str(id) {
        headers.insert(REVIEW, id);
    }
    if let Ok(location) = HeaderValue::try_from(reviews::location(id)) {
        headers.insert(LOCATION, location);
    }
    if judged {
        headers.insert(VERDICT, HeaderValue::from_static(Outcome::Review.as_str()));
    }
    about_run(headers, run);
    response
}

/// Logs why a request got no answer: the operator's text. Faults of callers
/// are theirs to see, and a failed review was logged where it failed.
fn tell_operator(run: &Run, failure: &LastFailure) {
    let (why, detail) = match failure {
        LastFailure::Failed(failure) if failure.relay.is_some() => return,
        LastFailure::Failed(failure) => (failure.class.as_str(), &*failure.detail),
        LastFailure::NotNow(NotNow::Down) => ("down", "down, as an operator or its probe says"),
        LastFailure::NotNow(NotNow::Breaker(_)) => ("breaker", "the breaker lets nothing pass"),
        LastFailure::NotNow(NotNow::RetryBudget) => ("retry-budget", "the budget is used up"),
        LastFailure::NotNow(NotNow::Busy(_)) => ("busy", "as many calls as it may have"),
        LastFailure::NotNow(NotNow::TooSmall) => ("context-length", "no model has more room"),
        LastFailure::Deadline => ("deadline", "no step was left in time"),
        LastFailure::NotGoodEnough => ("escalated", "no answer was good enough"),
        LastFailure::Review(_) => return,
    };
    if let Some(left_out) = run
        .ask
        .route
        .complaints()
        .turn(run.gateway.clock().now_ms())
    {
        let route = &**run.ask.route.name();
        tracing::warn!(route, why, detail, left_out, "no step gave an answer");
    }
}

fn unavailable(message: &'static str, code: &'static str) -> ApiError {
    ApiError::new(StatusCode::SERVICE_UNAVAILABLE, message).code(code)
}

fn no_model() -> ApiError {
    unavailable(
        "no model of this route can be called now",
        "no_model_available",
    )
}

/// The route's last resort: what went wrong last, told honestly.
fn failed(failure: LastFailure) -> (RequestOutcome, Response<Body>) {
    match failure {
        LastFailure::Failed(failure) => {
            let outcome = match failure.class.effect().breaker {
                OnBreaker::Ignored => RequestOutcome::ClientFault,
                _ => RequestOutcome::Failed,
            };
            let response = match failure.relay {
                Some(relay) => {
                    let mut response = Response::new(Body::Whole(relay.body));
                    *response.status_mut() = relay.status;
                    *response.headers_mut() = relay.headers;
                    response
                }
                None => respond::error(&ApiError::from_failure(&failure), failure.retry_after),
            };
            (outcome, response)
        }
        LastFailure::NotNow(reason @ NotNow::Busy(Busy::OwnShare)) => (
            RequestOutcome::Failed,
            respond::error(
                &ApiError::new(
                    StatusCode::TOO_MANY_REQUESTS,
                    "you have as many requests waiting as your share is",
                )
                .code("too_many_waiting"),
                reason.retry_in(),
            ),
        ),
        LastFailure::NotNow(reason @ NotNow::Busy(_)) => (
            RequestOutcome::Failed,
            respond::error(
                &unavailable("the models of this route are busy", "busy"),
                reason.retry_in(),
            ),
        ),
        LastFailure::NotNow(reason) => (
            RequestOutcome::Failed,
            respond::error(&no_model(), reason.retry_in()),
        ),
        LastFailure::Deadline => (
            RequestOutcome::Failed,
            respond::error(
                &ApiError::new(
                    StatusCode::GATEWAY_TIMEOUT,
                    "no model of this route answered before the request's deadline",
                )
                .code("deadline"),
                None,
            ),
        ),
        LastFailure::NotGoodEnough => (
            RequestOutcome::Failed,
            respond::error(
                &unavailable(
                    "no model of this route gave an answer that is good enough",
                    "no_confident_answer",
                ),
                None,
            ),
        ),
        LastFailure::Review(error) => {
            let error = match error {
                StoreError::Full { .. } => unavailable(
                    "the review queue of this route is full",
                    "review_queue_full",
                ),
                StoreError::TooLarge { .. } => ApiError::new(
                    StatusCode::PAYLOAD_TOO_LARGE,
                    "the request is too large for the review queue",
                )
                .code("review_too_large"),
                _ => unavailable("the review queue is unavailable", "review_unavailable"),
            };
            (RequestOutcome::Failed, respond::error(&error, None))
        }
    }
}
