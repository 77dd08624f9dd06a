//! The only place that spawns: every task has a name and an owner that can wait for it.

use std::future::Future;
use std::time::Duration;

use futures::FutureExt;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// The tasks of one server.
#[derive(Debug, Clone, Default)]
pub struct Tasks {
    tracker: TaskTracker,
    stop: CancellationToken,
    crash: Option<CancellationToken>,
}

impl Tasks {
    /// Tasks that all end where they stand when `crash` fires, as they would with their process: for simulations.
    #[must_use]
    pub fn that_may_crash(crash: CancellationToken) -> Self {
        Self { crash: Some(crash), ..Self::default() }
    }

    /// Runs `task` until it ends. A panic in it is logged under its name, and ends only this task.
    #[expect(clippy::disallowed_methods, reason = "the one place that spawns")]
    pub fn spawn(&self, name: &'static str, task: impl Future<Output = ()> + Send + 'static) {
        let guarded = async move {
            if std::panic::AssertUnwindSafe(task).catch_unwind().await.is_err() {
                tracing::error!(task = name, "a task panicked");
            }
        };
        match self.crash.clone() {
            None => tokio::spawn(self.tracker.track_future(guarded)),
            Some(crash) => tokio::spawn(self.tracker.track_future(async move {
                tokio::select! {
                    biased;
                    () = crash.cancelled() => {}
                    () = guarded => {}
                }
            })),
        };
    }

    /// Fires when the server begins to stop.
    #[must_use]
    pub fn stopping(&self) -> &CancellationToken {
        &self.stop
    }

    /// Waits for all tasks to end, at most `limit`; gives how many still run.
    pub async fn wait(&self, limit: Duration) -> usize {
        self.tracker.close();
        // Running out of time is the answer, not an error: the count says what is left.
        let _ = tokio::time::timeout(limit, self.tracker.wait()).await;
        self.tracker.len()
    }
}
