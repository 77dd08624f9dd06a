//! Turns that nobody keeps: they live in this process, as long as whoever asked for them stays, and leave nothing behind.

use std::sync::Arc;
use std::time::Duration;

use super::{OnCrash, TurnLimits, Turns};
use crate::domain::clock::Clock;
use crate::domain::conversation::Owner;
use crate::domain::ids::Ids;
use crate::store::Store;
use crate::store::memory::Memory;
use crate::tasks::Tasks;
use crate::upstream::Upstream;

/// The turns, over a store in memory.
#[derive(Clone)]
pub struct Scratch {
    turns: Turns,
    store: Arc<dyn Store>,
    ids: Arc<dyn Ids>,
    clock: Arc<dyn Clock>,
    tasks: Tasks,
}

/// Somebody's part of it; gone, with all turns in it, when this is dropped.
pub struct Sheet {
    scratch: Scratch,
    owner: Owner,
}

impl Scratch {
    /// Turns with the limits of those that are kept, but for what only makes sense for what is kept.
    #[must_use]
    pub fn new(
        upstream: Arc<dyn Upstream>,
        clock: Arc<dyn Clock>,
        ids: Arc<dyn Ids>,
        limits: &TurnLimits,
        tasks: Tasks,
    ) -> Self {
        let store: Arc<dyn Store> = Arc::new(Memory::new(clock.clone()));
        let limits = TurnLimits { on_crash: OnCrash::Interrupt, ..limits.clone() };
        let turns = Turns::new(store.clone(), upstream, clock.clone(), &*ids, limits, tasks.clone());
        Self { turns, store, ids, clock, tasks }
    }

    /// An empty sheet, which nobody else can see.
    #[must_use]
    pub fn sheet(&self) -> Sheet {
        let owner = Owner::ApiKey(format!("sheet {:032x}", self.ids.public(self.clock.now_ms())));
        Sheet { scratch: self.clone(), owner }
    }

    /// Lets what runs end within `grace`, and ends the rest.
    pub async fn shut_down(&self, grace: Duration) {
        self.turns.shut_down(grace).await;
    }
}

impl Sheet {
    /// Whose the turns in it are.
    #[must_use]
    pub fn owner(&self) -> &Owner {
        &self.owner
    }

    /// Begins and reads them.
    #[must_use]
    pub fn turns(&self) -> &Turns {
        &self.scratch.turns
    }

    /// Where they are.
    #[must_use]
    pub fn store(&self) -> &Arc<dyn Store> {
        &self.scratch.store
    }
}

impl Drop for Sheet {
    fn drop(&mut self) {
        let (turns, owner) = (self.scratch.turns.clone(), self.owner.clone());
        self.scratch.tasks.spawn("scratch", async move {
            if let Err(error) = turns.forget(&owner).await {
                tracing::error!(%error, "what nobody keeps could not be dropped");
            }
        });
    }
}
