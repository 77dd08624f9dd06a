//! Real servers, a real Redis or a file, and clients that stream, drop, resume, cancel and repeat themselves, while
//! processes are killed and Redis stands still: what every client was told is compared with what is there in the end.
//!
//! `TORTURE_SECONDS` says how long it goes on for each store, `TORTURE_SEED` replays the same kills and choices (the
//! machine's timing is its own).

mod check;
mod client;
mod servers;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use fake_openai::{FakeOpenAi, RecordedRequest, Reply};
use futures::future::join_all;

use self::client::Person;
use self::servers::Servers;
use crate::support::dice::Dice;
use crate::support::process::Program;
use crate::support::redis_server::RedisServer;

const CLIENTS: usize = 50;

/// Of each store, by default; what is under way then takes as long again at most.
const SECONDS: u64 = 20;

/// The longest that a client may wait for an answer once all is well: a lease, and a look for what it left.
const SETTLES_WITHIN: Duration = Duration::from_secs(60);

/// What happened, for the summary.
#[derive(Debug, Default)]
pub struct Counts {
    pub asked: AtomicUsize,
    pub repeated: AtomicUsize,
    pub completed: AtomicUsize,
    pub ended_otherwise: AtomicUsize,
    pub given_up: AtomicUsize,
    pub resumed: AtomicUsize,
    pub restarted: AtomicUsize,
    pub cancelled: AtomicUsize,
    pub kills: AtomicUsize,
    pub stops: AtomicUsize,
    pub pauses: AtomicUsize,
}

impl Counts {
    pub fn count(counter: &AtomicUsize) {
        counter.fetch_add(1, Ordering::SeqCst);
    }
}

/// The answers that the model gave to each prompt, whole as it would have said them.
type Said = Arc<Mutex<BTreeMap<String, Vec<String>>>>;

fn answers(seed: u64, said: Said) -> impl FnMut(&RecordedRequest) -> Reply + Send {
    let mut dice = Dice::new(seed);
    move |request| {
        let prompt = request.last_prompt();
        let mut said = said.lock().unwrap();
        let calls = said.entry(prompt.clone()).or_default();
        let number = calls.len();
        let words: Vec<String> = (0..=dice.throw(25)).map(|n| format!("{prompt}/{number}.{n} ")).collect();
        calls.push(words.concat());
        Reply::pieces(words).delay_each(Duration::from_millis(dice.throw(60)))
    }
}

async fn torture(store: &str, programs: Vec<Program>, redis: Option<RedisServer>) {
    let seed = Dice::seed_from("TORTURE_SEED");
    let seconds = std::env::var("TORTURE_SECONDS").ok().map_or(SECONDS, |text| text.parse().expect("seconds"));
    let mut dice = Dice::new(seed);
    let (said, counts) = (Said::default(), Arc::new(Counts::default()));
    let fake = FakeOpenAi::start().await;
    fake.set_responder(answers(dice.throw(u64::MAX), said.clone()));
    let programs = programs.into_iter().map(|program| program.set("OPENAI_BASE_URL", &fake.base_url()));
    let servers = Servers::start(programs.collect(), redis, counts.clone()).await;
    let people = join_all((0..CLIENTS).map(|number| {
        let dice = Dice::new(dice.throw(u64::MAX));
        Person::arrive(number, dice, servers.urls.clone(), counts.clone())
    }))
    .await;
    let until = Instant::now() + Duration::from_secs(seconds);
    let living = join_all(people.into_iter().map(|person| person.lives_until(until)));
    let chaos = servers.suffer(Dice::new(dice.throw(u64::MAX)), until);
    let both = async { tokio::join!(living, chaos) };
    let limit = Duration::from_secs(seconds) + SETTLES_WITHIN;
    let (people, servers) = tokio::time::timeout(limit, both).await.expect("no client waits for ever");
    let settled = Instant::now();
    let said = said.lock().unwrap().clone();
    let wrong = check::all(&people, &said, &servers).await;
    eprintln!(
        "torture on {store}, seed {seed}, {seconds} s and {:?} to settle: {CLIENTS} clients, {} calls of the model, {counts:?}",
        settled.saturating_duration_since(until),
        fake.calls(),
    );
    assert!(wrong.is_empty(), "seed {seed}: {}\n{}", wrong.len(), wrong.join("\n"));
    assert!(counts.completed.load(Ordering::SeqCst) > CLIENTS, "most are answered in between");
}

fn program() -> Program {
    // The base URL is set when the model is there.
    Program::towards("http://localhost").set("SHUTDOWN_GRACE", "1s").set("LOG_LEVEL", "error")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_servers_on_one_redis() {
    let redis = RedisServer::start();
    let programs = (0..2).map(|_| program().set("REDIS_URL", &redis.url())).collect();
    torture("Redis", programs, Some(redis)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_server_on_a_file() {
    torture("SQLite", vec![program()], None).await;
}
