//! The stores: one list of contract cases, put to each of them.
//!
//! A store joins by a file with one function that makes a [`Rig`](rig::Rig) and one line: `contract!(that_function());`

mod clock;
#[macro_use]
mod contract;
mod memory;
mod redis;
mod rig;
mod sqlite;
