//! From the arguments to a running server: settings, log, store, upstream, and the lines printed at the start. Also the
//! commands that run without serving: `--check`, `--health`, `keys`, `backup`.

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use crate::access::keys::{self, CliOutput, Key};
use crate::access::session_secret;
use crate::cli::{self, Action, probe};
use crate::config::{Config, Given, StoreConfig, UpstreamConfig};
use crate::domain::clock::steady::SteadyClock;
use crate::domain::clock::{Clock, Elapsed, SystemClock};
use crate::domain::ids::{Ids, SystemIds};
use crate::domain::model;
use crate::http::app::Parts;
use crate::http::server;
use crate::metering::Metering;
use crate::store::redis::{Redis, RedisSettings};
use crate::store::sqlite::Sqlite;
use crate::store::{Store, StoreError};
use crate::telemetry;
use crate::upstream::Upstream;
use crate::upstream::demo::Demo;
use crate::upstream::openai::OpenAi;
use crate::upstream::openai::settings::OpenAiSettings;

/// How long a call to Redis may take.
const REDIS_DEADLINE: Duration = Duration::from_secs(2);

/// The whole program. The exit code is 2 for arguments that cannot be understood, 1 for any other failure.
pub fn run() -> ExitCode {
    match dispatch() {
        Ok(()) => ExitCode::SUCCESS,
        Err((code, sentence)) => {
            // If stderr is closed, the exit code still reports the failure.
            let _ = writeln!(std::io::stderr(), "{}", sentence.trim_end());
            ExitCode::from(code)
        }
    }
}

fn dispatch() -> Result<(), (u8, String)> {
    let arguments = cli::parse(std::env::args_os()).map_err(|usage| (2, usage))?;
    if let Action::Print(text) = &arguments.action {
        return print(text).map_err(failure);
    }
    let environment = std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value)));
    let environment = environment.map(|(name, value)| (name, value.to_string_lossy().into_owned()));
    let given = Given::gather(arguments.flags, environment, Path::new(".env"));
    let given = given.map_err(failure)?;
    let config = Config::new(&given).map_err(failure)?;
    if arguments.action == Action::Health {
        return probe::is_alive(config.address()).map_err(failure);
    }
    telemetry::init(&config.log).map_err(failure)?;
    for warning in given.warnings() {
        tracing::warn!("{warning}");
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(failure)?;
    let done = match arguments.action {
        Action::Check => {
            runtime.block_on(check(&config)).map_err(failure).and_then(|report| print(&report).map_err(failure))
        }
        Action::Keys(command) => {
            let output = runtime.block_on(keys(&config, &command)).map_err(failure)?;
            let _ = write!(std::io::stderr(), "{}", output.note);
            print(&output.out).map_err(failure)
        }
        Action::Backup(path) => backup(&config, &path).map_err(failure),
        _ => runtime.block_on(serve(&config)).map_err(failure),
    };
    // A thread that is blocked, such as by a disk that does not answer, does not delay the end.
    runtime.shutdown_background();
    done
}

async fn serve(config: &Config) -> Result<(), String> {
    let listener = server::listen(config).await?;
    let shutdown = server::stop_signals()?;
    let parts = parts(config).await?;
    let config = &with_session_secret(config, &parts).await?;
    let port = listener.local_addr().map_err(|error| error.to_string())?.port();
    print(&banner(config, &parts, port).await).map_err(|error| error.to_string())?;
    if let Some(sentence) = open_door(config, &keys::list(&*parts.store).await) {
        tracing::info!("{sentence}");
    }
    server::run(config, parts, listener, shutdown).await
}

/// The settings with the store's session secret, where they have none.
async fn with_session_secret(config: &Config, parts: &Parts) -> Result<Config, String> {
    let mut config = config.clone();
    if config.session.secrets.is_empty() {
        let secret = session_secret::read_or_make(&*parts.store, &*parts.ids, parts.clock.now_ms()).await;
        config.session.secrets.push(secret.map_err(|error| format!("{error}. SESSION_SECRET sets another one."))?);
    }
    Ok(config)
}

fn print(text: &str) -> std::io::Result<()> {
    let mut out = std::io::stdout();
    out.write_all(text.as_bytes())?;
    out.flush()
}

fn failure(error: impl std::fmt::Display) -> (u8, String) {
    (1, error.to_string())
}

