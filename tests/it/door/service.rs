//! For operators: health, the line at `/`, and the documentation.

use std::collections::HashSet;

use openai_backend::store::Store;
use serde_json::Value;

use crate::support::client::Client;
use crate::support::faulty::Faulty;
use crate::support::server::{Setup, TestServer};

#[tokio::test]
async fn ready_follows_the_store_and_live_does_not() {
    let store = Faulty::well(TestServer::demo().await.store.clone());
    let server = Setup::default().store(store.clone()).start().await;
    let client = server.client();
    for _ in 0..2 {
        assert_eq!(client.get("/health/ready").await.text, r#"{"status":"ok"}"#);
        assert_eq!(client.get("/health/live").await.text, r#"{"status":"ok"}"#);
        store.go_away();
        assert!(store.ping().await.is_err());
        assert_eq!(client.get("/health/ready").await.failed(503), "store_unavailable");
        assert_eq!(client.get("/health/live").await.text, r#"{"status":"ok"}"#);
        store.mend();
    }
}

#[tokio::test]
async fn the_front_page_is_a_line_of_text() {
    let server = TestServer::demo().await;
    let answer = server.client().get("/").await;
    assert_eq!(answer.status.as_u16(), 200);
    assert!(answer.header("content-type").unwrap().starts_with("text/plain"));
    assert!(answer.text.contains("OpenAI Backend") && answer.text.contains("/docs") && answer.text.len() < 200);
}

/// Addresses that a page makes the browser load from elsewhere.
fn elsewhere(text: &str) -> Vec<&str> {
    let starts =
        ["src=\"http", "href=\"http", "src=\"//", "href=\"//", "url(http", "url(//", "import(\"http", "url: \"http"];
    starts.into_iter().filter(|start| text.contains(start)).collect()
}

async fn asset(client: &Client, path: &str) -> (String, String) {
    let answer = client.get(path).await;
    assert_eq!(answer.status.as_u16(), 200, "{path}");
    (answer.header("content-type").unwrap().to_owned(), answer.text)
}

#[tokio::test]
async fn the_documentation_needs_no_network() {
    let server = TestServer::demo().await;
    let client = server.client();
    // Without and with the slash: a browser follows the redirect.
    let (kind, page) = asset(&client, "/docs").await;
    assert!(kind.starts_with("text/html"), "{kind}");
    assert_eq!(asset(&client, "/docs/").await.1, page);
    assert!(page.contains("swagger-ui"), "{page}");
    assert_eq!(elsewhere(&page), Vec::<&str>::new());
    let mut loaded = 0;
    for part in page.split('"').filter(|part| part.ends_with(".js") || part.ends_with(".css")) {
        let path = format!("/docs/{}", part.trim_start_matches("./"));
        let (kind, text) = asset(&client, &path).await;
        assert!(kind.contains("javascript") || kind.contains("css"), "{path}: {kind}");
        if !part.contains("bundle") && !part.contains("preset") {
            assert_eq!(elsewhere(&text), Vec::<&str>::new(), "{path}");
        }
        loaded += 1;
    }
    assert!(loaded >= 3, "{page}");
    let (_, start) = asset(&client, "/docs/swagger-initializer.js").await;
    assert!(start.contains("/openapi.json"), "{start}");
    assert!(!start.contains("petstore"), "{start}");
}

#[tokio::test]
async fn the_documents_server_is_where_people_find_it() {
    for (url, listed) in [
        (None, "http://localhost:3000"),
        (Some("https://chat.example.com"), "https://chat.example.com"),
        (Some("https://chat.example.com/"), "https://chat.example.com"),
        (Some("http://chat.example.com:8080"), "http://chat.example.com:8080"),
        (Some("https://example.com/assistant"), "https://example.com/assistant"),
        (Some("https://example.com/assistant/"), "https://example.com/assistant"),
    ] {
        let mut setup = Setup::default();
        if let Some(url) = url {
            setup = setup.set("PRODUCTION_URL", url);
        }
        let server = setup.start().await;
        let document = server.client().get("/openapi.json").await.ok();
        let servers: Vec<&str> =
            document["servers"].as_array().unwrap().iter().map(|server| server["url"].as_str().unwrap()).collect();
        assert_eq!(servers, [listed], "{url:?}");
    }
}

#[tokio::test]
async fn the_document_is_whole() {
    let server = TestServer::demo().await;
    let client = server.client();
    let answer = client.get("/openapi.json").await;
    assert_eq!(answer.header("content-type"), Some("application/json"));
    let document = answer.ok();
    assert!(document["openapi"].as_str().unwrap().starts_with("3.1."), "{}", document["openapi"]);
    assert_references(&document, &document);
    let mut ids = HashSet::new();
    for (path, operations) in document["paths"].as_object().unwrap() {
        for (method, operation) in operations.as_object().unwrap() {
            let at = format!("{method} {path}");
            assert!(ids.insert(operation["operationId"].as_str().expect(&at).to_owned()), "{at}");
            assert!(operation["summary"].is_string() && operation["tags"].is_array(), "{at}");
            for (status, response) in operation["responses"].as_object().unwrap() {
                let response = match response["$ref"].as_str() {
                    Some(reference) => document.pointer(reference.strip_prefix('#').unwrap()).unwrap(),
                    None => response,
                };
                assert!(response["description"].as_str().is_some_and(|text| !text.is_empty()), "{at} {status}");
                assert_content(&document, &format!("{at} {status}"), status, response);
            }
        }
    }
}

fn assert_content(document: &Value, at: &str, status: &str, response: &Value) {
    if ["101", "204"].contains(&status) {
        assert!(response.get("content").is_none(), "{at}");
        return;
    }
    let content = response["content"].as_object().unwrap_or_else(|| panic!("{at}: no content"));
    for (kind, content) in content {
        assert!(content["schema"].is_object(), "{at} {kind}");
        if status.starts_with(['4', '5']) {
            let shape = if at.contains(" /v1/") { "OpenAiErrorBody" } else { "ErrorBody" };
            assert_eq!(content["schema"]["$ref"], format!("#/components/schemas/{shape}"), "{at}");
        }
        let schema = match content["schema"]["$ref"].as_str() {
            Some(reference) => document.pointer(reference.strip_prefix('#').unwrap()).unwrap(),
            None => &content["schema"],
        };
        let has_example = [content, schema].iter().any(|place| place.get("example").is_some())
            || schema["properties"]
                .as_object()
                .is_some_and(|fields| fields.values().any(|f| f.get("example").is_some()))
            || schema["type"] == "array"
            || kind == "text/plain";
        assert!(has_example, "{at} {kind} has no example");
    }
}

fn assert_references(document: &Value, value: &Value) {
    match value {
        Value::Object(fields) => {
            if let Some(Value::String(reference)) = fields.get("$ref") {
                assert!(document.pointer(reference.strip_prefix('#').unwrap()).is_some(), "{reference}");
            }
            fields.values().for_each(|value| assert_references(document, value));
        }
        Value::Array(values) => values.iter().for_each(|value| assert_references(document, value)),
        _ => {}
    }
}

#[tokio::test]
async fn the_documents_examples_work() {
    let server = TestServer::demo().await;
    let client = server.client();
    let document = client.get("/openapi.json").await.ok();
    let request = &document["components"]["schemas"]["ChatRequest"];
    client.post("/chat", &request["example"]).await.ok();
    let fields = request["properties"].as_object().unwrap();
    for (name, schema) in fields {
        let example = schema.get("example").or_else(|| schema.get("default"));
        let Some(example) = example.filter(|_| name != "conversationId" && name != "stream") else { continue };
        let mut body = request["example"].clone();
        body[name] = example.clone();
        client.post("/chat", &body).await.ok();
    }
}
