//! The turns of one server: the state that the engine's parts share, what other instances tell, and the stop.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::claims::Claims;
use super::hub::{Hubs, Stop};
use super::queue::Queues;
use super::wakeups::Wakeups;
use crate::config::OnCrash;
use crate::domain::clock::Clock;
use crate::domain::conversation::{Owner, Place};
use crate::domain::ids::{Ids, InstanceId, ItemId, TurnId};
use crate::metering::Metering;
use crate::store::{Notice, Store, StoreError};
use crate::tasks::Tasks;

/// What a turn's life is bounded by.
#[derive(Debug, Clone)]
pub struct TurnLimits {
    /// The most tokens that go upstream.
    pub history_max_tokens: u32,
    /// How many turns may wait for one conversation.
    pub max_waiting: usize,
    /// How long each may wait.
    pub max_wait: Duration,
    /// How long a turn stays its server's without a sign of life.
    pub lease: Duration,
    /// How long a turn's events are kept after its end.
    pub keep_events: Duration,
    /// How long readers wait for a store that does not take an answer.
    pub store_patience: Duration,
    /// What becomes of a turn whose server went away.
    pub on_crash: OnCrash,
}

impl TurnLimits {
    pub(super) fn keep_events_ms(&self) -> i64 {
        i64::try_from(self.keep_events.as_millis()).unwrap_or(i64::MAX)
    }
}

/// The turns of one server.
#[derive(Clone)]
pub struct Turns(pub(super) Arc<Inner>);

pub(super) struct Inner {
    pub(super) store: Arc<dyn Store>,
    pub(super) metering: Metering,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) instance: InstanceId,
    pub(super) limits: TurnLimits,
    pub(super) tasks: Tasks,
    pub(super) hubs: Hubs,
    pub(super) claims: Claims,
    /// Turns that are about to begin: the store is being asked.
    pub(super) admissions: TaskTracker,
    pub(super) queues: Queues,
    pub(super) wakeups: Wakeups,
    /// Told when a lease was released, so that its turn is taken over at once.
    pub(super) orphans: Notify,
    /// Fires when readers should go and come back to another server.
    pub(super) leaving: CancellationToken,
    /// Fires when there is no more time to store anything.
    pub(super) abandoned: CancellationToken,
}

impl Turns {
    /// The turns of a server that is `ids`' next instance.
    #[must_use]
    pub fn new(
        store: Arc<dyn Store>,
        metering: Metering,
        clock: Arc<dyn Clock>,
        ids: &dyn Ids,
        limits: TurnLimits,
        tasks: Tasks,
    ) -> Self {
        let instance = InstanceId::fresh(ids, &*clock);
        let (hubs, queues, wakeups) = (Hubs::default(), Queues::default(), Wakeups::default());
        let (leaving, abandoned) = (CancellationToken::new(), CancellationToken::new());
        let (claims, admissions) = (Claims::default(), TaskTracker::new());
        let inner = Inner {
            store,
            metering,
            clock,
            instance,
            limits,
            tasks,
            hubs,
            claims,
            admissions,
            queues,
            wakeups,
            orphans: Notify::new(),
            leaving,
            abandoned,
        };
        Self(Arc::new(inner))
    }

    /// Deletes all that an owner has, and stops its running turns, here and on other instances.
    ///
    /// # Errors
    /// When the store cannot do it; nothing is promised then, and it can be repeated.
    pub async fn forget(&self, owner: &Owner) -> Result<(), StoreError> {
        self.0.store.delete_owner(owner).await?;
        self.0.stop_owner(&owner.tag());
        Ok(())
    }

    /// Deletes a conversation, and stops its running turn, here and on other instances; false where there is none.
    ///
    /// # Errors
    /// When the store cannot do it; nothing is promised then, and it can be repeated.
    pub async fn delete_conversation(&self, place: &Place) -> Result<bool, StoreError> {
        let gone = self.0.store.delete_conversation(place).await?;
        if gone {
            self.0.hubs.select(|hub| hub.place == *place).iter().for_each(|hub| hub.stop(Stop::Deleted));
        }
        Ok(gone)
    }

