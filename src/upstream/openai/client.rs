//! The client of a model's server: how requests are made, tried again, and held back while the server is failing.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue};
use reqwest::{Client, Method, Request, redirect};
use secrecy::{ExposeSecret, SecretString};
use tokio::time::Instant;
use tracing::{debug, warn};
use url::Url;

use super::attempt::{Failed, verdict};
use super::calls::Mint;
use super::fresh::Watch;
use super::retry::Retries;
use super::settings::OpenAiSettings;
use super::streamed::Deadlines;
use crate::domain::clock::Clock;
use crate::domain::ids::Ids;
use crate::domain::turn::{Fault, FaultKind};
use crate::upstream::health::{Health, Target};

/// Idle connections are dropped before the 5 s after which common servers close them, so that few requests meet one that
/// is being closed.
const POOL_IDLE: Duration = Duration::from_secs(4);

/// Calls and chat completions that are passed on are made to the same place.
pub(super) const CHAT_COMPLETIONS: &str = "chat/completions";

/// The settings cannot work.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Unusable(&'static str);

/// A model's server over HTTP.
pub struct OpenAi {
    pub(super) settings: OpenAiSettings,
    pub(super) chat_url: Url,
    pub(super) models_url: Url,
    pub(super) authorization: Option<HeaderValue>,
    pub(super) client: Client,
    pub(super) health: Health,
    pub(super) clock: Arc<dyn Clock>,
    ids: Arc<dyn Ids>,
}

impl OpenAi {
    /// An upstream; no connection is made yet. `clock` is for `Retry-After` dates, `ids` for the chance in pauses.
    ///
    /// # Errors
    /// When the address cannot be one, or the key cannot go into a header.
    pub fn new(settings: OpenAiSettings, clock: Arc<dyn Clock>, ids: Arc<dyn Ids>) -> Result<Self, Unusable> {
        Ok(Self {
            chat_url: below(&settings.base_url, &["chat", "completions"])?,
            models_url: below(&settings.base_url, &["models"])?,
            authorization: settings.api_key.as_ref().map(bearer).transpose()?,
            client: client(&settings)?,
            health: Health::new(settings.health),
            settings,
            clock,
            ids,
        })
    }

    /// Until when an answer must have begun, or be whole where it is not streamed.
    pub(super) fn deadline(&self, stream: bool) -> Instant {
        Instant::now() + if stream { self.settings.first_byte_timeout } else { self.settings.plain_timeout }
    }

    pub(super) fn deadlines(&self, first_event_by: Instant) -> Deadlines {
        Deadlines { first_event_by, idle: self.settings.idle_timeout, grace: self.settings.finish_grace }
    }

    /// Attempts until an answer begins, or there is nothing left to hope for.
    pub(super) async fn attempts<T, F>(
        &self,
        target: Target<'_>,
        deadline: Instant,
        make: impl Fn() -> F,
    ) -> Result<T, Failed>
    where
        F: Future<Output = Result<T, Failed>>,
    {
        let mut leave = self.health.admit(target).await.map_err(breaker_open)?;
        let mut retries = Retries::new(self.settings.max_retries);
        let mut attempt = 0;
        loop {
            attempt += 1;
            let outcome = make().await;
            leave.tell(verdict(&outcome));
            let failed = match outcome {
                Ok(answer) => return Ok(answer),
                Err(failed) => failed,
            };
            let remaining = deadline.saturating_duration_since(Instant::now());
            let pause = retries.next(failed.again, self.chance(), remaining).filter(|_| leave.may_retry());
            let Some(pause) = pause else {
                log_failure(&failed, attempt);
                return Err(failed);
            };
            log_retry(&failed, attempt, pause);
            if !pause.is_zero() {
                tokio::time::sleep(pause).await;
            }
            if !leave.may_go_on() {
                return Err(failed);
            }
        }
    }

    /// Ids for calls that the server gives none.
    pub(super) fn mint(&self) -> Mint {
        Mint::new(self.ids.clone())
    }

    fn chance(&self) -> u64 {
        let [a, b, ..] = self.ids.secret();
        u64::from(u16::from_le_bytes([a, b]))
    }

    pub(super) fn request(&self, method: Method, url: &Url, body: Option<Bytes>) -> Request {
        let mut request = Request::new(method, url.clone());
        let headers = request.headers_mut();
        if let Some(authorization) = &self.authorization {
            headers.insert(AUTHORIZATION, authorization.clone());
        }
        if let Some(body) = body {
            headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
            *request.body_mut() = Some(body.into());
        }
        request
    }
}

fn client(settings: &OpenAiSettings) -> Result<Client, Unusable> {
    let mut builder = Client::builder()
        .user_agent(concat!("openai-backend/", env!("CARGO_PKG_VERSION")))
        .redirect(redirect::Policy::none())
        .retry(reqwest::retry::never())
        .connect_timeout(settings.connect_timeout)
        .connector_layer(Watch)
        .pool_idle_timeout(POOL_IDLE)
        .tcp_nodelay(true)
        .http2_keep_alive_interval(Duration::from_secs(15))
        .http2_keep_alive_timeout(Duration::from_secs(10));
    if is_loopback(&settings.base_url) {
        // A proxy named in the environment cannot reach this machine's own address.
        builder = builder.no_proxy();
    }
    builder.build().map_err(|_| Unusable("the HTTP client cannot be set up: no usable TLS certificates or settings"))
}

pub(super) fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(url::Host::Domain(name)) => name == "localhost" || name.ends_with(".localhost"),
        Some(url::Host::Ipv4(address)) => address.is_loopback(),
        Some(url::Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    }
}

pub(super) fn below(base: &Url, path: &[&str]) -> Result<Url, Unusable> {
    const WRONG: Unusable = Unusable("the model's server needs an address that starts with http:// or https://");
    if !matches!(base.scheme(), "http" | "https") {
        return Err(WRONG);
    }
    let mut url = base.clone();
    url.set_fragment(None);
    url.path_segments_mut().map_err(|()| WRONG)?.pop_if_empty().extend(path);
    Ok(url)
}

fn bearer(key: &SecretString) -> Result<HeaderValue, Unusable> {
    let mut value = HeaderValue::from_str(&format!("Bearer {}", key.expose_secret()))
        .map_err(|_| Unusable("the API key has a character that no key has, perhaps a line break"))?;
    value.set_sensitive(true);
    Ok(value)
}

pub(super) fn breaker_open(wait: Duration) -> Failed {
    let wait_ms = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX).max(1);
    let message = "the model's server has been failing; no call is made to it for a moment";
    Fault { retry_after_ms: Some(wait_ms), ..Fault::new(FaultKind::BreakerOpen, message) }.into()
}

pub(super) fn log_failure(failed: &Failed, attempt: u32) {
    warn!(
        upstream.fault = failed.fault.kind.code(),
        upstream.status = failed.status,
        upstream.error_code = failed.code.as_deref(),
        upstream.attempt = attempt,
        error = failed.cause.as_deref(),
        "the model's server failed"
    );
}

fn log_retry(failed: &Failed, attempt: u32, pause: Duration) {
    debug!(
        upstream.fault = failed.fault.kind.code(),
        upstream.status = failed.status,
        upstream.error_code = failed.code.as_deref(),
        upstream.attempt = attempt,
        upstream.pause_ms = pause.as_millis() as u64,
        error = failed.cause.as_deref(),
        "the model's server failed, trying again"
    );
}
