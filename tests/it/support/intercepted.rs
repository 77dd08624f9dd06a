//! A store around another one, with a test in between that may delay, fail or withhold what passes.

use std::sync::Arc;

use async_trait::async_trait;
use openai_backend::domain::conversation::{Owner, Place};
use openai_backend::domain::ids::{ConversationId, ItemId, TurnId};
use openai_backend::domain::item::{Item, StoredItem};
use openai_backend::domain::rate::{Rate, RateLeft};
use openai_backend::domain::turn::TurnRecord;
use openai_backend::domain::window::{Budget, Loaded};
use openai_backend::store::conversations::{
    Added, ConversationInfo, Conversations, ConversationsPage, Created, ItemsPage, ItemsQuery, NewConversation, Removed,
};
use openai_backend::store::documents::{Document, DocumentKind, Documents, DocumentsPage, DocumentsQuery};
use openai_backend::store::{
    AdoptTurns, Adopted, AppendEvents, Appended, BeginTurn, Begun, CancelRequest, EventsPage, FinishTurn, Finished,
    HistoryPage, Notice, Store, StoreError, StoreInfo,
};
use tokio::sync::broadcast;

/// What passes. Operations on conversations and on documents are one kind each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Op {
    Ping,
    BeginTurn,
    AppendEvents,
    FinishTurn,
    TakeRate,
    ReadEvents,
    Turn,
    Turns,
    RequestCancel,
    AdoptTurns,
    ReleaseTurn,
    LeaveTry,
    History,
    Window,
    RenewSession,
    CreateSession,
    SessionExpiresAt,
    DeleteOwner,
    Sweep,
    Conversation,
    Document,
}

/// What a test does to operations on their way.
#[async_trait]
pub trait Interceptor: Send + Sync + 'static {
    /// Before the store gets the operation; an error keeps it from the store.
    async fn before(&self, _: Op) -> Result<(), StoreError> {
        Ok(())
    }

    /// After the store has done it; an error takes the place of its answer.
    async fn after(&self, _: Op) -> Result<(), StoreError> {
        Ok(())
    }

    /// What the store has loaded of a history, for a turn that begins or is taken over.
    fn loaded(&self, _: &Loaded) {}

    /// Resolves when the store is lost.
    async fn lost(&self, inner: &dyn Store) -> StoreError {
        inner.lost().await
    }

    /// The notices that arrive.
    fn notices(&self, inner: &dyn Store) -> broadcast::Receiver<Notice> {
        inner.notices()
    }
}

pub struct Intercepted<I> {
    inner: Arc<dyn Store>,
    pub(super) interceptor: I,
}

impl<I: Interceptor> Intercepted<I> {
    pub fn new(inner: Arc<dyn Store>, interceptor: I) -> Arc<Self> {
        Arc::new(Self { inner, interceptor })
    }

    async fn around<T>(
        &self,
        op: Op,
        work: impl Future<Output = Result<T, StoreError>> + Send,
    ) -> Result<T, StoreError> {
        self.interceptor.before(op).await?;
        let done = work.await?;
        self.interceptor.after(op).await?;
        Ok(done)
    }
}

/// Notices between servers are lost, all of them.
pub struct Deaf(broadcast::Sender<Notice>);

impl Default for Deaf {
    fn default() -> Self {
        Self(broadcast::channel(1).0)
    }
}

impl Interceptor for Deaf {
    fn notices(&self, _: &dyn Store) -> broadcast::Receiver<Notice> {
        self.0.subscribe()
    }
}

/// A trait of which each listed method asks the store inside, around which the interceptor is called.
macro_rules! intercept {
    ($contract:ty { $($op:ident: $name:ident($($argument:ident: $type:ty),*) -> $answer:ty;)* } $($rest:tt)*) => {
        #[async_trait]
        impl<I: Interceptor> $contract for Intercepted<I> {
            $(async fn $name(&self, $($argument: $type),*) -> Result<$answer, StoreError> {
                self.around(Op::$op, self.inner.$name($($argument),*)).await
            })*

            $($rest)*
        }
    };
}

