//! The circuit breaker: when most calls fail, none is made for a while. Pure: the time is a parameter.
//!
//! A failure is an upstream that cannot be reached, does not answer in time, or answers with what is no answer. An
//! upstream that refuses (a wrong key, a rate limit, a bad request) is alive. An attempt is judged by how its answer
//! begins; one that is cut later says more about that answer than about the next.

use std::time::Duration;

use tokio::time::Instant;

use super::tally::Tally;

/// When it opens and how it heals.
#[derive(Debug, Clone, Copy)]
pub struct BreakerSettings {
    /// The stretch over which attempts are weighed.
    pub window: Duration,
    /// With fewer attempts than this in the window it stays closed.
    pub min_attempts: u32,
    /// It opens when this many in a hundred failed.
    pub failed_percent: u32,
    /// How long it refuses before the first probe; doubles with each probe that fails.
    pub open_for: Duration,
    /// The most that the doubling comes to.
    pub open_for_at_most: Duration,
    /// While a probe is under way another is let through after this long, in case the first one hangs.
    pub probe_every: Duration,
}

impl Default for BreakerSettings {
    fn default() -> Self {
        Self {
            window: Duration::from_secs(10),
            min_attempts: 10,
            failed_percent: 50,
            open_for: Duration::from_secs(5),
            open_for_at_most: Duration::from_secs(30),
            probe_every: Duration::from_secs(1),
        }
    }
}

/// Leave to make one attempt, handed back with the verdict. One that is never handed back does no harm.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Permit {
    /// Which opening it probes.
    probe_of: Option<u64>,
}

/// Closed, or open until some time.
#[derive(Debug)]
pub struct Breaker {
    settings: BreakerSettings,
    /// Attempts, and failures.
    tally: Tally,
    open: Option<Open>,
    openings: u64,
}

#[derive(Debug)]
struct Open {
    until: Instant,
    next_for: Duration,
}

impl Breaker {
    /// A closed one.
    #[must_use]
    pub fn new(settings: BreakerSettings, now: Instant) -> Self {
        Self { settings, tally: Tally::new(settings.window, now), open: None, openings: 0 }
    }

    /// Asks to make an attempt.
    ///
    /// # Errors
    /// When none is to be made: how long until one may.
    pub fn ask(&mut self, now: Instant) -> Result<Permit, Duration> {
        let Some(open) = &mut self.open else {
            return Ok(Permit { probe_of: None });
        };
        if now < open.until {
            return Err(open.until - now);
        }
        open.until = now + self.settings.probe_every;
        Ok(Permit { probe_of: Some(self.openings) })
    }

    /// Tells how the attempt went.
    pub fn tell(&mut self, permit: Permit, failed: bool, now: Instant) {
        match (&mut self.open, permit.probe_of) {
            (Some(open), Some(opening)) if opening == self.openings => match failed {
                true => {
                    open.until = now + open.next_for;
                    open.next_for = (open.next_for * 2).min(self.settings.open_for_at_most);
                    self.openings += 1;
                }
                false => {
                    self.open = None;
                    self.tally = Tally::new(self.settings.window, now);
                }
            },
            (None, None) => self.weigh(failed, now),
            // An attempt from before the opening, or a probe of an earlier one: old news.
            _ => {}
        }
    }

    fn weigh(&mut self, failed: bool, now: Instant) {
        self.tally.count_first(now);
        if !failed {
            return;
        }
        self.tally.count_second(now);
        let (attempts, failures) = self.tally.sums(now);
        let share = u64::from(failures) * 100;
        if attempts >= self.settings.min_attempts
            && share >= u64::from(attempts) * u64::from(self.settings.failed_percent)
        {
            let open_for = self.settings.open_for;
            self.openings += 1;
            self.open = Some(Open { until: now + open_for, next_for: open_for * 2 });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Trial {
        breaker: Breaker,
        now: Instant,
    }

    impl Trial {
        fn new() -> Self {
            let now = Instant::now();
            Self { breaker: Breaker::new(BreakerSettings::default(), now), now }
        }

        fn after(&mut self, ms: u64) -> &mut Self {
            self.now += Duration::from_millis(ms);
            self
        }

        fn ask(&mut self) -> Result<Permit, Duration> {
            self.breaker.ask(self.now)
        }

        fn attempt(&mut self, failed: bool) -> bool {
            let permit = self.ask();
            if let Ok(permit) = permit {
                self.breaker.tell(permit, failed, self.now);
            }
            permit.is_ok()
        }

        fn opened() -> Self {
            let mut trial = Self::new();
            assert!((0..10).all(|_| trial.attempt(true)));
            assert!(!trial.attempt(true));
            trial
        }
    }

    #[test]
    fn it_opens_after_enough_failures_and_not_before() {
        let mut trial = Trial::opened();
        assert_eq!(trial.ask(), Err(Duration::from_secs(5)));
        assert_eq!(trial.after(4000).ask(), Err(Duration::from_secs(1)));
    }

    #[test]
    fn it_stays_closed_while_most_succeed_and_when_failures_are_far_apart() {
        let mut trial = Trial::new();
        for _ in 0..100 {
            assert!(trial.attempt(true) && trial.attempt(false) && trial.attempt(false));
        }
        let mut trial = Trial::new();
        assert!((0..100).all(|_| trial.after(1200).attempt(true)));
    }

    #[test]
    fn a_probe_that_succeeds_closes_it() {
        let mut trial = Trial::opened();
        assert!(trial.after(5000).attempt(false));
        assert!((0..9).all(|_| trial.attempt(true)), "the failures from before are forgotten");
    }

    #[test]
    fn a_probe_that_fails_keeps_it_open_for_longer_up_to_a_limit() {
        let mut trial = Trial::opened();
        for open_for in [5000, 10_000, 20_000, 30_000, 30_000] {
            assert!(!trial.after(open_for - 1).attempt(true), "{open_for}");
            assert!(trial.after(1).attempt(true), "{open_for}");
        }
    }

    #[test]
    fn one_probe_at_a_time_and_a_lost_one_is_replaced() {
        let mut trial = Trial::opened();
        let lost = trial.after(5000).ask().unwrap();
        assert_eq!(trial.ask(), Err(Duration::from_secs(1)));
        let second = trial.after(1000).ask().unwrap();
        trial.breaker.tell(second, false, trial.now);
        assert!(trial.attempt(false));
        trial.breaker.tell(lost, true, trial.now);
        assert!(trial.attempt(false), "the lost probe's verdict comes too late");
    }

    #[test]
    fn attempts_from_before_the_opening_change_nothing() {
        let mut trial = Trial::new();
        let early = trial.ask().unwrap();
        assert!((0..10).all(|_| trial.attempt(true)));
        trial.breaker.tell(early, false, trial.now);
        assert!(!trial.attempt(false));
        trial.breaker.tell(early, true, trial.now);
        assert_eq!(trial.ask(), Err(Duration::from_secs(5)));
    }
}
