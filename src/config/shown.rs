//! The settings as they are in force, for `--check`. Secrets are shown as "set".

use secrecy::{ExposeSecret as _, SecretString};
use url::Url;

use super::given::show_duration;
use super::{AccessLog, AppEnv, Config, LogFormat, OnCrash, SameSite, StoreConfig, UpstreamConfig, rates, settings};

/// Shown in place of a secret.
const SET: &str = "(set)";

impl Config {
    /// Every setting with its value in force, in the table's order; empty where there is none.
    #[must_use]
    pub fn effective(&self) -> Vec<(&'static str, String)> {
        settings::all().map(|setting| (setting.name, self.shown(setting.name).unwrap_or_default())).collect()
    }

    /// [`Config::effective`] as lines of `NAME=value`.
    #[must_use]
    pub fn summary(&self) -> String {
        let lines = self.effective().into_iter().map(|(name, value)| match value.is_empty() {
            true => format!("{name} is not set\n"),
            false => format!("{name}={value}\n"),
        });
        lines.collect()
    }

    fn shown(&self, name: &str) -> Option<String> {
        let Self { chat, limits, session, upstream_limits, web, .. } = self;
        let shown = match name {
            "APP_ENV" => match self.app_env {
                AppEnv::Development => "development".to_owned(),
                AppEnv::Production => "production".to_owned(),
            },
            "HOST" => self.host.to_string(),
            "PORT" => self.port.to_string(),
            "DATA_DIR" => self.data_dir.display().to_string(),
            "OPENAI_API_KEY" | "OPENAI_BASE_URL" | "DEMO_WORD_DELAY" => return self.shown_upstream(name),
            "DEFAULT_MODEL" => chat.default_model.clone(),
            "ALLOWED_MODELS" => chat.allowed_models.patterns().join(","),
            "SYSTEM_PROMPT" => chat.default_system_prompt.clone(),
            "TEMPERATURE" => chat.temperature.to_string(),
            "MAX_TOKENS" => chat.max_tokens.to_string(),
            "MAX_TOKENS_LIMIT" => return chat.max_tokens_limit.map(|limit| limit.to_string()),
            "HISTORY_MAX_TOKENS" => chat.history_max_tokens.to_string(),
            "UPSTREAM_CONNECT_TIMEOUT" => show_duration(upstream_limits.connect_timeout),
            "UPSTREAM_FIRST_TOKEN_TIMEOUT" => show_duration(upstream_limits.first_token_timeout),
            "UPSTREAM_IDLE_TIMEOUT" => show_duration(upstream_limits.idle_timeout),
            "UPSTREAM_PLAIN_TIMEOUT" => show_duration(upstream_limits.plain_timeout),
            "UPSTREAM_THINK_TAGS" => return upstream_limits.think_tags.map(|looks| looks.to_string()),
            "UPSTREAM_MAX_RETRIES" => upstream_limits.max_retries.to_string(),
            "REDIS_URL" | "REDIS_USER" | "REDIS_PASSWORD" | "REDIS_KEY_PREFIX" => return self.shown_redis(name),
            "API_KEYS" => return self.shown_keys(),
            "SESSION_SECRET" => match session.secrets.len() {
                0 => "(kept in the store)".to_owned(),
                1 => SET.to_owned(),
                many => format!("({many} are set)"),
            },
            "SESSION_MAX_AGE" => show_duration(session.max_age),
            "COOKIE_NAME" => session.cookie_name.clone(),
            "COOKIE_SAMESITE" => match session.same_site {
                SameSite::Lax => "lax".to_owned(),
                SameSite::Strict => "strict".to_owned(),
                SameSite::None => "none".to_owned(),
            },
            "COOKIE_SECURE" => session.https.to_string(),
            "CORS_ORIGIN" => web.cors_origins.join(","),
            "PRODUCTION_URL" => return web.production_url.as_ref().map(Url::to_string),
            "TRUSTED_PROXIES" => web.trusted_proxies.shown(),
            "MAX_PROMPT_CHARS" => chat.max_prompt_chars.to_string(),
            "MAX_CHAT_BODY_BYTES" => limits.max_chat_body_bytes.to_string(),
            "MAX_BODIES_BYTES" => limits.max_bodies_bytes.to_string(),
            "MAX_BODY_BYTES" => limits.max_body_bytes.to_string(),
            "MAX_UPLOAD_BYTES" => limits.max_upload_bytes.to_string(),
            "MAX_CONNECTIONS" => limits.max_connections.to_string(),
            "HEADER_TIMEOUT" => show_duration(limits.header_timeout),
            "IDLE_TIMEOUT" => show_duration(limits.idle_timeout),
            "BODY_TIMEOUT" => show_duration(limits.body_timeout),
            "MAX_MODEL_CALLS" => self.model_calls.server.to_string(),
            "MAX_MODEL_CALLS_PER_VISITOR" => self.model_calls.visitor.to_string(),
            "VISITOR_RATE" => rates::shown(chat.visitor_rate),
            "MAX_WAITING_TURNS" => chat.max_waiting.to_string(),
            "MAX_TURN_WAIT" => show_duration(chat.max_wait),
            "FIRST_EVENT_WAIT" => show_duration(limits.first_event_wait),
            "SHUTDOWN_GRACE" => show_duration(limits.shutdown_grace),
            "RESUME_WINDOW" => show_duration(self.resume_window),
            "ON_CRASH" => match self.on_crash {
                OnCrash::Rerun => "rerun".to_owned(),
                OnCrash::Interrupt => "interrupt".to_owned(),
            },
            "LOG_LEVEL" => self.log.level.clone(),
            "LOG_FORMAT" => match self.log.format {
                LogFormat::Text => "text".to_owned(),
                LogFormat::Json => "json".to_owned(),
            },
            "ACCESS_LOG" => match self.log.access {
                AccessLog::Off => "off".to_owned(),
                AccessLog::Errors => "errors".to_owned(),
                AccessLog::All => "all".to_owned(),
            },
            _ => return None,
        };
        Some(shown)
    }

