//! The one thread that writes. It takes all that has queued and commits it as one transaction, so that the cost of a
//! commit, and of its sync to the disk, is shared by all callers that wait for it.

use std::fs::File;
use std::slice;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use rusqlite::Connection;
use tokio::sync::{broadcast, mpsc, oneshot};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::fail::Fail;
use super::log_mark;
use crate::store::{Notice, StoreError};

/// How many operations may wait; later callers wait for a place in the queue.
const QUEUE: usize = 1_024;

/// The most operations that one commit carries: the last of them should not wait long for the first.
const GROUP: usize = 256;

/// The write-ahead log is copied into the database when it has this many pages of 4 KiB.
const CHECKPOINT_PAGES: i64 = 2_000;

/// Looking at the log's length costs a little; this many commits cannot fill much of it.
const COMMITS_BETWEEN_LOOKS: u32 = 16;

/// Something to be written.
pub(super) trait Operation: Send + 'static {
    /// What the caller gets.
    type Answer: Send + 'static;

    /// Whether the answer says that not even the loss of power undoes it.
    const SYNCED: bool = false;

    /// Does it. It may be rolled back and done again, so it changes nothing but `db`.
    fn apply(&self, db: &Connection) -> Result<Self::Answer, Fail>;

    /// Sends the notices about it, once it is committed.
    fn tell(&self, _answer: &Self::Answer, _notices: &broadcast::Sender<Notice>) {}
}

/// How much was written since the store was opened.
#[derive(Debug, Default)]
pub(super) struct Counters {
    /// Transactions committed.
    pub(super) commits: AtomicU64,
    /// Operations that were committed with them.
    pub(super) operations: AtomicU64,
    /// The most rows that one transaction changed.
    #[cfg(test)]
    pub(super) most_rows: AtomicU64,
}

/// The way to the writing thread.
pub(super) struct Writer {
    queue: mpsc::Sender<Message>,
    thread: Arc<Thread>,
    #[cfg(test)]
    counters: Arc<Counters>,
    deadline: Duration,
}

/// What is known of the thread from outside.
#[derive(Default)]
struct Thread {
    has_ended: Mutex<bool>,
    ended: Condvar,
    /// Fires when a panic has ended it.
    lost: CancellationToken,
}

/// Held by the thread, which has let go of everything else when this is dropped.
struct Running(Arc<Thread>);

impl Drop for Running {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.lost.cancel();
        }
        *self.0.has_ended.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.0.ended.notify_all();
    }
}

impl Thread {
    /// False where it still runs after `limit`. Blocks.
    fn wait_for_end(&self, limit: Duration) -> bool {
        let has_ended = self.has_ended.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self.ended.wait_timeout_while(has_ended, limit, |has_ended| !*has_ended);
        *waited.unwrap_or_else(PoisonError::into_inner).0
    }
}

enum Message {
    Do(Box<dyn Waiting>),
    Close,
}

impl Writer {
    /// Starts the thread, which keeps `lock` until it ends; without one, the file is another process's to tidy up. Each
    /// call waits no longer than `deadline`.
    pub(super) fn start(
        db: Connection,
        lock: Option<File>,
        notices: broadcast::Sender<Notice>,
        deadline: Duration,
    ) -> Result<Self, StoreError> {
        let (queue, inbox) = mpsc::channel(QUEUE);
        let (counters, thread) = (Arc::new(Counters::default()), Arc::new(Thread::default()));
        let (owns_file, synced) = (lock.is_some(), false);
        let worker = Worker { db, notices, counters: counters.clone(), owns_file, synced, commits_since_look: 0 };
        let running = Running(thread.clone());
        let run = move || {
            // Dropped in the opposite order, also by a panic: a caller that is told of the end finds the folder free.
            let _running = running;
            let _lock = lock;
            worker.run(inbox);
        };
        let started = std::thread::Builder::new().name("sqlite-writer".into()).spawn(run);
        started.map_err(|error| StoreError::Unavailable(format!("cannot start a thread: {error}")))?;
        Ok(Self {
            queue,
            thread,
            #[cfg(test)]
            counters,
            deadline,
        })
    }

