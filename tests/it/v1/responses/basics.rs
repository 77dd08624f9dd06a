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
    let again = rig.get(&format!("/v1/responses/{}", response["id"].as_str().unwrap())).await.ok();
    assert_eq!(again, response);
}

#[tokio::test]
async fn a_stream_has_the_events_of_the_specification_in_order() {
    let rig = Rig::new().await;
    rig.fake.push(Reply::pieces(["Hel", "lo"]));
    let events = rig.stream(json!({"model": "m", "input": "Hi"})).await;
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
    schema::check_response(last);
    assert_eq!(text(last), "Hello");
    let id = last["id"].as_str().unwrap();
    assert_eq!(rig.get(&format!("/v1/responses/{id}")).await.ok(), *last);
    assert_eq!(super::events(&rig.get(&format!("/v1/responses/{id}?stream=true")).await), events);
    let rest = rig.get(&format!("/v1/responses/{id}?stream=true&starting_after=3")).await;
    assert_eq!(super::events(&rest), events[4..]);
}

#[tokio::test]
async fn a_chain_goes_on_and_branches() {
    let rig = Rig::new().await;
    let first = rig.respond(json!({"model": "m", "input": "one"})).await;
    let go_on = |input: &str| json!({"model": "m", "input": input, "previous_response_id": first["id"]});
    rig.respond(go_on("two")).await;
    let said = |rig: &Rig| {
        let asked = rig.fake.last().json.clone();
        let messages = asked["messages"].as_array().unwrap().clone();
        messages.iter().map(|message| message["content"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    let one = said(&rig);
    assert_eq!((one.len(), one[0].as_str(), one[2].as_str()), (3, "one", "two"));
    rig.respond(go_on("three")).await;
    let other = said(&rig);
    assert_eq!((other.len(), other[0].as_str(), other[2].as_str()), (3, "one", "three"));
    let unknown = json!({"model": "m", "input": "x", "previous_response_id": "resp_unknown"});
    let error = failed(&rig.post("/v1/responses", &unknown).await, 400);
    assert_eq!(error["code"], "previous_response_not_found");
}

#[tokio::test]
async fn what_is_not_to_be_stored_leaves_nothing() {
    let rig = Rig::new().await;
    let response = rig.respond(json!({"model": "m", "input": "one", "store": false})).await;
    let path = format!("/v1/responses/{}", response["id"].as_str().unwrap());
    assert_eq!(failed(&rig.get(&path).await, 404)["code"], "response_not_found");
}

#[tokio::test]
async fn a_conversation_gains_exactly_input_and_output() {
    let rig = Rig::new().await;
    let conversation =
        rig.post("/v1/conversations", &json!({"items": [{"role": "user", "content": "Remember 7."}]})).await.ok();
    let id = conversation["id"].as_str().unwrap().to_owned();
    rig.fake.push(Reply::text("Seven."));
    rig.respond(json!({"model": "m", "input": "Which?", "conversation": id})).await;
    let items = rig.get(&format!("/v1/conversations/{id}/items?order=asc")).await.ok();
    let texts: Vec<&str> =
        items["data"].as_array().unwrap().iter().map(|item| item["content"][0]["text"].as_str().unwrap()).collect();
    assert_eq!(texts, ["Remember 7.", "Which?", "Seven."]);
}
