//! From a policy's crate to a WebAssembly component.
//!
//! A policy is an ordinary Rust library that uses `backstop-sdk`. This crate
//! runs cargo on it for `wasm32-unknown-unknown` with the settings that make
//! a small, quick component, turns the module into a component, and says what
//! came out: size, digest, imports, exports and initial memory.
//!
//! - `backstop policy build` calls [`build_policy`] with
//!   [`Progress::Passed`].
//! - Build scripts that embed policies call [`build_script::policies`].
//! - `backstop policy new` calls [`new_policy`].
//! - [`inspect`] describes any component.
//!
//! ```no_run
//! let options = backstop_build::Options::new("target/policies");
//! let built = backstop_build::build_policy("policies/my-policy".as_ref(), &options)?;
//! println!("{} bytes, {}", built.component.len(), built.inspection.digest);
//! # Ok::<(), backstop_build::BuildError>(())
//! ```
//!
//! The nested cargo works in a target directory of its own, so that it may run
//! while an outer cargo holds the lock on the usual one, and sees none of the
//! environment that would change what it produces.

pub mod build_script;
mod cargo;
mod component;
mod scaffold;
mod toolchain;

pub use cargo::{BuildError, Built, Options, Progress, build_policies, build_policy};
pub use component::{ComponentError, Inspection, inspect, into_component};
pub use scaffold::{NewPolicyError, SdkDependency, new_policy};
pub use toolchain::ToolchainError;

/// The target that policies are built for: no operating system, so that a
/// policy imports what the contract offers and nothing else.
pub const TARGET: &str = "wasm32-unknown-unknown";
