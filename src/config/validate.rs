//! From text to validated settings: each rule once, each refusal one sentence.

use std::collections::HashSet;
use std::path::PathBuf;
use std::time::Duration;

use secrecy::{SecretSlice, SecretString};
use url::{Position, Url};

use super::{
    AccessLog, AllowedModels, ApiKeys, AppEnv, ChatConfig, Config, ConfigError, Given, LogConfig, LogFormat,
    MIN_SECRET_CHARS, ModelCallLimits, Networks, OPENAI_BASE_URL, OnCrash, Pace, SameSite, ServerLimits, SessionConfig,
    StoreConfig, UpstreamConfig, UpstreamLimits, VISITOR_RATE, WebConfig, kept_secret, networks, parse_filter, rates,
};
use crate::domain::model::OPENAI_CHAT_MODELS;

const MS: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_secs(3_600);
const DAY: Duration = Duration::from_secs(86_400);

/// The model of requests that name none, where DEFAULT_MODEL is unset.
const OPENAI_DEFAULT_MODEL: &str = "gpt-3.5-turbo";
const DEMO_MODEL: &str = "demo";

impl Config {
    /// Validates what was given. In development on SQLite, a missing session secret is read from the data folder, or made there;
    /// nothing else is written.
    ///
    /// # Errors
    /// With one sentence for the person who starts the server; it names the setting and quotes no secret.
    pub fn new(given: &Given) -> Result<Self, ConfigError> {
        let app_env =
            given.choice("APP_ENV", &[("development", AppEnv::Development), ("production", AppEnv::Production)])?;
        let host = given.text("HOST");
        let host = host
            .parse()
            .map_err(|_| refusal(format!("HOST must be an IP address such as 127.0.0.1 or ::, not {host:?}.")))?;
        let port = given.number("PORT", 0..=u16::MAX)?;
        let data_dir = PathBuf::from(given.text("DATA_DIR"));
        let upstream = upstream(given, app_env)?;
        let chat = chat(given, app_env, &upstream)?;
        let web = web(given)?;
        let api_keys = ApiKeys::read(given.list("API_KEYS"))?;
        let store = store(given)?;
        let upstream_limits = upstream_limits(given)?;
        let limits = limits(given)?;
        let model_calls = ModelCallLimits {
            server: given.number("MAX_MODEL_CALLS", 1..=1_000_000)?,
            visitor: given.number("MAX_MODEL_CALLS_PER_VISITOR", 1..=1_000_000)?,
        };
        let resume_window = given.duration("RESUME_WINDOW", SECOND..=30 * DAY)?;
        let on_crash = given.choice("ON_CRASH", &[("rerun", OnCrash::Rerun), ("interrupt", OnCrash::Interrupt)])?;
        let log = log(given)?;
        // Last, because it may write a file: nothing is left behind by a start that another setting refuses.
        let session = session(given, app_env, &web, &store, &data_dir)?;
        Ok(Self {
            app_env,
            host,
            port,
            data_dir,
            store,
            upstream,
            upstream_limits,
            chat,
            api_keys,
            session,
            web,
            limits,
            model_calls,
            resume_window,
            on_crash,
            log,
            pace: Pace::default(),
        })
    }
}

fn refusal(sentence: impl Into<String>) -> ConfigError {
    ConfigError(sentence.into())
}

fn upstream(given: &Given, app_env: AppEnv) -> Result<UpstreamConfig, ConfigError> {
    let key = match given.get("OPENAI_API_KEY") {
        Some(key) if !key.bytes().all(|byte| byte.is_ascii_graphic()) => {
            return Err(refusal(
                "OPENAI_API_KEY must not hold spaces or characters beyond ASCII: no header could carry it.",
            ));
        }
        key => key.map(SecretString::from),
    };
    let word_delay = given.duration("DEMO_WORD_DELAY", Duration::ZERO..=10 * SECOND)?;
    let base_url = given.http_url("OPENAI_BASE_URL")?;
    let at_openai = base_url.as_ref().is_some_and(|url| url.host_str() == Some("api.openai.com"));
    match (base_url, key) {
        (Some(base_url), Some(key)) if at_openai => Ok(UpstreamConfig::OpenAi { base_url, key }),
        (Some(_), None) if at_openai => Err(refusal("OPENAI_BASE_URL is the OpenAI API, which needs OPENAI_API_KEY.")),
        (Some(base_url), key) => Ok(UpstreamConfig::Compatible { base_url, key }),
        (None, Some(key)) => {
            let base_url = Url::parse(OPENAI_BASE_URL).map_err(|error| refusal(error.to_string()))?;
            Ok(UpstreamConfig::OpenAi { base_url, key })
        }
        (None, None) if app_env == AppEnv::Production => Err(refusal(
            "APP_ENV=production needs a model: set OPENAI_API_KEY for the OpenAI API, or OPENAI_BASE_URL for another \
             server.",
        )),
        (None, None) => Ok(UpstreamConfig::Demo { word_delay }),
    }
}

