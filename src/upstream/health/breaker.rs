//! The circuit breaker: when most attempts fail, none is made for a while. Pure: the time is a parameter.
//!
//! An attempt is judged by how its answer begins; one that is cut later says more about that answer than about the next.

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
    /// A probe whose outcome is not known after this long is not waited for any more.
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

/// What an attempt says of what it was made to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It answers.
    Answered,
    /// There is no answer, but not because it is down: it refused the request (a wrong key, a rate limit, a function that
    /// it does not have), or the answer was more or other than this server takes.
    Refused,
    /// It cannot be reached, gives up, or says that it is failing.
    Down,
    /// The same, found out by waiting in vain.
    Late,
}

impl Verdict {
    fn is_failure(self) -> bool {
        matches!(self, Self::Down | Self::Late)
    }
}

/// Leave to make attempts. One that is never judged nor given up does no harm.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Permit {
    /// Which opening it probes.
    probe_of: Option<u64>,
}

impl Permit {
    /// For what has not failed of late.
    pub const ORDINARY: Self = Self { probe_of: None };

    /// Whether it is there to find out how things stand: it may make all of its attempts.
    #[must_use]
    pub fn is_probe(self) -> bool {
        self.probe_of.is_some()
    }
}

/// Why there is no leave, and how long that may last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoLeave {
    /// It has been failing.
    Open(Duration),
    /// A probe is under way, whose outcome decides; it will have been looked at by then.
    Probing(Duration),
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
    /// Since when a probe is under way.
    probing_since: Option<Instant>,
    /// Failures are found out by waiting, so that a probe without an outcome means nothing.
    late: bool,
}

impl Breaker {
    /// A closed one.
    #[must_use]
    pub fn new(settings: BreakerSettings, now: Instant) -> Self {
        Self { settings, tally: Tally::new(settings.window, now), open: None, openings: 0 }
    }

