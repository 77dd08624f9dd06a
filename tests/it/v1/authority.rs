//! What each kind of owner may do: every route of the document, as every kind, against one table.

use fake_openai::RecordedRequest;
use reqwest::RequestBuilder;

use super::*;

/// What a route asks of its callers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Needs {
    /// Nothing.
    Nothing,
    /// The cookie of a session, of which the first request makes one. A key means nothing here.
    Cookie,
    /// Any owner; no model is called.
    Owner,
    /// Any owner; a model is called.
    Model,
    /// A key, or the local machine while there is none; the model's server is called.
    Key,
}

use Needs::{Cookie, Key, Model, Nothing, Owner};

const TABLE: &[(&str, &str, Needs)] = &[
    ("get", "/", Nothing),
    ("get", "/health/live", Nothing),
    ("get", "/health/ready", Nothing),
    ("get", "/chat", Cookie),
    ("post", "/chat", Cookie),
    ("delete", "/chat", Cookie),
    ("get", "/chat/turns", Cookie),
    ("post", "/chat/turns/{turn}/cancel", Cookie),
    ("get", "/chat/turns/{turn}/events", Cookie),
    ("get", "/v1/chat/completions", Owner),
    ("post", "/v1/chat/completions", Model),
    ("get", "/v1/chat/completions/{completion_id}", Owner),
    ("post", "/v1/chat/completions/{completion_id}", Owner),
    ("delete", "/v1/chat/completions/{completion_id}", Owner),
    ("get", "/v1/chat/completions/{completion_id}/messages", Owner),
    ("get", "/v1/conversations", Owner),
    ("post", "/v1/conversations", Owner),
    ("get", "/v1/conversations/{conversation_id}", Owner),
    ("post", "/v1/conversations/{conversation_id}", Owner),
    ("delete", "/v1/conversations/{conversation_id}", Owner),
    ("get", "/v1/conversations/{conversation_id}/items", Owner),
    ("post", "/v1/conversations/{conversation_id}/items", Owner),
    ("get", "/v1/conversations/{conversation_id}/items/{item_id}", Owner),
    ("delete", "/v1/conversations/{conversation_id}/items/{item_id}", Owner),
    ("get", "/v1/models", Model),
    ("get", "/v1/models/{model}", Model),
    ("get", "/v1/responses", Owner),
    ("post", "/v1/responses", Model),
    ("post", "/v1/responses/compact", Model),
    ("post", "/v1/responses/input_tokens", Owner),
    ("get", "/v1/responses/{response_id}", Owner),
    ("delete", "/v1/responses/{response_id}", Owner),
    ("post", "/v1/responses/{response_id}/cancel", Owner),
    ("get", "/v1/responses/{response_id}/input_items", Owner),
    ("post", "/v1/audio/speech", Key),
    ("post", "/v1/audio/transcriptions", Key),
    ("post", "/v1/audio/translations", Key),
    ("post", "/v1/embeddings", Key),
    ("get", "/v1/files", Key),
    ("post", "/v1/files", Key),
    ("get", "/v1/files/{file_id}", Key),
    ("delete", "/v1/files/{file_id}", Key),
    ("get", "/v1/files/{file_id}/content", Key),
    ("post", "/v1/images/edits", Key),
    ("post", "/v1/images/generations", Key),
    ("post", "/v1/images/variations", Key),
    ("post", "/v1/moderations", Key),
];

/// Who knocks.
struct Caller<'a> {
    name: &'static str,
    client: &'a Client,
    key: Option<&'static str>,
}

