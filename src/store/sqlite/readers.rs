//! A few connections that only read, beside the writer and without waiting for it. Each read sees one moment.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rusqlite::Connection;
use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::fail::Fail;
use super::schema;
use super::writer::{closed, no_answer_within};
use crate::store::StoreError;

/// Reads come from memory, mostly, so more than there are cores would be of little use.
const CONNECTIONS: usize = 4;

pub(super) struct Readers {
    database: PathBuf,
    permits: Arc<Semaphore>,
    idle: Arc<Mutex<Vec<Connection>>>,
    deadline: Duration,
}

impl Readers {
    /// Connections are opened when they are first needed. Each read waits no longer than `deadline`.
    pub(super) fn new(database: PathBuf, deadline: Duration) -> Self {
        Self { database, permits: Arc::new(Semaphore::new(CONNECTIONS)), idle: Arc::default(), deadline }
    }

    /// Runs `look` on a thread where it may block.
    pub(super) async fn read<T: Send + 'static>(
        &self,
        look: impl FnOnce(&Connection) -> Result<T, Fail> + Send + 'static,
    ) -> Result<T, StoreError> {
        let done = self.read_however_long(look);
        timeout(self.deadline, done).await.unwrap_or_else(|_| Err(no_answer_within(self.deadline)))
    }

    async fn read_however_long<T: Send + 'static>(
        &self,
        look: impl FnOnce(&Connection) -> Result<T, Fail> + Send + 'static,
    ) -> Result<T, StoreError> {
        let permit = self.permits.clone().acquire_owned().await.map_err(|_| closed())?;
        let (idle, database) = (self.idle.clone(), self.database.clone());
        let run = move || {
            // A caller that goes away does not make room for another: the work still runs.
            let _permit = permit;
            let pooled = lock(&idle).pop();
            let db = pooled.map_or_else(|| schema::open_reader(&database), Ok)?;
            let answer = at_one_moment(&db, look);
            if db.is_autocommit() {
                lock(&idle).push(db);
            }
            answer
        };
        match tokio::task::spawn_blocking(run).await {
            Ok(answer) => answer.map_err(|fail| fail.to_store_error()),
            Err(_) => Err(StoreError::Broken("a read did not come to its end".into())),
        }
    }

    /// Refuses further reads and closes the connections.
    pub(super) async fn close(&self) {
        // With all permits in hand, nothing reads. A read that hangs keeps its connection.
        let all = timeout(self.deadline, self.permits.acquire_many(CONNECTIONS as u32)).await;
        self.permits.close();
        lock(&self.idle).clear();
        drop(all);
    }
}

fn lock(idle: &Mutex<Vec<Connection>>) -> std::sync::MutexGuard<'_, Vec<Connection>> {
    idle.lock().unwrap_or_else(PoisonError::into_inner)
}

fn at_one_moment<T>(db: &Connection, look: impl FnOnce(&Connection) -> Result<T, Fail>) -> Result<T, Fail> {
    db.prepare_cached("BEGIN")?.execute([])?;
    let answer = look(db);
    let ended = db.prepare_cached("COMMIT").and_then(|mut commit| commit.execute([]));
    let answer = answer?;
    ended?;
    Ok(answer)
}
