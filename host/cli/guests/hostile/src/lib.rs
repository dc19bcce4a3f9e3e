//! A fallback policy that misbehaves as its settings say: what a broken or
//! ill-meant upload would do.
//!
//! Its decisions misbehave for the demo's route only, so that it passes the
//! canary call of the activation (which asks for a route called `canary`) and
//! has to be stopped while it serves.

use backstop_sdk::{Abstain, Context, Fallback, Plan, Policy, Problems, Request, export, settings};

/// The misdeed to commit.
#[settings]
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// What it does wrong.
    pub misdeed: Misdeed,
    /// The route for which its decisions go wrong.
    #[setting(default)]
    pub route: String,
}

/// The ways in which it misbehaves.
#[settings]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
pub enum Misdeed {
    /// Never comes back from `configure`.
    LoopInConfigure,
    /// Never comes back from a decision.
    Loop,
    /// Panics in a decision.
    Trap,
    /// Fills its memory in a decision.
    Hoard,
}

/// The policy.
#[derive(Debug)]
pub struct Hostile(Settings);

impl Policy for Hostile {
    type Settings = Settings;

    fn configure(settings: Settings) -> Result<Self, Problems> {
        if settings.misdeed == Misdeed::LoopInConfigure {
            spin();
        }
        Ok(Hostile(settings))
    }
}

impl Fallback for Hostile {
    fn decide(&self, _: &Context, request: &Request) -> Result<Plan, Abstain> {
        if request.route() == self.0.route {
            match self.0.misdeed {
                Misdeed::Trap => panic!("hostile policy: trap"),
                Misdeed::Hoard => hoard(),
                Misdeed::Loop | Misdeed::LoopInConfigure => spin(),
            }
        }
        Err("well behaved for other routes".into())
    }
}

/// Computes for ever; the compiler must not find out that nothing comes of it.
fn spin() -> ! {
    let mut number = 0_u64;
    loop {
        number = std::hint::black_box(number).wrapping_add(1);
    }
}

/// Asks for memory until there is none.
fn hoard() -> ! {
    let mut hoard: Vec<Vec<u8>> = Vec::new();
    loop {
        hoard.push(vec![1; 1 << 16]);
        std::hint::black_box(&hoard);
    }
}

export!(Hostile: fallback);

#[cfg(test)]
mod tests {
    use super::*;
    use backstop_sdk::testing::{Bench, json, request};

    #[test]
    fn other_routes_see_nothing_of_it() {
        let settings = json!({ "misdeed": "trap", "route": "victim" });
        let mut bench = Bench::<Hostile>::new(settings).unwrap();
        assert!(bench.decide(request("canary").model("big")).is_err());
    }

    #[test]
    #[should_panic(expected = "hostile policy: trap")]
    fn it_does_what_it_was_told() {
        let settings = json!({ "misdeed": "trap", "route": "victim" });
        let mut bench = Bench::<Hostile>::new(settings).unwrap();
        let _ = bench.decide(request("victim").model("big"));
    }
}
