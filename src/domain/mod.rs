//! The words of this server and the rules that need no I/O: ids, time, items, events, the window.
//!
//! Nothing here reads a clock, a socket or a file; whatever varies is a parameter, so that each rule is a pure function.

pub mod carried;
pub mod clock;
pub mod compaction;
pub mod conversation;
pub mod delta;
pub mod dialogue;
pub mod event;
pub mod hex;
pub mod ids;
pub mod item;
pub mod item_json;
pub mod json;
pub mod message;
pub mod model;
pub mod output;
pub mod provider;
pub mod question;
pub mod rate;
pub mod reply;
pub mod summary;
pub mod tokens;
pub mod tools;
pub mod turn;
pub mod window;
