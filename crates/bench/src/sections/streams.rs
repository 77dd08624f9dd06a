//! Streamed turns, by how the upstream's chunks come: all at once, each in a write of its own, or one by one.

use std::time::Duration;

use crate::load::Outcome;
use crate::rig::Rig;
use crate::table::{Column, Table, show, show_beside};
use crate::{Failure, Options};

pub(super) const TOKENS: usize = 200;

/// How chunks come, the flags for that, and the connections that read them.
pub(super) const WAYS: [(&str, &[&str], usize); 4] = [
    ("chunks at once", &[], 16),
    ("a write a chunk", &["--flush-each"], 16),
    ("a chunk every 10 ms", &["--delay-ms", "10"], 1),
    ("a chunk every 10 ms", &["--delay-ms", "10"], 64),
];

pub async fn run(options: &Options, table: &mut Table) -> Result<(), Failure> {
    for (way, flags, connections) in WAYS {
        let rig = Rig::start(options, TOKENS, flags, &[])?;
        let mut baseline = Duration::ZERO;
        for system in &rig.systems {
            let measured = system.measure(&system.load(&rig.expected, connections, true, options.time)).await?;
            let (column, outcome) = (system.column, &measured.outcome);
            let name = |what: &str| format!("streams, {way}, {connections} connections: {what}");
            let events = (outcome.answers * TOKENS as u64).max(1);
            let rate = events as f64 / outcome.elapsed.as_secs_f64();
            table.put(&name("upstream events a second"), column, format!("{rate:.0}"));
            let each = measured.cpu.div_f64(events as f64);
            table.put(&name("CPU an upstream event"), column, show_beside(each, baseline));
            table.aim(&name("CPU an upstream event"), "2x");
            if column.is_redis() {
                table.put(&name("CPU of Redis an event"), column, show(measured.redis_cpu.div_f64(events as f64)));
            }
            let seen = outcome.texts as f64 / outcome.answers.max(1) as f64;
            table.put(&name("events a client sees, of 200"), column, format!("{seen:.0}"));
            let [half, most] = [50, 99].map(|percent| show(Outcome::percentile(&outcome.first_texts, percent)));
            table.put(&name("first text p50 / p99"), column, format!("{half} / {most}"));
            if column == Column::Proxy {
                baseline = each;
            }
        }
    }
    Ok(())
}