fn chat(given: &Given, app_env: AppEnv, upstream: &UpstreamConfig) -> Result<ChatConfig, ConfigError> {
    let is_demo = matches!(upstream, UpstreamConfig::Demo { .. });
    let by_default = if is_demo { DEMO_MODEL } else { OPENAI_DEFAULT_MODEL };
    let default_model = given.get("DEFAULT_MODEL").unwrap_or(by_default).to_owned();
    let allowed_models = allowed_models(given, upstream, &default_model)?;
    if !allowed_models.allows(&default_model) {
        return Err(refusal(format!(
            "DEFAULT_MODEL, {default_model:?}, is not among ALLOWED_MODELS: set it to a model that they allow."
        )));
    }
    let max_tokens_limit = given.optional("MAX_TOKENS_LIMIT", 1..=10_000_000)?;
    Ok(ChatConfig {
        default_model,
        default_system_prompt: given.text("SYSTEM_PROMPT").to_owned(),
        temperature: given.number("TEMPERATURE", 0.0..=2.0)?,
        max_tokens: given.number("MAX_TOKENS", 1..=max_tokens_limit.unwrap_or(super::VISITOR_TOKENS_LIMIT))?,
        max_tokens_limit,
        max_prompt_chars: given.number("MAX_PROMPT_CHARS", 1..=10_000_000)?,
        history_max_tokens: given.number("HISTORY_MAX_TOKENS", 100..=10_000_000)?,
        allowed_models,
        max_waiting: given.number("MAX_WAITING_TURNS", 0..=10_000)?,
        max_wait: given.duration("MAX_TURN_WAIT", MS..=HOUR)?,
        visitor_rate: rates::rate(given, "VISITOR_RATE", (app_env == AppEnv::Production).then_some(VISITOR_RATE))?,
    })
}

/// The demo answers to every name, and says who it is; its own name is always allowed.
fn allowed_models(given: &Given, upstream: &UpstreamConfig, default: &str) -> Result<AllowedModels, ConfigError> {
    let listed: Vec<&str> = given.list("ALLOWED_MODELS").collect();
    match upstream {
        UpstreamConfig::Demo { .. } if !listed.is_empty() => AllowedModels::new(listed.into_iter().chain([default])),
        _ if !listed.is_empty() => AllowedModels::new(listed),
        UpstreamConfig::OpenAi { .. } => {
            let patterns = AllowedModels::new(OPENAI_CHAT_MODELS.iter().copied())?;
            match patterns.allows(default) {
                true => Ok(patterns),
                false => AllowedModels::new(OPENAI_CHAT_MODELS.iter().copied().chain([default])),
            }
        }
        UpstreamConfig::Demo { .. } | UpstreamConfig::Compatible { .. } => AllowedModels::new(["*"]),
    }
}

fn upstream_limits(given: &Given) -> Result<UpstreamLimits, ConfigError> {
    Ok(UpstreamLimits {
        connect_timeout: given.duration("UPSTREAM_CONNECT_TIMEOUT", MS..=HOUR)?,
        first_token_timeout: given.duration("UPSTREAM_FIRST_TOKEN_TIMEOUT", MS..=HOUR)?,
        idle_timeout: given.duration("UPSTREAM_IDLE_TIMEOUT", MS..=HOUR)?,
        plain_timeout: given.duration("UPSTREAM_PLAIN_TIMEOUT", MS..=HOUR)?,
        max_retries: given.number("UPSTREAM_MAX_RETRIES", 0..=10)?,
        think_tags: given.flag("UPSTREAM_THINK_TAGS")?,
    })
}

