//! Turns that are not stored: they live in this process for as long as the request or socket that asked for them.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use super::engine::{TurnLimits, Turns};
use crate::config::OnCrash;
use crate::domain::clock::Clock;
use crate::domain::conversation::Owner;
use crate::domain::ids::{Ids, SessionKey, TurnId};
use crate::metering::Metering;
use crate::store::memory::Memory;
use crate::store::{Store, StoreError};
use crate::tasks::Tasks;

/// The most responses of one space that a later one can go on from.
const MOST_RESPONSES: usize = 16;

/// The most bytes that they and their conversations take. A longer history fits no model.
const MOST_BYTES: usize = 8 * 1024 * 1024;

/// The turns of all scratch spaces, over one store in memory.
#[derive(Clone)]
pub struct Scratch {
    turns: Turns,
    memory: Arc<Memory>,
    store: Arc<dyn Store>,
    ids: Arc<dyn Ids>,
    tasks: Tasks,
}

/// The turns of one request or socket, under an owner of their own. Dropping this deletes them.
pub struct ScratchSpace {
    scratch: Scratch,
    owner: Owner,
    /// Those that a later one can go on from, oldest first.
    ended: VecDeque<TurnId>,
}

impl Scratch {
    /// Turns with the limits of stored ones. Nothing of them outlives the process, so none is taken over.
    #[must_use]
    pub fn new(
        metering: Metering,
        clock: Arc<dyn Clock>,
        ids: Arc<dyn Ids>,
        limits: &TurnLimits,
        tasks: Tasks,
    ) -> Self {
        let memory = Arc::new(Memory::new(clock.clone()));
        let store: Arc<dyn Store> = memory.clone();
        let limits = TurnLimits { on_crash: OnCrash::Interrupt, ..limits.clone() };
        let turns = Turns::new(store.clone(), metering, clock, &*ids, limits, tasks.clone());
        Self { turns, memory, store, ids, tasks }
    }

    /// An empty space, with a fresh owner.
    #[must_use]
    pub fn space(&self) -> ScratchSpace {
        let owner = Owner::Session(SessionKey::of_secret(&self.ids.secret()));
        self.memory.open_session(&owner);
        ScratchSpace { scratch: self.clone(), owner, ended: VecDeque::new() }
    }

    /// How many rows all spaces have, and how many bytes these turns take.
    #[cfg(feature = "testing")]
    pub fn held(&self, turns: &[TurnId]) -> (usize, usize) {
        (self.memory.count(), self.memory.bytes_of(turns))
    }

    /// Lets what runs end within `grace`, and ends the rest.
    pub async fn shut_down(&self, grace: Duration) {
        self.turns.shut_down(grace).await;
    }
}

impl ScratchSpace {
    /// Whose its turns are.
    #[must_use]
    pub fn owner(&self) -> &Owner {
        &self.owner
    }

    /// Begins and reads them.
    #[must_use]
    pub fn turns(&self) -> &Turns {
        &self.scratch.turns
    }

    /// Has their records.
    #[must_use]
    pub fn store(&self) -> &Arc<dyn Store> {
        &self.scratch.store
    }

    /// Keeps of a turn that has ended what a later one can go on from, and of earlier ones no more than fits.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn keep(&mut self, turn: TurnId) -> Result<(), StoreError> {
        self.scratch.memory.slim(&turn);
        self.ended.push_back(turn);
        while self.ended.len() > MOST_RESPONSES || self.scratch.memory.bytes_of(&self.ended) > MOST_BYTES {
            let Some(oldest) = self.ended.pop_front() else { break };
            self.scratch.store.delete_turn(&self.owner, &oldest).await?;
        }
        Ok(())
    }
}

impl Drop for ScratchSpace {
    fn drop(&mut self) {
        let (turns, owner) = (self.scratch.turns.clone(), self.owner.clone());
        self.scratch.tasks.spawn("scratch", async move {
            if let Err(error) = turns.forget(&owner).await {
                tracing::error!(%error, "a scratch space could not be dropped");
            }
        });
    }
}
