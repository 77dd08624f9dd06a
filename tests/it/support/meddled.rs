//! A store with somebody in between, who may delay, fail or withhold what passes.

use std::sync::Arc;

use async_trait::async_trait;
use openai_backend::domain::conversation::{Owner, Place};
use openai_backend::domain::ids::{ConversationId, InstanceId, ItemId, TurnId};
use openai_backend::domain::item::{Item, StoredItem};
use openai_backend::domain::turn::TurnRecord;
use openai_backend::domain::window::Budget;
use openai_backend::store::conversations::{
    Added, ConversationInfo, ConversationsPage, Created, ItemsPage, ItemsQuery, NewConversation, Removed,
};
use openai_backend::store::documents::{Document, DocumentKind, DocumentsPage, DocumentsQuery};
use openai_backend::store::{
    AppendEvents, Appended, BeginTurn, Begun, CancelRequest, EventsPage, FinishTurn, Finished, HistoryPage, Notice,
    Store, StoreError, StoreInfo,
};
use tokio::sync::broadcast;

/// What passes, by the name of its operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Op {
    Ping,
    BeginTurn,
    AppendEvents,
    FinishTurn,
    ReadEvents,
    Turn,
    Turns,
    RequestCancel,
    AdoptTurns,
    ReleaseTurn,
    History,
    Window,
    RenewSession,
    DeleteOwner,
    Sweep,
}

/// Who stands in between.
#[async_trait]
pub trait Meddler: Send + Sync + 'static {
    /// Before the store hears of it; an error keeps it from the store.
    async fn before(&self, _: Op) -> Result<(), StoreError> {
        Ok(())
    }

    /// After it has happened; an error takes its answer away.
    async fn after(&self, _: Op) -> Result<(), StoreError> {
        Ok(())
    }

    /// The notices that get through.
    fn notices(&self, inner: &dyn Store) -> broadcast::Receiver<Notice> {
        inner.notices()
    }
}

pub struct Meddled<M> {
    inner: Arc<dyn Store>,
    meddler: M,
}

impl<M: Meddler> Meddled<M> {
    pub fn new(inner: Arc<dyn Store>, meddler: M) -> Arc<Self> {
        Arc::new(Self { inner, meddler })
    }

    fn sdk_store(&self) -> Result<&dyn Store, StoreError> {
        Ok(&*self.inner)
    }

    async fn around<T>(
        &self,
        op: Op,
        work: impl Future<Output = Result<T, StoreError>> + Send,
    ) -> Result<T, StoreError> {
        self.meddler.before(op).await?;
        let done = work.await?;
        self.meddler.after(op).await?;
        Ok(done)
    }
}

/// Nobody hears anything from anybody.
pub struct Deaf(broadcast::Sender<Notice>);

impl Default for Deaf {
    fn default() -> Self {
        Self(broadcast::channel(1).0)
    }
}

impl Meddler for Deaf {
    fn notices(&self, _: &dyn Store) -> broadcast::Receiver<Notice> {
        self.0.subscribe()
    }
}

crate::delegate_conversations_and_documents!([M: Meddler] Meddled<M>);

#[async_trait]
impl<M: Meddler> Store for Meddled<M> {
    fn info(&self) -> StoreInfo {
        self.inner.info()
    }

    async fn ping(&self) -> Result<(), StoreError> {
        self.around(Op::Ping, self.inner.ping()).await
    }

    async fn begin_turn(&self, begin: BeginTurn) -> Result<Begun, StoreError> {
        self.around(Op::BeginTurn, self.inner.begin_turn(begin)).await
    }

    async fn append_events(&self, append: AppendEvents) -> Result<Appended, StoreError> {
        self.around(Op::AppendEvents, self.inner.append_events(append)).await
    }

    async fn finish_turn(&self, finish: FinishTurn) -> Result<Finished, StoreError> {
        self.around(Op::FinishTurn, self.inner.finish_turn(finish)).await
    }

    async fn read_events(
        &self,
        owner: &Owner,
        turn: &TurnId,
        after: u64,
        limit: usize,
    ) -> Result<EventsPage, StoreError> {
        self.around(Op::ReadEvents, self.inner.read_events(owner, turn, after, limit)).await
    }

    async fn turn(&self, owner: &Owner, turn: &TurnId) -> Result<Option<TurnRecord>, StoreError> {
        self.around(Op::Turn, self.inner.turn(owner, turn)).await
    }

    async fn turns(&self, place: &Place, limit: usize) -> Result<Option<Vec<TurnRecord>>, StoreError> {
        self.around(Op::Turns, self.inner.turns(place, limit)).await
    }

    async fn request_cancel(&self, owner: &Owner, turn: &TurnId) -> Result<CancelRequest, StoreError> {
        self.around(Op::RequestCancel, self.inner.request_cancel(owner, turn)).await
    }

    async fn adopt_turns(
        &self,
        holder: &InstanceId,
        lease_ms: i64,
        limit: usize,
    ) -> Result<Vec<TurnRecord>, StoreError> {
        self.around(Op::AdoptTurns, self.inner.adopt_turns(holder, lease_ms, limit)).await
    }

    async fn release_turn(&self, place: &Place, turn: &TurnId, fence: u64) -> Result<(), StoreError> {
        self.around(Op::ReleaseTurn, self.inner.release_turn(place, turn, fence)).await
    }

    async fn history(
        &self,
        place: &Place,
        before: Option<u64>,
        limit: usize,
        now_ms: i64,
    ) -> Result<Option<HistoryPage>, StoreError> {
        self.around(Op::History, self.inner.history(place, before, limit, now_ms)).await
    }

    async fn window(&self, place: &Place, budget: Budget) -> Result<Vec<StoredItem>, StoreError> {
        self.around(Op::Window, self.inner.window(place, budget)).await
    }

    async fn renew_session(&self, owner: &Owner, max_age_ms: i64, now_ms: i64) -> Result<bool, StoreError> {
        self.around(Op::RenewSession, self.inner.renew_session(owner, max_age_ms, now_ms)).await
    }

    async fn delete_owner(&self, owner: &Owner) -> Result<(), StoreError> {
        self.around(Op::DeleteOwner, self.inner.delete_owner(owner)).await
    }

    async fn sweep(&self, now_ms: i64) -> Result<u64, StoreError> {
        self.around(Op::Sweep, self.inner.sweep(now_ms)).await
    }

    fn notices(&self) -> broadcast::Receiver<Notice> {
        self.meddler.notices(&*self.inner)
    }

    async fn close(&self) {
        self.inner.close().await;
    }
}
