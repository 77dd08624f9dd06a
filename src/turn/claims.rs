//! The turns that this process has in hand: from before a turn is stored until nothing here will write to it any more.
//!
//! A store that only one process may use goes by this: a turn that is stored as running here, and that nothing has in
//! hand, was given up.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::domain::ids::TurnId;

/// All of them. A turn that was lost and taken over by the same process is there twice for a while.
#[derive(Debug, Default, Clone)]
pub(super) struct Claims(Arc<Mutex<HashMap<TurnId, usize>>>);

/// One turn in hand, until this is dropped.
#[derive(Debug)]
pub(super) struct Claim {
    claims: Claims,
    turn: TurnId,
}

impl Claims {
    pub(super) fn claim(&self, turn: &TurnId) -> Claim {
        *self.lock().entry(turn.clone()).or_default() += 1;
        Claim { claims: self.clone(), turn: turn.clone() }
    }

    pub(super) fn has(&self, turn: &TurnId) -> bool {
        self.lock().contains_key(turn)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<TurnId, usize>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        let mut claims = self.claims.lock();
        if let Some(count) = claims.get_mut(&self.turn) {
            *count -= 1;
            if *count == 0 {
                claims.remove(&self.turn);
            }
        }
    }
}
