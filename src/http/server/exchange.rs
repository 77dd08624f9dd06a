//! Tells a client that has closed only its own side of the connection from one that is gone.
//!
//! Both look alike at first: the client sends nothing more. One that waits for its answer takes bytes; the system of one
//! that has closed the connection answers them with a reset. So a client that ends while it is being answered is sent a few
//! bytes that mean nothing to it: an interim response before the answer has begun, a comment in a stream of events. Other
//! answers find out with their next bytes, and a client for which none come for a moment counts as gone.

use std::convert::Infallible;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::Request;
use axum::http::{HeaderMap, HeaderValue, Version, header};
use axum::response::Response;
use hyper::body::{Body as HttpBody, Frame, Incoming, SizeHint};
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::TcpStream;
use tokio::net::tcp::OwnedWriteHalf;
use tokio::sync::Notify;
use tower::ServiceExt;
use tower::util::Oneshot;

use crate::http::site::Peer;

/// Clients of HTTP/1.1 read over interim responses; this is the one that all of them do.
const INTERIM: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";

/// How long an answer of other bytes may stand still for a client that sends nothing more.
const OPAQUE_SILENCE: Duration = Duration::from_secs(1);

/// Server-Sent Events without a meaning.
const COMMENT: &[u8] = b":\n\n";

/// How the exchange on one connection stands.
#[derive(Default)]
pub(super) struct Exchange {
    /// A request is being answered, and nothing of the answer has been sent.
    is_unanswered: AtomicBool,
    /// Bytes of an answer are on their way, and nothing without a meaning can be put among them.
    is_opaque: AtomicBool,
    /// How many writes the client has taken.
    writes: AtomicU64,
    /// The client has room for nothing, so that bytes of an answer may be waiting.
    is_blocked: AtomicBool,
    /// The client sends nothing more.
    has_ended: AtomicBool,
    answered: Notify,
}

impl Exchange {
    /// Whether the last write had to wait for the client.
    pub(super) fn set_blocked(&self, is_blocked: bool) {
        self.writes.fetch_add(u64::from(!is_blocked), Ordering::Relaxed);
        self.is_blocked.store(is_blocked, Ordering::Relaxed);
    }

    /// Resolves when the client is gone; never for one that only sends nothing more.
    pub(super) async fn client_gone(&self, stream: &TcpStream) {
        let mut byte = [0];
        loop {
            match stream.peek(&mut byte).await {
                Err(_) => return,
                Ok(0) => break,
                // The next request; what is behind it shows once it is read.
                Ok(_) => self.answered.notified().await,
            }
        }
        self.has_ended.store(true, Ordering::Relaxed);
        if self.is_unanswered.load(Ordering::Relaxed) && !self.is_blocked.load(Ordering::Relaxed) {
            // Where there is no room for them, bytes are on their way already.
            let _ = stream.try_write(INTERIM);
        }
        // Has a stream of events looked at again, which is served by the same task.
        tokio::task::yield_now().await;
        tokio::select! {
            _ = stream.ready(Interest::ERROR) => {}
            () = self.opaque_silence() => {}
        }
    }

    /// Resolves when no bytes of an answer have come for a moment, where only they could tell that the client is gone.
    async fn opaque_silence(&self) {
        let mut written = self.writes.load(Ordering::Relaxed);
        loop {
            tokio::time::sleep(OPAQUE_SILENCE).await;
            let now = self.writes.load(Ordering::Relaxed);
            if now == std::mem::replace(&mut written, now) && self.is_opaque.load(Ordering::Relaxed) {
                return;
            }
        }
    }
}

/// A connection's bytes, for the side that serves it. The other half watches the client.
pub(super) struct Served(pub(super) OwnedWriteHalf);

impl AsyncRead for Served {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let stream: &TcpStream = self.0.as_ref();
        loop {
            ready!(stream.poll_read_ready(cx))?;
            match stream.try_read_buf(buf) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                read => return Poll::Ready(read.map(|_| ())),
            }
        }
    }
}

impl AsyncWrite for Served {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.0.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}

/// The routes, as one connection is served with them.
#[derive(Clone)]
pub(super) struct Watched {
    pub(super) router: Router,
    pub(super) peer: Option<Peer>,
    pub(super) exchange: Arc<Exchange>,
}

impl hyper::service::Service<hyper::Request<Incoming>> for Watched {
    type Response = Response;
    type Error = Infallible;
    type Future = Answering;

    fn call(&self, request: hyper::Request<Incoming>) -> Answering {
        // A client of HTTP/1.0 would take an interim response for its answer.
        self.exchange.is_unanswered.store(request.version() == Version::HTTP_11, Ordering::Relaxed);
        let mut request = request.map(Body::new);
        if let Some(peer) = self.peer {
            request.extensions_mut().insert(peer);
        }
        self.exchange.is_opaque.store(false, Ordering::Relaxed);
        let answer = self.router.clone().oneshot(request);
        Answering { answer, exchange: self.exchange.clone() }
    }
}

/// An answer that is being made.
pub(super) struct Answering {
    answer: Oneshot<Router, Request>,
    exchange: Arc<Exchange>,
}

impl Future for Answering {
    type Output = Result<Response, Infallible>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let response = ready!(Pin::new(&mut self.answer).poll(cx))?;
        self.exchange.is_unanswered.store(false, Ordering::Relaxed);
        self.exchange.answered.notify_one();
        let exchange = self.exchange.clone();
        let is_of_events = is_of_events(response.headers());
        exchange.is_opaque.store(!is_of_events && response.body().size_hint().exact().is_none(), Ordering::Relaxed);
        let response = match is_of_events {
            true => response.map(|body| Body::new(Events { body, exchange: Some(exchange), is_between: true })),
            false => response,
        };
        Poll::Ready(Ok(response))
    }
}

fn is_of_events(headers: &HeaderMap) -> bool {
    let kind = headers.get(header::CONTENT_TYPE).map(HeaderValue::as_bytes);
    kind.is_some_and(|kind| kind.starts_with(b"text/event-stream"))
}

/// A stream of events, with a comment among them where the client has ended.
struct Events {
    body: Body,
    /// `None` once the comment was sent.
    exchange: Option<Arc<Exchange>>,
    /// No event has been sent in part.
    is_between: bool,
}

impl HttpBody for Events {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let this = &mut *self;
        let Poll::Ready(frame) = Pin::new(&mut this.body).poll_frame(cx) else {
            let has_ended = |exchange: &mut Arc<Exchange>| exchange.has_ended.load(Ordering::Relaxed);
            if this.is_between && this.exchange.take_if(has_ended).is_some() {
                return Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(COMMENT)))));
            }
            return Poll::Pending;
        };
        if let Some(Ok(frame)) = &frame
            && let Some(data) = frame.data_ref()
            && !data.is_empty()
        {
            this.is_between = data.ends_with(b"\n\n");
            if let Some(exchange) = &this.exchange {
                exchange.is_opaque.store(!this.is_between, Ordering::Relaxed);
            }
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        match self.exchange {
            // There may be more than the body itself says.
            Some(_) => SizeHint::default(),
            None => self.body.size_hint(),
        }
    }
}
