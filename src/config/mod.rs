//! The settings: read loosely, then held only as validated values. Secrets never print.

mod api_keys;
mod env_file;
mod given;
mod kept_secret;
mod log_filter;
mod models;
mod networks;
mod rates;
pub mod settings;
mod shown;
mod validate;

#[cfg(test)]
mod tests;

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use secrecy::{SecretSlice, SecretString};
use tracing_subscriber::filter::Targets;
use url::Url;

pub use api_keys::{ApiKeys, KEY_NAMES, LOCAL, is_key_name, key_hash};
pub use given::Given;
pub(crate) use log_filter::parse_filter;
pub use models::AllowedModels;
pub use networks::Networks;

use crate::domain::rate::Rate;

/// The least a session secret must have, in characters.
pub const MIN_SECRET_CHARS: usize = 32;

/// Where OpenAI is.
pub const OPENAI_BASE_URL: &str = "https://api.openai.com/v1";

/// Why the server does not start: one sentence for the person who starts it, without any secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ConfigError(String);

/// Every setting, validated.
#[derive(Debug, Clone)]
pub struct Config {
    /// How strict to be (`APP_ENV`).
    pub app_env: AppEnv,
    pub host: IpAddr,
    /// Where to listen (`PORT`); 0 for any free port.
    pub port: u16,
    /// The folder for files (`DATA_DIR`); it may not exist yet.
    pub data_dir: PathBuf,
    pub store: StoreConfig,
    pub upstream: UpstreamConfig,
    pub upstream_limits: UpstreamLimits,
    /// Defaults and limits of chats.
    pub chat: ChatConfig,
    /// Who may use the SDK door (`API_KEYS`).
    pub api_keys: ApiKeys,
    pub session: SessionConfig,
    pub web: WebConfig,
    pub limits: ServerLimits,
    /// How many calls to the model may run at once.
    pub model_calls: ModelCallLimits,
    /// How long the events of an ended turn are kept (`RESUME_WINDOW`).
    pub resume_window: Duration,
    /// What becomes of a turn whose server died (`ON_CRASH`).
    pub on_crash: OnCrash,
    pub log: LogConfig,
    /// Times that no setting changes.
    pub pace: Pace,
}

impl Config {
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        SocketAddr::new(self.host, self.port)
    }

    /// The origin under which the server is reached from outside, for proxies that rewrite `Host`.
    #[must_use]
    pub fn own_origin(&self) -> Option<String> {
        self.web.production_url.as_ref().map(|url| url.origin().ascii_serialization())
    }

    /// The path of PRODUCTION_URL, below which proxies have this server; empty where it is the root.
    #[must_use]
    pub fn base_path(&self) -> &str {
        self.web.production_url.as_ref().map_or("", |url| url.path().trim_end_matches('/'))
    }

    /// The server's address, as its API document names it.
    #[must_use]
    pub fn listed_url(&self) -> String {
        match &self.web.production_url {
            Some(url) => url.as_str().trim_end_matches('/').to_owned(),
            None => format!("http://localhost:{}", self.port),
        }
    }

    /// Whether the SDK door takes requests without a key while the store has none either: API_KEYS has none, and nothing
    /// says that other machines reach it. In production they do, through a proxy on this machine, whose requests may
    /// look like this machine's own.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.api_keys.is_empty()
            && self.app_env == AppEnv::Development
            && self.host.is_loopback()
            && self.web.production_url.is_none()
            && self.web.trusted_proxies.is_empty()
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AppEnv {
    /// Starts with nothing set.
    Development,
    /// Refuses to start without a model and a session secret.
    Production,
}

/// What becomes of a turn whose server died (`ON_CRASH`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnCrash {
    /// It runs again, once.
    Rerun,
    /// It ends with what was shown.
    Interrupt,
}

#[derive(Debug, Clone)]
pub enum StoreConfig {
    /// In a file in the data folder.
    Sqlite,
    /// On a Redis or Valkey server, which other instances may share.
    Redis {
        /// `redis://` or `rediss://`; may carry a user name, a password and a database number.
        url: SecretString,
        /// Wins over the URL's.
        user: Option<String>,
        /// Wins over the URL's.
        password: Option<SecretString>,
        /// What every key begins with.
        key_prefix: String,
    },
}

#[derive(Debug, Clone)]
pub enum UpstreamConfig {
    Demo {
        word_delay: Duration,
    },
    OpenAi {
        /// [`OPENAI_BASE_URL`], or another URL at OpenAI.
        base_url: Url,
        /// The API key; safe to send in a header.
        key: SecretString,
    },
    /// A server that speaks like OpenAI.
    Compatible {
        /// Such as `http://localhost:11434/v1`; with or without a slash at the end.
        base_url: Url,
        /// Safe to send in a header.
        key: Option<SecretString>,
    },
}

/// How long to wait for the model server, and how often to try.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UpstreamLimits {
    /// Longest wait for a connection.
    pub connect_timeout: Duration,
    /// Longest wait for the first token of a stream.
    pub first_token_timeout: Duration,
    /// Longest silence in the middle of a stream.
    pub idle_timeout: Duration,
    /// Longest wait for an answer that is not streamed.
    pub plain_timeout: Duration,
    /// Most retries of one call, 0 to 10.
    pub max_retries: u32,
    /// Whether tags at the start of a text enclose thoughts; `None` leaves it to the kind of server.
    pub think_tags: Option<bool>,
}

