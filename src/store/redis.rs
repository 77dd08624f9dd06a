//! The store on Redis or Valkey: one script an operation, shared by any number of instances.
//!
//! What lies where is told in `redis/keys.rs`, and the rules of each operation in its script beside it. Leases go by
//! Redis's own clock, and expiry by its TTLs, so that the instances' clocks need not agree.

mod codec;
mod connection;
mod conversations;
mod deleting;
mod documents;
mod faults;
mod items;
mod keys;
mod notices;
mod pending;
mod permissions;
mod reading;
mod scripts;
mod takeover;
mod tries;
mod writing;

use std::time::Duration;

use async_trait::async_trait;
use redis::io::tcp::{TcpSettings, socket2::TcpKeepalive};
use redis::{Client, ConnectionAddr, ConnectionInfo, IntoConnectionInfo};
use secrecy::{ExposeSecret, SecretString};
use tokio::sync::broadcast;

use self::connection::Connection;
use self::keys::Keys;
use self::notices::Notices;
use super::documents::{DocumentKind, Documents as _};
use super::{
    AdoptTurns, Adopted, AppendEvents, Appended, BeginTurn, Begun, CancelRequest, EventsPage, FinishTurn, Finished,
    HistoryPage, Notice, Store, StoreError, StoreInfo,
};
use crate::domain::conversation::{Owner, Place};
use crate::domain::hex;
use crate::domain::ids::TurnId;
use crate::domain::rate::{Rate, RateLeft};
use crate::domain::turn::TurnRecord;
use crate::domain::window::{Budget, Loaded};

/// Where Redis is, and how it is used.
#[derive(Debug, Clone)]
pub struct RedisSettings {
    /// `redis://` or `rediss://`, with the user, the password and the database where there are any.
    pub url: SecretString,
    /// The user; overrides the URL's.
    pub user: Option<String>,
    /// The password; overrides the URL's.
    pub password: Option<SecretString>,
    /// What all keys begin with; without braces.
    pub key_prefix: String,
    /// How long a call may take.
    pub deadline: Duration,
    /// Whether a node of a cluster will do. It holds some keys only, so that most calls would fail.
    pub in_cluster: bool,
}

/// See the module.
pub struct Redis {
    keys: Keys,
    /// The two keys that all owners share.
    leases: String,
    channel: String,
    connection: Connection,
    notices: Notices,
    /// Signs what this process writes, so that it knows its own.
    server: String,
    location: String,
}

impl Redis {
    /// Connects, and stays connected: an outage later fails the calls that fall into it, and nothing else.
    ///
    /// # Errors
    /// When Redis cannot be reached or used now, with a reason that holds no credentials.
    pub async fn connect(settings: RedisSettings) -> Result<Self, StoreError> {
        let keys = Keys::new(&settings.key_prefix)
            .ok_or_else(|| StoreError::Broken("the key prefix must not contain braces".into()))?;
        let info = connection_info(&settings)?;
        let location = location(&info);
        let open = async {
            let client = Client::open(info).map_err(|error| faults::of(&error))?;
            let connection =
                Connection::open(client.clone(), settings.deadline, keys.ping(), settings.in_cluster).await?;
            let server = server_name();
            let notices = Notices::open(client, keys.channel(), server.clone(), settings.deadline).await?;
            Ok((connection, server, notices))
        };
        let (connection, server, notices) = open.await.map_err(|error: StoreError| named(error, &location))?;
        let (leases, channel) = (keys.leases(), keys.channel());
        let store = Self { keys, leases, channel, connection, notices, server, location };
        // A user who may run no scripts is told at the start, not by the first request.
        let looked = store.document(&Owner::operator(), DocumentKind::ApiKey, "none").await;
        looked.map_err(|error| named(error, &store.location))?;
        store.look_at_its_settings().await;
        Ok(store)
    }

    /// Logs those of the server's own settings that may lose data later.
    async fn look_at_its_settings(&self) {
        // The user may lack the permission to ask.
        let Ok(Ok(info)) = self.command(&redis::cmd("INFO")).await.map(codec::bytes) else { return };
        let info = String::from_utf8_lossy(&info);
        let setting = |name| info.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
        if let Some(policy) = setting("maxmemory_policy:").filter(|&policy| policy != "noeviction") {
            tracing::warn!(policy, "redis may evict conversations; set its maxmemory-policy to noeviction");
        }
        if setting("aof_enabled:") == Some("0") {
            tracing::info!("redis keeps no append-only file, so its own crash loses what came after its last snapshot");
        }
    }
}

fn connection_info(settings: &RedisSettings) -> Result<ConnectionInfo, StoreError> {
    // The parser's own error could hold a part of the URL.
    let unreadable = |_| StoreError::Broken("the redis URL cannot be read; it looks like redis://host:6379".into());
    let info = settings.url.expose_secret().into_connection_info().map_err(unreadable)?;
    let mut redis = info.redis_settings().clone();
    if let Some(user) = &settings.user {
        redis = redis.set_username(user);
    }
    if let Some(password) = &settings.password {
        redis = redis.set_password(password.expose_secret());
    }
    // Besides the probes, for the case that this process itself does not run.
    let keepalive = TcpKeepalive::new().with_time(Duration::from_secs(5)).with_interval(Duration::from_secs(2));
    let tcp =
        TcpSettings::default().set_nodelay(true).set_keepalive(keepalive).set_user_timeout(Duration::from_secs(10));
    Ok(info.set_redis_settings(redis).set_tcp_settings(tcp))
}

