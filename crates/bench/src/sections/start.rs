//! From exec to the first answer, and the memory of a server that has nothing to do.

use std::time::{Duration, Instant};

use super::plain::mb;
use crate::answer::{Shape, text};
use crate::load::{Outcome, User};
use crate::process;
use crate::rig::{System, timed};
use crate::table::{Column, Table, show};
use crate::{Failure, Options};

const TOKENS: usize = 200;
const STARTS: usize = 9;

/// How long a server is left alone before its memory is read.
const REST: Duration = Duration::from_secs(2);

pub async fn run(options: &Options, table: &mut Table) -> Result<(), Failure> {
    let upstream = process::fake(&["--bench"])?;
    let expected = text(TOKENS);
    for column in [Column::Sqlite, Column::Redis] {
        // The first one makes the database, and starts Redis; what is measured are starts on a store that is there.
        let system = System::server(column, &upstream, &[])?;
        User::new(system.process.address, Shape::Chat).await?.ask(&expected).await?;
        tokio::time::sleep(REST).await;
        let once = system.memory()?;
        for _ in 0..options.count(100) {
            User::new(system.process.address, Shape::Chat).await?.ask(&expected).await?;
        }
        tokio::time::sleep(REST).await;
        let memory = system.memory()?;
        let figures = format!("{:.1} MB, {:.1} MB", mb(once.now), mb(memory.now));
        table.put("memory idle, after 1 turn and after 100", column, figures);
        table.aim("memory idle, after 1 turn and after 100", "40 MB");

        let mut starts = Vec::new();
        let System { process, redis, folder, .. } = system;
        drop(process);
        for _ in 0..options.count(STARTS) {
            let began = Instant::now();
            let server =
                process::server(&process::program(process::SERVER)?, &upstream, folder.path(), redis.as_ref(), &[])?;
            let listens = began.elapsed();
            let mut user = User::new(server.address, Shape::Chat).await?;
            let (_, ()) = timed(user.ask(&expected)).await?;
            starts.push((began.elapsed(), listens, server.cpu()?));
        }
        starts.sort_unstable();
        let cpu: Vec<Duration> = starts.iter().map(|(_, _, cpu)| *cpu).collect();
        let (all, listens): (Vec<_>, Vec<_>) = starts.into_iter().map(|(all, listens, _)| (all, listens)).unzip();
        let (half, most) = (Outcome::percentile(&all, 50), Outcome::percentile(&all, 100));
        let figures = format!("{} / {}", show(half), show(most));
        table.put("start to first answer, p50 / worst", column, figures);
        table.aim("start to first answer, p50 / worst", "100 ms");
        let least = cpu.into_iter().min().unwrap_or_default();
        table.put("least CPU of that", column, show(least));
        table.put("of which until it listens", column, show(Outcome::percentile(&listens, 50)));
    }
    Ok(())
}
