//! Reads a turn from any event on: from this process where it runs here, else from the store.

use std::sync::Arc;

use tokio::sync::watch;

use super::engine::{Inner, Turns};
use super::hub::{self, Hub, HubState, Progress};
use crate::domain::conversation::Owner;
use crate::domain::event::{End, Event, Numbered};
use crate::domain::ids::TurnId;
use crate::domain::turn::TurnStatus;
use crate::store::{EventsPage, StoreError};

/// One reader's place in a turn.
pub struct Reader {
    inner: Arc<Inner>,
    owner: Owner,
    turn: TurnId,
    after: u64,
    /// Whether the turn was there when this last looked.
    known: bool,
    source: Source,
}

enum Source {
    Here(Arc<Hub>, watch::Receiver<Progress>),
    Store,
}

/// What comes next.
#[derive(Debug)]
pub enum Next {
    /// These events, in order.
    Events(Vec<Arc<Numbered>>),
    /// Nothing: the end has been given.
    Done,
    /// This server stops; the turn goes on elsewhere or later.
    Leaving,
    /// The answer is whole but cannot be stored for now.
    Stalled,
    /// The turn has ended, and its events are no longer kept.
    Expired,
    /// There is no such turn of this owner.
    Unknown,
    /// The turn, or its owner, was deleted while it was read.
    Gone,
    /// The store could not be read.
    Failed(StoreError),
}

impl Turns {
    /// Reads a turn from after event number `after`. An unknown one shows with the first read.
    #[must_use]
    pub fn read(&self, owner: &Owner, turn: &TurnId, after: u64) -> Reader {
        Reader::new(self.0.clone(), owner.clone(), turn.clone(), after)
    }
}

impl Reader {
    fn new(inner: Arc<Inner>, owner: Owner, turn: TurnId, after: u64) -> Self {
        let source = match inner.hubs.get(&turn).filter(|hub| hub.place.owner == owner) {
            Some(hub) => Source::from(hub),
            None => Source::Store,
        };
        let known = matches!(source, Source::Here(..));
        Self { inner, owner, turn, after, known, source }
    }

    /// The turn that is read.
    #[must_use]
    pub fn turn(&self) -> &TurnId {
        &self.turn
    }

    /// Waits for what comes next. May be dropped at any point and called again.
    pub async fn next(&mut self) -> Next {
        loop {
            let next = match &mut self.source {
                Source::Here(hub, progress) => read_here(hub, progress, self.after).await,
                Source::Store => Some(self.read_stored().await),
            };
            match next {
                Some(Next::Events(events)) => {
                    self.after = events.last().map_or(self.after, |event| event.seq);
                    return Next::Events(events);
                }
                Some(next) => return next,
                None => self.source = Source::Store,
            }
        }
    }

    /// What is there already; `None` where the turn runs and has nothing new yet.
    pub async fn look(&mut self) -> Option<Next> {
        if let Source::Here(_, progress) = &self.source {
            let now = *progress.borrow();
            if now.state == HubState::Running && now.last <= self.after {
                return None;
            }
            return Some(self.next().await);
        }
        match self.look_stored().await {
            Some(Next::Events(events)) => {
                self.after = events.last().map_or(self.after, |event| event.seq);
                Some(Next::Events(events))
            }
            other => other,
        }
    }

    /// Waits for the end, and gives it.
    ///
    /// # Errors
    /// What came instead of an end.
    pub async fn end(&mut self) -> Result<End, Next> {
        loop {
            match self.next().await {
                Next::Events(events) => {
                    if let Some(Event::Ended(end)) = events.last().map(|event| &event.event) {
                        return Ok((**end).clone());
                    }
                }
                other => return Err(other),
            }
        }
    }

    async fn read_stored(&mut self) -> Next {
        loop {
            let wakeup = self.inner.wakeups.listen(self.turn.as_str());
            if let Some(next) = self.look_stored().await {
                return next;
            }
            tokio::select! {
                biased;
                () = wakeup.wait() => {}
                () = self.inner.leaving.cancelled() => return Next::Leaving,
            }
            if let Some(hub) = self.inner.hubs.get(&self.turn).filter(|hub| hub.serves(self.after)) {
                self.source = Source::from(hub);
                return Next::Events(Vec::new());
            }
        }
    }

    async fn look_stored(&mut self) -> Option<Next> {
        let page = self.inner.store.read_events(&self.owner, &self.turn, self.after, hub::PORTION).await;
        self.known |= matches!(page, Ok(EventsPage::Events { .. }));
        Some(match page {
            Ok(EventsPage::Events { events, .. }) if !events.is_empty() => {
                Next::Events(hub::portion(events.into_iter().map(Arc::new)))
            }
            Ok(EventsPage::Events { status: TurnStatus::Running, .. }) => return None,
            Ok(EventsPage::Events { .. }) => Next::Done,
            Ok(EventsPage::Expired) => Next::Expired,
            Ok(EventsPage::Unknown) if self.known => Next::Gone,
            Ok(EventsPage::Unknown) => Next::Unknown,
            Err(error) => Next::Failed(error),
        })
    }
}

impl From<Arc<Hub>> for Source {
    fn from(hub: Arc<Hub>) -> Self {
        let progress = hub.watch();
        Self::Here(hub, progress)
    }
}

/// `None` where the rest is to be read from the store.
async fn read_here(hub: &Hub, progress: &mut watch::Receiver<Progress>, after: u64) -> Option<Next> {
    loop {
        let now = *progress.borrow_and_update();
        if now.last > after {
            // A turn that was taken over has its earlier events in the store only.
            return hub.serves(after).then(|| Next::Events(hub.events_after(after)));
        }
        match now.state {
            HubState::Ended => return Some(Next::Done),
            HubState::Moved => return None,
            HubState::Leaving => return Some(Next::Leaving),
            HubState::Stalled => return Some(Next::Stalled),
            HubState::Running if progress.changed().await.is_err() => return None,
            HubState::Running => {}
        }
    }
}
