//! What every handler may reach.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::Semaphore;

use crate::access::KeyAccess;
use crate::access::session::SessionCookies;
use crate::config::ChatConfig;
use crate::domain::clock::Clock;
use crate::domain::ids::Ids;
use crate::metering::Metering;
use crate::store::Store;
use crate::tasks::InFlight;
use crate::turn::Turns;
use crate::turn::scratch::Scratch;

/// The server's parts, put together once in `server.rs`.
pub struct App {
    /// Begins, reads and stops turns.
    pub turns: Turns,
    /// The same for turns that nobody keeps.
    pub scratch: Scratch,
    /// For what needs no turn: reading history, readiness.
    pub store: Arc<dyn Store>,
    /// The only way to a model.
    pub metering: Metering,
    /// Those requests, while they last.
    pub in_flight: InFlight,
    /// Who may use the SDK door.
    pub keys: KeyAccess,
    /// Wall-clock time.
    pub clock: Arc<dyn Clock>,
    /// Fresh ids and secrets.
    pub ids: Arc<dyn Ids>,
    /// Cookies in and out.
    pub sessions: SessionCookies,
    /// Defaults and limits of `/chat`.
    pub chat: ChatConfig,
    /// A permit for each WebSocket, which outlives its place among the connections.
    pub sockets: Arc<Semaphore>,
    /// The origins of pages that may use the server, besides its own as `Host` tells it.
    pub origins: Vec<String>,
    /// The largest body that is read, in bytes.
    pub max_body_bytes: usize,
    /// The largest body that is passed on, in bytes.
    pub max_upload_bytes: u64,
    /// How long a client may take to send its body.
    pub body_timeout: Duration,
    /// How long a streamed answer waits for its first event before it commits to status 200.
    pub first_event_wait: Duration,
    /// Whether the server still takes new work.
    pub ready: Readiness,
}

/// Whether new work is wanted; turns to no once, when the server begins to stop.
#[derive(Debug, Default)]
pub struct Readiness(AtomicBool);

impl Readiness {
    /// From now on the server is not ready.
    pub fn stop(&self) {
        self.0.store(true, Ordering::SeqCst);
    }

    /// Whether the server begins to stop.
    #[must_use]
    pub fn is_stopping(&self) -> bool {
        self.0.load(Ordering::SeqCst)
    }
}
