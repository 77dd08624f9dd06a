//! A connection's wait for its next request: how long it may be idle, how long a header may take once it has begun, and the
//! first line of it, by which a refusal finds the door that it is for.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::http::StatusCode;
use tokio::time::{Instant, Sleep, sleep_until};

use super::phase::Phase;
use crate::http::places::Places;

/// The most that is kept of a request's first line, in bytes.
const LINE: usize = 8 * 1024;

/// What every HTTP/2 connection begins with, as far as it fits into a line.
const HTTP_2: &[u8] = b"PRI * HTTP/2";

/// Makes the whole answer, header and body, to a request with this first line that no handler sees.
pub(super) type Refuse = Arc<dyn Fn(StatusCode, &[u8]) -> Vec<u8> + Send + Sync>;

/// What all connections of a server have in common while they wait.
#[derive(Clone)]
pub(super) struct WaitRules {
    /// How long a connection may be without a request.
    pub(super) idle: Duration,
    /// How long a header may take from its first byte on. Where others wait for a place, connections may be idle no longer.
    pub(super) header: Duration,
    pub(super) places: Places,
    pub(super) refuse: Refuse,
}

/// One connection's wait.
pub(super) struct Waiting {
    rules: WaitRules,
    phase: Phase,
    since: Instant,
    header_since: Option<Instant>,
    line: Vec<u8>,
    /// When to look whether the wait is over.
    look_at: Option<Instant>,
    sleep: Option<Pin<Box<Sleep>>>,
}

/// How a wait is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Over {
    Idle,
    /// The header began, and did not end.
    Late,
}

impl Waiting {
    pub(super) fn new(rules: WaitRules, phase: Phase) -> Self {
        let since = Instant::now();
        Self { rules, phase, since, header_since: None, line: Vec::new(), look_at: None, sleep: None }
    }

    /// Where the connection is.
    pub(super) fn phase(&self) -> &Phase {
        &self.phase
    }

    /// All that was to be written has been.
    pub(super) fn flushed(&mut self, context: &mut Context<'_>) {
        if self.phase.has_flushed() {
            self.since = Instant::now();
            (self.header_since, self.look_at) = (None, None);
            // An idle connection holds no memory that it does not need.
            self.line = Vec::new();
            // Only for its wake-up, at which the HTTP library reads: it may know by now that there is nothing to read yet.
            let _ = self.poll_over(context);
        }
    }

    /// These bytes came in. True where they begin a protocol that this server does not speak.
    pub(super) fn received(&mut self, bytes: &[u8]) -> bool {
        if !self.phase.is_waiting() {
            return false;
        }
        if self.header_since.is_none() {
            self.header_since = Some(Instant::now());
            self.look_at = None;
        }
        if self.line.ends_with(b"\n") || self.line.len() >= LINE {
            return false;
        }
        let end = memchr::memchr(b'\n', bytes).map_or(bytes.len(), |at| at + 1);
        self.line.extend_from_slice(&bytes[..end.min(LINE - self.line.len())]);
        self.line.starts_with(HTTP_2)
    }

    /// The answer with this status to what was received, without its body where nothing but the header was asked for.
    pub(super) fn refusal(&self, status: StatusCode) -> Vec<u8> {
        (self.rules.refuse)(status, &self.line)
    }

    /// Ready once the wait is over without a request.
    pub(super) fn poll_over(&mut self, context: &mut Context<'_>) -> Poll<Over> {
        if !self.phase.is_waiting() {
            return Poll::Pending;
        }
        loop {
            let look_at = match self.look_at {
                Some(at) => at,
                None => self.next_look(),
            };
            self.look_at = Some(look_at);
            let sleep = self.sleep.get_or_insert_with(|| Box::pin(sleep_until(look_at)));
            if sleep.deadline() != look_at {
                sleep.as_mut().reset(look_at);
            }
            ready!(sleep.as_mut().poll(context));
            if self.header_since.is_some() {
                return Poll::Ready(Over::Late);
            }
            if look_at >= self.since + self.rules.idle || self.rules.places.are_wanted() {
                return Poll::Ready(Over::Idle);
            }
            self.look_at = None;
        }
    }

    fn next_look(&self) -> Instant {
        match self.header_since {
            Some(since) => since + self.rules.header,
            None => (self.since + self.rules.idle).min(Instant::now() + self.rules.header),
        }
    }
}
