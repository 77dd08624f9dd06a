//! What passes as bytes: bodies, queries, headers, answers; and what does not.

use fake_openai::{Gate, Reply, Step};
use futures::{StreamExt, stream};
use reqwest::{Body, Method};
use serde_json::json;

use super::{Rig, SERVERS_KEY, failed, hasty};
use crate::support::SOON;
use crate::support::raw::Raw;
use crate::support::server::{Setup, TestServer};

#[tokio::test]
async fn a_body_of_any_kind_goes_up_and_comes_down_as_it_is() {
    let rig = Rig::new().await;
    let form = b"--x\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a.wav\"\r\n\r\n\x00\xff\r\n--x--\r\n";
    rig.fake.set_path(
        "/v1/audio/transcriptions",
        Reply::raw(200, "text/plain", &b"Hello\xff"[..]).header("Set-Cookie", "a=b"),
    );
    let request = rig.request(Method::POST, "/v1/audio/transcriptions?a=%5B%5D&b").body(form.to_vec());
    let request = request
        .header("content-type", "multipart/form-data; boundary=x")
        .header("openai-beta", "v2")
        .header("cookie", "sessionId=x")
        .header("x-forwarded-for", "10.0.0.7")
        .header("openai-organization", "org");
    let response = request.send().await.unwrap();
    assert_eq!(
        (response.status().as_u16(), &response.headers()["content-type"]),
        (200, &"text/plain".parse().unwrap())
    );
    assert!(response.headers().contains_key("x-request-id") && !response.headers().contains_key("set-cookie"));
    assert!(response.headers()["x-request-id"].to_str().unwrap().starts_with("req_"));
    assert_eq!(response.bytes().await.unwrap(), &b"Hello\xff"[..]);
    let sent = rig.fake.requests().pop().unwrap();
    assert_eq!((sent.method.as_str(), sent.query.as_str(), &sent.body[..]), ("POST", "a=%5B%5D&b", &form[..]));
    assert_eq!(sent.header("content-type"), Some("multipart/form-data; boundary=x"));
    assert_eq!((sent.header("openai-beta"), sent.key()), (Some("v2"), Some(SERVERS_KEY)));
    assert_eq!(sent.header("content-length"), Some(form.len().to_string().as_str()));
    for name in ["cookie", "x-forwarded-for", "openai-organization", "accept-encoding"] {
        assert_eq!(sent.header(name), None, "{name}");
    }
}

