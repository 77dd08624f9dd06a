//! The one connection that all commands share, and the task that replaces it when it is gone.
//!
//! Every call has a deadline. A call that misses it, or finds the connection closed, makes the connection suspect: it is
//! replaced, since a half-dead socket would swallow all later calls, too. So does a call that is answered by a replica:
//! after a failover the name may lead to another server. A probe every second notices an outage without any call. What was sent on the old connection may still be answered there until its own deadline.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Client, Cmd, Pipeline, RedisResult, Value};
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::task::AbortHandle;
use tokio::time::{Instant, timeout};

use super::faults;
use super::scripts::SCRIPTS;
use crate::store::StoreError;

/// What calls under way may hold together, in KiB; an outage must not pile up memory.
const ROOM_KIB: u32 = 64 * 1024;
/// What each call counts for at least, in KiB.
const CALL_KIB: usize = 8;
const PROBE_EVERY: Duration = Duration::from_secs(1);
/// The longest that a probe may take for its time to replace the one before.
const SHARP_MS: i64 = 200;
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_millis(500);
/// How long an attempt to connect may take. Short, because a server that comes back while an attempt hangs on its old
/// self is found by the next attempt.
const CONNECT_WITHIN: Duration = Duration::from_secs(1);

/// What a call sends, in one write.
pub(super) enum Request {
    One(Cmd),
    /// Several commands, of which only this one's answer counts, by its place.
    Among(Pipeline, usize),
    /// Several commands; the answer has all of theirs.
    All(Pipeline),
    /// The same, and a command that fails on what it finds there fails alone: its error stands among the answers.
    Each(Pipeline),
}

/// Whether a call may be sent again after the connection broke under it, when it may have happened already.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Again {
    /// It is harmless.
    Yes,
    /// The caller has to know that it may have happened.
    No,
}

#[derive(Clone)]
enum Link {
    Up { generation: u64, connection: MultiplexedConnection },
    Down { since: Instant, why: String },
    Closed,
}

/// See the module.
pub(super) struct Connection {
    link: Arc<watch::Sender<Link>>,
    suspects: mpsc::Sender<u64>,
    room: Semaphore,
    deadline: Duration,
    server: Arc<Server>,
    keeper: AbortHandle,
}

/// What every new connection is made with.
struct Server {
    client: Client,
    clock: ServerClock,
    probe_key: String,
    in_cluster: bool,
}

/// The server's clock, as the last probe saw it.
struct ServerClock {
    started: Instant,
    /// The server's time when `started` was.
    offset_ms: AtomicI64,
}

