//! A whole policy: the models with few errors, in the route's order.

#![expect(missing_docs, reason = "see the tutorial")]

use backstop_sdk::{metrics, metrics::Subject, *};

#[settings]
pub struct FewErrors {
    /// Error rate of the last minute above which a model is left out.
    #[setting(default = 0.2, min = 0.0, max = 1.0)]
    max_error_rate: f64,
}

impl Policy for FewErrors {
    type Settings = Self;
    fn wants() -> Vec<Want> {
        vec![Want::metrics(metrics::ERROR_RATE)]
    }
    fn configure(settings: Self) -> Result<Self, Problems> {
        Ok(settings)
    }
}

impl Fallback for FewErrors {
    fn decide(&self, _: &Context, request: &Request) -> Result<Plan, Abstain> {
        let mut plan = Plan::new();
        for model in request.candidates().into_iter().filter(Candidate::usable) {
            let errors = metrics::rate(metrics::ERROR_RATE, Subject::Model(&model.model), 60)?;
            if !errors.above(self.max_error_rate) {
                plan = plan.call(model.model, "up, and few errors");
            }
        }
        Ok(plan.or_refuse(503, "please try again soon", "no model left"))
    }
}

export!(FewErrors: fallback);
