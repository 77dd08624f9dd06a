//! The bytes of one client's connection: cut where the client takes none, closed so that the last answer arrives, and counted
//! among the connections for as long as they flow, also after an upgrade to a WebSocket.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_util::sync::CancellationToken;

use super::exchange::Exchange;
use super::linger::Linger;
use super::write_timeout::WriteTimeout;
use crate::http::places::Place;

/// A client's connection.
pub(super) struct ClientIo<T> {
    io: T,
    writing: WriteTimeout,
    linger: Linger,
    exchange: Arc<Exchange>,
    _place: Place,
}

impl<T> ClientIo<T> {
    /// `write_timeout` is how long the client may take nothing. Once `closing` fires, closing waits for no client.
    pub(super) fn new(
        io: T,
        write_timeout: Duration,
        closing: CancellationToken,
        place: Place,
        exchange: Arc<Exchange>,
    ) -> Self {
        let (writing, linger) = (WriteTimeout::new(write_timeout), Linger::new(closing));
        Self { io, writing, linger, exchange, _place: place }
    }

    /// What has become of a write.
    fn judge<R>(&mut self, written: Poll<io::Result<R>>, cx: &mut Context<'_>) -> Poll<io::Result<R>> {
        self.exchange.set_blocked(written.is_pending());
        self.writing.judge(written, cx)
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for ClientIo<T> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let before = buf.filled().len();
        let read = Pin::new(&mut this.io).poll_read(cx, buf);
        if matches!(read, Poll::Ready(Ok(()))) && buf.filled().len() == before && buf.remaining() > 0 {
            this.linger.client_has_ended();
        }
        read
    }
}

impl<T: AsyncRead + AsyncWrite + Unpin> AsyncWrite for ClientIo<T> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.io).poll_write(cx, buf);
        self.judge(written, cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.io).poll_write_vectored(cx, bufs);
        self.judge(written, cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.io).poll_flush(cx);
        self.writing.judge(flushed, cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        this.linger.poll_close(&mut this.io, cx)
    }
}
