//! A browser of sorts: keeps its cookie, sends JSON, gives back what came.

use std::sync::Mutex;

use reqwest::header::{COOKIE, HeaderMap, SET_COOKIE};
use reqwest::{Method, RequestBuilder, Response, StatusCode};
use serde_json::{Value, json};

use super::sse::EventStream;

pub struct Client {
    http: reqwest::Client,
    base: String,
    cookie: Mutex<Option<String>>,
}

/// A whole answer.
#[derive(Debug)]
pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub text: String,
}

impl Answer {
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error} in {:?}", self.text))
    }

    #[track_caller]
    pub fn ok(self) -> Value {
        assert_eq!(self.status, StatusCode::OK, "{}", self.text);
        self.json()
    }

    /// Checks the status, and that the failure has the one shape; gives its code.
    #[track_caller]
    pub fn failed(&self, status: u16) -> String {
        assert_eq!(self.status.as_u16(), status, "{}", self.text);
        let body = self.json();
        let body = body.as_object().expect("an object");
        assert!(body["error"].is_string() && body["code"].is_string(), "{}", self.text);
        assert!(body.get("details").is_none_or(Value::is_string), "{}", self.text);
        assert!(body.keys().all(|key| ["error", "details", "code"].contains(&key.as_str())), "{}", self.text);
        body["code"].as_str().unwrap().to_owned()
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }
}

/// Without the machine's certificates, which take longer to read than most tests take, and without its proxy.
fn http() -> reqwest::Client {
    reqwest::Client::builder().tls_certs_only([]).no_proxy().build().unwrap()
}

impl Client {
    pub fn new(base: &str) -> Self {
        Self { http: http(), base: base.to_owned(), cookie: Mutex::default() }
    }

    /// The same browser, with the session that a page gets by reading.
    pub async fn on_a_page(self) -> Self {
        let request = self.request(Method::GET, "/chat").header("sec-fetch-site", "same-origin");
        self.send(request.header("sec-fetch-mode", "cors").header("sec-fetch-dest", "empty")).await.ok();
        assert!(self.cookie().is_some());
        self
    }

    /// The same browser at another server.
    pub fn at(&self, base: &str) -> Self {
        Self { http: http(), base: base.to_owned(), cookie: Mutex::new(self.cookie()) }
    }

    pub fn base(&self) -> &str {
        &self.base
    }

    pub fn cookie(&self) -> Option<String> {
        self.cookie.lock().unwrap().clone()
    }

    pub fn set_cookie(&self, cookie: Option<String>) {
        *self.cookie.lock().unwrap() = cookie;
    }

    pub fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let request = self.http.request(method, format!("{}{path}", self.base));
        match self.cookie() {
            Some(cookie) => request.header(COOKIE, cookie),
            None => request,
        }
    }

    pub fn keep_cookie(&self, headers: &HeaderMap) {
        let Some(set) = headers.get(SET_COOKIE) else { return };
        let pair = set.to_str().unwrap().split(';').next().unwrap().to_owned();
        let gone = pair.ends_with('=');
        self.set_cookie((!gone).then_some(pair));
    }

    pub async fn send(&self, request: RequestBuilder) -> Answer {
        let response = request.send().await.unwrap();
        self.keep_cookie(response.headers());
        let (status, headers) = (response.status(), response.headers().clone());
        Answer { status, headers, text: response.text().await.unwrap() }
    }

    pub async fn get(&self, path: &str) -> Answer {
        self.send(self.request(Method::GET, path)).await
    }

    pub async fn delete(&self, path: &str) -> Answer {
        self.send(self.request(Method::DELETE, path)).await
    }

    pub fn json(&self, path: &str, body: &Value) -> RequestBuilder {
        self.request(Method::POST, path).header("content-type", "application/json").body(body.to_string())
    }

    pub async fn post(&self, path: &str, body: &Value) -> Answer {
        self.send(self.json(path, body)).await
    }

    /// One plain turn.
    pub async fn say(&self, prompt: &str) -> Answer {
        self.post("/chat", &json!({"prompt": prompt})).await
    }

    /// One streamed turn; anything but a stream fails the test.
    pub async fn stream(&self, body: &Value) -> EventStream {
        let mut body = body.clone();
        body["stream"] = Value::Bool(true);
        self.stream_of(self.json("/chat", &body)).await
    }

    pub async fn stream_of(&self, request: RequestBuilder) -> EventStream {
        let response: Response = request.send().await.unwrap();
        self.keep_cookie(response.headers());
        let kind = response.headers().get("content-type").map(|kind| kind.to_str().unwrap().to_owned());
        if kind.as_deref() != Some("text/event-stream; charset=utf-8") {
            panic!("no stream, but {}: {}", response.status(), response.text().await.unwrap());
        }
        EventStream::new(response)
    }

    /// The history as `(role, content)` pairs.
    pub async fn history(&self) -> Vec<(String, String)> {
        let messages = self.get("/chat").await.ok();
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        messages.as_array().unwrap().iter().map(|m| (text(&m["role"]), text(&m["content"]))).collect()
    }
}
