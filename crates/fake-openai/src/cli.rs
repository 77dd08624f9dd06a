//! The binary's flags.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::str::FromStr;
use std::time::Duration;

use fake_openai::{FAULTS, Fault};

/// What to run.
pub(crate) struct Options {
    pub(crate) address: SocketAddr,
    pub(crate) tokens: usize,
    pub(crate) delay: Duration,
    pub(crate) bench: bool,
    pub(crate) flush_each: bool,
    pub(crate) threads: usize,
    pub(crate) reply: Option<String>,
    pub(crate) assistant: bool,
    pub(crate) fault: Option<&'static Fault>,
    pub(crate) fault_every: usize,
    pub(crate) require_key: Option<String>,
    pub(crate) idle_close: Option<Duration>,
    pub(crate) close_after: Option<usize>,
    pub(crate) stale_after: Option<usize>,
    pub(crate) quiet: bool,
}

pub(crate) enum Asked {
    Run(Box<Options>),
    Help,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            address: (Ipv4Addr::LOCALHOST, 9090).into(),
            tokens: 200,
            delay: Duration::ZERO,
            bench: false,
            flush_each: false,
            threads: 1,
            reply: None,
            assistant: false,
            fault: None,
            fault_every: 1,
            require_key: None,
            idle_close: None,
            close_after: None,
            stale_after: None,
            quiet: false,
        }
    }
}

const USAGE: &str = "\
A scripted OpenAI-compatible upstream. Prints its base URL as its first line.

usage: fake-openai [flags]

  --port N             port, 0 for a free one (9090)
  --host ADDRESS       address to listen on (127.0.0.1)
  --tokens N           words of the default answer (200)
  --delay-ms N         pause before each chunk of it (0)
  --reply TEXT         another default answer
  --assistant          say what was shown, call the tools named, fill in schemas, instead of a default answer
  --bench              fixed answer rendered once, requests counted but not recorded or logged
  --flush-each         with --bench: each chunk in a write of its own
  --threads N          worker threads (1)
  --fault NAME         answer with this fault instead
  --fault-every N      only every Nth call (1)
  --require-key KEY    401 for requests without it
  --idle-close-ms N    close connections idle this long
  --close-after N      close a connection after N requests, unannounced
  --stale-after N      after N requests, close a connection when the next has come
  --quiet              do not log calls to stderr
  --help               this

routes: POST /v1/chat/completions, GET /v1/models, GET /v1/models/{id}, POST /v1/embeddings

faults, for --fault, or as the last user message with an exclamation mark (!429); `!echo TEXT` answers the text:

";

/// The text of `--help`.
pub(crate) fn help() -> String {
    let line = |fault: &Fault| format!("  {:<16} {}\n", fault.name, fault.help);
    USAGE.to_owned() + &FAULTS.iter().map(line).collect::<String>()
}

/// Reads the flags; the error is a sentence without its end.
pub(crate) fn parse(mut arguments: impl Iterator<Item = String>) -> Result<Asked, String> {
    let mut options = Options::default();
    while let Some(argument) = arguments.next() {
        let (flag, inline) = match argument.split_once('=') {
            Some((flag, value)) => (flag, Some(value.to_owned())),
            None => (argument.as_str(), None),
        };
        match flag {
            "--help" | "-h" => return Ok(Asked::Help),
            "--assistant" => options.assistant = true,
            "--bench" => options.bench = true,
            "--flush-each" => options.flush_each = true,
            "--quiet" => options.quiet = true,
            _ => {
                let value = inline.or_else(|| arguments.next());
                let value = value.ok_or_else(|| format!("{flag} is unknown or needs a value"))?;
                set(&mut options, flag, value)?;
            }
        }
    }
    Ok(Asked::Run(Box::new(options)))
}

fn set(options: &mut Options, flag: &str, value: String) -> Result<(), String> {
    match flag {
        "--port" => options.address.set_port(number(flag, &value)?),
        "--host" => options.address.set_ip(number::<IpAddr>(flag, &value)?),
        "--tokens" => options.tokens = number(flag, &value)?,
        "--delay-ms" => options.delay = Duration::from_millis(number(flag, &value)?),
        "--reply" => options.reply = Some(value),
        "--threads" => options.threads = number::<usize>(flag, &value)?.max(1),
        "--fault" => {
            let fault = Fault::named(&value).ok_or_else(|| format!("there is no fault {value:?}"))?;
            options.fault = Some(fault);
        }
        "--fault-every" => options.fault_every = number::<usize>(flag, &value)?.max(1),
        "--require-key" => options.require_key = Some(value),
        "--idle-close-ms" => options.idle_close = Some(Duration::from_millis(number(flag, &value)?)),
        "--close-after" => options.close_after = Some(number(flag, &value)?),
        "--stale-after" => options.stale_after = Some(number(flag, &value)?),
        _ => return Err(format!("unknown flag {flag}")),
    }
    Ok(())
}

fn number<T: FromStr>(flag: &str, value: &str) -> Result<T, String> {
    value.parse().map_err(|_| format!("{flag} does not take {value:?}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(line: &str) -> Result<Asked, String> {
        parse(line.split_whitespace().map(str::to_owned))
    }

    #[test]
    fn flags_take_their_values_either_way() {
        let Ok(Asked::Run(options)) = parsed("--port 0 --tokens=5 --bench --fault cut") else {
            panic!("these flags are right");
        };
        assert_eq!((options.address.port(), options.tokens, options.bench), (0, 5, true));
        assert_eq!(options.fault.map(|fault| fault.name), Some("cut"));
    }

    #[test]
    fn wrong_flags_are_named() {
        let problem = |line| parsed(line).err().unwrap_or_default();
        assert_eq!(problem("--wat 1"), "unknown flag --wat");
        assert_eq!(problem("--port x"), "--port does not take \"x\"");
        assert_eq!(problem("--fault wat"), "there is no fault \"wat\"");
    }
}
