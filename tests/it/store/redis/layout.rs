//! What lies in Redis: in which slots, for how long, and at what cost.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use openai_backend::domain::window::Budget;
use openai_backend::store::redis::{Redis, RedisSettings};
use openai_backend::store::{BeginTurn, FinishTurn, IdempotencyKey, KeyRole, SessionUse, Store, StoreError};
use redis::aio::MultiplexedConnection;

use super::instances::calls;
use super::prefix;
use crate::store::contract::endings::{Remains, assert_all_writes_refused};
use crate::store::rig::{AMPLE, Caller, DAY_MS, Rig, Time, texts};
use crate::support::redis_server::RedisServer;

/// A store, and a way to look at its keys from the side.
pub struct Looked {
    pub rig: Rig,
    pub prefix: String,
    pub admin: MultiplexedConnection,
}

impl Looked {
    pub async fn at(server: Arc<RedisServer>) -> Self {
        let prefix = prefix();
        let settings = RedisSettings { in_cluster: true, ..server.settings(&prefix) };
        let store: Arc<dyn Store> = Arc::new(Redis::connect(settings).await.unwrap());
        let admin = server.admin().await;
        let rig = Rig::new(store.clone(), store, Time::Real { unit_ms: 400 }).keeping(server);
        Self { rig, prefix, admin }
    }

    pub async fn keys(&mut self) -> BTreeSet<String> {
        let keys: Vec<String> =
            redis::cmd("KEYS").arg(format!("{}*", self.prefix)).query_async(&mut self.admin).await.unwrap();
        keys.into_iter().collect()
    }

    async fn slot(&mut self, key: &str) -> i64 {
        redis::cmd("CLUSTER").arg("KEYSLOT").arg(key).query_async(&mut self.admin).await.unwrap()
    }

    /// In milliseconds; -1 for ever.
    pub async fn ttl(&mut self, key: &str) -> i64 {
        redis::cmd("PTTL").arg(key).query_async(&mut self.admin).await.unwrap()
    }

    async fn calls(&mut self, command: &str) -> i64 {
        calls(&mut self.admin, command).await
    }

