//! One owner's ids open nothing for another; unknown and forbidden look alike (P18).

use std::sync::Arc;

use fake_openai::Gate;
use reqwest::Method;
use serde_json::{Value, json};

use crate::support::client::{Answer, Client};
use crate::support::scripted::{Act, Scripted};
use crate::support::server::{Setup, TestServer};

/// What a parameter or field of this name holds, when it is the id of a conversation, a turn, a response or an item.
struct Ids {
    conversation: String,
    turn: String,
    response: String,
    item: String,
}

impl Ids {
    /// Of the answer to a prompt.
    fn said(answer: &Value) -> Self {
        let text = |name: &str| answer[name].as_str().unwrap().to_owned();
        Self::new(text("conversationId"), text("turn"), text("id"))
    }

    /// A response is a turn by another name.
    fn new(conversation: String, turn: String, item: String) -> Self {
        let response = turn.replace("turn_", "resp_");
        Self { conversation, turn, response, item }
    }

    fn of(&self, name: &str) -> Option<&str> {
        let name = name.to_ascii_lowercase();
        match () {
            () if name.contains("conversation") => Some(&self.conversation),
            () if name.contains("turn") => Some(&self.turn),
            () if name.contains("response") => Some(&self.response),
            () if name.contains("item") => Some(&self.item),
            () => None,
        }
    }
}

/// A place in the document where an id goes in.
#[derive(Debug)]
struct Door {
    method: Method,
    path: String,
    /// The parameters of the path and of the query that are ids.
    in_path: Vec<String>,
    in_query: Vec<String>,
    /// The body's example and one of its fields that is an id.
    body: Option<(Value, Option<String>)>,
}

impl Door {
    /// The answer to an id that is not there. OpenAI has a 400 for a response to go on from.
    fn refusal(&self) -> u16 {
        let previous = self.body.as_ref().is_some_and(|(_, field)| field.as_deref() == Some("previous_response_id"));
        if previous { 400 } else { 404 }
    }
}

fn resolve<'a>(document: &'a Value, schema: &'a Value) -> &'a Value {
    match schema["$ref"].as_str() {
        Some(reference) => document.pointer(reference.strip_prefix('#').unwrap()).unwrap(),
        None => schema,
    }
}

fn doors(document: &Value, ids: &Ids) -> Vec<Door> {
    let mut doors = Vec::new();
    for (path, operations) in document["paths"].as_object().unwrap() {
        for (method, operation) in operations.as_object().unwrap() {
            let named = |place: &str| -> Vec<String> {
                let parameters = operation["parameters"].as_array().into_iter().flatten();
                let parameters = parameters.filter(|parameter| parameter["in"] == place);
                let names = parameters.map(|parameter| parameter["name"].as_str().unwrap().to_owned());
                names.filter(|name| ids.of(name).is_some()).collect()
            };
            let content = &operation["requestBody"]["content"]["application/json"];
            let schema = resolve(document, &content["schema"]);
            let example = if content["example"].is_null() { &schema["example"] } else { &content["example"] };
            let is_id = |name: &&String| name.ends_with("Id") || name.ends_with("_id") || *name == "conversation";
            let properties = schema["properties"].as_object().into_iter().flatten().map(|(name, _)| name);
            let fields: Vec<&String> = properties.filter(is_id).filter(|name| ids.of(name).is_some()).collect();
            let with = |field: Option<&String>| Door {
                method: Method::from_bytes(method.to_uppercase().as_bytes()).unwrap(),
                path: path.clone(),
                in_path: named("path"),
                in_query: named("query"),
                body: content.is_object().then(|| (example.clone(), field.cloned())),
            };
            match fields.is_empty() {
                true => doors.push(with(None)),
                false => doors.extend(fields.into_iter().map(|field| with(Some(field)))),
            }
        }
    }
    doors.retain(|door| {
        let in_body = door.body.as_ref().is_some_and(|(_, field)| field.is_some());
        in_body || !door.in_path.is_empty() || !door.in_query.is_empty()
    });
    doors
}

async fn knock(client: &Client, door: &Door, ids: &Ids) -> Answer {
    let mut path = door.path.clone();
    for name in &door.in_path {
        path = path.replace(&format!("{{{name}}}"), ids.of(name).unwrap());
    }
    let pairs: Vec<String> = door.in_query.iter().map(|name| format!("{name}={}", ids.of(name).unwrap())).collect();
    let request = match &door.body {
        Some((example, field)) => {
            let mut body = example.clone();
            field.iter().for_each(|field| body[field] = ids.of(field).unwrap().into());
            client.request(door.method.clone(), &path).header("content-type", "application/json").body(body.to_string())
        }
        None => client.request(door.method.clone(), &format!("{path}?{}", pairs.join("&"))),
    };
    client.send(request).await
}

