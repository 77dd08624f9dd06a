//! A program at the SDK door: asks for responses and conversations, and holds all that comes back to the descriptions.

use openai_backend::domain::clock::SystemClock;
use openai_backend::domain::ids::SystemIds;
use openai_backend::upstream::openai::OpenAi;
use openai_backend::upstream::openai::settings::OpenAiSettings;
use std::sync::Arc;

use fake_openai::FakeOpenAi;
use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};

use super::responses::referee;
use super::{KEY, OTHER_KEY};
use crate::support::client::{Answer, Client};
use crate::support::schema::{Spec, check, check_event, check_response};
use crate::support::server::Setup;
use crate::support::sse::EventStream;

/// A server towards this model, with a key each for two owners.
pub fn over(fake: &FakeOpenAi) -> Setup {
    let base_url = fake.base_url();
    let settings = OpenAiSettings::new(base_url.parse().unwrap(), None, "compatible");
    let settings = OpenAiSettings { max_retries: 0, ..settings };
    let upstream = OpenAi::new(settings, Arc::new(SystemClock), Arc::new(SystemIds)).unwrap();
    let keys = format!("web:{KEY},other:{OTHER_KEY}");
    Setup::default().set("API_KEYS", &keys).set("OPENAI_BASE_URL", &base_url).upstream(Arc::new(upstream))
}

pub struct Sdk {
    client: Client,
    /// Without one it is the browser that its client is.
    key: Option<String>,
}

impl Sdk {
    pub fn new(url: &str) -> Self {
        Self { client: Client::new(url), key: Some(KEY.to_owned()) }
    }

    /// Another owner.
    pub fn other(url: &str) -> Self {
        Self { client: Client::new(url), key: Some(OTHER_KEY.to_owned()) }
    }

    /// A page that uses this door with the cookie of the other one.
    pub fn page(browser: &Client) -> Self {
        Self { client: browser.at(browser.base()), key: None }
    }

    /// The same program at another server.
    pub fn at(&self, url: &str) -> Self {
        Self { client: self.client.at(url), key: self.key.clone() }
    }

    pub fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let request = self.client.request(method, path);
        match &self.key {
            Some(key) => request.bearer_auth(key),
            None => request,
        }
    }

    pub fn posting(&self, path: &str, body: &Value) -> RequestBuilder {
        self.request(Method::POST, path).header("content-type", "application/json").body(body.to_string())
    }

    pub async fn send(&self, request: RequestBuilder) -> Answer {
        self.client.send(request).await
    }

    pub async fn get(&self, path: &str) -> Answer {
        self.send(self.request(Method::GET, path)).await
    }

    pub async fn delete(&self, path: &str) -> Answer {
        self.send(self.request(Method::DELETE, path)).await
    }

    pub async fn post(&self, path: &str, body: &Value) -> Answer {
        self.send(self.posting(path, body)).await
    }
}

/// Responses.
impl Sdk {
    /// A response that is to be made.
    pub async fn respond(&self, body: Value) -> Value {
        let response = self.post("/v1/responses", &body).await.ok();
        check_response(&response);
        response
    }

    /// All events of a streamed response, which must not contradict each other.
    pub async fn stream(&self, body: Value) -> Vec<Value> {
        let mut live = self.open(body).await;
        let events = live.rest().await;
        referee::judge(&events);
        events
    }

    /// A streamed response that is under way.
    pub async fn open(&self, mut body: Value) -> Live {
        body["stream"] = true.into();
        self.live(self.posting("/v1/responses", &body), None).await
    }

    /// Reads a response on from after its event number `after`, or from its start.
    pub async fn resume(&self, id: &str, after: Option<u64>) -> Live {
        let cursor = after.map(|after| format!("starting_after={after}&")).unwrap_or_default();
        self.live(self.request(Method::GET, &format!("/v1/responses/{id}?{cursor}stream=true")), after).await
    }

    pub async fn live(&self, request: RequestBuilder, after: Option<u64>) -> Live {
        Live { stream: self.client.stream_of(request).await, last: after }
    }

