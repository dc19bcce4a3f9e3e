//! Code generated from the contract, and the types of it that are used here.
//!
//! Only this module, `convert` and `capability` see generated types. The
//! worlds of the single decision points are generated beside the base world
//! and share its interfaces, so that one component may export any of them.

/// Stands for the request that a decision is about.
#[derive(Debug)]
#[expect(unreachable_pub, reason = "generated code re-exports it")]
pub struct RequestHandle;
/// Stands for an answer: the one that is judged, or one to the policy's own
/// call of a model, by position.
#[derive(Debug)]
#[expect(unreachable_pub, reason = "generated code re-exports it")]
pub struct AnswerHandle;
/// Stands for the rollout that is assessed.
#[derive(Debug)]
#[expect(unreachable_pub, reason = "generated code re-exports it")]
pub struct RolloutHandle;

mod base {
    wasmtime::component::bindgen!({
        path: "wit",
        world: "base-policy",
        imports: {
            "backstop:policy/models.call": async | trappable,
            "backstop:policy/models.call-many": async | trappable,
            default: trappable,
        },
        with: {
            "backstop:policy/requests.request": super::RequestHandle,
            "backstop:policy/answers.answer": super::AnswerHandle,
            "backstop:policy/rollouts.rollout": super::RolloutHandle,
        },
    });
}

mod fallback_point {
    wasmtime::component::bindgen!({
        path: "wit",
        world: "fallback-point",
        with: {
            "backstop:policy/types": super::base::backstop::policy::types,
            "backstop:policy/requests": super::base::backstop::policy::requests,
        },
    });
}

mod threshold_point {
    wasmtime::component::bindgen!({
        path: "wit",
        world: "threshold-point",
        with: {
            "backstop:policy/types": super::base::backstop::policy::types,
            "backstop:policy/requests": super::base::backstop::policy::requests,
            "backstop:policy/answers": super::base::backstop::policy::answers,
        },
    });
}

mod rollback_point {
    wasmtime::component::bindgen!({
        path: "wit",
        world: "rollback-point",
        with: {
            "backstop:policy/types": super::base::backstop::policy::types,
            "backstop:policy/rollouts": super::base::backstop::policy::rollouts,
        },
    });
}

pub(crate) use base::backstop::policy::{
    answers, delivery, evidence, incident, log, metrics, models, requests, rollouts, state, types,
};
pub(crate) use base::exports::backstop::policy::lifecycle;
pub(crate) use fallback_point::exports::backstop::policy::fallback;
pub(crate) use rollback_point::exports::backstop::policy::rollback;
pub(crate) use threshold_point::exports::backstop::policy::threshold;
