//! Who is let in: by a key of the setting or one that was made, by the cookie of `/chat`, by an open door.

use std::sync::Arc;

use openai_backend::access::keys::{self, Command};
use openai_backend::domain::clock::SystemClock;
use openai_backend::domain::ids::SystemIds;
use openai_backend::store::Store;
use openai_backend::store::memory::Memory;
use reqwest::Method;
use serde_json::Value;

use super::{KEY, Rig, SERVERS_KEY, ask, failed};
use crate::support::client::{Answer, Client};
use crate::support::eventually;
use crate::support::faulty::Faulty;
use crate::support::raw::Raw;
use crate::support::server::{Setup, TestServer};

#[tokio::test]
async fn a_key_is_needed_and_is_never_sent_on() {
    let rig = Rig::new().await;
    let path = "/v1/chat/completions";
    let post = || rig.client.json(path, &ask(false));
    let wrong = [
        (post(), "missing_api_key"),
        (post().bearer_auth("not-a-key-of-this-server-0"), "invalid_api_key"),
        (post().bearer_auth(SERVERS_KEY), "invalid_api_key"),
        (post().bearer_auth(format!("web:{KEY}")), "invalid_api_key"),
        (post().header("authorization", format!("Basic {KEY}")), "invalid_api_key"),
        (post().header("authorization", KEY), "invalid_api_key"),
        (post().header("authorization", "Bearer "), "missing_api_key"),
        (post().header("authorization", "B"), "missing_api_key"),
        (post().header("api-key", KEY), "missing_api_key"),
        (rig.client.request(Method::GET, "/v1/models"), "missing_api_key"),
        (rig.client.request(Method::GET, "/v1/files"), "missing_api_key"),
    ];
    for (request, code) in wrong {
        let error = failed(&rig.client.send(request).await, 401);
        assert_eq!((error["code"].as_str(), error["type"].as_str()), (Some(code), Some("authentication_error")));
    }
    assert_eq!(rig.fake.requests().len(), 0);
    rig.complete(&ask(false)).await.ok();
    let lower = post().header("authorization", format!("bearer  {KEY}"));
    rig.client.send(lower.header("cookie", "sessionId=canary")).await.ok();
    for request in rig.fake.requests() {
        assert_eq!(request.key(), Some(SERVERS_KEY));
        assert!(!request.headers.iter().any(|(_, value)| value.contains(KEY)), "{request:?}");
        assert_eq!(request.header("cookie"), None);
    }
}

#[tokio::test]
async fn without_keys_a_loopback_door_is_open_to_this_machine_only() {
    let server = TestServer::demo().await;
    server.client().get("/v1/models").await.ok();
    for (host, status) in [("localhost", 200), ("127.0.0.1:3000", 200), ("evil.example", 401), ("10.0.0.7:3000", 401)] {
        let mut socket = Raw::connect(&server).await;
        socket.send(format!("GET /v1/models HTTP/1.1\r\nhost: {host}\r\n\r\n")).await;
        assert_eq!(socket.answer().await.unwrap().status, status, "{host}");
    }
}

#[tokio::test]
async fn without_keys_any_other_door_is_shut_and_says_what_to_set() {
    let behind_a_proxy = Setup::default().set("PRODUCTION_URL", "https://chat.example.com").start().await;
    failed(&behind_a_proxy.client().get("/v1/models").await, 401);
    let server = Setup::default().set("HOST", "0.0.0.0").start().await;
    for request in [
        server.client().json("/v1/chat/completions", &ask(false)),
        server.client().json("/v1/chat/completions", &ask(false)).bearer_auth(KEY),
        server.client().request(Method::GET, "/v1/models/demo"),
    ] {
        let error = failed(&server.client().send(request).await, 401);
        let message = error["message"].as_str().unwrap();
        assert!(message.contains("API_KEYS") && message.contains("keys create"), "{error}");
    }
    server.client().say("The other door is as it was").await.ok();
}

