//! A store that fails, hangs or panics on command, around one that works.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use async_trait::async_trait;
use fake_openai::Gate;
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

const WELL: u8 = 0;
const AWAY: u8 = 1;
const FULL: u8 = 2;
const PANICS: u8 = 3;

pub struct Faulty {
    inner: Arc<dyn Store>,
    how: AtomicU8,
    /// What a turn waits for after the store has begun it.
    begins: Gate,
}

impl Faulty {
    pub fn new(inner: Arc<dyn Store>) -> Arc<Self> {
        let begins = Gate::new();
        begins.open();
        Arc::new(Self { inner, how: AtomicU8::new(WELL), begins })
    }

    /// Works again.
    pub fn mend(&self) {
        self.how.store(WELL, Ordering::SeqCst);
    }

    /// Cannot be reached.
    pub fn go_away(&self) {
        self.how.store(AWAY, Ordering::SeqCst);
    }

    /// Has no room.
    pub fn fill(&self) {
        self.how.store(FULL, Ordering::SeqCst);
    }

    /// Has a defect.
    pub fn panic(&self) {
        self.how.store(PANICS, Ordering::SeqCst);
    }

    /// One whose turns stand at `begins`, begun, before anybody hears of it.
    pub fn slow(inner: Arc<dyn Store>, begins: &Gate) -> Arc<Self> {
        Arc::new(Self { inner, how: AtomicU8::new(WELL), begins: begins.clone() })
    }

    fn sdk_store(&self) -> Result<&dyn Store, StoreError> {
        self.well()
    }

    fn well(&self) -> Result<&dyn Store, StoreError> {
        match self.how.load(Ordering::SeqCst) {
            AWAY => Err(StoreError::Unavailable("the test took it away".into())),
            FULL => Err(StoreError::Full("the test filled it".into())),
            PANICS => panic!("the store has a defect"),
            _ => Ok(&*self.inner),
        }
    }
}

crate::delegate_conversations_and_documents!([] Faulty);

#[async_trait]
impl Store for Faulty {
    fn info(&self) -> StoreInfo {
        self.inner.info()
    }

    async fn ping(&self) -> Result<(), StoreError> {
        self.well()?.ping().await
    }

    async fn begin_turn(&self, begin: BeginTurn) -> Result<Begun, StoreError> {
        let begun = self.well()?.begin_turn(begin).await;
        self.begins.wait().await;
        begun
    }

    async fn append_events(&self, append: AppendEvents) -> Result<Appended, StoreError> {
        self.well()?.append_events(append).await
    }

    async fn finish_turn(&self, finish: FinishTurn) -> Result<Finished, StoreError> {
        self.well()?.finish_turn(finish).await
    }

    async fn read_events(
        &self,
        owner: &Owner,
        turn: &TurnId,
        after: u64,
        limit: usize,
    ) -> Result<EventsPage, StoreError> {
        self.well()?.read_events(owner, turn, after, limit).await
    }

    async fn turn(&self, owner: &Owner, turn: &TurnId) -> Result<Option<TurnRecord>, StoreError> {
        self.well()?.turn(owner, turn).await
    }

    async fn turns(&self, place: &Place, limit: usize) -> Result<Option<Vec<TurnRecord>>, StoreError> {
        self.well()?.turns(place, limit).await
    }

    async fn request_cancel(&self, owner: &Owner, turn: &TurnId) -> Result<CancelRequest, StoreError> {
        self.well()?.request_cancel(owner, turn).await
    }

    async fn adopt_turns(
        &self,
        holder: &InstanceId,
        lease_ms: i64,
        limit: usize,
    ) -> Result<Vec<TurnRecord>, StoreError> {
        self.well()?.adopt_turns(holder, lease_ms, limit).await
    }

    async fn release_turn(&self, place: &Place, turn: &TurnId, fence: u64) -> Result<(), StoreError> {
        self.well()?.release_turn(place, turn, fence).await
    }

    async fn history(
        &self,
        place: &Place,
        before: Option<u64>,
        limit: usize,
        now_ms: i64,
    ) -> Result<Option<HistoryPage>, StoreError> {
        self.well()?.history(place, before, limit, now_ms).await
    }

    async fn window(&self, place: &Place, budget: Budget) -> Result<Vec<StoredItem>, StoreError> {
        self.well()?.window(place, budget).await
    }

    async fn renew_session(&self, owner: &Owner, max_age_ms: i64, now_ms: i64) -> Result<bool, StoreError> {
        self.well()?.renew_session(owner, max_age_ms, now_ms).await
    }

    async fn delete_owner(&self, owner: &Owner) -> Result<(), StoreError> {
        self.well()?.delete_owner(owner).await
    }

    async fn sweep(&self, now_ms: i64) -> Result<u64, StoreError> {
        self.well()?.sweep(now_ms).await
    }

    fn notices(&self) -> broadcast::Receiver<Notice> {
        self.inner.notices()
    }

    async fn close(&self) {
        self.inner.close().await;
    }
}
