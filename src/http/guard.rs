//! What stands before the handlers: cross-site requests, CORS, panics, request ids, no caching of answers, and what is left
//! of a request.

use std::sync::Arc;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, header};
use axum::middleware::{self, Next};
use axum::response::Response;
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::cors::{AllowHeaders, AllowOrigin, CorsLayer};

use super::error::{is_sdk_path, panicked};
use super::{access_log, leftover_body, same_site, site, v1};
use crate::config::Config;
use crate::http::app::App;

/// The header that names a request in the answer and in the log.
pub static REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// What a page of another origin may read of an answer's header.
const EXPOSED: [&str; 6] =
    ["retry-after", "link", "x-request-id", "retry-after-ms", "x-should-retry", "openai-processing-ms"];

/// How long a browser may keep the answer to a preflight.
const PREFLIGHT_AGE: std::time::Duration = std::time::Duration::from_secs(600);

/// Puts the guards around the routes. Pages of the origins in the settings may use the server from other sites, with
/// credentials.
///
/// # Errors
/// When an origin is none; the settings are validated before, so this is a defect.
pub fn guarded(router: Router, app: &Arc<App>, config: &Config) -> Result<Router, String> {
    let allowed: Result<Vec<HeaderValue>, _> =
        config.web.cors_origins.iter().map(|origin| HeaderValue::from_str(origin)).collect();
    let cors = CorsLayer::new()
        .allow_origin(AllowOrigin::list(allowed.map_err(|error| error.to_string())?))
        .allow_credentials(true)
        .allow_methods([Method::GET, Method::POST, Method::DELETE])
        // SDKs add headers of their own with every version. The origins are a list, so it may send what it likes to.
        .allow_headers(AllowHeaders::mirror_request())
        .expose_headers(EXPOSED.map(HeaderName::from_static))
        .max_age(PREFLIGHT_AGE);
    Ok(router
        .layer(CatchPanicLayer::custom(panicked))
        .layer(middleware::from_fn_with_state(app.clone(), same_site::require))
        .layer(cors)
        .layer(middleware::from_fn_with_state(app.clone(), finish))
        .layer(middleware::from_fn(leftover_body::read_rest)))
}

/// Without an allowed origin, what else there is to say about CORS is left out.
fn strip_cors_headers(headers: &mut HeaderMap) {
    if !headers.contains_key(header::ACCESS_CONTROL_ALLOW_ORIGIN) {
        for name in [
            header::ACCESS_CONTROL_ALLOW_CREDENTIALS,
            header::ACCESS_CONTROL_ALLOW_HEADERS,
            header::ACCESS_CONTROL_ALLOW_METHODS,
            header::ACCESS_CONTROL_EXPOSE_HEADERS,
            header::ACCESS_CONTROL_MAX_AGE,
        ] {
            headers.remove(name);
        }
    }
}

/// A fresh name for a request.
pub fn request_id(app: &App) -> Option<HeaderValue> {
    HeaderValue::from_str(&format!("req_{:032x}", app.ids.public(app.clock.now_ms()))).ok()
}

/// What is done to every answer, in one layer: its request is named and logged, a failure of a layer that serves both doors gets
/// its door's shape, and what is one person's is kept out of shared caches.
async fn finish(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    let id = request_id(&app);
    let line = access_log::Line::of(&app, &request, id.as_ref());
    let (is_sdk, marks_cookies) = (is_sdk_path(request.uri().path()), app.site.marks_cookies_of(&request));
    let mut response = access_log::follow(line, next.run(request)).await;
    if is_sdk {
        v1::error::put_in_shape(&mut response);
    }
    let headers = response.headers_mut();
    if marks_cookies {
        site::mark_cookies(headers);
    }
    strip_cors_headers(headers);
    headers.extend(id.map(|id| (REQUEST_ID.clone(), id)));
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}
