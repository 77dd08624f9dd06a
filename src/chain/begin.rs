//! Beginning a response's turn, in a branch where another response went on from the same one first.

use super::ChainError;
use super::backing::Backing;
use super::start::{StartPoint, UnusedCopy};
use crate::turn::{Accepted, Ask, Refused};

/// Begins a turn at `start`. Where the chain has gone on from there, or is about to, the turn begins in a copy instead, and
/// `ask` is called a second time.
///
/// # Errors
/// Why no turn began; nothing was spent, and no copy is left.
pub async fn begin(
    backing: &Backing,
    mut start: StartPoint,
    ask: impl Fn(&StartPoint) -> Ask,
) -> Result<Accepted, ChainError> {
    let asked = ask(&start);
    let turn = asked.turn.clone();
    let mut begun = backing.turns.ask(asked).await;
    let goes_on_elsewhere = matches!(begun, Err(Refused::Moved | Refused::Busy | Refused::UnknownConversation));
    if goes_on_elsewhere && let Some(previous) = start.previous.take() {
        let record = backing.response(&previous).await?.ok_or(ChainError::UnknownResponse)?;
        start = StartPoint::copied(backing, backing, &record).await?;
        begun = backing.turns.ask(ask(&start)).await;
    }
    let accepted = begun?;
    // A repeated request joins the turn of the first one, which has no use for this copy.
    if *accepted.reader.turn() == turn {
        start.copied.into_iter().for_each(UnusedCopy::keep);
    }
    Ok(accepted)
}
