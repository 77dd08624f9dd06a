//! The fake seen from the other end of a bare socket.

mod assistant;
mod client;
mod connections;
mod ends;
mod routes;
mod streams;
