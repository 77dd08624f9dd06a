//! One test binary whose tree mirrors the promises and the routes.

#![allow(missing_docs, reason = "tests are read, not linked to")]

mod store;