#[tokio::test]
async fn another_site_is_turned_away_with_a_key_and_without() {
    let rig = Rig::new().await;
    let open = TestServer::demo().await;
    for request in [
        rig.completion(ask(false).to_string()),
        open.client().json("/v1/chat/completions", &ask(false)),
        rig.request(Method::DELETE, "/v1/files/x"),
    ] {
        let request = request.header("origin", "https://evil.example").header("sec-fetch-site", "cross-site");
        let answer = rig.client.send(request).await;
        let error = failed(&answer, 403);
        assert_eq!((error["code"].as_str(), error["type"].as_str()), (Some("cross_site"), Some("permission_error")));
        assert_eq!(answer.header("access-control-allow-origin"), None);
    }
    // What it may ask without being turned away, it cannot read.
    let got = rig.client.send(rig.request(Method::GET, "/v1/models").header("origin", "https://evil.example")).await;
    assert_eq!(got.header("access-control-allow-origin"), None);
    assert_eq!(rig.fake.calls(), 0);
}

/// Makes a key as a second process would; gives its text.
async fn made(store: &dyn Store, name: &str) -> String {
    let command = Command::Create { name: name.to_owned() };
    keys::run(&command, store, &SystemIds, 0).await.unwrap().out.trim_end().to_owned()
}

/// Revokes the oldest key.
async fn revoke_oldest(store: &dyn Store) {
    let id = keys::list(store).await.unwrap().remove(0).id;
    keys::run(&Command::Revoke { id }, store, &SystemIds, 0).await.unwrap();
}

async fn models(client: &Client, key: &str) -> Answer {
    client.send(client.request(Method::GET, "/v1/models").bearer_auth(key)).await
}

#[tokio::test]
async fn keys_that_are_made_and_revoked_are_noticed_by_a_server_that_runs() {
    let server = TestServer::demo().await;
    let client = server.client();
    client.get("/v1/models").await.ok();
    models(&client, "anything").await.ok();
    let one = made(&*server.store, "web").await;
    eventually("the door shuts", async || client.get("/v1/models").await.status == 401).await;
    assert_eq!(failed(&client.get("/v1/models").await, 401)["code"], "missing_api_key");
    models(&client, &one).await.ok();
    for wrong in ["anything", &one[1..], &one.to_uppercase()] {
        assert_eq!(failed(&models(&client, wrong).await, 401)["code"], "invalid_api_key");
    }
    let two = made(&*server.store, "web").await;
    eventually("the second is known", async || models(&client, &two).await.status == 200).await;
    revoke_oldest(&*server.store).await;
    eventually("the first is not", async || models(&client, &one).await.status == 401).await;
    models(&client, &two).await.ok();
    revoke_oldest(&*server.store).await;
    eventually("the door is open again", async || client.get("/v1/models").await.status == 200).await;
}

#[tokio::test]
async fn a_setting_and_the_store_may_both_have_keys() {
    let rig = Rig::new().await;
    let text = made(&*rig.server.store, "other").await;
    eventually("it is known", async || models(&rig.client, &text).await.status == 200).await;
    models(&rig.client, KEY).await.ok();
    revoke_oldest(&*rig.server.store).await;
    eventually("it is not", async || models(&rig.client, &text).await.status == 401).await;
    assert_eq!(failed(&rig.client.get("/v1/models").await, 401)["code"], "missing_api_key");
}

fn faulty() -> Arc<Faulty> {
    Faulty::well(Arc::new(Memory::new(Arc::new(SystemClock))))
}

#[track_caller]
fn away(answer: &Answer) -> Value {
    let error = failed(answer, 503);
    assert_eq!(error["code"], "store_unavailable");
    assert_eq!(answer.header("retry-after"), Some("1"), "{answer:?}");
    error
}

#[tokio::test]
async fn a_door_whose_keys_were_never_read_is_not_open() {
    let store = faulty();
    store.go_away();
    let server = Setup::default().store(store.clone()).start().await;
    let client = server.client();
    away(&client.get("/v1/models").await);
    away(&models(&client, "anything").await);
    store.mend();
    eventually("it is open", async || client.get("/v1/models").await.status == 200).await;
    // What is a key by the settings is one without a look at the store, and what shows nothing is none.
    store.go_away();
    let server = Setup::default().store(store).set("API_KEYS", &format!("web:{KEY}")).start().await;
    models(&server.client(), KEY).await.ok();
    away(&models(&server.client(), "not-in-the-settings-0").await);
    failed(&server.client().get("/v1/models").await, 401);
}

