//! A streamed answer as pieces, those that came together in one batch.

use std::ops::ControlFlow;

use bytes::Bytes;

use super::answer::Answer;
use super::sse::{Parser, is_whole};
use super::streamed::{Reading, Stage};
use crate::domain::reply::Piece;
use crate::domain::turn::Fault;

/// The most pieces in one batch: the task that takes them has other things to do, too.
const MAX_BATCH: usize = 256;

/// Pieces out of a response's body.
#[derive(Debug)]
pub struct PieceReading {
    parser: Parser,
    answer: Answer,
    batch: Vec<Piece>,
}

impl PieceReading {
    /// Pieces of `answer`, of which nothing has come.
    #[must_use]
    pub fn new(answer: Answer) -> Self {
        Self { parser: Parser::default(), answer, batch: Vec::new() }
    }

    /// Reads bytes, or of the last event, whose end they are, only what is whole.
    fn take(&mut self, chunk: &[u8], is_last: bool) -> (usize, Result<(), Fault>) {
        let Self { parser, answer, batch } = self;
        let (mut events, mut read) = (0, Ok(()));
        let fed = parser.feed(chunk, |event| {
            if is_last && !is_whole(event.data) {
                return ControlFlow::Break(());
            }
            events += 1;
            read = answer.event(event, batch);
            match &read {
                Ok(()) if !answer.is_done() => ControlFlow::Continue(()),
                _ => ControlFlow::Break(()),
            }
        });
        (events, read.and(fed.map(drop).map_err(Fault::from)))
    }
}

impl Reading for PieceReading {
    type Item = Vec<Piece>;

    fn read(&mut self, chunk: Bytes) -> (usize, Result<(), Fault>) {
        self.take(&chunk, false)
    }

    fn last(&mut self) -> (usize, Result<(), Fault>) {
        self.take(b"\n\n", true)
    }

    fn stage(&self) -> Stage {
        match (self.answer.is_done(), self.answer.is_finished()) {
            (true, _) => Stage::Done,
            (false, true) => Stage::Finished,
            (false, false) => Stage::Going,
        }
    }

    fn may_end(&self) -> bool {
        self.answer.is_finished()
    }

    fn end(&mut self) {
        self.answer.close(&mut self.batch);
    }

    fn is_full(&self) -> bool {
        self.batch.len() >= MAX_BATCH
    }

    fn is_ready(&self) -> bool {
        !self.batch.is_empty()
    }

    fn take(&mut self) -> Option<Vec<Piece>> {
        (!self.batch.is_empty()).then(|| std::mem::take(&mut self.batch))
    }
}
