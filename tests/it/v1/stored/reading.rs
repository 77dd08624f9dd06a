//! Kept completions listed, read, described and deleted, by their owner and no other.

use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};

use super::{PATH, kept, list, reply, told};
use crate::on_every_store;
use crate::support::client::Client;
use crate::support::instance::Ground;
use crate::support::schema::{Spec, check};
use crate::support::server::{Setup, TestServer};
use crate::v1::{KEY, Rig, failed};

const OTHER_KEY: &str = "canary-other-key-0123456789";

#[tokio::test]
async fn lists_go_page_by_page_and_by_filter() {
    let rig = Rig::new().await;
    let none = rig.get(PATH).await.ok();
    assert_eq!(none, json!({"object": "list", "data": [], "first_id": "", "last_id": "", "has_more": false}));
    let mut ids = Vec::new();
    for number in 0..25 {
        let mut body = kept(false);
        body["metadata"] = json!({"number": number.to_string(), "odd": (number % 2 == 1).to_string(), "a b": "é&="});
        rig.fake.push(reply(&Value::Null, false, "Hello").model("x"));
        body["model"] = json!(if number % 3 == 0 { "three" } else { "m" });
        ids.push(told(&rig.complete(&body).await, false));
    }
    let page = async |query: &str| {
        let page = rig.get(&format!("{PATH}?{query}")).await.ok();
        check(Spec::OpenAi, "ChatCompletionList", &page);
        let found: Vec<String> =
            page["data"].as_array().unwrap().iter().map(|found| found["id"].as_str().unwrap().to_owned()).collect();
        let ends = [&page["first_id"], &page["last_id"]].map(|id| id.as_str().unwrap().to_owned());
        assert_eq!(ends, [found.first(), found.last()].map(|id| id.cloned().unwrap_or_default()));
        (found, page["has_more"].as_bool().unwrap())
    };
    assert_eq!(page("").await, (ids[..20].to_vec(), true));
    assert_eq!(page("limit=25").await, (ids.clone(), false));
    assert_eq!(page(&format!("limit=3&after={}", ids[20])).await, (ids[21..24].to_vec(), true));
    assert_eq!(page(&format!("after={}", ids[24])).await, (vec![], false));
    let newest: Vec<String> = ids.iter().rev().cloned().collect();
    assert_eq!(page(&format!("order=desc&limit=5&after={}", ids[23])).await, (newest[2..7].to_vec(), true));
    let every = |step: usize, from: usize| ids.iter().skip(from).step_by(step).cloned().collect::<Vec<_>>();
    assert_eq!(page("metadata[odd]=true&limit=100").await, (every(2, 1), false));
    assert_eq!(page("metadata%5Bodd%5D=true&limit=12").await, (every(2, 1), false));
    assert_eq!(page("metadata[odd]=true&limit=11").await, (every(2, 1)[..11].to_vec(), true));
    assert_eq!(page("metadata[odd]=true&metadata[number]=7").await, (vec![ids[7].clone()], false));
    assert_eq!(page("metadata%5Ba+b%5D=%C3%A9%26%3D&limit=2").await.0.len(), 2);
    for nothing in ["metadata[odd]=TRUE", "metadata[none]=x", "metadata[]=", "model=none", "model="] {
        assert_eq!(page(nothing).await, (vec![], false), "{nothing}");
    }
    assert_eq!(page("model=m-1&limit=100").await, (ids.clone(), false));
    for (query, param) in [
        ("limit=0", "limit"),
        ("limit=101", "limit"),
        ("limit=x", "limit"),
        ("order=up", "order"),
        ("after=nothing", "after"),
        ("after=", "after"),
        ("metadata=x", "metadata"),
    ] {
        assert_eq!(failed(&rig.get(&format!("{PATH}?{query}")).await, 400)["param"], param, "{query}");
    }
}

