//! One call to a model, from the permission to make it to the end of its answer.

use futures::{Stream, StreamExt as _};

use super::at_once::Held;
use super::{Metering, Permit};
use crate::domain::turn::{Fault, FaultKind};
use crate::upstream::forward::{Ask, Completed, Passage, Passed, Rejected};
use crate::upstream::{Call, Pieces};

/// A call that may be made. It counts among the calls at once until it, or the answer that it became, is dropped.
pub struct ModelCall {
    metering: Metering,
    _held: Held,
}

/// How a turn comes to its call.
pub enum StartCall {
    /// It has a place already.
    Now(ModelCall),
    /// It waits for one: a turn that is taken over was allowed before, and is not refused.
    WhenFree(Permit),
}

impl StartCall {
    /// Asks a model, once there is a place for it.
    ///
    /// # Errors
    /// What kept the answer from beginning.
    pub async fn call(self, call: Call) -> Result<Pieces, Fault> {
        self.ready().await?.call(call).await
    }

    /// The call, once there is a place for it.
    ///
    /// # Errors
    /// When there will be none.
    pub async fn ready(self) -> Result<ModelCall, Fault> {
        match self {
            Self::Now(model_call) => Ok(model_call),
            Self::WhenFree(permit) => {
                let started = permit.start_when_free().await;
                started.map_err(|full| Fault::new(FaultKind::Internal, full.to_string()))
            }
        }
    }
}

impl ModelCall {
    pub(super) fn new(metering: Metering, held: Held) -> Self {
        Self { metering, _held: held }
    }

    /// Asks a model, as a turn does.
    ///
    /// # Errors
    /// What kept the answer from beginning.
    pub async fn call(self, call: Call) -> Result<Pieces, Fault> {
        let pieces = self.ask(call).await?;
        Ok(self.until_end_of(pieces).boxed())
    }

    /// Asks a model something that has to be known before the turn's own question can be asked, in the turn's place. The
    /// answer is to be read before this is dropped.
    ///
    /// # Errors
    /// What kept the answer from beginning.
    pub async fn ask(&self, call: Call) -> Result<Pieces, Fault> {
        self.metering.0.upstream.call(call).await
    }

    /// An answer of [`ModelCall::ask`] that is the turn's own after all.
    #[must_use]
    pub fn with(self, pieces: Pieces) -> Pieces {
        self.until_end_of(pieces).boxed()
    }

    /// Passes a chat completion on.
    ///
    /// # Errors
    /// Why there is no answer.
    pub async fn complete(self, ask: Ask) -> Result<Completed, Rejected> {
        Ok(match self.metering.0.upstream.complete(ask).await? {
            Completed::Plain(body) => Completed::Plain(body),
            Completed::Events(chunks) => Completed::Events(self.until_end_of(chunks).boxed()),
        })
    }

    /// Passes any other request on.
    ///
    /// # Errors
    /// Why there is no answer.
    pub async fn pass(self, passage: Passage) -> Result<Passed, Rejected> {
        let passed = self.metering.0.upstream.pass(passage).await?;
        Ok(Passed { body: self.until_end_of(passed.body).boxed(), ..passed })
    }

    fn until_end_of<S: Stream>(self, answer: S) -> impl Stream<Item = S::Item> {
        answer.map(move |item| {
            let _ = &self;
            item
        })
    }
}
