//! How the model's server has been doing, and whether a call may be made to it.

pub mod breaker;
pub mod tally;
