//! The configurations of docs/proxies.md, run as they stand but for the ports.

use fake_openai::{FakeOpenAi, Gate, Reply};
use reqwest::Method;
use serde_json::json;

use super::{Proxy, address, documented};
use crate::support::process::{Process, Program};

async fn server(fake: &FakeOpenAi) -> Process {
    Program::towards(&fake.base_url()).set("TRUSTED_PROXIES", "127.0.0.1").start().await
}

/// What each of them has to let through.
async fn lets_all_through(proxy: &Proxy, fake: &FakeOpenAi) {
    let browser = proxy.client();
    fake.push(Reply::text("Hello"));
    assert_eq!(browser.say("Hi").await.ok()["content"], "Hello");
    assert!(browser.cookie().is_some());

    // The page's own origin is the one that the browser sees.
    for (origin, status) in [(proxy.url.as_str(), 200), ("http://evil.example", 403)] {
        fake.set_default(Reply::text("Hello again"));
        let request = browser.json("/chat", &json!({"prompt": "Hi"})).header("origin", origin);
        assert_eq!(browser.send(request).await.status.as_u16(), status, "{origin}");
    }

    // Words arrive as the model says them.
    let gate = Gate::new();
    fake.push(Reply::text("Half").then_wait(&gate).then_text(" and half"));
    let mut stream = browser.stream(&json!({"prompt": "Hi"})).await;
    stream.expect("started").await;
    assert_eq!(stream.expect("delta").await.data["content"], "Half");
    gate.open();
    assert_eq!(stream.rest().await.last().unwrap().data["content"], "Half and half");

    // Connections are used again.
    for _ in 0..30 {
        browser.say("Hi").await.ok();
    }

    // What is too large, the server says, and not the proxy.
    let large = browser.json("/chat", &json!({"prompt": "x".repeat(1_500_000)}));
    assert_eq!(browser.send(large).await.failed(413), "body_too_large");
    assert_eq!(browser.send(browser.request(Method::GET, "/v1/nowhere")).await.status.as_u16(), 404);
}

#[tokio::test]
async fn nginx() {
    let fake = FakeOpenAi::start().await;
    let server = server(&fake).await;
    let config = documented("nginx", "upstream").replace("127.0.0.1:3000", address(&server.url));
    let proxy = Proxy::nginx(&config.replace("listen 80;", "listen 127.0.0.1:PORT;")).await;
    lets_all_through(&proxy, &fake).await;
}

#[tokio::test]
async fn caddy() {
    let fake = FakeOpenAi::start().await;
    let server = server(&fake).await;
    let config = documented("caddy", "chat.example.com").replace("127.0.0.1:3000", address(&server.url));
    let proxy = Proxy::caddy(&config.replace("chat.example.com", "http://127.0.0.1:PORT")).await;
    lets_all_through(&proxy, &fake).await;
}

#[tokio::test]
async fn haproxy() {
    let fake = FakeOpenAi::start().await;
    let server = server(&fake).await;
    let config = documented("haproxy", "frontend").replace("127.0.0.1:3000", address(&server.url));
    let proxy = Proxy::haproxy(&config.replace("bind :80", "bind 127.0.0.1:PORT")).await;
    lets_all_through(&proxy, &fake).await;
}