impl Caller<'_> {
    fn request(&self, method: &str, path: &str, body: Option<&Value>) -> RequestBuilder {
        let request = self.client.request(Method::from_bytes(method.to_uppercase().as_bytes()).unwrap(), path);
        let request = match self.key {
            Some(key) => request.bearer_auth(key),
            None => request,
        };
        match body {
            Some(body) => request.header("content-type", "application/json").body(body.to_string()),
            None => request,
        }
    }

    async fn post(&self, path: &str, body: &Value) -> Value {
        let answer = self.client.send(self.request("post", path, Some(body))).await;
        assert!(answer.status.is_success(), "{} {path}: {answer:?}", self.name);
        answer.json()
    }

    /// One of each kind of thing that has an id, of this caller.
    async fn ids(&self) -> Vec<(&'static str, String)> {
        let id = |value: &Value| value["id"].as_str().unwrap().to_owned();
        let items = json!([{"role": "user", "content": "Hello!"}]);
        let conversation = id(&self.post("/v1/conversations", &json!({"items": items})).await);
        let path = format!("/v1/conversations/{conversation}/items");
        let listed = self.client.send(self.request("get", &path, None)).await.ok();
        let response = id(&self.post("/v1/responses", &json!({"model": "m", "input": "Hello!"})).await);
        let completion = json!({"model": "m", "messages": items, "store": true});
        let completion = id(&self.post("/v1/chat/completions", &completion).await);
        vec![
            ("item_id", id(&listed["data"][0])),
            ("conversation_id", conversation),
            ("turn", response.replace("resp_", "turn_")),
            ("response_id", response),
            ("completion_id", completion),
            ("file_id", "file-1".to_owned()),
            ("model", "m".to_owned()),
        ]
    }

    async fn knock(&self, route: &(&str, &str, Needs), ids: &[(&str, String)], document: &Value) -> Answer {
        let (method, path, _) = route;
        let operation = &document["paths"][path][method];
        let body = &operation["requestBody"]["content"]["application/json"];
        let example = match body["example"].is_null() {
            false => Some(body["example"].clone()),
            true if body.is_object() => Some(any_body(path)),
            true => None,
        };
        let path = ids.iter().fold((*path).to_owned(), |path, (name, id)| path.replace(&format!("{{{name}}}"), id));
        self.client.send(self.request(method, &path, example.as_ref())).await
    }
}

/// A body that the route takes. Most of the SDK door reads over what it does not know; of a visitor's chat completion, each
/// field has to be one that is allowed.
fn any_body(path: &str) -> Value {
    let items = json!([{"role": "user", "content": "Hello!"}]);
    match path {
        "/v1/chat/completions" => json!({"model": "m", "messages": items}),
        _ if path.starts_with("/v1") => {
            json!({"model": "m", "input": "Hello!", "messages": items, "items": items, "metadata": {}})
        }
        _ => json!({"prompt": "Hello!"}),
    }
}

fn code(answer: &Answer) -> String {
    answer.json()["error"]["code"].as_str().unwrap_or_default().to_owned()
}

/// The server with keys, and one without, at the same model.
async fn rigs() -> (Rig, TestServer) {
    let rig = Rig::new().await;
    let base_url = rig.fake.base_url();
    let settings = OpenAiSettings::new(base_url.parse().unwrap(), Some(SERVERS_KEY.into()), "compatible");
    let upstream = OpenAi::new(settings, Arc::new(SystemClock), Arc::new(SystemIds)).unwrap();
    let open = Setup::default().set("OPENAI_BASE_URL", &base_url).upstream(Arc::new(upstream)).start().await;
    (rig, open)
}

#[tokio::test]
async fn every_route_of_the_document_is_in_the_table() {
    let rig = Rig::new().await;
    let document = rig.client.get("/openapi.json").await.ok();
    let mut routes: Vec<(&str, &str)> = Vec::new();
    for (path, operations) in document["paths"].as_object().unwrap() {
        routes.extend(operations.as_object().unwrap().keys().map(|method| (method.as_str(), path.as_str())));
    }
    // It opens a WebSocket, which a document of this kind cannot describe.
    routes.push(("get", "/v1/responses"));
    let mut listed: Vec<(&str, &str)> = TABLE.iter().map(|(method, path, _)| (*method, *path)).collect();
    routes.sort_unstable();
    listed.sort_unstable();
    assert_eq!(routes, listed);
}

