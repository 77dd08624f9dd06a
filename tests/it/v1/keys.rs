//! Who is let in.

use reqwest::Method;

use super::{KEY, Rig, SERVERS_KEY, ask, failed};
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
        assert!(error["message"].as_str().unwrap().contains("API_KEYS"), "{error}");
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
