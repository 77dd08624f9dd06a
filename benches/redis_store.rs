//! What a turn costs on Redis, in CPU time of this process and of redis-server: `cargo bench --bench redis_store`.
//!
//! Beside it what the measuring itself takes (the same on the store in memory), and two commands that do nothing.

#![expect(clippy::print_stdout, clippy::unwrap_used, reason = "a table is what it is for")]

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::future::join_all;
use openai_backend::domain::clock::SystemClock;
use openai_backend::domain::conversation::{Owner, Place};
use openai_backend::domain::delta::Delta;
use openai_backend::domain::event::{End, Event, Numbered};
use openai_backend::domain::ids::{Ids as _, InstanceId, ItemId, SessionKey, SystemIds, TurnId};
use openai_backend::domain::item::{Item, assistant_message, user_message};
use openai_backend::domain::output::Answer;
use openai_backend::domain::tokens::Encoding;
use openai_backend::domain::turn::{TurnRequest, TurnStatus, Usage};
use openai_backend::domain::window::Budget;
use openai_backend::store::memory::Memory;
use openai_backend::store::redis::Redis;
use openai_backend::store::{AppendEvents, BeginTurn, Begun, FinishTurn, SessionUse, Store};

use self::redis_server::RedisServer;

#[path = "../tests/it/support/redis_server.rs"]
#[expect(dead_code, unreachable_pub, reason = "tests do more with it")]
mod redis_server;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const HOUR_MS: i64 = 3_600_000;
const NOW_MS: i64 = 1_800_000_000_000;
const NOTHING: Budget = Budget { tokens: 1, fixed_tokens: 1, whole: false };
/// 40 messages of 10 tokens.
const FORTY_ITEMS: Budget = Budget { tokens: 400, fixed_tokens: 0, whole: false };
const TURNS: usize = 20_000;

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(run());
}

async fn run() {
    let server = Arc::new(RedisServer::start());
    let store: Arc<dyn Store> = Arc::new(Redis::connect(server.settings("bench:")).await.unwrap());
    let memory: Arc<dyn Store> = Arc::new(Memory::new(Arc::new(SystemClock)));
    println!("{:<44} {:>7} {:>12} {:>12} {:>12}", "", "at once", "own CPU", "redis' CPU", "time");
    for count in [1, 16, 64] {
        let meter = Meter::start(&server);
        turns(&memory, &places(count), NOTHING).await;
        meter.report("the measuring itself", count, TURNS);
        let meter = Meter::start(&server);
        join_all((0..count).map(|_| async {
            for _ in 0..TURNS / count {
                store.ping().await.unwrap();
                store.ping().await.unwrap();
            }
        }))
        .await;
        meter.report("two commands that do nothing", count, TURNS);
        let meter = Meter::start(&server);
        turns(&store, &places(count), NOTHING).await;
        meter.report("begin and finish, no history loaded", count, TURNS);
        let places = places(count);
        for place in &places {
            for _ in 0..20 {
                turn(&store, place, NOTHING, 2).await;
            }
        }
        let meter = Meter::start(&server);
        join_all(places.iter().map(|place| async {
            for _ in 0..TURNS / count {
                turn(&store, place, FORTY_ITEMS, 0).await;
            }
        }))
        .await;
        meter.report("begin and finish, 40 messages of 500 bytes", count, TURNS);
    }
    events(&server, &store).await;
}

async fn events(server: &RedisServer, store: &Arc<dyn Store>) {
    let place = places(1).remove(0);
    let begin = begin(&place, NOTHING);
    store.begin_turn(begin.clone()).await.unwrap();
    let meter = Meter::start(server);
    for seq in 2..20_002 {
        let events = vec![Numbered { seq, event: Delta::text(" word").into() }];
        let (place, turn) = (place.clone(), begin.turn.clone());
        store.append_events(AppendEvents { place, turn, fence: 1, events, lease_ms: HOUR_MS }).await.unwrap();
    }
    meter.report("append of one event", 1, 20_000);
    let meter = Meter::start(server);
    for _ in 0..10 {
        for after in (0..20_000).step_by(1_000) {
            store.read_events(&place.owner, &begin.turn, after, 1_000).await.unwrap();
        }
    }
    meter.report("reading of one event, in pages of 1,000", 1, 200_000);
}

