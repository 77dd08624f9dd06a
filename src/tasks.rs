//! The only place that spawns: every task has a name and an owner that can wait for it.

use std::future::Future;
use std::time::Duration;

use futures::FutureExt;
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};
use tokio_util::task::TaskTracker;
use tokio_util::task::task_tracker::TaskTrackerToken;

/// How long a request may take to say that it was stopped, once the grace period is over.
const STOPPED_WITHIN: Duration = Duration::from_secs(1);

/// Requests that are being answered outside any turn: counted, so that a stop can wait for them.
#[derive(Debug, Clone, Default)]
pub struct InFlight {
    tracker: TaskTracker,
    stop: CancellationToken,
}

/// One of them; dropped when it has been answered.
#[derive(Debug)]
pub struct InFlightRequest {
    stop: CancellationToken,
    _counted: TaskTrackerToken,
}

impl InFlight {
    /// Counts a request until what is returned is dropped.
    #[must_use]
    pub fn enter(&self) -> InFlightRequest {
        InFlightRequest { stop: self.stop.clone(), _counted: self.tracker.token() }
    }

    /// Waits at most `grace` for all requests to end, then stops those that are left.
    pub async fn drain(&self, grace: Duration) {
        self.tracker.close();
        if tokio::time::timeout(grace, self.tracker.wait()).await.is_err() {
            tracing::info!(requests = self.tracker.len(), "stopping requests that outlast the grace period");
            self.stop.cancel();
            // Requests that take longer are cut off with their connections.
            let _ = tokio::time::timeout(STOPPED_WITHIN, self.tracker.wait()).await;
        }
    }
}

impl InFlightRequest {
    /// What `work` gives, or `None` where the request is stopped before.
    pub async fn unless_stopped<T>(&self, work: impl Future<Output = T>) -> Option<T> {
        self.stop.run_until_cancelled(work).await
    }

    /// Resolves when the request is stopped.
    pub fn stopped(&self) -> WaitForCancellationFutureOwned {
        self.stop.clone().cancelled_owned()
    }
}

/// The tasks of one server.
#[derive(Debug, Clone, Default)]
pub struct Tasks {
    tracker: TaskTracker,
    stop: CancellationToken,
    crash: Option<CancellationToken>,
}

impl Tasks {
    /// Tasks that all end where they stand when `crash` fires, as they would with their process: for simulations.
    #[cfg(feature = "testing")]
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
