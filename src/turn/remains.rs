//! What the attempts at a turn have left in the store: what they showed, and what they cost.

use super::engine::Inner;
use crate::domain::event::{Event, Numbered};
use crate::domain::reply::Reply;
use crate::domain::tokens::REQUEST_OVERHEAD;
use crate::domain::turn::{TurnRecord, Usage};
use crate::store::{EventsPage, StoreError};
use crate::tasks::off_runtime;

/// How many stored events are read at once.
const PAGE: usize = 512;

/// See the module.
pub(super) struct Remains {
    /// What the last attempt has shown.
    pub(super) shown: Reply,
    /// What the attempts cost at least, by our own count: their servers can no longer say.
    pub(super) spent: Usage,
    /// How often the upstream was, or may have been, called.
    pub(super) attempts: u32,
}

impl Inner {
    /// Reads the events of a turn that no task of this server runs.
    pub(super) async fn remains(&self, turn: &TurnRecord) -> Result<Remains, StoreError> {
        let mut attempts: Vec<Reply> = Vec::new();
        let mut after = 0;
        loop {
            let page = self.store.read_events(&turn.place.owner, &turn.id, after, PAGE).await?;
            let EventsPage::Events { events, .. } = page else { break };
            let Some(last) = events.last() else { break };
            after = last.seq;
            for Numbered { event, .. } in events {
                match event {
                    Event::Started { attempt } => attempts.push(Reply::to(&turn.request, attempt)),
                    // What was shown was within bounds when it was shown.
                    Event::Delta(delta) => drop(attempts.last_mut().map(|reply| reply.show(&delta))),
                    Event::Ended(_) => {}
                }
            }
        }
        let (size, prompt_tokens) = (attempts.iter().map(Reply::size).sum(), prompt_tokens(turn));
        let (mut attempts, spent) = off_runtime(size, move || {
            let estimates = attempts.iter().map(|reply| reply.estimate(prompt_tokens));
            let spent = estimates.fold(Usage::default(), Usage::plus);
            (attempts, spent)
        })
        .await;
        Ok(Remains {
            spent,
            attempts: u32::try_from(attempts.len()).unwrap_or(u32::MAX),
            shown: attempts.pop().unwrap_or_else(|| Reply::to(&turn.request, 1)),
        })
    }
}

/// Without the history, which may have been less than it is now.
pub(super) fn prompt_tokens(turn: &TurnRecord) -> u64 {
    u64::from(turn.request.input_tokens().saturating_add(REQUEST_OVERHEAD))
}
