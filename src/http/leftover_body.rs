//! What is left of a request that was answered before all of it had come: taken in where it is little, so that the
//! connection can go on, and else given up, which the answer then says.
//!
//! Clients send a header and a body in two pieces. Without this, an answer to the first alone (a wrong key) ends the
//! connection unannounced, and the client's next request on it fails.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::Request;
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::Response;
use http_body_util::BodyExt;
use hyper::body::{Body as HttpBody, Frame, SizeHint};
use tokio::sync::oneshot;

/// The most that is taken in, in bytes.
const MOST: u64 = 256 * 1024;

/// The longest wait for it.
const LONGEST: Duration = Duration::from_secs(1);

/// Answers once all of the request has come, or says that the connection ends.
pub async fn read_rest(request: Request, next: Next) -> Response {
    if request.body().is_end_stream() {
        return next.run(request).await;
    }
    // A client that waits to be told to send the body is not told to.
    let is_asking = request.headers().contains_key(header::EXPECT);
    let (back, left) = oneshot::channel();
    let request = request.map(|body| Body::new(Lent { body, back: Some(back) }));
    let mut response = next.run(request).await;
    // A handler that still has the body still reads it.
    let Ok(body) = { left }.try_recv() else { return response };
    let is_late = response.status() == StatusCode::REQUEST_TIMEOUT;
    if is_asking || is_late || !is_read(body).await {
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

/// Reads the rest, within its limits.
async fn is_read(mut body: Body) -> bool {
    let reading = async {
        let mut left = MOST;
        while body.size_hint().lower() <= left {
            match body.frame().await {
                None => return true,
                Some(Err(_)) => return false,
                Some(Ok(frame)) => {
                    let length = frame.data_ref().map_or(0, |data| data.len() as u64);
                    left = left.saturating_sub(length);
                    if left == 0 {
                        return false;
                    }
                }
            }
        }
        false
    };
    tokio::time::timeout(LONGEST, reading).await.unwrap_or(false)
}

/// A body that comes back when it is dropped before its end.
struct Lent {
    body: Body,
    /// `None` once the end was seen.
    back: Option<oneshot::Sender<Body>>,
}

impl HttpBody for Lent {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(context));
        if !matches!(frame, Some(Ok(_))) || self.body.is_end_stream() {
            self.back = None;
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        if let Some(back) = self.back.take() {
            // Where the client has left, the receiver is gone.
            let _ = back.send(std::mem::take(&mut self.body));
        }
    }
}
