//! What a client has open ends with its key or its session, within a second, everywhere (P24).

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Instant;

use fake_openai::{Gate, Reply, Step};
use openai_backend::access::keys::{self, Command};
use openai_backend::config::key_hash;
use openai_backend::domain::conversation::Owner;
use openai_backend::store::sqlite::Sqlite;
use openai_backend::store::{Store, StoreError};

use super::*;
use crate::on_every_store;
use crate::support::instance::Ground;
use crate::support::intercepted::{Intercepted, Interceptor, Op};
use crate::support::raw::Raw;
use crate::support::socket::Socket;
use crate::support::{SOON, eventually};

/// More than the second within which it has to be noticed, on a machine that is busy with other tests.
const NOTICED: Duration = Duration::from_secs(5);

/// A model's server, and servers in front of it.
fn setup(fake: &FakeOpenAi) -> Setup {
    let base_url = fake.base_url();
    let settings = OpenAiSettings::new(base_url.parse().unwrap(), None, "compatible");
    let upstream = OpenAi::new(settings, Arc::new(SystemClock), Arc::new(SystemIds)).unwrap();
    Setup::default().set("OPENAI_BASE_URL", &base_url).upstream(Arc::new(upstream))
}

/// The store, as a command beside the servers has it.
async fn beside(ground: &Ground) -> Arc<dyn Store> {
    match ground {
        Ground::Sqlite(folder) => Arc::new(Sqlite::beside(folder.path(), Arc::new(SystemClock)).unwrap()),
        _ => ground.store().await,
    }
}

async fn make_key(store: &dyn Store, name: &str) -> String {
    let create = Command::Create { name: name.to_owned() };
    keys::run(&create, store, &SystemIds, 1).await.unwrap().out.trim_end().to_owned()
}

async fn revoke(store: &dyn Store, key: &str) {
    let listed = keys::list(store).await.unwrap();
    let id = listed.into_iter().find(|listed| listed.hash == key_hash(key.as_bytes())).unwrap().id;
    keys::run(&Command::Revoke { id }, store, &SystemIds, 1).await.unwrap();
}

async fn socket_with_key(url: &str, key: &str) -> Socket {
    Socket::open(url, &[("authorization", &format!("Bearer {key}"))]).await.unwrap()
}

async fn socket_with_cookie(url: &str, client: &Client) -> Socket {
    Socket::open(url, &[("cookie", &client.cookie().unwrap())]).await.unwrap()
}

/// The socket says why it ends, with this code, and closes.
async fn ends_with(socket: &mut Socket, code: &str) {
    let frame = socket.hear().await;
    assert_eq!((&frame["type"], &frame["status"]), (&json!("error"), &json!(401)), "{frame}");
    assert_eq!(frame["error"]["code"], code, "{frame}");
    assert_eq!(socket.next().await, None);
}

/// An answer that has begun, read as far as `until`.
async fn begun(request: RequestBuilder, until: &str) -> (reqwest::Response, String) {
    let mut response = request.send().await.unwrap();
    let mut text = String::new();
    while !text.contains(until) {
        let chunk = tokio::time::timeout(SOON, response.chunk()).await.unwrap().unwrap().expect("more");
        text.push_str(std::str::from_utf8(&chunk).unwrap());
    }
    (response, text)
}

/// The rest of an answer; `None` where the connection breaks off.
async fn rest(response: reqwest::Response) -> Option<String> {
    tokio::time::timeout(SOON, response.text()).await.expect("an end").ok()
}

