//! `GET /v1/models`: what requests may name, as the upstream lists it, or as the settings do where it has no list.

use std::borrow::Cow;
use std::sync::Arc;

use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use utoipa::ToSchema;

use super::answer;
use super::caller::Caller;
use super::error::OpenAiError;
use crate::domain::conversation::Owner;
use crate::http::app::App;
use crate::http::fault;
use crate::metering::{Route, Wish};

/// A model.
#[derive(Debug, Serialize, ToSchema)]
#[schema(example = json!({"id": "demo", "object": "model", "created": 0, "owned_by": "openai-backend"}))]
pub struct ModelObject {
    /// What requests call it.
    id: String,
    /// Always `model`.
    object: &'static str,
    /// When it was made, in seconds since 1970; 0 where nobody knows.
    created: u64,
    /// Whose it is.
    owned_by: &'static str,
}

/// The models.
#[derive(Debug, Serialize, ToSchema)]
#[schema(example = json!({"object": "list",
    "data": [{"id": "demo", "object": "model", "created": 0, "owned_by": "openai-backend"}]}))]
pub struct ModelList {
    /// Always `list`.
    object: &'static str,
    /// Those that requests may name.
    #[schema(value_type = Vec<ModelObject>)]
    data: Vec<Box<RawValue>>,
}

#[derive(Deserialize)]
struct Listed<'a> {
    #[serde(borrow)]
    data: Option<Vec<&'a RawValue>>,
}

#[derive(Deserialize)]
struct Named<'a> {
    #[serde(borrow)]
    id: Cow<'a, str>,
}

/// The models that requests may name.
#[utoipa::path(get, path = "/v1/models", tag = "openai", operation_id = "list_models",
    responses((status = 200, description = "The models.", body = ModelList)))]
pub async fn list(State(app): State<Arc<App>>, Caller(owner): Caller) -> Result<Response, OpenAiError> {
    let data = known(&app, &owner).await?.into_iter().map(|(_, model)| model).collect();
    Ok(axum::Json(ModelList { object: "list", data }).into_response())
}

/// One model.
#[utoipa::path(get, path = "/v1/models/{model}", tag = "openai", operation_id = "retrieve_model",
    params(("model" = String, Path, description = "Its id.")),
    responses((status = 200, description = "The model.", body = ModelObject)))]
pub async fn retrieve(
    State(app): State<Arc<App>>,
    Caller(owner): Caller,
    Path(id): Path<String>,
) -> Result<Response, OpenAiError> {
    find(&app, &owner, &id).await
}

/// One model whose id has slashes in it that the client did not encode.
pub async fn retrieve_slashed(
    State(app): State<Arc<App>>,
    Caller(owner): Caller,
    Path((vendor, rest)): Path<(String, String)>,
) -> Result<Response, OpenAiError> {
    find(&app, &owner, &format!("{vendor}/{rest}")).await
}

async fn find(app: &App, owner: &Owner, id: &str) -> Result<Response, OpenAiError> {
    let known = known(app, owner).await?;
    let (_, model) = known.into_iter().find(|(name, _)| name == id).ok_or_else(OpenAiError::no_model)?;
    Ok(answer::written(model.get().to_owned()))
}

/// By id; each as the upstream describes it.
async fn known(app: &App, owner: &Owner) -> Result<Vec<(String, Box<RawValue>)>, OpenAiError> {
    let permit = app.metering.permit(owner, &Wish::of(Route::Models))?;
    let in_flight = app.in_flight.enter();
    let listed = in_flight.unless_stopped(permit.start()?.models()).await.ok_or_else(fault::stopping)??;
    if let Some(body) = &listed
        && let Ok(Listed { data }) = serde_json::from_slice(body)
    {
        let named = data.into_iter().flatten().filter_map(|model| {
            let Named { id } = serde_json::from_str(model.get()).ok()?;
            permit.allows_model(&id).then(|| (id.into_owned(), model.to_owned()))
        });
        return Ok(named.collect());
    }
    let models = permit.named_models().into_iter().map(|id| {
        let model = ModelObject { id: id.clone(), object: "model", created: 0, owned_by: "openai-backend" };
        serde_json::value::to_raw_value(&model).map(|raw| (id.clone(), raw))
    });
    Ok(models.filter_map(Result::ok).collect())
}
