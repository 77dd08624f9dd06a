//! The door: who may come in, what is turned away and how, and what is said about it.

mod access_log;
mod bodies;
mod canaries;
mod cookies;
mod cross_site;
mod early_answers;
mod ended;
mod errors;
mod first_moments;
mod full;
mod half_closed;
mod keep_alive;
mod limits;
mod owners;
mod panics;
mod rates;
mod refusals;
mod service;
mod sessions;
mod stopping;
