//! Refuses what pages of other sites send (P19): by `Sec-Fetch-Site`, or by `Origin` where the browser does not send it.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::uri::Scheme;
use axum::http::{HeaderName, Method, StatusCode, Uri, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::app::App;
use super::error::ApiError;

const FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// The most characters of a header that an error quotes.
const MOST_QUOTED: usize = 200;

/// Lets a request through, or answers it with a 403 that says how the operator can allow it.
pub async fn require(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    match check(&app, &request) {
        Ok(()) => next.run(request).await,
        Err(error) => error.into_response(),
    }
}

fn check(app: &App, request: &Request) -> Result<(), ApiError> {
    // These change nothing, and CORS decides who may read their answers.
    if matches!(*request.method(), Method::GET | Method::HEAD | Method::OPTIONS) {
        return Ok(());
    }
    let header =
        |name: &HeaderName| request.headers().get(name).map(|value| value.as_bytes()).filter(|v| !v.is_empty());
    let origin = header(&header::ORIGIN);
    let is_listed = || origin.is_some_and(|origin| app.origins.iter().any(|listed| listed.as_bytes() == origin));
    match (header(&FETCH_SITE), origin) {
        // Not a browser, or one that vouches for the page.
        (Some(b"same-origin" | b"none"), _) | (None, None) => Ok(()),
        _ if is_listed() => Ok(()),
        (Some(_), origin) => Err(refusal(origin.map(quoted).map_or_else(
            || "The browser says that the page is of another site.".to_owned(),
            |origin| {
                format!("The browser says that the page, at {origin}, is of another site: CORS_ORIGIN can allow it.")
            },
        ))),
        (None, Some(origin)) => {
            let view = app.site.view(request);
            match view.host.as_deref().is_some_and(|host| host_of(origin).as_deref() == Some(host)) {
                true => Ok(()),
                false => Err(other_host(&quoted(origin), view.host.as_deref().unwrap_or_default())),
            }
        }
    }
}

fn refusal(details: String) -> ApiError {
    let text = "This request comes from another site, which is not allowed to make it.";
    ApiError::new(StatusCode::FORBIDDEN, "cross_site", text).details(details)
}

/// A proxy that puts its own `Host` makes one site look like two.
fn other_host(origin: &str, host: &str) -> ApiError {
    let host = quoted(host.as_bytes());
    refusal(format!(
        "The page is at {origin}, and the request is for the host {host}. If that is one site behind a proxy, set PRODUCTION_URL \
         to its URL, or TRUSTED_PROXIES to the proxy's address so that its X-Forwarded-Host counts; if the page may call from \
         another site, add it to CORS_ORIGIN."
    ))
}

/// Host and port of an origin.
fn host_of(origin: &[u8]) -> Option<String> {
    let uri = Uri::try_from(origin).ok()?;
    let is_web = uri.scheme().is_some_and(|scheme| *scheme == Scheme::HTTP || *scheme == Scheme::HTTPS);
    uri.authority().filter(|_| is_web).map(|authority| authority.as_str().to_owned())
}

fn quoted(value: &[u8]) -> String {
    format!("{:?}", String::from_utf8_lossy(value).chars().take(MOST_QUOTED).collect::<String>())
}
