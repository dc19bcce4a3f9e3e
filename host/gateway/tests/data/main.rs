//! The data plane on real sockets: fallback, streams, requests that are wrong,
//! policies, rollouts, shutdown.

#![expect(
    clippy::unwrap_used,
    reason = "a test whose ground gives way should stop there"
)]

mod apis;
mod baselines;
mod callbacks;
mod connections;
mod fallback;
mod faulty;
mod features;
mod feedback;
mod held;
mod infer;
mod keys;
mod kit;
mod launching;
mod limits;
mod objectives;
mod passed_over;
mod policies;
mod priorities;
mod probes;
mod prometheus;
mod races;
mod refusals;
mod repeats;
mod requests;
mod reviews;
mod rollouts;
mod rollouts_stored;
mod shutdown;
mod spans;
mod streams;
mod trail;
