//! Whether a connection waits for a request or answers one, which its bytes alone do not tell.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::task::{Context, Poll};

use axum::body::{Body, Bytes};
use axum::http::StatusCode;
use axum::response::Response;
use hyper::body::{Body as HttpBody, Frame, SizeHint};

const WAITING: u8 = 0;
const SERVING: u8 = 1;
const ANSWERED: u8 = 2;
const OVER: u8 = 3;

/// The phase of one connection. It moves on within the connection's one task.
#[derive(Clone, Default)]
pub(super) struct Phase(Arc<AtomicU8>);

impl Phase {
    /// No request is being answered: what is read belongs to the header of the next one.
    pub(super) fn is_waiting(&self) -> bool {
        self.0.load(Ordering::Relaxed) == WAITING
    }

    /// The header of a request has been read.
    pub(super) fn serve(&self) {
        self.0.store(SERVING, Ordering::Relaxed);
    }

    /// All that was to be written has been; true where that was an answer, and the next request is waited for.
    pub(super) fn has_flushed(&self) -> bool {
        self.0.compare_exchange(ANSWERED, WAITING, Ordering::Relaxed, Ordering::Relaxed).is_ok()
    }

    /// No more requests: the connection was refused, or belongs to another protocol now.
    pub(super) fn end(&self) {
        self.0.store(OVER, Ordering::Relaxed);
    }

    /// The answer to the request, which ends the phase of serving with its last byte.
    pub(super) fn follow(&self, response: Response) -> Response<Followed> {
        if response.status() == StatusCode::SWITCHING_PROTOCOLS {
            self.end();
        }
        response.map(|body| Followed { body, phase: self.clone() })
    }
}

/// The body of an answer; once it is dropped, nothing follows but what is still on its way.
pub(super) struct Followed {
    body: Body,
    phase: Phase,
}

impl Drop for Followed {
    fn drop(&mut self) {
        let _ = self.phase.0.compare_exchange(SERVING, ANSWERED, Ordering::Relaxed, Ordering::Relaxed);
    }
}

impl HttpBody for Followed {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
