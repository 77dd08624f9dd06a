//! What goes wrong with an answer, a sentence for each.

use std::error::Error as _;

use super::sse::SseError;
use crate::domain::turn::{Fault, FaultKind};

/// What no reading makes sense of.
#[must_use]
pub fn garbage(what: &str) -> Fault {
    Fault::new(FaultKind::UpstreamGarbage, format!("the model's server sent {what}"))
}

/// A body that ends before its answer does.
#[must_use]
pub fn cut() -> Fault {
    Fault::new(FaultKind::UpstreamCut, "the model's answer was cut short")
}

/// An answer that is not whole by its deadline.
#[must_use]
pub fn not_in_time() -> Fault {
    Fault::new(FaultKind::UpstreamTimeout, "the model did not answer in time")
}

/// An answer that does not begin.
#[must_use]
pub fn never_began() -> Fault {
    Fault::new(FaultKind::UpstreamTimeout, "the model did not begin to answer in time")
}

/// An answer that began and stands still.
#[must_use]
pub fn stalled() -> Fault {
    Fault::new(FaultKind::UpstreamTimeout, "the model stopped in the middle of its answer")
}

/// Why a request failed before an answer, from the name's resolution to TLS: what each layer says, the innermost last.
/// They know nothing of what was to be sent. Only the outermost has the address, and is left out.
pub(super) fn cause(error: &reqwest::Error) -> Option<String> {
    let mut said: Vec<String> = Vec::new();
    let mut cause = error.source();
    while let Some(error) = cause {
        let text = error.to_string();
        // One layer may repeat the words of the next, or say nothing but that there was a failure.
        said.retain(|outer| !text.contains(outer.as_str()));
        if !text.starts_with("client error") && !said.iter().any(|outer| outer.contains(&text)) {
            said.push(text);
        }
        cause = error.source();
    }
    let cause = said.join(": ");
    match cause.contains("UnknownIssuer") {
        true => Some(format!("{cause} (SSL_CERT_FILE in the environment names certificates to trust)")),
        false => Some(cause).filter(|cause| !cause.is_empty()),
    }
}

impl From<SseError> for Fault {
    fn from(error: SseError) -> Self {
        match error {
            SseError::TooLarge => garbage("an event that is larger than any real one"),
        }
    }
}