fn store(given: &Given) -> Result<StoreConfig, ConfigError> {
    let Some(text) = given.get("REDIS_URL") else {
        // An operator who sets these means Redis: quietly using a file instead would split their users' history.
        return match ["REDIS_USER", "REDIS_PASSWORD"].into_iter().find(|name| given.get(name).is_some()) {
            Some(name) => Err(refusal(format!("{name} is set and REDIS_URL is not: set both, or neither."))),
            None => Ok(StoreConfig::Sqlite),
        };
    };
    if !is_encoded(text) {
        return Err(refusal(
            "REDIS_URL holds a character in the user name or password that ends them: write it encoded, such as %40 for @, \
             %2F for /, %23 for #, %3F for ? and %25 for %, or set REDIS_USER and REDIS_PASSWORD instead.",
        ));
    }
    let url = Url::parse(text).map_err(|error| refusal(format!("REDIS_URL is not a readable URL: {error}.")))?;
    if !matches!(url.scheme(), "redis" | "rediss") || !url.has_host() {
        return Err(refusal("REDIS_URL must be a URL that begins with redis:// or rediss://."));
    }
    let database = url.path().trim_start_matches('/');
    if !database.is_empty() && database.parse::<u32>().is_err() {
        return Err(refusal(
            "REDIS_URL may end in a database number, such as redis://localhost:6379/0, and in nothing else.",
        ));
    }
    let key_prefix = given.text("REDIS_KEY_PREFIX").to_owned();
    if key_prefix.len() > 100 || !key_prefix.bytes().all(|byte| byte.is_ascii_graphic() && !b"{}".contains(&byte)) {
        return Err(refusal(
            "REDIS_KEY_PREFIX must have at most 100 ASCII characters, without spaces and braces, which would move keys to \
             another cluster slot.",
        ));
    }
    Ok(StoreConfig::Redis {
        url: SecretString::from(text),
        user: given.get("REDIS_USER").map(str::to_owned),
        password: given.get("REDIS_PASSWORD").map(SecretString::from),
        key_prefix,
    })
}

/// Whether what stands before the last @ means what it seems to: a part of a password would otherwise be taken for the host,
/// and shown.
fn is_encoded(url: &str) -> bool {
    let Some((_, rest)) = url.split_once("://") else { return true };
    let Some((credentials, _)) = rest.rsplit_once('@') else { return true };
    let mut password = credentials.splitn(2, ':');
    let is_digit = |byte: Option<u8>| byte.is_some_and(|byte| byte.is_ascii_hexdigit());
    password.all(|part| {
        let mut bytes = part.bytes();
        while let Some(byte) = bytes.next() {
            match byte {
                b'%' if is_digit(bytes.next()) && is_digit(bytes.next()) => {}
                b'%' | b'/' | b'?' | b'#' | b'@' | b':' | b'[' | b']' | b'\\' => return false,
                _ => {}
            }
        }
        true
    })
}

fn web(given: &Given) -> Result<WebConfig, ConfigError> {
    let mut seen = HashSet::new();
    let mut cors_origins = given.list("CORS_ORIGIN").map(origin).collect::<Result<Vec<_>, _>>()?;
    cors_origins.retain(|origin| seen.insert(origin.clone()));
    let trusted_proxies = Networks::read(given.list("TRUSTED_PROXIES"))
        .ok_or_else(|| refusal(format!("Each part of TRUSTED_PROXIES must be {}.", networks::FORM)))?;
    Ok(WebConfig { cors_origins, production_url: given.http_url("PRODUCTION_URL")?, trusted_proxies })
}

/// As browsers write it, so that comparing is comparing text.
fn origin(text: &str) -> Result<String, ConfigError> {
    let wrong = |why: &str| {
        refusal(format!(
            "CORS_ORIGIN must be a comma list of origins such as https://chat.example.com; {text:?} {why}."
        ))
    };
    if text == "*" {
        return Err(wrong("would let every site act for its visitors, because credentials are allowed"));
    }
    let url = Url::parse(text).map_err(|_| wrong("is none"))?;
    if !matches!(url.scheme(), "http" | "https") || !url.has_host() || text.contains('*') {
        return Err(wrong("is none"));
    }
    if !matches!(&url[Position::BeforePath..], "" | "/") || !url.username().is_empty() || url.password().is_some() {
        return Err(wrong("has more than scheme, host and port"));
    }
    Ok(url.origin().ascii_serialization())
}

fn limits(given: &Given) -> Result<ServerLimits, ConfigError> {
    let max_body_bytes = given.number("MAX_BODY_BYTES", 1_024..=1_073_741_824)?;
    let max_chat_body_bytes = given.number("MAX_CHAT_BODY_BYTES", 1_024..=1_073_741_824)?;
    Ok(ServerLimits {
        max_chat_body_bytes,
        max_body_bytes,
        max_bodies_bytes: given.number("MAX_BODIES_BYTES", max_body_bytes..=1_099_511_627_776)?,
        max_upload_bytes: given.number("MAX_UPLOAD_BYTES", 1_024..=10_737_418_240)?,
        max_connections: given.number("MAX_CONNECTIONS", 1..=1_000_000)?,
        header_timeout: given.duration("HEADER_TIMEOUT", 100 * MS..=HOUR)?,
        idle_timeout: given.duration("IDLE_TIMEOUT", 100 * MS..=HOUR)?,
        body_timeout: given.duration("BODY_TIMEOUT", 100 * MS..=HOUR)?,
        shutdown_grace: given.duration("SHUTDOWN_GRACE", Duration::ZERO..=HOUR)?,
        first_event_wait: given.duration("FIRST_EVENT_WAIT", Duration::ZERO..=HOUR)?,
    })
}