    /// A conversation with a finished turn and a running one.
    async fn lived_in(&self, who: &Caller, with_keys: bool) {
        let begin = |key: &str| match with_keys {
            true => self.rig.begin_with_key(who, &format!("{key} {}", who.place.conversation), "body"),
            false => self.rig.begin(who),
        };
        let first = begin("first");
        let fence = self.rig.started(&first).await.fence;
        self.rig.store.finish_turn(self.rig.finish(&first, fence, 2, "hi")).await.unwrap();
        let begin = begin("second");
        let fence = self.rig.started(&begin).await.fence;
        self.rig.append_stored(self.rig.append(&begin, fence, texts(2, &["a"]))).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_keys_of_a_conversation_share_a_slot() {
    let mut look = Looked::at(a_cluster_of_one().await).await;
    let (browser, program) = (Caller::browser(), Caller::program());
    let programs = [program.elsewhere(), program];
    look.lived_in(&browser, true).await;
    look.lived_in(&browser.elsewhere(), true).await;
    for who in &programs {
        // Their idempotency keys are not a conversation's but the owner's, and have slots of their own.
        look.lived_in(who, false).await;
    }
    // What a conversation needs to be taken over, looked at and deleted, it finds there, too.
    assert_eq!(Rig::adopted(&*look.rig.store, &look.rig.holder(), DAY_MS, 10).await, []);
    let mut slots: BTreeMap<String, BTreeSet<i64>> = BTreeMap::new();
    for key in look.keys().await {
        let of = match key.strip_prefix(&format!("{}{{", look.prefix)) {
            Some(rest) if rest.starts_with("s:") => "the session".to_owned(),
            Some(rest) => rest.split('}').next().unwrap().to_owned(),
            None => continue,
        };
        let slot = look.slot(&key).await;
        slots.entry(of).or_default().insert(slot);
    }
    assert!(slots.values().all(|slots| slots.len() == 1), "{slots:?}");
    // The session, the conversations of the program, and what leads to them: four turns, and the list.
    assert_eq!(slots.len(), 1 + 2 + 4 + 1, "{slots:?}");
    for who in programs.iter().chain([&browser]) {
        let turns = look.rig.store.turns(&who.place, 10).await.unwrap().unwrap();
        assert_eq!(look.rig.store.turn(&who.place.owner, &turns[0].id).await.unwrap().as_ref(), Some(&turns[0]));
        look.rig.store.request_cancel(&who.place.owner, &turns[0].id).await.unwrap();
        assert_eq!(look.rig.store.window(&who.place, AMPLE).await.unwrap().items.len(), 2);
        assert_eq!(look.rig.settled(who).await.len(), 2);
    }
    for who in [&programs[0], &browser] {
        look.rig.store.delete_owner(&who.place.owner).await.unwrap();
    }
    assert_eq!(look.keys().await, BTreeSet::new());
}

/// A server that refuses whatever touches two slots at once.
pub async fn a_cluster_of_one() -> Arc<RedisServer> {
    let server = RedisServer::start_with(&["--cluster-enabled", "yes"]);
    let mut admin = server.admin().await;
    let mut slots = redis::cmd("CLUSTER");
    let _: () = slots.arg("ADDSLOTSRANGE").arg(0).arg(16_383).query_async(&mut admin).await.unwrap();
    loop {
        let info: String = redis::cmd("CLUSTER").arg("INFO").query_async(&mut admin).await.unwrap();
        if info.contains("cluster_state:ok") {
            return Arc::new(server);
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_keys_of_a_session_expire_and_none_before_it() {
    let mut look = Looked::at(RedisServer::shared()).await;
    let who = Caller::browser();
    look.lived_in(&who, true).await;
    look.lived_in(&who.elsewhere(), true).await;
    let keys = look.keys().await;
    let session = keys.iter().find(|key| key.ends_with(":session")).unwrap();
    for renewed_to in [DAY_MS, 30 * DAY_MS] {
        assert!(look.rig.store.renew_session(&who.place.owner, renewed_to, look.rig.now_ms()).await.unwrap());
        let of_session = look.ttl(session).await;
        assert!((renewed_to - 10_000..=renewed_to).contains(&of_session), "{of_session}");
        for key in keys.iter().filter(|key| key.contains("{s:") && *key != session) {
            let (ttl, type_of) = (look.ttl(key).await, key.rsplit(':').next().unwrap());
            // Idempotency keys have a time of their own, and so have the events of a turn that has ended.
            let own_time = key.contains(":k:") || (type_of == "e" && ttl <= DAY_MS);
            let range = if own_time { 1..=DAY_MS } else { of_session..=renewed_to * 11 / 10 };
            assert!(range.contains(&ttl), "{key}: {ttl}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_has_expired_leaves_no_key() {
    let mut look = Looked::at(RedisServer::shared()).await;
    let who = Caller::browser();
    let idempotency =
        Some(IdempotencyKey { key: "key".into(), fingerprint: "body".into(), role: KeyRole::Join, keep_ms: 300 });
    let begin = BeginTurn { session: SessionUse::Create(400), idempotency, ..look.rig.begin(&who) };
    let fence = look.rig.started(&begin).await.fence;
    let finish = FinishTurn { keep_events_ms: 300, ..look.rig.finish(&begin, fence, 2, "hi") };
    look.rig.store.finish_turn(finish).await.unwrap();
    assert_eq!(look.keys().await.len(), 8);
    let started = Instant::now();
    while !look.keys().await.is_empty() {
        assert!(started.elapsed() < Duration::from_secs(5), "{:?}", look.keys().await);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn deleting_leaves_no_key() {
    let mut look = Looked::at(RedisServer::shared()).await;
    for who in [Caller::browser(), Caller::program()] {
        look.lived_in(&who, true).await;
        look.lived_in(&who.elsewhere(), true).await;
        let refused = look.rig.begin_with_key(&who, "third", "body");
        look.rig.store.begin_turn(refused).await.unwrap();
        assert!(look.keys().await.len() > 10);
        look.rig.store.delete_owner(&who.place.owner).await.unwrap();
        assert_eq!(look.keys().await, BTreeSet::new());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn writes_for_a_session_that_has_ended_leave_no_key() {
    for server in [RedisServer::shared(), a_cluster_of_one().await] {
        let mut look = Looked::at(server).await;
        let remains = Remains::of(&look.rig, Caller::browser()).await;
        let owner = remains.who.place.owner.clone();
        assert!(look.keys().await.len() > 5);
        look.rig.store.delete_owner(&owner).await.unwrap();
        assert_all_writes_refused(&look.rig, &remains).await;
        assert_eq!(look.keys().await, BTreeSet::new());

        let remains = Remains::of(&look.rig, remains.who.again()).await;
        look.rig.store.renew_session(&owner, 300, look.rig.now_ms()).await.unwrap();
        look.rig.pass(1.0).await;
        assert_all_writes_refused(&look.rig, &remains).await;
        // What Redis has to remove by itself has its time, and the index of leases is looked through.
        for key in look.keys().await.into_iter().filter(|key| key.contains("{s:")) {
            let ttl = look.ttl(&key).await;
            assert!(ttl != -1, "{key} stays for ever");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn renewing_a_session_touches_its_conversations_once_in_a_while() {
    let mut look = Looked::at(Arc::new(RedisServer::start())).await;
    let who = Caller::browser();
    look.rig.turn(&who, "hi").await;
    for _ in 0..50 {
        look.rig.turn(&who.elsewhere(), "hi").await;
    }
    let touched = look.calls("pexpireat").await;
    for _ in 0..20 {
        look.rig.store.renew_session(&who.place.owner, DAY_MS, look.rig.now_ms()).await.unwrap();
        look.rig.turn(&who, "hi").await;
    }
    // One for the events of each of the turns.
    assert_eq!(look.calls("pexpireat").await - touched, 20);
    look.rig.store.renew_session(&who.place.owner, DAY_MS * 11 / 10, look.rig.now_ms()).await.unwrap();
    assert!(look.calls("pexpireat").await - touched > 150);
}

/// How many reads from sockets the server has done; a pipeline that comes in one piece is one.
async fn reads(admin: &mut MultiplexedConnection) -> i64 {
    let stats: String = redis::cmd("INFO").arg("stats").query_async(admin).await.unwrap();
    stats.lines().find_map(|line| line.strip_prefix("total_reads_processed:")).unwrap().trim().parse().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_operation_is_one_script_and_one_round_trip() {
    let mut look = Looked::at(Arc::new(RedisServer::start())).await;
    let who = Caller::browser();
    look.rig.turn(&who, "hi").await;
    let mut fewest = [i64::MAX; 5];
    for _ in 0..10 {
        let begin = look.rig.begin(&who);
        for (i, fewest) in fewest.iter_mut().enumerate() {
            let (before, scripts) = (reads(&mut look.admin).await, look.calls("evalsha").await);
            match i {
                0 => drop(look.rig.started(&begin).await),
                1 => drop(look.rig.append_stored(look.rig.append(&begin, 1, texts(2, &["a"]))).await),
                2 => drop(look.rig.events(&who, &begin.turn).await),
                3 => drop(look.rig.store.finish_turn(look.rig.finish(&begin, 1, 3, "a")).await.unwrap()),
                _ => drop(look.rig.history(&who).await),
            }
            assert_eq!(look.calls("evalsha").await - scripts, 1);
            // Three of the reads are the looking itself; probes may come in between, so the fewest count.
            *fewest = (*fewest).min(reads(&mut look.admin).await - before - 3);
        }
    }
    assert_eq!(fewest, [1; 5]);
    assert_eq!(look.calls("eval").await, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_long_history_costs_a_turn_no_more_than_a_short_one() {
    let mut look = Looked::at(Arc::new(RedisServer::start())).await;
    let who = Caller::browser();
    let tokens = [10; 500];
    let mut costs = Vec::new();
    for _ in 0..20 {
        look.rig.turn_of_tokens(&who, &tokens).await;
        let before = look.calls("lrange").await;
        let begin =
            BeginTurn { budget: Budget { tokens: 300, fixed_tokens: 20, whole: false }, ..look.rig.begin(&who) };
        let started = look.rig.started(&begin).await;
        assert!((20..=28).contains(&started.history.items.len()), "{}", started.history.items.len());
        costs.push(look.calls("lrange").await - before);
        let mut finish = look.rig.finish(&begin, started.fence, 2, "");
        finish.items.clear();
        look.rig.store.finish_turn(finish).await.unwrap();
    }
    assert_eq!(costs, [1; 20]);
    assert_eq!(look.rig.store.window(&who.place, AMPLE).await.unwrap().items.len(), 10_000);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_cut_is_exact_for_large_numbers() {
    let look = Looked::at(RedisServer::shared()).await;
    let who = Caller::browser();
    let mut seed = 1u64;
    let mut random = || {
        // Any spread will do; the same every time.
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (seed >> 32) as u32
    };
    let tokens: Vec<u32> = (0..3_000).map(|i| if i % 3 == 0 { u32::MAX } else { random() }).collect();
    look.rig.turn_of_tokens(&who, &tokens).await;
    let all = look
        .rig
        .store
        .window(&who.place, Budget { tokens: u32::MAX, fixed_tokens: 0, whole: false })
        .await
        .unwrap()
        .items;
    assert!(all.len() < 10, "{}", all.len());
    let all = look.rig.store.history(&who.place, None, 3_000, look.rig.now_ms()).await.unwrap().unwrap().items;
    let total: u64 = tokens.iter().map(|&tokens| u64::from(tokens)).sum();
    for i in 0..300 {
        let budget = match i % 3 {
            0 => random(),
            1 => random() % 10_000,
            _ => u32::MAX - random() % 4,
        };
        let fixed_tokens = if budget == 0 { 0 } else { random() % budget };
        let budget = Budget { tokens: budget, fixed_tokens, whole: false };
        let from = all.partition_point(|item| item.tokens_before < budget.cut(total));
        assert_eq!(look.rig.store.window(&who.place, budget).await.unwrap().items, all[from..], "{budget:?}");
    }
}

async fn connect_error(settings: RedisSettings) -> String {
    match Redis::connect(settings).await {
        Ok(_) => panic!("connected"),
        Err(error @ (StoreError::Unavailable(_) | StoreError::Broken(_))) => error.to_string(),
        Err(error) => panic!("{error:?}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn users_and_passwords_are_used_and_never_shown() {
    let server = RedisServer::start();
    let mut admin = server.admin().await;
    let mut user = redis::cmd("ACL");
    user.arg("SETUSER").arg("chat").arg("on").arg(">swordfish").arg("~*").arg("&*").arg("+@all");
    let _: () = user.query_async(&mut admin).await.unwrap();
    let mut password = redis::cmd("CONFIG");
    password.arg("SET").arg("requirepass").arg("open sesame");
    let _: () = password.query_async(&mut admin).await.unwrap();

    let plain = server.settings("ob:");
    let with = |user: Option<&str>, password: &str| RedisSettings {
        user: user.map(str::to_owned),
        password: Some(password.into()),
        ..plain.clone()
    };
    let in_url = |user: &str, password: &str| RedisSettings {
        url: format!("redis://{user}:{password}@127.0.0.1:{}/3", server.port()).into(),
        ..plain.clone()
    };
    for good in [
        with(None, "open sesame"),
        with(Some("chat"), "swordfish"),
        in_url("chat", "swordfish"),
        RedisSettings { password: Some("swordfish".into()), ..in_url("chat", "canary") },
    ] {
        let store = Redis::connect(good).await.unwrap();
        store.ping().await.unwrap();
        let location = store.info().location;
        assert!(location.starts_with(&server.url()) && !location.contains('@'), "{location}");
    }
    for bad in [with(None, "canary"), with(Some("chat"), "canary"), in_url("chat", "canary"), plain.clone()] {
        let error = connect_error(bad).await;
        assert!(error.contains("password") && error.contains("127.0.0.1"), "{error}");
        assert!(!error.contains("canary"), "{error}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redis_that_is_not_there_is_a_clear_error() {
    let server = RedisServer::start();
    let settings = server.settings("ob:");
    server.kill();
    let error = connect_error(RedisSettings { user: Some("canary".into()), ..settings.clone() }).await;
    assert!(error.contains("refuses connections") && error.contains(&server.url()), "{error}");
    for (url, why) in [("redis://nowhere.invalid", "lookup"), (&server.url().replace("redis:", "rediss:"), "refuses")] {
        let error = connect_error(RedisSettings { url: url.into(), ..settings.clone() }).await;
        assert!(error.contains(why), "{error}");
    }
    for url in ["http://canary:canary@host/", "canary", "redis://canary@:x", ""] {
        let error = connect_error(RedisSettings { url: url.into(), ..settings.clone() }).await;
        assert!(error.contains("cannot be read") && !error.contains("canary"), "{error}");
    }
    let error = connect_error(RedisSettings { key_prefix: "a{b}".into(), ..settings }).await;
    assert!(error.contains("braces"), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tls_is_spoken_where_the_url_says_so() {
    let server = RedisServer::start();
    // This server does not speak it, which the client must find out by trying.
    let url = server.url().replace("redis:", "rediss:");
    let error = connect_error(RedisSettings { url: url.clone().into(), ..server.settings("ob:") }).await;
    assert!(error.contains(&url) && !error.contains("refuses"), "{error}");
}