fn places(count: usize) -> Vec<Place> {
    let place = |_| {
        let key = SessionKey::of_secret(&SystemIds.secret());
        Place { conversation: key.main_conversation(), owner: Owner::Session(key) }
    };
    (0..count).map(place).collect()
}

async fn turns(store: &Arc<dyn Store>, places: &[Place], budget: Budget) {
    join_all(places.iter().map(|place| async {
        for _ in 0..TURNS / places.len() {
            turn(store, place, budget, 2).await;
        }
    }))
    .await;
}

async fn turn(store: &Arc<dyn Store>, place: &Place, budget: Budget, items: usize) {
    let begin = begin(place, budget);
    let Begun::Started(started) = store.begin_turn(begin.clone()).await.unwrap() else { panic!("not started") };
    if budget == FORTY_ITEMS {
        assert_eq!(started.history.items.len(), 40);
    }
    store.finish_turn(finish(begin, started.fence, items)).await.unwrap();
}

fn begin(place: &Place, budget: Budget) -> BeginTurn {
    let id = ItemId::fresh(&SystemIds, &SystemClock);
    let json = user_message(&id, "What is a joke?");
    let request = TurnRequest {
        model: "gpt-4o-mini".into(),
        instructions: "You are a helpful AI assistant.".into(),
        input: vec![Item { id, turn: None, json, tokens: 10, encoding: Encoding::O200k }],
        answer_id: ItemId::fresh(&SystemIds, &SystemClock),
        temperature: Some(0.95),
        max_tokens: Some(1_000),
        stream: true,
        options: None,
        shown: None,
        whole_history: false,
        tools: Default::default(),
        aim: Default::default(),
    };
    BeginTurn {
        place: place.clone(),
        session: SessionUse::Create(24 * HOUR_MS),
        create_conversation: true,
        hidden: false,
        expected_items: None,
        turn: TurnId::fresh(&SystemIds, &SystemClock),
        request,
        idempotency: None,
        rate: None,
        budget,
        holder: InstanceId::fresh(&SystemIds, &SystemClock),
        lease_ms: HOUR_MS,
        now_ms: NOW_MS,
    }
}

fn finish(begin: BeginTurn, fence: u64, items: usize) -> FinishTurn {
    let text = "word ".repeat(75);
    let id = begin.request.answer_id;
    let mut all = begin.request.input;
    let json = assistant_message(&id, &text, "", true);
    all.push(Item { id: id.clone(), turn: Some(begin.turn.clone()), json, tokens: 10, encoding: Encoding::O200k });
    all.truncate(items);
    let usage = Some(Usage { input_tokens: 20, output_tokens: 75, ..Usage::default() });
    let answer = Answer {
        id,
        text,
        model: "gpt-4o-mini".into(),
        finish_reason: Some("stop".into()),
        output: Vec::new(),
        provider: None,
    };
    let end = End { status: TurnStatus::Completed, answer: Some(answer), usage, fault: None, at_ms: 0 };
    FinishTurn {
        place: begin.place,
        turn: begin.turn,
        fence,
        status: TurnStatus::Completed,
        items: all,
        usage,
        fault: None,
        answer: None,
        events: vec![Numbered { seq: 2, event: Event::Ended(Box::new(end)) }],
        keep_events_ms: HOUR_MS,
        now_ms: NOW_MS,
    }
}

/// CPU time from here on.
struct Meter<'a> {
    server: &'a RedisServer,
    own: Duration,
    redis: Duration,
    started: Instant,
}

impl<'a> Meter<'a> {
    fn start(server: &'a RedisServer) -> Self {
        Self { server, own: cpu_of("self"), redis: cpu_of(&server.pid()), started: Instant::now() }
    }

    fn report(&self, what: &str, at_once: usize, times: usize) {
        let each = |all: Duration| format!("{:.1} µs", all.as_secs_f64() * 1e6 / times as f64);
        let own = each(cpu_of("self") - self.own);
        let redis = each(cpu_of(&self.server.pid()) - self.redis);
        println!("{what:<44} {at_once:>7} {own:>12} {redis:>12} {:>12}", each(self.started.elapsed()));
    }
}

/// In clock ticks of 10 ms.
fn cpu_of(pid: &str) -> Duration {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    let ticks: u64 = fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap();
    Duration::from_millis(ticks * 10)
}
