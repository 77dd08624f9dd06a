//! Two counters over the last stretch of time. Pure: the time is a parameter.

use std::time::Duration;

use tokio::time::Instant;

const SLOTS: u64 = 10;

/// Counts of two kinds of things, forgotten in ten steps as they age.
#[derive(Debug, Clone)]
pub struct Tally {
    origin: Instant,
    slot: Duration,
    /// Counts the slots since `origin`.
    newest: u64,
    counts: [[u32; 2]; SLOTS as usize],
}

impl Tally {
    /// Remembers the last `window`, at least a tenth of a millisecond.
    #[must_use]
    pub fn new(window: Duration, now: Instant) -> Self {
        let slot = (window / SLOTS as u32).max(Duration::from_micros(10));
        Self { origin: now, slot, newest: 0, counts: Default::default() }
    }

    /// Counts one of the first kind.
    pub fn count_first(&mut self, now: Instant) {
        self.slot_at(now)[0] += 1;
    }

    /// Counts one of the second kind.
    pub fn count_second(&mut self, now: Instant) {
        self.slot_at(now)[1] += 1;
    }

    /// What the window holds of each kind.
    pub fn sums(&mut self, now: Instant) -> (u32, u32) {
        self.slot_at(now);
        self.counts.iter().fold((0, 0), |(first, second), [a, b]| (first + a, second + b))
    }

    fn slot_at(&mut self, now: Instant) -> &mut [u32; 2] {
        let age = now.saturating_duration_since(self.origin).as_nanos() / self.slot.as_nanos();
        let slot = u64::try_from(age).unwrap_or(u64::MAX).max(self.newest);
        for stale in (self.newest + 1..=slot).rev().take(SLOTS as usize) {
            self.counts[(stale % SLOTS) as usize] = [0, 0];
        }
        self.newest = slot;
        &mut self.counts[(slot % SLOTS) as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WINDOW: Duration = Duration::from_secs(10);

    #[test]
    fn counts_age_out_of_the_window() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut tally = Tally::new(WINDOW, start);
        tally.count_first(at(0));
        tally.count_second(at(5));
        tally.count_second(at(5));
        assert_eq!(tally.sums(at(9)), (1, 2));
        assert_eq!(tally.sums(at(10)), (0, 2));
        assert_eq!(tally.sums(at(15)), (0, 0));
        tally.count_first(at(1_000_000));
        assert_eq!(tally.sums(at(1_000_001)), (1, 0));
    }

    #[test]
    fn a_time_out_of_order_counts_as_the_newest() {
        let start = Instant::now();
        let mut tally = Tally::new(WINDOW, start);
        tally.count_first(start + WINDOW);
        tally.count_first(start);
        assert_eq!(tally.sums(start), (2, 0));
    }
}
