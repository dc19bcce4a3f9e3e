//! The pure logic of Backstop.
//!
//! This crate holds the vocabulary that the host, the gateway and the records
//! share, and the state machines behind them. Nothing in here reads a clock, a
//! socket, a file or a source of randomness, and nothing is asynchronous or
//! knows WebAssembly: time and randomness are parameters. What is decided in
//! here can therefore be tested to the last bit and replayed.
//!
//! In reading order:
//!
//! - [`fault`]: the one class that every failed attempt belongs to;
//! - [`input`]: what a policy is told (request, answer, rollout);
//! - [`plan`], [`verdict`], [`rollout`]: what a policy may return, and the
//!   checks that it passes before it is applied; with the latter the state
//!   machine that a directive moves;
//! - [`metric`]: the vocabulary of evidence;
//! - [`split`], [`breaker`]: which release serves a caller, and whether it may;
//! - [`limit`]: how many calls of a release may be under way, and who is next;
//! - [`budget`]: how many calls beyond the first are allowed;
//! - [`plan_run`]: a plan's execution: retries, backoff, deadline, races;
//! - [`evidence`]: the store behind metric queries, on [`window`], [`sketch`]
//!   and [`stats`];
//! - [`calibrate`]: from labelled history to a threshold with a guarantee;
//! - [`slo`]: objectives, and alerts on how fast their error budget is spent.

pub mod breaker;
pub mod budget;
pub mod calibrate;
pub mod evidence;
pub mod fault;
pub mod feature;
pub mod input;
pub mod limit;
pub mod metric;
pub mod plan;
pub mod plan_run;
pub mod rollout;
pub mod sketch;
pub mod slo;
pub mod split;
pub mod stats;
pub mod text;
pub mod verdict;
pub mod window;
