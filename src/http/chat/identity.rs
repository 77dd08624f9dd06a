//! Who a visitor is before the first answer: the session of a first request, and the one that a page gets by reading.

use axum::http::HeaderMap;

use crate::access::session::Session;
use crate::http::app::App;
use crate::store::{IdempotencyKey, SessionUse};

/// How long a session lasts that a page got and has not used yet, in milliseconds: an hour.
const UNUSED_MS: i64 = 60 * 60 * 1000;

/// Where the session of a request comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// Its cookie.
    Cookie,
    /// Its idempotency key: without a cookie, a request that comes again finds the session that it was given.
    Key,
    /// It is new.
    Fresh,
}

/// The session of a request that begins a turn.
pub struct Visitor {
    pub session: Session,
    pub origin: Origin,
}

impl Visitor {
    /// The visitor of a request with this cookie's session, where it has one, and this idempotency key.
    pub fn of(app: &App, known: Option<Session>, key: Option<&IdempotencyKey>) -> Self {
        if let Some(session) = known {
            return Self { session, origin: Origin::Cookie };
        }
        match key.and_then(|key| app.sessions.of_key(key)) {
            Some(session) => Self { session, origin: Origin::Key },
            None => Self::fresh(app),
        }
    }

    /// One that was never here.
    pub fn fresh(app: &App) -> Self {
        Self { session: Session::mint(&*app.ids), origin: Origin::Fresh }
    }

    /// How the turn uses the session.
    pub fn session_use(&self, max_age_ms: i64) -> SessionUse {
        match self.origin {
            Origin::Cookie => SessionUse::Renew(max_age_ms),
            Origin::Key => SessionUse::OfKey(max_age_ms),
            Origin::Fresh => SessionUse::Create(max_age_ms),
        }
    }
}

/// A session for a page that has none yet, so that all that it sends from now on is of one session. `None` for what is no
/// page, and where the store takes no writes: reading is not to fail for that.
pub async fn for_page(app: &App, headers: &HeaderMap) -> Option<Session> {
    if !is_page(headers, &app.origins) {
        return None;
    }
    let session = Session::mint(&*app.ids);
    let max_age_ms = app.sessions.max_age_ms().min(UNUSED_MS);
    match app.store.create_session(&session.owner(), max_age_ms, app.clock.now_ms()).await {
        Ok(()) => Some(session),
        Err(error) => {
            tracing::warn!(%error, "a page gets no session before its first request");
            None
        }
    }
}

/// Whether a script of a page asks that may use the server, by what browsers say of their requests and scripts cannot. Crawlers,
/// programs, links and prefetches get no session by reading.
fn is_page(headers: &HeaderMap, origins: &[String]) -> bool {
    let said = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let is_script = matches!(said("sec-fetch-mode"), "cors" | "same-origin") && said("sec-fetch-dest") == "empty";
    let is_allowed = match said("sec-fetch-site") {
        "same-origin" | "same-site" => true,
        "cross-site" => origins.iter().any(|origin| origin == said("origin")),
        _ => false,
    };
    is_script && is_allowed && !headers.contains_key("sec-purpose")
}
