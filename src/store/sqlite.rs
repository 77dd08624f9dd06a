//! The store in one file of SQLite: what runs when nothing is set. One process owns the file; another may only put
//! documents into it.
//!
//! Writes go to one thread that commits all that waits as one transaction (`writer`); reads go past it, on a few
//! connections of their own (`readers`). The tables explain themselves in `sqlite/migrations/`.

mod adopt;
mod backup;
mod begin;
mod conversations;
mod deletion;
mod documents;
mod expiry;
mod fail;
mod files;
mod items;
mod log_mark;
mod lookups;
mod rates;
mod readers;
mod reads;
mod removal;
mod rows;
mod schema;
mod sessions;
mod sql;
#[cfg(test)]
mod tests;
mod tries;
mod turns;
mod writer;

use std::path::{Path, PathBuf};
use std::sync::Arc;
#[cfg(test)]
use std::sync::atomic::Ordering;
use std::time::Duration;

use async_trait::async_trait;
use rusqlite::Connection;
use tokio::sync::{Mutex, broadcast};
use tokio::time::timeout;

use self::adopt::{Adopt, Release};
use self::begin::Begin;
use self::deletion::{DeleteOwner, RemoveDisowned, RemoveOwner};
use self::expiry::{Sweep, SweepEvents, Walk};
use self::fail::Fail;
use self::rates::TakeRate;
use self::readers::Readers;
use self::sessions::{CreateSession, Renew, session_expiry};
use self::tries::LeaveTry;
use self::turns::{Append, Cancel, Finish};
use self::writer::{Operation, Writer};
use super::{
    AdoptTurns, Adopted, AppendEvents, Appended, BeginTurn, Begun, CancelRequest, EventsPage, FinishTurn, Finished,
    HistoryPage, Notice, Store, StoreError, StoreInfo,
};
use crate::domain::clock::Clock;
use crate::domain::conversation::{Owner, Place};
use crate::domain::ids::TurnId;
use crate::domain::rate::{Rate, RateLeft};
use crate::domain::turn::TurnRecord;
use crate::domain::window::{Budget, Loaded};

/// How many notices a slow receiver may be behind.
const NOTICES: usize = 1_024;

/// How long a call may take, from its place in the queue on.
const DEADLINE: Duration = Duration::from_secs(5);

/// A database in a folder whose turns are this process's alone.
pub struct Sqlite {
    // Closed in this order: the writer goes last, and leaves one whole file behind.
    readers: Readers,
    writer: Writer,
    clock: Arc<dyn Clock>,
    notices: broadcast::Sender<Notice>,
    database: PathBuf,
    deadline: Duration,
    /// Held for each step of a removal: no commit carries more than one of them.
    removing: Mutex<()>,
}

/// How much a store has written since it was opened.
#[cfg(test)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct SqliteStats {
    /// Transactions committed.
    commits: u64,
    /// Operations that these carried.
    operations: u64,
}

impl Sqlite {
    /// Opens the database in `data_dir`; makes both where they are missing. Expiries go by `clock`.
    ///
    /// # Errors
    /// When the folder cannot be used, another process uses it, or a newer version of this server has written it.
    pub fn open(data_dir: &Path, clock: Arc<dyn Clock>) -> Result<Self, StoreError> {
        Self::on(files::Folder::open(data_dir)?, clock, DEADLINE)
    }

    /// Opens the database for documents alone, though a server may be using it; where none is, as [`Sqlite::open`] does.
    /// Turns are not to be touched through it: those that the server runs would look abandoned.
    ///
    /// # Errors
    /// When the folder cannot be used, or the server that uses it is of another version.
    pub fn beside(data_dir: &Path, clock: Arc<dyn Clock>) -> Result<Self, StoreError> {
        Self::on(files::Folder::beside(data_dir)?, clock, DEADLINE)
    }

    /// Copies the database in `data_dir` as it is at one moment to the new file `to`, though a server may be using it.
    ///
    /// # Errors
    /// With one sentence for the person who asked for it; then there is no new file.
    pub fn backup(data_dir: &Path, to: &Path) -> Result<(), String> {
        backup::write(data_dir, to)
    }

    fn on(folder: files::Folder, clock: Arc<dyn Clock>, deadline: Duration) -> Result<Self, StoreError> {
        let db = match folder.lock {
            Some(_) => schema::open_writer(&folder.database)?,
            None => schema::open_beside(&folder.database)?,
        };
        let notices = broadcast::channel(NOTICES).0;
        let writer = Writer::start(db, folder.lock, notices.clone(), deadline)?;
        let readers = Readers::new(folder.database.clone(), deadline);
        let removing = Mutex::default();
        Ok(Self { readers, writer, clock, notices, database: folder.database, deadline, removing })
    }

