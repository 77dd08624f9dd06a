//! HTTP: from a connection to a handler and back. Handlers ask `turn` and shape what it answers.

pub mod access_log;
pub mod app;
pub mod body;
pub mod body_limits;
pub mod chat;
pub mod digits;
pub mod error;
pub mod fault;
pub mod feed;
pub mod guard;
pub mod leftover_body;
pub mod ops;
pub mod places;
pub mod query;
pub mod rate_limit;
pub mod router;
pub mod same_site;
pub mod server;
pub mod site;
pub mod sse;
pub mod v1;
