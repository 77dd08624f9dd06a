//! Arguments, settings, log: then the server.

use std::io::Write as _;
use std::path::Path;
use std::process::ExitCode;

use openai_backend::cli::{self, Action};
use openai_backend::config::{Config, Given};
use openai_backend::{probe, telemetry};

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err((code, sentence)) => {
            // Where stderr is gone, the exit code still says it.
            let _ = writeln!(std::io::stderr(), "{}", sentence.trim_end());
            ExitCode::from(code)
        }
    }
}

fn run() -> Result<(), (u8, String)> {
    let arguments = cli::parse(std::env::args_os()).map_err(|usage| (2, usage))?;
    if let Action::Print(text) = &arguments.action {
        return std::io::stdout().write_all(text.as_bytes()).map_err(|error| (1, error.to_string()));
    }
    let environment = std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value)));
    let environment = environment.map(|(name, value)| (name, value.to_string_lossy().into_owned()));
    let given = Given::gather(arguments.flags, environment, Path::new(".env"));
    let config = given.and_then(|given| Config::new(&given)).map_err(|error| (1, error.to_string()))?;
    if arguments.action == Action::Health {
        return probe::is_alive(config.address()).map_err(|error| (1, error.to_string()));
    }
    telemetry::init(&config.log).map_err(|error| (1, error.to_string()))?;
    std::io::stdout().write_all(config.summary().as_bytes()).map_err(|error| (1, error.to_string()))
}
