//! The bytes of one client's connection: cut where the client takes none or sends none, closed so that the last answer arrives,
//! and counted among the connections for as long as they flow, also after an upgrade to a WebSocket.

use std::io::{self, ErrorKind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::http::StatusCode;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_util::sync::CancellationToken;

use super::exchange::Exchange;
use super::linger::Linger;
use super::refusal;
use super::waiting::{Over, Waiting};
use super::write_timeout::WriteTimeout;
use crate::http::places::Place;

/// A client's connection.
pub(super) struct ClientIo<T> {
    io: T,
    waiting: Waiting,
    writing: WriteTimeout,
    linger: Linger,
    exchange: Arc<Exchange>,
    refusal: Option<Refusal>,
    _place: Place,
}

/// The last answer of a connection, and how much of it is sent.
struct Refusal {
    bytes: Vec<u8>,
    sent: usize,
}

impl<T: AsyncRead + AsyncWrite + Unpin> ClientIo<T> {
    /// `write_timeout` is how long the client may take nothing. Once `closing` fires, closing waits for no client.
    pub(super) fn new(
        io: T,
        write_timeout: Duration,
        closing: CancellationToken,
        waiting: Waiting,
        place: Place,
        exchange: Arc<Exchange>,
    ) -> Self {
        let (writing, linger) = (WriteTimeout::new(write_timeout), Linger::new(closing));
        Self { io, waiting, writing, linger, exchange, refusal: None, _place: place }
    }

    /// What has become of a write.
    fn judge<R>(&mut self, written: Poll<io::Result<R>>, cx: &mut Context<'_>) -> Poll<io::Result<R>> {
        self.exchange.set_blocked(written.is_pending());
        self.writing.judge(written, cx)
    }

    /// Sends the refusal with this status, or what is left of one that was begun.
    fn poll_refuse(&mut self, status: StatusCode, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Self { refusal, waiting, io, writing, .. } = self;
        let refusal = refusal.get_or_insert_with(|| Refusal { bytes: waiting.refusal(status), sent: 0 });
        while refusal.sent < refusal.bytes.len() {
            let written = Pin::new(&mut *io).poll_write(context, &refusal.bytes[refusal.sent..]);
            match ready!(writing.judge(written, context))? {
                0 => return Poll::Ready(Err(ErrorKind::WriteZero.into())),
                more => refusal.sent += more,
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Refuses what has been read, and ends the connection.
    fn poll_end(&mut self, status: StatusCode, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_refuse(status, context))?;
        ready!(self.linger.poll_close(&mut self.io, context))?;
        Poll::Ready(Err(io::Error::new(ErrorKind::ConnectionAborted, "the request was refused")))
    }

    /// A write of `length` bytes that the HTTP library begins of itself, with no request to answer: it refuses what it could
    /// not read. Its bare answer is replaced by one that says why.
    fn poll_own_answer(&mut self, begin: &[u8], length: usize, context: &mut Context<'_>) -> Poll<io::Result<usize>> {
        ready!(self.poll_refuse(refusal::status_of(begin), context))?;
        self.waiting.phase().end();
        self.refusal = None;
        Poll::Ready(Ok(length))
    }
}

impl<T: AsyncRead + AsyncWrite + Unpin> AsyncRead for ClientIo<T> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if this.refusal.is_some() {
            return this.poll_end(StatusCode::BAD_REQUEST, cx);
        }
        let before = buf.filled().len();
        let Poll::Ready(read) = Pin::new(&mut this.io).poll_read(cx, buf) else {
            return match ready!(this.waiting.poll_over(cx)) {
                // To the HTTP library this is a client that has ended.
                Over::Idle => Poll::Ready(Ok(())),
                Over::Late => {
                    this.linger.shorten();
                    this.poll_end(StatusCode::REQUEST_TIMEOUT, cx)
                }
            };
        };
        read?;
        let received = &buf.filled()[before..];
        if received.is_empty() && buf.remaining() > 0 {
            this.linger.client_has_ended();
        } else if this.waiting.received(received) {
            return this.poll_end(StatusCode::HTTP_VERSION_NOT_SUPPORTED, cx);
        }
        Poll::Ready(Ok(()))
    }
}

impl<T: AsyncRead + AsyncWrite + Unpin> AsyncWrite for ClientIo<T> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        if self.waiting.phase().is_waiting() {
            return self.poll_own_answer(buf, buf.len(), cx);
        }
        let written = Pin::new(&mut self.io).poll_write(cx, buf);
        self.judge(written, cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if self.waiting.phase().is_waiting() {
            let begin = bufs.iter().find(|buf| !buf.is_empty()).map_or(&[][..], |buf| buf);
            return self.poll_own_answer(begin, bufs.iter().map(|buf| buf.len()).sum(), cx);
        }
        let written = Pin::new(&mut self.io).poll_write_vectored(cx, bufs);
        self.judge(written, cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.io).poll_flush(cx);
        ready!(self.writing.judge(flushed, cx))?;
        self.waiting.flushed(cx);
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        this.linger.poll_close(&mut this.io, cx)
    }
}