fn shape(answer: &Answer) -> (u16, Vec<String>, String) {
    let mut headers: Vec<String> = answer.headers.keys().map(ToString::to_string).collect();
    headers.sort_unstable();
    (answer.status.as_u16(), headers, answer.text.clone())
}

async fn ids_of(client: &Client) -> Ids {
    let answer = client.post("/chat", &json!({"prompt": "Only mine", "conversationId": "new"})).await.ok();
    Ids::said(&answer)
}

#[tokio::test]
async fn anothers_ids_look_unknown_on_every_route() {
    let server = TestServer::demo().await;
    let (ada, eve, newcomer) = (server.client(), server.client(), server.client());
    let hers = ids_of(&ada).await;
    let main = Ids::said(&ada.say("In the main one").await.ok());
    eve.say("I am another person").await.ok();
    let zeros = |prefix: &str| format!("{prefix}{}", "0".repeat(32));
    let unknown = Ids::new(zeros("conv_"), zeros("turn_"), zeros("msg_"));
    let document = server.client().get("/openapi.json").await.ok();
    let doors = doors(&document, &hers);
    assert!(doors.len() >= 22, "{doors:?}");
    for door in &doors {
        for stranger in [&eve, &newcomer] {
            let expected = shape(&knock(stranger, door, &unknown).await);
            assert_eq!(expected.0, door.refusal(), "{door:?}: {expected:?}");
            assert!(!expected.1.contains(&"set-cookie".to_owned()), "{expected:?}");
            for ids in [&hers, &main] {
                assert_eq!(shape(&knock(stranger, door, ids).await), expected, "{door:?}");
            }
        }
    }
    assert_eq!(ada.history().await.len(), 2);
    let path = format!("/chat?conversationId={}", hers.conversation);
    assert_eq!(ada.get(&path).await.ok().as_array().unwrap().len(), 2, "nothing was added");
    assert_eq!(eve.history().await.len(), 2);
}

#[tokio::test]
async fn ones_own_ids_open_every_route() {
    let server = TestServer::demo().await;
    let document = server.client().get("/openapi.json").await.ok();
    let probe = Ids::new(String::new(), String::new(), String::new());
    for door in doors(&document, &probe) {
        let ada = server.client();
        let hers = ids_of(&ada).await;
        let answer = knock(&ada, &door, &hers).await;
        assert!(answer.status.is_success() || answer.status.as_u16() == 409, "{door:?}: {answer:?}");
    }
}

#[tokio::test]
async fn a_made_up_main_conversation_is_unknown() {
    let server = TestServer::demo().await;
    let eve = server.client();
    eve.say("Hi").await.ok();
    // An unused id of the right shape cannot be claimed by naming it.
    let id = format!("conv_{}", "1".repeat(32));
    assert_eq!(eve.post("/chat", &json!({"prompt": "x", "conversationId": id})).await.failed(404), "not_found");
    assert_eq!(eve.get(&format!("/chat?conversationId={id}")).await.failed(404), "not_found");
}

#[tokio::test]
async fn strangers_neither_see_nor_fill_a_waiting_line() {
    let gate = Gate::new();
    let slow = vec![Act::Say("a"), Act::Wait(gate.clone()), Act::Say("b")];
    let upstream = Arc::new(Scripted::new([vec![Act::Say("Hi")], vec![Act::Say("Hi")], slow]));
    let server = Setup::default().upstream(upstream).set("MAX_WAITING_TURNS", "1").start().await;
    let (ada, eve) = (server.client(), server.client());
    eve.say("Hi").await.ok();
    ada.say("Hi").await.ok();
    let mut stream = ada.stream(&json!({"prompt": "one"})).await;
    let started = stream.expect("started").await;
    let id = started.data["conversationId"].as_str().unwrap();
    // While a turn runs, a stranger's request must be answered as at any other time: at once, and with 404.
    let body = json!({"prompt": "x", "conversationId": id});
    let knocked = eve.post("/chat", &body);
    let knocked = tokio::time::timeout(std::time::Duration::from_secs(5), knocked).await.expect("an answer at once");
    assert_eq!(knocked.failed(404), "not_found");
    for on_busy in ["reject", "interrupt"] {
        let body = json!({"prompt": "x", "conversationId": id, "onBusy": on_busy});
        assert_eq!(eve.post("/chat", &body).await.failed(404), "not_found", "{on_busy}");
    }
    gate.open();
    assert_eq!(stream.rest().await.last().unwrap().name, "completed");
}
