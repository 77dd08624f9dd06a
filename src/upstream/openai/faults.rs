//! What goes wrong with an answer, a sentence for each.

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

impl From<SseError> for Fault {
    fn from(error: SseError) -> Self {
        match error {
            SseError::TooLarge => garbage("an event that is larger than any real one"),
            SseError::NotUtf8 => garbage("an event that is not UTF-8"),
        }
    }
}