impl Connection {
    /// Connects, and keeps connected from then on.
    /// `probe_key` is one that never exists; deleting it shows whether the server takes writes. A node of a cluster is refused
    /// unless `in_cluster`.
    pub(super) async fn open(
        client: Client,
        deadline: Duration,
        probe_key: String,
        in_cluster: bool,
    ) -> Result<Self, StoreError> {
        let clock = ServerClock { started: Instant::now(), offset_ms: AtomicI64::new(0) };
        let server = Arc::new(Server { client, clock, probe_key, in_cluster });
        let connection = server.connect(deadline.max(CONNECT_WITHIN)).await?;
        let first = Link::Up { generation: 0, connection: connection.clone() };
        let link = Arc::new(watch::Sender::new(first));
        let (suspects, suspected) = mpsc::channel(64);
        let keeper =
            Keeper { server: server.clone(), link: link.clone(), suspected, deadline, generation: 0, connection };
        #[expect(
            clippy::disallowed_methods,
            reason = "the store owns this task: it ends with the store, by its handle"
        )]
        let keeper = tokio::spawn(keeper.run()).abort_handle();
        Ok(Self { link, suspects, room: Semaphore::new(ROOM_KIB as usize), deadline, server, keeper })
    }

    /// The server's clock, to within a second.
    pub(super) fn server_ms(&self) -> i64 {
        self.server.clock.now_ms()
    }

    /// By the server's clock, when a call that is sent now is given up.
    pub(super) fn given_up_ms(&self) -> i64 {
        self.server_ms().saturating_add(i64::try_from(self.deadline.as_millis()).unwrap_or(i64::MAX))
    }

    /// Sends what `make` gives and waits for the answer to its last command. `make` is told whether the same call may
    /// have happened already.
    pub(super) async fn call(&self, again: Again, make: impl Fn(bool) -> Request) -> Result<Value, StoreError> {
        let mut request = make(false);
        let _room = self
            .room
            .try_acquire_many(request.weight_kib())
            .map_err(|_| StoreError::Unavailable("too many calls are waiting for redis".into()))?;
        let mut used = None;
        let attempts = async {
            let mut broken = None;
            loop {
                let (generation, mut connection) = self.connected(broken).await?;
                used = Some(generation);
                let error = match request.send(&mut connection).await {
                    Ok(value) => return Ok(value),
                    Err(error) => error,
                };
                let lost = faults::connection_lost(&error);
                if !lost && !faults::wrong_server(&error) {
                    return Err(faults::of(&error));
                }
                self.suspect(generation);
                if broken.replace(generation).is_some() || (lost && again == Again::No) {
                    return Err(faults::of(&error));
                }
                request = make(true);
            }
        };
        match timeout(self.deadline, attempts).await {
            Ok(outcome) => outcome,
            Err(_) => {
                if let Some(generation) = used {
                    self.suspect(generation);
                }
                match &*self.link.borrow() {
                    Link::Down { why, .. } => Err(StoreError::Unavailable(why.clone())),
                    _ => Err(faults::no_answer_within(self.deadline)),
                }
            }
        }
    }

    /// The connection that is up now, other than `not`; waits for it while the outage is young.
    async fn connected(&self, not: Option<u64>) -> Result<(u64, MultiplexedConnection), StoreError> {
        let usable = |link: &Link| match link {
            Link::Up { generation, connection } if Some(*generation) != not => {
                Some(Ok((*generation, connection.clone())))
            }
            Link::Up { .. } => None,
            Link::Down { since, why } if since.elapsed() >= self.deadline => Some(Err(why.clone())),
            Link::Down { .. } => None,
            Link::Closed => Some(Err("the store is closed".into())),
        };
        // The common case takes no subscription.
        let now = usable(&self.link.borrow());
        let found = match now {
            Some(found) => found,
            None => {
                let mut link = self.link.subscribe();
                let now = link.wait_for(|link| usable(link).is_some()).await;
                now.ok().and_then(|link| usable(&link)).unwrap_or_else(|| Err("the store is closed".into()))
            }
        };
        found.map_err(StoreError::Unavailable)
    }

    fn suspect(&self, generation: u64) {
        // A full channel means that the keeper has been told often enough.
        let _ = self.suspects.try_send(generation);
    }

    /// Waits for the calls under way, at most a deadline long, and lets go of the connection.
    pub(super) async fn close(&self) {
        let idle = self.room.acquire_many(ROOM_KIB);
        // Calls that are still under way then end by their own deadlines.
        let _ = timeout(self.deadline, idle).await;
        self.keeper.abort();
        self.link.send_replace(Link::Closed);
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.keeper.abort();
    }
}

impl Request {
    fn weight_kib(&self) -> u32 {
        let bytes = |cmd: &Cmd| -> usize {
            cmd.args_iter().map(|arg| if let redis::Arg::Simple(bytes) = arg { bytes.len() } else { 0 }).sum()
        };
        let total = match self {
            Self::One(cmd) => bytes(cmd),
            Self::Among(pipeline, _) | Self::All(pipeline) | Self::Each(pipeline) => {
                pipeline.cmd_iter().map(bytes).sum()
            }
        };
        u32::try_from(CALL_KIB + total / 1024).unwrap_or(ROOM_KIB).min(ROOM_KIB)
    }

    async fn send(&self, connection: &mut MultiplexedConnection) -> RedisResult<Value> {
        let mut answer = self.send_once(connection).await?;
        if faults::is_unknown_script(&answer) {
            // The server's script cache was emptied. Nothing has happened, so the call is simply made anew.
            load_scripts(connection).await?;
            answer = self.send_once(connection).await?;
        }
        match (self, answer) {
            (Self::Each(_), Value::Array(answers)) => faults::but_for_content(answers).map(Value::Array),
            (_, answer) => answer.extract_error(),
        }
    }

    async fn send_once(&self, connection: &mut MultiplexedConnection) -> RedisResult<Value> {
        match self {
            Self::One(cmd) => connection.send_packed_command(cmd).await,
            Self::Among(pipeline, place) => {
                let mut answers = connection.send_packed_commands(pipeline, 0, pipeline.len()).await?;
                let own = answers.swap_remove(*place);
                if !faults::is_unknown_script(&own) {
                    answers.into_iter().try_for_each(|answer| answer.extract_error().map(drop))?;
                }
                Ok(own)
            }
            Self::All(pipeline) | Self::Each(pipeline) => {
                let answers = connection.send_packed_commands(pipeline, 0, pipeline.len()).await?;
                Ok(match answers.iter().find(|answer| faults::is_unknown_script(answer)) {
                    Some(unknown) => unknown.clone(),
                    None => Value::Array(answers),
                })
            }
        }
    }
}

