//! The running turns of this process: what each has told so far, and how to stop it.
//!
//! Readers pull: each keeps its own place in the one list of events, so that any number of them, however slow, cost the
//! turn nothing and are never buffered for.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::watch;

use crate::domain::conversation::Place;
use crate::domain::event::Numbered;
use crate::domain::ids::TurnId;

/// How many events a reader is given at once.
pub(super) const PORTION: usize = 512;

/// A reader is given no more events at once when their text comes to this much.
const PORTION_BYTES: usize = 32 * 1024;

/// A turn that runs here.
#[derive(Debug)]
pub(super) struct Hub {
    /// Where it lives.
    pub(super) place: Place,
    events: Mutex<Vec<Arc<Numbered>>>,
    progress: watch::Sender<Progress>,
    stop: watch::Sender<Option<Stop>>,
}

/// How far a turn has come, as its readers see it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Progress {
    /// The number of the newest event.
    pub(super) last: u64,
    /// Whether this process will add to it.
    pub(super) state: HubState,
}

/// Whether more comes from this process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum HubState {
    /// It runs.
    Running,
    /// Its end was published.
    Ended,
    /// It goes on elsewhere, or later: its readers look into the store.
    Moved,
    /// This server stops: readers should come back.
    Leaving,
    /// The answer is whole but the store does not take it. This process keeps trying; readers need not wait for that.
    Stalled,
}

/// Why a running turn should stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stop {
    /// A client or another turn cancelled it.
    Cancelled,
    /// The person has said something else meanwhile.
    Steered,
    /// Its conversation is gone.
    Deleted,
    /// The server stops.
    Shutdown,
    /// Another run took the turn over.
    TakenOver,
}

impl Hub {
    /// A turn whose readers have been told nothing yet.
    #[must_use]
    pub(super) fn new(place: Place) -> Self {
        let progress = Progress { last: 0, state: HubState::Running };
        Self { place, events: Mutex::default(), progress: watch::Sender::new(progress), stop: watch::Sender::new(None) }
    }

    /// Shows events, which are stored, to the readers.
    pub(super) fn publish(&self, events: impl IntoIterator<Item = Numbered>) {
        let mut list = self.events.lock().unwrap_or_else(PoisonError::into_inner);
        list.extend(events.into_iter().map(Arc::new));
        let Some(newest) = list.last() else { return };
        let state = if newest.event.is_end() { HubState::Ended } else { HubState::Running };
        let progress = Progress { last: newest.seq, state };
        drop(list);
        self.progress.send_replace(progress);
    }

    /// Ends this process's part in the turn without an end of the turn. After an end it changes nothing.
    pub(super) fn leave(&self, state: HubState) {
        self.progress.send_if_modified(|progress| {
            let changes = progress.state == HubState::Running;
            if changes {
                progress.state = state;
            }
            changes
        });
    }

    /// The events after number `after`, as many as are given at once.
    #[must_use]
    pub(super) fn events_after(&self, after: u64) -> Vec<Arc<Numbered>> {
        let list = self.events.lock().unwrap_or_else(PoisonError::into_inner);
        let from = list.partition_point(|event| event.seq <= after);
        portion(list[from..].iter().cloned())
    }

    /// Whether it has the event after number `after`, or will: a taken-over turn's earlier ones are in the store only.
    #[must_use]
    pub(super) fn serves(&self, after: u64) -> bool {
        let list = self.events.lock().unwrap_or_else(PoisonError::into_inner);
        list.first().is_some_and(|first| first.seq <= after + 1)
    }

    /// Tells of progress from now on.
    #[must_use]
    pub(super) fn watch(&self) -> watch::Receiver<Progress> {
        self.progress.subscribe()
    }

    /// Asks the turn to stop. The first reason counts, but for one that overtakes a shutdown.
    pub(super) fn stop(&self, why: Stop) {
        self.stop.send_if_modified(|stop| {
            let changes = stop.is_none() || (*stop == Some(Stop::Shutdown) && why != Stop::Shutdown);
            if changes {
                *stop = Some(why);
            }
            changes
        });
    }

    /// Resolves when the turn should stop.
    pub(super) async fn stopped(&self) -> Stop {
        let mut stop = self.stop.subscribe();
        loop {
            if let Some(why) = *stop.borrow_and_update() {
                return why;
            }
            if stop.changed().await.is_err() {
                // The sender is this hub's own, so this cannot come before the hub is gone.
                std::future::pending::<()>().await;
            }
        }
    }
}

/// As many events as a reader is given at once: it may take its time with them, or never take them, so they are few.
pub(super) fn portion(events: impl Iterator<Item = Arc<Numbered>>) -> Vec<Arc<Numbered>> {
    let mut bytes = 0;
    let within = |event: &Arc<Numbered>| {
        let fits = bytes < PORTION_BYTES;
        bytes += event.event.size();
        fits
    };
    events.take(PORTION).take_while(within).collect()
}

/// The hubs of the turns that run in this process, in an order that does not depend on chance.
#[derive(Debug, Default)]
pub(super) struct Hubs(Mutex<BTreeMap<TurnId, Arc<Hub>>>);

impl Hubs {
    /// Adds a turn; gives the hub that it had here before, where this server lost its lease and took it over again.
    pub(super) fn insert(&self, turn: TurnId, hub: Arc<Hub>) -> Option<Arc<Hub>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(turn, hub)
    }

    /// Forgets a turn, unless another hub is in its place by now. Its readers keep it until they have read to the end.
    pub(super) fn remove(&self, turn: &TurnId, hub: &Arc<Hub>) {
        let mut hubs = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if hubs.get(turn).is_some_and(|known| Arc::ptr_eq(known, hub)) {
            hubs.remove(turn);
        }
    }

    /// The turn, where it runs here.
    #[must_use]
    pub(super) fn get(&self, turn: &TurnId) -> Option<Arc<Hub>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(turn).cloned()
    }

    /// All that run here and fit.
    #[must_use]
    pub(super) fn select(&self, fits: impl Fn(&Hub) -> bool) -> Vec<Arc<Hub>> {
        let hubs = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        hubs.values().filter(|hub| fits(hub)).cloned().collect()
    }

    /// How many run here.
    #[must_use]
    pub(super) fn len(&self) -> usize {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// Whether none does.
    #[must_use]
    pub(super) fn is_empty(&self) -> bool {
        self.len() == 0
    }
}
