//! The reference model, put to the contract.

use std::sync::Arc;

use openai_backend::domain::clock::ManualClock;
use openai_backend::store::memory::Memory;

use super::rig::{EPOCH_MS, Rig, Time};

async fn fresh() -> Rig {
    let clock = Arc::new(ManualClock::at(EPOCH_MS));
    let store = Arc::new(Memory::new(clock.clone()));
    Rig::new(store.clone(), store, Time::Manual(clock))
}

contract!(fresh);
