//! All integration tests, in one binary; the folders mirror the routes and the promises.

mod chat;
mod store;
mod support;
mod tidy;
mod upstream;
