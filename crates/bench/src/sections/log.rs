//! What the event log costs: streamed turns with it, beside the same server that keeps no events.

use std::time::Duration;

use serde::Deserialize;

use super::streams::{TOKENS, WAYS};
use crate::answer::{Shape, text};
use crate::client::Connection;
use crate::load::{self, Load, Outcome, User};
use crate::process;
use crate::rig::System;
use crate::table::{Column, Table, show};
use crate::{Failure, Options};

/// The two take turns so often: whatever else the machine does meanwhile, it does to both.
const ROUNDS: usize = 6;

pub async fn run(options: &Options, table: &mut Table) -> Result<(), Failure> {
    for (way, flags, connections) in WAYS {
        let upstream = process::fake(&[&["--bench"], flags].concat())?;
        for column in [Column::Sqlite, Column::Redis] {
            let mut sides =
                [Side::of(System::server(column, &upstream, &[])?), Side::of(System::unlogged(column, &upstream)?)];
            let load = |side: &Side| side.system.load(&text(TOKENS).into(), connections, true, options.time / 2);
            for side in &sides {
                load::run(&load(side)).await?;
                check_history(&side.system).await?;
            }
            // Even in a quick run each is the first one once.
            for round in 0..options.count(ROUNDS).max(2) {
                for at in [round % 2, 1 - round % 2] {
                    let side = &mut sides[at];
                    let load = load(side);
                    side.measure(&load).await?;
                }
            }
            let [logged, unlogged] = sides.map(Side::figures);
            put(table, &format!("log, {way}, {connections} connections"), column, &logged, &unlogged);
        }
    }
    Ok(())
}

/// One of the two, and what all its rounds gave together.
struct Side {
    system: System,
    answers: u64,
    texts: u64,
    cpu: Duration,
    redis_cpu: Duration,
    first_texts: Vec<Duration>,
}

/// By the upstream's event, or the answer.
struct Figures {
    cpu: Duration,
    redis_cpu: Duration,
    first_text: Duration,
    texts: f64,
}

impl Side {
    fn of(system: System) -> Self {
        let (cpu, redis_cpu) = Default::default();
        Self { system, answers: 0, texts: 0, cpu, redis_cpu, first_texts: Vec::new() }
    }

    async fn measure(&mut self, load: &Load) -> Result<(), Failure> {
        let before = self.system.cpu()?;
        let outcome = load::run(load).await?;
        let after = self.system.cpu()?;
        self.cpu += after.0 - before.0;
        self.redis_cpu += after.1 - before.1;
        self.answers += outcome.answers;
        self.texts += outcome.texts;
        self.first_texts.extend(outcome.first_texts);
        Ok(())
    }

    fn figures(mut self) -> Figures {
        self.first_texts.sort_unstable();
        let answers = self.answers.max(1) as f64;
        let events = answers * TOKENS as f64;
        Figures {
            cpu: self.cpu.div_f64(events),
            redis_cpu: self.redis_cpu.div_f64(events),
            first_text: Outcome::percentile(&self.first_texts, 50),
            texts: self.texts as f64 / answers,
        }
    }
}

fn put(table: &mut Table, row: &str, column: Column, logged: &Figures, unlogged: &Figures) {
    let times = |with: Duration, without: Duration| {
        let ratio = with.as_secs_f64() / without.as_secs_f64();
        format!("{}, {} ({ratio:.2}x)", show(with), show(without))
    };
    let name = format!("{row}: CPU an upstream event, with it and without");
    table.put(&name, column, times(logged.cpu, unlogged.cpu));
    table.aim(&name, "1.3x");
    if column == Column::Redis {
        let name = format!("{row}: CPU of Redis an event, with it and without");
        table.put(&name, column, times(logged.redis_cpu, unlogged.redis_cpu));
    }
    let name = format!("{row}: first text p50, with it and without");
    let later = (logged.first_text.as_secs_f64() - unlogged.first_text.as_secs_f64()) * 1e3;
    let figures = format!("{}, {} ({later:+.2} ms)", show(logged.first_text), show(unlogged.first_text));
    table.put(&name, column, figures);
    table.aim(&name, "+1 ms");
    let name = format!("{row}: events a client sees, with it and without");
    table.put(&name, column, format!("{:.0}, {:.0}", logged.texts, unlogged.texts));
}

#[derive(Deserialize)]
struct Message {
    role: String,
    content: String,
}

/// Neither of the two may be the cheaper one for having lost something: two turns later, both are in the history.
async fn check_history(system: &System) -> Result<(), Failure> {
    let (address, expected) = (system.process.address, text(TOKENS));
    let mut user = User::new(address, Shape::Chat).await?;
    for _ in 0..2 {
        user.ask_streamed(&expected).await?;
    }
    let cookie = user.cookie().ok_or("no session")?;
    let mut connection = Connection::open(address).await?;
    let request = format!("GET /chat HTTP/1.1\r\nHost: {address}\r\nCookie: {cookie}\r\n\r\n");
    connection.send(request.as_bytes()).await?;
    let mut body = Vec::new();
    connection.body(&mut body).await?;
    let messages: Vec<Message> = serde_json::from_slice(&body)?;
    let roles: Vec<&str> = messages.iter().map(|message| message.role.as_str()).collect();
    let said = messages.iter().filter(|message| message.role == "assistant" && message.content == expected).count();
    match (roles.as_slice(), said) {
        (["user", "assistant", "user", "assistant"], 2) => Ok(()),
        _ => Err(format!("the history is not what was said: {roles:?}").into()),
    }
}
