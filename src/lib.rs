//! A chat backend that never loses an answer. The rooms, in the order in which they depend on each other.

pub mod domain;
pub mod store;
pub mod tasks;
pub mod turn;
pub mod upstream;
