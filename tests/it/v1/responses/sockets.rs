//! Responses over a WebSocket: several on one socket, chains that live with it, and what it refuses.

use fake_openai::{Gate, Reply};
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Error;

use super::*;
use crate::support::socket::Socket;
use crate::support::{SOON, eventually};
use crate::v1::KEY;

/// A socket of the client with the key.
pub async fn socket_to(rig: &Rig) -> Socket {
    Socket::open(&rig.server.url, &[("authorization", &format!("Bearer {KEY}"))]).await.unwrap()
}

#[tokio::test]
async fn a_socket_makes_one_response_after_another() {
    let rig = Rig::new().await;
    let mut socket = socket_to(&rig).await;
    rig.fake.push(Reply::pieces(["Hel", "lo"]));
    socket.ask(json!({"model": "m", "input": "Hi"})).await;
    let frames = socket.hear_all().await;
    assert_eq!(types(&frames)[..2], ["response.created", "response.in_progress"]);
    let numbers: Vec<u64> = frames.iter().map(|frame| frame["sequence_number"].as_u64().unwrap()).collect();
    assert_eq!(numbers, (0..frames.len() as u64).collect::<Vec<_>>());
    let first = &frames.last().unwrap()["response"];
    let second = socket.respond(json!({"model": "m", "input": "And?", "previous_response_id": first["id"]})).await;
    assert_eq!(second["previous_response_id"], first["id"]);
    let asked = rig.fake.last().json.clone();
    assert_eq!(asked["messages"].as_array().unwrap().len(), 3);
    let stored = rig.get(&format!("/v1/responses/{}", second["id"].as_str().unwrap())).await.ok();
    assert_eq!(stored, second);
}

/// Whether a response on this socket can go on from `previous`.
async fn goes_on_from(socket: &mut Socket, previous: &Value) -> bool {
    socket.ask(json!({"model": "m", "input": "And?", "store": false, "previous_response_id": previous["id"]})).await;
    let first = socket.hear().await;
    if first["type"] == "error" {
        assert_eq!(first["error"]["code"], "previous_response_not_found");
        return false;
    }
    socket.hear_all().await.last().unwrap()["type"] == "response.completed"
}

#[tokio::test]
async fn a_socket_keeps_its_latest_responses_and_no_more() {
    let rig = Rig::new().await;
    let mut socket = socket_to(&rig).await;
    let mut made = Vec::new();
    for n in 0..17 {
        made.push(socket.respond(json!({"model": "m", "input": format!("{n}"), "store": false})).await);
    }
    assert!(!goes_on_from(&mut socket, &made[0]).await);
    assert!(goes_on_from(&mut socket, &made[16]).await);
    // A few large ones take the place of many.
    let image = format!("data:image/png;base64,{}", "A".repeat(900_000));
    let large = json!([{"role": "user", "content": [{"type": "input_image", "image_url": image}]}]);
    let mut large_ones = Vec::new();
    for _ in 0..10 {
        large_ones.push(socket.respond(json!({"model": "m", "input": large, "store": false})).await);
    }
    assert!(!goes_on_from(&mut socket, &made[16]).await, "the small ones are gone");
    assert!(!goes_on_from(&mut socket, &large_ones[0]).await, "ten of these are too much");
    assert!(goes_on_from(&mut socket, &large_ones[9]).await);
}

/// A chain that grows beyond what a socket keeps ends there, instead of growing on.
#[tokio::test]
async fn a_chain_that_is_too_large_to_keep_is_begun_anew() {
    let rig = Rig::new().await;
    let mut socket = socket_to(&rig).await;
    let image = format!("data:image/png;base64,{}", "A".repeat(900_000));
    let mut body = json!({"model": "m", "store": false, "truncation": "auto",
        "input": [{"role": "user", "content": [{"type": "input_image", "image_url": image}]}]});
    for _ in 0..10 {
        let response = socket.respond(body.clone()).await;
        body["previous_response_id"] = response["id"].clone();
    }
    let refusal = socket.refused(body).await;
    assert_eq!(refusal["error"]["code"], "previous_response_not_found");
}

#[tokio::test]
async fn a_chain_that_is_not_stored_lives_with_its_socket() {
    let rig = Rig::new().await;
    let mut socket = socket_to(&rig).await;
    let first = socket.respond(json!({"model": "m", "input": "one", "store": false})).await;
    let go_on = json!({"model": "m", "input": "two", "store": false, "previous_response_id": first["id"]});
    let second = socket.respond(go_on.clone()).await;
    let asked = rig.fake.last().json.clone();
    assert_eq!((asked["messages"].as_array().unwrap().len(), &asked["messages"][0]["content"]), (3, &json!("one")));
    // Neither the store nor another socket has it.
    for response in [&first, &second] {
        let path = format!("/v1/responses/{}", response["id"].as_str().unwrap());
        assert_eq!(failed(&rig.get(&path).await, 404)["code"], "response_not_found");
    }
    let mut other = socket_to(&rig).await;
    let refusal = other.refused(go_on.clone()).await;
    assert_eq!((&refusal["status"], &refusal["error"]["code"]), (&json!(400), &json!("previous_response_not_found")));
    // What goes on from it may be stored, with what was said before.
    let mut kept = go_on;
    kept["store"] = true.into();
    let third = socket.respond(kept).await;
    let next = json!({"model": "m", "input": "four", "previous_response_id": third["id"]});
    rig.respond(next).await;
    assert_eq!(rig.fake.last().json["messages"].as_array().unwrap().len(), 5);
}