/// Defaults of requests that set less, and their limits.
#[derive(Debug, Clone)]
pub struct ChatConfig {
    /// One of `allowed_models`.
    pub default_model: String,
    pub default_system_prompt: String,
    /// 0 to 2.
    pub temperature: f64,
    /// Most tokens of an answer, where the request sets no number; at most what a visitor may ask for.
    pub max_tokens: u32,
    /// Most tokens that an answer may have, where the operator sets a limit.
    pub max_tokens_limit: Option<u32>,
    /// Longest prompt, in characters.
    pub max_prompt_chars: usize,
    /// Most tokens of system prompt, history and prompt together.
    pub history_max_tokens: u32,
    /// What a request may name.
    pub allowed_models: AllowedModels,
    /// Most turns that wait for one conversation.
    pub max_waiting: usize,
    /// Longest that a turn waits for its conversation.
    pub max_wait: Duration,
    /// How often one session may begin a turn.
    pub visitor_rate: Option<Rate>,
}

/// The same where nothing is set, in production.
pub const VISITOR_RATE: Rate = Rate { most: 20, per_ms: 60_000 };

/// Most tokens of a visitor's answer, where the operator sets no limit: a stranger's spending always has one.
pub const VISITOR_TOKENS_LIMIT: u32 = 16_000;

impl ChatConfig {
    /// Most tokens that a visitor may ask for.
    #[must_use]
    pub fn visitor_tokens_limit(&self) -> u32 {
        self.max_tokens_limit.unwrap_or(VISITOR_TOKENS_LIMIT)
    }
}

#[derive(Debug, Clone)]
pub struct SessionConfig {
    /// The first signs, all verify. Empty where the store keeps the one that there is.
    pub secrets: Vec<SecretSlice<u8>>,
    /// How long a session lasts without use.
    pub max_age: Duration,
    /// A token of RFC 6265. Browsers take it with the attributes that the cookie has.
    pub cookie_name: String,
    pub same_site: SameSite,
    /// Whether browsers reach this server over https, so that cookies are `Secure`.
    pub https: bool,
    /// Whether a trusted proxy's word on the scheme makes a cookie `Secure`, too: COOKIE_SECURE says nothing.
    pub follows_proxy: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SameSite {
    /// Sent on navigation from other sites, not on their requests.
    Lax,
    /// Never sent from other sites.
    Strict,
    /// Sent from other sites: `Secure; Partitioned`.
    None,
}

#[derive(Debug, Clone)]
pub struct WebConfig {
    /// Origins as browsers write them: lower case, without a default port, without a slash at the end.
    pub cors_origins: Vec<String>,
    pub production_url: Option<Url>,
    /// The proxies whose word on host, scheme and client counts.
    pub trusted_proxies: Networks,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ServerLimits {
    /// Largest request body at `/chat`, in bytes.
    pub max_chat_body_bytes: usize,
    /// Largest JSON body at `/v1`, in bytes.
    pub max_body_bytes: usize,
    /// Most bytes of all request bodies at once; at least one of the largest.
    pub max_bodies_bytes: usize,
    /// Largest body that is passed on as it comes, such as a file, in bytes.
    pub max_upload_bytes: u64,
    /// Most connections at once, as set; see [`ServerLimits::connections_within`].
    pub max_connections: usize,
    /// Longest that a request's header may take, from its first byte on.
    pub header_timeout: Duration,
    /// Longest that a connection may be without a request.
    pub idle_timeout: Duration,
    /// Longest that a request's body may take.
    pub body_timeout: Duration,
    /// How long running turns may go on after SIGTERM.
    pub shutdown_grace: Duration,
    /// How long a stream's HTTP status is held back for the model's first event.
    pub first_event_wait: Duration,
}

/// How many calls to the model may run at once, each at least 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ModelCallLimits {
    /// On the whole server (`MAX_MODEL_CALLS`).
    pub server: usize,
    /// For one session (`MAX_MODEL_CALLS_PER_VISITOR`).
    pub visitor: usize,
}

impl ServerLimits {
    /// The connections that fit when the process may have `open_files` files open (`ulimit -n`): a quarter is left to the
    /// model server, the store and the log, so that the server works with all connections taken.
    #[must_use]
    pub fn connections_within(&self, open_files: usize) -> usize {
        self.max_connections.min(open_files / 4 * 3).max(1)
    }
}

/// Times that promises depend on, so that no setting changes them; tests shorten them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pace {
    /// How long a turn stays its server's without a sign of life.
    pub lease: Duration,
    /// How long readers wait for a store that does not take an answer.
    pub store_patience: Duration,
    /// How long a client may take nothing of what is being sent to it.
    pub write_timeout: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            lease: Duration::from_secs(10),
            store_patience: Duration::from_secs(5),
            write_timeout: Duration::from_secs(60),
        }
    }
}

#[derive(Debug, Clone, PartialEq)]
pub struct LogConfig {
    /// A level, then `target=level` pairs, by commas.
    pub level: String,
    /// The same, read: other crates are kept to `info`.
    pub filter: Targets,
    pub format: LogFormat,
    pub access: AccessLog,
}

/// Of which requests the log has a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AccessLog {
    Off,
    /// Those that were answered with 500 or above.
    Errors,
    All,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    Text,
    /// One object a line.
    Json,
}