#[tokio::test]
async fn every_route_gives_each_kind_of_owner_what_the_table_says() {
    let (rig, open) = rigs().await;
    let document = rig.client.get("/openapi.json").await.ok();
    let local = open.client();
    let (key, local) = (
        Caller { name: "key", client: &rig.server.client(), key: Some(KEY) },
        Caller { name: "local", client: &local, key: None },
    );
    for route in TABLE {
        let browser = rig.server.client();
        browser.say("Hello").await.ok();
        let visitor = Caller { name: "visitor", client: &browser, key: None };
        for caller in [&visitor, &key, &local] {
            let ids = caller.ids().await;
            let before = rig.fake.requests().len();
            let answer = caller.knock(route, &ids, &document).await;
            let called = rig.fake.requests().len() > before;
            let what = format!("{} {route:?}: {answer:?}", caller.name);
            let (status, needs) = (answer.status.as_u16(), route.2);
            match (caller.name, needs) {
                ("visitor", Key) => {
                    assert_eq!((status, code(&answer).as_str()), (403, "key_required"), "{what}");
                    assert!(!called, "{what}");
                    let message = answer.json()["error"]["message"].as_str().unwrap().to_owned();
                    assert!(message.contains("Authorization: Bearer"), "{what}");
                }
                (_, Model | Key) => {
                    assert!(!matches!(status, 401 | 403), "{what}");
                    assert!(called, "{what}");
                }
                ("visitor", Cookie) => assert!(answer.status.is_success(), "{what}"),
                (_, Nothing | Cookie | Owner) => {
                    assert!(!matches!(status, 401 | 403), "{what}");
                    // Whoever shows a key at the cookie door is a new visitor there.
                    assert!(!called || needs == Cookie, "{what}");
                }
            }
        }
    }
}

#[tokio::test]
async fn without_credentials_or_with_anothers_ids_nothing_opens() {
    let rig = Rig::new().await;
    let document = rig.client.get("/openapi.json").await.ok();
    let browser = rig.server.client();
    browser.say("Hello").await.ok();
    let (ada, eve) = (
        Caller { name: "ada", client: &rig.server.client(), key: Some(KEY) },
        Caller { name: "eve", client: &rig.server.client(), key: Some(OTHER_KEY) },
    );
    let visitor = Caller { name: "visitor", client: &browser, key: None };
    let hers = ada.ids().await;
    let asked = rig.fake.requests().len();
    for route in TABLE.iter().filter(|(_, path, _)| path.starts_with("/v1")) {
        let nobody = Caller { name: "nobody", client: &rig.server.client(), key: None };
        let answer = nobody.knock(route, &hers, &document).await;
        assert_eq!((answer.status.as_u16(), code(&answer).as_str()), (401, "missing_api_key"), "{route:?}");
        let wrong = Caller { key: Some("canary-unknown-key-0123456789"), ..nobody };
        let answer = wrong.knock(route, &hers, &document).await;
        assert_eq!((answer.status.as_u16(), code(&answer).as_str()), (401, "invalid_api_key"), "{route:?}");
        let names_an_id = route.1.contains('{') && route.2 == Owner;
        for stranger in [&eve, &visitor].into_iter().filter(|_| names_an_id) {
            let answer = stranger.knock(route, &hers, &document).await;
            assert_eq!(answer.status.as_u16(), 404, "{} {route:?}: {answer:?}", stranger.name);
        }
    }
    assert_eq!(rig.fake.requests().len(), asked);
    for route in TABLE.iter().filter(|(_, path, _)| path.contains("{turn}")) {
        let answer = visitor.knock(route, &hers, &document).await;
        assert_eq!(answer.failed(404), "not_found", "{route:?}");
    }
}

/// A visitor's completion, and what of it went up.
async fn asked_by_a_visitor(rig: &Rig, body: &Value) -> (Answer, Option<Arc<RecordedRequest>>) {
    let before = rig.fake.requests().len();
    let answer = rig.client.post("/v1/chat/completions", body).await;
    (answer, rig.fake.requests().get(before).cloned())
}

#[tokio::test]
async fn a_visitors_completion_is_capped_whatever_it_says() {
    let rig =
        Rig::with(Setup::default().set("MAX_TOKENS_LIMIT", "500").set("MAX_TOKENS", "100"), |settings| settings).await;
    rig.client.say("Hello").await.ok();
    let messages = json!([{"role": "user", "content": "Hello!"}]);
    for (asked, sent) in [
        (json!({}), json!({"max_tokens": 500})),
        (json!({"max_tokens": null, "max_completion_tokens": null}), json!({"max_tokens": 500})),
        (json!({"max_tokens": 7}), json!({"max_tokens": 7})),
        // A server that knows the other name only would have no cap.
        (json!({"max_completion_tokens": 7}), json!({"max_tokens": 7})),
        (json!({"model": "gpt-5", "max_tokens": 7}), json!({"max_completion_tokens": 7})),
        (json!({"model": "gpt-5"}), json!({"max_completion_tokens": 500})),
    ] {
        let mut body = json!({"model": "m", "messages": messages, "temperature": 0.5, "store": false});
        body.as_object_mut().unwrap().extend(asked.as_object().unwrap().clone());
        let (answer, up) = asked_by_a_visitor(&rig, &body).await;
        assert!(answer.status.is_success(), "{asked}: {answer:?}");
        let up = up.unwrap().json.clone();
        let caps: serde_json::Map<String, Value> = ["max_tokens", "max_completion_tokens"]
            .into_iter()
            .filter_map(|name| Some((name.to_owned(), up.get(name)?.clone())))
            .collect();
        assert_eq!(Value::from(caps), sent, "{asked}");
        assert_eq!((&up["messages"], &up["temperature"]), (&messages, &json!(0.5)), "{asked}");
    }
    let keys = rig.complete(&json!({"model": "m", "messages": messages})).await;
    assert!(keys.status.is_success());
    assert!(rig.fake.last().json.get("max_tokens").is_none(), "a key's request goes up as it is");
}

