//! Why a response cannot go on from what it names.

use crate::store::StoreError;
use crate::turn::Refused;

/// See the module.
#[derive(Debug, thiserror::Error)]
pub enum ChainError {
    /// There is no previous response of this id, or it has no end to go on from.
    #[error("no such response")]
    UnknownResponse,
    /// The previous response is still being made.
    #[error("the previous response is still running")]
    StillRunning,
    /// There is no such conversation.
    #[error("no such conversation")]
    UnknownConversation,
    /// No response has an item of this id.
    #[error("no such item")]
    UnknownItem,
    /// The engine began no turn.
    #[error(transparent)]
    Refused(#[from] Refused),
    /// The store could not be asked.
    #[error(transparent)]
    Store(#[from] StoreError),
}