/// Opens the store and the upstream. The tokenizer's tables are loaded meanwhile, so that the first request need not.
///
/// # Errors
/// With one sentence for the person who starts the server.
pub async fn parts(config: &Config) -> Result<Parts, String> {
    let encoding = model::profile(&config.chat.default_model).encoding;
    // Loaded on a short-lived thread, whose memory is freed when it exits. It is not joined: the first caller that counts
    // tokens waits for the tables.
    drop(std::thread::Builder::new().name("tokenizer".into()).spawn(move || encoding.load()));
    let steady = Arc::new(SteadyClock::new(Arc::new(SystemClock), Arc::new(Elapsed::since_now())));
    let clock: Arc<dyn Clock> = steady.clone();
    let ids: Arc<dyn Ids> = Arc::new(SystemIds);
    let upstream = upstream(config, clock.clone(), ids.clone())?;
    let store = store(config, clock.clone(), Sqlite::open).await?;
    let metering = Metering::new(upstream, store.clone(), clock.clone(), config);
    steady.compare(store.certain_ms());
    Ok(Parts { clock, ids, store, metering })
}

async fn store(
    config: &Config,
    clock: Arc<dyn Clock>,
    open: fn(&Path, Arc<dyn Clock>) -> Result<Sqlite, StoreError>,
) -> Result<Arc<dyn Store>, String> {
    match &config.store {
        StoreConfig::Sqlite => match open(&config.data_dir, clock) {
            Ok(store) => Ok(Arc::new(store)),
            Err(error) => Err(format!("{error}. DATA_DIR names another folder, REDIS_URL another store.")),
        },
        StoreConfig::Redis { url, user, password, key_prefix } => {
            let settings = RedisSettings {
                url: url.clone(),
                user: user.clone(),
                password: password.clone(),
                key_prefix: key_prefix.clone(),
                deadline: REDIS_DEADLINE,
                in_cluster: false,
            };
            match Redis::connect(settings).await {
                Ok(store) => Ok(Arc::new(store)),
                // What says which setting or document mends it needs no other advice.
                Err(error) => match error.to_string() {
                    text if text.contains("REDIS_") => Err(format!("{text}.")),
                    text => Err(format!("{text}. Check REDIS_URL, REDIS_USER and REDIS_PASSWORD.")),
                },
            }
        }
    }
}

fn upstream(config: &Config, clock: Arc<dyn Clock>, ids: Arc<dyn Ids>) -> Result<Arc<dyn Upstream>, String> {
    let (base_url, key, kind) = match &config.upstream {
        UpstreamConfig::Demo { word_delay } => return Ok(Arc::new(Demo::new(*word_delay))),
        UpstreamConfig::OpenAi { base_url, key } => (base_url.clone(), Some(key.clone()), "openai"),
        UpstreamConfig::Compatible { base_url, key } => (base_url.clone(), key.clone(), "compatible"),
    };
    let limits = &config.upstream_limits;
    let defaults = OpenAiSettings::new(base_url.clone(), key, kind);
    let settings = OpenAiSettings {
        proxy: proxy_for(&base_url),
        connect_timeout: limits.connect_timeout,
        first_byte_timeout: limits.first_token_timeout,
        idle_timeout: limits.idle_timeout,
        plain_timeout: limits.plain_timeout,
        max_retries: limits.max_retries,
        think_tags: limits.think_tags.unwrap_or(defaults.think_tags),
        ..defaults
    };
    let upstream = OpenAi::new(settings, clock, ids).map_err(|error| error.to_string())?;
    Ok(Arc::new(upstream))
}

/// The variable that names a proxy for addresses like this one.
fn proxy_for(base_url: &url::Url) -> Option<&'static str> {
    let of_scheme = match base_url.scheme() {
        "https" => ["HTTPS_PROXY", "https_proxy"],
        _ => ["HTTP_PROXY", "http_proxy"],
    };
    let names = of_scheme.into_iter().chain(["ALL_PROXY", "all_proxy"]);
    names.into_iter().find(|name| std::env::var_os(name).is_some_and(|value| !value.is_empty()))
}

