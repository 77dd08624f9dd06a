//! The only place that spawns: every task has a name and an owner that can wait for it.

use std::future::Future;
use std::time::Duration;

use futures::FutureExt;
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};
use tokio_util::task::TaskTracker;
use tokio_util::task::task_tracker::TaskTrackerToken;

/// What a guest may still say after it was asked to leave.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// Work that lives with its request and not on its own: counted, so that a stop can wait for it.
#[derive(Debug, Clone, Default)]
pub struct Guests {
    tracker: TaskTracker,
    leave: CancellationToken,
}

/// One of them, while it lives.
#[derive(Debug)]
pub struct Guest {
    leave: CancellationToken,
    _counted: TaskTrackerToken,
}

impl Guests {
    /// Counts one in.
    #[must_use]
    pub fn enter(&self) -> Guest {
        Guest { leave: self.leave.clone(), _counted: self.tracker.token() }
    }

    /// Waits for all to end, at most `grace`; then asks those that are left to leave.
    pub async fn see_out(&self, grace: Duration) {
        self.tracker.close();
        if tokio::time::timeout(grace, self.tracker.wait()).await.is_err() {
            tracing::info!(requests = self.tracker.len(), "stopping requests that outlast the grace period");
            self.leave.cancel();
            // Who stays longer is cut off with its connection.
            let _ = tokio::time::timeout(LAST_WORDS, self.tracker.wait()).await;
        }
    }
}

impl Guest {
    /// What `work` gives, unless this one is asked to leave before.
    pub async fn unless_leaving<T>(&self, work: impl Future<Output = T>) -> Option<T> {
        self.leave.run_until_cancelled(work).await
    }

    /// Resolves when this one is asked to leave.
    pub fn leaving(&self) -> WaitForCancellationFutureOwned {
        self.leave.clone().cancelled_owned()
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
