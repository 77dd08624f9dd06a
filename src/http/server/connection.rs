//! One connection, from its first request to its end.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::tcp::OwnedReadHalf;
use tokio_util::sync::CancellationToken;

use super::client_io::ClientIo;
use super::exchange::{Exchange, Served, Watched};
use crate::http::site::Peer;

/// The most bytes that a connection keeps of a request's header, and about the most of an answer that its client does not
/// read.
const BUFFER: usize = 64 * 1024;

/// Serves a connection until it ends or its client is gone; when the server closes, what is being answered is answered to
/// its end.
pub(super) async fn serve(
    io: ClientIo<Served>,
    client: OwnedReadHalf,
    exchange: Arc<Exchange>,
    router: Router,
    header_timeout: Duration,
    closing: CancellationToken,
) {
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(header_timeout).max_buf_size(BUFFER).half_close(true);
    let peer = client.peer_addr().ok().map(Peer);
    let service = Watched { router, peer, exchange: exchange.clone() };
    let mut connection = std::pin::pin!(builder.serve_connection(TokioIo::new(io), service).with_upgrades());
    let mut gone = std::pin::pin!(exchange.client_gone(client.as_ref()));
    let ended = tokio::select! {
        // In this order: what is to be sent goes out before the client is looked at.
        biased;
        ended = &mut connection => ended,
        () = &mut gone => return tracing::trace!("a client left"),
        () = closing.cancelled() => {
            connection.as_mut().graceful_shutdown();
            tokio::select! {
                biased;
                ended = connection => ended,
                () = gone => return tracing::trace!("a client left"),
            }
        }
    };
    if let Err(error) = ended {
        // Clients that go away are no news.
        tracing::trace!(%error, "a connection ended early");
    }
}
