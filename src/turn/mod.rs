//! Turns: begin one, read one, stop one. Doors ask here, and nothing in here knows of HTTP.

mod admit;
mod adopt;
pub mod bells;
pub mod cancel;
pub mod hub;
pub mod line;
mod log;
pub mod prompt;
pub mod reader;
mod run;
pub mod scratch;

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use self::bells::Bells;
use self::cancel::CancelOnLeave;
use self::hub::{Hub, HubState, Hubs, Stop};
use self::line::Lines;
use self::reader::Reader;
use self::run::Job;
use crate::domain::clock::Clock;
use crate::domain::conversation::{Owner, Place};
use crate::domain::ids::{ConversationId, Ids, InstanceId, TurnId};
use crate::domain::turn::TurnRequest;
use crate::store::{IdempotencyKey, Notice, SessionUse, Store, StoreError};
use crate::tasks::Tasks;
use crate::upstream::Upstream;

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
    fn keep_events_ms(&self) -> i64 {
        i64::try_from(self.keep_events.as_millis()).unwrap_or(i64::MAX)
    }
}

/// What becomes of a turn whose server went away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnCrash {
    /// It runs again, once.
    Rerun,
    /// It ends with what was shown.
    Interrupt,
}

/// What a door asks for.
#[derive(Debug, Clone)]
pub struct Ask {
    /// Who asks, and in which conversation.
    pub place: Place,
    /// How the session is used.
    pub session: SessionUse,
    /// Whether the conversation is made where it does not exist.
    pub create_conversation: bool,
    /// Whether a conversation that is made is hidden: see [`crate::store::conversations`].
    pub hidden: bool,
    /// How many items the conversation must have; where it has others, the turn is refused as [`Refused::Moved`].
    pub expected_items: Option<u64>,
    /// What is asked.
    pub request: TurnRequest,
    /// The id that the turn will have.
    pub turn: TurnId,
    /// The client's idempotency key, where it sent one.
    pub idempotency: Option<IdempotencyKey>,
    /// What to do where the conversation is busy.
    pub on_busy: OnBusy,
    /// Whether the turn ends, or does not even begin, where nobody waits for it any more.
    pub drop_if_unheard: bool,
}

/// What to do where a turn of the same conversation is running.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OnBusy {
    /// Wait in line.
    #[default]
    Queue,
    /// Give up at once.
    Reject,
    /// Cancel the running turn and take its place.
    Interrupt,
}

/// A turn that runs, or has run already under the same idempotency key.
pub struct Accepted {
    /// Where it lives.
    pub conversation: ConversationId,
    /// Reads it from its first event on.
    pub reader: Reader,
    /// Where the turn ends when nobody hears it any more.
    pub on_leave: Option<CancelOnLeave>,
}

/// Why no turn began. Nothing was spent, and nothing was stored.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    /// The prompt alone is too long.
    #[error("the prompt takes {} tokens, and there is room for {}", .0.tokens, .0.limit)]
    TooLong(prompt::TooLong),
    /// A turn is running, and there was to be no waiting.
    #[error("the conversation is busy")]
    Busy,
    /// So many turns of this conversation are waiting that one more may not.
    #[error("too many requests are waiting for this conversation")]
    LineFull,
    /// The turns before this one took too long.
    #[error("the conversation was busy for too long")]
    WaitedTooLong,
    /// The conversation has other items than expected, or is about to.
    #[error("the conversation has gone on")]
    Moved,
    /// There is no such conversation.
    #[error("no such conversation")]
    UnknownConversation,
    /// There is no such session.
    #[error("no such session")]
    UnknownSession,
    /// The idempotency key was used with another body.
    #[error("the idempotency key was used with another body")]
    KeyReused,
    /// The server stops.
    #[error("the server is shutting down")]
    Stopping,
    /// The store could not take it.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// The turns of one server.
#[derive(Clone)]
pub struct Turns(Arc<Inner>);

pub(crate) struct Inner {
    store: Arc<dyn Store>,
    upstream: Arc<dyn Upstream>,
    clock: Arc<dyn Clock>,
    instance: InstanceId,
    limits: TurnLimits,
    tasks: Tasks,
    hubs: Hubs,
    /// Turns that are about to begin: the store is being asked.
    admissions: TaskTracker,
    lines: Lines,
    bells: Bells,
    /// Fires when readers should go and come back to another server.
    leaving: CancellationToken,
    /// Fires when there is no more time to store anything.
    abandoned: CancellationToken,
}

impl Turns {
    /// The turns of a server that is `ids`' next instance.
    #[must_use]
    pub fn new(
        store: Arc<dyn Store>,
        upstream: Arc<dyn Upstream>,
        clock: Arc<dyn Clock>,
        ids: &dyn Ids,
        limits: TurnLimits,
        tasks: Tasks,
    ) -> Self {
        let instance = InstanceId::fresh(ids, &*clock);
        let (hubs, lines, bells) = (Hubs::default(), Lines::default(), Bells::default());
        let (leaving, abandoned) = (CancellationToken::new(), CancellationToken::new());
        let admissions = TaskTracker::new();
        let inner = Inner {
            store,
            upstream,
            clock,
            instance,
            limits,
            tasks,
            hubs,
            admissions,
            lines,
            bells,
            leaving,
            abandoned,
        };
        Self(Arc::new(inner))
    }

    /// Reads a turn from after event number `after`. An unknown one shows with the first read.
    #[must_use]
    pub fn read(&self, owner: &Owner, turn: &TurnId, after: u64) -> Reader {
        Reader::new(self.0.clone(), owner.clone(), turn.clone(), after)
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

    /// Deletes a conversation that nobody was told of, by itself: whoever made it need not wait, or may be gone.
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
                Ok(Notice::Events(turn)) => self.0.bells.ring(turn.as_str()),
                Ok(Notice::Free(conversation)) => self.0.bells.ring(conversation.as_str()),
                Ok(Notice::Cancel(turn)) => self.0.stop_turn(&turn),
                Ok(Notice::OwnerGone(tag)) => self.0.stop_owner(&tag),
                Err(tokio::sync::broadcast::error::RecvError::Lagged(lost)) => {
                    tracing::debug!(lost, "notices were lost; waiters look by themselves");
                }
                Err(tokio::sync::broadcast::error::RecvError::Closed) => return,
            }
        }
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

/// Runs the turn; should it panic, its readers are not left waiting.
async fn guarded(inner: Arc<Inner>, job: Job) {
    let (turn, hub) = (job.turn.clone(), job.hub.clone());
    let _cleanup = Cleanup { inner: inner.clone(), turn, hub };
    run::run(inner, job).await;
}

struct Cleanup {
    inner: Arc<Inner>,
    turn: TurnId,
    hub: Arc<Hub>,
}

impl Drop for Cleanup {
    fn drop(&mut self) {
        self.hub.leave(HubState::Stalled);
        self.inner.hubs.remove(&self.turn, &self.hub);
    }
}

impl Inner {
    fn lease_ms(&self) -> i64 {
        i64::try_from(self.limits.lease.as_millis()).unwrap_or(i64::MAX)
    }

    fn stop_turn(&self, turn: &TurnId) {
        if let Some(hub) = self.hubs.get(turn) {
            hub.stop(Stop::Cancelled);
        }
    }

    fn stop_owner(&self, tag: &str) {
        self.hubs.select(|hub| hub.place.owner.tag() == tag).iter().for_each(|hub| hub.stop(Stop::Deleted));
    }
}