    /// Has `operation` done and committed. Where the deadline passes first, it may still happen later.
    pub(super) async fn submit<O: Operation>(&self, operation: O) -> Result<O::Answer, StoreError> {
        let (reply, answer) = oneshot::channel();
        let waiting = Box::new(Caller { operation, answer: None, reply: Some(reply) });
        let done = async {
            self.queue.send(Message::Do(waiting)).await.map_err(|_| closed())?;
            answer.await.map_err(|_| closed())?
        };
        timeout(self.deadline, done).await.unwrap_or_else(|_| Err(no_answer_within(self.deadline)))
    }

    #[cfg(test)]
    pub(super) fn counters(&self) -> &Counters {
        &self.counters
    }

    /// Resolves when the thread has ended by a panic: nothing can be written from then on.
    pub(super) async fn lost(&self) {
        self.thread.lost.cancelled().await;
    }

    /// Has what was accepted done, and waits for the thread's end, at most until the deadline.
    pub(super) async fn close(&self) {
        // Where the queue is closed already, the thread is on its way out; where it is full for so long, it hangs.
        let _ = timeout(self.deadline, self.queue.send(Message::Close)).await;
        let (thread, deadline) = (self.thread.clone(), self.deadline);
        if !matches!(tokio::task::spawn_blocking(move || thread.wait_for_end(deadline)).await, Ok(true)) {
            tracing::error!("the database is still being written to; what is not committed is lost");
        }
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        // The thread ends when the last sender is gone; a dead one takes the real one's place.
        self.queue = mpsc::channel(1).0;
        // The folder's lock must be free when this returns, for the next store that opens it.
        self.thread.wait_for_end(self.deadline);
    }
}

pub(super) fn closed() -> StoreError {
    StoreError::Unavailable("the store is closed".into())
}

pub(super) fn no_answer_within(deadline: Duration) -> StoreError {
    StoreError::Unavailable(format!("SQLite did not answer within {} ms", deadline.as_millis()))
}

/// An operation and the caller that waits for its answer.
trait Waiting: Send {
    fn is_synced(&self) -> bool;
    fn apply(&mut self, db: &Connection) -> Result<(), Fail>;
    fn committed(&mut self, notices: &broadcast::Sender<Notice>);
    fn failed(&mut self, fail: &Fail);
}

struct Caller<O: Operation> {
    operation: O,
    answer: Option<O::Answer>,
    reply: Option<oneshot::Sender<Result<O::Answer, StoreError>>>,
}

impl<O: Operation> Caller<O> {
    fn reply(&mut self, answer: Result<O::Answer, StoreError>) {
        if let Some(reply) = self.reply.take() {
            // The caller may have stopped waiting.
            let _ = reply.send(answer);
        }
    }
}

impl<O: Operation> Waiting for Caller<O> {
    fn is_synced(&self) -> bool {
        O::SYNCED
    }

    fn apply(&mut self, db: &Connection) -> Result<(), Fail> {
        self.answer = Some(self.operation.apply(db)?);
        Ok(())
    }

    fn committed(&mut self, notices: &broadcast::Sender<Notice>) {
        if let Some(answer) = self.answer.take() {
            self.operation.tell(&answer, notices);
            self.reply(Ok(answer));
        }
    }

    fn failed(&mut self, fail: &Fail) {
        self.reply(Err(fail.to_store_error()));
    }
}

struct Worker {
    db: Connection,
    notices: broadcast::Sender<Notice>,
    counters: Arc<Counters>,
    owns_file: bool,
    /// Whether `PRAGMA synchronous` is FULL at present.
    synced: bool,
    commits_since_look: u32,
}

