//! What is measured, in the order of the table.

mod history;
mod log;
mod plain;
mod readers;
mod resume;
mod sdk;
mod siblings;
mod start;
mod streams;

use crate::table::Table;
use crate::{Failure, Options};

/// The sections, each of which can be run by itself.
pub const NAMES: &[&str] = &["plain", "streams", "log", "start", "history", "sdk", "resume", "readers", "siblings"];

/// Runs those that are wanted.
pub async fn run(options: &Options, table: &mut Table) -> Result<(), Failure> {
    for name in NAMES.iter().filter(|name| options.wants(name)) {
        match *name {
            "plain" => plain::run(options, table).await?,
            "streams" => streams::run(options, table).await?,
            "log" => log::run(options, table).await?,
            "start" => start::run(options, table).await?,
            "history" => history::run(options, table).await?,
            "sdk" => sdk::run(options, table).await?,
            "resume" => resume::run(options, table).await?,
            "readers" => readers::run(options, table).await?,
            _ => siblings::run(options, table).await?,
        }
    }
    Ok(())
}
