//! The product's log, kept in memory while this thread runs a test: a test's runtime has no other thread.

use std::io;
use std::sync::{Arc, Mutex};

use openai_backend::config::LogConfig;
use openai_backend::telemetry;
use tracing::dispatcher::{DefaultGuard, Dispatch};
use tracing::subscriber::NoSubscriber;
use tracing_subscriber::fmt::MakeWriter;

/// Catches what is logged until it is dropped.
pub struct CapturedLog {
    written: Written,
    _logging: DefaultGuard,
    /// With a single subscriber `tracing` asks the thread that first reaches a log line whether it is wanted, and remembers the
    /// answer of a neighbouring test's thread, which has none. A second one turns that off.
    _second: Dispatch,
}

/// The bytes, shared with the log that writes them.
#[derive(Clone, Default)]
pub struct Written(Arc<Mutex<Vec<u8>>>);

impl CapturedLog {
    /// The log as the product writes it with these settings.
    pub fn start(config: &LogConfig) -> Self {
        Self::of(|written| Dispatch::new(telemetry::subscriber(config, written, false)))
    }

    /// Another one, which must write to what it is given.
    pub fn of(log: impl FnOnce(Written) -> Dispatch) -> Self {
        let second = Dispatch::new(NoSubscriber::default());
        let written = Written::default();
        let logging = tracing::dispatcher::set_default(&log(written.clone()));
        Self { written, _logging: logging, _second: second }
    }

    pub fn text(&self) -> String {
        String::from_utf8(self.written.0.lock().unwrap().clone()).unwrap()
    }
}

impl io::Write for Written {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Written {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}
