//! What every handler may reach, put together from the settings and the parts of a server.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::access::KeyAccess;
use crate::access::alive::Watch;
use crate::access::keys::cache::KeyCache;
use crate::access::session::SessionCookies;
use crate::config::{self, AccessLog, ChatConfig, Config};
use crate::domain::clock::Clock;
use crate::domain::ids::Ids;
use crate::http::body_limits::BodyLimits;
use crate::http::places::Places;
use crate::http::site::Site;
use crate::metering::Metering;
use crate::store::Store;
use crate::tasks::{InFlight, Tasks};
use crate::turn::scratch::Scratch;
use crate::turn::{TurnLimits, Turns};

/// What a server is made of.
#[derive(Clone)]
pub struct Parts {
    /// Wall-clock time.
    pub clock: Arc<dyn Clock>,
    /// Ids and secrets.
    pub ids: Arc<dyn Ids>,
    /// Where everything is kept.
    pub store: Arc<dyn Store>,
    /// The only way to a model.
    pub metering: Metering,
}

/// What handlers work with.
pub struct App {
    /// Begins, reads and stops turns.
    pub turns: Turns,
    /// The same for turns that are not stored.
    pub scratch: Scratch,
    /// For what needs no turn: reading history, readiness.
    pub store: Arc<dyn Store>,
    /// The only way to a model.
    pub metering: Metering,
    /// Those requests, while they last.
    pub in_flight: InFlight,
    /// Who may use the SDK door.
    pub keys: Arc<KeyAccess>,
    /// Tells what goes on for long when its owner ends.
    pub watch: Watch,
    /// Wall-clock time.
    pub clock: Arc<dyn Clock>,
    /// Fresh ids and secrets.
    pub ids: Arc<dyn Ids>,
    /// Cookies in and out.
    pub sessions: SessionCookies,
    /// Defaults and limits of `/chat`.
    pub chat: ChatConfig,
    /// How many WebSockets there may be.
    pub places: Places,
    /// The origins of pages that may use the server, besides its own as `Host` tells it.
    pub origins: Vec<String>,
    /// What clients used to reach this server.
    pub site: Arc<Site>,
    /// Of which requests there is a line in the log.
    pub access_log: AccessLog,
    /// How large a body may be, and all of them together.
    pub bodies: BodyLimits,
    /// The largest body that is passed on, in bytes.
    pub max_upload_bytes: u64,
    /// How long a streamed answer waits for its first event before it commits to status 200.
    pub first_event_wait: Duration,
    /// The path below which proxies have this server, without a slash at its end; empty where it is the root.
    pub base_path: String,
    /// Whether the server still takes new work.
    pub ready: Readiness,
}

impl App {
    /// The app of a server with these settings and parts, whose turns run as `tasks`.
    #[must_use]
    pub fn new(config: &Config, parts: &Parts, places: Places, tasks: &Tasks) -> Self {
        let Parts { clock, ids, store, metering } = parts.clone();
        let limits = turn_limits(config);
        let session = &config.session;
        let keys = KeyAccess::new(config.api_keys.clone(), KeyCache::new(store.clone()), config.is_open());
        let keys = Arc::new(keys);
        Self {
            scratch: Scratch::new(metering.clone(), clock.clone(), ids.clone(), &limits, tasks.clone()),
            turns: Turns::new(store.clone(), metering.clone(), clock.clone(), &*ids, limits, tasks.clone()),
            in_flight: InFlight::default(),
            watch: Watch::new(store.clone(), clock.clone(), keys.clone()),
            keys,
            sessions: SessionCookies::new(
                &session.secrets,
                session.cookie_name.clone(),
                config.base_path(),
                session.max_age,
                session.same_site.into(),
                session.https,
            ),
            chat: config.chat.clone(),
            places,
            origins: config.own_origin().into_iter().chain(config.web.cors_origins.clone()).collect(),
            site: Arc::new(Site::new(config)),
            access_log: config.log.access,
            max_upload_bytes: config.limits.max_upload_bytes,
            bodies: BodyLimits::new(&config.limits),
            first_event_wait: config.limits.first_event_wait,
            base_path: config.base_path().to_owned(),
            ready: Readiness(tasks.stopping().clone()),
            store,
            metering,
            clock,
            ids,
        }
    }
}

fn turn_limits(config: &Config) -> TurnLimits {
    TurnLimits {
        history_max_tokens: config.chat.history_max_tokens,
        max_waiting: config.chat.max_waiting,
        max_wait: config.chat.max_wait,
        lease: config.pace.lease,
        keep_events: config.resume_window,
        store_patience: config.pace.store_patience,
        on_crash: config.on_crash,
    }
}

impl From<config::SameSite> for cookie::SameSite {
    fn from(same_site: config::SameSite) -> Self {
        match same_site {
            config::SameSite::Lax => Self::Lax,
            config::SameSite::Strict => Self::Strict,
            config::SameSite::None => Self::None,
        }
    }
}

/// Whether the server takes new work: until it begins to stop.
#[derive(Debug)]
pub struct Readiness(CancellationToken);

impl Readiness {
    /// Whether the server has begun to stop.
    #[must_use]
    pub fn is_stopping(&self) -> bool {
        self.0.is_cancelled()
    }

    /// What `work` gives, or `None` where the server begins to stop before.
    pub async fn unless_stopping<T>(&self, work: impl Future<Output = T>) -> Option<T> {
        self.0.run_until_cancelled(work).await
    }
}
