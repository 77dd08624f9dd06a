//! A chat backend that never loses an answer. The rooms, in the order in which they depend on each other.

pub mod cli;
pub mod config;
pub mod domain;
pub mod probe;
pub mod store;
pub mod telemetry;
pub mod upstream;