    fn shown_keys(&self) -> Option<String> {
        match self.api_keys.len() {
            0 => None,
            1 => Some(SET.to_owned()),
            many => Some(format!("({many} are set)")),
        }
    }

    fn shown_upstream(&self, name: &str) -> Option<String> {
        let (url, key, word_delay) = match &self.upstream {
            UpstreamConfig::Demo { word_delay } => (None, None, Some(word_delay)),
            UpstreamConfig::OpenAi { base_url, key } => (Some(base_url), Some(key), None),
            UpstreamConfig::Compatible { base_url, key } => (Some(base_url), key.as_ref(), None),
        };
        match name {
            "OPENAI_API_KEY" => key.map(|_| SET.to_owned()),
            "OPENAI_BASE_URL" => url.map(Url::to_string),
            _ => word_delay.copied().map(show_duration),
        }
    }

    fn shown_redis(&self, name: &str) -> Option<String> {
        let StoreConfig::Redis { url, user, password, key_prefix } = &self.store else { return None };
        match name {
            "REDIS_URL" => Some(without_credentials(url)),
            "REDIS_USER" => user.clone(),
            "REDIS_PASSWORD" => password.as_ref().map(|_| SET.to_owned()),
            _ => Some(key_prefix.clone()),
        }
    }
}

/// A URL that may be shown: without user name, password, query and fragment.
#[must_use]
pub(super) fn without_credentials(url: &SecretString) -> String {
    let Ok(mut url) = Url::parse(url.expose_secret()) else { return SET.to_owned() };
    // Both fail only for URLs without a host, which have no credentials.
    let _ = url.set_username("");
    let _ = url.set_password(None);
    url.set_query(None);
    url.set_fragment(None);
    url.to_string()
}
