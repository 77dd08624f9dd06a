//! What was given, read loosely: text by setting, from flags, the environment and `.env`, and how text becomes values.

use std::collections::HashMap;
use std::ops::RangeInclusive;
use std::path::Path;
use std::str::FromStr;
use std::time::Duration;

use url::Url;

use super::env_file::{self, EnvFile};
use super::{ConfigError, settings};

/// How far the name of a variable may be from that of a setting to be taken for a mistake, and how short it may be: an
/// environment has many names.
const FAR: usize = 2;
const SHORT: usize = 8;

/// Settings as text, without unknown names and empty values; then what looks like a mistake, one sentence each.
#[derive(Clone, Default)]
pub struct Given(HashMap<&'static str, String>, Vec<String>);

impl<K: AsRef<str>, V: Into<String>> FromIterator<(K, V)> for Given {
    fn from_iter<I: IntoIterator<Item = (K, V)>>(pairs: I) -> Self {
        let mut given = Self::default();
        for (name, value) in pairs {
            given.put(name.as_ref(), &value.into());
        }
        given
    }
}

impl Given {
    /// Flags win over the environment, which wins over `env_file`; a missing file is none.
    ///
    /// # Errors
    /// Where the file is there and cannot be read as `NAME=value` lines.
    pub fn gather(
        flags: Self,
        environment: impl IntoIterator<Item = (String, String)>,
        env_file: &Path,
    ) -> Result<Self, ConfigError> {
        let EnvFile { pairs, warnings } = env_file::read(env_file)?;
        let mut given: Self = pairs.into_iter().collect();
        given.1 = warnings;
        for (name, value) in environment {
            given.put(&name, &value);
            if settings::find(&name).is_none()
                && name.len() >= SHORT
                && let Some(setting) = env_file::nearest(&name, FAR)
            {
                given.1.push(format!("{name} in the environment is no setting of this server: {setting} is."));
            }
        }
        given.0.extend(flags.0);
        Ok(given)
    }

    /// What looks like a mistake in the file and the environment; no value is quoted.
    #[must_use]
    pub fn warnings(&self) -> &[String] {
        &self.1
    }

    fn put(&mut self, name: &str, value: &str) {
        let value = value.trim();
        if let Some(setting) = settings::find(name)
            && !value.is_empty()
        {
            self.0.insert(setting.name, value.to_owned());
        }
    }

    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// What was given for `name`, or the table's default.
    pub(super) fn text(&self, name: &str) -> &str {
        self.get(name).unwrap_or_else(|| settings::find(name).map_or("", |setting| setting.default))
    }

    pub(super) fn number<T>(&self, name: &str, range: RangeInclusive<T>) -> Result<T, ConfigError>
    where
        T: FromStr + PartialOrd + std::fmt::Display,
    {
        let text = self.text(name);
        text.parse().ok().filter(|number| range.contains(number)).ok_or_else(|| {
            ConfigError(format!("{name} must be a number from {} to {}, not {text:?}.", range.start(), range.end()))
        })
    }

    /// A number, or `None` where nothing was given.
    pub(super) fn optional<T>(&self, name: &str, range: RangeInclusive<T>) -> Result<Option<T>, ConfigError>
    where
        T: FromStr + PartialOrd + std::fmt::Display,
    {
        self.get(name).map(|_| self.number(name, range)).transpose()
    }

    pub(super) fn duration(&self, name: &str, range: RangeInclusive<Duration>) -> Result<Duration, ConfigError> {
        let text = self.text(name);
        parse_duration(text).filter(|duration| range.contains(duration)).ok_or_else(|| {
            ConfigError(format!(
                "{name} must be seconds, or a number with ms, s, m, h or d, from {} to {}, not {text:?}.",
                show_duration(*range.start()),
                show_duration(*range.end())
            ))
        })
    }

    /// One of a few words, in upper or lower case.
    pub(super) fn choice<T: Copy>(&self, name: &str, choices: &[(&str, T)]) -> Result<T, ConfigError> {
        let text = self.text(name);
        let chosen = choices.iter().find(|(word, _)| word.eq_ignore_ascii_case(text));
        chosen.map(|(_, value)| *value).ok_or_else(|| {
            let words: Vec<&str> = choices.iter().map(|(word, _)| *word).collect();
            ConfigError(format!("{name} must be one of {}, not {text:?}.", words.join(", ")))
        })
    }

    /// Yes or no; `None` where nothing was given.
    pub(super) fn flag(&self, name: &str) -> Result<Option<bool>, ConfigError> {
        let words = [("true", true), ("false", false), ("1", true), ("0", false), ("yes", true), ("no", false)];
        self.get(name).map(|_| self.choice(name, &words)).transpose()
    }

    /// An http or https URL without credentials, query or fragment. Values are not quoted in errors: people paste keys into
    /// the wrong line.
    pub(super) fn http_url(&self, name: &str) -> Result<Option<Url>, ConfigError> {
        let Some(text) = self.get(name) else { return Ok(None) };
        let url = Url::parse(text).map_err(|error| ConfigError(format!("{name} is not a readable URL: {error}.")))?;
        if !matches!(url.scheme(), "http" | "https") || !url.has_host() {
            return Err(ConfigError(format!("{name} must be a URL that begins with http:// or https://.")));
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(ConfigError(format!("{name} must not carry a user name or a password.")));
        }
        if url.query().is_some() || url.fragment().is_some() {
            return Err(ConfigError(format!("{name} must not carry a query or a fragment.")));
        }
        Ok(Some(url))
    }

    /// The parts of a comma list, trimmed, without empty ones.
    pub(super) fn list(&self, name: &str) -> impl Iterator<Item = &str> {
        self.text(name).split(',').map(str::trim).filter(|part| !part.is_empty())
    }
}

const UNITS: [(&str, u64); 5] = [("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000)];

/// `90`, `90s`, `1500ms`, `15m`, `12h`, `30d`.
fn parse_duration(text: &str) -> Option<Duration> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let unit = if unit.is_empty() { "s" } else { unit.trim_start() };
    let (_, unit_ms) = UNITS.iter().find(|(name, _)| *name == unit)?;
    number.parse::<u64>().ok()?.checked_mul(*unit_ms).map(Duration::from_millis)
}

/// Reads back with [`parse_duration`]: the largest unit that needs no fraction.
pub(super) fn show_duration(duration: Duration) -> String {
    let ms = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    let fits = UNITS.iter().rev().find(|(_, unit_ms)| ms > 0 && ms.is_multiple_of(*unit_ms));
    fits.map_or_else(|| "0s".to_owned(), |(name, unit_ms)| format!("{}{name}", ms / unit_ms))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_read_and_show_alike() {
        for text in ["0s", "40ms", "1s", "90s", "1m", "12h", "30d", "1500ms"] {
            let duration = parse_duration(text).unwrap();
            assert_eq!(parse_duration(&show_duration(duration)), Some(duration), "{text}");
        }
        assert_eq!(parse_duration("90"), Some(Duration::from_secs(90)));
        assert_eq!(show_duration(Duration::from_secs(86_400 * 30)), "30d");
        for bad in ["", "s", "-1", "1.5s", "1w", "1 h 2", "99999999999999999999", "18446744073709551615d"] {
            assert_eq!(parse_duration(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn flags_win_over_the_environment_and_that_over_the_file() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join(".env");
        std::fs::write(&file, "PORT=1\nHOST=::1\nSYSTEM_PROMPT='Be $brief # please.'\nNOT_OURS=x\n").unwrap();
        let flags = Given::from_iter([("PORT", "3")]);
        let environment = [("PORT", "2"), ("HOST", ""), ("LOG_FORMAT", " json ")];
        let environment = environment.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let given = Given::gather(flags, environment, &file).unwrap();
        assert_eq!(given.get("PORT"), Some("3"));
        assert_eq!(given.get("HOST"), Some("::1"), "an empty value counts as unset");
        assert_eq!(given.get("LOG_FORMAT"), Some("json"));
        assert_eq!(given.get("SYSTEM_PROMPT"), Some("Be $brief # please."));
        assert_eq!(given.0.len(), 4);
    }

    #[test]
    fn a_broken_env_file_is_named_with_its_line_and_not_quoted() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join(".env");
        for (text, line) in [("your key\n", 1), ("A=1\n\n# note\nB=2\nyour key\nC=3\n", 5), ("A=1\nB='open\n", 2)] {
            std::fs::write(&file, text).unwrap();
            let Err(error) = Given::gather(Given::default(), [], &file) else { panic!("{text:?} was read") };
            assert!(error.to_string().contains(&format!("at line {line}:")), "{text:?}: {error}");
            assert!(!error.to_string().contains("your key"), "{error}");
        }
        let folder = Given::gather(Given::default(), [], dir.path());
        assert!(folder.err().unwrap().to_string().contains("cannot be read"));
    }
}
