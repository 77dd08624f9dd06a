//! What a store that outlives its process still has when the next one opens it.

use openai_backend::domain::ids::TurnId;
use openai_backend::store::conversations::{Added, Created, ItemsQuery, NewConversation};
use openai_backend::store::documents::{Document, DocumentKind, DocumentsQuery};
use openai_backend::store::{BeginTurn, Begun, FinishTurn, IdempotencyKey, KeyRole, Store};

use super::conversations::ALL;
use super::responses::answer;
use crate::store::rig::{AMPLE, Caller, Rig, notes};

/// Two conversations, one of them hidden, with all that can be in them.
struct Filled {
    shown: Caller,
    hidden: Caller,
    turns: Vec<TurnId>,
}

pub async fn finds_everything_again(rig: &Rig) {
    let mut all = Vec::new();
    for who in rig.callers().await {
        let filled = fill(rig, who).await;
        let seen = look(&*rig.store, &filled, rig).await;
        assert!(["tool_calls", "topic", "chatcmpl-2"].iter().all(|word| seen.contains(word)), "{seen}");
        all.push((filled, seen));
    }
    let again = rig.reopened().await;
    for (filled, seen) in all {
        assert_eq!(look(&*again, &filled, rig).await, seen);
        // And it goes on where it stopped.
        let joins = rig.begin_with_key(&filled.hidden, "key", "body");
        let begun = again.begin_turn(joins).await.unwrap();
        assert!(matches!(&begun, Begun::Duplicate { turn, .. } if *turn == filled.turns[2]), "{begun:?}");
        let joins = rig.begin_with_key(&filled.hidden, "key", "body");
        let role = KeyRole::Retry { instead_of: None };
        let idempotency = joins.idempotency.clone().map(|key| IdempotencyKey { role, ..key });
        let begun = again.begin_turn(BeginTurn { idempotency, ..joins }).await.unwrap();
        assert!(matches!(&begun, Begun::Duplicate { turn, .. } if *turn == filled.turns[3]), "{begun:?}");
        // The newest item of all was removed, and keeps its number.
        let begin = BeginTurn { expected_items: Some(6), ..rig.begin(&filled.shown) };
        let begun = again.begin_turn(begin.clone()).await.unwrap();
        assert!(matches!(begun, Begun::Started(_)), "{begun:?}");
        again.finish_turn(rig.finish(&begin, 1, 2, "hi")).await.unwrap();
        let items = again.history(&filled.shown.place, None, 2, rig.now_ms()).await.unwrap().unwrap().items;
        assert_eq!(items.iter().map(|stored| stored.seq).collect::<Vec<_>>(), [7, 8]);
    }
    again.close().await;
}

async fn fill(rig: &Rig, who: Caller) -> Filled {
    let hidden = who.elsewhere();
    let new =
        NewConversation { metadata: "{\"topic\":\"a\"}".into(), ..rig.new_conversation(&who, &notes(&[1, 2, 3])) };
    assert_eq!(rig.store.create_conversation(new).await.unwrap(), Created::Created);
    let removed = rig.history(&who).await.unwrap().items.remove(1).item.id;
    rig.store.remove_item(&who.place, &removed).await.unwrap();
    let mut turns = vec![rig.turn(&who, "hi").await.turn];
    let newest = rig.store.add_items(&who.place, notes(&[1]), rig.now_ms()).await.unwrap();
    let Added::Added(newest) = newest else { panic!("{newest:?}") };
    rig.store.remove_item(&who.place, &newest[0].item.id).await.unwrap();
    for role in [KeyRole::FirstTry, KeyRole::Join, KeyRole::FirstTry] {
        let begin = BeginTurn { hidden: true, ..rig.begin_with_key(&hidden, "key", "body") };
        let idempotency = begin.idempotency.clone().map(|key| IdempotencyKey { role, ..key });
        let begin = BeginTurn { idempotency, ..begin };
        let fence = rig.started(&begin).await.fence;
        let finish = FinishTurn { answer: Some(answer(&begin)), ..rig.finish(&begin, fence, 2, "hi") };
        rig.store.finish_turn(finish).await.unwrap();
        turns.push(begin.turn);
    }
    assert!(rig.store.delete_turn(&who.place.owner, &turns[1]).await.unwrap());
    rig.created(&who.elsewhere(), &[]).await;
    for id in ["chatcmpl-2", "chatcmpl-1", "gone"] {
        let document = Document { id: id.into(), created_at_ms: 1, json: format!("{{\"id\": \"{id}\"}}") };
        assert!(rig.store.put_document(&who.place.owner, DocumentKind::Completion, document).await.unwrap());
    }
    assert!(rig.store.delete_document(&who.place.owner, DocumentKind::Completion, "gone").await.unwrap());
    Filled { shown: who, hidden, turns }
}

async fn look(store: &dyn Store, filled: &Filled, rig: &Rig) -> String {
    let owner = &filled.shown.place.owner;
    let mut seen = vec![format!("{:?}", store.conversations(owner, None, 10).await.unwrap())];
    let query = DocumentsQuery { after: None, ascending: true, limit: 10 };
    seen.push(format!("{:?}", store.documents(owner, DocumentKind::Completion, query).await.unwrap()));
    for who in [&filled.shown, &filled.hidden] {
        let place = &who.place;
        seen.push(format!("{:?}", store.conversation(place).await.unwrap()));
        seen.push(format!("{:?}", store.history(place, None, 10, rig.now_ms()).await.unwrap()));
        seen.push(format!("{:?}", store.items(place, ItemsQuery { ascending: false, ..ALL }).await.unwrap()));
        seen.push(format!("{:?}", store.window(place, AMPLE).await.unwrap().items));
        seen.push(format!("{:?}", store.turns(place, 10).await.unwrap()));
    }
    for turn in &filled.turns {
        seen.push(format!("{:?}", store.turn(owner, turn).await.unwrap()));
        seen.push(format!("{:?}", store.read_events(owner, turn, 0, 10).await.unwrap()));
    }
    seen.join("\n")
}
