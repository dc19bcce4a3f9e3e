//! The data plane on real sockets: fallback, streams, requests that are wrong,
//! policies, rollouts, shutdown.

mod fallback;
mod kit;
mod requests;
mod shutdown;
mod streams;
