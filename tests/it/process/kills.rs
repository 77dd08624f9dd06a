//! `kill -9` at seeded moments (P1, and with it P2 and P6): whatever a client saw completed is there after the restart,
//! word for word; everything else is whole or marked, and is paid for as often as it says.
//!
//! `KILL_ROUNDS=200` makes it long, `KILL_SEED` replays a failure.

use std::collections::HashMap;
use std::time::Duration;

use fake_openai::{FakeOpenAi, Reply};
use futures::future::join_all;
use serde_json::{Value, json};
use tokio::sync::watch;

use super::{on_both_stores, resume, turn_of};
use crate::support::client::Client;
use crate::support::dice::Dice;
use crate::support::eventually;
use crate::support::process::Program;
use crate::support::sse::EventStream;

const CLIENTS: usize = 4;

/// A turn as its client saw it.
struct Seen {
    prompt: String,
    streamed: bool,
    turn: Option<String>,
    last_event: u64,
    /// The text since the last start of an attempt.
    shown: String,
    completed: Option<Value>,
}

struct Session {
    browser: Client,
    turns: Vec<Seen>,
}

/// The one right answer to a prompt, of 3 to 40 words.
fn answer_to(prompt: &str) -> String {
    let words = 3 + prompt.bytes().fold(7u64, |sum, byte| sum.wrapping_mul(31).wrapping_add(byte.into())) % 38;
    let words = (0..words).map(|n| format!(" word{n}"));
    format!("The answer to {prompt}:{}", words.collect::<String>())
}

fn rounds(least: usize) -> usize {
    std::env::var("KILL_ROUNDS").ok().map_or(least, |text| text.parse().expect("a number of rounds"))
}

async fn ask(browser: &Client, seen: &mut Seen, progress: &watch::Sender<usize>) {
    let body = json!({"prompt": seen.prompt, "stream": seen.streamed});
    // The prompts are unique, so they name themselves.
    let key = seen.prompt.replace(' ', "-");
    let Ok(response) = browser.json("/chat", &body).header("idempotency-key", key).send().await else { return };
    browser.keep_cookie(response.headers());
    if !seen.streamed {
        let status = response.status();
        let Ok(text) = response.text().await else { return };
        assert_eq!(status, 200, "{text}");
        seen.completed = Some(serde_json::from_str(&text).unwrap());
        return progress.send_modify(|events| *events += 1);
    }
    assert_eq!(response.status(), 200);
    read(EventStream::new(response), seen, progress).await;
}

/// Reads a stream to its end, or its cut.
async fn read(mut stream: EventStream, seen: &mut Seen, progress: &watch::Sender<usize>) {
    while let Some(event) = stream.next().await {
        progress.send_modify(|events| *events += 1);
        if let Some(id) = event.id {
            assert_eq!(id, seen.last_event + 1, "{}: events come once and in order", seen.prompt);
            seen.last_event = id;
        }
        match event.name.as_str() {
            "started" => seen.turn = Some(turn_of(&event)),
            "restarted" => seen.shown.clear(),
            "delta" => seen.shown.push_str(event.data["content"].as_str().unwrap()),
            "completed" => {
                assert_eq!(event.data["content"], seen.shown.as_str(), "{}", seen.prompt);
                seen.completed = Some(event.data);
            }
            "error" => assert_eq!(event.data["code"], "server_stopped", "{}: {event:?}", seen.prompt),
            other => panic!("{}: an event {other}", seen.prompt),
        }
    }
}

/// Turn after turn in one session, until the server is gone.
async fn talk(url: &str, name: String, mut dice: Dice, progress: &watch::Sender<usize>) -> Session {
    let mut session = Session { browser: Client::new(url), turns: Vec::new() };
    for n in 0.. {
        let (turn, last_event, shown, completed) = (None, 0, String::new(), None);
        let prompt = format!("prompt {n} of {name}");
        let mut seen = Seen { prompt, streamed: dice.throw(3) > 0, turn, last_event, shown, completed };
        ask(&session.browser, &mut seen, progress).await;
        let gone = seen.completed.is_none();
        session.turns.push(seen);
        if gone {
            break;
        }
    }
    session
}

