//! A response, plain and streamed: its object, its events, what the model is asked.

use super::*;

#[tokio::test]
async fn a_response_has_all_its_keys_and_asks_the_model_what_was_asked() {
    let rig = Rig::new().await;
    rig.fake.push(Reply::text("Hello!").usage(12, 3));
    let body = json!({"model": "m", "input": "Hi", "instructions": "Be brief.", "metadata": {"a": "b"}, "top_p": 0.5});
    let response = rig.respond(body).await;
    assert_eq!((text(&response).as_str(), &response["status"]), ("Hello!", &json!("completed")));
    assert_eq!(response["usage"]["total_tokens"], 15);
    assert_eq!((&response["instructions"], &response["metadata"]), (&json!("Be brief."), &json!({"a": "b"})));
    let asked = rig.fake.last().json.clone();
    let messages = json!([{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"}]);
    assert_eq!((&asked["messages"], &asked["top_p"]), (&messages, &json!(0.5)));
    assert_eq!(rig.sdk().response(id(&response)).await, response);
}

#[tokio::test]
async fn a_stream_has_the_events_of_the_specification_in_order() {
    let rig = Rig::new().await;
    rig.fake.push(Reply::pieces(["Hel", "lo"]));
    let events = rig.stream(ask("Hi")).await;
    let mut kinds = types(&events);
    kinds.dedup();
    let wanted = [
        "response.created",
        "response.in_progress",
        "response.output_item.added",
        "response.content_part.added",
        "response.output_text.delta",
        "response.output_text.done",
        "response.content_part.done",
        "response.output_item.done",
        "response.completed",
    ];
    assert_eq!(kinds, wanted);
    let last = &events.last().unwrap()["response"];
    assert_eq!(text(last), "Hello");
    let sdk = rig.sdk();
    assert_eq!(sdk.response(id(last)).await, *last);
    assert_eq!(sdk.resume(id(last), None).await.rest().await, events);
    assert_eq!(sdk.resume(id(last), Some(3)).await.rest().await, events[4..]);
}

#[tokio::test]
async fn every_answer_names_its_request() {
    let rig = Rig::new().await;
    let good = rig.post("/v1/responses", &ask("Hi")).await;
    let bad = rig.post("/v1/responses", &json!({"model": "m"})).await;
    let stream = rig.post("/v1/responses", &json!({"model": "m", "input": "Hi", "stream": true})).await;
    let names: Vec<&str> = [&good, &bad, &stream].map(|answer| answer.header("x-request-id").unwrap()).into();
    assert!(names[0] != names[1] && names[1] != names[2] && !names[0].is_empty(), "{names:?}");
}

/// Which form an answer has is for the body to say, not for `Accept`.
#[tokio::test]
async fn an_accept_header_changes_nothing() {
    let rig = Rig::new().await;
    let sdk = rig.sdk();
    for accept in ["application/json", "*/*", "text/event-stream", "text/html"] {
        let body = json!({"model": "m", "input": "Hi", "stream": true});
        let request = sdk.posting("/v1/responses", &body).header("accept", accept);
        let events = sdk.live(request.header("accept-encoding", "gzip, deflate"), None).await.rest().await;
        referee::judge(&events);
        let plain = sdk.send(sdk.posting("/v1/responses", &ask("Hi")).header("accept", accept)).await;
        assert_eq!(plain.header("content-type"), Some("application/json"), "{accept}");
        assert_eq!(plain.ok()["object"], "response");
    }
}