async fn a_revoked_key_ends_what_it_has_open_and_no_other(ground: Ground) {
    let (gate, fake) = (Gate::new(), FakeOpenAi::start().await);
    fake.set_default(Reply::pieces(["Half "]).then_wait(&gate).then_text("whole"));
    fake.set_path("/v1/embeddings", Reply::hang());
    fake.set_path("/v1/audio/speech", Reply::stream([Step::send("half"), Step::Hang]));
    let instance = ground.start(setup(&fake)).await;
    let store = beside(&ground).await;
    let (key, second) = (make_key(&*store, "web").await, make_key(&*store, "web").await);
    let client = Client::new(&instance.url);
    let get = async |key: &str, path: &str| client.send(client.request(Method::GET, path).bearer_auth(key)).await;
    eventually("the keys are taken", async || get(&second, "/v1/models").await.status != 401).await;
    let post = |key: &str, path: &str, body: &Value| client.json(path, body).bearer_auth(key);
    let messages = json!([{"role": "user", "content": "Hello"}]);
    let mut idle = socket_with_key(&instance.url, &key).await;
    let mut other = socket_with_key(&instance.url, &second).await;
    let completion = json!({"model": "m", "messages": messages, "stream": true});
    let (completion, _) = begun(post(&key, "/v1/chat/completions", &completion), "Half").await;
    let response = json!({"model": "m", "input": "Hello", "stream": true});
    let (response, _) = begun(post(&key, "/v1/responses", &response), "Half").await;
    let (speech, _) = begun(post(&key, "/v1/audio/speech", &json!({})), "half").await;
    let waiting = client.send(post(&key, "/v1/embeddings", &json!({})));
    let background = json!({"model": "m", "input": "Hello", "background": true});
    let background = client.send(post(&key, "/v1/responses", &background)).await.ok();
    let ending = async {
        eventually("all are at the model", async || fake.in_flight() == 5).await;
        let from = Instant::now();
        revoke(&*store, &key).await;
        ends_with(&mut idle, "invalid_api_key").await;
        from
    };
    let (from, waited) = tokio::join!(ending, waiting);
    assert_eq!(failed(&waited, 401)["code"], "invalid_api_key");
    for stream in [completion, response] {
        let rest = rest(stream).await.expect("an orderly end");
        assert!(rest.contains("invalid_api_key") && !rest.contains("whole"), "{rest}");
    }
    assert_eq!(rest(speech).await, None, "what is cut does not look whole");
    assert!(from.elapsed() < NOTICED, "after {:?}", from.elapsed());
    // The other key is the same owner: its socket, and what runs for the owner, go on.
    gate.open();
    let path = format!("/v1/responses/{}", background["id"].as_str().unwrap());
    eventually("it completes", async || get(&second, &path).await.ok()["status"] == "completed").await;
    other.respond(json!({"model": "m", "input": "Hello"})).await;
}

async fn a_body_that_is_still_to_come_ends_with_its_key(ground: Ground) {
    let fake = FakeOpenAi::start().await;
    let instance = ground.start(setup(&fake)).await;
    let store = beside(&ground).await;
    let (key, _second) = (make_key(&*store, "web").await, make_key(&*store, "web").await);
    let client = Client::new(&instance.url);
    let models = async || client.send(client.request(Method::GET, "/v1/models").bearer_auth(&key)).await;
    eventually("the key is taken", async || models().await.status != 401).await;
    let mut sockets = Vec::new();
    for path in ["chat/completions", "responses", "responses/compact", "conversations", "embeddings"] {
        let mut socket = Raw::to(&instance.url).await;
        let head = format!("POST /v1/{path} HTTP/1.1\r\nhost: test\r\nauthorization: Bearer {key}\r\n");
        let body = "content-type: application/json\r\ncontent-length: 100\r\nexpect: 100-continue\r\n\r\n";
        socket.send(head + body).await;
        assert_eq!(socket.answer().await.expect("an answer").status, 100, "{path}");
        sockets.push((path, socket));
    }
    revoke(&*store, &key).await;
    for (path, mut socket) in sockets {
        let answer = socket.answer().await.expect("an answer");
        assert!(answer.status == 401 && answer.body.contains("invalid_api_key"), "{path}: {answer:?}");
    }
    assert_eq!(
        store.conversations(&Owner::ApiKey("web".to_owned()), None, 10).await.unwrap().unwrap().conversations,
        []
    );
}

async fn the_last_key_of_an_owner_takes_what_runs_with_it(ground: Ground) {
    let (gate, fake) = (Gate::new(), FakeOpenAi::start().await);
    fake.set_default(Reply::pieces(["Half "]).then_wait(&gate).then_text("whole"));
    let instance = ground.start(setup(&fake)).await;
    let store = beside(&ground).await;
    let (key, _other) = (make_key(&*store, "web").await, make_key(&*store, "other").await);
    let client = Client::new(&instance.url);
    let post = async |key: &str, body: &Value| client.send(client.json("/v1/responses", body).bearer_auth(key)).await;
    let background = json!({"model": "m", "input": "Hello", "background": true});
    let answer = eventually_ok(async || post(&key, &background).await).await;
    fake.wait_for_calls(1, SOON).await;
    revoke(&*store, &key).await;
    fake.wait_for_abort(SOON).await;
    let again = make_key(&*store, "web").await;
    let path = format!("/v1/responses/{}", answer["id"].as_str().unwrap());
    let get = async || client.send(client.request(Method::GET, &path).bearer_auth(&again)).await;
    eventually("it is cancelled", async || {
        let answer = get().await;
        answer.status.is_success() && answer.json()["status"] == "cancelled"
    })
    .await;
}

