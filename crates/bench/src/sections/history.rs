//! What a turn costs in conversations of several lengths, of which the same window goes upstream.

use std::time::{Duration, Instant};

use tokio::task::JoinSet;

use crate::answer::{Shape, text};
use crate::load::{Outcome, User};
use crate::process;
use crate::rig::System;
use crate::table::{Column, Table, show, show_beside};
use crate::{Failure, Options};

/// Short answers, and a window that ten messages fill.
const TOKENS: usize = 20;
const WINDOW: (&str, &str) = ("HISTORY_MAX_TOKENS", "400");

/// How many messages are stored, in how many conversations, and how many turns are measured in each.
const SIZES: [(usize, usize, usize); 4] = [(10, 500, 2), (100, 50, 20), (1_000, 5, 200), (10_000, 2, 500)];

pub async fn run(options: &Options, table: &mut Table) -> Result<(), Failure> {
    let upstream = process::fake(&["--bench", "--tokens", &TOKENS.to_string()])?;
    for column in [Column::Sqlite, Column::Redis] {
        let system = System::server(column, &upstream, &[WINDOW])?;
        let mut baseline = Duration::ZERO;
        for (messages, conversations, turns) in SIZES {
            let conversations = if conversations > 2 { options.count(conversations).max(2) } else { conversations };
            let mut users = grown(&system, conversations, messages / 2).await?;
            let expected = text(TOKENS);
            let before = system.cpu()?.0;
            let mut latencies = Vec::new();
            for user in &mut users {
                for _ in 0..turns {
                    let began = Instant::now();
                    user.ask(&expected).await?;
                    latencies.push(began.elapsed());
                }
            }
            let each = (system.cpu()?.0 - before).div_f64(latencies.len() as f64);
            latencies.sort_unstable();
            let name = format!("a turn at {messages} stored messages: CPU, p50");
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

/// Users whose conversations have had so many turns.
async fn grown(system: &System, users: usize, turns: usize) -> Result<Vec<User>, Failure> {
    let mut growing = JoinSet::new();
    let (mut grown, address) = (Vec::new(), system.process.address);
    for _ in 0..users {
        growing.spawn(async move {
            let mut user = User::new(address, Shape::Chat).await?;
            let expected = text(TOKENS);
            for _ in 0..turns {
                user.ask(&expected).await?;
            }
            Ok::<_, Failure>(user)
        });
        // A few at a time, as a server has it.
        if growing.len() >= 16
            && let Some(user) = growing.join_next().await
        {
            grown.push(user??);
        }
    }
    while let Some(user) = growing.join_next().await {
        grown.push(user??);
    }
    Ok(grown)
}
