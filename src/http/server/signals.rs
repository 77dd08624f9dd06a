//! The signals that stop a server.

use tokio::signal::unix::{SignalKind, signal};

/// Resolves at SIGTERM or Ctrl-C, to what resolves at the next of them.
///
/// # Errors
/// When the signals cannot be listened for.
#[expect(clippy::async_yields_async, reason = "the first signal gives what waits for the second")]
pub fn stop_signals() -> Result<impl Future<Output = impl Future<Output = ()>>, String> {
    let signal = |kind| signal(kind).map_err(|error| format!("signals cannot be listened for: {error}"));
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let mut next = async move || {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    };
    Ok(async move {
        next().await;
        async move { next().await }
    })
}
