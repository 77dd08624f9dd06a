//! P23: the turn engine under seeded misfortune, in virtual time: servers that crash, stall and are stopped, a store whose
//! calls are slow, fail, or lose their answers, lost notices, an upstream with faults, clients that leave, come back
//! anywhere, cancel and repeat themselves. What they saw is compared with what is stored: P1, P2, P4 to P8, P11.
//!
//! `SIM_SEED=<seed> cargo test simulation` replays one schedule and prints what happened; `SIM_RUNS` says how many to play.

mod chaos;
mod check;
mod client;
mod faults;
mod upstream;
mod world;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use futures::future::join_all;

use self::world::World;
use crate::support::dice::Dice;

const RUNS: u64 = 1_500;

/// Longer, in virtual time, than anything here takes unless a client waits for ever.
const STUCK: Duration = Duration::from_secs(1_800);

/// Plays one schedule; gives what happened, line by line, and what should not have.
fn play(seed: u64) -> (Vec<String>, Result<(), String>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    runtime.block_on(async {
        let world = World::new(seed);
        let played = tokio::time::timeout(STUCK, async {
            let clients = join_all((0..world.plan.clients).map(|number| client::play(&world, number)));
            let chaos = chaos::reign(&world);
            futures::future::select(std::pin::pin!(clients), std::pin::pin!(chaos)).await;
            chaos::calm(&world).await;
            check::history(&world).await;
        });
        if played.await.is_err() {
            world.wrong("a client waits for ever");
        }
        world.verdict()
    })
}

/// Plays it, and says how to play it again where anything went wrong.
fn judge(seed: u64, show: bool) -> u64 {
    let (trace, verdict) = catch_unwind(AssertUnwindSafe(|| play(seed)))
        .unwrap_or_else(|_| (Vec::new(), Err("a panic, shown above".to_owned())));
    if show || verdict.is_err() {
        let shown = if show { trace.len() } else { trace.len().min(60) };
        eprintln!("{}", trace[trace.len() - shown..].join("\n"));
    }
    if let Err(wrong) = verdict {
        panic!("{wrong}\nreplay with SIM_SEED={seed} cargo test simulation -- --nocapture");
    }
    trace.len() as u64
}

fn number_from(variable: &str) -> Option<u64> {
    std::env::var(variable).ok().map(|text| text.parse().expect("a number"))
}

#[test]
fn every_schedule_keeps_the_promises() {
    if let Some(seed) = number_from("SIM_SEED") {
        judge(seed, true);
        return;
    }
    let (runs, first) = (number_from("SIM_RUNS").unwrap_or(RUNS), Dice::fresh_seed());
    let since = Instant::now();
    let mut steps = 0;
    for run in 0..runs {
        steps += judge(first.wrapping_add(run), false);
    }
    println!("{runs} schedules from seed {first}, {steps} steps, in {:?}", since.elapsed());
}

#[test]
fn a_seed_replays() {
    let first = Dice::fresh_seed();
    for seed in (0..20).map(|n| first.wrapping_add(n)) {
        let (once, again) = (play(seed).0, play(seed).0);
        let differs = once.iter().zip(&again).position(|(a, b)| a != b);
        assert!(differs.is_none() && once.len() == again.len(), "seed {seed} differs at line {differs:?}");
    }
}
