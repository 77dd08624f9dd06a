//! The OpenAPI document's head; its paths come from the routes.

use axum::Json;
use axum::extract::State;
use std::sync::Arc;
use utoipa::OpenApi;
use utoipa::openapi::ServerBuilder;
use utoipa::openapi::security::{Http, HttpAuthScheme, SecurityScheme};

/// Title, tags and words that belong to no single route.
#[derive(OpenApi)]
#[openapi(
    info(
        title = "OpenAI Backend",
        description = "A chat backend that keeps the key, the history and every answer. `POST /chat` talks to the model; \
            the session cookie is its memory. Every failure has the same shape: `{\"error\", \"details\"?, \"code\"}`. Below \
            `/v1` it is what OpenAI's SDKs expect, with a key, and failures in OpenAI's shape.",
        license(name = "MIT", identifier = "MIT")
    ),
    modifiers(&Key),
    tags(
        (name = "chat", description = "Talk, with memory by cookie."),
        (name = "turns", description = "Find a turn again, read it from any event on, stop it."),
        (name = "responses", description = "OpenAI's Responses, with state, on any model."),
        (name = "conversations", description = "OpenAI's Conversations; those of `/chat` are among them."),
        (name = "openai", description = "For OpenAI's SDKs: set their base URL to `/v1` here."),
        (name = "service", description = "For whoever runs the server.")
    )
)]
pub struct Head;

/// How a key is sent.
struct Key;

impl utoipa::Modify for Key {
    fn modify(&self, document: &mut utoipa::openapi::OpenApi) {
        let key = SecurityScheme::Http(Http::new(HttpAuthScheme::Bearer));
        document.components.get_or_insert_default().add_security_scheme("key", key);
    }
}

/// The document with the server's own address in it.
#[must_use]
pub fn with_server(mut document: utoipa::openapi::OpenApi, url: &str) -> utoipa::openapi::OpenApi {
    document.servers = Some(vec![ServerBuilder::new().url(url).build()]);
    document
}

/// `GET /openapi.json`.
pub async fn serve(State(document): State<Arc<utoipa::openapi::OpenApi>>) -> Json<utoipa::openapi::OpenApi> {
    Json((*document).clone())
}