    /// Whether it refuses, or probes.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.open.is_some()
    }

    /// Asks to make attempts.
    ///
    /// # Errors
    /// When none is to be made for now.
    pub fn ask(&mut self, now: Instant) -> Result<Permit, NoLeave> {
        let Some(open) = &mut self.open else {
            return Ok(Permit::ORDINARY);
        };
        if now < open.until {
            return Err(NoLeave::Open(open.until - now));
        }
        if let Some(since) = open.probing_since {
            let looked_at = since + self.settings.probe_every;
            if now < looked_at {
                return Err(NoLeave::Probing(looked_at - now));
            }
            if !open.late {
                self.close(now);
                return Ok(Permit::ORDINARY);
            }
        }
        open.probing_since = Some(now);
        Ok(Permit { probe_of: Some(self.openings) })
    }

    /// Tells how an attempt went; gives the permit for the next attempt of the same request.
    pub fn tell(&mut self, permit: Permit, verdict: Verdict, now: Instant) -> Permit {
        match (&mut self.open, permit.probe_of) {
            (Some(open), Some(opening)) if opening == self.openings => match (verdict.is_failure(), open.probing_since)
            {
                (false, _) => self.close(now),
                (true, Some(_)) => {
                    open.until = now + open.next_for;
                    open.next_for = (open.next_for * 2).min(self.settings.open_for_at_most);
                    open.probing_since = None;
                    open.late = verdict == Verdict::Late;
                    self.openings += 1;
                    return Permit { probe_of: Some(self.openings) };
                }
                // It failed once, and this was its own retry: that says no more.
                (true, None) => {}
            },
            (None, _) => self.weigh(verdict, now),
            // An attempt from before the opening, or a probe of an earlier one: old news.
            _ => {}
        }
        permit
    }

    /// Gives a permit back whose attempt was given up: the next one that asks may probe.
    pub fn give_up(&mut self, permit: Permit) {
        if let Some(open) = &mut self.open
            && permit.probe_of == Some(self.openings)
        {
            open.probing_since = None;
        }
    }

    fn close(&mut self, now: Instant) {
        self.open = None;
        self.tally = Tally::new(self.settings.window, now);
    }

    fn weigh(&mut self, verdict: Verdict, now: Instant) {
        if verdict == Verdict::Refused {
            return;
        }
        self.tally.count_first(now);
        if !verdict.is_failure() {
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
            let late = verdict == Verdict::Late;
            self.open = Some(Open { until: now + open_for, next_for: open_for * 2, probing_since: None, late });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Verdict::{Answered, Down, Late, Refused};
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

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

        fn ask(&mut self) -> Result<Permit, NoLeave> {
            self.breaker.ask(self.now)
        }

        fn tell(&mut self, permit: Permit, verdict: Verdict) -> Permit {
            self.breaker.tell(permit, verdict, self.now)
        }

        fn attempt(&mut self, failed: bool) -> bool {
            self.judged(if failed { Down } else { Answered })
        }

        fn judged(&mut self, verdict: Verdict) -> bool {
            let permit = self.ask();
            if let Ok(permit) = permit {
                self.tell(permit, verdict);
            }
            permit.is_ok()
        }

        fn opened_by(verdict: Verdict) -> Self {
            let mut trial = Self::new();
            assert!((0..10).all(|_| trial.judged(verdict)));
            assert!(!trial.judged(verdict));
            trial
        }

        fn opened() -> Self {
            Self::opened_by(Down)
        }
    }

    #[test]
    fn it_opens_after_enough_failures_and_not_before() {
        let mut trial = Trial::opened();
        assert_eq!(trial.ask(), Err(NoLeave::Open(5 * SECOND)));
        assert_eq!(trial.after(4000).ask(), Err(NoLeave::Open(SECOND)));
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
        let mut trial = Trial::opened_by(Late);
        let lost = trial.after(5000).ask().unwrap();
        assert_eq!(trial.ask(), Err(NoLeave::Probing(SECOND)));
        let second = trial.after(1000).ask().unwrap();
        assert!(second.is_probe());
        trial.tell(second, Answered);
        assert!(trial.attempt(false));
        trial.tell(lost, Down);
        assert!(trial.attempt(false), "the lost probe's verdict comes too late");
    }

    #[test]
    fn a_probe_that_outlives_quick_failures_closes_it() {
        let mut trial = Trial::opened();
        let slow = trial.after(5000).ask().unwrap();
        assert_eq!(trial.after(999).ask(), Err(NoLeave::Probing(Duration::from_millis(1))));
        assert!((0..20).all(|_| trial.after(1).ask() == Ok(Permit::ORDINARY)));
        trial.tell(slow, Late);
        assert!(trial.attempt(false), "it is one failure among others");
    }

    #[test]
    fn a_probe_that_is_given_up_makes_room_for_the_next() {
        let mut trial = Trial::opened();
        let left = trial.after(5000).ask().unwrap();
        trial.breaker.give_up(left);
        assert!(trial.ask().unwrap().is_probe());
    }

    #[test]
    fn the_retry_of_a_probe_may_close_it_and_does_not_make_it_worse() {
        let mut trial = Trial::opened();
        let probe = trial.after(5000).ask().unwrap();
        let retry = trial.tell(probe, Down);
        let again = trial.after(500).tell(retry, Down);
        assert_eq!(trial.ask(), Err(NoLeave::Open(Duration::from_millis(9_500))));
        trial.tell(again, Answered);
        assert!(trial.attempt(false));
    }

    #[test]
    fn what_is_refused_counts_for_nothing_but_ends_an_outage() {
        let mut trial = Trial::new();
        for _ in 0..9 {
            assert!(trial.judged(Down) && trial.judged(Refused) && trial.judged(Refused));
        }
        assert!(trial.judged(Down) && !trial.judged(Down), "refusals make no failure smaller");
        let mut trial = Trial::opened();
        assert!(trial.after(5000).judged(Refused) && trial.judged(Down));
    }

    #[test]
    fn attempts_from_before_the_opening_change_nothing() {
        let mut trial = Trial::new();
        let early = trial.ask().unwrap();
        assert!((0..10).all(|_| trial.attempt(true)));
        trial.tell(early, Answered);
        assert!(!trial.attempt(false));
        trial.tell(early, Down);
        assert_eq!(trial.ask(), Err(NoLeave::Open(5 * SECOND)));
    }
}
