//! The server without its event log, to measure what the log costs: nothing of a turn is stored between its begin and its
//! end, and its end stores the history alone.
//!
//! Clients see the same events, because the readers of a running turn read it from memory. A turn cannot be resumed on
//! another server, and must end within its lease (10 s on Redis): writes that carry events no longer renew it.

use std::io::Write as _;
use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use openai_backend::config::{Config, Given};
use openai_backend::domain::conversation::{Owner, Place};
use openai_backend::domain::ids::{ConversationId, ItemId, TurnId};
use openai_backend::domain::item::{Item, StoredItem};
use openai_backend::domain::rate::{Rate, RateLeft};
use openai_backend::domain::turn::TurnRecord;
use openai_backend::domain::window::{Budget, Loaded};
use openai_backend::http::app::Parts;
use openai_backend::http::server;
use openai_backend::store::conversations::{
    Added, ConversationInfo, Conversations, ConversationsPage, Created, ItemsPage, ItemsQuery, NewConversation, Removed,
};
use openai_backend::store::documents::{Document, DocumentKind, Documents, DocumentsPage, DocumentsQuery};
use openai_backend::store::{
    AdoptTurns, Adopted, AppendEvents, Appended, BeginTurn, Begun, CancelRequest, EventsPage, FinishTurn, Finished,
    HistoryPage, Notice, Store, StoreError, StoreInfo,
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
    let shutdown = server::stop_signals()?;
    let parts = boot::parts(&config).await?;
    let parts = Parts { store: Arc::new(Unlogged(parts.store)), ..parts };
    let mut out = std::io::stdout();
    out.write_all(boot::banner(&config, &parts, listener.local_addr()?.port()).await.as_bytes())?;
    out.flush()?;
    Ok(server::run(&config, parts, listener, shutdown).await?)
}

/// A store that keeps no events.
struct Unlogged(Arc<dyn Store>);

/// A trait of which each listed method asks the store inside.
macro_rules! delegate {
    ($contract:ty { $($name:ident($($argument:ident: $type:ty),*) -> $answer:ty;)* } $($rest:tt)*) => {
        #[async_trait]
        impl $contract for Unlogged {
            $(async fn $name(&self, $($argument: $type),*) -> Result<$answer, StoreError> {
                self.0.$name($($argument),*).await
            })*

            $($rest)*
        }
    };
}

delegate! {
    Conversations {
        create_conversation(new: NewConversation) -> Created;
        conversation(place: &Place) -> Option<ConversationInfo>;
        conversations(owner: &Owner, after: Option<&ConversationId>, limit: usize) -> Option<ConversationsPage>;
        set_metadata(place: &Place, metadata: &str) -> bool;
        delete_conversation(place: &Place) -> bool;
        add_items(place: &Place, items: Vec<Item>, now_ms: i64) -> Added;
        items(place: &Place, query: ItemsQuery) -> ItemsPage;
        item(place: &Place, item: &ItemId) -> Option<StoredItem>;
        remove_item(place: &Place, item: &ItemId) -> Removed;
        delete_turn(owner: &Owner, turn: &TurnId) -> bool;
    }
}

delegate! {
    Documents {
        put_document(owner: &Owner, kind: DocumentKind, document: Document) -> bool;
        update_document(owner: &Owner, kind: DocumentKind, id: &str, json: String) -> bool;
        document(owner: &Owner, kind: DocumentKind, id: &str) -> Option<Document>;
        documents(owner: &Owner, kind: DocumentKind, query: DocumentsQuery) -> Option<DocumentsPage>;
        delete_document(owner: &Owner, kind: DocumentKind, id: &str) -> bool;
    }
}

delegate! {
    Store {
        ping() -> ();
        begin_turn(begin: BeginTurn) -> Begun;
        take_rate(account: &str, rate: Rate, now_ms: i64) -> Result<RateLeft, i64>;
        read_events(owner: &Owner, turn: &TurnId, after: u64, limit: usize) -> EventsPage;
        turn(owner: &Owner, turn: &TurnId) -> Option<TurnRecord>;
        turns(place: &Place, limit: usize) -> Option<Vec<TurnRecord>>;
        request_cancel(owner: &Owner, turn: &TurnId) -> CancelRequest;
        adopt_turns(adopt: AdoptTurns) -> Adopted;
        release_turn(place: &Place, turn: &TurnId, fence: u64) -> ();
        leave_try(place: &Place, turn: &TurnId, key: &str) -> ();
        history(place: &Place, before: Option<u64>, limit: usize, now_ms: i64) -> Option<HistoryPage>;
        window(place: &Place, budget: Budget) -> Loaded;
        renew_session(owner: &Owner, max_age_ms: i64, now_ms: i64) -> bool;
        create_session(owner: &Owner, max_age_ms: i64, now_ms: i64) -> ();
        session_expires_at(owner: &Owner, now_ms: i64) -> Option<i64>;
        delete_owner(owner: &Owner) -> ();
        sweep(now_ms: i64) -> u64;
    }

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

    async fn lost(&self) -> StoreError {
        self.0.lost().await
    }

    fn notices(&self) -> broadcast::Receiver<Notice> {
        self.0.notices()
    }

    async fn close(&self) {
        self.0.close().await;
    }
}
