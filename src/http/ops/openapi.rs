//! The OpenAPI document: its head, what all routes of a door have in common, and what the settings say. Its paths come from
//! the routes.

use std::sync::Arc;

use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use serde_json::{Map, Value, json};
use utoipa::OpenApi;

use crate::config::ChatConfig;
use crate::http::v1::error::OpenAiErrorBody;
use crate::http::v1::schemas;

/// Title and tags.
#[derive(OpenApi)]
#[openapi(
    info(
        title = "OpenAI Backend",
        description = "A chat backend that keeps the key, the history and every answer. `POST /chat` talks to the model; \
            the session cookie is its memory. Every failure has the same shape: `{\"error\", \"details\"?, \"code\"}`. Below \
            `/v1` it is what OpenAI's SDKs expect, with a key, and failures in OpenAI's shape.",
        license(name = "MIT", identifier = "MIT")
    ),
    components(schemas(OpenAiErrorBody)),
    tags(
        (name = "chat", description = "Talk, with memory by cookie."),
        (name = "turns", description = "Find a turn again, read it from any event on, stop it."),
        (name = "responses", description = "OpenAI's Responses, with state, on any model."),
        (name = "conversations", description = "OpenAI's Conversations; those of `/chat` are among them."),
        (name = "openai", description = "For OpenAI's SDKs: set their base URL to `/v1` here."),
        (name = "service", description = "For operators.")
    )
)]
pub struct Head;

/// The document of these routes, without any server's address and settings.
///
/// # Panics
/// When the document is no JSON, which every document is.
#[must_use]
pub fn document(routes: &utoipa::openapi::OpenApi) -> Value {
    let mut document = serde_json::to_value(routes).expect("a document is JSON");
    let shapes = &mut document["components"]["schemas"];
    for (name, shape) in schemas::all() {
        shapes[name] = shape;
    }
    document["components"]["securitySchemes"] = json!({"key": {"type": "http", "scheme": "bearer"}});
    document["components"]["responses"] = json!({
        "Refused": failure("The request cannot be answered as it is: a parameter is not right (400), there is no key or an \
            unknown one (401), what it names is not there (404), or another request is in the way (409). `code` and `param` \
            say which."),
        "Failed": failure("The model's server or this one failed, or this one is stopping."),
    });
    for (path, operations) in document["paths"].as_object_mut().into_iter().flatten() {
        for (_, operation) in operations.as_object_mut().into_iter().flatten() {
            let parameters = operation.get_mut("parameters").and_then(Value::as_array_mut);
            parameters
                .into_iter()
                .flatten()
                .filter_map(|parameter| parameter["schema"].as_object_mut())
                .for_each(plain);
            if path.starts_with("/v1/") {
                complete(operation);
            }
        }
    }
    // One of the two, and not both.
    document["components"]["schemas"]["ChatRequest"]["oneOf"] =
        json!([{"required": ["prompt"]}, {"required": ["retry"]}]);
    document
}

/// A failure in OpenAI's shape.
fn failure(description: &str) -> Value {
    json!({"description": description,
        "content": {"application/json": {"schema": {"$ref": "#/components/schemas/OpenAiErrorBody"}}}})
}

/// The shape of a parameter, which is text on the wire: one that may be missing is not one that may be null, and numbers
/// have 64 bits and no sign, for which there is no format.
fn plain(schema: &mut Map<String, Value>) {
    if let Some(Value::Array(kinds)) = schema.get("type") {
        let kind = kinds.iter().find(|kind| *kind != "null").cloned();
        schema.extend(kind.map(|kind| ("type".to_owned(), kind)));
    }
    if schema.get("format").is_some_and(|format| format == "int64") {
        schema.remove("format");
        schema.insert("maximum".to_owned(), u64::MAX.into());
    }
}

/// What every operation of the SDK door has: a key, or none where the door stands open, and the two kinds of failure.
fn complete(operation: &mut Value) {
    operation["security"] = json!([{}, {"key": []}]);
    // A body that may be missing is not one that may be null.
    let schema = operation.pointer_mut("/requestBody/content/application~1json/schema");
    if let Some(schema) = schema
        && let Some(choices) = schema["oneOf"].as_array()
        && let Some(body) = choices.iter().find(|choice| choice.get("$ref").is_some()).cloned()
    {
        *schema = body;
    }
    for (status, name) in [("4XX", "Refused"), ("5XX", "Failed")] {
        operation["responses"][status] = json!({"$ref": format!("#/components/responses/{name}")});
    }
}

/// The document of a running server: where it is, and what its settings allow.
#[must_use]
pub fn of_server(mut document: Value, url: &str, chat: &ChatConfig) -> Value {
    document["servers"] = json!([{"url": url}]);
    let request = &mut document["components"]["schemas"]["ChatRequest"]["properties"];
    request["prompt"]["maxLength"] = chat.max_prompt_chars.into();
    request["systemPrompt"]["maxLength"] = chat.max_prompt_chars.into();
    request["maxTokens"]["maximum"] = chat.visitor_tokens_limit().into();
    if let Some(pattern) = regex_of(chat.allowed_models.patterns()) {
        request["model"]["pattern"] = pattern.into();
    }
    document
}

/// A regular expression for names that one of these patterns allows; `None` where one has more than stars.
fn regex_of(patterns: &[String]) -> Option<String> {
    let mut words = Vec::with_capacity(patterns.len());
    for pattern in patterns {
        if pattern.contains(['?', '[', ']', '{', '}', '!', '\\']) {
            return None;
        }
        let escaped = pattern.chars().fold(String::new(), |mut out, char| {
            match char {
                // Anything but control characters, which no name may have.
                '*' => out.push_str(r"[^\x00-\x1f\x7f-\x9f]*"),
                '.' | '+' | '(' | ')' | '|' | '^' | '$' | '/' => out.extend(['\\', char]),
                char => out.push(char),
            }
            out
        });
        words.push(escaped);
    }
    Some(format!("^({})$", words.join("|")))
}

/// `GET /openapi.json`.
pub async fn serve(State(document): State<Arc<Bytes>>) -> Response {
    ([(header::CONTENT_TYPE, "application/json")], Bytes::clone(&document)).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_of_models_become_a_regular_expression() {
        let regex = |patterns: &[&str]| regex_of(&patterns.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>());
        assert_eq!(regex(&["a*", "ft:x.y"]).as_deref(), Some(r"^(a[^\x00-\x1f\x7f-\x9f]*|ft:x\.y)$"));
        assert_eq!(regex(&["gpt-[45]"]), None);
    }
}
