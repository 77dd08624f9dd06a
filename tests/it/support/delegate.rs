//! What a store around another store passes on without a thought: conversations and documents.

/// Implements both for a type whose method `sdk_store` gives the store inside, or says why there is none at present.
#[macro_export]
macro_rules! delegate_conversations_and_documents {
    ([$($generics:tt)*] $store:ty) => {
        $crate::delegate! {
            [$($generics)*] openai_backend::store::conversations::Conversations, $store;
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

        $crate::delegate! {
            [$($generics)*] openai_backend::store::documents::Documents, $store;
            put_document(owner: &Owner, kind: DocumentKind, document: Document) -> bool;
            document(owner: &Owner, kind: DocumentKind, id: &str) -> Option<Document>;
            documents(owner: &Owner, kind: DocumentKind, query: DocumentsQuery) -> Option<DocumentsPage>;
            delete_document(owner: &Owner, kind: DocumentKind, id: &str) -> bool;
        }
    };
}

/// A trait each of whose methods does what the store inside does.
#[macro_export]
macro_rules! delegate {
    ([$($generics:tt)*] $contract:path, $store:ty;
     $($name:ident($($argument:ident: $type:ty),*) -> $answer:ty;)*) => {
        #[async_trait::async_trait]
        impl<$($generics)*> $contract for $store {
            $(async fn $name(&self, $($argument: $type),*) -> Result<$answer, StoreError> {
                self.sdk_store()?.$name($($argument),*).await
            })*
        }
    };
}
