//! What else a client says on a socket: prepare, cancel, a stream of its own, events that nobody knows, too much at once.

use fake_openai::{Gate, Reply};
use serde_json::{Value, json};

use super::sockets::socket_to;
use super::*;
use crate::support::SOON;

#[tokio::test]
async fn a_request_that_only_prepares_can_be_gone_on_from() {
    let rig = Rig::new().await;
    let mut socket = socket_to(&rig).await;
    for store in [false, true] {
        let before = rig.fake.chat_requests().len();
        let body = json!({"model": "m", "instructions": "Yes", "input": "Hello", "store": store,
            "generate": false, "tools": [function("f")]});
        socket.ask(body).await;
        let frames = socket.hear_all().await;
        assert_eq!(types(&frames), ["response.created", "response.in_progress", "response.completed"]);
        let prepared = &frames.last().unwrap()["response"];
        assert_eq!((&prepared["status"], &prepared["output"]), (&json!("completed"), &json!([])));
        assert_eq!(rig.fake.chat_requests().len(), before, "no model is asked");
        let next = json!({"model": "m", "input": "And now?", "store": store, "previous_response_id": prepared["id"]});
        assert_eq!(socket.respond(next).await["status"], "completed");
        assert_eq!(rig.told(), pairs(&[("user", "Hello"), ("user", "And now?")]));
    }
    // In a conversation it is listed.
    let conversation = rig.sdk().conversation(json!([])).await;
    socket.respond(json!({"model": "m", "input": "Noted.", "conversation": conversation, "generate": false})).await;
    let items = rig.sdk().items(&conversation).await;
    assert_eq!((items.len(), &items[0]["status"]), (1, &json!("completed")));
}

#[tokio::test]
async fn a_response_is_cancelled_on_its_socket() {
    let rig = Rig::new().await;
    let mut socket = socket_to(&rig).await;
    for (store, named) in [(false, true), (true, true), (false, false)] {
        let gate = Gate::new();
        rig.fake.push(Reply::text("begun").then_wait(&gate).then_text(" and done"));
        socket.ask(json!({"model": "m", "input": "Hi", "store": store})).await;
        let created = socket.hear().await;
        while socket.hear().await["type"] != "response.output_text.delta" {}
        let mut cancel = json!({"type": "response.cancel"});
        if named {
            cancel["response_id"] = created["response"]["id"].clone();
        }
        socket.say(cancel.to_string()).await;
        let end = socket.hear_all().await.pop().unwrap();
        assert_eq!(end["response"]["status"], "cancelled", "{end}");
        assert_eq!(text(&end["response"]), "begun");
        // The socket goes on, and so does the chain.
        let next =
            json!({"model": "m", "input": "Go on.", "store": store, "previous_response_id": end["response"]["id"]});
        assert_eq!(socket.respond(next).await["status"], "completed");
        assert_eq!(rig.told()[1].1, "begun");
    }
}

#[tokio::test]
async fn another_response_of_the_same_client_is_cancelled_by_its_id() {
    let rig = Rig::new().await;
    let gate = Gate::new();
    rig.fake.push(Reply::text("begun").then_wait(&gate));
    let running = rig.respond(json!({"model": "m", "input": "Hi", "background": true})).await;
    rig.fake.wait_for_calls(1, SOON).await;
    let mut socket = socket_to(&rig).await;
    socket.say(json!({"type": "response.cancel", "response_id": running["id"]}).to_string()).await;
    let path = format!("/v1/responses/{}", id(&running));
    crate::support::eventually("it is cancelled", async || rig.get(&path).await.ok()["status"] == "cancelled").await;
    for (id, status, code) in [
        (running["id"].clone(), 400, "response_cancel_not_active"),
        (json!("resp_00000000000000000000000000000000"), 404, "response_not_found"),
        (json!("nonsense"), 404, "response_not_found"),
        (Value::Null, 400, "response_cancel_not_active"),
    ] {
        socket.say(json!({"type": "response.cancel", "response_id": id}).to_string()).await;
        let frame = socket.hear().await;
        assert_eq!((&frame["status"], &frame["error"]["code"]), (&json!(status), &json!(code)), "{frame}");
    }
}

