//! What every connection of a server is served with.

use std::time::Duration;

use axum::Router;
use tokio_util::sync::CancellationToken;

use super::waiting::WaitRules;

pub(super) struct Service {
    pub(super) router: Router,
    pub(super) wait: WaitRules,
    /// How long a client may take nothing of an answer.
    pub(super) write_timeout: Duration,
    /// Fires when the server begins to stop: each connection's next answer is its last.
    pub(super) stopping: CancellationToken,
    /// Fires when connections should end.
    pub(super) closing: CancellationToken,
}
