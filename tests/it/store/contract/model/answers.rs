//! What a store answers to an operation, as text to compare.

use std::fmt::Debug;

use openai_backend::domain::clock::SystemClock;
use openai_backend::domain::ids::{ItemId, SystemIds};
use openai_backend::domain::item::Item;
use openai_backend::domain::window::Budget;
use openai_backend::store::conversations::{Conversations, ItemsPage, ItemsQuery, NewConversation};
use openai_backend::store::documents::{Document, DocumentKind, DocumentsQuery};
use openai_backend::store::{Store, StoreError};

use super::ops::Op;
use super::{HOUR_MS, Play, bare};
use crate::store::rig::notes;

const KIND: DocumentKind = DocumentKind::Completion;

/// What an operation means just now, and the same for both.
pub struct Meant {
    new: Vec<Item>,
    item: Option<ItemId>,
}

fn shown<T: Debug>(answer: Result<T, StoreError>) -> String {
    format!("{:?}", answer.unwrap())
}

impl Play {
    /// Items are counted from the newest one that the model has.
    pub async fn meant(&self, op: &Op) -> Meant {
        let new = match op {
            Op::Create { tokens, .. } | Op::Add { tokens, .. } => notes(tokens),
            _ => Vec::new(),
        };
        let counted = match *op {
            Op::Items { who, after, .. } => after.map(|item| (who, item)),
            Op::Item { who, item } | Op::Remove { who, item } => Some((who, item)),
            _ => None,
        };
        let Some((who, item)) = counted else { return Meant { new, item: None } };
        let query = ItemsQuery { after: None, ascending: false, limit: 1_000 };
        let known = match self.model.items(&self.people[who].place, query).await.unwrap() {
            ItemsPage::Page { items, .. } => items.into_iter().nth(item).map(|stored| stored.item.id),
            _ => None,
        };
        Meant { new, item: Some(known.unwrap_or_else(|| ItemId::fresh(&SystemIds, &SystemClock))) }
    }

    /// The answer of one of the two.
    pub async fn answer(&self, store: &dyn Store, op: &Op, meant: &Meant) -> String {
        let person = |who: usize| &self.people[who].place;
        let now_ms = self.now_ms();
        match *op {
            Op::Read { who, turn, after, limit } => {
                shown(store.read_events(&person(who).owner, &self.turn_id(turn), after, limit).await)
            }
            Op::Turn { who, turn } => shown(store.turn(&person(who).owner, &self.turn_id(turn)).await.map(bare)),
            Op::Turns { who, limit } => shown(store.turns(person(who), limit).await.map(|turns| turns.map(bare))),
            Op::History { who, before, limit } => shown(store.history(person(who), before, limit, now_ms).await),
            Op::Window { who, budget: (tokens, fixed_tokens) } => {
                shown(store.window(person(who), Budget { tokens, fixed_tokens, whole: false }).await)
            }
            Op::Cancel { who, turn } => shown(store.request_cancel(&person(who).owner, &self.turn_id(turn)).await),
            Op::Renew { who, hours } => shown(store.renew_session(&person(who).owner, hours * HOUR_MS, now_ms).await),
            Op::Delete { who } => shown(store.delete_owner(&person(who).owner).await),
            // How many things a store counts is its own affair.
            Op::Sweep => shown(store.sweep(now_ms).await.map(drop)),
            Op::Put { .. }
            | Op::Update { .. }
            | Op::Document { .. }
            | Op::Documents { .. }
            | Op::DeleteDocument { .. } => self.of_documents(store, op).await,
            _ => self.of_conversations(store, op, meant).await,
        }
    }

    async fn of_conversations(&self, store: &dyn Store, op: &Op, meant: &Meant) -> String {
        let person = |who: usize| &self.people[who].place;
        let now_ms = self.now_ms();
        let item = || meant.item.as_ref().unwrap();
        match *op {
            Op::Create { who, hidden, .. } => {
                let (place, items) = (person(who).clone(), meant.new.clone());
                let new = NewConversation { place, hidden, metadata: "{\"new\":\"1\"}".into(), items, now_ms };
                shown(store.create_conversation(new).await)
            }
            Op::Conversation { who } => shown(store.conversation(person(who)).await),
            Op::Conversations { who, after, limit } => {
                let after = after.map(|who| &person(who).conversation);
                shown(store.conversations(&person(who).owner, after, limit).await)
            }
            Op::Describe { who, version } => {
                shown(store.set_metadata(person(who), &format!("{{\"version\":\"{version}\"}}")).await)
            }
            Op::DeleteConversation { who } => shown(store.delete_conversation(person(who)).await),
            Op::DeleteTurn { who, turn } => shown(store.delete_turn(&person(who).owner, &self.turn_id(turn)).await),
            Op::Add { who, .. } => shown(store.add_items(person(who), meant.new.clone(), now_ms).await),
            Op::Items { who, ascending, limit, .. } => {
                let query = ItemsQuery { after: meant.item.clone(), ascending, limit };
                shown(store.items(person(who), query).await)
            }
            Op::Item { who, .. } => shown(store.item(person(who), item()).await),
            Op::Remove { who, .. } => shown(store.remove_item(person(who), item()).await),
            _ => unreachable!("not a question: {op:?}"),
        }
    }

    async fn of_documents(&self, store: &dyn Store, op: &Op) -> String {
        let owner = |who: usize| &self.people[who].place.owner;
        match *op {
            Op::Put { who, id, version } => {
                let (id, created_at_ms) = (id.to_string(), self.now_ms() + i64::from(version));
                let document = Document { id, created_at_ms, json: version.to_string() };
                shown(store.put_document(owner(who), KIND, document).await)
            }
            Op::Document { who, id } => shown(store.document(owner(who), KIND, &id.to_string()).await),
            Op::Documents { who, after, ascending, limit } => {
                let query = DocumentsQuery { after: after.map(|id| id.to_string()), ascending, limit };
                shown(store.documents(owner(who), KIND, query).await)
            }
            Op::Update { who, id, version } => {
                let (id, json) = (id.to_string(), version.to_string());
                shown(store.update_document(owner(who), KIND, &id, json).await)
            }
            Op::DeleteDocument { who, id } => shown(store.delete_document(owner(who), KIND, &id.to_string()).await),
            _ => unreachable!("not about documents: {op:?}"),
        }
    }
}
