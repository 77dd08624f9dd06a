//! Conversations and documents on Redis: which keys they are, for how long, what is left when they go, what they cost.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use openai_backend::domain::ids::TurnId;
use openai_backend::store::conversations::{Added, Created, ItemsPage, ItemsQuery, Removed};
use openai_backend::store::documents::{Document, DocumentKind, DocumentsQuery};
use openai_backend::store::{BeginTurn, Begun, FinishTurn, IdempotencyKey, KeyRole};

use super::layout::{Looked, a_cluster_of_one};
use crate::store::contract::conversations::assert_unknown;
use crate::store::contract::responses::answer;
use crate::store::rig::{Caller, DAY_MS, Rig, notes, texts};
use crate::support::eventually;
use crate::support::redis_server::RedisServer;

const KINDS: [DocumentKind; 2] = [DocumentKind::Completion, DocumentKind::ApiKey];

/// What one owner has.
struct Household {
    /// A conversation that lists show, with a turn that has ended and one that runs.
    shown: Caller,
    /// One that none shows, with a turn that has ended.
    hidden: Caller,
    hidden_turn: TurnId,
}

/// One of everything.
async fn furnish(rig: &Rig, shown: Caller) -> Household {
    furnish_with(rig, shown, true).await
}

async fn furnish_with(rig: &Rig, shown: Caller, with_keys: bool) -> Household {
    let (owner, place) = (&shown.place.owner, &shown.place);
    let items = rig.created(&shown, &[1, 2, 4]).await;
    assert_eq!(rig.store.remove_item(place, &items[1].id).await.unwrap(), Removed::Removed);
    let added = rig.store.add_items(place, notes(&[8, 16]), rig.now_ms()).await.unwrap();
    assert!(matches!(added, Added::Added(stored) if stored[0].seq == 4));
    assert!(rig.store.set_metadata(place, "{\"a\":\"b\"}").await.unwrap());
    let begin = |who: &Caller, key: &str, role: KeyRole| {
        let begin = rig.begin_with_key(who, key, "body");
        let idempotency = begin.idempotency.clone().map(|key| IdempotencyKey { role, ..key });
        BeginTurn { idempotency: idempotency.filter(|_| with_keys), ..begin }
    };
    end(rig, begin(&shown, "first", KeyRole::Join)).await;
    let running = begin(&shown, "second", KeyRole::Join);
    let fence = rig.started(&running).await.fence;
    rig.append_stored(rig.append(&running, fence, texts(2, &["a"]))).await;

    let hidden = shown.elsewhere();
    let begin = BeginTurn { hidden: true, ..begin(&hidden, "third", KeyRole::FirstTry) };
    end(rig, begin.clone()).await;
    for kind in KINDS {
        let document = Document { id: "one".into(), created_at_ms: 1, json: "{}".into() };
        assert!(rig.store.put_document(owner, kind, document).await.unwrap());
    }
    Household { shown, hidden, hidden_turn: begin.turn }
}

async fn end(rig: &Rig, begin: BeginTurn) {
    // A key that lapses does so by Redis's own clock.
    let mut fence = None;
    eventually("no turn has the key", async || match rig.store.begin_turn(begin.clone()).await.unwrap() {
        Begun::Started(started) => fence.replace(started.fence).is_none(),
        Begun::Duplicate { .. } => false,
        other => panic!("not started: {other:?}"),
    })
    .await;
    let finish = FinishTurn { answer: Some(answer(&begin)), ..rig.finish(&begin, fence.unwrap(), 2, "hi") };
    rig.store.finish_turn(finish).await.unwrap();
}

/// The names in the table at the top of `keys.rs`, but for what is no key or there for a millisecond.
fn names_in_the_table() -> BTreeSet<String> {
    let table = include_str!("../../../../src/store/redis/keys.rs");
    let rows = table.lines().filter_map(|line| line.strip_prefix("//! | `")).filter(|row| !row.starts_with("B` ="));
    let names = rows.flat_map(|row| row.split(" | ").next().unwrap().split("`, `"));
    let names = names.map(|name| name.trim_matches('`').to_owned());
    names.filter(|name| name != "Pping" && name != "Pnotices").collect()
}

