//! One turn that cannot be read holds up no other when turns are taken over, and ends.

use std::sync::Arc;
use std::time::Duration;

use fake_openai::Gate;

use super::{answering, begin, halves, known, over, owner_of, record};
use crate::support::client::Client;
use crate::support::eventually;
use crate::support::instance::Ground;
use crate::support::script::Script;
use crate::support::server::Setup;

const LEASE: Duration = Duration::from_millis(900);

fn hurried(script: &Arc<Script>) -> Setup {
    over(script).pace(|pace| pace.lease = LEASE)
}

async fn ends_as(client: &Client, turn: &str, status: &str) {
    eventually(&format!("the turn is {status}"), async || record(client, turn).await["status"] == status).await;
}

/// Another turn of the same conversation is answered.
async fn is_free(client: &Client) {
    client.say("hello").await.ok();
}

async fn one_record_that_cannot_be_read_stands_in_no_others_way(ground: Ground) {
    let gate = Gate::new();
    let script = answering({
        let gate = gate.clone();
        move || halves(&gate)
    });
    let one = ground.start(hurried(&script)).await;
    let mut clients = Vec::new();
    for _ in 0..3 {
        let client = known(&one.url).await;
        let (live, turn) = begin(&client, "x").await;
        clients.push((client, live, turn));
    }
    one.crash().await;
    for (broken, how) in [(0, "request"), (1, "events")] {
        spoil(&ground, &clients[broken].0, &clients[broken].2, how).await;
    }
    let other = ground.start(hurried(&script)).await;
    gate.open();
    for (i, (client, _, turn)) in clients.iter().enumerate() {
        let client = client.at(&other.url);
        match i {
            // A record that cannot be read is in no list.
            0 => {
                eventually("it is free", async || client.get("/chat/turns").await.ok().as_array().unwrap().len() == 1)
                    .await
            }
            1 => ends_as(&client, turn, "failed").await,
            _ => ends_as(&client, turn, "completed").await,
        }
        is_free(&client).await;
    }
    assert_eq!(script.calls_for("x"), 4, "three, and the one that could be read again");
}

/// Makes a part of a turn's record unreadable; `Memory` has nothing that could be.
async fn spoil(ground: &Ground, client: &Client, turn: &str, part: &str) {
    match ground {
        Ground::Memory(_) => unreachable!("its records are values"),
        Ground::Sqlite(folder) => {
            let db = rusqlite::Connection::open(folder.path().join("openai-backend.db")).unwrap();
            let sql = match part {
                "request" => "UPDATE turns SET request = '{' WHERE id = ?1",
                _ => "UPDATE events SET json = '{' WHERE place / 10000000 = (SELECT number FROM turns WHERE id = ?1)",
            };
            assert!(db.execute(sql, [turn]).unwrap() > 0);
        }
        Ground::Redis(server, prefix) => {
            let base = format!("{prefix}{{{}}}", owner_of(client).tag());
            let mut admin = server.admin().await;
            match part {
                "request" => {
                    let mut set = ::redis::cmd("HSET");
                    set.arg(format!("{base}:turns")).arg(format!("{turn}?")).arg("{");
                    assert_eq!(set.query_async::<i64>(&mut admin).await.unwrap(), 0, "there is one");
                }
                _ => {
                    let mut set = ::redis::cmd("LSET");
                    set.arg(format!("{base}:t:{turn}:e")).arg(1).arg("{");
                    set.exec_async(&mut admin).await.unwrap();
                }
            }
        }
    }
}

crate::on_store! { sqlite, one_record_that_cannot_be_read_stands_in_no_others_way, }
crate::on_store! { redis, one_record_that_cannot_be_read_stands_in_no_others_way, }
