//! What a response goes on from: nothing, a conversation, or the response before it.
//!
//! A chain of responses is a hidden conversation to which each response adds. Where a response goes on from one that has a
//! successor already, the chain branches: what was said up to there is copied into a hidden conversation of its own.

pub mod backing;
pub mod begin;
pub mod calls;
mod error;
pub mod history;
pub mod references;
pub mod start;

pub use self::error::ChainError;
