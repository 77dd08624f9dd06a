//! How many calls may be made again: a share of all calls, so that what is failing is not buried. Pure: the time is a
//! parameter.

use std::time::Duration;

use tokio::time::Instant;

use super::tally::Tally;

/// The stretch over which retries are weighed against calls.
const WINDOW: Duration = Duration::from_secs(60);

/// What all calls together may retry.
#[derive(Debug)]
pub struct RetryBudget {
    percent: u32,
    floor: u32,
    /// Calls, and retries.
    tally: Tally,
}

impl RetryBudget {
    /// Of the calls of the last minute `percent` in a hundred may be retried, and `floor` in any case, so that a quiet
    /// server can retry too.
    #[must_use]
    pub fn new(percent: u32, floor: u32, now: Instant) -> Self {
        Self { percent, floor, tally: Tally::new(WINDOW, now) }
    }

    /// Counts a call.
    pub fn call(&mut self, now: Instant) {
        self.tally.count_first(now);
    }

    /// Takes a retry out of the budget; false when there is none left.
    pub fn retry(&mut self, now: Instant) -> bool {
        let (calls, retries) = self.tally.sums(now);
        let share = u64::from(calls) * u64::from(self.percent) / 100;
        let allowed = u64::from(retries) < share.max(u64::from(self.floor));
        if allowed {
            self.tally.count_second(now);
        }
        allowed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retries_stay_a_share_of_the_calls() {
        let start = Instant::now();
        let mut budget = RetryBudget::new(20, 10, start);
        let mut retried = 0;
        for call in 0..1000 {
            let now = start + Duration::from_millis(call);
            budget.call(now);
            retried += (0..3).filter(|_| budget.retry(now)).count();
        }
        assert_eq!(retried, 200);
    }

    #[test]
    fn a_quiet_server_may_retry_too() {
        let start = Instant::now();
        let mut budget = RetryBudget::new(20, 10, start);
        budget.call(start);
        assert_eq!((0..20).filter(|_| budget.retry(start)).count(), 10);
        let later = start + WINDOW;
        assert!(budget.retry(later));
    }
}