    async fn removal_step<O: Operation>(&self, step: O) -> Result<O::Answer, StoreError> {
        let step = async {
            let _one_at_a_time = self.removing.lock().await;
            self.writer.submit(step).await
        };
        timeout(self.deadline, step).await.unwrap_or_else(|_| Err(writer::no_answer_within(self.deadline)))
    }

    /// For the next start, which may have a clock that is wrong.
    async fn note_certain(&self, now_ms: i64) {
        let database = self.database.clone();
        let noted = tokio::task::spawn_blocking(move || files::note_certain_ms(&database, now_ms));
        match timeout(self.deadline, noted).await {
            Ok(Ok(Ok(()))) => {}
            Ok(Ok(Err(error))) => tracing::debug!(%error, "the time cannot be noted"),
            Ok(Err(_)) | Err(_) => tracing::debug!("the time cannot be noted: the disk does not answer"),
        }
    }

    /// Removes the rows that a deletion has left, which are out of every reader's sight; `conversation` is what holds them.
    async fn remove_disowned(&self, conversation: Option<i64>) {
        let Some(conversation) = conversation else { return };
        loop {
            match self.removal_step(RemoveDisowned { conversation }).await {
                Ok(true) => return,
                Ok(false) => {}
                Err(error) => {
                    tracing::warn!(%error, "rows of what was deleted are left to the next sweep");
                    return;
                }
            }
        }
    }

    #[cfg(test)]
    fn stats(&self) -> SqliteStats {
        let counters = self.writer.counters();
        SqliteStats {
            commits: counters.commits.load(Ordering::Relaxed),
            operations: counters.operations.load(Ordering::Relaxed),
        }
    }
}

/// Writes one row, to see that the database can be written to.
struct Beat;

impl Operation for Beat {
    type Answer = ();

    fn apply(&self, db: &Connection) -> Result<(), Fail> {
        rows::execute(db, sql::BEAT, []).map(drop)
    }
}

fn error(fail: Fail) -> StoreError {
    fail.to_store_error()
}

#[async_trait]
impl Store for Sqlite {
    fn info(&self) -> StoreInfo {
        StoreInfo { kind: "sqlite", location: self.database.display().to_string(), shared: false }
    }

    async fn ping(&self) -> Result<(), StoreError> {
        self.writer.submit(Beat).await?;
        self.readers.read(|db| rows::find_value::<i64>(db, sql::PULSE, []).map(drop)).await?;
        // A row may fit into the log where a turn does not.
        let database = self.database.clone();
        let room = tokio::task::spawn_blocking(move || files::try_room(&database));
        let no_answer = || StoreError::Unavailable("the disk of the data folder does not answer".into());
        timeout(self.deadline, room).await.map_err(|_| no_answer())?.map_err(|_| no_answer())?
    }

    async fn begin_turn(&self, begin: BeginTurn) -> Result<Begun, StoreError> {
        self.writer.submit(Begin::new(begin).map_err(error)?).await
    }

    async fn append_events(&self, append: AppendEvents) -> Result<Appended, StoreError> {
        self.writer.submit(Append::new(append, self.clock.now_ms())).await
    }

    async fn finish_turn(&self, finish: FinishTurn) -> Result<Finished, StoreError> {
        self.writer.submit(Finish::new(finish, self.clock.now_ms()).map_err(error)?).await
    }

    async fn take_rate(&self, account: &str, rate: Rate, now_ms: i64) -> Result<Result<RateLeft, i64>, StoreError> {
        self.writer.submit(TakeRate { account: account.to_owned(), rate, now_ms }).await
    }

    async fn read_events(
        &self,
        owner: &Owner,
        turn: &TurnId,
        after: u64,
        limit: usize,
    ) -> Result<EventsPage, StoreError> {
        let (owner, turn, now_ms) = (owner.clone(), turn.clone(), self.clock.now_ms());
        self.readers.read(move |db| reads::read_events(db, &owner, &turn, after, limit, now_ms)).await
    }

    async fn turn(&self, owner: &Owner, turn: &TurnId) -> Result<Option<TurnRecord>, StoreError> {
        let (owner, turn, now_ms) = (owner.clone(), turn.clone(), self.clock.now_ms());
        self.readers.read(move |db| reads::turn(db, &owner, &turn, now_ms)).await
    }