/// Kills the server in the middle of everything, again and again, and gives what its clients saw.
async fn torment(program: &Program, store: &str, seed: u64, rounds: usize) -> Vec<Session> {
    let mut dice = Dice::new(seed);
    let mut sessions = Vec::new();
    for round in 0..rounds {
        let server = program.start().await;
        let progress = watch::Sender::new(0);
        let mut watched = progress.subscribe();
        let (url, kill_after) = (server.url.clone(), dice.throw(400) as usize);
        let pause = Duration::from_micros(dice.throw(3_000));
        let clients = (0..CLIENTS).map(|n| {
            talk(&url, format!("client {n} in round {round} on {store}"), Dice::new(dice.throw(u64::MAX)), &progress)
        });
        let clients: Vec<_> = clients.collect();
        let killer = async {
            watched.wait_for(|events| *events >= kill_after).await.unwrap();
            // Between two events as well as at one.
            tokio::time::sleep(pause).await;
            server.kill().await;
        };
        sessions.extend(futures::join!(join_all(clients), killer).0);
        integrity(program);
    }
    sessions
}

/// Checks a copy of what the kill left: opening the files themselves would put them right.
fn integrity(program: &Program) {
    if !program.data().join("openai-backend.db").exists() {
        return;
    }
    let copy = tempfile::tempdir().unwrap();
    for name in ["openai-backend.db", "openai-backend.db-wal"] {
        if program.data().join(name).exists() {
            std::fs::copy(program.data().join(name), copy.path().join(name)).unwrap();
        }
    }
    let db = rusqlite::Connection::open(copy.path().join("openai-backend.db")).unwrap();
    let found: String = db.query_one("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
    assert_eq!(found, "ok");
}

/// What became of a turn, as the server tells it.
struct Told<'a> {
    record: &'a Value,
    user: Option<&'a Value>,
    assistant: Option<&'a Value>,
}

struct Check<'a> {
    fake: &'a FakeOpenAi,
    url: &'a str,
    reruns: bool,
}