#[tokio::test]
async fn what_was_asked_is_listed_message_by_message() {
    let rig = Rig::new().await;
    let parts = json!([{"type": "text", "text": "What is it?"}, {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}}]);
    let call = json!([{"id": "call_1", "type": "function", "function": {"name": "f", "arguments": "{}"}}]);
    let mut body = kept(false);
    body["messages"] = json!([
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": parts, "name": "Ada"},
        {"role": "assistant", "content": null, "tool_calls": call},
        {"role": "tool", "tool_call_id": "call_1", "content": "A lighthouse"},
    ]);
    let id = told(&rig.complete(&body).await, false);
    let path = format!("{PATH}/{id}/messages");
    let page = rig.get(&path).await.ok();
    let listed = page["data"].as_array().unwrap();
    let ids: Vec<&str> = listed.iter().map(|message| message["id"].as_str().unwrap()).collect();
    assert_eq!(ids, [0, 1, 2, 3].map(|place| format!("{id}-{place}")));
    assert_eq!(
        (&page["first_id"], &page["last_id"], &page["has_more"]),
        (&json!(ids[0]), &json!(ids[3]), &json!(false))
    );
    assert_eq!(
        listed[0],
        json!({"id": ids[0], "role": "system", "content": "Be brief.", "content_parts": null, "name": null, "refusal": null})
    );
    assert_eq!(
        (&listed[1]["content"], &listed[1]["content_parts"], &listed[1]["name"]),
        (&Value::Null, &parts, &json!("Ada"))
    );
    assert_eq!((&listed[2]["tool_calls"], &listed[3]["tool_call_id"]), (&call, &json!("call_1")));
    let ids_of = async |query: &str| {
        let page = rig.get(&format!("{path}?{query}")).await.ok();
        let ids: Vec<String> =
            page["data"].as_array().unwrap().iter().map(|message| message["id"].as_str().unwrap().to_owned()).collect();
        (ids, page["has_more"].as_bool().unwrap())
    };
    let own = |places: &[usize]| places.iter().map(|place| format!("{id}-{place}")).collect::<Vec<_>>();
    assert_eq!(ids_of("limit=2").await, (own(&[0, 1]), true));
    assert_eq!(ids_of(&format!("limit=2&after={id}-1")).await, (own(&[2, 3]), false));
    assert_eq!(ids_of(&format!("order=desc&after={id}-2")).await, (own(&[1, 0]), false));
    for (query, param) in [("after=x", "after"), ("limit=0", "limit"), ("order=x", "order")] {
        assert_eq!(failed(&rig.get(&format!("{path}?{query}")).await, 400)["param"], param);
    }
    let plain = told(&rig.complete(&kept(false)).await, false);
    check(Spec::OpenAi, "ChatCompletionMessageList", &rig.get(&format!("{PATH}/{plain}/messages")).await.ok());
}

