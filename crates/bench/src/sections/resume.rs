//! Reading a long turn again from its first event on.

use std::time::Duration;

use super::readers::{events_request, newest_turn};
use crate::answer::{Shape, Stream, text};
use crate::client::Connection;
use crate::load::{Outcome, User};
use crate::process;
use crate::rig::{System, timed};
use crate::table::{Column, Table, show};
use crate::{Failure, Options};

/// A few more than are wanted: two that are stored together become one event.
const TOKENS: usize = 10_500;

const READS: usize = 20;

pub async fn run(options: &Options, table: &mut Table) -> Result<(), Failure> {
    let tokens = TOKENS.to_string();
    let upstream = process::fake(&["--bench", "--tokens", &tokens, "--delay-ms", "1"])?;
    let expected = text(TOKENS);
    for column in [Column::Sqlite, Column::Redis] {
        let system = System::server(column, &upstream, &[])?;
        let mut user = User::new(system.process.address, Shape::Chat).await?;
        user.ask_streamed(&expected).await?;
        let cookie = user.cookie().ok_or("no session")?.to_owned();
        let turn = newest_turn(system.process.address, &cookie).await?;
        let request = events_request(system.process.address, &cookie, &turn);
        let mut connection = Connection::open(system.process.address).await?;
        let mut took: Vec<Duration> = Vec::new();
        let (mut texts, before) = (0, system.cpu()?.0);
        for _ in 0..options.count(READS) {
            let (time, bytes) = timed(async {
                let head = connection.send(request.as_bytes()).await?;
                let mut bytes = Vec::new();
                connection.body(&mut bytes).await?;
                if head.status == 200 { Ok(bytes) } else { Err(format!("status {}", head.status).into()) }
            })
            .await?;
            took.push(time);
            let (mut stream, mut bytes) = (Stream::new(Shape::Chat, &expected), bytes);
            stream.feed(&mut bytes)?;
            stream.end()?;
            texts = stream.texts;
        }
        let cpu = (system.cpu()?.0 - before).div_f64(took.len() as f64);
        took.sort_unstable();
        let [half, most] = [50, 99].map(|percent| show(Outcome::percentile(&took, percent)));
        table.put("resume of a long turn: events", column, texts.to_string());
        table.put("resume of a long turn: p50 / p99 to its end", column, format!("{half} / {most}"));
        table.aim("resume of a long turn: p50 / p99 to its end", "20 ms");
        table.put("resume of a long turn: CPU", column, show(cpu));
    }
    Ok(())
}
