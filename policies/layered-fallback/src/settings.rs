//! What operators write. The doc comments become the settings' schema.

use backstop_sdk::{Problems, settings};

/// Most models in a plan: one of its 16 steps is kept for its end.
pub const MODELS_MAX: usize = 15;

/// Settings of `layered-fallback`.
#[settings]
#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    /// Models in the order in which they are tried, most wanted first. Models
    /// of the route that are not named are not called; names that the route
    /// does not have are passed over. Empty, or with no name that the route
    /// has: the route's own order.
    #[setting(default, max_len = 15)]
    pub models: Vec<String>,
    /// Share of a model's calls that may fail, 0 to 1, before it counts as
    /// troubled.
    #[setting(default = 0.25, min = 0.0, max = 1.0)]
    pub error_rate_max: f64,
    /// Seconds that the error rate and the latency look back.
    #[setting(default = 60, min = 1, max = 86_400)]
    pub window_s: u32,
    /// Fewest calls in the window before a model may count as troubled.
    #[setting(default = 20, min = 1)]
    pub trials_min: u32,
    /// Milliseconds that 95 % of a model's answers may take before it counts
    /// as troubled. Left out: latency is not looked at, and not queried.
    #[setting(default, min = 1, max = 600_000)]
    pub latency_p95_ms_max: Option<u32>,
    /// What happens to a troubled model while another one is fine.
    #[setting(default = Troubled::Demote)]
    pub troubled: Troubled,
    /// When no model is fine: still try the troubled ones, least bad first,
    /// before rules and review. Off, only rules, review or a refusal are left.
    #[setting(default = true)]
    pub try_least_bad: bool,
    /// Percentage of requests for which a model whose breaker is open keeps
    /// its place. The host refuses the call at no cost until the breaker's
    /// wait is over, and then lets it pass as a trial: without such requests a
    /// breaker that only wakes up when it is asked would stay open for ever.
    /// 0 for breakers with an automatic transition.
    #[setting(default = 10, min = 0, max = 100)]
    pub knock_percent: u8,
    /// How often a call is repeated after a failure worth repeating.
    #[setting(default = 0, min = 0, max = 5)]
    pub retries: u8,
    /// Milliseconds for a whole attempt; 0 takes the route's.
    #[setting(default = 0, min = 0, max = 600_000)]
    pub timeout_ms: u32,
    /// Milliseconds until the first token, or the head of an answer that is no
    /// stream; 0 takes the route's.
    #[setting(default = 0, min = 0, max = 600_000)]
    pub first_token_ms: u32,
    /// Name of the rules that answer when no model does. Left out: the first
    /// rules of the route. Empty: no rules.
    #[setting(default, max_len = 256)]
    pub rules: Option<String>,
    /// Without rules, send to review when no model answers, if the route has a
    /// review queue.
    #[setting(default = true)]
    pub review: bool,
}

/// What happens to a troubled model while another one is fine.
#[settings]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
pub enum Troubled {
    /// It is tried after the models that are fine.
    Demote,
    /// It is not tried.
    Skip,
}

impl Settings {
    /// Looks for the mistakes that the schema cannot express.
    ///
    /// # Errors
    /// A model that is named twice or with an empty name.
    pub fn check(&self) -> Result<(), Problems> {
        let mut problems = Problems::new();
        for (index, model) in self.models.iter().enumerate() {
            let path = || ["/models/", &index.to_string()].concat();
            if model.is_empty() {
                problems.add(path(), "must be the name of a model");
            } else if self.models[..index].contains(model) {
                problems.add(
                    path(),
                    ["`", model, "` is named before: a model is tried once"].concat(),
                );
            }
        }
        problems.or(())
    }
}
