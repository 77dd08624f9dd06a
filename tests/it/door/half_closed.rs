//! A client that has closed its side of the connection still waits for its answer; one that is gone does not.

use fake_openai::Gate;
use serde_json::json;

use crate::support::client::Client;
use crate::support::eventually;
use crate::support::raw::Raw;
use crate::support::script::{Script, say, wait};
use crate::support::server::{Setup, TestServer};

/// Says half, waits for the gate, says the rest.
async fn server(gate: &Gate) -> (TestServer, std::sync::Arc<Script>) {
    let gate = gate.clone();
    let script = Script::new(move |_, prompt| match prompt {
        "silent" => vec![wait(&gate), say("Whole")],
        _ => vec![say("Half "), wait(&gate), say("and half")],
    });
    (Setup::default().upstream(script.clone()).start().await, script)
}

fn post(version: &str, body: &serde_json::Value) -> String {
    let body = body.to_string();
    let head = "host: test\r\ncontent-type: application/json\r\nconnection: keep-alive";
    format!("POST /chat HTTP/{version}\r\n{head}\r\ncontent-length: {}\r\n\r\n{body}", body.len())
}

/// The answers to a client that asks and then closes its side, without interim ones.
async fn answered(raw: &mut Raw) -> String {
    let all = raw.until_closed().await;
    all.replace("HTTP/1.1 100 Continue\r\n\r\n", "")
}

#[tokio::test]
async fn a_client_that_sends_nothing_more_gets_its_whole_answer() {
    for (version, stream, on_disconnect, prompt) in [
        ("1.1", false, "continue", "x"),
        ("1.1", false, "cancel", "x"),
        ("1.1", true, "continue", "x"),
        ("1.1", true, "cancel", "x"),
        ("1.1", true, "cancel", "silent"),
        ("1.0", false, "cancel", "x"),
    ] {
        let gate = Gate::new();
        // Fresh, so that the request is all that it has seen.
        let (server, script) = server(&gate).await;
        let mut raw = Raw::connect(&server).await;
        let body = json!({"prompt": prompt, "stream": stream, "onDisconnect": on_disconnect});
        raw.send(post(version, &body)).await;
        raw.half_close().await;
        script.called(1).await;
        gate.open();
        let answer = answered(&mut raw).await;
        let case = format!("{version} {stream} {on_disconnect} {prompt}: {answer}");
        assert!(answer.starts_with(&format!("HTTP/{version} 200 OK\r\n")), "{case}");
        let (end, whole) =
            (if stream { "event: completed" } else { "" }, if prompt == "x" { "Half and half" } else { "Whole" });
        assert!(answer.contains(end) && answer.contains(&format!("\"content\":\"{whole}\"")), "{case}");
        assert_eq!(script.left(), 0, "{case}");
    }
}

#[tokio::test]
async fn requests_that_came_before_are_all_answered() {
    let gate = Gate::new();
    gate.open();
    let (server, _) = server(&gate).await;
    let mut raw = Raw::connect(&server).await;
    let body = json!({"prompt": "x"});
    raw.send(post("1.1", &body) + &post("1.1", &body)).await;
    raw.half_close().await;
    let answers = answered(&mut raw).await;
    assert_eq!(answers.matches("HTTP/1.1 200 OK").count(), 2, "{answers}");
    assert_eq!(answers.matches("\"content\":\"Half and half\"").count(), 2, "{answers}");
}

#[tokio::test]
async fn a_client_that_is_gone_is_noticed_whatever_it_waits_for() {
    for (stream, prompt) in [(false, "x"), (true, "silent"), (true, "x")] {
        let gate = Gate::new();
        let (server, script) = server(&gate).await;
        let mut raw = Raw::connect(&server).await;
        raw.send(post("1.1", &json!({"prompt": prompt, "stream": stream, "onDisconnect": "cancel"}))).await;
        script.called(1).await;
        if stream && prompt == "x" {
            raw.until("Half").await;
        }
        drop(raw);
        eventually("the model is left", async || script.left() == 1).await;
    }
}

#[tokio::test]
async fn a_body_that_ends_too_early_is_answered() {
    let server = TestServer::demo().await;
    let mut raw = Raw::connect(&server).await;
    raw.send("POST /chat HTTP/1.1\r\nhost: test\r\ncontent-type: application/json\r\ncontent-length: 99\r\n\r\n{")
        .await;
    raw.half_close().await;
    raw.until_closed().await;
    assert!(Client::new(&server.url).history().await.is_empty());
}