#[tokio::test]
async fn while_the_store_is_away_who_was_known_stays_known() {
    let store = faulty();
    let text = made(&*store, "web").await;
    let server = Setup::default().store(store.clone()).start().await;
    let client = server.client();
    models(&client, &text).await.ok();
    store.go_away();
    models(&client, &text).await.ok();
    assert_eq!(failed(&models(&client, "not-a-key-of-this-server").await, 401)["code"], "invalid_api_key");
    failed(&client.get("/v1/models").await, 401);
}

#[tokio::test]
async fn the_session_of_chat_is_an_owner_too() {
    let shut = || Setup::default().set("HOST", "0.0.0.0");
    for setup in [Setup::default(), shut(), shut().set("API_KEYS", &format!("web:{KEY}"))] {
        let server = setup.start().await;
        let browser = server.client();
        browser.say("Hello").await.ok();
        browser.get("/v1/models").await.ok();
        assert!(browser.post("/v1/chat/completions", &ask(false)).await.ok()["choices"].is_array());
        assert!(browser.post("/v1/chat/completions", &ask(true)).await.text.ends_with("data: [DONE]\n\n"));
    }
}

#[tokio::test]
async fn a_cookie_that_is_no_session_is_nothing() {
    let server = Setup::default().set("API_KEYS", &format!("web:{KEY}")).start().await;
    let browser = server.client();
    browser.say("Hello").await.ok();
    let cookie = browser.cookie().unwrap();
    let shown = |cookie: &str| server.client().request(Method::GET, "/v1/models").header("cookie", cookie);
    let forged = format!("{}A", &cookie[..cookie.len() - 1]);
    for wrong in [forged.as_str(), "sessionId=", "sessionId=canary", &cookie.replace("sessionId", "other")] {
        let error = failed(&browser.send(shown(wrong)).await, 401);
        assert_eq!(error["code"], "missing_api_key", "{wrong}");
    }
    // A key that is shown decides.
    failed(&models(&browser, "not-a-key-of-this-server").await, 401);
    models(&server.client(), KEY).await.ok();
    browser.send(shown(&cookie)).await.ok();
    assert_eq!(browser.delete("/chat").await.status, 204);
    assert_eq!(failed(&browser.send(shown(&cookie)).await, 401)["code"], "missing_api_key");
}

#[tokio::test]
async fn a_session_cannot_be_looked_up_while_the_store_is_away() {
    let store = faulty();
    let server = Setup::default().store(store.clone()).set("API_KEYS", &format!("web:{KEY}")).start().await;
    let browser = server.client();
    browser.say("Hello").await.ok();
    store.go_away();
    let answer = browser.get("/v1/models").await;
    assert_eq!(failed(&answer, 503)["code"], "store_unavailable");
    models(&browser, KEY).await.ok();
}

#[tokio::test]
async fn a_session_has_no_way_to_the_files_of_all() {
    let rig = Rig::new().await;
    rig.client.say("Hello").await.ok();
    let asked = rig.fake.requests().len();
    for (method, path) in [
        (Method::GET, "/v1/files"),
        (Method::POST, "/v1/files"),
        (Method::DELETE, "/v1/files/file-1"),
        (Method::GET, "/v1/files/file-1/content"),
        (Method::POST, "/v1/files/file-1/else"),
    ] {
        let answer = rig.client.send(rig.client.request(method, path)).await;
        let error = failed(&answer, 403);
        assert_eq!((error["code"].as_str(), error["type"].as_str()), (Some("key_required"), Some("permission_error")));
    }
    assert_eq!(rig.fake.requests().len(), asked);
    rig.client.send(rig.request(Method::POST, "/v1/embeddings").body("{}")).await.ok();
    rig.get("/v1/files").await;
    assert_eq!(rig.fake.requests().len(), asked + 2);
}
