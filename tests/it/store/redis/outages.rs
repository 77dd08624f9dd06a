//! P9: a Redis that stalls, dies, comes back, is full, or is a replica.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::future::{BoxFuture, FutureExt as _, join_all};
use openai_backend::domain::window::Budget;
use openai_backend::store::conversations::{Added, ItemsQuery, Removed};
use openai_backend::store::documents::{Document, DocumentKind, DocumentsQuery};
use openai_backend::store::redis::{Redis, RedisSettings};
use openai_backend::store::{BeginTurn, Begun, CancelRequest, Finished, Notice, Store, StoreError};

use super::{prefix, rig_on};
use crate::store::rig::{Caller, DAY_MS, Rig, adopt, notes, texts};
use crate::support::eventually;
use crate::support::redis_server::RedisServer;

/// What P9 allows from the return of Redis to the first call that succeeds.
const RECOVERS_WITHIN: Duration = Duration::from_secs(5);
/// What a busy machine may add to a deadline.
const SLACK: Duration = Duration::from_millis(700);

async fn connect(settings: RedisSettings) -> Arc<Redis> {
    Arc::new(Redis::connect(settings).await.unwrap())
}

/// Every kind of call, none of which depends on another's success.
fn every_call<'a>(rig: &'a Rig, who: &'a Caller, begun: &'a BeginTurn) -> Vec<BoxFuture<'a, Result<(), StoreError>>> {
    let (store, owner, turn) = (&rig.store, &who.place.owner, &begun.turn);
    let begin = rig.begin(who);
    let append = rig.append(begun, 1, texts(2, &["a"]));
    let finish = rig.finish(begun, 1, 2, "hi");
    let holder = rig.holder();
    let budget = Budget { tokens: 100, fixed_tokens: 0, whole: false };
    vec![
        store.ping().boxed(),
        async move { store.begin_turn(begin).await.map(drop) }.boxed(),
        async move { store.append_events(append).await.map(drop) }.boxed(),
        async move { store.finish_turn(finish).await.map(drop) }.boxed(),
        async move { store.read_events(owner, turn, 0, 10).await.map(drop) }.boxed(),
        async move { store.turn(owner, turn).await.map(drop) }.boxed(),
        async move { store.turns(&who.place, 10).await.map(drop) }.boxed(),
        async move { store.request_cancel(owner, turn).await.map(drop) }.boxed(),
        async move { store.adopt_turns(adopt(&holder, DAY_MS, 10)).await.map(drop) }.boxed(),
        async move { store.release_turn(&who.place, turn, 1).await }.boxed(),
        async move { store.history(&who.place, None, 10, rig.now_ms()).await.map(drop) }.boxed(),
        async move { store.window(&who.place, budget).await.map(drop) }.boxed(),
        async move { store.renew_session(owner, DAY_MS, rig.now_ms()).await.map(drop) }.boxed(),
        async move { store.delete_owner(owner).await }.boxed(),
    ]
}

/// Every kind of call for conversations and documents, likewise.
fn every_call_apart<'a>(
    rig: &'a Rig,
    who: &'a Caller,
    begun: &'a BeginTurn,
) -> Vec<BoxFuture<'a, Result<(), StoreError>>> {
    let (store, place, owner) = (&rig.store, &who.place, &who.place.owner);
    let (item, kind) = (&begun.request.answer_id, DocumentKind::Completion);
    let new = rig.new_conversation(&who.elsewhere(), &notes(&[1]));
    let page = ItemsQuery { after: Some(item.clone()), ascending: true, limit: 10 };
    let document = Document { id: "one".into(), created_at_ms: 1, json: "{}".into() };
    let documents = DocumentsQuery { after: None, ascending: true, limit: 10 };
    vec![
        async move { store.create_conversation(new).await.map(drop) }.boxed(),
        async move { store.conversation(place).await.map(drop) }.boxed(),
        async move { store.conversations(owner, None, 10).await.map(drop) }.boxed(),
        async move { store.set_metadata(place, "{}").await.map(drop) }.boxed(),
        async move { store.add_items(place, notes(&[1]), 1).await.map(drop) }.boxed(),
        async move { store.items(place, page).await.map(drop) }.boxed(),
        async move { store.item(place, item).await.map(drop) }.boxed(),
        async move { store.remove_item(place, item).await.map(drop) }.boxed(),
        async move { store.delete_turn(owner, &begun.turn).await.map(drop) }.boxed(),
        async move { store.delete_conversation(place).await.map(drop) }.boxed(),
        async move { store.put_document(owner, kind, document).await.map(drop) }.boxed(),
        async move { store.document(owner, kind, "one").await.map(drop) }.boxed(),
        async move { store.documents(owner, kind, documents).await.map(drop) }.boxed(),
        async move { store.delete_document(owner, kind, "one").await.map(drop) }.boxed(),
    ]
}

