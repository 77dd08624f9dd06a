//! A chat backend that never loses an answer. The rooms, in the order in which they depend on each other.

pub mod access;
pub mod boot;
pub mod cli;
pub mod config;
pub mod domain;
pub mod http;
pub mod store;
pub mod tasks;
pub mod telemetry;
pub mod turn;
pub mod upstream;
