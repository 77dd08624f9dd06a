//! Which permission the redis user lacks, read from redis' refusal. No key is named, since it may name a session.

use super::scripts::SCRIPTS;

/// One clause, or `None` where the error is no refusal of this kind.
pub(super) fn lacking(code: &str, detail: &str) -> Option<String> {
    let in_script = detail.starts_with("The user executing the script can't");
    if code != "NOPERM" && !in_script {
        return None;
    }
    let what = if detail.contains(" channel") {
        "use the channel named REDIS_KEY_PREFIX and \"notices\"".to_owned()
    } else if detail.contains(" key") {
        "use keys that begin with REDIS_KEY_PREFIX".to_owned()
    } else {
        match quoted(detail).or_else(|| in_line(detail)) {
            Some(command) => format!("run the command {}", command.to_ascii_uppercase().replace('|', " ")),
            None => "run a command".to_owned(),
        }
    };
    Some(format!("the redis user may not {what}; docs/operations.md lists what it needs"))
}

/// The command that the refusal quotes.
pub(super) fn quoted(detail: &str) -> Option<&str> {
    let name = detail.split('\'').nth(1)?;
    let is_name = |byte: u8| byte.is_ascii_alphanumeric() || b"|-_".contains(&byte);
    ((1..=40).contains(&name.len()) && name.bytes().all(is_name)).then_some(name)
}

/// The command in the line of our script that the refusal names: `script: <digest>, on @user_script:<line>.`
fn in_line(detail: &str) -> Option<&'static str> {
    let digest = detail.split_once("script: ")?.1.split(',').next()?;
    let line = detail.split_once("@user_script:")?.1.trim_end_matches('.').parse::<usize>().ok()?;
    let source = SCRIPTS.source_of(digest)?;
    source.lines().nth(line.checked_sub(1)?)?.split_once("redis.call('")?.1.split('\'').next()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_names_what_is_missing() {
        for (detail, words) in [
            ("this user has no permissions to run the 'script|load' command", "the command SCRIPT LOAD;"),
            ("User x has no permissions to run the 'hkeys' command", "the command HKEYS;"),
            (
                "this user has no permissions to access one of the keys used as arguments",
                "begin with REDIS_KEY_PREFIX;",
            ),
            ("User x has no permissions to access the 'p{s:secret}:session' key", "begin with REDIS_KEY_PREFIX;"),
            ("this user has no permissions to access one of the channels used as arguments", "the channel"),
            ("No permissions to run something", "a command;"),
        ] {
            let said = lacking("NOPERM", detail).unwrap();
            assert!(said.contains(words) && !said.contains("secret"), "{detail}: {said}");
        }
        assert_eq!(lacking("ERR", "unknown command 'X'"), None);
    }

    #[test]
    fn a_refusal_in_a_script_names_the_command_of_its_line() {
        let (digest, line) = SCRIPTS.a_line_with("redis.call('ZADD'");
        let detail = |what: &str| {
            format!("The user executing the script can't {what} script: {digest}, on @user_script:{line}.")
        };
        let said = lacking("ERR", &detail("run this command or subcommand")).unwrap();
        assert!(said.contains("the command ZADD;"), "{said}");
        let keys = "access at least one of the keys mentioned in the command arguments";
        assert!(lacking("ERR", &detail(keys)).unwrap().contains("use keys"));
        assert!(
            lacking("ERR", &detail("publish to the channel mentioned in the command")).unwrap().contains("channel")
        );
    }
}