intercept! {
    Conversations {
        Conversation: create_conversation(new: NewConversation) -> Created;
        Conversation: conversation(place: &Place) -> Option<ConversationInfo>;
        Conversation: conversations(owner: &Owner, after: Option<&ConversationId>, limit: usize) -> Option<ConversationsPage>;
        Conversation: set_metadata(place: &Place, metadata: &str) -> bool;
        Conversation: delete_conversation(place: &Place) -> bool;
        Conversation: add_items(place: &Place, items: Vec<Item>, now_ms: i64) -> Added;
        Conversation: items(place: &Place, query: ItemsQuery) -> ItemsPage;
        Conversation: item(place: &Place, item: &ItemId) -> Option<StoredItem>;
        Conversation: remove_item(place: &Place, item: &ItemId) -> Removed;
        Conversation: delete_turn(owner: &Owner, turn: &TurnId) -> bool;
    }
}

intercept! {
    Documents {
        Document: put_document(owner: &Owner, kind: DocumentKind, document: Document) -> bool;
        Document: update_document(owner: &Owner, kind: DocumentKind, id: &str, json: String) -> bool;
        Document: document(owner: &Owner, kind: DocumentKind, id: &str) -> Option<Document>;
        Document: documents(owner: &Owner, kind: DocumentKind, query: DocumentsQuery) -> Option<DocumentsPage>;
        Document: delete_document(owner: &Owner, kind: DocumentKind, id: &str) -> bool;
    }
}

intercept! {
    Store {
        Ping: ping() -> ();
        AppendEvents: append_events(append: AppendEvents) -> Appended;
        FinishTurn: finish_turn(finish: FinishTurn) -> Finished;
        TakeRate: take_rate(account: &str, rate: Rate, now_ms: i64) -> Result<RateLeft, i64>;
        ReadEvents: read_events(owner: &Owner, turn: &TurnId, after: u64, limit: usize) -> EventsPage;
        Turn: turn(owner: &Owner, turn: &TurnId) -> Option<TurnRecord>;
        Turns: turns(place: &Place, limit: usize) -> Option<Vec<TurnRecord>>;
        RequestCancel: request_cancel(owner: &Owner, turn: &TurnId) -> CancelRequest;
        AdoptTurns: adopt_turns(adopt: AdoptTurns) -> Adopted;
        ReleaseTurn: release_turn(place: &Place, turn: &TurnId, fence: u64) -> ();
        LeaveTry: leave_try(place: &Place, turn: &TurnId, key: &str) -> ();
        History: history(place: &Place, before: Option<u64>, limit: usize, now_ms: i64) -> Option<HistoryPage>;
        RenewSession: renew_session(owner: &Owner, max_age_ms: i64, now_ms: i64) -> bool;
        CreateSession: create_session(owner: &Owner, max_age_ms: i64, now_ms: i64) -> ();
        SessionExpiresAt: session_expires_at(owner: &Owner, now_ms: i64) -> Option<i64>;
        DeleteOwner: delete_owner(owner: &Owner) -> ();
        Sweep: sweep(now_ms: i64) -> u64;
    }

    async fn begin_turn(&self, begin: BeginTurn) -> Result<Begun, StoreError> {
        let begun = self.around(Op::BeginTurn, self.inner.begin_turn(begin)).await?;
        if let Begun::Started(started) = &begun {
            self.interceptor.loaded(&started.history);
        }
        Ok(begun)
    }

    async fn window(&self, place: &Place, budget: Budget) -> Result<Loaded, StoreError> {
        let loaded = self.around(Op::Window, self.inner.window(place, budget)).await?;
        self.interceptor.loaded(&loaded);
        Ok(loaded)
    }

    fn info(&self) -> StoreInfo {
        self.inner.info()
    }

    async fn lost(&self) -> StoreError {
        self.interceptor.lost(&*self.inner).await
    }

    fn notices(&self) -> broadcast::Receiver<Notice> {
        self.interceptor.notices(&*self.inner)
    }

    async fn close(&self) {
        self.inner.close().await;
    }
}
