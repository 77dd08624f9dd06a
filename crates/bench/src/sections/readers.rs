//! Many readers attached to a turn in which nothing happens, and what others feel of them.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use serde::Deserialize;
use tokio::task::JoinSet;

use crate::answer::Shape;
use crate::client::Connection;
use crate::load::{Outcome, User};
use crate::process;
use crate::rig::System;
use crate::table::{Column, Table, show};
use crate::{Failure, Options};

/// So many attach at a time.
const AT_ONCE: usize = 64;

/// Files that the harness and the server need beside the readers' connections.
const SPARE_FILES: u64 = 200;

/// How many plain turns say how the others fare.
const PROBES: usize = 1_000;

const WORDS: usize = 20;

#[derive(Deserialize)]
struct Turn {
    turn: String,
}

/// The id of the session's newest turn.
pub async fn newest_turn(address: SocketAddr, cookie: &str) -> Result<String, Failure> {
    let mut connection = Connection::open(address).await?;
    let request = format!("GET /chat/turns?limit=1 HTTP/1.1\r\nHost: {address}\r\nCookie: {cookie}\r\n\r\n");
    connection.send(request.as_bytes()).await?;
    let mut body = Vec::new();
    connection.body(&mut body).await?;
    let turns: Vec<Turn> = serde_json::from_slice(&body)?;
    Ok(turns.into_iter().next().ok_or("no turn")?.turn)
}

/// Reads a turn from its start.
pub fn events_request(address: SocketAddr, cookie: &str, turn: &str) -> String {
    format!("GET /chat/turns/{turn}/events?after=0 HTTP/1.1\r\nHost: {address}\r\nCookie: {cookie}\r\n\r\n")
}

pub async fn run(options: &Options, table: &mut Table) -> Result<(), Failure> {
    // Not the bench mode: a prompt has to choose between a turn that hangs and one that answers.
    let upstream = process::fake(&["--tokens", &WORDS.to_string()])?;
    for column in [Column::Sqlite, Column::Redis] {
        let settings =
            [("MAX_CONNECTIONS", "20000"), ("UPSTREAM_FIRST_TOKEN_TIMEOUT", "10m"), ("FIRST_EVENT_WAIT", "100ms")];
        let system = System::server(column, &upstream, &settings)?;
        let address = system.process.address;
        let (_asker, cookie) = hanging(address).await?;
        let turn = newest_turn(address, &cookie).await?;
        let request = events_request(address, &cookie, &turn);
        let expected = crate::answer::text(WORDS);
        let mut probe = User::new(address, Shape::Chat).await?;
        let probes = options.count(PROBES);
        probe_turns(&mut probe, &expected, probes).await?;
        put_probe(table, column, 0, probe_turns(&mut probe, &expected, probes).await?);
        let before = system.memory()?.now;
        let mut readers = Vec::new();
        for wanted in [1_000, 10_000] {
            let count = wanted.min(usize::try_from(open_files()?.saturating_sub(SPARE_FILES))?);
            attach(address, &request, &mut readers, count).await?;
            let each = (system.memory()?.now.saturating_sub(before)) as f64 * 1.024 / count as f64;
            let name = format!("{count} idle readers: memory each");
            table.put(&name, column, format!("{each:.1} kB"));
            table.aim(&name, "20 kB");
            put_probe(table, column, count, probe_turns(&mut probe, &expected, probes).await?);
        }
    }
    Ok(())
}

fn put_probe(table: &mut Table, column: Column, readers: usize, sorted: Vec<Duration>) {
    let [half, most] = [50, 99].map(|percent| show(Outcome::percentile(&sorted, percent)));
    table.put(&format!("a plain turn beside {readers} idle readers: p50 / p99"), column, format!("{half} / {most}"));
}

async fn probe_turns(user: &mut User, expected: &str, count: usize) -> Result<Vec<Duration>, Failure> {
    let mut took = Vec::with_capacity(count);
    for number in 0..count {
        if number % 10 == 0 {
            user.leave_session();
        }
        let began = Instant::now();
        user.ask(expected).await?;
        took.push(began.elapsed());
    }
    took.sort_unstable();
    Ok(took)
}

/// A connection to a turn whose upstream says nothing, and its session.
async fn hanging(address: SocketAddr) -> Result<(Connection, String), Failure> {
    let mut connection = Connection::open(address).await?;
    let body = r#"{"prompt":"!hang","stream":true}"#;
    let head = format!("POST /chat HTTP/1.1\r\nHost: {address}\r\nContent-Type: application/json\r\n");
    let request = format!("{head}Content-Length: {}\r\n\r\n{body}", body.len());
    let head = connection.send(request.as_bytes()).await?;
    Ok((connection, head.cookie.ok_or("an answer without a cookie")?))
}

/// Attaches readers until there are so many; each has got the first event.
async fn attach(
    address: SocketAddr,
    request: &str,
    readers: &mut Vec<Connection>,
    count: usize,
) -> Result<(), Failure> {
    let mut attaching = JoinSet::new();
    while readers.len() < count {
        while readers.len() + attaching.len() < count && attaching.len() < AT_ONCE {
            let request = request.to_owned();
            attaching.spawn(async move {
                let mut connection = Connection::open(address).await?;
                let head = connection.send(request.as_bytes()).await?;
                let mut bytes = Vec::new();
                while !bytes.ends_with(b"}\n\n") {
                    if head.status != 200 || !connection.piece(&mut bytes).await? {
                        return Err::<_, Failure>(format!("a reader got status {} and an end", head.status).into());
                    }
                }
                Ok(connection)
            });
        }
        if let Some(reader) = attaching.join_next().await {
            readers.push(reader??);
        }
    }
    Ok(())
}

/// How many files this process, and so each that it starts, may have open.
fn open_files() -> Result<u64, Failure> {
    let limits = std::fs::read_to_string("/proc/self/limits")?;
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files")).ok_or("no limit is told")?;
    Ok(line.split_whitespace().next().and_then(|soft| soft.parse().ok()).unwrap_or(u64::MAX))
}
