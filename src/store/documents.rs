//! Small JSON documents by owner and kind, in the order in which they were put: stored chat completions, API keys.

use async_trait::async_trait;

use super::StoreError;
use crate::domain::conversation::Owner;

/// What a document is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum DocumentKind {
    /// A chat completion that was asked to be stored.
    Completion,
    /// An API key of this server; see `keys`.
    ApiKey,
    /// The operator's secret that signs session cookies; see `session_secret`.
    SessionSecret,
}

impl DocumentKind {
    /// The name under which stores keep it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Completion => "completion",
            Self::ApiKey => "api_key",
            Self::SessionSecret => "session_secret",
        }
    }
}

/// A document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Document {
    /// Unique for its owner and kind: 1 to 128 visible ASCII characters.
    pub id: String,
    /// When it was first put, in milliseconds since the Unix epoch.
    pub created_at_ms: i64,
    /// JSON, kept byte for byte.
    pub json: String,
}

/// Which documents [`Documents::documents`] is to give.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DocumentsQuery {
    /// Only those behind this one, in the asked-for order.
    pub after: Option<String>,
    /// In the order in which they were put, or newest first.
    pub ascending: bool,
    /// At most so many.
    pub limit: usize,
}

/// A page of documents.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DocumentsPage {
    /// In the asked-for order.
    pub documents: Vec<Document>,
    /// Whether more follow.
    pub has_more: bool,
}

/// The contract. Atomicity, owners and sessions as in the parent module. An owner's documents go with the owner.
#[async_trait]
pub trait Documents: Send + Sync + 'static {
    /// Stores a document; one of the same id is replaced, and keeps its place and time. Durable when this answers. False
    /// where the owner is a session that is unknown or has expired.
    async fn put_document(&self, owner: &Owner, kind: DocumentKind, document: Document) -> Result<bool, StoreError>;

    /// Replaces the JSON of a document that is there, in one step: one that is deleted at the same moment stays deleted.
    /// Durable when this answers. False where this owner has no such one.
    async fn update_document(
        &self,
        owner: &Owner,
        kind: DocumentKind,
        id: &str,
        json: String,
    ) -> Result<bool, StoreError>;

    /// A document; `None` where this owner has no such one.
    async fn document(&self, owner: &Owner, kind: DocumentKind, id: &str) -> Result<Option<Document>, StoreError>;

    /// A page of an owner's documents; `None` where `after` is none of them.
    async fn documents(
        &self,
        owner: &Owner,
        kind: DocumentKind,
        query: DocumentsQuery,
    ) -> Result<Option<DocumentsPage>, StoreError>;

    /// Deletes a document; false where this owner has no such one.
    async fn delete_document(&self, owner: &Owner, kind: DocumentKind, id: &str) -> Result<bool, StoreError>;
}
