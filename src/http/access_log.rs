//! The access log: one line a request, once its answer is there or its client has left. It names the route, never an address
//! with its query, and owners by what opens nothing.

use std::net::IpAddr;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};

use axum::body::{Body, Bytes, HttpBody};
use axum::extract::{MatchedPath, Request};
use axum::http::{HeaderValue, Method, StatusCode};
use axum::response::Response;
use hyper::body::{Frame, SizeHint};
use tokio::time::Instant;

use super::app::App;
use crate::config::AccessLog;
use crate::domain::conversation::Owner;
use crate::domain::ids::TurnId;
use crate::metering::OwnerKind;

/// How many characters of a session's key are shown: enough to find its other requests.
const KEY_SHOWN: usize = 8;

tokio::task_local! {
    static NOTES: Arc<Notes>;
}

/// What handlers find out of a request that they answer.
#[derive(Debug, Default)]
struct Notes {
    owner: OnceLock<(&'static str, String)>,
    turn: OnceLock<TurnId>,
}

/// Whose request is being answered. The first word counts.
pub fn note_owner(owner: &Owner) {
    let _ = NOTES.try_with(|notes| notes.owner.get_or_init(|| shown(owner)).0);
}

/// The turn that the request began, joined or reads.
pub fn note_turn(turn: &TurnId) {
    let _ = NOTES.try_with(|notes| notes.turn.set(turn.clone()));
}

fn shown(owner: &Owner) -> (&'static str, String) {
    let kind = match OwnerKind::of(owner) {
        OwnerKind::Visitor => "session",
        OwnerKind::Key => "key",
        OwnerKind::Local => "local",
    };
    let id = match owner {
        Owner::Session(key) => key.as_str().chars().take(KEY_SHOWN).collect(),
        Owner::ApiKey(id) => id.clone(),
    };
    (kind, id)
}

/// A line that is written when this is dropped.
pub struct Line {
    method: Method,
    route: Option<MatchedPath>,
    id: Option<HeaderValue>,
    client: Option<IpAddr>,
    began: Instant,
    notes: Arc<Notes>,
    errors_only: bool,
    /// `None` while there is no answer: a client that leaves before has none.
    status: Option<StatusCode>,
    is_whole: bool,
}

impl Line {
    /// The line of a request, where the settings ask for one.
    pub fn of(app: &App, request: &Request, id: Option<&HeaderValue>) -> Option<Self> {
        (app.access_log != AccessLog::Off).then(|| Self {
            method: request.method().clone(),
            route: request.extensions().get::<MatchedPath>().cloned(),
            id: id.cloned(),
            client: app.site.client_address(request),
            began: Instant::now(),
            notes: Arc::default(),
            errors_only: app.access_log == AccessLog::Errors,
            status: None,
            is_whole: false,
        })
    }

    fn is_wanted(&self) -> bool {
        !self.errors_only || self.status.is_some_and(|status| status.is_server_error())
    }
}

/// The answer of `answering`, with which the line is written.
pub async fn follow(line: Option<Line>, answering: impl Future<Output = Response>) -> Response {
    let Some(mut line) = line else { return answering.await };
    let response = NOTES.scope(line.notes.clone(), answering).await;
    line.status = Some(response.status());
    // Only a stream is under way for long.
    if response.body().size_hint().exact().is_some() || !line.is_wanted() {
        line.is_whole = true;
        return response;
    }
    response.map(|body| Body::new(Logged { body, line }))
}

impl Drop for Line {
    fn drop(&mut self) {
        if !self.is_wanted() {
            return;
        }
        let owner = self.notes.owner.get();
        tracing::info!(
            target: "openai_backend::access",
            {
                request.method = self.method.as_str(),
                request.path = self.route.as_ref().map_or("-", MatchedPath::as_str),
                response.status = self.status.map(|status| status.as_u16()),
                response.whole = self.is_whole,
                duration_ms = u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX),
                request.id = self.id.as_ref().and_then(|id| id.to_str().ok()),
                client.address = self.client.map(tracing::field::display),
                owner.kind = owner.map(|(kind, _)| *kind),
                owner.id = owner.map(|(_, id)| id.as_str()),
                turn.id = self.notes.turn.get().map(tracing::field::display),
            },
            "request"
        );
    }
}

/// A body whose end is that of its line.
struct Logged {
    body: Body,
    line: Line,
}

impl HttpBody for Logged {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let polled = Pin::new(&mut self.body).poll_frame(context);
        self.line.is_whole |= matches!(polled, Poll::Ready(None)) || self.body.is_end_stream();
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
