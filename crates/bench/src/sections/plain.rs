//! Plain turns, at several numbers of connections, and the memory that they leave behind.

use std::time::Duration;

use crate::load::Outcome;
use crate::rig::Rig;
use crate::table::{Column, Table, show, show_beside};
use crate::{Failure, Options};

const TOKENS: usize = 200;

pub async fn run(options: &Options, table: &mut Table) -> Result<(), Failure> {
    let rig = Rig::start(options, TOKENS, &[], &[])?;
    for connections in [1, 16, 64] {
        let mut baseline = Duration::ZERO;
        for system in &rig.systems {
            let measured = system.measure(&system.load(&rig.expected, connections, false, options.time)).await?;
            let (column, outcome) = (system.column, &measured.outcome);
            let name = |what: &str| format!("plain turns, {connections} connections: {what}");
            table.put(&name("a second"), column, format!("{:.0}", outcome.rate()));
            let [half, most] = [50, 99].map(|percent| show(Outcome::percentile(&outcome.latencies, percent)));
            table.put(&name("p50 / p99"), column, format!("{half} / {most}"));
            table.put(&name("CPU each"), column, show_beside(measured.cpu_an_answer(), baseline));
            table.aim(&name("CPU each"), "4x");
            if column.is_redis() {
                let each = measured.redis_cpu.div_f64(outcome.answers.max(1) as f64);
                table.put(&name("CPU of Redis each"), column, show(each));
            }
            if column == Column::Proxy {
                baseline = measured.cpu_an_answer();
            }
        }
    }
    for system in &rig.systems {
        let memory = system.memory()?;
        let text = format!("{:.1} MB, {:.1} MB at most", mb(memory.now), mb(memory.peak));
        table.put("memory after these loads", system.column, text);
    }
    Ok(())
}

pub fn mb(kib: u64) -> f64 {
    kib as f64 * 1024.0 / 1e6
}
