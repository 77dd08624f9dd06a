//! How often something may happen, as settings say it: `20/min`.

use super::ConfigError;
use super::given::Given;
use crate::domain::rate::Rate;

const UNITS: [(&[&str], i64, &str); 4] = [
    (&["s", "sec", "second"], 1_000, "s"),
    (&["m", "min", "minute"], 60_000, "min"),
    (&["h", "hour"], 3_600_000, "hour"),
    (&["d", "day"], 86_400_000, "day"),
];

/// The most that a rate may have.
const MOST: u32 = 1_000_000;

/// The rate of a setting: `None` for `none`, and what it is by default where nothing was given.
pub(super) fn rate(given: &Given, name: &str, default: Option<Rate>) -> Result<Option<Rate>, ConfigError> {
    let Some(text) = given.get(name) else { return Ok(default) };
    if text.eq_ignore_ascii_case("none") {
        return Ok(None);
    }
    let unreadable = || {
        ConfigError(format!(
            "{name} must be none, or a number from 1 to {MOST} for each s, min, hour or day, such as 20/min, not {text:?}."
        ))
    };
    read(text).map(Some).ok_or_else(unreadable)
}

fn read(text: &str) -> Option<Rate> {
    let (most, unit) = text.split_once('/')?;
    let most = most.trim().parse().ok().filter(|most| (1..=MOST).contains(most))?;
    let unit = unit.trim().to_ascii_lowercase();
    let (_, per_ms, _) = UNITS.into_iter().find(|(names, ..)| names.contains(&unit.as_str()))?;
    Some(Rate { most, per_ms })
}

/// As [`rate`] reads it.
pub(super) fn shown(rate: Option<Rate>) -> String {
    let Some(Rate { most, per_ms }) = rate else { return "none".to_owned() };
    let unit = UNITS.into_iter().find(|(_, unit_ms, _)| *unit_ms == per_ms);
    unit.map_or_else(|| format!("{most} in {per_ms} ms"), |(.., name)| format!("{most}/{name}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_read_and_show_alike() {
        for text in ["1/s", "20/min", "60/hour", "1000000/day"] {
            assert_eq!(shown(read(text)), text);
        }
        assert_eq!(read("20/min"), Some(Rate { most: 20, per_ms: 60_000 }));
        for same in ["20/m", "20 / minute", "20/MIN"] {
            assert_eq!(read(same), read("20/min"), "{same}");
        }
        for bad in ["", "20", "/min", "0/min", "-1/min", "1.5/min", "20/week", "20/min/s", "1000001/s"] {
            assert_eq!(read(bad), None, "{bad:?}");
        }
        let of = |text: &str| rate(&Given::from_iter([("VISITOR_RATE", text)]), "VISITOR_RATE", None);
        assert_eq!(of("none").unwrap(), None);
        assert!(of("often").unwrap_err().to_string().contains("such as 20/min"));
    }
}