    /// Takes a question that was asked again out of its conversation. Where the store cannot do that, it stays beside the new
    /// one.
    pub async fn withdraw_question(&self, place: &Place, question: impl Iterator<Item = &ItemId>) {
        for item in question {
            if let Err(error) = self.0.store.remove_item(place, item).await {
                tracing::warn!(conversation.id = %place.conversation, %error, "a question that was asked again stays twice");
            }
        }
    }

    /// Deletes a conversation in a task of its own: its caller may be a destructor.
    pub fn discard_conversation(&self, place: Place) {
        let store = self.0.store.clone();
        self.0.tasks.spawn("discard", async move {
            if let Err(error) = store.delete_conversation(&place).await {
                tracing::warn!(conversation.id = %place.conversation, %error, "a copy of a conversation is left behind");
            }
        });
    }

    /// Passes on what other instances tell, until the server stops.
    pub async fn heed_notices(self) {
        let mut notices = self.0.store.notices();
        loop {
            let notice = tokio::select! {
                biased;
                notice = notices.recv() => notice,
                () = self.0.abandoned.cancelled() => return,
            };
            match notice {
                Ok(Notice::Events(turn)) => self.0.wakeups.wake(turn.as_str()),
                Ok(Notice::Free(conversation)) => self.0.wakeups.wake(conversation.as_str()),
                Ok(Notice::Cancel(turn)) => self.0.stop_turn(&turn),
                Ok(Notice::OwnerGone(tag)) => self.0.stop_owner(&tag),
                Err(tokio::sync::broadcast::error::RecvError::Lagged(lost)) => {
                    tracing::debug!(lost, "notices were lost; waiters look by themselves");
                }
                Err(tokio::sync::broadcast::error::RecvError::Closed) => return,
            }
        }
    }

    /// The owners of the turns that run here, each once.
    #[must_use]
    pub fn owners(&self) -> Vec<Owner> {
        let mut owners: Vec<Owner> = Vec::new();
        for hub in self.0.hubs.select(|_| true) {
            if !owners.contains(&hub.place.owner) {
                owners.push(hub.place.owner.clone());
            }
        }
        owners
    }

    /// Cancels the turns of an owner that run here: what was shown of them is kept.
    pub fn cancel_all_of(&self, owner: &Owner) {
        self.0.hubs.select(|hub| hub.place.owner == *owner).iter().for_each(|hub| hub.stop(Stop::Cancelled));
    }

    /// How many turns run here.
    #[must_use]
    pub fn running(&self) -> usize {
        self.0.hubs.len()
    }

    /// Ends this server's part: readers of turns that run elsewhere are sent away, turns get `grace` to end by
    /// themselves, and what then still runs is stored as far as it came.
    pub async fn shut_down(&self, grace: Duration) {
        let left = self.wait_until_idle(grace).await;
        if left > 0 {
            tracing::info!(turns = left, "stopping turns that outlast the grace period");
        }
        self.0.leaving.cancel();
        self.0.hubs.select(|_| true).iter().for_each(|hub| hub.stop(Stop::Shutdown));
        let stuck = self.wait_until_idle(self.0.limits.store_patience).await;
        if stuck > 0 {
            tracing::error!(turns = stuck, "turns could not be stored; they are taken over when the store is back");
        }
        self.0.abandoned.cancel();
    }

    async fn wait_until_idle(&self, limit: Duration) -> usize {
        let idle = async {
            // In this order, because a turn becomes a hub before it stops being an admission.
            while !(self.0.admissions.is_empty() && self.0.hubs.is_empty()) {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        // The count says whether time ran out.
        let _ = tokio::time::timeout(limit, idle).await;
        self.0.hubs.len()
    }
}

impl Inner {
    pub(super) fn lease_ms(&self) -> i64 {
        i64::try_from(self.limits.lease.as_millis()).unwrap_or(i64::MAX)
    }

    pub(super) fn stop_turn(&self, turn: &TurnId) {
        if let Some(hub) = self.hubs.get(turn) {
            hub.stop(Stop::Cancelled);
        }
    }

    pub(super) fn stop_owner(&self, tag: &str) {
        self.hubs.select(|hub| hub.place.owner.tag() == tag).iter().for_each(|hub| hub.stop(Stop::Deleted));
    }
}
