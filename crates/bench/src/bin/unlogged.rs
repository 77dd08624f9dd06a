//! The server without its event log, to measure what the log costs: nothing of a turn is stored between its begin and its
//! end, and its end stores the history alone.
//!
//! Clients see the same events, because whoever reads a running turn reads it from memory. Nobody could resume one from
//! here, and a turn must end within its lease (10 s on Redis): writes that carry events no longer renew it.

// What every store around another store passes on, the tests' ones among them.
#[path = "../../../../tests/it/support/delegate.rs"]
mod delegate;

use std::io::Write as _;
use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use openai_backend::config::{Config, Given};
use openai_backend::domain::conversation::{Owner, Place};
use openai_backend::domain::ids::{ConversationId, InstanceId, ItemId, TurnId};
use openai_backend::domain::item::{Item, StoredItem};
use openai_backend::domain::turn::TurnRecord;
use openai_backend::domain::window::Budget;
use openai_backend::http::server;
use openai_backend::http::server::Parts;
use openai_backend::store::conversations::{
    Added, ConversationInfo, ConversationsPage, Created, ItemsPage, ItemsQuery, NewConversation, Removed,
};
use openai_backend::store::documents::{Document, DocumentKind, DocumentsPage, DocumentsQuery};
use openai_backend::store::{
    AppendEvents, Appended, BeginTurn, Begun, CancelRequest, EventsPage, FinishTurn, Finished, HistoryPage, Notice,
    Store, StoreError, StoreInfo,
};
use openai_backend::{boot, telemetry};
use tokio::sync::broadcast;

// What the server itself uses, or the two could not be compared.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let given = Given::gather(Given::default(), std::env::vars(), Path::new(".env"))?;
    let config = Config::new(&given)?;
    telemetry::init(&config.log)?;
    let listener = server::listen(&config).await?;
    let shutdown = server::stop_signal()?;
    let parts = boot::parts(&config).await?;
    let parts = Parts { store: Arc::new(Unlogged(parts.store)), ..parts };
    let mut out = std::io::stdout();
    out.write_all(boot::banner(&config, &parts, listener.local_addr()?.port()).await.as_bytes())?;
    out.flush()?;
    Ok(server::run(&config, parts, listener, shutdown).await?)
}

/// A store that keeps no events.
struct Unlogged(Arc<dyn Store>);

impl Unlogged {
    /// Other wrappers have none at times.
    fn sdk_store(&self) -> Result<&dyn Store, StoreError> {
        Ok(&*self.0)
    }
}

crate::delegate_conversations_and_documents!([] Unlogged);

#[async_trait]
impl Store for Unlogged {
    async fn append_events(&self, append: AppendEvents) -> Result<Appended, StoreError> {
        match append.events.is_empty() {
            true => self.0.append_events(append).await,
            false => Ok(Appended::Stored { cancel_requested: false }),
        }
    }

    async fn finish_turn(&self, finish: FinishTurn) -> Result<Finished, StoreError> {
        // Without events there are no numbers that could be missing between the first one, which the begin stored, and these.
        self.0.finish_turn(FinishTurn { events: Vec::new(), ..finish }).await
    }

    fn info(&self) -> StoreInfo {
        self.0.info()
    }

    async fn ping(&self) -> Result<(), StoreError> {
        self.0.ping().await
    }

    async fn begin_turn(&self, begin: BeginTurn) -> Result<Begun, StoreError> {
        self.0.begin_turn(begin).await
    }

    async fn read_events(
        &self,
        owner: &Owner,
        turn: &TurnId,
        after: u64,
        limit: usize,
    ) -> Result<EventsPage, StoreError> {
        self.0.read_events(owner, turn, after, limit).await
    }

    async fn turn(&self, owner: &Owner, turn: &TurnId) -> Result<Option<TurnRecord>, StoreError> {
        self.0.turn(owner, turn).await
    }

    async fn turns(&self, place: &Place, limit: usize) -> Result<Option<Vec<TurnRecord>>, StoreError> {
        self.0.turns(place, limit).await
    }

    async fn request_cancel(&self, owner: &Owner, turn: &TurnId) -> Result<CancelRequest, StoreError> {
        self.0.request_cancel(owner, turn).await
    }

    async fn adopt_turns(
        &self,
        holder: &InstanceId,
        lease_ms: i64,
        limit: usize,
    ) -> Result<Vec<TurnRecord>, StoreError> {
        self.0.adopt_turns(holder, lease_ms, limit).await
    }

    async fn release_turn(&self, place: &Place, turn: &TurnId, fence: u64) -> Result<(), StoreError> {
        self.0.release_turn(place, turn, fence).await
    }

    async fn history(
        &self,
        place: &Place,
        before: Option<u64>,
        limit: usize,
        now_ms: i64,
    ) -> Result<Option<HistoryPage>, StoreError> {
        self.0.history(place, before, limit, now_ms).await
    }

    async fn window(&self, place: &Place, budget: Budget) -> Result<Vec<StoredItem>, StoreError> {
        self.0.window(place, budget).await
    }

    async fn renew_session(&self, owner: &Owner, max_age_ms: i64, now_ms: i64) -> Result<bool, StoreError> {
        self.0.renew_session(owner, max_age_ms, now_ms).await
    }

    async fn delete_owner(&self, owner: &Owner) -> Result<(), StoreError> {
        self.0.delete_owner(owner).await
    }

    async fn sweep(&self, now_ms: i64) -> Result<u64, StoreError> {
        self.0.sweep(now_ms).await
    }

    fn notices(&self) -> broadcast::Receiver<Notice> {
        self.0.notices()
    }

    async fn close(&self) {
        self.0.close().await;
    }
}
