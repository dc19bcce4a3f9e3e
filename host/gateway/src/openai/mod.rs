//! OpenAI's wire format: the only code that knows its JSON.
//!
//! Everything is a minimal view: what the gateway does not need is neither
//! modelled nor touched, so fields that are invented tomorrow pass today.
//!
//! - [`api`]: the operations, and where they are;
//! - [`request`]: the request, and how its body is changed in place;
//! - [`completion`], [`embeddings`], [`responses`]: answers and the events of
//!   streams as they are read;
//! - [`sse`]: finds the events of a stream without copying it;
//! - [`confidence`]: from token log-probabilities to one number;
//! - [`constant`]: one id, time and model for all chunks of a stream;
//! - [`restart`]: two answers in one stream;
//! - [`error`]: the error envelope, complete and in band;
//! - [`rules`]: rules answers in the shape of a model's.

pub mod api;
pub mod completion;
pub mod confidence;
pub mod constant;
pub mod embeddings;
pub mod error;
pub mod request;
pub mod responses;
pub mod restart;
pub mod rules;
pub mod sse;

pub use api::Api;
pub use error::ApiError;
pub use request::{OpenAiRequest, RequestError, RequestLayout};
