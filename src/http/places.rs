//! How many connections there may be at once, and how many of them may be WebSockets.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::config::ServerLimits;

/// The places of all connections.
///
/// A WebSocket keeps its connection's place until it is closed. Sockets together have three quarters of the places: with the
/// rest, plain requests are served however many sockets are open.
#[derive(Debug, Clone)]
pub struct Places {
    all: Arc<Semaphore>,
    sockets: Arc<Semaphore>,
    /// Whether a client waits for a place.
    wanted: Arc<AtomicBool>,
}

/// A place, until this is dropped.
#[derive(Debug)]
pub struct Place(#[expect(dead_code, reason = "held for its drop")] OwnedSemaphorePermit);

impl Places {
    /// As many as the limits and the open files that the process may have (`ulimit -n`) allow; `None` is any number of files.
    #[must_use]
    pub fn new(limits: &ServerLimits, open_files: Option<usize>) -> Self {
        let most = open_files.map_or(limits.max_connections, |files| limits.connections_within(files));
        if most < limits.max_connections {
            tracing::info!(
                connections.most = most,
                "`ulimit -n` leaves room for fewer connections than MAX_CONNECTIONS"
            );
        }
        let plain_only = most.div_ceil(4);
        Self {
            all: Arc::new(Semaphore::new(most)),
            sockets: Arc::new(Semaphore::new(most - plain_only)),
            wanted: Arc::default(),
        }
    }

    /// A place for a connection; waits until there is one.
    pub async fn connection(&self) -> Option<Place> {
        if let Ok(free) = self.all.clone().try_acquire_owned() {
            return Some(Place(free));
        }
        self.wanted.store(true, Ordering::Relaxed);
        let place = self.all.clone().acquire_owned().await;
        self.wanted.store(false, Ordering::Relaxed);
        // An error would say that the semaphore was closed, and nothing closes it.
        place.ok().map(Place)
    }

    /// Whether a client has connected and waits for a place: connections that have nothing to do should end.
    #[must_use]
    pub fn are_wanted(&self) -> bool {
        self.wanted.load(Ordering::Relaxed)
    }

    /// A place among the sockets, for a connection that is to become one; `None` where there is none.
    #[must_use]
    pub fn socket(&self) -> Option<Place> {
        self.sockets.clone().try_acquire_owned().ok().map(Place)
    }
}
