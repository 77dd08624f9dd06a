//! Whether a request opened a connection of its own: one that failed on a pooled connection may only have met a stale one.

use std::cell::Cell;
use std::task::{Context, Poll};

use tower::{Layer, Service};

tokio::task_local! {
    static OPENED: Cell<bool>;
}

/// Runs a request through a client whose connector is [`Watched`]; gives its output, and whether it opened a connection.
pub async fn watch<T>(request: impl Future<Output = T>) -> (T, bool) {
    OPENED.scope(Cell::new(false), async { (request.await, OPENED.with(Cell::get)) }).await
}

/// The connector's layer.
#[derive(Debug, Clone, Copy)]
pub struct Watch;

impl<S> Layer<S> for Watch {
    type Service = Watched<S>;

    fn layer(&self, connector: S) -> Watched<S> {
        Watched(connector)
    }
}

/// A connector that tells the request on whose behalf it runs.
#[derive(Debug, Clone)]
pub struct Watched<S>(S);

impl<S: Service<R>, R> Service<R> for Watched<S> {
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, target: R) -> S::Future {
        // Outside of a scope there is no call that asks.
        let _ = OPENED.try_with(|opened| opened.set(true));
        self.0.call(target)
    }
}
