//! HTTP: routes, cookies, bodies, streams and errors. Handlers ask `turn` and shape what it answers.

pub mod body;
pub mod chat;
pub mod error;
pub mod fault;
pub mod guard;
pub mod health;
pub mod openapi;
pub mod router;
pub mod session;
pub mod sse;
pub mod unread;
pub mod v1;