impl Worker {
    fn run(mut self, mut inbox: mpsc::Receiver<Message>) {
        let mut messages = Vec::with_capacity(GROUP);
        let mut group = Vec::with_capacity(GROUP);
        while inbox.blocking_recv_many(&mut messages, GROUP) > 0 {
            for message in messages.drain(..) {
                match message {
                    Message::Do(waiting) => group.push(waiting),
                    // What was sent before this still comes out of the inbox; nothing more goes in.
                    Message::Close => inbox.close(),
                }
            }
            self.carry_out(&mut group);
            group.clear();
            self.checkpoint_when_due();
        }
        if self.owns_file {
            if let Err(fail) = log_mark::take_back(&self.db) {
                tracing::warn!(error = %fail.to_store_error(), "the database's file cannot be marked as whole");
            }
            self.checkpoint("TRUNCATE");
        }
    }

    /// Commits all of `group` together. Where one of them cannot be done, each is committed by itself, so that it fails
    /// alone: that is rare, while a savepoint around each would cost every one of them.
    fn carry_out(&mut self, group: &mut [Box<dyn Waiting>]) {
        if group.is_empty() {
            return;
        }
        match self.commit(group) {
            Ok(()) => {
                self.counters.commits.fetch_add(1, Ordering::Relaxed);
                self.counters.operations.fetch_add(group.len() as u64, Ordering::Relaxed);
                group.iter_mut().for_each(|waiting| waiting.committed(&self.notices));
            }
            Err(fail) => {
                self.roll_back();
                if group.len() > 1 && !fail.is_of_storage() {
                    group.iter_mut().for_each(|waiting| self.carry_out(slice::from_mut(waiting)));
                } else {
                    group.iter_mut().for_each(|waiting| waiting.failed(&fail));
                    self.make_room(&fail);
                }
            }
        }
    }

    fn commit(&mut self, group: &mut [Box<dyn Waiting>]) -> Result<(), Fail> {
        self.set_synced(group.iter().any(|waiting| waiting.is_synced()))?;
        self.run_sql("BEGIN IMMEDIATE")?;
        #[cfg(test)]
        let changes = self.db.total_changes();
        for waiting in group {
            waiting.apply(&self.db)?;
        }
        #[cfg(test)]
        self.counters.most_rows.fetch_max(self.db.total_changes() - changes, Ordering::Relaxed);
        self.run_sql("COMMIT")
    }

    fn run_sql(&self, sql: &str) -> Result<(), Fail> {
        self.db.prepare_cached(sql)?.execute([])?;
        Ok(())
    }

    fn set_synced(&mut self, synced: bool) -> Result<(), Fail> {
        if self.synced != synced {
            let sql = if synced { "PRAGMA synchronous = FULL" } else { "PRAGMA synchronous = NORMAL" };
            self.db.execute_batch(sql)?;
            self.synced = synced;
        }
        Ok(())
    }

    fn roll_back(&self) {
        // Some failures have rolled back already.
        if !self.db.is_autocommit()
            && let Err(fail) = self.run_sql("ROLLBACK")
        {
            tracing::error!(error = %fail.to_store_error(), "a rollback failed");
        }
    }

    /// On a full disk the log cannot grow; copied into the database, it begins anew, and what deletes can be written.
    fn make_room(&self, fail: &Fail) {
        if matches!(fail.to_store_error(), StoreError::Full(_)) {
            self.checkpoint("PASSIVE");
        }
    }

    fn checkpoint_when_due(&mut self) {
        self.commits_since_look += 1;
        if self.commits_since_look < COMMITS_BETWEEN_LOOKS {
            return;
        }
        self.commits_since_look = 0;
        if self.checkpoint("NOOP") >= CHECKPOINT_PAGES {
            log_mark::around(&self.db, || self.checkpoint("PASSIVE"));
        }
    }

    /// Gives the number of pages in the log. A failure loses nothing: the log stays, and grows until it is tried again.
    fn checkpoint(&self, mode: &str) -> i64 {
        let sql = format!("PRAGMA wal_checkpoint({mode})");
        let pages = self.db.prepare_cached(&sql).and_then(|mut statement| statement.query_one([], |row| row.get(1)));
        pages.unwrap_or_else(|error| {
            tracing::warn!(error = %Fail::from(error).to_store_error(), "a checkpoint failed");
            0
        })
    }
}
