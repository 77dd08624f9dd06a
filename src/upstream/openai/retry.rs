//! Whether and when a failed attempt is made again. Pure: time and chance are parameters.
//!
//! Three things bound it. One call makes a few retries, with growing pauses, inside its deadline. All calls of one model
//! together make at most a share of their number (`health`), so that a failing one is not buried. And an upstream that asks
//! for a longer pause than [`MAX_WAIT`] is not waited for: the client is told at once, and can decide for itself.

use std::time::{Duration, UNIX_EPOCH};

/// The longest `Retry-After` that is waited out.
pub const MAX_WAIT: Duration = Duration::from_secs(2);

/// The pause before the first retry, half of it by chance; it doubles with each further one.
const FIRST_PAUSE: Duration = Duration::from_millis(250);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// How often one call may meet a connection that had gone stale.
const MAX_STALE: u32 = 2;

/// What a failed attempt lets hope for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Again {
    /// It would fail again, or an answer had begun.
    Never,
    /// The pooled connection had gone stale; a fresh one may do.
    AtOnce,
    /// After a pause, at least this long where the upstream said so.
    Later(Option<Duration>),
}

/// The retries of one call.
#[derive(Debug)]
pub struct Retries {
    left: u32,
    stale_left: u32,
    made: u32,
}

impl Retries {
    /// At most `max` retries.
    #[must_use]
    pub fn new(max: u32) -> Self {
        Self { left: max, stale_left: MAX_STALE, made: 0 }
    }

    /// How long to wait before the next attempt; `None` where there is to be none. `chance` is any number, `remaining`
    /// the time until the call's deadline.
    pub fn next(&mut self, again: Again, chance: u64, remaining: Duration) -> Option<Duration> {
        let asked = match again {
            Again::Never => return None,
            Again::AtOnce if self.stale_left > 0 => {
                self.stale_left -= 1;
                return (!remaining.is_zero()).then_some(Duration::ZERO);
            }
            Again::AtOnce => None,
            Again::Later(asked) => asked,
        };
        let pause = match asked {
            Some(asked) if asked > MAX_WAIT => return None,
            // A little more than was asked for: others were told the same.
            Some(asked) => asked + share(asked / 8 + Duration::from_millis(10), chance),
            None => backoff(self.made, chance),
        };
        self.left = self.left.checked_sub(1)?;
        self.made += 1;
        (pause < remaining).then_some(pause)
    }
}

fn backoff(made: u32, chance: u64) -> Duration {
    let whole = FIRST_PAUSE.saturating_mul(1 << made.min(8)).min(LONGEST_PAUSE);
    whole / 2 + share(whole / 2, chance)
}

/// A part of `most` that `chance` picks.
fn share(most: Duration, chance: u64) -> Duration {
    most.mul_f64((chance % 1024) as f64 / 1024.0)
}

/// How long an upstream asked to be left alone: `retry-after-ms`, else `Retry-After` in seconds or as a date, against
/// the wall clock at `now_ms`. What cannot be read was not said.
#[must_use]
pub fn asked_pause(retry_after_ms: Option<&str>, retry_after: Option<&str>, now_ms: i64) -> Option<Duration> {
    let number = |text: &str| text.trim().parse::<f64>().ok().filter(|number| *number >= 0.0);
    let pause = |seconds: f64| Duration::try_from_secs_f64(seconds).ok();
    if let Some(pause) = retry_after_ms.and_then(number).and_then(|ms| pause(ms / 1000.0)) {
        return Some(pause);
    }
    let text = retry_after?;
    match number(text) {
        Some(seconds) => pause(seconds),
        None => until(text.trim(), now_ms),
    }
}

fn until(date: &str, now_ms: i64) -> Option<Duration> {
    let then = httpdate::parse_http_date(date).ok()?.duration_since(UNIX_EPOCH).ok()?;
    Some(then.saturating_sub(Duration::from_millis(u64::try_from(now_ms).unwrap_or(0))))
}

#[cfg(test)]
mod tests {
    use super::*;

    const AMPLE: Duration = Duration::from_secs(60);

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn pauses_grow_and_are_partly_chance() {
        for chance in [0, 512, 1023, u64::MAX] {
            let mut retries = Retries::new(3);
            let pauses: Vec<_> = (0..4).map(|_| retries.next(Again::Later(None), chance, AMPLE)).collect();
            for (pause, most) in pauses[..3].iter().zip([250, 500, 1000]) {
                let pause = pause.unwrap();
                assert!(pause >= ms(most / 2) && pause <= ms(most), "{pause:?} of {most}");
            }
            assert_eq!(pauses[3], None);
        }
        let mut retries = Retries::new(20);
        assert!((0..20).all(|_| retries.next(Again::Later(None), 1023, AMPLE).unwrap() <= LONGEST_PAUSE));
    }

    #[test]
    fn a_pause_that_was_asked_for_is_kept_or_not_waited_out_at_all() {
        for chance in [0, 700, 1023] {
            let mut retries = Retries::new(3);
            let pause = retries.next(Again::Later(Some(ms(1500))), chance, AMPLE).unwrap();
            assert!(pause >= ms(1500) && pause < ms(1750));
            assert!(retries.next(Again::Later(Some(MAX_WAIT)), chance, AMPLE).is_some());
            assert_eq!(retries.next(Again::Later(Some(ms(2001))), chance, AMPLE), None);
        }
    }

    #[test]
    fn nothing_is_waited_for_past_the_deadline() {
        assert_eq!(Retries::new(3).next(Again::Later(Some(ms(500))), 0, ms(400)), None);
        assert_eq!(Retries::new(3).next(Again::Later(None), 0, ms(100)), None);
        assert_eq!(Retries::new(3).next(Again::AtOnce, 0, Duration::ZERO), None);
        assert_eq!(Retries::new(0).next(Again::Later(None), 0, AMPLE), None);
        assert_eq!(Retries::new(3).next(Again::Never, 0, AMPLE), None);
    }

    #[test]
    fn a_stale_connection_costs_no_retry_and_no_pause_twice() {
        let mut retries = Retries::new(1);
        assert_eq!(retries.next(Again::AtOnce, 0, AMPLE), Some(Duration::ZERO));
        assert_eq!(retries.next(Again::AtOnce, 0, AMPLE), Some(Duration::ZERO));
        assert!(retries.next(Again::AtOnce, 0, AMPLE).unwrap() > Duration::ZERO);
        assert_eq!(retries.next(Again::AtOnce, 0, AMPLE), None);
    }

    #[test]
    fn pauses_are_read_in_every_form() {
        let now_ms = 784_111_777_000; // Sun, 06 Nov 1994 08:49:37 GMT
        let cases = [
            (None, None, None),
            (Some("250"), None, Some(250)),
            (Some("250.5"), Some("9"), Some(250)),
            (Some("soon"), Some("9"), Some(9000)),
            (None, Some(" 1 "), Some(1000)),
            (None, Some("0.5"), Some(500)),
            (None, Some("0"), Some(0)),
            (None, Some("Sun, 06 Nov 1994 08:49:40 GMT"), Some(3000)),
            (None, Some("Sun, 06 Nov 1994 08:49:00 GMT"), Some(0)),
            (None, Some("-1"), None),
            (None, Some("NaN"), None),
            (None, Some("inf"), None),
            (None, Some("1e300"), None),
            (None, Some("tomorrow"), None),
        ];
        for (in_ms, in_seconds, expected) in cases {
            let read = asked_pause(in_ms, in_seconds, now_ms).map(|pause| pause.as_millis());
            assert_eq!(read, expected, "{in_ms:?} {in_seconds:?}");
        }
    }
}