#[tokio::test]
async fn an_event_that_is_not_known_is_named_and_the_socket_stays() {
    let rig = Rig::new().await;
    let mut socket = socket_to(&rig).await;
    for kind in ["response.inject", "session.update", "response.create.later"] {
        socket.say(json!({"type": kind, "input": "x"}).to_string()).await;
        let frame = socket.hear().await;
        assert_eq!((&frame["type"], &frame["status"]), (&json!("error"), &json!(400)));
        assert_eq!(frame["error"]["param"], "type");
        assert!(frame["error"]["message"].as_str().unwrap().contains(kind), "{frame}");
    }
    assert_eq!(socket.respond(json!({"model": "m", "input": "Hi"})).await["status"], "completed");
}

#[tokio::test]
async fn frames_say_which_stream_of_the_client_they_belong_to() {
    let rig = Rig::new().await;
    let mut socket = socket_to(&rig).await;
    socket.ask(json!({"model": "m", "input": "Hi", "stream_id": "agent_1"})).await;
    let frames = socket.hear_all().await;
    assert!(frames.iter().all(|frame| frame["stream_id"] == "agent_1"), "{frames:?}");
    let refused = socket.refused(json!({"model": "m", "input": "Hi", "stream_id": "agent_2", "temperature": 9})).await;
    assert_eq!(refused["stream_id"], "agent_2");
    socket.ask(json!({"model": "m", "input": "Hi"})).await;
    assert!(socket.hear_all().await.iter().all(|frame| frame.get("stream_id").is_none()));
}

/// What is wrong with it is found before a model is asked; the client is told to begin anew all the same.
#[tokio::test]
async fn a_continuation_that_is_refused_takes_the_response_before_it_along() {
    let rig = Rig::new().await;
    let mut socket = socket_to(&rig).await;
    for store in [false, true] {
        let first = socket.respond(json!({"model": "m", "input": "one", "store": false})).await;
        let mut go_on = json!({"model": "m", "input": "two", "store": store, "previous_response_id": first["id"]});
        go_on["temperature"] = 9.into();
        assert_eq!(socket.refused(go_on.clone()).await["error"]["param"], "temperature");
        go_on["temperature"] = 1.into();
        assert_eq!(socket.refused(go_on).await["error"]["code"], "previous_response_not_found");
    }
    // One that is stored does not live with the socket.
    let first = socket.respond(json!({"model": "m", "input": "one"})).await;
    let mut go_on = json!({"model": "m", "input": "two", "previous_response_id": first["id"], "temperature": 9});
    socket.refused(go_on.clone()).await;
    go_on["temperature"] = 1.into();
    assert_eq!(socket.respond(go_on).await["status"], "completed");
}

#[tokio::test]
async fn messages_that_wait_on_a_socket_count_among_all_bodies() {
    let setup = Setup::default().set("MAX_BODY_BYTES", "200000").set("MAX_BODIES_BYTES", "200000");
    let rig = Rig::with(setup, |settings| settings).await;
    let mut socket = socket_to(&rig).await;
    let gate = Gate::new();
    rig.fake.push(Reply::text("first").then_wait(&gate));
    socket.ask(json!({"model": "m", "input": "0"})).await;
    rig.fake.wait_for_calls(1, SOON).await;
    let large = json!({"model": "m", "input": "Hi", "metadata_of_mine": "x".repeat(150_000)});
    socket.ask(large.clone()).await;
    socket.ask(large.clone()).await;
    let mut frame = socket.hear().await;
    while frame["type"] != "error" {
        frame = socket.hear().await;
    }
    assert_eq!((&frame["status"], &frame["error"]["code"]), (&json!(503), &json!("server_overloaded")));
    gate.open();
    for _ in 0..2 {
        assert_eq!(socket.hear_all().await.last().unwrap()["type"], "response.completed");
    }
    assert_eq!(socket.respond(large).await["status"], "completed", "the room is free again");
}