fn location(info: &ConnectionInfo) -> String {
    let scheme = if matches!(info.addr(), ConnectionAddr::TcpTls { .. }) { "rediss" } else { "redis" };
    let db = info.redis_settings().db();
    let db = if db == 0 { String::new() } else { format!("/{db}") };
    format!("{scheme}://{}{db}", info.addr())
}

fn named(error: StoreError, location: &str) -> StoreError {
    let at = |why: String| format!("{why} (at {location})");
    match error {
        StoreError::Unavailable(why) => StoreError::Unavailable(at(why)),
        StoreError::Full(why) => StoreError::Full(at(why)),
        StoreError::Broken(why) => StoreError::Broken(at(why)),
    }
}

fn server_name() -> String {
    let mut random = [0u8; 6];
    // A clash would only cost notices, so a missing random source is no reason to fail.
    let _ = getrandom::fill(&mut random);
    hex::encode(&random)
}

#[async_trait]
impl Store for Redis {
    fn info(&self) -> StoreInfo {
        StoreInfo { kind: "redis", location: self.location.clone(), shared: true }
    }

    async fn ping(&self) -> Result<(), StoreError> {
        // A write, since a replica answers everything else.
        self.command(redis::cmd("SET").arg(self.keys.ping()).arg("").arg("PX").arg(1)).await.map(drop)
    }

    async fn begin_turn(&self, begin: BeginTurn) -> Result<Begun, StoreError> {
        self.begin(&begin).await
    }

    async fn append_events(&self, append: AppendEvents) -> Result<Appended, StoreError> {
        self.append(&append).await
    }

    async fn finish_turn(&self, finish: FinishTurn) -> Result<Finished, StoreError> {
        self.finish(finish).await
    }

    async fn take_rate(&self, account: &str, rate: Rate, _now_ms: i64) -> Result<Result<RateLeft, i64>, StoreError> {
        self.take(account, rate).await
    }

    async fn read_events(
        &self,
        owner: &Owner,
        turn: &TurnId,
        after: u64,
        limit: usize,
    ) -> Result<EventsPage, StoreError> {
        self.events(owner, turn, after, limit).await
    }

    async fn turn(&self, owner: &Owner, turn: &TurnId) -> Result<Option<TurnRecord>, StoreError> {
        self.one_turn(owner, turn).await
    }

    async fn turns(&self, place: &Place, limit: usize) -> Result<Option<Vec<TurnRecord>>, StoreError> {
        self.newest_turns(place, limit).await
    }

    async fn request_cancel(&self, owner: &Owner, turn: &TurnId) -> Result<CancelRequest, StoreError> {
        self.cancel(owner, turn).await
    }

    async fn adopt_turns(&self, adopt: AdoptTurns) -> Result<Adopted, StoreError> {
        self.adopt(adopt.lease_ms, adopt.limit).await
    }

    async fn release_turn(&self, place: &Place, turn: &TurnId, fence: u64) -> Result<(), StoreError> {
        self.release(place, turn, fence).await
    }

    async fn history(
        &self,
        place: &Place,
        before: Option<u64>,
        limit: usize,
        now_ms: i64,
    ) -> Result<Option<HistoryPage>, StoreError> {
        self.page(place, before, limit, now_ms).await
    }

    async fn leave_try(&self, place: &Place, turn: &TurnId, key: &str) -> Result<(), StoreError> {
        self.leave(place, turn, key).await
    }

    async fn window(&self, place: &Place, budget: Budget) -> Result<Loaded, StoreError> {
        self.newest_items(place, budget).await
    }

    async fn renew_session(&self, owner: &Owner, max_age_ms: i64, now_ms: i64) -> Result<bool, StoreError> {
        self.renew(owner, max_age_ms, now_ms).await
    }

    async fn create_session(&self, owner: &Owner, max_age_ms: i64, now_ms: i64) -> Result<(), StoreError> {
        self.make_session(owner, max_age_ms, now_ms).await
    }

    async fn session_expires_at(&self, owner: &Owner, now_ms: i64) -> Result<Option<i64>, StoreError> {
        self.session_expiry(owner, now_ms).await
    }

    async fn delete_owner(&self, owner: &Owner) -> Result<(), StoreError> {
        self.forget(owner).await
    }

    async fn sweep(&self, _now_ms: i64) -> Result<u64, StoreError> {
        Ok(0)
    }

    fn notices(&self) -> broadcast::Receiver<Notice> {
        self.notices.subscribe()
    }

    async fn close(&self) {
        self.notices.close();
        self.connection.close().await;
    }
}
