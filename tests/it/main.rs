//! All integration tests, in one binary; the folders mirror the routes and the promises.

#![allow(
    missing_docs,
    unreachable_pub,
    clippy::unwrap_used,
    reason = "nothing links to tests, and they fail by panicking"
)]

mod chat;
mod door;
mod faults;
mod openapi;
mod process;
mod store;
mod support;
mod tidy;
mod upstream;
mod v1;
