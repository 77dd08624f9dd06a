//! A chat backend that never loses an answer. The program calls [`run`]; tests and benches see the modules, too.

// The build for tests decides what may be `pub`. Without its feature the modules are private, and so is all that they hold.
#![cfg_attr(not(feature = "testing"), allow(unreachable_pub, reason = "the modules are private"))]

#[cfg(feature = "testing")]
pub mod access;
#[cfg(not(feature = "testing"))]
mod access;
#[cfg(feature = "testing")]
pub mod boot;
#[cfg(not(feature = "testing"))]
mod boot;
#[cfg(feature = "testing")]
pub mod chain;
#[cfg(not(feature = "testing"))]
mod chain;
#[cfg(feature = "testing")]
pub mod cli;
#[cfg(not(feature = "testing"))]
mod cli;
#[cfg(feature = "testing")]
pub mod config;
#[cfg(not(feature = "testing"))]
mod config;
#[cfg(feature = "testing")]
pub mod domain;
#[cfg(not(feature = "testing"))]
mod domain;
#[cfg(feature = "testing")]
pub mod http;
#[cfg(not(feature = "testing"))]
mod http;
#[cfg(feature = "testing")]
pub mod metering;
#[cfg(not(feature = "testing"))]
mod metering;
#[cfg(feature = "testing")]
pub mod store;
#[cfg(not(feature = "testing"))]
mod store;
#[cfg(feature = "testing")]
pub mod tasks;
#[cfg(not(feature = "testing"))]
mod tasks;
#[cfg(feature = "testing")]
pub mod telemetry;
#[cfg(not(feature = "testing"))]
mod telemetry;
#[cfg(feature = "testing")]
pub mod turn;
#[cfg(not(feature = "testing"))]
mod turn;
#[cfg(feature = "testing")]
pub mod upstream;
#[cfg(not(feature = "testing"))]
mod upstream;

pub use boot::run;
