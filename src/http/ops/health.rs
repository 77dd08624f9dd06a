//! `/health/live` and `/health/ready`, for the system that starts and stops servers, and the line of text at `/`.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;

use crate::http::app::App;
use crate::http::error::{ApiError, ErrorBody};
use crate::http::fault;

/// How the server is.
#[derive(Debug, Serialize, ToSchema)]
#[schema(example = json!({"status": "ok"}))]
pub struct Health {
    /// Always `ok`; anything else is an error.
    status: &'static str,
}

const OK: Json<Health> = Json(Health { status: "ok" });

/// What this is.
#[utoipa::path(get, path = "/", tag = "service", responses((status = 200, description = "A line of text.", body = String, content_type = "text/plain")))]
pub async fn root() -> &'static str {
    concat!("OpenAI Backend ", env!("CARGO_PKG_VERSION"), ": POST /chat to talk, GET /docs for the documentation.\n")
}

/// Whether the process runs.
#[utoipa::path(get, path = "/health/live", tag = "service", responses((status = 200, description = "It runs.", body = Health)))]
pub async fn live() -> Json<Health> {
    OK
}

/// Whether requests should be sent here: the store can be read and written to, and the server is not stopping.
#[utoipa::path(get, path = "/health/ready", tag = "service", responses(
    (status = 200, description = "It takes requests.", body = Health),
    (status = 503, description = "The store does not answer or cannot be written to, or the server is stopping.", body = ErrorBody)
))]
pub async fn ready(State(app): State<Arc<App>>) -> Result<Json<Health>, ApiError> {
    if app.ready.is_stopping() {
        return Err(fault::stopping());
    }
    app.store.ping().await?;
    Ok(OK)
}
