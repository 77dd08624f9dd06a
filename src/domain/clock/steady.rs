//! The time that a server goes by: the machine's, but for its jumps.

use std::sync::{Arc, Mutex, PoisonError};

use super::Clock;

/// A step of the wall clock up to this long is followed at once: it is how a clock is kept right.
const SMALL_STEP_MS: i64 = 60_000;

const HOUR_MS: i64 = 60 * 60 * 1_000;

/// Follows the wall clock while that agrees with the time that has passed. Where it jumps, time goes on as if it had not; only
/// if the jump still stands an hour later is it taken for right. So a clock that is wrong for a while ends nothing.
pub struct SteadyClock {
    wall: Arc<dyn Clock>,
    /// Milliseconds since some moment; never set.
    elapsed: Arc<dyn Clock>,
    course: Mutex<Course>,
}

/// Moments and spans of `elapsed`, in milliseconds.
struct Course {
    /// What `elapsed` lacks to be the time.
    offset_ms: i64,
    steady_since_ms: i64,
    jump: Option<Jump>,
}

/// The wall clock is off.
#[derive(Clone, Copy)]
struct Jump {
    since_ms: i64,
    by_ms: i64,
}

impl SteadyClock {
    /// Begins at what `wall` says now, and takes that for certain. `elapsed` only counts on.
    #[must_use]
    pub fn new(wall: Arc<dyn Clock>, elapsed: Arc<dyn Clock>) -> Self {
        let (now_ms, elapsed_ms) = (wall.now_ms(), elapsed.now_ms());
        let offset_ms = now_ms.saturating_sub(elapsed_ms);
        let course = Course { offset_ms, steady_since_ms: elapsed_ms.saturating_sub(HOUR_MS), jump: None };
        Self { wall, elapsed, course: Mutex::new(course) }
    }

    /// Takes the time for uncertain where it is over an hour from `certain_ms`, the last one that an earlier run was certain of:
    /// the server may have been off for so long, or the clock is wrong.
    pub fn compare(&self, certain_ms: Option<i64>) {
        let (now_ms, _) = self.look();
        let is_far = |certain_ms: i64| now_ms.saturating_sub(certain_ms).saturating_abs() > HOUR_MS;
        if certain_ms.is_some_and(is_far) {
            let elapsed_ms = self.elapsed.now_ms();
            self.course.lock().unwrap_or_else(PoisonError::into_inner).steady_since_ms = elapsed_ms;
            tracing::info!(
                "this server was off for over an hour, or the clock has jumped: nothing is removed for its age within an hour"
            );
        }
    }

    fn look(&self) -> (i64, bool) {
        // Whole at every moment, so a poisoned lock guards nothing broken.
        let mut course = self.course.lock().unwrap_or_else(PoisonError::into_inner);
        let (elapsed_ms, wall_ms) = (self.elapsed.now_ms(), self.wall.now_ms());
        course.follow(elapsed_ms, wall_ms);
        let is_steady = course.jump.is_none() && elapsed_ms - course.steady_since_ms >= HOUR_MS;
        (elapsed_ms.saturating_add(course.offset_ms), is_steady)
    }
}

impl Course {
    fn follow(&mut self, elapsed_ms: i64, wall_ms: i64) {
        let off_ms = wall_ms.saturating_sub(elapsed_ms.saturating_add(self.offset_ms));
        let is_small = |step_ms: i64| step_ms.saturating_abs() <= SMALL_STEP_MS;
        if is_small(off_ms) {
            self.offset_ms += off_ms;
            if self.jump.take().is_some() {
                self.steady_since_ms = elapsed_ms;
                tracing::warn!("the machine's clock has jumped back to the time that this server goes by");
            }
            return;
        }
        match self.jump {
            Some(jump) if is_small(off_ms.saturating_sub(jump.by_ms)) => {
                if elapsed_ms - jump.since_ms >= HOUR_MS {
                    (self.offset_ms, self.jump) = (self.offset_ms.saturating_add(off_ms), None);
                    self.steady_since_ms = elapsed_ms;
                    tracing::warn!(
                        by_ms = off_ms,
                        "the machine's clock has stayed where it jumped to, and is followed from now on"
                    );
                }
            }
            _ => {
                self.jump = Some(Jump { since_ms: elapsed_ms, by_ms: off_ms });
                tracing::warn!(
                    by_ms = off_ms,
                    "the machine's clock has jumped; this server goes by the time that has passed, and follows in an hour"
                );
            }
        }
    }
}