impl Check<'_> {
    async fn session(&self, session: &mut Session) {
        let browser = session.browser.at(self.url);
        if browser.cookie().is_none() {
            // Killed before the first answer's first byte: no client was promised anything.
            return;
        }
        eventually("every turn comes to an end", async || {
            let turns = browser.get("/chat/turns?limit=100").await.ok();
            turns.as_array().unwrap().iter().all(|turn| turn["status"] != "running")
        })
        .await;
        for seen in session.turns.iter_mut().filter(|seen| seen.completed.is_none()) {
            self.come_back(&browser, seen).await;
        }
        self.records(&browser, &session.turns).await;
    }

    /// A client that was cut off reads on, or sends the same again.
    async fn come_back(&self, browser: &Client, seen: &mut Seen) {
        match seen.turn.clone() {
            Some(turn) => {
                let stream = resume(browser, &turn, seen.last_event).await;
                read(stream, seen, &watch::Sender::new(0)).await;
            }
            None => {
                let body = json!({"prompt": seen.prompt, "stream": seen.streamed});
                let request = browser.json("/chat", &body).header("idempotency-key", seen.prompt.replace(' ', "-"));
                let response = request.send().await.unwrap();
                match response.status().as_u16() {
                    200 if seen.streamed => read(EventStream::new(response), seen, &watch::Sender::new(0)).await,
                    200 => seen.completed = serde_json::from_str(&response.text().await.unwrap()).unwrap(),
                    status => {
                        let told: Value = serde_json::from_str(&response.text().await.unwrap()).unwrap();
                        assert_eq!((status, &told["code"]), (503, &json!("server_stopped")), "{}", seen.prompt);
                    }
                }
            }
        }
    }

    async fn records(&self, browser: &Client, seen: &[Seen]) {
        let records = browser.get("/chat/turns?limit=100").await.ok();
        let history = browser.get("/chat?details=true").await.ok();
        let (records, history) = (records.as_array().unwrap(), history.as_array().unwrap());
        assert!(history.windows(2).all(|pair| pair[1]["seq"].as_u64() == pair[0]["seq"].as_u64().map(|seq| seq + 1)));
        let mut told: HashMap<&str, Told> = records
            .iter()
            .map(|record| (record["turn"].as_str().unwrap(), Told { record, user: None, assistant: None }))
            .collect();
        let mut order: Vec<&str> = Vec::new();
        for message in history {
            let turn = message["turn"].as_str().unwrap();
            let told = told.get_mut(turn).unwrap_or_else(|| panic!("a message of no turn: {message}"));
            match message["role"] == "user" {
                true => {
                    assert!(told.user.replace(message).is_none(), "asked twice: {message}");
                    order.push(turn);
                }
                false => {
                    assert_eq!(order.last(), Some(&turn), "an answer out of its place: {message}");
                    assert!(told.assistant.replace(message).is_none(), "answered twice: {message}");
                }
            }
        }
        told.values().for_each(|told| self.whole_or_marked(told));
        for seen in seen {
            let is_its = |told: &&Told| told.user.is_some_and(|user| user["content"] == *seen.prompt);
            let asked: Vec<&Told> = told.values().filter(is_its).collect();
            match asked[..] {
                [told] => self.as_seen(seen, told),
                // A turn that showed nothing before it was given up leaves nothing in the history.
                [] => assert!(seen.completed.is_none() && seen.shown.is_empty(), "{}: {history:?}", seen.prompt),
                _ => panic!("{} is there {} times", seen.prompt, asked.len()),
            }
        }
        assert_eq!(told.len(), seen.len(), "there are turns that no client asked for: {records:?}");
    }

    fn whole_or_marked(&self, told: &Told) {
        let Told { record, user, assistant } = told;
        let Some(user) = user else {
            assert!(record["status"] == "interrupted" && assistant.is_none(), "no question: {record}");
            return;
        };
        let prompt = user["content"].as_str().unwrap();
        let answer = assistant.map_or("", |message| message["content"].as_str().unwrap());
        match record["status"].as_str().unwrap() {
            "completed" => {
                assert_eq!(answer, answer_to(prompt), "{record}");
                assert_eq!(assistant.unwrap()["status"], "completed", "{record}");
            }
            "interrupted" => {
                assert!(answer_to(prompt).starts_with(answer), "{record}: {answer}");
                assert!(assistant.is_none_or(|message| message["status"] == "incomplete"), "{record}");
                assert_eq!(record["error"]["code"], "server_stopped", "{record}");
                // A server may die again before it says that it tries again; that counts as an attempt, too.
                let attempts = record["attempt"].as_u64().unwrap();
                assert!(!self.reruns || attempts >= 3, "given up too early: {record}");
            }
            other => panic!("{other}: {record}"),
        }
        let calls = self.fake.chat_requests().iter().filter(|request| request.last_prompt() == prompt).count() as u64;
        assert!(calls <= record["attempt"].as_u64().unwrap(), "{calls} calls: {record}");
        assert!(calls <= if self.reruns { 2 } else { 1 }, "{calls} calls: {record}");
    }

    fn as_seen(&self, seen: &Seen, told: &Told) {
        let Told { record, assistant, .. } = told;
        if let Some(turn) = &seen.turn {
            assert_eq!(record["turn"], turn.as_str());
        }
        if let Some(completed) = &seen.completed {
            let message = assistant.unwrap_or_else(|| panic!("an acknowledged answer is lost: {completed}"));
            assert_eq!(record["status"], "completed", "{completed}");
            assert_eq!((&message["content"], &message["id"]), (&completed["content"], &completed["id"]));
            assert_eq!(record["turn"], completed["turn"]);
        }
        if !self.reruns {
            let stored = assistant.map_or("", |message| message["content"].as_str().unwrap());
            assert!(stored.starts_with(&seen.shown), "shown: {:?}, stored: {stored:?}", seen.shown);
        }
    }
}

async fn kill_and_check(on_crash: &str, least_rounds: usize) {
    let seed = Dice::seed_from("KILL_SEED");
    let fake = FakeOpenAi::start().await;
    fake.set_responder(|request| Reply::text(answer_to(&request.last_prompt())).delay_each(Duration::from_millis(1)));
    for (n, (store, program, _redis)) in
        on_both_stores(|| Program::towards(&fake.base_url()).set("ON_CRASH", on_crash)).into_iter().enumerate()
    {
        eprintln!("on {store}");
        let before = fake.calls();
        let mut sessions = torment(&program, store, seed.wrapping_add(n as u64), rounds(least_rounds)).await;
        let server = program.start().await;
        let check = Check { fake: &fake, url: &server.url, reruns: on_crash == "rerun" };
        for session in &mut sessions {
            check.session(session).await;
        }
        let seen = || sessions.iter().flat_map(|session| &session.turns);
        let (completed, all) = (seen().filter(|seen| seen.completed.is_some()).count(), seen().count());
        eprintln!("{completed} of {all} turns were seen completed, by {} calls", fake.calls() - before);
        assert!(completed >= sessions.len() / CLIENTS, "the kills come too early to show anything");
        server.stop().await;
        integrity(&program);
    }
}

#[tokio::test]
async fn what_was_seen_completed_survives_every_kill_and_the_rest_runs_again() {
    kill_and_check("rerun", 25).await;
}

#[tokio::test]
async fn what_was_shown_survives_every_kill_where_nothing_is_run_again() {
    kill_and_check("interrupt", 10).await;
}
