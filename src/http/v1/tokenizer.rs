//! Keeps slow work with tokens off the runtime.

use super::error::OpenAiError;
use crate::domain::model;
use crate::http::error::ApiError;

/// Loads the tokenizer's tables, which takes tens of milliseconds the first time.
///
/// # Errors
/// When loading them panicked.
pub async fn loaded(model: &str) -> Result<(), OpenAiError> {
    let encoding = model::profile(model).encoding;
    if encoding.is_loaded() {
        return Ok(());
    }
    let loading = tokio::task::spawn_blocking(move || encoding.load()).await;
    loading.map_err(|_| ApiError::defect().into())
}
