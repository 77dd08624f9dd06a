//! One test binary whose tree mirrors the promises and the routes.

#![allow(
    missing_docs,
    unreachable_pub,
    clippy::unwrap_used,
    reason = "nothing links to tests, and they fail by panicking"
)]

mod store;
mod support;
