//! What tests need around the server: real services of their own.

pub mod redis_server;
