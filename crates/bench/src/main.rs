//! Measures the server beside a bare proxy, in one run, and prints one table: `just bench`.
//!
//! Everything is a process of its own on loopback: the fake upstream, the proxy, the server on SQLite and on Redis, and
//! this harness, which is the clients. All counts and times are bounded, every answer is checked, and the processes that
//! were started end with the run. `bench [--quick] [--before PROGRAM] [SECTION]...` runs only the named
//! sections; with another version's `openai-backend` as PROGRAM, what the proxy is measured beside is shown for it, too.
//!
//! A tour: `process` starts and reads processes, `client` speaks HTTP, `answer` knows right from wrong, `load` is many
//! users, `rig` puts the systems side by side, `sections` are what is measured, and `table` shows it.

mod answer;
mod client;
mod load;
mod process;
mod rig;
mod sections;
mod table;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use crate::table::Table;

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// What a run was asked to be.
pub struct Options {
    /// How long each load lasts.
    pub time: Duration,
    /// What a count of repetitions is divided by.
    pub shorter: usize,
    /// Another version of the server, to be measured beside this one.
    pub before: Option<PathBuf>,
    only: Vec<String>,
}

impl Options {
    fn read() -> Result<Self, Failure> {
        let mut options = Self { time: Duration::from_secs(4), shorter: 1, before: None, only: Vec::new() };
        let mut arguments = std::env::args().skip(1);
        while let Some(argument) = arguments.next() {
            match argument.as_str() {
                "--before" => options.before = Some(arguments.next().ok_or("--before needs a program")?.into()),
                "--quick" => (options.time, options.shorter) = (Duration::from_secs(1), 5),
                // What cargo adds to every benchmark.
                "--bench" => {}
                name if sections::NAMES.contains(&name) => options.only.push(name.to_owned()),
                other => {
                    return Err(format!("{other} is none of --quick, --before, {}", sections::NAMES.join(", ")).into());
                }
            }
        }
        Ok(options)
    }

    /// Whether a section was asked for.
    pub fn wants(&self, section: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|name| name == section)
    }

    /// A count, or less in a quick run.
    pub fn count(&self, count: usize) -> usize {
        (count / self.shorter).max(1)
    }
}

/// Resolves at Ctrl-C or SIGTERM: leaving by the front door ends the processes that were started.
async fn stopped() {
    use tokio::signal::unix::{SignalKind, signal};
    match signal(SignalKind::terminate()) {
        Ok(mut terminate) => {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = tokio::signal::ctrl_c() => {}
            }
        }
        // Without it the run still ends by itself.
        Err(_) => std::future::pending().await,
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let began = Instant::now();
    let mut table = Table::default();
    let done = match Options::read() {
        Ok(options) => tokio::select! {
            done = sections::run(&options, &mut table) => done,
            () = stopped() => Err("stopped".into()),
        },
        Err(failure) => Err(failure),
    };
    table.print();
    match done {
        Ok(()) => {
            println!("\n{} s in all", began.elapsed().as_secs());
            ExitCode::SUCCESS
        }
        Err(failure) => {
            eprintln!("bench: {failure}");
            ExitCode::FAILURE
        }
    }
}
