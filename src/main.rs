//! Arguments, settings, log: then the server.

use std::io::Write as _;
use std::path::Path;
use std::process::ExitCode;

use openai_backend::cli::probe;
use openai_backend::cli::{self, Action};
use openai_backend::config::{Config, Given};
use openai_backend::http::server;
use openai_backend::{boot, telemetry};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

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
        return say(text).map_err(failure);
    }
    let environment = std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value)));
    let environment = environment.map(|(name, value)| (name, value.to_string_lossy().into_owned()));
    let given = Given::gather(arguments.flags, environment, Path::new(".env"));
    let config = given.and_then(|given| Config::new(&given)).map_err(failure)?;
    if arguments.action == Action::Health {
        return probe::is_alive(config.address()).map_err(failure);
    }
    telemetry::init(&config.log).map_err(failure)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(failure)?;
    match arguments.action {
        Action::Check => {
            runtime.block_on(boot::check(&config)).map_err(failure).and_then(|found| say(&found).map_err(failure))
        }
        Action::Keys(command) => {
            let said = runtime.block_on(boot::keys(&config, &command)).map_err(failure)?;
            let _ = write!(std::io::stderr(), "{}", said.note);
            say(&said.out).map_err(failure)
        }
        _ => runtime.block_on(serve(&config)).map_err(failure),
    }
}

async fn serve(config: &Config) -> Result<(), String> {
    let listener = server::listen(config).await?;
    let shutdown = server::stop_signal()?;
    let parts = boot::parts(config).await?;
    let port = listener.local_addr().map_err(|error| error.to_string())?.port();
    say(&boot::banner(config, &parts, port).await).map_err(|error| error.to_string())?;
    server::run(config, parts, listener, shutdown).await
}

fn say(text: &str) -> std::io::Result<()> {
    let mut out = std::io::stdout();
    out.write_all(text.as_bytes())?;
    out.flush()
}

fn failure(error: impl std::fmt::Display) -> (u8, String) {
    (1, error.to_string())
}
