//! The SDK door: chat completions that pass through, against the bare proxy; responses, streamed, and at the end of short
//! and long chains.

use std::time::{Duration, Instant};

use crate::answer::{Shape, text};
use crate::load::{Load, Outcome, User};
use crate::process;
use crate::rig::{Rig, System};
use crate::table::{Column, Table, show, show_beside};
use crate::{Failure, Options};

const TOKENS: usize = 200;

/// Short answers, and a window that ten of them fill: what grows is the chain, not the prompt.
const CHAIN_TOKENS: usize = 20;
const WINDOW: (&str, &str) = ("HISTORY_MAX_TOKENS", "400");

/// How long chains are, and how many responses are measured behind each.
const CHAINS: [(usize, usize); 2] = [(10, 300), (1_000, 300)];

pub async fn run(options: &Options, table: &mut Table) -> Result<(), Failure> {
    passed_through(options, table).await?;
    streamed(options, table).await?;
    chains(options, table).await
}

async fn passed_through(options: &Options, table: &mut Table) -> Result<(), Failure> {
    let rig = Rig::start(options, TOKENS, &[], &[])?;
    for (streamed, unit, aim) in [(false, "CPU each", "1.5x"), (true, "CPU an upstream event", "1.3x")] {
        let mut baseline = Duration::ZERO;
        for system in &rig.systems {
            let load = system.load(&rig.expected, 16, streamed, options.time);
            let measured = system.measure(&Load { shape: Shape::Upstream, ..load }).await?;
            let parts = if streamed { TOKENS as f64 } else { 1.0 };
            let each = measured.cpu.div_f64(measured.outcome.answers.max(1) as f64 * parts);
            let kind = if streamed { "streamed" } else { "plain" };
            let name = format!("chat completions, {kind}, 16 connections: {unit}");
            table.put(&name, system.column, show_beside(each, baseline));
            table.aim(&name, aim);
            if system.column == Column::Proxy {
                baseline = each;
            }
        }
    }
    Ok(())
}

async fn streamed(options: &Options, table: &mut Table) -> Result<(), Failure> {
    for (way, flags, connections) in
        [("chunks at once", &[][..], 16), ("a chunk every 10 ms", &["--delay-ms", "10"][..], 64)]
    {
        let rig = Rig::start(options, TOKENS, flags, &[])?;
        let mut baseline = Duration::ZERO;
        for system in &rig.systems {
            let load = system.load(&rig.expected, connections, true, options.time);
            let is_proxy = system.column == Column::Proxy;
            let shape = if is_proxy { Shape::Upstream } else { Shape::Responses };
            let measured = system.measure(&Load { shape, ..load }).await?;
            let each = measured.cpu.div_f64((measured.outcome.answers * TOKENS as u64).max(1) as f64);
            let name = |what: &str| format!("responses, streamed, {way}, {connections} connections: {what}");
            table.put(&name("CPU an upstream event"), system.column, show_beside(each, baseline));
            let [half, most] =
                [50, 99].map(|percent| show(Outcome::percentile(&measured.outcome.first_texts, percent)));
            table.put(&name("first text p50 / p99"), system.column, format!("{half} / {most}"));
            if is_proxy {
                baseline = each;
            }
        }
    }
    Ok(())
}

async fn chains(options: &Options, table: &mut Table) -> Result<(), Failure> {
    let upstream = process::fake(&["--bench", "--tokens", &CHAIN_TOKENS.to_string()])?;
    let expected = text(CHAIN_TOKENS);
    for column in [Column::Sqlite, Column::Redis] {
        let system = System::server(column, &upstream, &[WINDOW])?;
        let mut baseline = Duration::ZERO;
        for (length, responses) in CHAINS {
            let mut user = User::new(system.process.address, Shape::Responses).await?;
            for _ in 0..length {
                user.ask(&expected).await?;
            }
            let (before, mut latencies) = (system.cpu()?.0, Vec::new());
            for _ in 0..options.count(responses) {
                let began = Instant::now();
                user.ask(&expected).await?;
                latencies.push(began.elapsed());
            }
            let each = (system.cpu()?.0 - before).div_f64(latencies.len() as f64);
            latencies.sort_unstable();
            let name = format!("a response behind a chain of {length}: CPU, p50");
            let half = show(Outcome::percentile(&latencies, 50));
            table.put(&name, column, format!("{}, {half}", show_beside(each, baseline)));
            if baseline.is_zero() {
                baseline = each;
            } else {
                table.aim(&name, "1.2x");
            }
        }
    }
    Ok(())
}
