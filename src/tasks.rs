//! The only place that spawns: every task has a name and an owner that can wait for it, and slow work has a thread of its own.

use std::future::Future;
use std::sync::LazyLock;
use std::time::Duration;

use futures::FutureExt;
use tokio::sync::Semaphore;
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};
use tokio_util::task::TaskTracker;
use tokio_util::task::task_tracker::TaskTrackerToken;

/// How long a request may take to say that it was stopped, once the grace period is over.
const STOPPED_WITHIN: Duration = Duration::from_secs(1);

/// The most bytes of text whose tokens are counted where they are; the slowest of this size takes 3 ms.
pub const QUICK_BYTES: usize = 8 * 1024;

/// How many bytes of JSON are read in the time in which the tokens of one byte of text are counted, about.
pub const JSON_PER_TEXT: usize = 16;

/// Slow work that runs at once: as much as there are cores, so that it fills memory with no more.
static SLOW_WORK: LazyLock<Semaphore> =
    LazyLock::new(|| Semaphore::new(std::thread::available_parallelism().map_or(1, usize::from)));

/// Counts the tokens of `bytes` bytes, or does what takes as long: off the runtime's threads where there are many, since
/// every other task would wait for it. A panic in `work` goes on in the caller.
pub async fn off_runtime<T: Send + 'static>(bytes: usize, work: impl FnOnce() -> T + Send + 'static) -> T {
    if bytes <= QUICK_BYTES {
        return work();
    }
    // The semaphore is never closed. The permit is the work's, which goes on where its caller is dropped.
    let permit = SLOW_WORK.acquire().await.ok();
    let working = tokio::task::spawn_blocking(move || {
        let _permit = permit;
        work()
    });
    match working.await.map_err(tokio::task::JoinError::try_into_panic) {
        Ok(done) => done,
        Err(Ok(panic)) => std::panic::resume_unwind(panic),
        // The runtime ends, and with it what waits for this.
        Err(Err(_)) => std::future::pending().await,
    }
}

/// The same for reading or writing `bytes` bytes of JSON.
pub async fn json_off_runtime<T: Send + 'static>(bytes: usize, work: impl FnOnce() -> T + Send + 'static) -> T {
    off_runtime(bytes / JSON_PER_TEXT, work).await
}

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
        // A turn's future has many kilobytes, and each wrapper below would move them once more.
        let task = Box::pin(task);
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

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::thread;

    use super::*;

    #[tokio::test]
    async fn much_work_is_done_on_another_thread_and_little_where_it_is() {
        let here = thread::current().id();
        assert_eq!(off_runtime(QUICK_BYTES, || thread::current().id()).await, here);
        assert_ne!(off_runtime(QUICK_BYTES + 1, || thread::current().id()).await, here);
        assert_eq!(json_off_runtime(QUICK_BYTES * JSON_PER_TEXT, || thread::current().id()).await, here);
        assert_ne!(json_off_runtime(usize::MAX, || thread::current().id()).await, here);
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn no_more_of_it_runs_at_once_than_there_are_cores() {
        let cores = thread::available_parallelism().map_or(1, usize::from);
        let (running, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let work = || {
            let (running, most) = (running.clone(), most.clone());
            off_runtime(usize::MAX, move || {
                most.fetch_max(running.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                thread::yield_now();
                running.fetch_sub(1, Ordering::SeqCst);
            })
        };
        futures::future::join_all((0..cores * 50).map(|_| work())).await;
        assert!((1..=cores).contains(&most.load(Ordering::SeqCst)));
    }

    #[tokio::test]
    async fn a_panic_in_it_goes_on_in_its_caller_and_takes_no_place() {
        for _ in 0..thread::available_parallelism().map_or(1, usize::from) + 1 {
            let work = std::panic::AssertUnwindSafe(off_runtime(usize::MAX, || panic!("a defect")));
            assert!(work.catch_unwind().await.is_err());
        }
        assert_eq!(off_runtime(usize::MAX, || 7).await, 7);
    }
}
