//! Turns that are not stored: they live in this process for as long as the request or socket that asked for them.

use std::sync::Arc;
use std::time::Duration;

use super::engine::{TurnLimits, Turns};
use crate::config::OnCrash;
use crate::domain::clock::Clock;
use crate::domain::conversation::Owner;
use crate::domain::ids::Ids;
use crate::metering::Metering;
use crate::store::Store;
use crate::store::memory::Memory;
use crate::tasks::Tasks;

/// The turns of all scratch spaces, over one store in memory.
#[derive(Clone)]
pub struct Scratch {
    turns: Turns,
    store: Arc<dyn Store>,
    ids: Arc<dyn Ids>,
    clock: Arc<dyn Clock>,
    tasks: Tasks,
}

/// The turns of one request or socket, under an owner of their own. Dropping this deletes them.
pub struct ScratchSpace {
    scratch: Scratch,
    owner: Owner,
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
        let store: Arc<dyn Store> = Arc::new(Memory::new(clock.clone()));
        let limits = TurnLimits { on_crash: OnCrash::Interrupt, ..limits.clone() };
        let turns = Turns::new(store.clone(), metering, clock.clone(), &*ids, limits, tasks.clone());
        Self { turns, store, ids, clock, tasks }
    }

    /// An empty space, with a fresh owner.
    #[must_use]
    pub fn space(&self) -> ScratchSpace {
        let owner = Owner::ApiKey(format!("scratch {:032x}", self.ids.public(self.clock.now_ms())));
        ScratchSpace { scratch: self.clone(), owner }
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
