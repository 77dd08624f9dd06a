//! The store's keys as a running server knows them: read again when a request asks for one and they are a second old.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync;
use tokio::time::{Instant, timeout};

use super::list;
use crate::config::ApiKeys;
use crate::store::Store;

/// How long a list counts without a look at the store. With the look itself, a key that was made or revoked is noticed
/// within a second.
const FRESH: Duration = Duration::from_millis(700);

/// How long a look at the store may take.
const PATIENCE: Duration = Duration::from_secs(1);

/// How long the last list counts while the store is away: who was known stays known, and nothing is learned of keys that
/// are revoked meanwhile.
pub const TRUST: Duration = Duration::from_secs(5 * 60);

/// See the module.
pub struct KeyCache {
    store: Arc<dyn Store>,
    known: Mutex<Known>,
    /// Held by the one who looks.
    looking: sync::Mutex<()>,
}

#[derive(Default)]
struct Known {
    /// The last list, and when it was read.
    list: Option<(Arc<ApiKeys>, Instant)>,
    /// When they were last looked up, in vain or not.
    looked: Option<Instant>,
    /// That look was in vain.
    away: bool,
}

impl Known {
    fn is_settled(&self, now: Instant) -> bool {
        self.looked.is_some_and(|looked| now.saturating_duration_since(looked) < FRESH)
    }

    fn trusted(&self, now: Instant) -> Option<Arc<ApiKeys>> {
        let (list, read) = self.list.as_ref()?;
        (now.saturating_duration_since(*read) < TRUST).then(|| list.clone())
    }
}

impl KeyCache {
    /// The keys in `store`; nothing is read before the first request asks.
    #[must_use]
    pub fn new(store: Arc<dyn Store>) -> Self {
        Self { store, known: Mutex::default(), looking: sync::Mutex::default() }
    }

    /// The keys there are. `None` where the store is away and what was known is too old, or nothing was ever known: who
    /// asks must then take nothing for granted, least of all that there is no key. Takes about a second at most.
    pub async fn keys(&self) -> Option<Arc<ApiKeys>> {
        let (settled, away) = {
            let (known, now) = (self.known(), Instant::now());
            (known.is_settled(now).then(|| known.trusted(now)), known.away)
        };
        if let Some(keys) = settled {
            return keys;
        }
        // One looks, and the others wait for what that finds; once the store is known to be away, they don't.
        let _looking = match away {
            false => self.looking.lock().await,
            true => match self.looking.try_lock() {
                Ok(looking) => looking,
                Err(_) => return self.known().trusted(Instant::now()),
            },
        };
        let is_settled = self.known().is_settled(Instant::now());
        if !is_settled {
            self.look().await;
        }
        self.known().trusted(Instant::now())
    }

    async fn look(&self) {
        let found = match timeout(PATIENCE, list(&*self.store)).await {
            Ok(found) => found.map_err(|error| error.to_string()),
            Err(_late) => Err("the store did not answer in time".to_owned()),
        };
        let (mut known, now) = (self.known(), Instant::now());
        known.looked = Some(now);
        match found {
            Ok(keys) => {
                if std::mem::take(&mut known.away) {
                    tracing::info!("the keys can be read again");
                }
                let keys: ApiKeys = keys.into_iter().map(|key| (key.name, key.hash)).collect();
                known.list = Some((Arc::new(keys), now));
            }
            Err(error) => {
                if !std::mem::replace(&mut known.away, true) {
                    tracing::warn!(error, "the keys cannot be read; those that are known count on for a while");
                }
            }
        }
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        // Nothing below panics halfway through a change.
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