/// `standalone`, `cluster` or `sentinel`; `None` where the server does not say, or may not to this user.
async fn mode(connection: &mut MultiplexedConnection) -> Option<String> {
    let said: HashMap<String, Value> = redis::cmd("HELLO").query_async(connection).await.ok()?;
    redis::from_redis_value(said.get("mode")?.clone()).ok()
}

async fn load_scripts(connection: &mut MultiplexedConnection) -> RedisResult<()> {
    let load = SCRIPTS.load();
    let answers = connection.send_packed_commands(&load, 0, load.len()).await?;
    answers.into_iter().try_for_each(|answer| answer.extract_error().map(drop))
}

impl Server {
    /// A connection on which the server has answered, and takes writes.
    async fn connect(&self, within: Duration) -> Result<MultiplexedConnection, StoreError> {
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(None)
            .set_response_timeout(None)
            .set_pipeline_buffer_size(1024);
        let attempt = async {
            let mut connection = self.client.get_multiplexed_async_connection_with_config(&config).await?;
            let mode = mode(&mut connection).await.filter(|mode| !self.in_cluster || mode != "cluster");
            if let Some(unsupported) = mode.as_deref().and_then(faults::unsupported) {
                return Ok(Err(unsupported));
            }
            load_scripts(&mut connection).await?;
            self.clock.probe(&mut connection, true).await?;
            match redis::cmd("DEL").arg(&self.probe_key).exec_async(&mut connection).await {
                Err(error) if faults::wrong_server(&error) => Err(error),
                // Where it takes no writes for another reason, it may still be read from.
                _ => Ok(Ok(connection)),
            }
        };
        match timeout(within, attempt).await {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(error)) => Err(faults::of(&error)),
            Err(_) => Err(faults::no_answer_within(within)),
        }
    }
}

impl ServerClock {
    fn now_ms(&self) -> i64 {
        self.offset_ms.load(Ordering::Relaxed) + self.elapsed_ms()
    }

    fn elapsed_ms(&self) -> i64 {
        i64::try_from(self.started.elapsed().as_millis()).unwrap_or(i64::MAX)
    }

    /// Asks the server for its time: a sign of life that is good for something. `anew` where it may be another server,
    /// so that nothing from before counts.
    async fn probe(&self, connection: &mut MultiplexedConnection, anew: bool) -> RedisResult<()> {
        let sent = self.elapsed_ms();
        let (seconds, micros): (i64, i64) = redis::cmd("TIME").query_async(connection).await?;
        let took = self.elapsed_ms() - sent;
        // A slow answer says little of when it was given; what is known from before is better.
        if took <= SHARP_MS || anew {
            self.offset_ms.store(seconds * 1000 + micros / 1000 - sent - took / 2, Ordering::Relaxed);
        }
        Ok(())
    }
}

/// The task that watches the connection and replaces it.
struct Keeper {
    server: Arc<Server>,
    link: Arc<watch::Sender<Link>>,
    suspected: mpsc::Receiver<u64>,
    deadline: Duration,
    generation: u64,
    connection: MultiplexedConnection,
}

impl Keeper {
    async fn run(mut self) {
        loop {
            let why = self.watch().await;
            let since = Instant::now();
            tracing::warn!(reason = %why, "the connection to redis is lost");
            self.link.send_replace(Link::Down { since, why });
            self.connection = self.reconnect(since).await;
            self.generation += 1;
            let outage_ms = since.elapsed().as_millis();
            tracing::info!(outage_ms, "redis is back");
            self.link.send_replace(Link::Up { generation: self.generation, connection: self.connection.clone() });
        }
    }

    /// Ends when the connection is to be replaced, and says why.
    async fn watch(&mut self) -> String {
        loop {
            let Self { suspected, server, connection, deadline, generation: current, .. } = self;
            let probe = async {
                tokio::time::sleep(PROBE_EVERY).await;
                timeout(*deadline, server.clock.probe(connection, false)).await
            };
            tokio::select! {
                suspect = suspected.recv() => match suspect {
                    Some(generation) if generation == *current => return "a call failed".into(),
                    Some(_) => {}
                    None => std::future::pending().await,
                },
                answer = probe => match answer {
                    Ok(Ok(())) => {}
                    Ok(Err(error)) => return faults::of(&error).to_string(),
                    Err(_) => return "a probe was not answered".into(),
                },
            }
        }
    }

    async fn reconnect(&self, since: Instant) -> MultiplexedConnection {
        let mut pause = FIRST_PAUSE;
        loop {
            match self.server.connect(CONNECT_WITHIN).await {
                Ok(connection) => return connection,
                Err(error) => {
                    let why = match error {
                        StoreError::Unavailable(why) | StoreError::Full(why) | StoreError::Broken(why) => why,
                    };
                    tracing::debug!(reason = %why, "redis is still away");
                    self.link.send_replace(Link::Down { since, why });
                }
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }
}
