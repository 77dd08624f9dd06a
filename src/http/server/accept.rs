//! Listens, and takes connections in as far as there are places for them.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpSocket};

use super::connection;
use super::service::Service;
use crate::config::Config;
use crate::tasks::Tasks;

/// How much the system keeps of an answer that its client does not read; left to itself it takes megabytes.
const SEND_BUFFER: u32 = 128 * 1024;

/// How many connections may wait to be accepted.
const BACKLOG: u32 = 1024;

/// A pause after an accept that failed for want of files, so that the loop does not spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Takes the address of the settings.
///
/// # Errors
/// With a sentence that says what to change.
pub async fn listen(config: &Config) -> Result<TcpListener, String> {
    let address = config.address();
    open(address).map_err(|error| match error.kind() {
        std::io::ErrorKind::AddrInUse => format!("{address} is taken by another program: set PORT to another port."),
        _ => format!("{address} cannot be listened on: {error}. HOST and PORT say where."),
    })
}

fn open(address: SocketAddr) -> std::io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    // A port that was just let go can be taken again, and connections inherit the buffer.
    socket.set_reuseaddr(true)?;
    socket.set_send_buffer_size(SEND_BUFFER)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// How many files this process may have open, where the system says.
pub(super) fn open_files() -> Option<usize> {
    let limits = std::fs::read_to_string("/proc/self/limits").ok()?;
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    line.split_whitespace().next()?.parse().ok()
}

/// Takes connections in until the server closes.
pub(super) async fn accept(listener: TcpListener, service: Service, tasks: Tasks) {
    let service = Arc::new(service);
    let (closing, places) = (&service.closing, &service.wait.places);
    loop {
        let stream = match closing.run_until_cancelled(listener.accept()).await {
            Some(Ok((stream, _))) => stream,
            Some(Err(error)) => {
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
            None => return,
        };
        // Without it a stream's small writes wait for the client's acknowledgements: 40 ms each.
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "a connection ended before it was served");
            continue;
        }
        // Accepted first, so that the connections that hold all places know that one is wanted.
        let Some(Some(place)) = closing.run_until_cancelled(places.connection()).await else { return };
        tasks.spawn("connection", connection::serve(stream, service.clone(), place));
    }
}
