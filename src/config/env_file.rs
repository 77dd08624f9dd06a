//! `.env`: its `NAME=value` lines, and what in them is likely to be a mistake. No value is quoted, since it may be a key.

use std::path::Path;

use super::{ConfigError, settings};

/// What other programs and libraries read from the environment, where `.env` does not reach them.
const OF_THE_ENVIRONMENT: [&str; 6] =
    ["HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "SSL_CERT_FILE", "SSL_CERT_DIR"];

#[derive(Debug, Default)]
pub(super) struct EnvFile {
    pub(super) pairs: Vec<(String, String)>,
    /// One sentence each.
    pub(super) warnings: Vec<String>,
}

/// Reads the file; one that is not there is empty.
pub(super) fn read(path: &Path) -> Result<EnvFile, ConfigError> {
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(EnvFile::default()),
        Err(error) => return Err(ConfigError(format!("{} cannot be read: {error}.", path.display()))),
    };
    // Some editors begin a file of UTF-8 with a mark.
    let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
    match parse(text) {
        Ok(pairs) => Ok(EnvFile { warnings: warnings(text, &pairs, path), pairs }),
        Err(_) => Err(ConfigError(format!(
            "{} is not readable at line {}: write NAME=value, and put values with spaces, # or $ in single quotes.",
            path.display(),
            unreadable_line(text)
        ))),
    }
}

fn parse(text: &str) -> Result<Vec<(String, String)>, dotenvy::Error> {
    dotenvy::from_read_iter(text.as_bytes()).collect()
}

/// Where the entry begins that cannot be read, counted from 1. The parser does not say where it is. A value in quotes may go
/// on over several lines, so what counts is the longest beginning of the file that can be read.
fn unreadable_line(text: &str) -> usize {
    let ends: Vec<usize> = text.match_indices('\n').map(|(at, _)| at + 1).collect();
    let readable = ends.iter().rposition(|end| parse(&text[..*end]).is_ok());
    readable.map_or(1, |before| before + 2)
}

fn warnings(text: &str, pairs: &[(String, String)], path: &Path) -> Vec<String> {
    let entries = entries(text);
    // Where they differ in number, a line was misunderstood, and nothing is said of any.
    if entries.len() != pairs.len() {
        return Vec::new();
    }
    let warned = entries.iter().zip(pairs).filter_map(|(entry, (name, value))| {
        let what = if settings::find(name).is_none() { unknown(name) } else { entry.changed(name, value)? };
        Some(format!("{}, line {}: {what}", path.display(), entry.line))
    });
    warned.collect()
}

/// A line `NAME=value`, with what is written behind the sign.
struct Entry<'a> {
    line: usize,
    written: &'a str,
}

fn entries(text: &str) -> Vec<Entry<'_>> {
    let mut entries = Vec::new();
    let mut open_quote = None;
    for (at, line) in text.lines().enumerate() {
        if let Some(quote) = open_quote {
            open_quote = (!line.contains(quote)).then_some(quote);
            continue;
        }
        let Some((_, written)) = line.split_once('=').filter(|_| !line.trim_start().starts_with('#')) else { continue };
        let written = written.trim();
        let quote = written.chars().next().filter(|first| matches!(first, '\'' | '"'));
        open_quote = quote.filter(|quote| !written[1..].contains(*quote));
        entries.push(Entry { line: at + 1, written });
    }
    entries
}

impl Entry<'_> {
    /// What is said where the value is another one than was written.
    fn changed(&self, name: &str, value: &str) -> Option<String> {
        let has_variable = match self.written.chars().next()? {
            '\'' => return None,
            '"' if !self.written.replace("\\$", "").contains('$') => return None,
            '"' => true,
            _ => {
                let written = self.written.split(" #").next().unwrap_or_default().trim_end();
                if written == value || written.starts_with('#') {
                    return None;
                }
                written.contains('$')
            }
        };
        let why = match has_variable {
            true => "$ begins the name of a variable there",
            false => "quotes and backslashes are taken out of it",
        };
        Some(format!("the value of {name} is not taken as it is written, since {why}: put it in single quotes."))
    }
}

fn unknown(name: &str) -> String {
    if OF_THE_ENVIRONMENT.contains(&name.to_ascii_uppercase().as_str()) {
        return format!("{name} counts in the environment only, and not in this file.");
    }
    match nearest(name, (name.len() / 2).min(4)) {
        Some(setting) => format!("{name} is no setting of this server: {setting} is the nearest one."),
        // Not quoted: it may be a value in the wrong place.
        None => "this is no setting of this server, and has no effect.".to_owned(),
    }
}

/// The setting that a name was probably meant to be, which differs from it by at most so many letters.
pub(super) fn nearest(name: &str, most: usize) -> Option<&'static str> {
    let name = name.to_ascii_uppercase();
    let near = settings::all().map(|setting| (distance(&name, setting.name), setting.name));
    near.filter(|(distance, _)| *distance <= most).min().map(|(_, setting)| setting)
}