/// The first answer that is a success.
async fn eventually_ok(mut ask: impl AsyncFnMut() -> Answer) -> Value {
    let mut found = None;
    eventually("an answer", async || {
        let answer = ask().await;
        found = answer.status.is_success().then(|| answer.json());
        found.is_some()
    })
    .await;
    found.unwrap()
}

async fn the_first_key_shuts_what_the_open_door_let_in(ground: Ground) {
    let fake = FakeOpenAi::start().await;
    let instance = ground.start(setup(&fake)).await;
    let mut local = Socket::open(&instance.url, &[]).await.unwrap();
    make_key(&*beside(&ground).await, "web").await;
    ends_with(&mut local, "missing_api_key").await;
}

async fn a_session_that_expires_ends_its_sockets(ground: Ground) {
    let fake = FakeOpenAi::start().await;
    let instance = ground.start(setup(&fake).set("SESSION_MAX_AGE", "1s")).await;
    let browser = Client::new(&instance.url);
    browser.say("Hello").await.ok();
    let mut socket = socket_with_cookie(&instance.url, &browser).await;
    ends_with(&mut socket, "session_ended").await;
}

async fn a_session_that_is_deleted_ends_its_sockets_everywhere(ground: Ground) {
    let fake = FakeOpenAi::start().await;
    let pair = ground.two(|| setup(&fake)).await;
    let browser = Client::new(&pair.one.url);
    browser.say("Hello").await.ok();
    let stranger = Client::new(&pair.one.url);
    stranger.say("Hello").await.ok();
    let mut theirs = socket_with_cookie(&pair.other().url, &stranger).await;
    let (mut here, mut there) =
        (socket_with_cookie(&pair.one.url, &browser).await, socket_with_cookie(&pair.other().url, &browser).await);
    let from = Instant::now();
    assert_eq!(browser.delete("/chat").await.status, 204);
    for socket in [&mut here, &mut there] {
        ends_with(socket, "session_ended").await;
    }
    assert!(from.elapsed() < NOTICED, "after {:?}", from.elapsed());
    theirs.respond(json!({"model": "m", "input": "Hello"})).await;
}

/// A store whose looks at keys and sessions fail, and are counted, while it is away.
#[derive(Clone, Default)]
struct Away {
    is_away: Arc<AtomicBool>,
    looks: Arc<AtomicUsize>,
}

#[async_trait::async_trait]
impl Interceptor for Away {
    async fn before(&self, op: Op) -> Result<(), StoreError> {
        if !self.is_away.load(Ordering::SeqCst) || !matches!(op, Op::Document | Op::SessionExpiresAt) {
            return Ok(());
        }
        self.looks.fetch_add(1, Ordering::SeqCst);
        Err(StoreError::Unavailable("the test took it away".into()))
    }
}

async fn a_store_that_is_away_ends_nothing(ground: Ground) {
    let fake = FakeOpenAi::start().await;
    let away = Away::default();
    let interceptor = away.clone();
    let instance =
        ground.start_over(setup(&fake), |store| Intercepted::new(store, interceptor) as Arc<dyn Store>).await;
    let key = make_key(&*beside(&ground).await, "web").await;
    let browser = Client::new(&instance.url);
    browser.say("Hello").await.ok();
    eventually("the key is taken", async || {
        let request = browser.request(Method::GET, "/v1/conversations").bearer_auth(&key);
        browser.send(request).await.status.is_success()
    })
    .await;
    let mut sockets = [socket_with_key(&instance.url, &key).await, socket_with_cookie(&instance.url, &browser).await];
    away.is_away.store(true, Ordering::SeqCst);
    eventually("it was looked at in vain", async || away.looks.load(Ordering::SeqCst) >= 3).await;
    away.is_away.store(false, Ordering::SeqCst);
    for socket in &mut sockets {
        socket.respond(json!({"model": "m", "input": "Hello"})).await;
    }
}

on_every_store! {
    a_store_that_is_away_ends_nothing,
    a_revoked_key_ends_what_it_has_open_and_no_other,
    a_body_that_is_still_to_come_ends_with_its_key,
    the_last_key_of_an_owner_takes_what_runs_with_it,
    the_first_key_shuts_what_the_open_door_let_in,
    a_session_that_expires_ends_its_sockets,
    a_session_that_is_deleted_ends_its_sockets_everywhere,
}
