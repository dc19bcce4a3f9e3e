//! An AI gateway whose decisions are made by Backstop policies.
//!
//! In the order in which a gateway comes to be and a request passes through:
//!
//! - [`config`]: one TOML file, resolved completely or refused with every
//!   mistake;
//! - [`gateway`]: the running state, built whole from a configuration and
//!   swapped by one pointer;
//! - [`server`]: listeners, connections, graceful shutdown;
//! - `http`: the data plane's paths; `execute`: from a request through its
//!   plan to an answer;
//! - [`plant`], [`release`], [`upstream`], [`openai`]: what a plan is executed
//!   on;
//! - [`evidence`], `feedback`, [`rollouts`], [`store`]: what is learnt, moved
//!   and kept;
//! - `callback`, [`outbox`]: who is told of it;
//! - [`admin`], [`reload`], [`telemetry`], [`trail`],
//!   [`spans`]: what operators see and do.
//!
//! The shortest way to a running gateway:
//!
//! ```no_run
//! use backstop_gateway::gateway::{Gateway, GatewayParts};
//! use backstop_gateway::server::Server;
//!
//! async fn serve(
//!     config: backstop_gateway::config::Config,
//!     parts: GatewayParts,
//! ) -> Result<(), Box<dyn std::error::Error>> {
//!     let listener = tokio::net::TcpListener::bind(config.server.listen).await?;
//!     let gateway = Gateway::start(config, parts).await?;
//!     let ctrl_c = async {
//!         tokio::signal::ctrl_c().await.ok();
//!     };
//!     Server::new(gateway, listener).run(ctrl_c).await;
//!     Ok(())
//! }
//! ```

pub mod admin;
pub mod baselines;
mod callback;
pub mod caller;
mod chain;
pub mod clock;
pub mod components;
pub mod config;
pub mod evidence;
mod execute;
#[cfg(test)]
mod faults;
mod features;
mod feedback;
mod gate;
pub mod gateway;
mod health;
mod http;
mod infrastructure;
pub mod launch;
pub mod objectives;
pub mod openai;
pub mod outbox;
mod outgoing;
pub mod plant;
mod refusal;
pub mod release;
pub mod reload;
pub mod rollouts;
pub mod server;
pub mod spans;
pub mod store;
mod targets;
pub mod telemetry;
pub mod trail;
pub mod upstream;
