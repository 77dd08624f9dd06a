//! The SDK door: what an OpenAI client finds below `/v1`.

pub mod answer;
pub mod caller;
pub mod completions;
pub mod conversations;
pub mod error;
pub mod fields;
pub mod items;
pub mod models;
pub mod page;
pub mod pass;
pub mod responses;
pub mod schemas;
pub mod tokenizer;
pub mod upload;