/// A key as the table would name it.
fn name_of(key: &str, prefix: &str) -> String {
    let rest = key.strip_prefix(prefix).unwrap();
    let Some((tag, end)) = rest.strip_prefix('{').and_then(|rest| rest.split_once('}')) else {
        return format!("P{rest}");
    };
    let base = match tag.split('/').collect::<Vec<_>>().as_slice() {
        [owner] if owner.starts_with("s:") => "B",
        [_] => "P{k:<api key>}",
        [_, "d"] => "P{k:<api key>/d}",
        [_, "t", _] => "P{k:<api key>/t/<turn>}",
        [_, "k", _] => "P{k:<api key>/k/<key>}",
        [_, "r", _] => "P{k:<api key>/r/<key>}",
        [_, conversation] if conversation.starts_with("conv_") => "B",
        other => panic!("{other:?}"),
    };
    let end = match end.split(':').collect::<Vec<_>>().as_slice() {
        ["", "c", _, rest @ ..] => [&["", "c", "<conversation>"], rest].concat().join(":"),
        ["", "t", _, rest @ ..] => [&["", "t", "<turn>"], rest].concat().join(":"),
        ["", kind @ ("k" | "r"), ..] => format!(":{kind}:<key>"),
        _ => end.to_owned(),
    };
    format!("{base}{end}")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_table_of_keys_is_true() {
    let mut look = Looked::at(RedisServer::shared()).await;
    for who in look.rig.callers().await {
        furnish(&look.rig, who).await;
    }
    let keys = look.keys().await;
    let names: BTreeSet<String> = keys.iter().map(|key| name_of(key, &look.prefix)).collect();
    assert_eq!(names, names_in_the_table());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_script_keeps_to_one_slot() {
    let mut look = Looked::at(a_cluster_of_one().await).await;
    let [browser, program] = look.rig.callers().await;
    // A program's idempotency keys are not a conversation's but the owner's, and have slots of their own.
    let households = [furnish_with(&look.rig, browser, true).await, furnish_with(&look.rig, program, false).await];
    let store = look.rig.store.clone();
    for Household { shown, hidden, hidden_turn } in &households {
        let owner = &shown.place.owner;
        assert!(store.conversation(&hidden.place).await.unwrap().unwrap().hidden);
        let listed = store.conversations(owner, None, 10).await.unwrap().unwrap().conversations;
        assert_eq!(listed[0].id, shown.place.conversation);
        let query = ItemsQuery { after: None, ascending: false, limit: 1 };
        let page = store.items(&shown.place, query).await.unwrap();
        assert!(matches!(&page, ItemsPage::Page { items, has_more: true } if items[0].seq == 8), "{page:?}");
        for kind in KINDS {
            let query = DocumentsQuery { after: None, ascending: true, limit: 10 };
            assert_eq!(store.documents(owner, kind, query).await.unwrap().unwrap().documents.len(), 1);
            assert!(store.document(owner, kind, "one").await.unwrap().is_some());
            assert!(store.delete_document(owner, kind, "one").await.unwrap());
        }
        assert!(store.delete_turn(owner, hidden_turn).await.unwrap());
        assert!(store.delete_conversation(&shown.place).await.unwrap());
        store.delete_owner(owner).await.unwrap();
    }
    assert_eq!(look.keys().await, BTreeSet::new());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_session_has_expires_with_it_and_a_programs_things_do_not() {
    let mut look = Looked::at(RedisServer::shared()).await;
    let [browser, program] = look.rig.callers().await;
    let browsers = furnish(&look.rig, browser).await;
    furnish(&look.rig, program).await;
    // Lists that were empty for a while are made anew.
    let empty = browsers.shown.elsewhere();
    let items = look.rig.created(&empty, &[1]).await;
    let first = look.rig.turn(&empty, "hi").await;
    let owner = &empty.place.owner;
    assert!(look.rig.store.delete_turn(owner, &first.turn).await.unwrap());
    let rest = look.rig.history(&empty).await.unwrap().items.into_iter().skip(1).map(|stored| stored.item);
    for item in rest.chain(items) {
        assert_eq!(look.rig.store.remove_item(&empty.place, &item.id).await.unwrap(), Removed::Removed);
    }
    look.rig.store.add_items(&empty.place, notes(&[1]), look.rig.now_ms()).await.unwrap();
    look.rig.turn(&empty, "hi").await;

    let prefix = look.prefix.clone();
    let keys = look.keys().await;
    for renewed_to in [DAY_MS, 30 * DAY_MS] {
        assert!(look.rig.store.renew_session(owner, renewed_to, look.rig.now_ms()).await.unwrap());
        for key in &keys {
            let ttl = look.ttl(key).await;
            let name = name_of(key, &prefix);
            // Idempotency keys have a time of their own, and so have the events of a turn that has ended.
            let is_key = ["/k/<key>}", "/r/<key>}", "B:k:<key>", "B:r:<key>"].iter().any(|end| name.ends_with(end));
            let may_have_own_time = is_key || name == "B:t:<turn>:e";
            let is_kept = !key.contains("{s:") && ttl == -1;
            let fits = match (key.contains("{s:"), may_have_own_time) {
                (true, false) => (renewed_to - 10_000..=renewed_to * 11 / 10).contains(&ttl),
                (_, true) => is_kept || (1..=renewed_to * 11 / 10).contains(&ttl),
                (false, false) => is_kept,
            };
            assert!(fits, "{key}: {ttl}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_that_is_over_shows_nothing_of_what_is_still_kept() {
    let mut look = Looked::at(RedisServer::shared()).await;
    let [who, _] = look.rig.callers().await;
    let done = look.rig.turn(&who, "hi").await;
    let household = furnish(&look.rig, who.elsewhere()).await;
    let item = done.request.answer_id.clone();
    let session = look.keys().await.into_iter().find(|key| key.ends_with(":session")).unwrap();
    let _: i64 = redis::cmd("DEL").arg(session).query_async(&mut look.admin).await.unwrap();
    assert!(look.keys().await.len() > 10);
    assert_unknown(&look.rig, &who, &done, &item).await;
    let (store, owner) = (&look.rig.store, &household.shown.place.owner);
    assert_eq!(store.conversation(&household.hidden.place).await.unwrap(), None);
    assert!(!store.delete_turn(owner, &household.hidden_turn).await.unwrap());
    assert_eq!(store.conversations(owner, None, 10).await.unwrap().unwrap().conversations, []);
    let created = store.create_conversation(look.rig.new_conversation(&who.elsewhere(), &notes(&[1]))).await.unwrap();
    assert_eq!(created, Created::UnknownSession);
    for kind in KINDS {
        let document = Document { id: "two".into(), created_at_ms: 1, json: "{}".into() };
        assert!(!store.put_document(owner, kind, document).await.unwrap());
        assert_eq!(store.document(owner, kind, "one").await.unwrap(), None);
        let query = |after: Option<&str>| DocumentsQuery { after: after.map(str::to_owned), ascending: true, limit: 9 };
        assert_eq!(store.documents(owner, kind, query(None)).await.unwrap().unwrap().documents, []);
        assert_eq!(store.documents(owner, kind, query(Some("one"))).await.unwrap(), None);
        assert!(!store.delete_document(owner, kind, "one").await.unwrap());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn deleting_an_owner_leaves_no_key_of_it() {
    let mut look = Looked::at(RedisServer::shared()).await;
    for who in look.rig.callers().await {
        let household = furnish(&look.rig, who).await;
        // A conversation that was not made after all leaves nothing, either.
        for begin in [
            BeginTurn { expected_items: Some(3), hidden: true, ..look.rig.begin(&household.shown.elsewhere()) },
            look.rig.begin_with_key(&household.shown.elsewhere(), "first", "body"),
            look.rig.begin_with_key(&household.shown.elsewhere(), "first", "another body"),
        ] {
            let before = look.keys().await;
            let begun = look.rig.store.begin_turn(begin).await.unwrap();
            assert!(matches!(begun, Begun::Moved | Begun::Duplicate { .. } | Begun::KeyReused), "{begun:?}");
            assert_eq!(look.keys().await, before);
        }
        look.rig.store.delete_owner(&household.shown.place.owner).await.unwrap();
        let of_owner = if household.shown.place.owner.tag().starts_with('s') { "{s:" } else { "{k:" };
        assert!(look.keys().await.iter().all(|key| !key.contains(of_owner)), "{:?}", look.keys().await);
    }
    assert_eq!(look.keys().await, BTreeSet::new());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_deleted_leaves_no_key_behind() {
    let mut look = Looked::at(RedisServer::shared()).await;
    for who in look.rig.callers().await {
        let before = look.keys().await;
        let Household { shown, hidden_turn, .. } = furnish(&look.rig, who).await;
        let (store, owner) = (look.rig.store.clone(), &shown.place.owner);
        assert!(store.delete_turn(owner, &hidden_turn).await.unwrap());
        assert!(store.delete_conversation(&shown.place).await.unwrap());
        for kind in KINDS {
            assert!(store.delete_document(owner, kind, "one").await.unwrap());
        }
        assert_eq!(look.keys().await, before);
        // Nothing is left in the lists but what the session had before.
        let listed = store.conversations(owner, None, 10).await.unwrap().unwrap().conversations;
        assert!(listed.iter().all(|info| before.iter().any(|key| key.contains(info.id.as_str()))), "{listed:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_that_another_turn_took_over_outlives_the_first_one() {
    let rig = super::fresh().await;
    for who in rig.callers().await {
        let owner = &who.place.owner;
        let mut turns = Vec::new();
        let homes = [who.elsewhere(), who.elsewhere(), who.elsewhere()];
        for (at, home) in homes.iter().enumerate() {
            let begin = rig.begin_with_key(home, "key", "body");
            // Those of the first two have lapsed when the next one begins.
            let keep_ms = if at < 2 { rig.unit_ms() } else { DAY_MS };
            let idempotency = begin.idempotency.clone().map(|key| IdempotencyKey { keep_ms, ..key });
            let begin = BeginTurn { idempotency, ..begin };
            end(&rig, begin.clone()).await;
            rig.pass(2.0).await;
            turns.push(begin.turn);
        }
        assert!(rig.store.delete_turn(owner, &turns[0]).await.unwrap());
        assert!(rig.store.delete_conversation(&homes[1].place).await.unwrap());
        let joined = rig.peer.begin_turn(rig.begin_with_key(&who, "key", "body")).await.unwrap();
        assert!(matches!(&joined, Begun::Duplicate { turn, .. } if *turn == turns[2]), "{joined:?}");
        // With the turn that it leads to, it is free.
        assert!(rig.store.delete_turn(owner, &turns[2]).await.unwrap());
        rig.started(&rig.begin_with_key(&who, "key", "another body")).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_long_conversation_is_looked_through_in_pieces() {
    let mut look = Looked::at(Arc::new(RedisServer::start())).await;
    let rig = &look.rig;
    let who = Caller::program();
    let items = rig.created(&who, &[1; 10_000]).await;
    let (place, oldest, newest) = (&who.place, &items[0], &items[9_999]);
    let mut costs = Vec::new();
    for id in [&newest.id, &oldest.id, &notes(&[1])[0].id] {
        let before = super::instances::calls(&mut look.admin, "evalsha").await;
        rig.store.item(place, id).await.unwrap();
        costs.push(super::instances::calls(&mut look.admin, "evalsha").await - before);
    }
    assert_eq!(costs, [1, 3, 3]);
    assert_eq!(rig.store.item(place, &oldest.id).await.unwrap().unwrap().item, *oldest);
    let query = ItemsQuery { after: Some(items[1].id.clone()), ascending: true, limit: 2 };
    assert_eq!(page(rig, &who, query).await, (vec![3, 4], true));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wide_gap_is_stepped_over() {
    let rig = super::fresh().await;
    let who = Caller::program();
    let items = rig.created(&who, &[1; 2_000]).await;
    // All but the first, the second, the last and the last but one.
    for gone in items[2..1_998].iter().rev() {
        assert_eq!(rig.store.remove_item(&who.place, &gone.id).await.unwrap(), Removed::Removed);
    }
    for (limit, seqs, has_more) in
        [(1, vec![2_000], true), (3, vec![2_000, 1_999, 2], true), (4, vec![2_000, 1_999, 2, 1], false)]
    {
        let query = ItemsQuery { after: None, ascending: false, limit };
        assert_eq!(page(&rig, &who, query).await, (seqs.clone(), has_more));
        let history = rig.store.history(&who.place, None, limit, rig.now_ms()).await.unwrap().unwrap();
        assert!(history.items.iter().map(|stored| stored.seq).eq(seqs.into_iter().rev()));
        assert_eq!(history.has_more, has_more);
    }
    let after = |item: usize| ItemsQuery { after: Some(items[item].id.clone()), ascending: true, limit: 2 };
    assert_eq!(page(&rig, &who, after(0)).await, (vec![2, 1_999], true));
    assert_eq!(page(&rig, &who, after(1)).await, (vec![1_999, 2_000], false));
    // Once nothing stands behind it, it is gone, but for its numbers.
    for newest in [1_999, 1_998] {
        assert_eq!(rig.store.remove_item(&who.place, &items[newest].id).await.unwrap(), Removed::Removed);
    }
    let conversation = rig.started(&rig.begin(&who)).await.conversation;
    assert_eq!((conversation.item_count, conversation.total_tokens), (2_000, 2));
}

/// The numbers on a page, and whether more follow.
async fn page(rig: &Rig, who: &Caller, query: ItemsQuery) -> (Vec<u64>, bool) {
    match rig.store.items(&who.place, query).await.unwrap() {
        ItemsPage::Page { items, has_more } => (items.iter().map(|stored| stored.seq).collect(), has_more),
        other => panic!("no page: {other:?}"),
    }
}

/// What the server ran since this was last asked, but for what asks and probes.
async fn commands(look: &mut Looked) -> BTreeMap<String, u64> {
    let stats: String = redis::cmd("INFO").arg("commandstats").query_async(&mut look.admin).await.unwrap();
    let _: () = redis::cmd("CONFIG").arg("RESETSTAT").query_async(&mut look.admin).await.unwrap();
    let lines = stats.lines().filter_map(|line| line.strip_prefix("cmdstat_")?.split_once(":calls="));
    let counts = lines.map(|(name, rest)| (name.to_owned(), rest.split(',').next().unwrap().parse().unwrap()));
    counts.filter(|(name, _)| !["info", "config|resetstat", "time", "ping"].contains(&name.as_str())).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_plain_turn_pays_for_nothing_that_it_does_not_use() {
    let mut look = Looked::at(Arc::new(RedisServer::start())).await;
    let who = Caller::browser();
    look.rig.turn(&who, "hi").await;
    commands(&mut look).await;
    let begin = look.rig.begin(&who);
    let fence = look.rig.started(&begin).await.fence;
    look.rig.append_stored(look.rig.append(&begin, fence, texts(2, &["a"]))).await;
    look.rig.store.finish_turn(look.rig.finish(&begin, fence, 3, "a")).await.unwrap();
    let expected = [
        ("evalsha", 3),
        // The index of leases.
        ("zadd", 1),
        ("zrem", 1),
        // The session, which is renewed once, and must live at each of the other writes.
        ("get", 1),
        ("set", 1),
        ("exists", 2),
        // The head, read by each script and written by each; the turn's beginning and its end.
        ("hmget", 3),
        ("hset", 5),
        ("hdel", 1),
        // The window, the turn's place in the conversation, three writes of events, the items.
        ("lrange", 1),
        ("rpush", 5),
        ("llen", 2),
        ("pexpireat", 1),
        ("pexpire", 1),
    ];
    assert_eq!(commands(&mut look).await, expected.map(|(name, count)| (name.to_owned(), count)).into());
}
