//! For operators: health, and the documentation's head.

pub mod health;
pub mod openapi;
