//! The command line: every setting as a flag, and the commands that run in place of the server.

pub mod probe;

use std::ffi::OsString;
use std::fmt::Write as _;
use std::path::PathBuf;

use clap::builder::NonEmptyStringValueParser;
use clap::error::ErrorKind;
use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};

use crate::access::keys;
use crate::config::{Given, settings};

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    Serve,
    /// Validate the settings, reach the store and the upstream, report both.
    Check,
    /// Ask the server that runs with these settings whether it is alive.
    Health,
    /// Make, list or revoke keys, whether a server is running or not.
    Keys(keys::Command),
    /// Copy the database to this new file, whether a server is running or not.
    Backup(PathBuf),
    /// Print this, and no more: help, or the version.
    Print(String),
}

#[derive(Clone)]
pub struct Arguments {
    pub action: Action,
    pub flags: Given,
}

/// Reads the arguments; the first one is the program's name.
///
/// # Errors
/// With a text for the person who wrote them.
pub fn parse(arguments: impl IntoIterator<Item = impl Into<OsString> + Clone>) -> Result<Arguments, String> {
    let matches = match command().try_get_matches_from(arguments) {
        Ok(matches) => matches,
        Err(asked) if matches!(asked.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion) => {
            return Ok(Arguments { action: Action::Print(asked.render().to_string()), flags: Given::default() });
        }
        Err(error) => return Err(error.render().to_string()),
    };
    let innermost = std::iter::successors(Some(&matches), |matches| Some(matches.subcommand()?.1)).last();
    let command_action = keys_action(&matches).map(Action::Keys).or_else(|| backup_action(&matches));
    let action = match (matches.get_flag("check"), matches.get_flag("health"), command_action) {
        (false, false, Some(action)) => action,
        (true, _, None) => Action::Check,
        (_, true, None) => Action::Health,
        (false, false, None) => Action::Serve,
        (_, _, Some(_)) => {
            let text = "keys and backup cannot be combined with --check and --health";
            return Err(command().error(ErrorKind::ArgumentConflict, text).render().to_string());
        }
    };
    // Settings of the store may stand before `keys` or at the end. Only the innermost command knows all of them.
    let value = |name| {
        let outer = matches.get_one::<String>(name);
        outer.or_else(|| innermost.and_then(|matches| matches.try_get_one::<String>(name).ok().flatten()))
    };
    let given = settings::all().filter(|setting| !setting.secret);
    let flags = given.filter_map(|setting| Some((setting.name, value(setting.name)?.clone())));
    Ok(Arguments { action, flags: flags.collect() })
}

fn keys_action(matches: &ArgMatches) -> Option<keys::Command> {
    let (name, asked) = matches.subcommand_matches("keys")?.subcommand()?;
    let text = |argument: &str| asked.get_one::<String>(argument).cloned().unwrap_or_default();
    match name {
        "create" => Some(keys::Command::Create { name: text("name") }),
        "revoke" => Some(keys::Command::Revoke { id: text("id") }),
        _ => Some(keys::Command::List),
    }
}

fn backup_action(matches: &ArgMatches) -> Option<Action> {
    let path = matches.subcommand_matches("backup")?.get_one::<PathBuf>("path")?;
    Some(Action::Backup(path.clone()))
}

fn backup_command() -> Command {
    let path = Arg::new("path").value_name("PATH").required(true).value_parser(value_parser!(PathBuf));
    Command::new("backup")
        .about("Copy the SQLite database to a new file, while the server runs or not")
        .after_help(
            "docs/operations.md says how to restore it, and how to back up Redis. Set DATA_DIR as the server has it.",
        )
        .arg(path.help("The file to write; one that is there is not overwritten"))
}

fn keys_command() -> Command {
    let name = Arg::new("name").long("name").value_name("NAME").required(true);
    let id = Arg::new("id").value_name("ID").required(true);
    Command::new("keys")
        .about("Make, list and revoke API keys for /v1, while the server runs or not; for more, keys --help")
        .after_help("Keys are kept in the server's store: set DATA_DIR or REDIS_URL as the server has them.")
        .subcommand_required(true)
        .arg_required_else_help(true)
        .disable_help_subcommand(true)
        .subcommands([
            Command::new("create")
                .about("Make a key and print it; it cannot be printed again")
                .arg(name.help("Who it is for; keys of one name are one user")),
            Command::new("list").about("List id, name and time of every key"),
            Command::new("revoke").about("Delete a key").arg(id.help("Its id, as `keys list` prints it")),
        ])
}

fn command() -> Command {
    let switch = |name: &'static str| Arg::new(name).long(name).action(ArgAction::SetTrue);
    let actions = [
        switch("check")
            .help("Validate the settings, reach the store and the model server, print the result; exit 0 or 1"),
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
                .global(setting.name == "DATA_DIR" || setting.name.starts_with("REDIS_"))
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
        .disable_help_subcommand(true)
        .args(actions)
        .args(settings)
        .subcommands([keys_command(), backup_command()])
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
    fn a_backup_needs_a_path() {
        for arguments in [["backup", "x.db", "--data-dir", "d"], ["--data-dir", "d", "backup", "x.db"]] {
            let Ok(read) = read(&arguments) else { panic!("{arguments:?}") };
            assert_eq!((read.action, read.flags.get("DATA_DIR")), (Action::Backup("x.db".into()), Some("d")));
        }
        assert!(read(&["backup"]).is_err() && read(&["--check", "backup", "x.db"]).is_err());
    }

    #[test]
    fn keys_are_made_listed_and_revoked() {
        let keys = |arguments: &[&str]| match read(arguments).map(|arguments| (arguments.action, arguments.flags)) {
            Ok((Action::Keys(command), flags)) => (command, flags.get("DATA_DIR").map(str::to_owned)),
            other => panic!("{arguments:?}: {:?}", other.map(|(action, _)| action)),
        };
        let create = || keys::Command::Create { name: "web".into() };
        assert_eq!(keys(&["keys", "create", "--name", "web"]), (create(), None));
        assert_eq!(keys(&["keys", "list"]), (keys::Command::List, None));
        assert_eq!(keys(&["keys", "revoke", "key_1"]), (keys::Command::Revoke { id: "key_1".into() }, None));
        for arguments in [
            ["--data-dir", "x", "keys", "create", "--name", "web"],
            ["keys", "--data-dir", "x", "create", "--name", "web"],
            ["keys", "create", "--name", "web", "--data-dir", "x"],
        ] {
            assert_eq!(keys(&arguments), (create(), Some("x".to_owned())));
        }
        for wrong in [
            vec!["keys"],
            vec!["keys", "create"],
            vec!["keys", "create", "--name"],
            vec!["keys", "revoke"],
            vec!["keys", "lose"],
            vec!["keys", "list", "--port", "1"],
            vec!["--check", "keys", "list"],
            vec!["--health", "keys", "list"],
        ] {
            assert!(read(&wrong).is_err(), "{wrong:?}");
        }
        let Action::Print(help) = read(&["keys", "create", "--help"]).ok().unwrap().action else { panic!("no help") };
        assert!(
            help.contains("--name <NAME>") && help.contains("DATA_DIR") && !help.contains("SYSTEM_PROMPT"),
            "{help}"
        );
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
