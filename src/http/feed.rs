//! From a turn's reader to its client: the first event waited for, the whole answer, the stream, and what becomes of the turn
//! when the client leaves. What it looks like is each door's [`Projection`].

use std::sync::Arc;
use std::time::Duration;

use axum::response::Response;
use tokio::time::Instant;

use super::access_log;
use super::sse::{self, Frames};
use crate::domain::event::{End, Event, Numbered};
use crate::domain::ids::TurnId;
use crate::turn::leave::OnLeave;
use crate::turn::reader::{Next, Reader};

/// A turn as one door shows it.
pub trait Projection: Send + 'static {
    /// The whole answer.
    type Whole;
    /// Why there is none.
    type Error: From<Next>;

    /// Whether a client that knows of its turn is told to come back, rather than refused, when the server stops.
    const COMES_BACK: bool;

    /// Adds what an event amounts to.
    fn show(&mut self, event: &Numbered, out: &mut impl Frames);

    /// Adds why the events end before the turn does.
    fn cut_short(&mut self, why: Next, out: &mut impl Frames);

    /// The whole answer of a turn that has ended like this.
    ///
    /// # Errors
    /// Where there is none.
    fn whole(&self, end: &End) -> Result<Self::Whole, Self::Error>;
}

/// One client's reading of a turn.
pub struct Feed<P> {
    reader: Reader,
    projection: P,
    on_leave: Option<OnLeave>,
}

/// How a streamed answer begins.
pub enum Lead<F, E> {
    /// Before anything was said: the answer is an error with its own status.
    Failed(E),
    /// With these frames, of which the last one may be the end.
    Stream(F, bool),
}

impl<P: Projection> Feed<P> {
    /// What `reader` reads, as `projection` shows it.
    pub fn new(reader: Reader, projection: P) -> Self {
        access_log::note_turn(reader.turn());
        Self { reader, projection, on_leave: None }
    }

    /// With what is to happen when this is dropped before the client was told how the turn ended.
    #[must_use]
    pub fn with_leave(self, on_leave: Option<OnLeave>) -> Self {
        Self { on_leave, ..self }
    }

    /// The turn that is read.
    pub fn turn(&self) -> &TurnId {
        self.reader.turn()
    }

    /// How it is shown.
    pub fn projection(&self) -> &P {
        &self.projection
    }

    /// The same, shown in another way.
    #[must_use]
    pub fn shown(self, change: impl FnOnce(P) -> P) -> Self {
        Self { projection: change(self.projection), ..self }
    }

    /// The client was told all that there is to tell, so that its leaving means nothing. `is_answered` where it has no reason
    /// to send its request again.
    pub fn told(&mut self, is_answered: bool) {
        if let Some(on_leave) = self.on_leave.take() {
            on_leave.told(is_answered);
        }
    }

    /// Waits for the whole answer.
    ///
    /// # Errors
    /// Why there is none.
    pub async fn whole(&mut self) -> Result<P::Whole, P::Error> {
        let end = self.reader.end().await;
        let (whole, is_answered) = match end {
            Ok(end) => {
                let whole = self.projection.whole(&end);
                let is_answered = whole.is_ok() || end.answer.is_some();
                (whole, is_answered)
            }
            Err(why) => (Err(why.into()), false),
        };
        self.told(is_answered);
        whole
    }

    /// Waits until something is said, at most `patience`: a failure before that keeps its status.
    pub async fn lead<F: Frames>(&mut self, patience: Duration) -> Lead<F, P::Error> {
        let deadline = Instant::now() + patience;
        let (mut out, mut has_started) = (F::default(), false);
        loop {
            let Ok(next) = tokio::time::timeout_at(deadline, self.reader.next()).await else {
                return Lead::Stream(out, false);
            };
            let events = match next {
                Next::Events(events) => events,
                // The turn goes on elsewhere, and with its id the client can follow it there.
                Next::Leaving if P::COMES_BACK && has_started => {
                    self.projection.cut_short(Next::Leaving, &mut out);
                    self.told(true);
                    return Lead::Stream(out, true);
                }
                other => return Lead::Failed(other.into()),
            };
            if let Some(Event::Ended(end)) = events.last().map(|event| &event.event)
                && end.answer.is_none()
                && let Err(error) = self.projection.whole(end)
            {
                self.told(false);
                return Lead::Failed(error);
            }
            has_started |= !events.is_empty();
            let is_said = events.iter().any(|event| !matches!(event.event, Event::Started { .. }));
            let is_last = self.show_all(&events, &mut out);
            if is_said {
                return Lead::Stream(out, is_last);
            }
        }
    }

    /// The next frames, and whether they are the last. May be dropped at any point and called again.
    pub async fn next<F: Frames>(&mut self) -> (F, bool) {
        let mut out = F::default();
        let is_last = match self.reader.next().await {
            Next::Events(events) => self.show_all(&events, &mut out),
            Next::Done => true,
            other => {
                self.projection.cut_short(other, &mut out);
                true
            }
        };
        if is_last {
            self.told(true);
        }
        (out, is_last)
    }

    /// Adds these events; true where the last one is the turn's end.
    fn show_all(&mut self, events: &[Arc<Numbered>], out: &mut impl Frames) -> bool {
        events.iter().for_each(|event| self.projection.show(event, out));
        let is_last = events.last().is_some_and(|event| event.event.is_end());
        if is_last {
            self.told(true);
        }
        is_last
    }

    /// The answer as a stream, once something is said.
    ///
    /// # Errors
    /// What failed before that.
    pub async fn stream(mut self, patience: Duration) -> Result<Response, P::Error> {
        match self.lead(patience).await {
            Lead::Failed(error) => Err(error),
            Lead::Stream(first, is_last) => Ok(sse::respond(first, (!is_last).then_some(self))),
        }
    }

    /// These events, which were read already, and all that follow, as a stream.
    pub fn stream_from(mut self, first: &[Arc<Numbered>]) -> Response {
        let (frames, is_last) = self.frames_of(first);
        sse::respond(frames, (!is_last).then_some(self))
    }

    /// The frames of events that were read already, and whether they are the last.
    pub fn frames_of(&mut self, events: &[Arc<Numbered>]) -> (String, bool) {
        let mut out = String::new();
        let is_last = self.show_all(events, &mut out);
        (out, is_last)
    }
}

impl<P: Projection> sse::Source for Feed<P> {
    async fn next(&mut self) -> (String, bool) {
        Feed::next(self).await
    }
}
