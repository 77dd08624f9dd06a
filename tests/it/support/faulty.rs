//! A store that fails, waits or panics on command, around one that works.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use async_trait::async_trait;
use fake_openai::Gate;
use openai_backend::store::{Store, StoreError};
use tokio_util::sync::CancellationToken;

use super::intercepted::{Intercepted, Interceptor, Op};

const WELL: u8 = 0;
const AWAY: u8 = 1;
const FULL: u8 = 2;
const PANICS: u8 = 3;

/// How the store is at present.
pub struct Condition {
    now: AtomicU8,
    /// What a turn waits for after the store has begun it.
    begins: Gate,
    lost: CancellationToken,
}

pub type Faulty = Intercepted<Condition>;

impl Faulty {
    /// One that works for the time being.
    pub fn well(inner: Arc<dyn Store>) -> Arc<Self> {
        let begins = Gate::new();
        begins.open();
        Self::slow(inner, &begins)
    }

    /// One that has begun a turn, and answers so when `begins` opens.
    pub fn slow(inner: Arc<dyn Store>, begins: &Gate) -> Arc<Self> {
        Self::new(inner, Condition { now: AtomicU8::new(WELL), begins: begins.clone(), lost: CancellationToken::new() })
    }

    /// Works again.
    pub fn mend(&self) {
        self.set(WELL);
    }

    /// Cannot be reached.
    pub fn go_away(&self) {
        self.set(AWAY);
    }

    /// Cannot be reached ever again by this process.
    pub fn lose(&self) {
        self.go_away();
        self.interceptor.lost.cancel();
    }

    /// Has no room.
    pub fn fill(&self) {
        self.set(FULL);
    }

    /// Has a defect.
    pub fn panic(&self) {
        self.set(PANICS);
    }

    fn set(&self, condition: u8) {
        self.interceptor.now.store(condition, Ordering::SeqCst);
    }
}

#[async_trait]
impl Interceptor for Condition {
    async fn before(&self, _: Op) -> Result<(), StoreError> {
        match self.now.load(Ordering::SeqCst) {
            AWAY => Err(StoreError::Unavailable("the test took it away".into())),
            FULL => Err(StoreError::Full("the test filled it".into())),
            PANICS => panic!("the store has a defect"),
            _ => Ok(()),
        }
    }

    async fn lost(&self, _: &dyn Store) -> StoreError {
        self.lost.cancelled().await;
        StoreError::Unavailable("the test lost it".into())
    }

    async fn after(&self, op: Op) -> Result<(), StoreError> {
        if op == Op::BeginTurn {
            self.begins.wait().await;
        }
        Ok(())
    }
}
