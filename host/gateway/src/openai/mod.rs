//! OpenAI's wire format: the only code that knows its JSON.
//!
//! Everything is a minimal view: what the gateway does not need is neither
//! modelled nor touched, so fields that are invented tomorrow pass today.
//!
//! - [`chat`]: the request, and how its body is changed in place;
//! - [`completion`]: answers and stream chunks as they are read;
//! - [`sse`]: finds the events of a stream without copying it;
//! - [`confidence`]: from token log-probabilities to one number;
//! - [`error`]: the error envelope, complete and in band;
//! - [`rules`]: rules answers in the shape of a model's.

pub mod chat;
pub mod completion;
pub mod confidence;
pub mod error;
pub mod restart;
pub mod rules;
pub mod sse;

pub use chat::{ChatLayout, ChatRequest, ChatRequestError};
pub use error::ApiError;
