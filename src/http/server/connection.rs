//! One connection, from its first request to its end.

use std::convert::Infallible;
use std::pin::pin;
use std::sync::Arc;

use axum::http::{HeaderValue, StatusCode, header};
use hyper::server::conn::http1;
use hyper::service::{Service as _, service_fn};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

use super::client_io::ClientIo;
use super::exchange::{Exchange, Served, Watched};
use super::phase::Phase;
use super::service::Service;
use super::waiting::Waiting;
use crate::http::places::Place;
use crate::http::site::Peer;

/// The most bytes that a connection keeps of a request's header, and about the most of an answer that its client does not
/// read.
const BUFFER: usize = 64 * 1024;

/// Serves a connection until it ends or its client is gone; when the server closes, what is being answered is answered to
/// its end.
pub(super) async fn serve(stream: TcpStream, service: Arc<Service>, place: Place) {
    let (client, served) = stream.into_split();
    let exchange = Arc::new(Exchange::default());
    let peer = client.peer_addr().ok().map(Peer);
    let routes = Watched { router: service.router.clone(), peer, exchange: exchange.clone() };
    serve_until(exchange.client_gone(client.as_ref()), Served(served), routes, &service, place).await;
}

/// The same over any bytes, until `gone` resolves.
pub(super) async fn serve_until<T>(
    gone: impl Future<Output = ()>,
    io: T,
    routes: Watched,
    service: &Service,
    place: Place,
) where
    T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let phase = Phase::default();
    let waiting = Waiting::new(service.wait.clone(), phase.clone());
    let io = ClientIo::new(io, service.write_timeout, service.closing.clone(), waiting, place, routes.exchange.clone());
    let ends_soon = || service.stopping.is_cancelled() || service.wait.places.are_wanted();
    let answer = service_fn(|request| {
        phase.serve();
        let answer = routes.call(request);
        async {
            let mut response = answer.await?;
            // A client that sent its next request on a connection that is about to close would lose it.
            if ends_soon() && response.status() != StatusCode::SWITCHING_PROTOCOLS {
                response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
            }
            Ok::<_, Infallible>(phase.follow(response))
        }
    });
    let mut builder = http1::Builder::new();
    builder.max_buf_size(BUFFER).half_close(true);
    let mut connection = pin!(builder.serve_connection(TokioIo::new(io), answer).with_upgrades());
    let mut gone = pin!(gone);
    let ended = tokio::select! {
        // In this order: what is to be sent goes out before the client is looked at.
        biased;
        ended = &mut connection => ended,
        () = &mut gone => return tracing::trace!("a client left"),
        () = service.closing.cancelled() => {
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
