//! Two servers on one Redis against one, under the same load.

use crate::answer::text;
use crate::load::{self, Load};
use crate::process;
use crate::rig::System;
use crate::table::{Column, Table, show};
use crate::{Failure, Options};

const TOKENS: usize = 200;
const CONNECTIONS: usize = 64;

pub async fn run(options: &Options, table: &mut Table) -> Result<(), Failure> {
    let upstream = process::fake(&["--bench"])?;
    let system = System::server(Column::Redis, &upstream, &[])?;
    let sibling = system.sibling(&upstream, &[])?;
    let expected = text(TOKENS).into();
    let whole = system.load(&expected, CONNECTIONS, false, options.time);
    let half = Load { connections: CONNECTIONS / 2, ..whole.clone() };
    let other_half = Load { address: sibling.address, ..half.clone() };
    let one = system.measure(&whole).await?;
    table.put(
        "one server on Redis, 64 connections: turns a second",
        Column::Redis,
        format!("{:.0}", one.outcome.rate()),
    );

    load::run(&Load { time: options.time / 4, ..other_half.clone() }).await?;
    let before = (system.cpu()?, sibling.cpu()?);
    let (first, second) = tokio::try_join!(load::run(&half), load::run(&other_half))?;
    let cpu = system.cpu()?.0 - before.0.0 + sibling.cpu()? - before.1;
    let rate = first.rate() + second.rate();
    let answers = (first.answers + second.answers).max(1) as f64;
    let name = "two servers on it, 32 connections each: turns a second, CPU each";
    table.put(name, Column::Redis, format!("{rate:.0}, {}", show(cpu.div_f64(answers))));
    Ok(())
}
