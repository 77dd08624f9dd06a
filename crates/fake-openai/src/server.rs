//! The listener and its connections: start, outage, healing, end.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::net::{TcpListener, TcpSocket};
use tokio::task::{JoinHandle, JoinSet};

use crate::bench::Rendered;
use crate::connection;
use crate::record::Ledger;
use crate::script::{KeepAlive, Script};

/// How many connections may wait to be accepted.
const BACKLOG: u32 = 4096;

/// What all connections share.
pub(crate) struct Server {
    pub(crate) ledger: Arc<Ledger>,
    script: Mutex<Script>,
    keep_alive: Mutex<KeepAlive>,
    bench: Mutex<Option<Arc<Rendered>>>,
    /// `None` once the server is gone, so that nothing accepted at that moment survives it.
    connections: Mutex<Option<JoinSet<()>>>,
}

impl Server {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self {
            ledger: Arc::default(),
            script: Mutex::default(),
            keep_alive: Mutex::default(),
            bench: Mutex::default(),
            connections: Mutex::new(Some(JoinSet::new())),
        })
    }

    pub(crate) fn script(&self) -> MutexGuard<'_, Script> {
        lock(&self.script)
    }

    pub(crate) fn keep_alive(&self) -> KeepAlive {
        *lock(&self.keep_alive)
    }

    pub(crate) fn set_keep_alive(&self, keep_alive: KeepAlive) {
        *lock(&self.keep_alive) = keep_alive;
    }

    pub(crate) fn bench(&self) -> Option<Arc<Rendered>> {
        lock(&self.bench).clone()
    }

    pub(crate) fn set_bench(&self, bench: Option<Rendered>) {
        *lock(&self.bench) = bench.map(Arc::new);
    }

    /// Accepts connections until the task is aborted.
    #[allow(clippy::disallowed_methods, reason = "its owner is the Port that holds the handle")]
    pub(crate) fn listen(self: &Arc<Self>, listener: TcpListener) -> JoinHandle<()> {
        let server = self.clone();
        tokio::spawn(async move {
            loop {
                let Ok((stream, _)) = listener.accept().await else {
                    tokio::task::yield_now().await; // Out of file descriptors: others have to close theirs first.
                    continue;
                };
                let mut connections = lock(&server.connections);
                let Some(connections) = connections.as_mut() else {
                    return;
                };
                while connections.try_join_next().is_some() {}
                connections.spawn(connection::serve(stream, server.clone()));
            }
        })
    }

    /// Closes all connections, and waits until they are closed.
    pub(crate) async fn close_connections(&self) {
        let all = lock(&self.connections).as_mut().map(std::mem::take);
        if let Some(mut all) = all {
            all.shutdown().await;
        }
    }

    /// Closes all connections for good.
    pub(crate) fn end(&self) {
        drop(lock(&self.connections).take());
    }
}

/// A panicking responder fails its own test; the others' locks stay usable.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The server's hold on its port.
pub(crate) enum Port {
    Listening(JoinHandle<()>),
    /// Bound but not listening: connections are refused, and no other program can take the port.
    Held(TcpSocket),
    /// Between the two.
    Changing,
}

/// A socket that has the port and does not listen on it.
pub(crate) fn hold(address: SocketAddr) -> io::Result<TcpSocket> {
    let socket = match address {
        SocketAddr::V4(_) => TcpSocket::new_v4()?,
        SocketAddr::V6(_) => TcpSocket::new_v6()?,
    };
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    Ok(socket)
}

/// Turns a held port into a listener.
pub(crate) fn open(socket: TcpSocket) -> io::Result<TcpListener> {
    socket.listen(BACKLOG)
}

/// A free port of the loopback interface.
pub(crate) fn any_port() -> SocketAddr {
    (Ipv4Addr::LOCALHOST, 0).into()
}
