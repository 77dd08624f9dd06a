//! What [`adopt_turns`](super::Store::adopt_turns) takes and answers.

use std::sync::Arc;

use crate::domain::conversation::Place;
use crate::domain::ids::{InstanceId, TurnId};
use crate::domain::turn::TurnRecord;

/// Whether an instance has a turn in hand: it begins it, runs it or takes it over.
pub type InHand = Arc<dyn Fn(&TurnId) -> bool + Send + Sync>;

/// What [`adopt_turns`](super::Store::adopt_turns) is told.
#[derive(Clone)]
pub struct AdoptTurns {
    /// Who takes turns over.
    pub holder: InstanceId,
    /// How long the new leases last without being renewed, in milliseconds.
    pub lease_ms: i64,
    /// At most so many turns are taken over.
    pub limit: usize,
    /// What `holder` has in hand. A store that only one process may use has no clock end the leases of that process: it
    /// asks this instead, once for each of them.
    pub in_hand: InHand,
}

/// What [`adopt_turns`](super::Store::adopt_turns) answers.
#[derive(Debug, Default, PartialEq)]
pub struct Adopted {
    /// Turns that may run on.
    pub turns: Vec<TurnRecord>,
    /// Turns of which no more can be read than this; they are the holder's to end.
    pub unreadable: Vec<Unreadable>,
}

/// A turn that was taken over and whose record this version cannot read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unreadable {
    /// Where it lives.
    pub place: Place,
    /// The turn.
    pub turn: TurnId,
    /// What writes to it must show.
    pub fence: u64,
    /// The number of its last event.
    pub last_event: u64,
}
