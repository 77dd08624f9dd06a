//! The command line: every setting as a flag, and what to do instead of serving.

use std::ffi::OsString;
use std::fmt::Write as _;

use clap::builder::NonEmptyStringValueParser;
use clap::error::ErrorKind;
use clap::{Arg, ArgAction, Command};

use crate::config::{Given, settings};

/// What the arguments ask for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Serve.
    Serve,
    /// Validate the settings, reach the store and the upstream, say what was found.
    Check,
    /// Ask the server that runs with these settings whether it is alive.
    Health,
    /// Print this, and no more: help, or the version.
    Print(String),
}

/// The arguments, read.
#[derive(Clone)]
pub struct Arguments {
    /// What to do.
    pub action: Action,
    /// The settings among them.
    pub flags: Given,
}

/// Reads the arguments; the first one is the program's name.
///
/// # Errors
/// With what to tell the person who wrote them.
pub fn parse(arguments: impl IntoIterator<Item = impl Into<OsString> + Clone>) -> Result<Arguments, String> {
    let matches = match command().try_get_matches_from(arguments) {
        Ok(matches) => matches,
        Err(asked) if matches!(asked.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion) => {
            return Ok(Arguments { action: Action::Print(asked.render().to_string()), flags: Given::default() });
        }
        Err(error) => return Err(error.render().to_string()),
    };
    let action = match (matches.get_flag("check"), matches.get_flag("health")) {
        (true, _) => Action::Check,
        (_, true) => Action::Health,
        _ => Action::Serve,
    };
    let given = settings::all().filter(|setting| !setting.secret);
    let flags = given.filter_map(|setting| Some((setting.name, matches.get_one::<String>(setting.name)?.clone())));
    Ok(Arguments { action, flags: flags.collect() })
}

fn command() -> Command {
    let switch = |name: &'static str| Arg::new(name).long(name).action(ArgAction::SetTrue);
    let actions = [
        switch("check")
            .help("Validate the settings, reach the store and the model server, say what was found; exit 0 or 1"),
        switch("health").help("Ask the running server whether it is alive; exit 0 or 1").conflicts_with("check"),
    ];
    let settings = settings::GROUPS.iter().flat_map(|group| {
        let plain = group.settings.iter().filter(|setting| !setting.secret);
        plain.map(|setting| {
            let mut help = format!("{} [{}", setting.help, setting.name);
            if !setting.default.is_empty() {
                let _ = write!(help, "={}", setting.default);
            }
            help.push(']');
            Arg::new(setting.name)
                .long(setting.flag())
                .value_name("VALUE")
                .value_parser(NonEmptyStringValueParser::new())
                .help_heading(group.title)
                .help(help)
        })
    });
    let secrets = settings::all().filter(|setting| setting.secret);
    let secrets = secrets.fold(String::new(), |mut lines, setting| {
        let _ = writeln!(lines, "  {:<16} {}", setting.name, setting.help);
        lines
    });
    Command::new(env!("CARGO_PKG_NAME"))
        .version(env!("CARGO_PKG_VERSION"))
        .about("A chat backend that keeps the key, the history and every answer. Starts with nothing set.")
        .after_help(format!(
            "Settings also come from the environment and from .env in the working folder, by the names in brackets: flags \
             win over the environment, which wins over .env.\n\nSecrets have no flag, because everyone on the machine can \
             read arguments:\n{secrets}"
        ))
        .args(actions)
        .args(settings)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(arguments: &[&str]) -> Result<Arguments, String> {
        parse(["openai-backend"].iter().chain(arguments))
    }

    #[test]
    fn the_command_is_sound() {
        command().debug_assert();
    }

    #[test]
    fn nothing_means_serve() {
        assert_eq!(read(&[]).ok().unwrap().action, Action::Serve);
        assert_eq!(read(&["--check"]).ok().unwrap().action, Action::Check);
        assert_eq!(read(&["--health", "--port", "1"]).ok().unwrap().action, Action::Health);
        assert!(read(&["--check", "--health"]).is_err());
    }

    #[test]
    fn a_setting_is_a_flag_and_a_secret_is_not() {
        let arguments = read(&["--port", "4000", "--openai-base-url=http://localhost:1/v1"]).ok().unwrap();
        assert_eq!(arguments.flags.get("PORT"), Some("4000"));
        assert_eq!(arguments.flags.get("OPENAI_BASE_URL"), Some("http://localhost:1/v1"));
        for refused in [["--openai-api-key", "canary"], ["--no-such-setting", "1"], ["--port", ""]] {
            let error = read(&refused).err().unwrap();
            assert!(error.contains(refused[0]) && !error.contains("canary"), "{error}");
        }
        assert!(!read(&["--openai-api-key=canary"]).err().unwrap().contains("canary"));
    }

    #[test]
    fn help_names_every_setting_and_its_default() {
        let Action::Print(help) = read(&["--help"]).ok().unwrap().action else { panic!("no help") };
        for setting in settings::all() {
            assert!(help.contains(setting.name), "{}", setting.name);
        }
        assert!(help.contains("--port <VALUE>") && help.contains("PORT=3000"), "{help}");
        assert!(help.lines().all(|line| line.chars().count() <= 140));
        let Action::Print(version) = read(&["--version"]).ok().unwrap().action else { panic!("no version") };
        assert_eq!(version.trim(), format!("openai-backend {}", env!("CARGO_PKG_VERSION")));
    }
}
