//! What operators write. The doc comments become the settings' schema.

use backstop_sdk::{Problems, Severity as Contract, metrics, settings};

/// Settings of `canary-rollback`.
#[settings]
#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    /// What the candidate is compared with the stable release on. All of them
    /// must be shown to be better or equivalent before it advances; one that is
    /// worse takes it back. Leave out `confidence` for models that give none.
    #[setting(default = Guardrail::ALL.to_vec(), min_len = 1, max_len = 3)]
    pub guardrails: Vec<Guardrail>,
    /// Fewest samples on each side before a comparison counts.
    #[setting(default = 200, min = 2)]
    pub samples_min: u32,
    /// Chance that a candidate that is no worse is taken back by a comparison
    /// all the same, over the whole rollout however often it is assessed.
    /// Shared out evenly among the guardrails.
    #[setting(default = 0.05, above = 0.0, max = 0.5)]
    pub alpha: f64,
    /// Smallest difference of the error rate that matters: 0.01 is one more
    /// failure in a hundred calls.
    #[setting(default = 0.01, min = 0.0, max = 1.0)]
    pub error_rate_margin: f64,
    /// Smallest difference of the mean latency that matters, in milliseconds.
    #[setting(default = 100.0, min = 0.0, max = 600_000.0)]
    pub latency_ms_margin: f64,
    /// Smallest difference of the mean confidence that matters.
    #[setting(default = 0.02, min = 0.0, max = 1.0)]
    pub confidence_margin: f64,
    /// Error rate of the candidate, 0 to 1, above which it is taken back
    /// whatever the stable release does. Left out: no such limit.
    #[setting(default, min = 0.0, max = 1.0)]
    pub error_rate_max: Option<f64>,
    /// Milliseconds that 95 % of the candidate's answers may take before it is
    /// taken back whatever the stable release does. Left out: no such limit.
    #[setting(default, min = 1, max = 600_000)]
    pub latency_p95_ms_max: Option<u32>,
    /// Mean confidence of the candidate, 0 to 1, below which it is taken back
    /// whatever the stable release does. Left out: no such limit.
    #[setting(default, min = 0.0, max = 1.0)]
    pub confidence_min: Option<f64>,
    /// Fewest samples of the candidate before a hard limit counts.
    #[setting(default = 20, min = 1)]
    pub limit_samples_min: u32,
    /// Seconds that comparisons and limits look back at most; never further
    /// than to the rollout's beginning.
    #[setting(default = 3_600, min = 1, max = 86_400)]
    pub window_s: u32,
    /// Seconds that the candidate stays at a share before it advances. The
    /// host keeps the rollout's own dwell in any case; 0 asks for no more.
    #[setting(default = 0, min = 0, max = 604_800)]
    pub dwell_s: u32,
    /// Seconds at one share after which a rollout that is still undecided is
    /// paused for a person to look at.
    #[setting(default = 86_400, min = 1, max = 2_592_000)]
    pub duration_max_s: u32,
    /// Open an incident with the numbers when the candidate is taken back.
    #[setting(default = true)]
    pub incident: bool,
    /// How bad that incident is.
    #[setting(default = Severity::Error)]
    pub severity: Severity,
}

/// What the candidate is compared on.
#[settings]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
pub enum Guardrail {
    /// Share of failed calls; low is good.
    ErrorRate,
    /// Mean latency of complete answers; low is good.
    LatencyMs,
    /// Mean confidence; high is good.
    Confidence,
}

/// How bad an incident is, in the words of PagerDuty.
#[settings]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
pub enum Severity {
    /// Users are harmed now.
    Critical,
    /// A part of the service fails its users.
    Error,
    /// Something degrades; safeguards hold.
    Warning,
    /// Worth knowing.
    Info,
}

impl Guardrail {
    /// All of them.
    pub const ALL: [Guardrail; 3] = [
        Guardrail::ErrorRate,
        Guardrail::LatencyMs,
        Guardrail::Confidence,
    ];

    /// The metric's name in the contract.
    pub fn metric(self) -> &'static str {
        match self {
            Guardrail::ErrorRate => metrics::ERROR_RATE,
            Guardrail::LatencyMs => metrics::LATENCY_MS,
            Guardrail::Confidence => metrics::CONFIDENCE,
        }
    }
}

impl From<Severity> for Contract {
    fn from(severity: Severity) -> Self {
        match severity {
            Severity::Critical => Contract::Critical,
            Severity::Error => Contract::Error,
            Severity::Warning => Contract::Warning,
            Severity::Info => Contract::Info,
        }
    }
}

impl Settings {
    /// Looks for the mistakes that the schema cannot express.
    ///
    /// # Errors
    /// A guardrail that is named twice, a dwell that no rollout would reach.
    pub fn check(&self) -> Result<(), Problems> {
        let mut problems = Problems::new();
        for (index, guardrail) in self.guardrails.iter().enumerate() {
            if self
                .guardrails
                .iter()
                .take(index)
                .any(|other| other == guardrail)
            {
                problems.add(
                    ["/guardrails/", &index.to_string()].concat(),
                    ["`", guardrail.metric(), "` is named before"].concat(),
                );
            }
        }
        problems.require(
            self.dwell_s < self.duration_max_s,
            "/dwell_s",
            "must be less than `duration_max_s`, or every rollout pauses",
        );
        problems.or(())
    }

    /// Each guardrail's part of `alpha` (Bonferroni): several comparisons
    /// together then raise false alarms no more often than was said.
    pub(crate) fn alpha_each(&self) -> f64 {
        self.alpha / self.guardrails.len().max(1) as f64
    }

    /// The smallest difference of a guardrail's metric that matters.
    pub(crate) fn margin(&self, guardrail: Guardrail) -> f64 {
        match guardrail {
            Guardrail::ErrorRate => self.error_rate_margin,
            Guardrail::LatencyMs => self.latency_ms_margin,
            Guardrail::Confidence => self.confidence_margin,
        }
    }
}
