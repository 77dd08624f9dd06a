//! The log: one line an event, on stderr, as text or JSON. A panic is one line of it.
//!
//! Fields are dotted and spelled alike everywhere: `conversation.id`, `turn.id`, `session.key` (its first digits),
//! `request.id`, `request.method`, `request.path` (the route, not the URL), `response.status`, `duration_ms`, `owner.kind`, `owner.id`, `model`,
//! `upstream.status`, `attempt`, `task`, `error` (the server's own words), `panic.location`. Message text, keys and cookies are in
//! no field at any level. Other crates are never logged below `info`, where they may quote what they carry.

use std::any::Any;
use std::io;
use std::panic::PanicHookInfo;

use tracing::Subscriber;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::{SubscriberInitExt as _, TryInitError};
use tracing_subscriber::{Layer, Registry};

use crate::config::{LogConfig, LogFormat};

/// Starts the log of this process, and sends panics there.
///
/// # Errors
/// When the process has a log already.
pub fn init(config: &LogConfig) -> Result<(), TryInitError> {
    use io::IsTerminal as _;
    subscriber(config, io::stderr, io::stderr().is_terminal()).try_init()?;
    std::panic::set_hook(Box::new(log_panic));
    Ok(())
}

/// A log that goes to `writer`.
pub fn subscriber<W>(config: &LogConfig, writer: W, colours: bool) -> impl Subscriber + Send + Sync
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let lines = tracing_subscriber::fmt::layer().with_writer(writer).with_ansi(colours).log_internal_errors(false);
    let layer: Box<dyn Layer<Registry> + Send + Sync> = match config.format {
        LogFormat::Text => lines.boxed(),
        LogFormat::Json => lines.json().flatten_event(true).with_span_list(false).boxed(),
    };
    tracing_subscriber::registry().with(layer.with_filter(config.filter.clone()))
}

fn log_panic(info: &PanicHookInfo<'_>) {
    let location = info.location().map(ToString::to_string).unwrap_or_default();
    let thread = std::thread::current();
    tracing::error!(
        panic.location = location,
        panic.thread = thread.name().unwrap_or("unnamed"),
        "panic: {}",
        safe_message(info.payload())
    );
}

/// The message of a panic, if it is a literal in the source. A formatted message may quote a user's text or a key.
fn safe_message(payload: &(dyn Any + Send)) -> &'static str {
    payload
        .downcast_ref::<&'static str>()
        .copied()
        .unwrap_or("the message is withheld, because it may quote a user's text")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_says_literals_only() {
        let said = |work: fn()| {
            let payload = std::panic::catch_unwind(work).unwrap_err();
            safe_message(&*payload)
        };
        assert_eq!(said(|| panic!("a literal")), "a literal");
        let withheld = said(|| panic!("quoting {}", std::hint::black_box("canary")));
        assert!(withheld.starts_with("the message is withheld"), "{withheld}");
        assert!(said(|| drop(String::from_utf8(vec![0xff]).unwrap())).starts_with("the message is withheld"));
    }
}
