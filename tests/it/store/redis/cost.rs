//! What the store costs this process: CPU time per turn, a figure and not a promise.
//!
//! `cargo test --release --test it store::redis::cost -- --ignored --nocapture --test-threads 1`

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::future::join_all;
use openai_backend::domain::window::Budget;
use openai_backend::store::redis::Redis;
use openai_backend::store::{BeginTurn, FinishTurn, Store};

use super::prefix;
use crate::store::rig::{AMPLE, Caller, Rig, Time, texts};
use crate::support::redis_server::RedisServer;

/// The CPU time of this process, in clock ticks of 10 ms.
fn cpu() -> Duration {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    let ticks: u64 = fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap();
    Duration::from_millis(ticks * 10)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement"]
async fn of_a_turn() {
    let server = Arc::new(RedisServer::start());
    let store: Arc<dyn Store> = Arc::new(Redis::connect(server.settings(&prefix())).await.unwrap());
    let rig = Rig::new(store.clone(), store.clone(), Time::Real { unit_ms: 400 });
    for (callers, budget) in [1, 16, 64].into_iter().flat_map(|n| [(n, 0), (n, 320)]) {
        let whos: Vec<Caller> = (0..callers).map(|_| Caller::browser()).collect();
        for who in &whos {
            for _ in 0..40 {
                rig.turn(who, &"word ".repeat(200)).await;
            }
        }
        let budget =
            if budget == 0 { Budget { tokens: 1, fixed_tokens: 1 } } else { Budget { tokens: budget, ..AMPLE } };
        let rounds = 16_000 / callers;
        let (started, before) = (Instant::now(), cpu());
        join_all(whos.iter().map(|who| async {
            for _ in 0..rounds {
                let begin = BeginTurn { budget, ..rig.begin(who) };
                let fence = rig.started(&begin).await.fence;
                let finish = FinishTurn { items: vec![], ..rig.finish(&begin, fence, 2, "") };
                store.finish_turn(finish).await.unwrap();
            }
        }))
        .await;
        let turns = (rounds * callers) as u32;
        let items = store.window(&whos[0].place, budget).await.unwrap().len();
        println!(
            "{callers:3} at once, {items:3} items loaded: {:?} of CPU and {:?} of time a turn",
            (cpu() - before) / turns,
            started.elapsed() / turns
        );
    }
    let who = Caller::browser();
    let begin = rig.begin(&who);
    rig.started(&begin).await;
    let (started, before) = (Instant::now(), cpu());
    for seq in 2..20_002 {
        store.append_events(rig.append(&begin, 1, texts(seq, &[" word"]))).await.unwrap();
    }
    println!("one at a time: {:?} of CPU and {:?} an append", (cpu() - before) / 20_000, started.elapsed() / 20_000);
    let (started, before) = (Instant::now(), cpu());
    for after in (0..20_000).step_by(1_000) {
        store.read_events(&who.place.owner, &begin.turn, after, 1_000).await.unwrap();
    }
    println!("reading 20,000 events: {:?} of CPU, {:?}", cpu() - before, started.elapsed());
}