async fn assert_bounded_failures(rig: &Rig, who: &Caller, begun: &BeginTurn, deadline: Duration) {
    let calls = every_call(rig, who, begun).into_iter().chain(every_call_apart(rig, who, begun));
    let calls = calls.enumerate().map(|(i, call)| async move {
        let started = Instant::now();
        let answer = call.await;
        // Adopting makes up to three calls, and nothing else that could follow a failure.
        assert!(started.elapsed() < deadline + SLACK, "call {i} took {:?}", started.elapsed());
        assert!(matches!(answer, Err(StoreError::Unavailable(_))), "call {i}: {answer:?}");
    });
    join_all(calls).await;
}

async fn assert_recovers(rig: &Rig, since: Instant) {
    while let Err(error) = rig.store.ping().await {
        assert!(since.elapsed() < RECOVERS_WITHIN, "not back after {:?}: {error}", since.elapsed());
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Connections other than the one that asks.
async fn connections(server: &RedisServer) -> usize {
    let clients: String = redis::cmd("CLIENT").arg("LIST").query_async(&mut server.admin().await).await.unwrap();
    clients.lines().filter(|line| !line.contains("cmd=client")).count()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stalled_server_gives_bounded_failures_and_is_back_in_five_seconds() {
    // P9 speaks of 30 s; what matters shows in 4.
    let stall = std::env::var("STALL_SECONDS").ok().and_then(|text| text.parse().ok()).unwrap_or(4);
    let server = Arc::new(RedisServer::start());
    let deadline = Duration::from_millis(500);
    let settings = RedisSettings { deadline, ..server.settings(&prefix()) };
    let store = connect(settings).await;
    let rig = Rig::new(store.clone(), store, crate::store::rig::Time::Real { unit_ms: 400 });
    let who = Caller::browser();
    rig.turn(&who, "before").await;
    let begun = rig.begin(&who);
    rig.started(&begun).await;
    let before = connections(&server).await;

    server.pause();
    let paused = Instant::now();
    // Thousands of calls without an answer neither pile up nor wait longer.
    let started = Instant::now();
    let crowd = join_all((0..20_000).map(|_| rig.store.history(&who.place, None, 10, 0))).await;
    assert!(crowd.iter().all(|answer| matches!(answer, Err(StoreError::Unavailable(_)))));
    assert!(started.elapsed() < deadline + Duration::from_secs(2), "the crowd took {:?}", started.elapsed());
    while paused.elapsed() < Duration::from_secs(stall) {
        assert_bounded_failures(&rig, &who, &begun, deadline).await;
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    server.resume();
    assert_recovers(&rig, Instant::now()).await;

    // What was sent into the stall may have happened since; the store is as usable as before.
    let fresh = Caller::browser();
    rig.turn(&fresh, "after").await;
    assert_eq!(rig.history(&fresh).await.unwrap().items.len(), 2);
    eventually("connections are as many as before", async || connections(&server).await == before).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_dies_and_starts_anew_is_found_again() {
    let server = Arc::new(RedisServer::start_with(&["--appendonly", "yes", "--appendfsync", "always"]));
    let rig = rig_on(server.clone()).await;
    let who = Caller::browser();
    rig.turn(&who, "before").await;
    let begun = rig.begin(&who);
    let fence = rig.started(&begun).await.fence;
    let before = connections(&server).await;

    server.kill();
    eventually("calls fail", async || rig.store.ping().await.is_err()).await;
    assert_bounded_failures(&rig, &who, &begun, Duration::from_secs(2)).await;
    server.restart();
    assert_recovers(&rig, Instant::now()).await;

    // The data came from the disk; the scripts did not.
    assert_eq!(rig.settled(&who).await.len(), 2);
    assert_eq!(rig.store.finish_turn(rig.finish(&begun, fence, 2, "after")).await.unwrap(), Finished::Stored);
    assert_eq!(rig.history(&who).await.unwrap().items.len(), 4);
    eventually("connections are as many as before", async || connections(&server).await == before).await;

    // Notices come again, too.
    let next = rig.begin(&who);
    rig.started(&next).await;
    let mut notices = rig.peer.notices();
    assert_eq!(rig.store.request_cancel(&who.place.owner, &next.turn).await.unwrap(), CancelRequest::Requested);
    assert_eq!(notices.recv().await.unwrap(), Notice::Cancel(next.turn));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_lost_everything_is_served_all_the_same() {
    let server = Arc::new(RedisServer::start());
    let rig = rig_on(server.clone()).await;
    let who = Caller::browser();
    rig.turn(&who, "before").await;
    server.restart();
    assert_recovers(&rig, Instant::now()).await;
    assert_eq!(rig.history(&who).await, None);
    rig.turn(&Caller::browser(), "after").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn broken_connections_lose_and_double_nothing() {
    let server = Arc::new(RedisServer::start());
    let rig = rig_on(server.clone()).await;
    let callers: Vec<Caller> = (0..8).map(|_| Caller::browser()).collect();
    let turns = join_all(callers.iter().map(|who| async {
        for _ in 0..25 {
            rig.turn(who, "hi").await;
            // The next break is to find other calls under way.
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }));
    while_connections_break(&server, turns).await;
    for who in &callers {
        assert_eq!(rig.history(who).await.unwrap().items.len(), 50);
        assert_eq!(rig.store.turns(&who.place, 100).await.unwrap().unwrap().len(), 25);
    }
}

/// Breaks all connections every now and then until `work` is done.
async fn while_connections_break<T>(server: &RedisServer, work: impl Future<Output = T>) -> T {
    let mut admin = server.admin().await;
    let breaks = async {
        loop {
            let mut kill = redis::cmd("CLIENT");
            kill.arg("KILL").arg("TYPE").arg("normal").arg("SKIPME").arg("yes");
            let _: i64 = kill.query_async(&mut admin).await.unwrap();
            tokio::time::sleep(Duration::from_millis(150)).await;
        }
    };
    tokio::select! {
        done = work => done,
        () = breaks => unreachable!("it goes on for ever"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn broken_connections_add_and_remove_every_item_once() {
    let server = Arc::new(RedisServer::start());
    let rig = rig_on(server.clone()).await;
    let callers: Vec<Caller> = (0..8).map(|_| Caller::program()).collect();
    let work = join_all(callers.iter().map(|who| async {
        let mut stays = rig.created(who, &[1]).await;
        for round in 0..25u32 {
            let mut items = notes(&[round, 1]);
            let added = rig.store.add_items(&who.place, items.clone(), rig.now_ms()).await.unwrap();
            assert!(matches!(added, Added::Added(_)), "{added:?}");
            let goes = items.remove(usize::from(round % 2 == 0));
            assert_eq!(rig.store.remove_item(&who.place, &goes.id).await.unwrap(), Removed::Removed);
            stays.append(&mut items);
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        stays
    }));
    let stays = while_connections_break(&server, work).await;
    for (who, stays) in callers.iter().zip(stays) {
        let items = rig.history(who).await.unwrap().items;
        assert_eq!(items.into_iter().map(|stored| stored.item).collect::<Vec<_>>(), stays);
        let started = rig.started(&rig.begin(who)).await;
        assert_eq!(started.conversation.version, 50);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn forgotten_scripts_are_loaded_again() {
    let server = Arc::new(RedisServer::start());
    let rig = rig_on(server.clone()).await;
    let who = Caller::browser();
    let mut admin = server.admin().await;
    let begin = rig.begin(&who);
    for round in 0..3 {
        let _: () = redis::cmd("SCRIPT").arg("FLUSH").query_async(&mut admin).await.unwrap();
        match round {
            0 => drop(rig.started(&begin).await),
            1 => assert!(!rig.append_stored(rig.append(&begin, 1, texts(2, &["a"]))).await),
            _ => assert_eq!(Rig::adopted(&*rig.store, &rig.holder(), DAY_MS, 10).await, []),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_server_says_so_stores_no_halves_and_reads_on() {
    let server = Arc::new(RedisServer::start());
    let rig = rig_on(server.clone()).await;
    let who = Caller::browser();
    rig.turn(&who, "before").await;
    let running = rig.begin(&who);
    let fence = rig.started(&running).await.fence;
    let elsewhere = who.elsewhere();
    let mut admin = server.admin().await;
    let set = |value: &str| redis::cmd("CONFIG").arg("SET").arg("maxmemory").arg(value).clone();
    let (crowded, kind) = (who.elsewhere(), DocumentKind::Completion);
    let items = rig.created(&crowded, &[1, 2, 4]).await;
    let document = Document { id: "one".into(), created_at_ms: 1, json: "{}".into() };
    assert!(rig.store.put_document(&who.place.owner, kind, document.clone()).await.unwrap());
    let ended = Caller::browser();
    rig.turn(&ended, "hi").await;
    assert!(rig.store.renew_session(&ended.place.owner, rig.unit_ms(), rig.now_ms()).await.unwrap());
    rig.pass(1.5).await;
    let _: () = set("1").query_async(&mut admin).await.unwrap();

    let full = |error: &StoreError| matches!(error, StoreError::Full(_));
    assert!(full(&rig.store.begin_turn(rig.begin(&elsewhere)).await.unwrap_err()));
    let append = rig.append(&running, fence, texts(2, &["a"]));
    assert!(full(&rig.store.append_events(append).await.unwrap_err()));
    let finish = rig.finish(&running, fence, 2, "after");
    assert!(full(&rig.store.finish_turn(finish.clone()).await.unwrap_err()));
    assert!(full(&rig.store.ping().await.unwrap_err()));
    assert_eq!(rig.settled(&who).await.len(), 2);
    assert_eq!(rig.events(&who, &running.turn).await.0.len(), 1);
    // Also where reading would leave a mark.
    rig.peer.read_events(&who.place.owner, &running.turn, 0, 10).await.unwrap();
    assert_eq!(rig.history(&elsewhere).await, None);

    let new = rig.new_conversation(&elsewhere, &notes(&[1]));
    assert!(full(&rig.store.create_conversation(new).await.unwrap_err()));
    assert!(full(&rig.store.add_items(&crowded.place, notes(&[1]), 1).await.unwrap_err()));
    assert!(full(&rig.store.remove_item(&crowded.place, &items[0].id).await.unwrap_err()));
    assert_eq!(rig.history(&crowded).await.unwrap().items.len(), 3);
    assert!(full(&rig.store.put_document(&who.place.owner, kind, document).await.unwrap_err()));
    assert_eq!(rig.store.conversation(&elsewhere.place).await.unwrap(), None);
    // A session that cannot be renewed lives all the same, and one that has ended does not.
    let owner = &who.place.owner;
    assert!(rig.store.renew_session(owner, DAY_MS, rig.now_ms()).await.unwrap());
    assert!(!rig.store.renew_session(&ended.place.owner, DAY_MS, rig.now_ms()).await.unwrap());
    assert!(!rig.store.renew_session(&Caller::browser().place.owner, DAY_MS, rig.now_ms()).await.unwrap());
    // What makes room can be done.
    assert_eq!(rig.store.remove_item(&crowded.place, &items[2].id).await.unwrap(), Removed::Removed);
    assert!(rig.store.delete_document(&who.place.owner, kind, "one").await.unwrap());
    assert!(rig.store.delete_conversation(&crowded.place).await.unwrap());

    let _: () = set("0").query_async(&mut admin).await.unwrap();
    assert_eq!(rig.store.finish_turn(finish).await.unwrap(), Finished::Stored);
    assert_eq!(rig.history(&who).await.unwrap().items.len(), 4);
    rig.started(&rig.begin(&elsewhere)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_takes_no_turn() {
    let server = Arc::new(RedisServer::start());
    let rig = rig_on(server.clone()).await;
    let mut admin = server.admin().await;
    let replicate = |host: &str, port: &str| redis::cmd("REPLICAOF").arg(host).arg(port).clone();
    let _: () = replicate("127.0.0.1", "1").query_async(&mut admin).await.unwrap();
    let begun = rig.store.begin_turn(rig.begin(&Caller::browser())).await;
    assert!(matches!(&begun, Err(StoreError::Unavailable(why)) if why.contains("replica")), "{begun:?}");
    assert!(rig.store.ping().await.is_err());
    let _: () = replicate("NO", "ONE").query_async(&mut admin).await.unwrap();
    assert_recovers(&rig, Instant::now()).await;
    let begun = rig.store.begin_turn(rig.begin(&Caller::browser())).await.unwrap();
    assert!(matches!(begun, Begun::Started(_)));

    // A failover that is over within a call's deadline is not even noticed.
    let _: () = replicate("127.0.0.1", "1").query_async(&mut admin).await.unwrap();
    let begin = rig.begin(&Caller::browser());
    let promoted = async {
        tokio::time::sleep(Duration::from_millis(300)).await;
        let _: () = replicate("NO", "ONE").query_async(&mut admin).await.unwrap();
    };
    let (begun, ()) = futures::future::join(rig.store.begin_turn(begin), promoted).await;
    assert!(matches!(begun.unwrap(), Begun::Started(_)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_closed_store_has_no_connections_and_answers_so() {
    let server = Arc::new(RedisServer::start());
    let before = connections(&server).await;
    let store = connect(server.settings(&prefix())).await;
    assert_eq!(connections(&server).await, before + 2);
    store.close().await;
    eventually("no connection is left", async || connections(&server).await == before).await;
    assert!(matches!(store.ping().await, Err(StoreError::Unavailable(_))));
    let dropped = connect(server.settings(&prefix())).await;
    drop(dropped);
    eventually("nor of one that was only dropped", async || connections(&server).await == before).await;
}
