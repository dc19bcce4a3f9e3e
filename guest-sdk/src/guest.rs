//! The inside of a component: where the configured policy lives between
//! `configure` and the decisions, and the way from the raw handles to the
//! traits.

#![expect(
    unsafe_code,
    reason = "one thread is all there is, and the wrappers are transparent"
)]

use crate::bindings::base::backstop::policy::types::Abstention;
use crate::bindings::base::backstop::policy::{answers, requests, rollouts};
use crate::bindings::base::exports::backstop::policy::lifecycle;
use crate::{
    Abstain, Answer, Assessment, Context, Fallback, Plan, Policy, Request, Rollback, Rollout,
    Threshold, Verdict,
};
use std::cell::Cell;

/// Holds the configured policy. The host keeps the memory that `configure`
/// left behind, so every decision finds it here.
#[expect(
    missing_debug_implementations,
    reason = "never leaves the export macro"
)]
pub struct Slot<P: 'static>(Cell<Option<&'static P>>);

// SAFETY: this module exists on wasm32 without threads only.
unsafe impl<P> Sync for Slot<P> {}

impl<P: Policy> Slot<P> {
    /// Without a policy.
    pub const fn new() -> Self {
        Self(Cell::new(None))
    }

    /// Makes the policy from its settings and keeps it, for as long as the
    /// instance lives.
    pub fn configure(&self, text: &str) -> Result<(), Vec<lifecycle::Problem>> {
        match crate::export::configure::<P>(text) {
            Ok(policy) => {
                self.0.set(Some(Box::leak(Box::new(policy))));
                Ok(())
            }
            Err(problems) => Err(problems
                .into_iter()
                .map(|problem| lifecycle::Problem {
                    path: problem.path,
                    message: problem.message,
                })
                .collect()),
        }
    }

    /// The policy. A host that asks for a decision before it configured
    /// breaks the contract and gets a trap.
    fn policy(&self) -> &'static P {
        match self.0.get() {
            Some(policy) => policy,
            None => core::arch::wasm32::unreachable(),
        }
    }
}

impl<P: Fallback> Slot<P> {
    /// Decision point `fallback`.
    pub fn decide(&self, ctx: &Context, request: &requests::Request) -> Result<Plan, Abstention> {
        self.policy()
            .decide(ctx, wrap_request(request))
            .map_err(abstention)
    }
}

impl<P: Threshold> Slot<P> {
    /// Decision point `threshold`.
    pub fn judge(
        &self,
        ctx: &Context,
        request: &requests::Request,
        answer: &answers::Answer,
    ) -> Result<Verdict, Abstention> {
        // SAFETY: `Answer` is a transparent wrapper.
        let answer = unsafe { &*std::ptr::from_ref(answer).cast::<Answer>() };
        self.policy()
            .judge(ctx, wrap_request(request), answer)
            .map_err(abstention)
    }
}

impl<P: Rollback> Slot<P> {
    /// Decision point `rollback`.
    pub fn assess(
        &self,
        ctx: &Context,
        rollout: &rollouts::Rollout,
    ) -> Result<Assessment, Abstention> {
        // SAFETY: `Rollout` is a transparent wrapper.
        let rollout = unsafe { &*std::ptr::from_ref(rollout).cast::<Rollout>() };
        self.policy().assess(ctx, rollout).map_err(abstention)
    }
}

fn wrap_request(request: &requests::Request) -> &Request {
    // SAFETY: `Request` is a transparent wrapper.
    unsafe { &*std::ptr::from_ref(request).cast::<Request>() }
}

fn abstention(abstain: Abstain) -> Abstention {
    Abstention {
        reason: abstain.reason,
    }
}