#[tokio::test]
async fn what_costs_a_visitor_more_than_text_is_refused_and_a_key_may() {
    let rig = Rig::new().await;
    rig.client.say("Hello").await.ok();
    let with = |name: &str, value: Value| {
        let mut body = json!({"model": "m", "messages": [{"role": "user", "content": "Hello!"}]});
        body[name] = value;
        body
    };
    for (name, value) in [
        ("n", json!(2)),
        ("n", json!(10)),
        ("web_search_options", json!({})),
        ("service_tier", json!("priority")),
        ("modalities", json!(["text", "audio"])),
        ("audio", json!({"voice": "alloy"})),
        ("prediction", json!({"type": "content", "content": "x"})),
        ("tools", json!([{"type": "web_search"}])),
        ("MAX_TOKENS", json!(99_999)),
        ("n_predict", json!(99_999)),
        ("models", json!(["dear"])),
    ] {
        let (answer, up) = asked_by_a_visitor(&rig, &with(name, value.clone())).await;
        let error = failed(&answer, 403);
        assert_eq!((error["code"].as_str(), error["param"].as_str()), (Some("key_required"), Some(name)), "{value}");
        assert!(up.is_none(), "{name}");
        assert!(rig.complete(&with(name, value)).await.status.is_success(), "{name}");
    }
    for (name, value) in [
        ("n", json!(1)),
        ("service_tier", json!("auto")),
        ("modalities", json!(["text"])),
        ("tools", json!([{"type": "function", "function": {"name": "f"}}])),
        ("stop", json!(["x"])),
    ] {
        let (answer, _) = asked_by_a_visitor(&rig, &with(name, value)).await;
        assert!(answer.status.is_success(), "{name}: {answer:?}");
    }
}

#[tokio::test]
async fn a_visitor_never_reaches_a_model_of_images_or_sound() {
    let rig = Rig::new().await;
    rig.client.say("Hello").await.ok();
    let calls = rig.fake.requests().len();
    for model in ["gpt-image-1", "dall-e-3", "gpt-4o-audio-preview", "tts-1", "gpt-4o-search-preview", "x/Whisper-1"] {
        let answer = rig.client.post("/chat", &json!({"prompt": "Hello", "model": model})).await;
        assert_eq!(answer.failed(400), "unknown_model", "{model}");
        let (answer, _) = asked_by_a_visitor(&rig, &json!({"model": model, "messages": []})).await;
        assert_eq!(failed(&answer, 404)["code"], "model_not_found", "{model}");
        for path in ["/v1/responses", "/v1/responses/compact", "/v1/responses/input_tokens"] {
            let answer = rig.client.post(path, &json!({"model": model, "input": "Hello"})).await;
            assert_eq!(failed(&answer, 404)["code"], "model_not_found", "{model} {path}");
        }
    }
    assert_eq!(rig.fake.requests().len(), calls);
    let answer = rig.complete(&json!({"model": "gpt-4o-audio-preview", "messages": []})).await;
    assert!(answer.status.is_success(), "{answer:?}");
    let list =
        json!({"object": "list", "data": [{"id": "m", "object": "model"}, {"id": "dall-e-3", "object": "model"}]});
    rig.fake.set_path("/v1/models", fake_openai::Reply::json(200, &list));
    assert_eq!(rig.client.get("/v1/models").await.ok()["data"].as_array().unwrap().len(), 1);
    assert_eq!(rig.get("/v1/models").await.ok()["data"].as_array().unwrap().len(), 2);
}