    async fn turns(&self, place: &Place, limit: usize) -> Result<Option<Vec<TurnRecord>>, StoreError> {
        let (place, now_ms) = (place.clone(), self.clock.now_ms());
        self.readers.read(move |db| reads::turns(db, &place, limit, now_ms)).await
    }

    async fn request_cancel(&self, owner: &Owner, turn: &TurnId) -> Result<CancelRequest, StoreError> {
        let (owner, turn, now_ms) = (owner.clone(), turn.clone(), self.clock.now_ms());
        self.writer.submit(Cancel { owner, turn, now_ms }).await
    }

    async fn adopt_turns(&self, adopt: AdoptTurns) -> Result<Adopted, StoreError> {
        let (holder, now_ms) = (adopt.holder.clone(), self.clock.now_ms());
        match self.readers.read(move |db| adopt::orphans(db, &adopt, now_ms)).await? {
            none if none.is_empty() => Ok(Adopted::default()),
            orphans => self.writer.submit(Adopt { holder, orphans, now_ms }).await,
        }
    }

    async fn release_turn(&self, place: &Place, turn: &TurnId, fence: u64) -> Result<(), StoreError> {
        let (owner, turn, now_ms) = (place.owner.clone(), turn.clone(), self.clock.now_ms());
        self.writer.submit(Release { owner, turn, fence, now_ms }).await
    }

    async fn history(
        &self,
        place: &Place,
        before: Option<u64>,
        limit: usize,
        now_ms: i64,
    ) -> Result<Option<HistoryPage>, StoreError> {
        let place = place.clone();
        self.readers.read(move |db| reads::history(db, &place, before, limit, now_ms)).await
    }

    async fn leave_try(&self, place: &Place, turn: &TurnId, key: &str) -> Result<(), StoreError> {
        self.writer.submit(LeaveTry { owner: place.owner.tag(), key: key.to_owned(), turn: turn.clone() }).await
    }

    async fn window(&self, place: &Place, budget: Budget) -> Result<Loaded, StoreError> {
        let place = place.clone();
        self.readers.read(move |db| reads::window(db, &place, budget)).await
    }

    async fn renew_session(&self, owner: &Owner, max_age_ms: i64, now_ms: i64) -> Result<bool, StoreError> {
        let renewed = self.writer.submit(Renew { owner: owner.clone(), max_age_ms, now_ms }).await;
        let Err(error @ (StoreError::Full(_) | StoreError::Unavailable(_))) = renewed else { return renewed };
        let owner = owner.clone();
        let expiry = self.readers.read(move |db| session_expiry(db, &owner, now_ms)).await?;
        tracing::warn!(%error, "a session is not renewed");
        Ok(expiry.flatten().is_some())
    }

    async fn create_session(&self, owner: &Owner, max_age_ms: i64, now_ms: i64) -> Result<(), StoreError> {
        self.writer.submit(CreateSession { owner: owner.clone(), max_age_ms, now_ms }).await
    }

    async fn session_expires_at(&self, owner: &Owner, now_ms: i64) -> Result<Option<i64>, StoreError> {
        let owner = owner.clone();
        Ok(self.readers.read(move |db| session_expiry(db, &owner, now_ms)).await?.flatten())
    }

    async fn delete_owner(&self, owner: &Owner) -> Result<(), StoreError> {
        let mut is_done = self.writer.submit(DeleteOwner { owner: owner.clone() }).await?;
        while !is_done {
            is_done = match self.removal_step(RemoveOwner { owner: owner.clone() }).await {
                Err(error) if matches!(owner, Owner::Session(_)) => {
                    tracing::warn!(%error, "what a deleted session owned is left to the next sweep");
                    true
                }
                step => step?,
            };
        }
        Ok(())
    }

    async fn sweep(&self, now_ms: i64) -> Result<u64, StoreError> {
        let mut swept = 0;
        loop {
            match self.removal_step(Sweep { now_ms }).await? {
                0 => break,
                step => swept += step,
            }
        }
        let mut walk = Walk::default();
        while !walk.is_over {
            walk = self.removal_step(SweepEvents { now_ms, walk }).await?;
        }
        if now_ms > 0 {
            self.note_certain(now_ms).await;
        }
        Ok(swept + walk.removed)
    }

    fn certain_ms(&self) -> Option<i64> {
        files::certain_ms(&self.database)
    }

    async fn lost(&self) -> StoreError {
        self.writer.lost().await;
        StoreError::Unavailable("a panic has ended the thread that writes".into())
    }

    fn notices(&self) -> broadcast::Receiver<Notice> {
        self.notices.subscribe()
    }

    async fn close(&self) {
        self.readers.close().await;
        self.writer.close().await;
    }
}
