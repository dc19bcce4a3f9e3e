//! The export macro, and what it expands to.
//!
//! Everything here that is public is for the macro only.

use crate::bindings::base::exports::backstop::policy::lifecycle;
use crate::settings;
use crate::{Policy, Problem, Problems};

/// What a policy's package says about itself, and the decision points that it
/// exports; written by [`export!`](crate::export).
#[derive(Debug, Clone, Copy)]
pub struct Package {
    /// `CARGO_PKG_NAME`.
    pub name: &'static str,
    /// `CARGO_PKG_VERSION`.
    pub version: &'static str,
    /// `CARGO_PKG_DESCRIPTION`.
    pub description: &'static str,
    /// Among `fallback`, `threshold` and `rollback`.
    pub points: &'static [&'static str],
}

/// A policy that went through [`export!`](crate::export).
pub trait Exported: Policy {
    /// About the package.
    const PACKAGE: Package;
}

/// Answers `describe`.
pub fn describe<P: Exported>() -> lifecycle::Description {
    // Not `str::replace`, which brings a string searcher along.
    let dashes = |byte| char::from(if byte == b'_' { b'-' } else { byte });
    let name = match P::NAME {
        Some(name) => name.to_owned(),
        None => P::PACKAGE.name.bytes().map(dashes).collect(),
    };
    lifecycle::Description {
        name,
        version: P::VERSION.unwrap_or(P::PACKAGE.version).to_owned(),
        summary: P::SUMMARY.unwrap_or(P::PACKAGE.description).to_owned(),
        settings_schema: settings::schema_text::<P::Settings>(),
        wants: P::wants(),
    }
}

/// Reads the settings and makes the policy of them.
///
/// # Errors
/// Settings that do not deserialise, or the policy's own problems.
pub fn configure<P: Policy>(text: &str) -> Result<P, Problems> {
    let settings = crate::json::from_str(text)
        .map_err(|(path, message)| Problems::from(Problem { path, message }))?;
    P::configure(settings)
}

/// Exports a policy at the decision points that it decides at.
///
/// Written once, at the top level of the policy's crate:
/// `export!(MyPolicy: fallback)` or `export!(MyPolicy: fallback, threshold)`.
/// The type must implement [`Policy`](crate::Policy) and the trait of each
/// point that is named. Off wasm32 nothing is exported, so that a policy's
/// crate can be tested natively and linked next to other policies.
#[macro_export]
macro_rules! export {
    ($policy:ident : $($point:ident),+ $(,)?) => {
        impl $crate::__private::Exported for $policy {
            const PACKAGE: $crate::__private::Package = $crate::__private::Package {
                name: ::core::env!("CARGO_PKG_NAME"),
                version: ::core::env!("CARGO_PKG_VERSION"),
                description: ::core::env!("CARGO_PKG_DESCRIPTION"),
                points: &[$(::core::stringify!($point)),+],
            };
        }

        #[cfg(not(target_arch = "wasm32"))]
        const _: () = {
            $($crate::__export_point!(check $policy $point);)+
        };

        #[cfg(target_arch = "wasm32")]
        const _: () = {
            struct Component;

            static POLICY: $crate::__private::Slot<$policy> = $crate::__private::Slot::new();

            impl $crate::__private::lifecycle::Guest for Component {
                fn describe() -> $crate::__private::lifecycle::Description {
                    $crate::__private::describe::<$policy>()
                }

                fn configure(
                    settings: ::std::string::String,
                ) -> ::core::result::Result<(), ::std::vec::Vec<$crate::__private::lifecycle::Problem>> {
                    POLICY.configure(&settings)
                }
            }

            $crate::__private::bindings::base::__export_base!(
                Component with_types_in $crate::__private::bindings::base
            );

            $($crate::__export_point!(export $policy $point);)+
        };
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __export_point {
    (check $policy:ident fallback) => {
        const fn _fallback<P: $crate::Fallback>() {}
        _fallback::<$policy>();
    };
    (check $policy:ident threshold) => {
        const fn _threshold<P: $crate::Threshold>() {}
        _threshold::<$policy>();
    };
    (check $policy:ident rollback) => {
        const fn _rollback<P: $crate::Rollback>() {}
        _rollback::<$policy>();
    };
    (export $policy:ident fallback) => {
        impl $crate::__private::fallback::Guest for Component {
            fn decide(
                ctx: $crate::Context,
                request: &$crate::__private::RawRequest,
            ) -> ::core::result::Result<$crate::Plan, $crate::__private::Abstention> {
                POLICY.decide(&ctx, request)
            }
        }
        $crate::__private::bindings::fallback::__export_fallback!(
            Component with_types_in $crate::__private::bindings::fallback
        );
    };
    (export $policy:ident threshold) => {
        impl $crate::__private::threshold::Guest for Component {
            fn judge(
                ctx: $crate::Context,
                request: &$crate::__private::RawRequest,
                answer: &$crate::__private::RawAnswer,
            ) -> ::core::result::Result<$crate::Verdict, $crate::__private::Abstention> {
                POLICY.judge(&ctx, request, answer)
            }
        }
        $crate::__private::bindings::threshold::__export_threshold!(
            Component with_types_in $crate::__private::bindings::threshold
        );
    };
    (export $policy:ident rollback) => {
        impl $crate::__private::rollback::Guest for Component {
            fn assess(
                ctx: $crate::Context,
                rollout: &$crate::__private::RawRollout,
            ) -> ::core::result::Result<$crate::Assessment, $crate::__private::Abstention> {
                POLICY.assess(&ctx, rollout)
            }
        }
        $crate::__private::bindings::rollback::__export_rollback!(
            Component with_types_in $crate::__private::bindings::rollback
        );
    };
    ($mode:ident $policy:ident $other:ident) => {
        ::core::compile_error!(::core::concat!(
            "unknown decision point `",
            ::core::stringify!($other),
            "`: there are fallback, threshold and rollback"
        ));
    };
}
