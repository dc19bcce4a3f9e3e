//! A fallback policy that turns the route's order around: the last model is
//! called first.
//!
//! In the demo it takes the place of `layered-fallback` in a file while traffic
//! flows; who answers then shows that it decides. Takes no settings, so that
//! it fits wherever the other one ran on its defaults.

use backstop_sdk::{
    Abstain, Context, Fallback, NoSettings, Plan, Policy, Problems, Request, export,
};

/// The policy.
#[derive(Debug)]
pub struct BackupFirst;

impl Policy for BackupFirst {
    type Settings = NoSettings;

    fn configure(_: NoSettings) -> Result<Self, Problems> {
        Ok(BackupFirst)
    }
}

impl Fallback for BackupFirst {
    fn decide(&self, _: &Context, request: &Request) -> Result<Plan, Abstain> {
        let candidates = request.candidates().into_iter().rev();
        let plan = candidates.fold(Plan::new(), |plan, candidate| {
            plan.call(candidate.model, "the last of the route first")
        });
        Ok(match request.rules().into_iter().next() {
            Some(rules) => plan.or_rules(rules, "no model answered"),
            None => plan,
        })
    }
}

export!(BackupFirst: fallback);

#[cfg(test)]
mod tests {
    use super::*;
    use backstop_sdk::testing::{Bench, json, outline, request};

    #[test]
    fn the_last_model_is_called_first() {
        let request = request("chat").model("big").model("small").rules("sorry");
        let plan = Bench::<BackupFirst>::new(json!({}))
            .unwrap()
            .decide(request)
            .unwrap();
        assert_eq!(outline(&plan), "small, big, rules(sorry)");
    }
}
