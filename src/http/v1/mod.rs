//! The SDK door: what an OpenAI client finds below `/v1`.

pub mod completions;
pub mod error;
pub mod key;
pub mod models;
pub mod pass;
pub mod upload;
