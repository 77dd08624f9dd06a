//! When an owner ends, and who hears it: a session that is deleted or expires, a key that is revoked, the open door that a
//! first key shuts.
//!
//! What goes on for long for an owner holds an [`Alive`]. Deletions are heard at once, by the store's notices; whatever ends
//! silently, or whose notice is lost, is found by looking. A store that cannot be asked ends nothing.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::{FutureExt as _, StreamExt as _};
use tokio::sync::broadcast::error::RecvError;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

use super::{Credential, KeyAccess};
use crate::domain::clock::Clock;
use crate::domain::conversation::Owner;
use crate::store::{Notice, Store};

/// How often it is looked for what has ended. Together with the age of the list of keys this stays within a second.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// A session that lives is looked at again after this long, or when it may have expired, if that is sooner.
const SESSION_AGAIN_MS: i64 = 10_000;

/// How many sessions are looked at side by side.
const AT_ONCE: usize = 16;

/// The credentials that something long goes on with; one for each server.
#[derive(Clone)]
pub struct Watch(Arc<Inner>);

struct Inner {
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    keys: Arc<KeyAccess>,
    watched: Mutex<HashMap<Credential, Watched>>,
}

struct Watched {
    holders: usize,
    ended: CancellationToken,
    /// For sessions: when to look next.
    look_at_ms: i64,
}

impl Watch {
    /// Watches the keys of `keys` and the sessions in `store`.
    #[must_use]
    pub fn new(store: Arc<dyn Store>, clock: Arc<dyn Clock>, keys: Arc<KeyAccess>) -> Self {
        Self(Arc::new(Inner { store, clock, keys, watched: Mutex::default() }))
    }

    /// Has `credential` watched until what is returned is dropped.
    #[must_use]
    pub fn enter(&self, credential: Credential) -> Alive {
        let mut watched = self.0.watched();
        let entry = match watched.entry(credential.clone()) {
            Entry::Occupied(entry) => entry.into_mut(),
            // It may have ended since it was checked, so it is looked at once more.
            Entry::Vacant(entry) => {
                entry.insert(Watched { holders: 0, ended: CancellationToken::new(), look_at_ms: i64::MIN })
            }
        };
        entry.holders += 1;
        Alive { ended: entry.ended.clone(), inner: self.0.clone(), credential }
    }

    /// Ends what has ended, until `closing` fires. `running` are the owners of running turns; those of keys that are not
    /// there any more are given to `stop`.
    pub async fn run(self, closing: CancellationToken, running: impl Fn() -> Vec<Owner>, stop: impl Fn(&Owner)) {
        let watching = async {
            loop {
                let watching = async { tokio::join!(self.0.hear(), self.0.look(&running, &stop)) };
                if AssertUnwindSafe(watching).catch_unwind().await.is_err() {
                    // The panic is logged by its hook. Without the watch, nothing would end any more.
                    tracing::error!("the watch over owners panicked, and goes on");
                }
                tokio::time::sleep(LOOK_EVERY).await;
            }
        };
        closing.run_until_cancelled(watching).await;
    }
}

impl Inner {
    async fn hear(&self) {
        let mut notices = self.store.notices();
        loop {
            match notices.recv().await {
                Ok(Notice::OwnerGone(tag)) => {
                    let is_gone = |credential: &Credential| credential.owner().tag() == tag;
                    self.end(|credential| matches!(credential, Credential::Session(_)) && is_gone(credential));
                }
                Ok(_) => {}
                Err(RecvError::Lagged(_)) => {
                    self.watched().values_mut().for_each(|watched| watched.look_at_ms = i64::MIN)
                }
                Err(RecvError::Closed) => return,
            }
        }
    }

    async fn look(&self, running: &impl Fn() -> Vec<Owner>, stop: &impl Fn(&Owner)) {
        let mut ticks = tokio::time::interval(LOOK_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            tokio::join!(self.look_at_keys(running, stop), self.look_at_sessions());
        }
    }

    async fn look_at_keys(&self, running: &impl Fn() -> Vec<Owner>, stop: &impl Fn(&Owner)) {
        let running: Vec<Owner> = running().into_iter().filter(|owner| matches!(owner, Owner::ApiKey(_))).collect();
        let may_end = self.watched().keys().any(|credential| !matches!(credential, Credential::Session(_)));
        if running.is_empty() && !may_end {
            return;
        }
        let Some(known) = self.keys.known().await else { return };
        self.end(|credential| !matches!(credential, Credential::Session(_)) && !known.takes(credential));
        running.iter().filter(|owner| !known.has_owner(owner)).for_each(stop);
    }

    async fn look_at_sessions(&self) {
        let now_ms = self.clock.now_ms();
        let due: Vec<Credential> = {
            let watched = self.watched();
            let sessions = watched.iter().filter(|(credential, watched)| {
                matches!(credential, Credential::Session(_)) && watched.look_at_ms <= now_ms
            });
            sessions.map(|(credential, _)| credential.clone()).collect()
        };
        let looking = due.into_iter().map(|session| async move {
            let expiry = self.store.session_expires_at(&session.owner(), now_ms).await;
            (session, expiry)
        });
        let mut looking = futures::stream::iter(looking).buffer_unordered(AT_ONCE);
        while let Some((session, expiry)) = looking.next().await {
            let mut watched = self.watched();
            let Some(found) = watched.get_mut(&session) else { continue };
            match expiry {
                Ok(None) => found.ended.cancel(),
                Ok(Some(expires_at_ms)) => {
                    found.look_at_ms = expires_at_ms.min(now_ms.saturating_add(SESSION_AGAIN_MS));
                }
                Err(error) => tracing::debug!(%error, "a session cannot be looked at; trying again"),
            }
        }
    }

    fn end(&self, has_ended: impl Fn(&Credential) -> bool) {
        self.watched()
            .iter()
            .filter(|(credential, _)| has_ended(credential))
            .for_each(|(_, watched)| watched.ended.cancel());
    }

    fn watched(&self) -> MutexGuard<'_, HashMap<Credential, Watched>> {
        // No change below is left half-made by a panic.
        self.watched.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Tells when a credential ends.
pub struct Alive {
    inner: Arc<Inner>,
    credential: Credential,
    ended: CancellationToken,
}

impl Alive {
    /// What is watched.
    #[must_use]
    pub fn credential(&self) -> &Credential {
        &self.credential
    }

    /// What `work` gives, or `None` where the credential ends before.
    pub async fn unless_ended<T>(&self, work: impl Future<Output = T>) -> Option<T> {
        self.ended.run_until_cancelled(work).await
    }

    /// Resolves when the credential ends.
    pub fn ended(&self) -> WaitForCancellationFutureOwned {
        self.ended.clone().cancelled_owned()
    }
}

impl Drop for Alive {
    fn drop(&mut self) {
        let mut watched = self.inner.watched();
        if let Some(entry) = watched.get_mut(&self.credential) {
            entry.holders -= 1;
            if entry.holders == 0 {
                watched.remove(&self.credential);
            }
        }
    }
}
