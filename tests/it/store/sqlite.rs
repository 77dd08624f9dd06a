//! SQLite, put to the contract.

use std::sync::Arc;

use openai_backend::domain::clock::ManualClock;
use openai_backend::store::sqlite::Sqlite;

use super::rig::{EPOCH_MS, Rig, Time};

async fn fresh() -> Rig {
    let clock = Arc::new(ManualClock::at(EPOCH_MS));
    let folder = tempfile::tempdir().unwrap();
    let store = Arc::new(Sqlite::open(folder.path(), clock.clone()).unwrap());
    Rig::new(store.clone(), store, Time::Manual(clock)).keeping(folder)
}

contract!(fresh);
