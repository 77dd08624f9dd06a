//! Turns through the front door, on every store, on one server and on two: what issue threads of chat servers are full of.

mod busy;
mod cancelling;
mod capacity;
mod clocks;
mod deaf;
mod deploys;
mod duplicates;
mod giving_up;
mod leaving;
mod questions;
mod resuming;
mod scratch;
mod takeover;
mod unreadable;
mod write_timeout;

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use fake_openai::Gate;
use openai_backend::domain::conversation::Owner;
use openai_backend::domain::ids::SessionKey;
use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::support::client::Client;
use crate::support::script::{Act, Script, say, wait};
use crate::support::server::Setup;
use crate::support::sse::EventStream;

/// Servers over this model.
fn over(script: &Arc<Script>) -> Setup {
    Setup::default().upstream(script.clone())
}

/// Says hello to `hello`, and does the same for everything else.
fn answering(acts: impl Fn() -> Vec<Act> + Send + Sync + 'static) -> Arc<Script> {
    Script::new(move |_, prompt| if prompt == "hello" { vec![say("Hello.")] } else { acts() })
}

/// A request that is under way whatever the test does meanwhile; dropping the set leaves it.
pub fn spawned(request: RequestBuilder) -> JoinSet<reqwest::Result<reqwest::Response>> {
    let mut set = JoinSet::new();
    set.spawn(request.send());
    set
}

/// Half of an answer, then the gate, then the other half.
fn halves(gate: &Gate) -> Vec<Act> {
    vec![say("Half "), wait(gate), say("and half")]
}

/// A browser with a session.
async fn known(url: &str) -> Client {
    let client = Client::new(url);
    client.say("hello").await.ok();
    client
}

/// Begins a streamed turn and reads until something has been said; gives the turn's id.
async fn begin(client: &Client, prompt: &str) -> (EventStream, String) {
    let mut stream = client.stream(&json!({"prompt": prompt})).await;
    let turn = stream.expect("started").await.data["turn"].as_str().unwrap().to_owned();
    stream.expect("delta").await;
    (stream, turn)
}

/// Reads a turn on from event number `after`.
async fn resume(client: &Client, turn: &str, after: u64) -> EventStream {
    client.stream_of(client.request(Method::GET, &format!("/chat/turns/{turn}/events?after={after}"))).await
}

async fn cancel(client: &Client, turn: &str) -> Value {
    client.post(&format!("/chat/turns/{turn}/cancel"), &json!({})).await.ok()
}

/// The turn as `GET /chat/turns` lists it.
async fn record(client: &Client, turn: &str) -> Value {
    let turns = client.get("/chat/turns").await.ok();
    turns.as_array().unwrap().iter().find(|known| known["turn"] == turn).expect("the turn").clone()
}

/// Who the client is to the store: its cookie begins with the session's secret.
fn owner_of(client: &Client) -> Owner {
    let cookie = client.cookie().unwrap();
    let (_, value) = cookie.split_once('=').unwrap();
    let secret = URL_SAFE_NO_PAD.decode(value.split('.').next().unwrap()).unwrap();
    Owner::Session(SessionKey::of_secret(&secret.try_into().unwrap()))
}

/// The frames without comments: what must be the same for every reader.
fn frames(stream: &EventStream) -> String {
    let frames = stream.raw.split_inclusive("\n\n").filter(|frame| !frame.starts_with(':'));
    frames.collect()
}
