//! Two instances on one Redis: what one tells the other, and who gets a turn whose server went away.

use std::sync::Arc;
use std::time::Duration;

use openai_backend::domain::ids::TurnId;
use openai_backend::store::{BeginTurn, Begun, Finished, Notice, Store};
use redis::aio::MultiplexedConnection;
use tokio::sync::broadcast::Receiver;

use super::{prefix, rig_on};
use crate::store::rig::{Caller, DAY_MS, Rig, Time, texts};
use crate::support::redis_server::RedisServer;

async fn expect(notices: &mut Receiver<Notice>, wanted: &Notice) {
    let wait = async { while notices.recv().await.unwrap() != *wanted {} };
    tokio::time::timeout(Duration::from_secs(5), wait).await.unwrap_or_else(|_| panic!("no {wanted:?}"));
}

async fn published(server: &RedisServer) -> i64 {
    calls(&mut server.admin().await, "publish").await
}

/// How often the server has run a command.
pub async fn calls(admin: &mut MultiplexedConnection, command: &str) -> i64 {
    let stats: String = redis::cmd("INFO").arg("commandstats").query_async(admin).await.unwrap();
    let line = stats.lines().find_map(|line| line.strip_prefix(&format!("cmdstat_{command}:calls=")));
    line.map_or(0, |line| line.split(',').next().unwrap().parse().unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_elsewhere_is_told_of_each_write() {
    let rig = rig_on(RedisServer::shared()).await;
    let who = Caller::browser();
    let begin = rig.begin(&who);
    let fence = rig.started(&begin).await.fence;
    let mut notices = rig.peer.notices();
    rig.peer.read_events(&who.place.owner, &begin.turn, 0, 10).await.unwrap();
    rig.append_stored(rig.append(&begin, fence, texts(2, &["a"]))).await;
    expect(&mut notices, &Notice::Events(begin.turn.clone())).await;
    rig.store.finish_turn(rig.finish(&begin, fence, 3, "a")).await.unwrap();
    expect(&mut notices, &Notice::Events(begin.turn.clone())).await;
    expect(&mut notices, &Notice::Free(who.place.conversation.clone())).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_instance_that_found_it_busy_is_told_when_it_is_free() {
    let rig = rig_on(RedisServer::shared()).await;
    for who in [Caller::browser(), Caller::program()] {
        let begin = rig.begin(&who);
        let fence = rig.started(&begin).await.fence;
        let mut notices = rig.peer.notices();
        let next = rig.begin(&who);
        assert!(matches!(rig.peer.begin_turn(next.clone()).await.unwrap(), Begun::Busy { .. }));
        rig.store.finish_turn(rig.finish(&begin, fence, 2, "a")).await.unwrap();
        expect(&mut notices, &Notice::Free(who.place.conversation.clone())).await;
        assert!(matches!(rig.peer.begin_turn(next).await.unwrap(), Begun::Started(_)));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_turn_that_nobody_watches_costs_no_message() {
    let server = Arc::new(RedisServer::start());
    let rig = rig_on(server.clone()).await;
    let who = Caller::browser();
    let before = published(&server).await;
    let mut notices = rig.store.notices();
    let begin = rig.begin(&who);
    let fence = rig.started(&begin).await.fence;
    // Readers on the turn's own instance need none.
    rig.events(&who, &begin.turn).await;
    rig.append_stored(rig.append(&begin, fence, texts(2, &["a"]))).await;
    assert!(matches!(rig.store.begin_turn(rig.begin(&who)).await.unwrap(), Begun::Busy { .. }));
    rig.store.finish_turn(rig.finish(&begin, fence, 3, "a")).await.unwrap();
    expect(&mut notices, &Notice::Free(who.place.conversation.clone())).await;
    assert_eq!(published(&server).await, before);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn own_messages_do_not_come_twice() {
    let rig = rig_on(RedisServer::shared()).await;
    let (one, two) = (Caller::browser(), Caller::browser());
    let mut notices = rig.store.notices();
    for who in [&one, &two] {
        let begin = rig.begin(who);
        rig.started(&begin).await;
        rig.store.request_cancel(&who.place.owner, &begin.turn).await.unwrap();
        rig.store.delete_owner(&who.place.owner).await.unwrap();
        assert_eq!(notices.recv().await.unwrap(), Notice::Cancel(begin.turn));
        assert_eq!(notices.recv().await.unwrap(), Notice::OwnerGone(who.place.owner.tag()));
    }
}

/// A turn whose server is gone.
async fn abandoned(rig: &Rig, who: &Caller) -> (BeginTurn, u64) {
    let begin = BeginTurn { lease_ms: rig.unit_ms(), ..rig.begin(who) };
    let fence = rig.started(&begin).await.fence;
    rig.pass(1.5).await;
    (begin, fence)
}

async fn adopt(store: &Arc<dyn Store>, rig: &Rig, lease_ms: i64) -> Vec<TurnId> {
    let adopted = Rig::adopted(&**store, &rig.stranger(), lease_ms, 100).await;
    adopted.into_iter().map(|record| record.id).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_late_end_of_a_lost_turn_does_not_hide_it_from_the_next_heir() {
    let rig = rig_on(RedisServer::shared()).await;
    for who in [Caller::browser(), Caller::program()] {
        let (begin, old) = abandoned(&rig, &who).await;
        assert_eq!(adopt(&rig.peer, &rig, rig.unit_ms()).await, std::slice::from_ref(&begin.turn));
        let late = rig.store.finish_turn(rig.finish(&begin, old, 2, "late")).await.unwrap();
        assert_eq!(late, Finished::Fenced);
        rig.pass(1.5).await;
        assert_eq!(adopt(&rig.store, &rig, DAY_MS).await, std::slice::from_ref(&begin.turn));
        assert_eq!(adopt(&rig.peer, &rig, DAY_MS).await, []);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_index_that_lost_a_turn_gets_it_back_from_whoever_is_in_its_way() {
    let server = RedisServer::shared();
    let prefix = prefix();
    let store: Arc<dyn Store> =
        Arc::new(openai_backend::store::redis::Redis::connect(server.settings(&prefix)).await.unwrap());
    let rig = Rig::new(store.clone(), store, Time::Real { unit_ms: 400 });
    let who = Caller::browser();
    let (begin, _) = abandoned(&rig, &who).await;
    let mut admin = server.admin().await;
    let _: i64 = redis::cmd("DEL").arg(format!("{prefix}leases")).query_async(&mut admin).await.unwrap();
    assert_eq!(adopt(&rig.store, &rig, DAY_MS).await, []);
    let busy = rig.store.begin_turn(rig.begin(&who)).await.unwrap();
    assert_eq!(busy, Begun::Busy { running: begin.turn.clone(), orphaned: true });
    assert_eq!(adopt(&rig.store, &rig, DAY_MS).await, [begin.turn]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_index_full_of_leftovers_is_tidied() {
    let server = RedisServer::shared();
    let prefix = prefix();
    let store: Arc<dyn Store> =
        Arc::new(openai_backend::store::redis::Redis::connect(server.settings(&prefix)).await.unwrap());
    let rig = Rig::new(store.clone(), store, Time::Real { unit_ms: 400 });
    let who = Caller::browser();
    let done = rig.turn(&who, "hi").await;
    let running = rig.begin(&who);
    rig.started(&running).await;
    let (tag, conversation) = (who.place.owner.tag(), &who.place.conversation);
    let mut leftovers = redis::cmd("ZADD");
    leftovers.arg(format!("{prefix}leases"));
    leftovers.arg(0).arg("what is this").arg(0).arg("");
    leftovers.arg(0).arg(format!("1 {} {conversation} {tag}", done.turn));
    leftovers.arg(0).arg(format!("7 {} {conversation} {tag}", running.turn));
    leftovers.arg(0).arg(format!("1 {} {conversation} k:another owner", running.turn));
    for i in 0..300 {
        leftovers.arg(0).arg(format!("1 turn_{i} {conversation} {tag}"));
    }
    let mut admin = server.admin().await;
    let _: i64 = leftovers.query_async(&mut admin).await.unwrap();
    assert_eq!(adopt(&rig.store, &rig, DAY_MS).await, []);
    let left: Vec<String> =
        redis::cmd("ZRANGE").arg(format!("{prefix}leases")).arg(0).arg(-1).query_async(&mut admin).await.unwrap();
    assert_eq!(left, [format!("1 {} {conversation} {tag}", running.turn)]);
}
