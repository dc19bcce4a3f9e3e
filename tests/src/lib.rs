//! The test kit: hosts with scripted sources, facts to decide on, guests, whole
//! gateways with providers and callers around them.

pub mod caller;
pub mod debian;
pub mod facts;
pub mod faulty;
pub mod gateway;
pub mod guest;
pub mod packages;
pub mod sources;
pub mod upstream;