#[tokio::test]
async fn embeddings_and_unknown_routes_answer_in_the_upstreams_words() {
    let rig = Rig::new().await;
    let answer =
        rig.client.send(rig.request(Method::POST, "/v1/embeddings").body(r#"{"model":"e","input":"x"}"#)).await;
    assert_eq!(answer.ok()["object"], "list");
    for (method, path) in [
        (Method::POST, "/v1/moderations"),
        (Method::GET, "/v1/files?limit=2"),
        (Method::DELETE, "/v1/files/file-1"),
        (Method::GET, "/v1/files/file-1/content"),
        (Method::PUT, "/v1/images/new/thing"),
    ] {
        let answer = rig.client.send(rig.request(method.clone(), path)).await;
        let message = answer.json()["error"]["message"].as_str().unwrap().to_owned();
        let path = path.split('?').next().unwrap();
        assert_eq!((answer.status.as_u16(), message), (404, format!("Invalid URL ({method} {path})")));
    }
    rig.fake.set_path(
        "/v1/files",
        Reply::json(429, &json!({"own": "words"})).header("retry-after", "7").header("x-ratelimit-limit-requests", "3"),
    );
    let answer = rig.get("/v1/files").await;
    assert_eq!((answer.status.as_u16(), answer.text.as_str()), (429, r#"{"own":"words"}"#));
    assert_eq!((answer.header("retry-after"), answer.header("x-ratelimit-limit-requests")), (Some("7"), Some("3")));
}

#[tokio::test]
async fn a_refused_key_and_a_quoted_one_are_hidden() {
    let rig = Rig::new().await;
    for (reply, status) in [
        (Reply::invalid_api_key_leaking(), 502),
        (Reply::invalid_api_key(), 502),
        (Reply::json(403, &json!({"error": {"message": "canary"}})), 502),
        (Reply::raw(302, "text/html", "canary").header("Location", "http://elsewhere.example/"), 502),
        (Reply::raw(400, "text/plain", format!("your key {SERVERS_KEY}")), 400),
        (Reply::raw(500, "text/plain", format!("your key {SERVERS_KEY}")), 502),
    ] {
        rig.fake.set_path("/v1/embeddings", reply.clone());
        let answer = rig.client.send(rig.request(Method::POST, "/v1/embeddings").body("{}")).await;
        failed(&answer, status);
        assert_eq!(answer.header("location"), None);
    }
}

#[tokio::test]
async fn bytes_are_not_held_back_in_either_direction() {
    let rig = Rig::new().await;
    let gate = Gate::new();
    rig.fake.set_path(
        "/v1/audio/speech",
        Reply::stream([Step::send("first"), Step::Wait(gate.clone()), Step::send("second")]).content_type("audio/mpeg"),
    );
    let mut response = rig.request(Method::POST, "/v1/audio/speech").body("{}").send().await.unwrap();
    assert_eq!(response.headers()["content-type"], "audio/mpeg");
    let first = tokio::time::timeout(SOON, response.chunk()).await.expect("it is not held back").unwrap().unwrap();
    assert_eq!(first, "first");
    gate.open();
    assert_eq!(response.bytes().await.unwrap(), "second");
    // More than MAX_BODY_BYTES, of unknown length.
    let parts = stream::iter((0..40).map(|_| Ok::<_, std::io::Error>(vec![b'x'; 64 * 1024])));
    rig.fake.set_path("/v1/files", Reply::json(200, &json!({"id": "file-1"})));
    let answer = rig.client.send(rig.request(Method::POST, "/v1/files").body(Body::wrap_stream(parts))).await;
    assert_eq!(answer.ok()["id"], "file-1");
    assert_eq!(rig.fake.requests().pop().unwrap().body.len(), 40 * 64 * 1024);
}

#[tokio::test]
async fn a_body_too_large_or_too_slow_or_cut_is_the_clients_fault() {
    let setup = Setup::default().set("MAX_UPLOAD_BYTES", "1024").set("BODY_TIMEOUT", "100ms");
    let rig = Rig::with(setup, |settings| settings).await;
    let post = |body: Body| rig.client.send(rig.request(Method::POST, "/v1/files").body(body));
    let large = post(vec![b'x'; 1025].into()).await;
    assert_eq!(failed(&large, 413)["code"], "body_too_large");
    let unknown = stream::iter([Ok::<_, std::io::Error>(vec![b'x'; 1000]), Ok(vec![b'x'; 25])]);
    assert_eq!(failed(&post(Body::wrap_stream(unknown)).await, 413)["code"], "body_too_large");
    let stuck = stream::iter([Ok::<_, std::io::Error>(vec![b'x'; 10])]).chain(stream::pending());
    assert_eq!(failed(&post(Body::wrap_stream(stuck)).await, 408)["code"], "body_timeout");
}

#[tokio::test]
async fn a_silent_upstream_is_given_up() {
    let rig = Rig::with(Setup::default(), hasty).await;
    rig.fake.set_path("/v1/embeddings", Reply::hang());
    let answer = rig.client.send(rig.request(Method::POST, "/v1/embeddings").body("{}")).await;
    assert_eq!(failed(&answer, 504)["code"], "upstream_timeout");
    rig.fake.set_path("/v1/audio/speech", Reply::stream([Step::send("half"), Step::Hang]));
    let response = rig.request(Method::POST, "/v1/audio/speech").body("{}").send().await.unwrap();
    assert!(response.bytes().await.is_err(), "half an answer must not look whole");
    rig.fake.outage().await;
    failed(&rig.client.send(rig.request(Method::POST, "/v1/embeddings").body("{}")).await, 502);
}

#[tokio::test]
async fn no_path_leads_out_of_the_upstreams_address() {
    let rig = Rig::new().await;
    for path in [
        "/v1/files/../../admin",
        "/v1/files/%2e%2e/%2E%2e/admin",
        "/v1/files/x/..%2f..%2fadmin/..",
        "/v1/audio/..\\..\\admin",
        "/v1/images/./x",
    ] {
        let head = format!("GET {path} HTTP/1.1\r\nauthorization: Bearer {}", super::KEY);
        let answer = Raw::connect(&rig.server).await.request(&head, "").await;
        assert!(matches!(answer.status, 400 | 404), "{path}: {answer:?}");
    }
    assert_eq!(rig.fake.requests().len(), 0);
}

#[tokio::test]
async fn a_client_that_leaves_ends_what_it_asked_for() {
    let rig = Rig::new().await;
    rig.fake.set_path("/v1/audio/speech", Reply::stream([Step::send("half"), Step::Hang]));
    let mut response = rig.request(Method::POST, "/v1/audio/speech").body("{}").send().await.unwrap();
    response.chunk().await.unwrap().unwrap();
    drop(response);
    rig.fake.wait_for_abort(SOON).await;
}

#[tokio::test]
async fn the_demo_says_that_it_has_none_of_it() {
    let server = TestServer::demo().await;
    for (method, path) in
        [(Method::POST, "/v1/embeddings"), (Method::GET, "/v1/files"), (Method::POST, "/v1/images/edits")]
    {
        let answer = server.client().send(server.client().request(method, path)).await;
        assert_eq!(failed(&answer, 404)["type"], "invalid_request_error", "{path}");
    }
}