/// The lines printed at the start: what is used, and how to change it.
pub async fn banner(config: &Config, parts: &Parts, port: u16) -> String {
    let address = match config.host.is_loopback() || config.host.is_unspecified() {
        true => format!("http://localhost:{port}"),
        false => format!("http://{}", std::net::SocketAddr::new(config.host, port)),
    };
    let (store, upstream) = (parts.store.info(), parts.metering.upstream());
    let (store_hint, upstream_hint) = match (store.shared, upstream.kind) {
        (false, "demo") => ("REDIS_URL for Redis", "OPENAI_API_KEY or OPENAI_BASE_URL for a real one"),
        (false, _) => ("REDIS_URL for Redis", "OPENAI_BASE_URL for another one"),
        (true, "demo") => ("unset REDIS_URL for SQLite", "OPENAI_API_KEY or OPENAI_BASE_URL for a real one"),
        (true, _) => ("unset REDIS_URL for SQLite", "OPENAI_BASE_URL for another one"),
    };
    let door = door(config, &keys::list(&*parts.store).await);
    let model = &config.chat.default_model;
    let mut out = format!("OpenAI Backend {} listens on {address}\n", env!("CARGO_PKG_VERSION"));
    for (name, value, hint) in [
        ("store", format!("{}, {}", store.kind, store.location), store_hint),
        ("upstream", format!("{}, {}", upstream.kind, upstream.location), upstream_hint),
        ("model", model.clone(), "DEFAULT_MODEL for another one"),
        ("sdks", format!("{address}/v1, {}", door), "keys create, or API_KEYS, for keys"),
        ("docs", format!("{address}/docs"), "--help for every setting"),
    ] {
        // Writing to a String cannot fail.
        let _ = writeln!(out, "  {name:<9} {value}   ({hint})");
    }
    out
}

/// Which requests `/v1` takes.
fn door(config: &Config, made: &Result<Vec<Key>, StoreError>) -> String {
    let made = match made {
        Ok(made) => made,
        Err(error) => return format!("its keys cannot be read: {error}"),
    };
    match config.api_keys.len() + made.len() {
        0 if config.is_open() => "open to this machine, without a key".to_owned(),
        0 => "shut: there are no keys".to_owned(),
        1 => "with the key".to_owned(),
        many => format!("with one of {many} keys"),
    }
}

/// What opens `/v1`, where it takes requests without a key.
fn open_door(config: &Config, made: &Result<Vec<Key>, StoreError>) -> Option<String> {
    let is_open = config.is_open() && made.as_ref().is_ok_and(Vec::is_empty);
    is_open.then(|| {
        format!(
            "/v1 is open to programs on this machine, without a key: there are no keys, HOST is {}, APP_ENV is development, \
             and PRODUCTION_URL and TRUSTED_PROXIES are not set. Requests that a proxy passes on need a key.",
            config.host
        )
    })
}

/// Makes, lists or revokes keys, also while a server runs on the same store.
///
/// # Errors
/// With one sentence for the person at the terminal.
async fn keys(config: &Config, command: &keys::Command) -> Result<CliOutput, String> {
    let store = store(config, Arc::new(SystemClock), Sqlite::beside).await?;
    let said = keys::run(command, &*store, &SystemIds, SystemClock.now_ms()).await;
    store.close().await;
    said
}

/// Copies the database, also while a server runs on it.
///
/// # Errors
/// With one sentence for the person at the terminal.
fn backup(config: &Config, path: &Path) -> Result<(), String> {
    match &config.store {
        StoreConfig::Sqlite => Sqlite::backup(&config.data_dir, path)?,
        StoreConfig::Redis { .. } => {
            return Err("The store is Redis, which makes its own backups: docs/operations.md says how.".into());
        }
    }
    // The copy is there, also where stderr is closed.
    let _ = writeln!(std::io::stderr(), "{} is a whole copy of the database.", path.display());
    Ok(())
}

/// `--check`: reaches the store and the upstream, and reports both.
///
/// # Errors
/// With the same report, when one of them fails.
async fn check(config: &Config) -> Result<String, String> {
    let mut out = config.summary();
    let parts = parts(config).await.map_err(|error| format!("{out}\n{error}"))?;
    let store = parts.store.ping().await;
    let upstream = parts.metering.check().await;
    let sound = store.is_ok() && upstream.is_ok();
    let (store_info, upstream_info) = (parts.store.info(), parts.metering.upstream());
    let store = store.map_or_else(|error| error.to_string(), |()| "answers".to_owned());
    let upstream = upstream.unwrap_or_else(|fault| fault.to_string());
    let _ = write!(
        out,
        "\nstore {} at {}: {store}\nupstream {} at {}: {upstream}\n",
        store_info.kind, store_info.location, upstream_info.kind, upstream_info.location
    );
    let made = keys::list(&*parts.store).await;
    let door = open_door(config, &made).unwrap_or_else(|| format!("/v1: {}", door(config, &made)));
    let _ = writeln!(out, "{door}");
    parts.store.close().await;
    if sound { Ok(out) } else { Err(out) }
}