#[tokio::test]
async fn metadata_is_replaced_and_a_completion_deleted() {
    let rig = Rig::new().await;
    let ids = [told(&rig.complete(&kept(false)).await, false), told(&rig.complete(&kept(true)).await, true)];
    let path = format!("{PATH}/{}", ids[0]);
    let update =
        |body: &str| rig.request(Method::POST, &path).header("content-type", "application/json").body(body.to_owned());
    let before = rig.get(&path).await.ok();
    for (body, param, code) in [
        ("{}", "metadata", "missing_required_parameter"),
        (r#"{"metadata":1}"#, "metadata", "invalid_type"),
        (r#"{"metadata":{"a":1}}"#, "metadata", "invalid_type"),
    ] {
        let error = failed(&rig.client.send(update(body)).await, 400);
        assert_eq!((error["param"].as_str(), error["code"].as_str()), (Some(param), Some(code)));
    }
    failed(&rig.client.send(update("{")).await, 400);
    assert_eq!(rig.get(&path).await.ok(), before);
    let after = rig.client.send(update(r#"{"metadata":{"a":"b"},"model":"x"}"#)).await.ok();
    assert_eq!(after["metadata"], json!({"a": "b"}));
    check(Spec::OpenAi, "CreateChatCompletionResponse", &after);
    assert_eq!(rig.get(&path).await.ok(), after);
    assert_eq!(rig.client.send(update(r#"{"metadata":null}"#)).await.ok()["metadata"], json!({}));
    assert_eq!(list(&rig).await[0]["id"], ids[0], "it keeps its place");
    assert_eq!(rig.get(&format!("{path}/messages")).await.ok()["data"].as_array().unwrap().len(), 1);

    let gone = rig.client.send(rig.request(Method::DELETE, &path)).await.ok();
    check(Spec::OpenAi, "ChatCompletionDeleted", &gone);
    assert_eq!(gone, json!({"object": "chat.completion.deleted", "id": ids[0], "deleted": true}));
    for request in [rig.request(Method::DELETE, &path), rig.request(Method::GET, &path), update(r#"{"metadata":{}}"#)] {
        let error = failed(&rig.client.send(request).await, 404);
        assert_eq!(
            (error["param"].as_str(), error["code"].as_str()),
            (Some("completion_id"), Some("chat_completion_not_found"))
        );
    }
    let left: Vec<Value> = list(&rig).await.iter().map(|found| found["id"].clone()).collect();
    assert_eq!(left, [json!(ids[1])]);
}

/// Every route that takes an id, as one client asks it.
fn doors(client: &Client, key: Option<&str>, id: &str) -> Vec<RequestBuilder> {
    let request = |method: Method, path: String| {
        let request = client.request(method, &path);
        if let Some(key) = key { request.bearer_auth(key) } else { request }
    };
    let json =
        |request: RequestBuilder| request.header("content-type", "application/json").body(r#"{"metadata":{"a":"b"}}"#);
    vec![
        request(Method::GET, format!("{PATH}/{id}")),
        json(request(Method::POST, format!("{PATH}/{id}"))),
        request(Method::GET, format!("{PATH}/{id}/messages")),
        request(Method::GET, format!("{PATH}?after={id}")),
        request(Method::DELETE, format!("{PATH}/{id}")),
    ]
}

async fn said(client: &Client, request: RequestBuilder) -> (u16, String) {
    let answer = client.send(request).await;
    (answer.status.as_u16(), answer.text)
}

#[tokio::test]
async fn anothers_ids_look_unknown() {
    let setup = Setup::default().set("API_KEYS", &format!("web:{KEY},other:{OTHER_KEY},web:{KEY}-two"));
    let server = setup.start().await;
    let (ada, eve, program) = (server.client(), server.client(), server.client());
    ada.say("I am here").await.ok();
    eve.say("I am another person").await.ok();
    let hers = told(&ada.post(PATH, &kept(false)).await, false);
    let webs = program.send(program.json(PATH, &kept(true)).bearer_auth(KEY)).await;
    let webs = told(&webs, true);
    let unknown = format!("chatcmpl-{}", "0".repeat(32));
    let strangers = [(&eve, None, [&hers, &webs]), (&program, Some(OTHER_KEY), [&hers, &webs])];
    for (client, key, ids) in strangers {
        let mut expected = Vec::new();
        for request in doors(client, key, &unknown) {
            expected.push(said(client, request).await);
        }
        assert!(expected.iter().all(|(status, _)| [400, 404].contains(status)), "{expected:?}");
        for id in ids {
            for (request, expected) in doors(client, key, id).into_iter().zip(&expected) {
                assert_eq!(&said(client, request).await, expected);
            }
        }
        let request = client.request(Method::GET, PATH);
        let request = if let Some(key) = key { request.bearer_auth(key) } else { request };
        assert_eq!(client.send(request).await.ok()["data"], json!([]));
    }
    // Nothing of it is gone or changed; two keys of one name are one owner.
    assert_eq!(ada.get(&format!("{PATH}/{hers}")).await.ok()["metadata"], json!({"topic": "lighthouses"}));
    let second = format!("{KEY}-two");
    for request in doors(&program, Some(&second), &webs) {
        assert_eq!(said(&program, request).await.0, 200);
    }
    // What a session kept goes with it.
    ada.delete("/chat").await;
    failed(&ada.get(&format!("{PATH}/{hers}")).await, 401);
}

#[tokio::test]
async fn ids_that_are_none_are_unknown() {
    let rig = Rig::new().await;
    for id in ["x", "%20", "%00", "%ff", "..%2fmodels", "%C3%A9", &"x".repeat(129), "chatcmpl-1%0a"] {
        for path in [format!("{PATH}/{id}"), format!("{PATH}/{id}/messages")] {
            assert_eq!(failed(&rig.get(&path).await, 404)["param"], "completion_id", "{path}");
        }
        let answer = rig.client.send(rig.request(Method::DELETE, &format!("{PATH}/{id}"))).await;
        assert_eq!(failed(&answer, 404)["param"], "completion_id", "{id}");
    }
    assert_eq!(rig.fake.requests().len(), 0);
}

#[tokio::test]
async fn an_open_door_has_one_owner() {
    let server = TestServer::demo().await;
    let id = told(&server.client().post(PATH, &kept(true)).await, true);
    let other = server.client();
    let read = other.send(other.request(Method::GET, &format!("{PATH}/{id}")).bearer_auth("anything")).await.ok();
    check(Spec::OpenAi, "CreateChatCompletionResponse", &read);
    assert!(read["choices"][0]["message"]["content"].as_str().unwrap().starts_with("[demo]"), "{read}");
}

async fn a_completion_survives_a_restart(ground: Ground) {
    let mut server = ground.start(Setup::default()).await;
    let mut ids = Vec::new();
    for stream in [false, true] {
        let client = Client::new(&server.url);
        let id = told(&client.post(PATH, &kept(stream)).await, stream);
        let before = client.get(&format!("{PATH}/{id}")).await.ok();
        server.stop().await;
        server = ground.start(Setup::default()).await;
        let client = Client::new(&server.url);
        assert_eq!(client.get(&format!("{PATH}/{id}")).await.ok(), before);
        ids.push(id);
    }
    let client = Client::new(&server.url);
    let page = client.get(&format!("{PATH}?metadata[topic]=lighthouses&order=desc")).await.ok();
    check(Spec::OpenAi, "ChatCompletionList", &page);
    assert_eq!((&page["first_id"], &page["last_id"]), (&json!(ids[1]), &json!(ids[0])));
    let path = format!("{PATH}/{}", ids[0]);
    let changed = client.post(&path, &json!({"metadata": {"a": "b"}})).await.ok();
    assert_eq!(changed["metadata"], json!({"a": "b"}));
    assert_eq!(client.get(PATH).await.ok()["first_id"], json!(ids[0]));
    assert_eq!(
        client.get(&format!("{path}/messages")).await.ok()["data"][0]["content"],
        kept(false)["messages"][0]["content"]
    );
    client.delete(&path).await.ok();
    assert_eq!(client.get(PATH).await.ok()["first_id"], json!(ids[1]));
    server.stop().await;
}

on_every_store! {
    a_completion_survives_a_restart,
}
