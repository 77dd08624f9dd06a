//! Wall-clock time as a parameter, so that tests own it.

pub mod steady;

#[cfg(feature = "testing")]
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// Where the current time comes from. Durations are measured elsewhere, with the runtime's monotonic timer.
pub trait Clock: Send + Sync + 'static {
    /// Milliseconds since the Unix epoch.
    fn now_ms(&self) -> i64;

    /// Whether the time has been certain for an hour.
    fn is_steady(&self) -> bool {
        true
    }

    /// What expired by then may be deleted for its age: while the time is not certain, nothing.
    fn certainly_past_ms(&self) -> i64 {
        if self.is_steady() { self.now_ms() } else { 0 }
    }
}

/// The machine's own clock.
#[derive(Debug, Default, Clone, Copy)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "the one place that reads the wall clock")]
    fn now_ms(&self) -> i64 {
        // A clock that stands before 1970 is as good as one that stands at its beginning.
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
    }
}

/// The time since this was made, which no setting of the machine's clock changes.
#[derive(Debug, Clone, Copy)]
pub struct Elapsed(Instant);

impl Elapsed {
    /// Begins at zero.
    #[must_use]
    pub fn since_now() -> Self {
        Self(Instant::now())
    }
}

impl Clock for Elapsed {
    fn now_ms(&self) -> i64 {
        i64::try_from(self.0.elapsed().as_millis()).unwrap_or(i64::MAX)
    }
}

/// A clock that moves only when it is told to.
#[cfg(feature = "testing")]
#[derive(Debug)]
pub struct ManualClock(AtomicI64);

#[cfg(feature = "testing")]
impl ManualClock {
    /// Starts at `now_ms`.
    #[must_use]
    pub fn at(now_ms: i64) -> Self {
        Self(AtomicI64::new(now_ms))
    }

    /// Moves by `delta_ms`, which may be negative.
    pub fn advance(&self, delta_ms: i64) {
        self.0.fetch_add(delta_ms, Ordering::SeqCst);
    }
}

#[cfg(feature = "testing")]
impl Clock for ManualClock {
    fn now_ms(&self) -> i64 {
        self.0.load(Ordering::SeqCst)
    }
}
