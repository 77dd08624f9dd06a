//! What a person says while a response is being made: the response ends, and the next one answers that.

use fake_openai::{Chunking, Gate};
use tokio_tungstenite::tungstenite::Message;

use super::*;
use crate::support::eventually;
use crate::v1::KEY;

/// A socket whose frames are taken as they come: the published descriptions know no steering.
type Raw = tokio_tungstenite::WebSocketStream<tokio_tungstenite::MaybeTlsStream<tokio::net::TcpStream>>;

async fn socket_to(rig: &Rig) -> Raw {
    use tokio_tungstenite::tungstenite::client::IntoClientRequest;
    let url = format!("{}/v1/responses", rig.server.url.replace("http", "ws"));
    let mut request = url.into_client_request().unwrap();
    request.headers_mut().insert("authorization", format!("Bearer {KEY}").parse().unwrap());
    tokio_tungstenite::connect_async(request).await.unwrap().0
}

async fn say(socket: &mut Raw, frame: Value) {
    futures::SinkExt::send(socket, Message::Text(frame.to_string().into())).await.unwrap();
}

/// The next frame of this type, and the types of those before it.
async fn until(socket: &mut Raw, kind: &str) -> Value {
    loop {
        let next = tokio::time::timeout(crate::support::SOON, futures::StreamExt::next(socket));
        let Message::Text(text) = next.await.expect(kind).unwrap().unwrap() else { continue };
        let frame: Value = serde_json::from_str(&text).unwrap();
        if frame["type"] == kind {
            return frame;
        }
        assert!(frame["type"] != "error", "{frame}");
    }
}

#[tokio::test]
async fn a_steered_response_ends_and_the_next_one_answers() {
    let rig = Rig::new().await;
    let mut socket = socket_to(&rig).await;
    let conversation = rig.sdk().conversation(json!([])).await;
    for more in [json!({"store": false}), json!({"store": true}), json!({"conversation": conversation})] {
        let gate = Gate::new();
        rig.fake.push(Reply::text("Half").chunked(Chunking::Whole).then_wait(&gate).then_text(" and half"));
        let mut body = json!({"type": "response.create", "model": "m", "input": "Plan it.", "instructions": "Be brief.",
            "stream_id": "lane"});
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        say(&mut socket, body).await;
        let first = until(&mut socket, "response.created").await["response"]["id"].clone();
        until(&mut socket, "response.output_text.delta").await;
        say(&mut socket, json!({"type": "response.steer", "previous_response_id": first, "input": "Make it small."}))
            .await;
        let accepted = until(&mut socket, "response.steer.accepted").await;
        assert_eq!(accepted["steer"]["previous_response_id"], first);
        assert!(accepted["steer"]["id"].as_str().unwrap().starts_with("steer_"), "{accepted}");
        let ended = until(&mut socket, "response.incomplete").await["response"].clone();
        assert_eq!((&ended["id"], &ended["incomplete_details"]["reason"]), (&first, &json!("steered")));
        assert_eq!(text(&ended), "Half");
        let created = until(&mut socket, "response.created").await;
        assert_eq!(created["stream_id"], "lane");
        let next = until(&mut socket, "response.completed").await["response"].clone();
        assert_eq!((&next["id"], &next["instructions"]), (&created["response"]["id"], &json!("Be brief.")));
        assert_eq!((text(&next).as_str(), &next["store"]), ("Hello from the fake.", &ended["store"]));
        let told: Vec<String> = rig.told().into_iter().map(|(_, text)| text).collect();
        assert_eq!(told, ["Be brief.", "Plan it.", "Half", "Make it small."]);
        if more.get("conversation").is_none() {
            assert_eq!(next["previous_response_id"], first);
        }
        if more["store"] != false {
            let read = rig.get(&format!("/v1/responses/{}", id(&ended))).await.ok();
            assert_eq!(read["incomplete_details"]["reason"], "steered");
        }
    }
    eventually("the calls to the model are closed", async || rig.fake.in_flight() == 0).await;
}

#[tokio::test]
async fn several_at_once_are_answered_together_and_in_order() {
    let rig = Rig::new().await;
    let mut socket = socket_to(&rig).await;
    let gate = Gate::new();
    rig.fake.push(Reply::text("Never said").wait_first(&gate));
    say(&mut socket, json!({"type": "response.create", "model": "m", "input": "Plan it.", "store": false})).await;
    let first = until(&mut socket, "response.created").await["response"]["id"].clone();
    for input in [json!("One."), json!([{"role": "user", "content": [{"type": "input_text", "text": "Two."}]}])] {
        let steer = json!({"type": "response.steer", "previous_response_id": first, "input": input}).to_string();
        futures::SinkExt::feed(&mut socket, Message::Text(steer.into())).await.unwrap();
    }
    futures::SinkExt::flush(&mut socket).await.unwrap();
    until(&mut socket, "response.completed").await;
    assert_eq!(rig.told(), pairs(&[("user", "Plan it."), ("user", "One."), ("user", "Two.")]));
}

#[tokio::test]
async fn what_cannot_steer_is_given_back() {
    let rig = Rig::new().await;
    let mut socket = socket_to(&rig).await;
    let gate = Gate::new();
    rig.fake.push(Reply::text("Half").chunked(Chunking::Whole).then_wait(&gate).then_text(" and half"));
    say(&mut socket, json!({"type": "response.create", "model": "m", "input": "Plan it."})).await;
    let first = until(&mut socket, "response.created").await["response"]["id"].clone();
    until(&mut socket, "response.output_text.delta").await;
    for (previous, input, code) in [
        (json!("resp_other"), json!("x"), "response_not_found"),
        (first.clone(), json!(""), "invalid_input"),
        (first.clone(), json!(7), "invalid_input"),
        (first.clone(), json!([{"role": "assistant", "content": "x"}]), "invalid_input"),
        (first.clone(), json!([{"role": "user", "content": [{"type": "input_audio"}]}]), "invalid_input"),
    ] {
        say(&mut socket, json!({"type": "response.steer", "previous_response_id": previous, "input": input})).await;
        let failed = until(&mut socket, "response.steer.failed").await;
        assert_eq!((&failed["steer"]["previous_response_id"], &failed["steer"]["input"]), (&previous, &input));
        assert_eq!(failed["error"]["code"], code, "{failed}");
    }
    gate.open();
    assert_eq!(text(&until(&mut socket, "response.completed").await["response"]), "Half and half");
    say(&mut socket, json!({"type": "response.steer", "previous_response_id": first, "input": "Late."})).await;
    assert_eq!(until(&mut socket, "response.steer.failed").await["error"]["code"], "response_not_found");
}
