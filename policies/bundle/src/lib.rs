//! The policies that ship with Backstop, compiled and embedded: what a
//! configuration calls `builtin:NAME`.
//!
//! The build script turns the crates beside this one into components; this
//! file only lists them. A component in here is an ordinary one: it is granted
//! nothing by itself and goes through the same activation as a file does.
//!
//! ```
//! let policy = backstop_policies::builtin("layered-fallback").unwrap();
//! assert!(policy.component.starts_with(b"\0asm"));
//! assert!(backstop_policies::builtin("no-such-policy").is_none());
//! ```

/// A shipped policy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Builtin {
    /// Its name, which it also tells a host: what follows `builtin:`.
    pub name: &'static str,
    /// One line for a list; the same that the policy tells a host.
    pub summary: &'static str,
    /// The component.
    pub component: &'static [u8],
}

/// All shipped policies, by name.
pub const BUILTINS: &[Builtin] = &[
    Builtin {
        name: "adaptive-threshold",
        summary: "Accepts by confidence against a line that rises with evidence and never falls \
                  below the calibrated one",
        component: include_bytes!(concat!(env!("OUT_DIR"), "/adaptive-threshold.wasm")),
    },
    Builtin {
        name: "canary-rollback",
        summary: "Compares a candidate release with the stable one: rolls it back when it is \
                  worse, advances it when it is shown not to be",
        component: include_bytes!(concat!(env!("OUT_DIR"), "/canary-rollback.wasm")),
    },
    Builtin {
        name: "confidence-threshold",
        summary: "Accepts, escalates or sends to review by confidence, with lines per label, and \
                  stricter when quality drops",
        component: include_bytes!(concat!(env!("OUT_DIR"), "/confidence-threshold.wasm")),
    },
    Builtin {
        name: "drift-guard",
        summary: "Turns drift, and figures past their limits, into escalation, a share of answers \
                  to review, or an incident",
        component: include_bytes!(concat!(env!("OUT_DIR"), "/drift-guard.wasm")),
    },
    Builtin {
        name: "layered-fallback",
        summary: "Primary, backup, rules, review: leaves out models that are down and moves those \
                  that fail too often behind the others",
        component: include_bytes!(concat!(env!("OUT_DIR"), "/layered-fallback.wasm")),
    },
];

/// The shipped policy of this name.
pub fn builtin(name: &str) -> Option<&'static Builtin> {
    BUILTINS.iter().find(|builtin| builtin.name == name)
}

/// The component of the shipped policy of this name.
pub fn component(name: &str) -> Option<&'static [u8]> {
    builtin(name).map(|builtin| builtin.component)
}