    pub async fn response(&self, id: &str) -> Value {
        let response = self.get(&format!("/v1/responses/{id}")).await.ok();
        check_response(&response);
        response
    }

    pub async fn cancel(&self, id: &str) -> Value {
        let request = self.request(Method::POST, &format!("/v1/responses/{id}/cancel")).header("content-length", "0");
        let response = self.send(request).await.ok();
        check_response(&response);
        response
    }

    pub async fn input_items(&self, id: &str) -> Vec<Value> {
        let list = self.get(&format!("/v1/responses/{id}/input_items?order=asc&limit=100")).await.ok();
        check(Spec::OpenAi, "ResponseItemList", &list);
        list["data"].as_array().unwrap().clone()
    }
}

/// Conversations.
impl Sdk {
    /// A new conversation with these items; gives its id.
    pub async fn conversation(&self, items: Value) -> String {
        let made = self.post("/v1/conversations", &json!({"items": items})).await.ok();
        check(Spec::OpenAi, "ConversationResource", &made);
        made["id"].as_str().unwrap().to_owned()
    }

    /// A page of a conversation.
    pub async fn page_of(&self, conversation: &str, query: &str) -> Value {
        let list = self.get(&format!("/v1/conversations/{conversation}/items?{query}")).await.ok();
        check(Spec::OpenAi, "ConversationItemList", &list);
        list
    }

    /// All of a short conversation, oldest first.
    pub async fn items(&self, conversation: &str) -> Vec<Value> {
        self.page_of(conversation, "order=asc&limit=100").await["data"].as_array().unwrap().clone()
    }

    /// What was said in a short conversation.
    pub async fn said(&self, conversation: &str) -> Vec<String> {
        self.items(conversation).await.iter().map(said_in).collect()
    }
}

/// The text of an item.
pub fn said_in(item: &Value) -> String {
    let parts = item["content"].as_array().into_iter().flatten();
    parts.filter_map(|part| part["text"].as_str().or(part["refusal"].as_str())).collect()
}

/// The events of a response as they come: named as their type says, numbered without gaps, valid.
pub struct Live {
    stream: EventStream,
    last: Option<u64>,
}

impl Live {
    /// The next event; `None` at the end of the stream.
    pub async fn next(&mut self) -> Option<Value> {
        let event = self.stream.next().await?;
        assert_eq!(event.data["type"], event.name.as_str(), "{event:?}");
        check_event(&event.data);
        let number = event.data["sequence_number"].as_u64().unwrap();
        if event.name == "error" {
            // It is no part of the response: a reader that goes on after its number misses nothing.
            assert_eq!(Some(number), self.last.or(Some(0)), "{event:?}");
        } else {
            assert_eq!(number, self.last.map_or(0, |last| last + 1), "{event:?}");
            self.last = Some(number);
        }
        Some(event.data)
    }

    /// Reads on to the next event of this type.
    #[track_caller]
    pub fn until<'a>(&'a mut self, kind: &'a str) -> impl Future<Output = Value> + 'a {
        let caller = std::panic::Location::caller();
        async move {
            loop {
                let event = self.next().await.unwrap_or_else(|| panic!("the stream ended before {kind}, at {caller}"));
                if event["type"] == kind {
                    return event;
                }
            }
        }
    }

    /// The response's id, from its first event.
    pub async fn id(&mut self) -> String {
        let created = self.until("response.created").await;
        created["response"]["id"].as_str().unwrap().to_owned()
    }

    /// All events until the end.
    pub async fn rest(&mut self) -> Vec<Value> {
        let mut events = Vec::new();
        while let Some(event) = self.next().await {
            events.push(event);
        }
        events
    }

    /// The number of the last event that was read.
    pub fn last(&self) -> Option<u64> {
        self.last
    }

    /// The frames so far as they came, but for comments: what must be the same for every reader.
    pub fn frames(&self) -> Vec<&str> {
        self.stream.raw.split_inclusive("\n\n").filter(|frame| !frame.starts_with(':')).collect()
    }
}