fn log(given: &Given) -> Result<LogConfig, ConfigError> {
    let level = given.text("LOG_LEVEL").to_owned();
    let filter = parse_filter(&level).ok_or_else(|| {
        refusal(format!(
            "LOG_LEVEL must be one of off, error, warn, info, debug, trace, then perhaps target=level pairs by commas, not \
             {level:?}."
        ))
    })?;
    let format = given.choice("LOG_FORMAT", &[("text", LogFormat::Text), ("json", LogFormat::Json)])?;
    let choices = [("off", AccessLog::Off), ("errors", AccessLog::Errors), ("all", AccessLog::All)];
    let access = given.choice("ACCESS_LOG", &choices)?;
    Ok(LogConfig { level, filter, format, access })
}

fn session(
    given: &Given,
    app_env: AppEnv,
    web: &WebConfig,
    store: &StoreConfig,
    data_dir: &std::path::Path,
) -> Result<SessionConfig, ConfigError> {
    let max_age = given.duration("SESSION_MAX_AGE", SECOND..=3_650 * DAY)?;
    let choices = [("lax", SameSite::Lax), ("strict", SameSite::Strict), ("none", SameSite::None)];
    let same_site = given.choice("COOKIE_SAMESITE", &choices)?;
    let secure = given.flag("COOKIE_SECURE")?;
    if same_site == SameSite::None && secure == Some(false) {
        return Err(refusal("COOKIE_SAMESITE=none needs https: browsers drop such a cookie with COOKIE_SECURE=false."));
    }
    let served_over_https = web.production_url.as_ref().is_some_and(|url| url.scheme() == "https");
    let https = secure.unwrap_or(served_over_https || same_site == SameSite::None);
    let is_below_a_path = web.production_url.as_ref().is_some_and(|url| url.path() != "/");
    let cookie_name = cookie_name(given, https, is_below_a_path)?;

    let mut secrets: Vec<String> = given.list("SESSION_SECRET").map(str::to_owned).collect();
    if secrets.is_empty() && app_env == AppEnv::Production {
        return Err(refusal(format!(
            "APP_ENV=production needs SESSION_SECRET, at least {MIN_SECRET_CHARS} characters: `openssl rand -hex 32` makes \
             one."
        )));
    }
    if secrets.iter().any(|secret| secret.chars().count() < MIN_SECRET_CHARS) {
        return Err(refusal(format!(
            "SESSION_SECRET must have at least {MIN_SECRET_CHARS} characters, and so must each part of a comma list: \
             `openssl rand -hex 32` makes one."
        )));
    }
    // Servers that share a store share its sessions, and so the secret that is in it.
    if secrets.is_empty() && matches!(store, StoreConfig::Sqlite) {
        secrets.push(kept_secret::read_or_make(data_dir)?);
    }
    let secrets = secrets.into_iter().map(|secret| SecretSlice::from(secret.into_bytes())).collect();
    Ok(SessionConfig { secrets, max_age, cookie_name, same_site, https, follows_proxy: secure.is_none() })
}

/// A name of the operator's own is used as it is. The prefix that ours has over https makes browsers refuse a cookie that
/// was planted by a sibling domain or over plain http; they take it for the whole host only, so below a path it is another.
fn cookie_name(given: &Given, https: bool, is_below_a_path: bool) -> Result<String, ConfigError> {
    let Some(name) = given.get("COOKIE_NAME") else {
        let name = match (https, is_below_a_path) {
            (false, _) => "sessionId",
            (true, false) => "__Host-sessionId",
            (true, true) => "__Secure-sessionId",
        };
        return Ok(name.to_owned());
    };
    let is_token = |byte: u8| byte.is_ascii_graphic() && !b"()<>@,;:\\\"/[]?={}".contains(&byte);
    if name.len() > 100 || !name.bytes().all(is_token) {
        return Err(refusal(
            "COOKIE_NAME must have at most 100 letters, digits and other characters of a token, such as chat_session: no \
             spaces, quotes, brackets or any of @,;:/?=.",
        ));
    }
    // Browsers look at these in any case, and drop the cookie where it has not the attributes that they stand for.
    let lower = name.to_ascii_lowercase();
    let promises_https = ["__host-", "__secure-", "__http-"].iter().any(|prefix| lower.starts_with(prefix));
    if promises_https && !https {
        return Err(refusal(
            "COOKIE_NAME begins with a prefix that browsers take over https only: set PRODUCTION_URL to an https URL, or \
             COOKIE_SECURE to true, or choose another name.",
        ));
    }
    Ok(name.to_owned())
}
