//! Everything that crosses crates, in one binary.
//!
//! - [`apis`]: the official `openai` packages and routes of every kind;
//! - [`author`]: from nothing to a policy that decides, and to its next build;
//! - [`faults`]: what callers see when providers fail;
//! - [`budget`]: what a policy's own model calls may cost;
//! - [`clients`]: the same packages while providers fail;
//! - [`contract`]: the WIT, its frozen copies and its reference page;
//! - [`components`]: files that are refused, each with its own words;
//! - [`hostile`]: guests that misbehave, and what becomes of them;
//! - [`oracles`]: what the statistics of the core are held against;
//! - [`prometheus`]: a real one scrapes the gateway, and is asked by it;
//! - [`revisions`]: activation, going back, returning by itself, replay;
//! - [`webhooks`]: signatures of callbacks, verified by others.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod apis;
mod author;
mod budget;
mod clients;
mod components;
mod contract;
mod faults;
mod hostile;
mod oracles;
mod prometheus;
mod revisions;
mod webhooks;
