//! How often something may happen: the generic cell rate algorithm (GCRA), whose whole state is one number. Pure.

/// At most so many in so long: that many at once, then one whenever its share of the time has passed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// How many, 1 or more.
    pub most: u32,
    /// In how many milliseconds, 1 or more.
    pub per_ms: i64,
}

/// What came of one more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Taken {
    /// It may happen.
    Yes {
        /// The state to keep: when all of the rate is free again, in microseconds since the Unix epoch.
        full_at_us: i64,
        /// What is left.
        left: RateLeft,
    },
    /// It may not, before this many milliseconds have passed.
    No {
        /// 1 or more.
        wait_ms: i64,
    },
}

/// What is left of a rate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RateLeft {
    /// How many there may be in all.
    pub most: u32,
    /// How many may happen at once now.
    pub left: u32,
    /// In how many milliseconds all of them may.
    pub full_in_ms: i64,
}

impl Rate {
    /// Takes one at `now_ms`. `full_at_us` is the state that the last one left; `None` where there was none.
    ///
    /// A clock that was set back can make no owner wait for longer than the rate's own time.
    #[must_use]
    pub fn take(self, full_at_us: Option<i64>, now_ms: i64) -> Taken {
        let (now_us, per_us) = (now_ms.saturating_mul(1000), self.per_ms.saturating_mul(1000));
        let used_until = full_at_us.unwrap_or(now_us).clamp(now_us, now_us.saturating_add(per_us));
        let full_at_us = used_until.saturating_add(self.share_us());
        let used_us = full_at_us.saturating_sub(now_us);
        if used_us > per_us {
            return Taken::No { wait_ms: used_us.saturating_sub(per_us).saturating_add(999) / 1000 };
        }
        Taken::Yes { full_at_us, left: self.left_after(used_us) }
    }

    /// What is left once so many microseconds of the rate's time are used.
    #[must_use]
    pub fn left_after(self, used_us: i64) -> RateLeft {
        let free_us = self.per_ms.saturating_mul(1000).saturating_sub(used_us);
        let left = u32::try_from(free_us / self.share_us()).unwrap_or_default().min(self.most);
        RateLeft { most: self.most, left, full_in_ms: used_us.saturating_add(999) / 1000 }
    }

    /// The time that one takes, in microseconds.
    #[must_use]
    pub fn share_us(self) -> i64 {
        (self.per_ms.saturating_mul(1000) / i64::from(self.most.max(1))).max(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RATE: Rate = Rate { most: 3, per_ms: 60_000 };

    /// Takes at each of these times; gives how many were left, or how long to wait.
    fn takes(times: &[i64]) -> Vec<Result<u32, i64>> {
        let mut state = None;
        let mut take = |now_ms: &i64| match RATE.take(state, *now_ms) {
            Taken::Yes { full_at_us, left } => {
                state = Some(full_at_us);
                Ok(left.left)
            }
            Taken::No { wait_ms } => Err(wait_ms),
        };
        times.iter().map(&mut take).collect()
    }

    #[test]
    fn as_many_as_there_may_be_at_once_and_then_one_for_each_share_of_the_time() {
        assert_eq!(takes(&[0, 0, 0, 0]), [Ok(2), Ok(1), Ok(0), Err(20_000)]);
        assert_eq!(takes(&[0, 0, 0, 19_999, 20_000, 20_000]), [Ok(2), Ok(1), Ok(0), Err(1), Ok(0), Err(20_000)]);
        assert_eq!(takes(&[0, 0, 0, 60_000, 60_000]), [Ok(2), Ok(1), Ok(0), Ok(2), Ok(1)]);
    }

    #[test]
    fn what_is_refused_uses_up_nothing() {
        let times: Vec<i64> = [0, 0, 0].into_iter().chain(std::iter::repeat_n(10_000, 50)).chain([20_000]).collect();
        assert_eq!(takes(&times).last(), Some(&Ok(0)));
    }

    #[test]
    fn a_clock_that_is_set_back_makes_no_wait_longer_than_the_rates_own_time() {
        assert_eq!(takes(&[1_000_000_000, 5]), [Ok(2), Err(20_000)]);
    }

    #[test]
    fn a_million_a_second_is_counted_too() {
        let rate = Rate { most: 1_000_000, per_ms: 1000 };
        let mut state = None;
        for _ in 0..1_000_000 {
            let Taken::Yes { full_at_us, .. } = rate.take(state, 7) else { panic!("refused too early") };
            state = Some(full_at_us);
        }
        assert_eq!(rate.take(state, 7), Taken::No { wait_ms: 1 });
    }
}
