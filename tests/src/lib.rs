//! The test kit: hosts with scripted sources, facts to decide on, guests.

pub mod facts;
pub mod guest;
pub mod sources;