impl Clock for SteadyClock {
    fn now_ms(&self) -> i64 {
        self.look().0
    }

    fn is_steady(&self) -> bool {
        self.look().1
    }
}

#[cfg(test)]
mod tests {
    use super::super::ManualClock;
    use super::*;

    const DAY_MS: i64 = 24 * HOUR_MS;
    const START_MS: i64 = 1_800_000_000_000;

    struct Bench {
        wall: Arc<ManualClock>,
        elapsed: Arc<ManualClock>,
        clock: SteadyClock,
    }

    impl Bench {
        fn new() -> Self {
            let (wall, elapsed) = (Arc::new(ManualClock::at(START_MS)), Arc::new(ManualClock::at(7)));
            let clock = SteadyClock::new(wall.clone(), elapsed.clone());
            Self { wall, elapsed, clock }
        }

        fn pass(&self, ms: i64) {
            self.wall.advance(ms);
            self.elapsed.advance(ms);
        }

        fn since_start_ms(&self) -> i64 {
            self.clock.now_ms() - START_MS
        }
    }

    #[test]
    fn it_follows_small_steps_and_is_certain_after_an_hour_where_it_was_not() {
        let bench = Bench::new();
        assert_eq!((bench.since_start_ms(), bench.clock.is_steady()), (0, true));
        for near in [None, Some(START_MS - HOUR_MS), Some(START_MS + HOUR_MS)] {
            bench.clock.compare(near);
            assert!(bench.clock.is_steady());
        }
        bench.clock.compare(Some(START_MS - HOUR_MS - 1));
        assert!(!bench.clock.is_steady());
        bench.pass(HOUR_MS - 1);
        assert!(!bench.clock.is_steady());
        bench.pass(1);
        assert!(bench.clock.is_steady());
        for step_ms in [SMALL_STEP_MS, -SMALL_STEP_MS, 5_000] {
            bench.wall.advance(step_ms);
            assert_eq!(bench.clock.now_ms(), bench.wall.now_ms());
            assert!(bench.clock.is_steady());
        }
    }

    #[test]
    fn a_jump_for_a_minute_changes_nothing() {
        for by_ms in [31 * DAY_MS, -31 * DAY_MS] {
            let bench = Bench::new();
            bench.pass(DAY_MS);
            assert!(bench.clock.is_steady());
            bench.wall.advance(by_ms);
            for _ in 0..60 {
                bench.pass(1_000);
                assert!(!bench.clock.is_steady());
            }
            assert_eq!(bench.since_start_ms(), DAY_MS + 60_000);
            bench.wall.advance(-by_ms);
            assert_eq!(bench.since_start_ms(), DAY_MS + 60_000);
            bench.pass(HOUR_MS - 1);
            assert!(!bench.clock.is_steady(), "it was wrong within this hour");
            bench.pass(1);
            assert!(bench.clock.is_steady());
            assert_eq!(bench.clock.now_ms(), bench.wall.now_ms());
        }
    }

    #[test]
    fn a_jump_that_stands_for_an_hour_is_followed() {
        let bench = Bench::new();
        bench.wall.advance(DAY_MS);
        bench.clock.now_ms();
        bench.pass(HOUR_MS / 2);
        bench.wall.advance(DAY_MS);
        // Another jump: the hour begins anew.
        assert_eq!(bench.since_start_ms(), HOUR_MS / 2);
        bench.pass(HOUR_MS - 1);
        assert_eq!(bench.since_start_ms(), HOUR_MS / 2 + HOUR_MS - 1);
        bench.pass(1);
        assert_eq!(bench.clock.now_ms(), bench.wall.now_ms());
        assert!(!bench.clock.is_steady());
        bench.pass(HOUR_MS);
        assert!(bench.clock.is_steady());
    }
}
