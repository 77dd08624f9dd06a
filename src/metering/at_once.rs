//! How many calls to models may run at once: on the whole server, and for each visitor.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::OwnerKind;
use crate::config::ModelCallLimits;
use crate::domain::conversation::Owner;

/// Why a call does not begin now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AtCapacity {
    /// This visitor has as many calls as one may have.
    #[error("the owner has {most} calls to models under way, and may have no more")]
    Owner {
        /// How many that are.
        most: usize,
    },
    /// The server has as many calls as it may have.
    #[error("the server has as many calls to models under way as it may have")]
    Server,
}

/// The places for calls. A caller that waits for one gets it in order, before any that asks without waiting.
pub(super) struct Places {
    limits: ModelCallLimits,
    server: Arc<Semaphore>,
    visitors: Arc<Mutex<Visitors>>,
}

/// The places of each visitor that has, or waits for, one; and how many of those there are.
type Visitors = HashMap<Owner, (usize, Arc<Semaphore>)>;

/// A place; free again when this is dropped.
pub(super) struct Held {
    _server: OwnedSemaphorePermit,
    _visitor: Option<(OwnedSemaphorePermit, Listed)>,
}

impl Places {
    pub(super) fn new(limits: ModelCallLimits) -> Self {
        Self { limits, server: Arc::new(Semaphore::new(limits.server)), visitors: Arc::default() }
    }

    /// A place, where one is free.
    pub(super) fn take(&self, owner: &Owner) -> Result<Held, AtCapacity> {
        let most = self.limits.visitor;
        let visitor = match self.listed(owner) {
            None => None,
            Some((listed, own)) => {
                let permit = own.try_acquire_owned().map_err(|_| AtCapacity::Owner { most })?;
                Some((permit, listed))
            }
        };
        let server = self.server.clone().try_acquire_owned().map_err(|_| AtCapacity::Server)?;
        Ok(Held { _server: server, _visitor: visitor })
    }

    /// A place, as soon as one is free.
    pub(super) async fn wait(&self, owner: &Owner) -> Result<Held, AtCapacity> {
        let visitor = match self.listed(owner) {
            None => None,
            Some((listed, own)) => {
                let most = self.limits.visitor;
                Some((own.acquire_owned().await.map_err(|_closed| AtCapacity::Owner { most })?, listed))
            }
        };
        let server = self.server.clone().acquire_owned().await.map_err(|_closed| AtCapacity::Server)?;
        Ok(Held { _server: server, _visitor: visitor })
    }

    fn listed(&self, owner: &Owner) -> Option<(Listed, Arc<Semaphore>)> {
        if OwnerKind::of(owner) != OwnerKind::Visitor {
            return None;
        }
        let mut visitors = lock(&self.visitors);
        let (users, own) =
            visitors.entry(owner.clone()).or_insert_with(|| (0, Arc::new(Semaphore::new(self.limits.visitor))));
        *users += 1;
        Some((Listed { visitors: self.visitors.clone(), owner: owner.clone() }, own.clone()))
    }

    #[cfg(test)]
    fn visitors(&self) -> usize {
        lock(&self.visitors).len()
    }
}

/// Keeps a visitor's places in the list, for as long as one is held or waited for.
struct Listed {
    visitors: Arc<Mutex<Visitors>>,
    owner: Owner,
}

impl Drop for Listed {
    fn drop(&mut self) {
        let mut visitors = lock(&self.visitors);
        if let Some((users, _)) = visitors.get_mut(&self.owner) {
            *users -= 1;
            if *users == 0 {
                visitors.remove(&self.owner);
            }
        }
    }
}

fn lock(visitors: &Mutex<Visitors>) -> MutexGuard<'_, Visitors> {
    // No change below is left half-made by a panic.
    visitors.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;

    use super::*;
    use crate::domain::ids::SessionKey;

    fn visitor(number: u8) -> Owner {
        Owner::Session(SessionKey::of_secret(&[number; 32]))
    }

    #[test]
    fn each_visitor_and_the_server_have_their_bounds_and_nothing_is_left_behind() {
        let places = Places::new(ModelCallLimits { server: 3, visitor: 2 });
        let (ada, eve, key) = (visitor(1), visitor(2), Owner::ApiKey("web".into()));
        let (first, second) = (places.take(&ada).unwrap(), places.take(&ada).unwrap());
        assert_eq!(places.take(&ada).err(), Some(AtCapacity::Owner { most: 2 }));
        let third = places.take(&eve).unwrap();
        assert_eq!(places.take(&key).err(), Some(AtCapacity::Server));
        assert_eq!(places.take(&eve).err(), Some(AtCapacity::Server));
        let mut waits = Box::pin(places.wait(&ada));
        assert!(waits.as_mut().now_or_never().is_none());
        drop(first);
        let fourth = waits.now_or_never().unwrap().unwrap();
        assert_eq!(places.visitors(), 2);
        drop((second, third, fourth));
        assert_eq!(places.visitors(), 0);
        let all: Vec<_> = (0..3).map(|_| places.take(&key).unwrap()).collect();
        assert_eq!((all.len(), places.visitors()), (3, 0));
    }
}
