//! What the store costs this process: CPU time per turn, a figure and not a promise.
//!
//! `cargo test --release --test it store::redis::cost -- --ignored --nocapture --test-threads 1`

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::future::join_all;
use openai_backend::domain::clock::SystemClock;
use openai_backend::domain::window::Budget;
use openai_backend::store::memory::Memory;
use openai_backend::store::redis::Redis;
use openai_backend::store::{BeginTurn, FinishTurn, Store};

use super::prefix;
use crate::store::rig::{Caller, Rig, Time, texts};
use crate::support::redis_server::RedisServer;

/// The CPU time of this process.
fn cpu() -> Duration {
    cpu_of("self")
}

/// In clock ticks of 10 ms.
fn cpu_of(pid: &str) -> Duration {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    let ticks: u64 = fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap();
    Duration::from_millis(ticks * 10)
}

/// Runs `turns` turns, so many at once, and says what one cost.
async fn measure(rig: &Rig, what: &str, callers: &[Caller], turns: usize, budget: Budget) {
    let rounds = turns / callers.len();
    let (started, before) = (Instant::now(), cpu());
    join_all(callers.iter().map(|who| async {
        for _ in 0..rounds {
            let begin = BeginTurn { budget, ..rig.begin(who) };
            let fence = rig.started(&begin).await.fence;
            let finish = FinishTurn { items: vec![], ..rig.finish(&begin, fence, 2, "") };
            rig.store.finish_turn(finish).await.unwrap();
        }
    }))
    .await;
    report(what, callers.len(), cpu() - before, started.elapsed(), rounds * callers.len());
}

fn report(what: &str, at_once: usize, cpu: Duration, time: Duration, times: usize) {
    let each = |all: Duration| all.as_secs_f64() * 1e6 / times as f64;
    println!("{what:<44} {at_once:>3} at once: {:7.1} µs of CPU, {:7.1} µs of time", each(cpu), each(time));
}

async fn callers(rig: &Rig, count: usize) -> Vec<Caller> {
    let callers: Vec<Caller> = (0..count).map(|_| Caller::browser()).collect();
    for who in &callers {
        for _ in 0..40 {
            rig.turn(who, &"word ".repeat(100)).await;
        }
    }
    callers
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement"]
async fn of_a_turn() {
    const NOTHING: Budget = Budget { tokens: 1, fixed_tokens: 1 };
    const FORTY_ITEMS: Budget = Budget { tokens: 320, fixed_tokens: 0 };
    let server = Arc::new(RedisServer::start());
    let store: Arc<dyn Store> = Arc::new(Redis::connect(server.settings(&prefix())).await.unwrap());
    let rig = Rig::new(store.clone(), store.clone(), Time::Real { unit_ms: 400 });
    let memory: Arc<dyn Store> = Arc::new(Memory::new(Arc::new(SystemClock)));
    let reference = Rig::new(memory.clone(), memory, Time::Real { unit_ms: 400 });
    for count in [1, 16, 64] {
        let turns = 20_000;
        measure(&reference, "the measuring itself", &callers(&reference, count).await, turns, NOTHING).await;
        let (started, before) = (Instant::now(), cpu());
        join_all((0..count).map(|_| async {
            for _ in 0..turns / count {
                store.ping().await.unwrap();
                store.ping().await.unwrap();
            }
        }))
        .await;
        report("two commands that do nothing", count, cpu() - before, started.elapsed(), turns);
        let callers = callers(&rig, count).await;
        measure(&rig, "begin and finish, no history", &callers, turns, NOTHING).await;
        measure(&rig, "begin and finish, 40 messages of 500 bytes", &callers, turns, FORTY_ITEMS).await;
    }
    let stats: String = redis::cmd("INFO").arg("commandstats").query_async(&mut server.admin().await).await.unwrap();
    println!("{stats}");
    let who = Caller::browser();
    let begin = rig.begin(&who);
    rig.started(&begin).await;
    let (started, before) = (Instant::now(), cpu());
    for seq in 2..20_002 {
        store.append_events(rig.append(&begin, 1, texts(seq, &[" word"]))).await.unwrap();
    }
    report("append of one event", 1, cpu() - before, started.elapsed(), 20_000);
    let (started, before) = (Instant::now(), cpu());
    for _ in 0..10 {
        for after in (0..20_000).step_by(1_000) {
            store.read_events(&who.place.owner, &begin.turn, after, 1_000).await.unwrap();
        }
    }
    report("reading of one event", 1, cpu() - before, started.elapsed(), 200_000);
}
