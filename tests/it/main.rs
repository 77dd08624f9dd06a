//! All integration tests, in one binary; the folders mirror the routes and the promises.

#![allow(
    unreachable_pub,
    clippy::print_stderr,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "nothing links to tests, they fail by panicking, and what they print is shown when they do"
)]
#![expect(clippy::disallowed_methods, reason = "a test spawns its own clients and servers, and waits for them")]

mod chat;
mod clients;
mod door;
mod faults;
mod log;
mod openapi;
mod process;
mod proxies;
mod real_model;
mod schemathesis;
mod simulation;
mod store;
mod support;
mod tidy;
mod torture;
mod turn;
mod upstream;
mod v1;