/// How many letters must be put in, taken out or replaced.
fn distance(one: &str, other: &str) -> usize {
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (at, letter) in one.bytes().enumerate() {
        let mut before = std::mem::replace(&mut row[0], at + 1);
        for (column, other) in other.bytes().enumerate() {
            let replaced = before + usize::from(letter != other);
            before = row[column + 1];
            row[column + 1] = replaced.min(before + 1).min(row[column] + 1);
        }
    }
    row.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_text(text: &str) -> Result<EnvFile, String> {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join(".env");
        std::fs::write(&file, text).unwrap();
        read(&file).map_err(|error| error.to_string())
    }

    #[test]
    fn a_line_that_cannot_be_read_is_the_one_that_is_named() {
        let example = concat!("# A comment, and = signs\n\nMAX_TOKENS=7\n", "SYSTEM_PROMPT='over\ntwo lines'\n");
        for (bad, more) in [
            ("SYSTEM_PROMPT=You are a helpful AI assistant.", 0),
            ("API_KEYS=canary\\path", 0),
            ("canary", 0),
            ("HOST='canary", 0),
            ("HOST='canary\nand on", 0),
            ("\n\nHOST=\"canary", 2),
        ] {
            for after in ["", "\n", "\nPORT=1\n"] {
                let said = read_text(&format!("{example}{bad}{after}")).err();
                let said = said.unwrap_or_else(|| panic!("{bad:?} was read"));
                assert!(said.contains(&format!("at line {}:", 6 + more)), "{bad:?}, {after:?}: {said}");
                assert!(!said.contains("canary"), "{said}");
            }
        }
    }

    #[test]
    fn a_mark_at_the_beginning_is_read_over() {
        let file = read_text("\u{feff}PORT=1\r\nHOST=::1\r\n").unwrap();
        assert_eq!(file.pairs, [("PORT".to_owned(), "1".to_owned()), ("HOST".to_owned(), "::1".to_owned())]);
        assert!(file.warnings.is_empty(), "{:?}", file.warnings);
    }

    #[test]
    fn a_value_that_is_not_taken_as_written_is_warned_about() {
        for (line, words) in [
            ("OPENAI_API_KEY=canary$def", Some("$ begins the name of a variable")),
            ("OPENAI_API_KEY=\"canary$def more\"", Some("$ begins the name of a variable")),
            ("OPENAI_API_KEY=canary'def'", Some("quotes and backslashes")),
            ("OPENAI_API_KEY='canary$def'", None),
            ("OPENAI_API_KEY=\"canary def\"", None),
            ("OPENAI_API_KEY=canary-def # a note, 'quoted', for $5", None),
            ("  export OPENAI_API_KEY = canary", None),
            ("OPENAI_API_KEY=", None),
            ("SYSTEM_PROMPT='canary $one\nPORT=$x\n'", None),
        ] {
            let warnings = read_text(&format!("PORT=1\n{line}\nHOST=::1\n")).unwrap().warnings;
            let name = line.trim().trim_start_matches("export ").split([' ', '=']).next().unwrap();
            match words {
                Some(words) => {
                    let [warning] = &warnings[..] else { panic!("{line}: {warnings:?}") };
                    assert!(
                        warning.contains(", line 2: ") && warning.contains(name) && warning.contains(words),
                        "{warning}"
                    );
                    assert!(warning.contains("single quotes") && !warning.contains("canary"), "{warning}");
                }
                None => assert!(warnings.is_empty(), "{line}: {warnings:?}"),
            }
        }
    }

    #[test]
    fn a_name_that_is_no_setting_is_warned_about_with_the_nearest_one() {
        for (name, nearest) in [
            ("OPENAI_KEY", Some("OPENAI_API_KEY")),
            ("OPENAI_BASEURL", Some("OPENAI_BASE_URL")),
            ("openai_api_key", Some("OPENAI_API_KEY")),
            ("MAX_TOKEN", Some("MAX_TOKENS")),
            ("CORS_ORIGINS", Some("CORS_ORIGIN")),
            ("HTTPS_PROXY", Some("in the environment only")),
            ("CANARY_CANARY", None),
        ] {
            let warnings = read_text(&format!("PORT=1\n{name}=canary\n")).unwrap().warnings;
            let [warning] = &warnings[..] else { panic!("{name}: {warnings:?}") };
            assert!(warning.contains(", line 2: ") && !warning.contains("canary"), "{warning}");
            match nearest {
                Some(nearest) => assert!(warning.contains(name) && warning.contains(nearest), "{warning}"),
                None => assert!(!warning.contains(name), "{warning}"),
            }
        }
    }
}
