//! The clock is no reason to delete: a wall clock that is wrong for a while, or that differs from another server's, ends no
//! session and loses nothing.

use std::sync::Arc;

use openai_backend::domain::clock::steady::SteadyClock;
use openai_backend::domain::clock::{Clock, ManualClock};
use openai_backend::store::memory::Memory;
use openai_backend::store::redis::Redis;
use openai_backend::store::sqlite::Sqlite;
use openai_backend::store::{BeginTurn, Begun, Store};

use super::redis::prefix;
use super::rig::{Caller, DAY_MS, EPOCH_MS, Rig, Time};
use crate::support::redis_server::RedisServer;
use crate::support::server::Setup;

const HOUR_MS: i64 = 60 * 60 * 1_000;

/// A machine whose wall clock can be set wrong.
struct Machine {
    wall: Arc<ManualClock>,
    elapsed: Arc<ManualClock>,
    clock: Arc<SteadyClock>,
}

impl Machine {
    fn new() -> Self {
        let (wall, elapsed) = (Arc::new(ManualClock::at(EPOCH_MS)), Arc::new(ManualClock::at(0)));
        let clock = Arc::new(SteadyClock::new(wall.clone(), elapsed.clone()));
        Self { wall, elapsed, clock }
    }

    fn pass(&self, ms: i64) {
        self.wall.advance(ms);
        self.elapsed.advance(ms);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_browser_keeps_its_session_and_its_history_through_a_jump_on_every_store() {
    let redis = RedisServer::shared();
    for kind in ["memory", "sqlite", "redis"] {
        let machine = Machine::new();
        let folder = tempfile::tempdir().unwrap();
        let store: Arc<dyn Store> = match kind {
            "memory" => Arc::new(Memory::new(machine.clock.clone())),
            "sqlite" => Arc::new(Sqlite::open(folder.path(), machine.clock.clone()).unwrap()),
            _ => Arc::new(Redis::connect(redis.settings(&prefix())).await.unwrap()),
        };
        let server = Setup::default().clock(machine.clock.clone()).store(store.clone()).start().await;
        let browser = server.client();
        browser.say("one").await.ok();
        let cookie = browser.cookie();
        for jump_ms in [40 * DAY_MS, -40 * DAY_MS, -40 * DAY_MS, 40 * DAY_MS] {
            machine.pass(60_000);
            machine.wall.advance(jump_ms);
            browser.say("again").await.ok();
            assert_eq!(browser.cookie(), cookie, "{kind}: another session was made");
            store.sweep(machine.clock.certainly_past_ms()).await.unwrap();
        }
        assert_eq!(browser.history().await.len(), 10, "{kind}");
        server.stop().await;
    }
}

/// Memory ends with its server, and Redis expires things by itself.
#[tokio::test]
async fn a_server_that_starts_with_a_wrong_clock_deletes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let who = Caller::browser();
    for off_ms in [0, 40 * DAY_MS, -40 * DAY_MS] {
        let machine = Machine::new();
        machine.wall.advance(off_ms);
        let wrong = Arc::new(SteadyClock::new(machine.wall.clone(), machine.elapsed.clone()));
        let store = Arc::new(Sqlite::open(folder.path(), wrong.clone()).unwrap());
        wrong.compare(store.certain_ms());
        assert_eq!(wrong.is_steady(), off_ms == 0);
        let rig = Rig::new(store.clone(), store, Time::Manual(Arc::new(ManualClock::at(EPOCH_MS))));
        if off_ms == 0 {
            rig.turn(&who, "hi").await;
        }
        for _ in 0..60 {
            machine.pass(60_000 - 1);
            assert_eq!(rig.store.sweep(wrong.certainly_past_ms()).await.unwrap(), 0);
        }
        machine.wall.advance(-off_ms);
        for _ in 0..65 {
            assert_eq!(rig.store.sweep(wrong.certainly_past_ms()).await.unwrap(), 0);
            machine.pass(60_000);
        }
        let page = rig.store.history(&who.place, None, 10, wrong.now_ms()).await.unwrap().unwrap();
        assert_eq!(page.items.len(), 2);
        rig.store.close().await;
    }
    // By a clock that is right for long enough, it goes.
    let machine = Machine::new();
    machine.pass(40 * DAY_MS);
    let store = Sqlite::open(folder.path(), machine.clock.clone()).unwrap();
    assert!(store.sweep(machine.clock.certainly_past_ms()).await.unwrap() > 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn servers_on_one_redis_whose_clocks_differ_share_sessions_and_keys() {
    let redis = RedisServer::shared();
    let settings = redis.settings(&prefix());
    let store: Arc<dyn Store> = Arc::new(Redis::connect(settings.clone()).await.unwrap());
    let peer: Arc<dyn Store> = Arc::new(Redis::connect(settings).await.unwrap());
    let rig = Rig::new(store, peer, Time::Real { unit_ms: 400 });
    for off_ms in [0, 40 * DAY_MS, -40 * DAY_MS, 0] {
        let who = Caller::browser();
        rig.turn(&who, "hi").await;
        let keyed = rig.begin_with_key(&who, "key", "body");
        let fence = rig.started(&keyed).await.fence;
        rig.store.finish_turn(rig.finish(&keyed, fence, 2, "hi")).await.unwrap();

        let now_ms = rig.now_ms() + off_ms;
        let again = BeginTurn { now_ms, ..rig.begin_with_key(&who, "key", "body") };
        let again = rig.peer.begin_turn(again).await.unwrap();
        assert!(matches!(&again, Begun::Duplicate { turn, .. } if *turn == keyed.turn), "{off_ms}: {again:?}");
        let next = BeginTurn { now_ms, ..rig.begin(&who) };
        let started = rig.peer.begin_turn(next.clone()).await.unwrap();
        assert!(matches!(started, Begun::Started(_)), "{off_ms}: {started:?}");
        rig.peer.finish_turn(rig.finish(&next, 1, 2, "hi")).await.unwrap();
        assert!(rig.peer.renew_session(&who.place.owner, DAY_MS, now_ms).await.unwrap());
        // Each server is told when the session ends by its own clock.
        for now_ms in [rig.now_ms(), now_ms] {
            let page = rig.peer.history(&who.place, None, 10, now_ms).await.unwrap().unwrap();
            assert_eq!(page.items.len(), 6);
            let left_ms = page.session_expires_at_ms.unwrap() - now_ms;
            assert!((DAY_MS - HOUR_MS..=DAY_MS + HOUR_MS).contains(&left_ms), "{off_ms}: {left_ms}");
        }
    }
}
