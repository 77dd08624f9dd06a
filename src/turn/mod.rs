//! Turns: begin one, read one, stop one. Callers ask here, and nothing in here knows of HTTP.

mod admit;
mod adopt;
mod ask;
pub mod cancel;
mod claims;
pub mod compaction;
mod engine;
mod finish;
mod give_up;
mod hub;
pub mod leave;
mod log;
pub mod prompt;
mod queue;
pub mod reader;
mod remains;
mod run;
pub mod scratch;
mod wakeups;

pub use self::ask::{Accepted, Ask, OnBusy, Refused};
pub use self::engine::{TurnLimits, Turns};
