//! Embeddings, moderations, audio, images and files: passed on as bytes, and back as they come. Of JSON the model is read.

use std::sync::Arc;

use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, header};
use axum::response::Response;
use futures::StreamExt;
use futures::stream::{self, PollNext};
use serde::Deserialize;

use super::caller::{LiveCaller, body_of, while_alive};
use super::error::OpenAiError;
use super::schemas::{
    CreateEmbeddings, CreateFile, CreateImages, CreateModeration, CreateSpeech, CreateTranscription, EditImage,
};
use super::upload::upload;
use crate::domain::turn::{Fault, FaultKind};
use crate::http::app::App;
use crate::http::body;
use crate::http::error::ApiError;
use crate::http::fault;
use crate::metering::{Passage, Passed, Route, Wish};
use crate::tasks::json_off_runtime;

/// What goes up besides the body. Neither credentials nor cookies: what they open is not the upstream's.
const UP: [&str; 7] =
    ["content-type", "content-length", "accept", "openai-beta", "range", "if-none-match", "idempotency-key"];

/// What comes down besides status and body.
const DOWN: [&str; 12] = [
    "content-type",
    "content-length",
    "content-encoding",
    "content-disposition",
    "content-range",
    "accept-ranges",
    "etag",
    "last-modified",
    "retry-after",
    "retry-after-ms",
    "x-should-retry",
    "openai-processing-ms",
];

/// Passes any request on. The routes below are those that the document names.
pub async fn any(State(app): State<Arc<App>>, caller: LiveCaller, request: Request) -> Result<Response, OpenAiError> {
    let LiveCaller { owner, alive } = caller;
    let path = request.uri().path().strip_prefix("/v1").unwrap_or_default();
    let route = Route::of_path(path).ok_or_else(|| ApiError::not_found("There is nothing at this address."))?;
    let permit = app.metering.permit(&owner, &Wish::of(route))?;
    let in_flight = app.in_flight.enter();
    let (parts, body) = request.into_parts();
    let (body, model) = match body::is_json(&parts.headers) {
        true => with_model(body_of(&alive, app.bodies.read_within(app.bodies.v1, body)).await?).await,
        false => (body, None),
    };
    let (body, upload, watched) = upload(body, app.max_upload_bytes, app.bodies.timeout)?;
    let passage = Passage {
        method: parts.method,
        path: parts.uri.path().strip_prefix("/v1").unwrap_or_default().to_owned(),
        query: parts.uri.query().map(str::to_owned),
        model,
        headers: only(&parts.headers, |name| UP.contains(&name)),
        body,
        upload,
    };
    let passing = in_flight.unless_stopped(permit.start().await?.pass(passage));
    let passed = while_alive(&alive, passing).await?.ok_or_else(fault::stopping)?;
    if let Some(failure) = watched.failure() {
        return Err(failure.into());
    }
    let Passed { status, headers, body } = passed?;
    // A body that ends early, because its client's credential did, is not to look whole.
    let cut = stream::once(alive.ended()).map(|()| Err(Fault::new(FaultKind::UpstreamCut, "the credential ended")));
    let body = stream::select_with_strategy(body.map(Some).chain(stream::once(async { None })), cut.map(Some), first);
    let body = body.take_while(|item| std::future::ready(item.is_some())).filter_map(std::future::ready);
    let mut response = Response::new(Body::from_stream(body.map(move |bytes| {
        // Counted, and watched, as long as it goes on.
        let _ = (&in_flight, &alive);
        bytes
    })));
    *response.status_mut() = status;
    *response.headers_mut() = only(&headers, |name| DOWN.contains(&name) || name.starts_with("x-ratelimit-"));
    // Whatever a file claims to be, it is no page of this site.
    let policy = HeaderValue::from_static("default-src 'none'; sandbox");
    response.headers_mut().insert(header::CONTENT_SECURITY_POLICY, policy);
    Ok(response)
}

/// A JSON body with the model that it names, so that the failures of one model close the route for no other. Forms stream on
/// unread: in them the model may stand behind a file of any size.
async fn with_model(body: Bytes) -> (Body, Option<String>) {
    #[derive(Deserialize)]
    struct Sketch {
        model: Option<String>,
    }

    let sketch = body.clone();
    // What cannot be read is for the model's server to refuse.
    let model = json_off_runtime(body.len(), move || serde_json::from_slice::<Sketch>(&sketch).ok()?.model).await;
    (body.into(), model)
}

/// The end of the credential is looked for first.
fn first(_: &mut ()) -> PollNext {
    PollNext::Right
}

fn only(headers: &HeaderMap, keep: impl Fn(&str) -> bool) -> HeaderMap {
    let kept = headers.iter().filter(|(name, _)| keep(name.as_str()));
    kept.map(|(name, value): (&HeaderName, _)| (name.clone(), value.clone())).collect()
}

macro_rules! passed {
    ($name:ident, $method:ident, $path:tt, $says:tt $(, body = $body:ty as $kind:tt)? $(, id = $param:tt)?) => {
        #[doc = $says]
        #[utoipa::path($method, path = $path, tag = "openai",
            params($(($param = String, Path, description = "Its id."))?),
            $(request_body(content = $body, content_type = $kind),)?
            responses((status = "2XX", description = "As the model's server answers.", body = serde_json::Value,
                content_type = "*/*", example = json!({}))))]
        pub async fn $name(app: State<Arc<App>>, caller: LiveCaller, request: Request) -> Result<Response, OpenAiError> {
            any(app, caller, request).await
        }
    };
}

passed!(embeddings, post, "/v1/embeddings", "Embeddings, passed on as they come.",
    body = CreateEmbeddings as "application/json");
passed!(moderations, post, "/v1/moderations", "Moderations, passed on as they come.",
    body = CreateModeration as "application/json");
passed!(speech, post, "/v1/audio/speech", "Speech out of text, passed on as it comes.",
    body = CreateSpeech as "application/json");
passed!(transcriptions, post, "/v1/audio/transcriptions", "Text out of speech, passed on as it comes.",
    body = CreateTranscription as "multipart/form-data");
passed!(translations, post, "/v1/audio/translations", "English out of speech, passed on as it comes.",
    body = CreateTranscription as "multipart/form-data");
passed!(generations, post, "/v1/images/generations", "Images out of text, passed on as they come.",
    body = CreateImages as "application/json");
passed!(edits, post, "/v1/images/edits", "Images out of images, passed on as they come.",
    body = EditImage as "multipart/form-data");
passed!(variations, post, "/v1/images/variations", "Variations of an image, passed on as they come.",
    body = EditImage as "multipart/form-data");
passed!(files, get, "/v1/files", "The files at the model's server.");
passed!(add_file, post, "/v1/files", "A file for the model's server, passed on as it comes.",
    body = CreateFile as "multipart/form-data");
passed!(file, get, "/v1/files/{file_id}", "One file's description.", id = "file_id");
passed!(delete_file, delete, "/v1/files/{file_id}", "Delete a file.", id = "file_id");
passed!(file_content, get, "/v1/files/{file_id}/content", "What is in a file.", id = "file_id");
