//! What stands behind the public modules: on wasm32 the imports of the
//! component, elsewhere the testing kit's scripted world. Both have the shape
//! that `wit-bindgen` generates, so the rest of the crate is the same on
//! either side.

#[cfg(target_arch = "wasm32")]
pub(crate) use crate::bindings::base::backstop::policy::{
    answers, delivery, evidence, incident, log, metrics, models, requests, rollouts, state,
};

#[cfg(not(target_arch = "wasm32"))]
pub(crate) use crate::testing::world::{
    answers, delivery, evidence, incident, log, metrics, models, requests, rollouts, state,
};
