//! The route table: each route once; the OpenAPI document falls out of it.

use std::sync::Arc;

use axum::Router;
use axum::body::Bytes;
use axum::extract::Request;
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{any, get};
use utoipa::OpenApi;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use utoipa_swagger_ui::{Config, SwaggerUi};

use super::ops::{health, openapi};
use super::v1::{completions, conversations, models, pass, responses};
use super::{chat, error};
use crate::http::app::App;

/// All documented routes.
fn routes() -> OpenApiRouter<Arc<App>> {
    OpenApiRouter::with_openapi(openapi::Head::openapi())
        .routes(routes!(chat::post_chat, chat::get_chat, chat::delete_chat))
        .routes(routes!(chat::turns::list_turns))
        .routes(routes!(chat::turns::read_turn))
        .routes(routes!(chat::turns::cancel_turn))
        .merge(sdk_routes())
        .routes(routes!(health::root))
        .routes(routes!(health::live))
        .routes(routes!(health::ready))
}

/// The SDK door.
fn sdk_routes() -> OpenApiRouter<Arc<App>> {
    OpenApiRouter::new()
        .routes(routes!(completions::create, completions::stored::list))
        .routes(routes!(completions::stored::retrieve, completions::stored::update, completions::stored::delete))
        .routes(routes!(completions::stored::messages))
        .routes(routes!(responses::create))
        .route("/v1/responses", get(responses::socket::open))
        .routes(routes!(responses::tokens::count))
        .routes(routes!(responses::compact::compact))
        .routes(routes!(responses::stored::retrieve, responses::stored::delete))
        .routes(routes!(responses::stored::cancel))
        .routes(routes!(responses::stored::input_items))
        .routes(routes!(conversations::create, conversations::list_all))
        .routes(routes!(conversations::retrieve, conversations::update, conversations::delete))
        .routes(routes!(conversations::items::create, conversations::items::list_all))
        .routes(routes!(conversations::items::retrieve, conversations::items::delete))
        .routes(routes!(models::list))
        .routes(routes!(models::retrieve))
        // Some clients join a base URL that ends in a slash and a path that begins with one less.
        .route("/v1/models/", get(models::list))
        .route("/v1/models/{owner}/{*rest}", get(models::retrieve_slashed))
        .routes(routes!(pass::embeddings))
        .routes(routes!(pass::moderations))
        .routes(routes!(pass::speech))
        .routes(routes!(pass::transcriptions))
        .routes(routes!(pass::translations))
        .routes(routes!(pass::generations))
        .routes(routes!(pass::edits))
        .routes(routes!(pass::variations))
        .routes(routes!(pass::files, pass::add_file))
        .routes(routes!(pass::file, pass::delete_file))
        .routes(routes!(pass::file_content))
        .route("/v1/audio/{*rest}", any(pass::any))
        .route("/v1/images/{*rest}", any(pass::any))
        .route("/v1/files/{file_id}/{*rest}", any(pass::any))
}

/// The OpenAPI document, without any server's address.
#[cfg(feature = "testing")]
#[must_use]
pub fn document() -> serde_json::Value {
    openapi::document(&routes().into_openapi())
}

/// The routes over `app`, and the documentation, in which the server is at `url`.
pub fn router(app: Arc<App>, url: &str) -> Router {
    let (routes, document) = routes().split_for_parts();
    let document = openapi::of_server(openapi::document(&document), url, &app.chat);
    let document = Arc::new(Bytes::from(document.to_string()));
    let docs = Router::from(SwaggerUi::new("/docs").config(Config::from("../openapi.json").validator_url("none")));
    let docs = docs.layer(middleware::from_fn(below_a_path)).layer(middleware::from_fn(shape_missing));
    routes
        .with_state(app)
        .route("/openapi.json", get(openapi::serve).with_state(document))
        .merge(docs)
        .fallback(error::unknown_route)
        .method_not_allowed_fallback(error::wrong_method)
}

/// The documentation answers to files that it does not have with a bare 404.
async fn shape_missing(request: Request, next: Next) -> Response {
    let uri = request.uri().clone();
    let response = next.run(request).await;
    match response.status() {
        StatusCode::NOT_FOUND => error::unknown_route(uri).await.into_response(),
        _ => response,
    }
}

/// A proxy may have this server below a path of its own, which only relative addresses lead back to.
async fn below_a_path(request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    if let Some(location) = response.headers_mut().get_mut(header::LOCATION)
        && location == "/docs/"
    {
        *location = HeaderValue::from_static("docs/");
    }
    response
}
