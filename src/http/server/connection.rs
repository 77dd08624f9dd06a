//! One connection, from its first request to its end.

use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;

use super::client_io::ClientIo;

/// The most bytes that a connection keeps of a request's header, and about the most of an answer that its client does not
/// read.
const BUFFER: usize = 64 * 1024;

/// Serves a connection until it ends; when the server closes, what is being answered is answered to its end.
pub(super) async fn serve(
    io: ClientIo<TcpStream>,
    router: Router,
    header_timeout: Duration,
    closing: CancellationToken,
) {
    let service = TowerToHyperService::new(router);
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(header_timeout).max_buf_size(BUFFER);
    let mut connection = std::pin::pin!(builder.serve_connection(TokioIo::new(io), service).with_upgrades());
    let ended = tokio::select! {
        ended = &mut connection => ended,
        () = closing.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        // Clients that go away are no news.
        tracing::trace!(%error, "a connection ended early");
    }
}