#[tokio::test]
async fn a_response_that_fails_takes_the_one_before_it_along() {
    let rig = Rig::new().await;
    let mut socket = socket_to(&rig).await;
    let first = socket.respond(json!({"model": "m", "input": "one", "store": false})).await;
    let go_on = json!({"model": "m", "input": "two", "store": false, "previous_response_id": first["id"]});
    rig.fake.push(Reply::raw(500, "text/plain", "oops"));
    assert_eq!(socket.refused(go_on.clone()).await["error"]["type"], "api_error");
    assert_eq!(socket.refused(go_on).await["error"]["code"], "previous_response_not_found");
}

#[tokio::test]
async fn requests_that_come_too_soon_wait_and_too_many_are_refused() {
    let rig = Rig::new().await;
    let mut socket = socket_to(&rig).await;
    let gate = Gate::new();
    rig.fake.push(Reply::text("first").then_wait(&gate));
    socket.ask(json!({"model": "m", "input": "0"})).await;
    rig.fake.wait_for_calls(1, SOON).await;
    for n in 1..=9 {
        socket.ask(json!({"model": "m", "input": n.to_string()})).await;
    }
    let mut frame = socket.hear().await;
    while frame["type"] != "error" {
        frame = socket.hear().await;
    }
    assert_eq!((&frame["status"], &frame["error"]["code"]), (&json!(429), &json!("too_many_waiting")));
    gate.open();
    for _ in 0..9 {
        assert_eq!(socket.hear_all().await.last().unwrap()["type"], "response.completed");
    }
    let said: Vec<String> =
        rig.fake.chat_requests().iter().map(|asked| asked.json["messages"][0]["content"].to_string()).collect();
    assert_eq!(said, (0..9).map(|n| format!("\"{n}\"")).collect::<Vec<_>>());
}

#[tokio::test]
async fn what_is_no_request_gets_a_clear_frame_and_the_socket_stays() {
    let rig = Rig::new().await;
    let mut socket = socket_to(&rig).await;
    for (text, param) in [
        ("not json", Value::Null),
        (r#"{"type":"session.update"}"#, json!("type")),
        (r#"{"type":"response.create","input":"x"}"#, json!("model")),
        (r#"{"type":"response.create","model":"m"}"#, json!("input")),
        (r#"{"type":"response.create","model":"m","input":"x","stream":"yes"}"#, json!("stream")),
    ] {
        socket.say(text.to_owned()).await;
        let frame = socket.hear().await;
        assert_eq!((&frame["type"], &frame["status"]), (&json!("error"), &json!(400)), "{frame}");
        assert_eq!(frame["error"]["param"], param, "{text}");
    }
    assert_eq!(socket.respond(json!({"model": "m", "input": "Hi"})).await["status"], "completed");
}

#[tokio::test]
async fn fields_that_a_socket_has_no_use_for_are_taken() {
    let rig = Rig::new().await;
    let mut socket = socket_to(&rig).await;
    for more in [
        json!({"stream": true}),
        json!({"stream": false, "stream_options": {"include_obfuscation": false}}),
        json!({"background": true}),
        json!({"client_metadata": {"a": "b"}}),
    ] {
        let mut body = json!({"model": "m", "input": "Hi"});
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        assert_eq!(socket.respond(body).await["status"], "completed", "{more}");
    }
}

#[tokio::test]
async fn a_client_that_leaves_stops_what_is_not_stored_and_nothing_else() {
    for store in [false, true] {
        let rig = Rig::new().await;
        let mut socket = socket_to(&rig).await;
        let gate = Gate::new();
        rig.fake.push(Reply::text("begun").then_wait(&gate).then_text(" and done"));
        socket.ask(json!({"model": "m", "input": "Hi", "store": store})).await;
        let created = socket.hear().await;
        while socket.hear().await["type"] != "response.output_text.delta" {}
        drop(socket);
        if store {
            gate.open();
            let path = format!("/v1/responses/{}", created["response"]["id"].as_str().unwrap());
            let is_done = async || rig.get(&path).await.ok()["status"] == "completed";
            eventually("the response goes on", is_done).await;
        } else {
            eventually("the call is closed", async || rig.fake.aborted().len() == 1).await;
        }
    }
}

#[tokio::test]
async fn only_whom_the_door_lets_in_and_pages_of_this_site_open_a_socket() {
    let rig = Rig::new().await;
    let key = format!("Bearer {KEY}");
    let own = rig.server.url.clone();
    let status = async |headers: &[(&'static str, &str)]| match Socket::open(&rig.server.url, headers).await {
        Ok(_) => 101,
        Err(Error::Http(response)) => response.status().as_u16(),
        Err(error) => panic!("{error}"),
    };
    assert_eq!(status(&[]).await, 401);
    assert_eq!(status(&[("authorization", &key), ("origin", "https://evil.example")]).await, 403);
    assert_eq!(status(&[("authorization", &key), ("origin", "null")]).await, 403);
    assert_eq!(status(&[("authorization", &key), ("origin", &own)]).await, 101);
    assert_eq!(status(&[("authorization", &key)]).await, 101);
    assert_eq!(failed(&rig.get("/v1/responses").await, 426)["code"], "upgrade_required");
}

#[tokio::test]
async fn a_server_that_stops_says_so_on_its_sockets() {
    let rig = Rig::with(Setup::default().set("SHUTDOWN_GRACE", "100ms"), |settings| settings).await;
    let mut socket = socket_to(&rig).await;
    socket.respond(json!({"model": "m", "input": "Hi"})).await;
    let Rig { server, .. } = rig;
    let (_, frame) = futures::future::join(server.stop(), socket.hear()).await;
    assert_eq!((&frame["status"], &frame["error"]["code"]), (&json!(503), &json!("server_stopping")));
}
