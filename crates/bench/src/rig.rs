//! The systems side by side, in front of one upstream.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::answer::{self, Shape};
use crate::load::{self, Load, Outcome};
use crate::process::{self, Memory, Process};
use crate::table::Column;
use crate::{Failure, Options};

/// After so many turns a user of the load starts anew: a short conversation.
const TURNS_A_SESSION: usize = 10;

/// One system, and the Redis that it needs.
pub struct System {
    pub column: Column,
    pub shape: Shape,
    pub process: Process,
    pub redis: Option<Process>,
    // Outlives the processes that write there.
    pub folder: TempDir,
}

impl System {
    fn proxy(upstream: &Process) -> Result<Self, Failure> {
        let (column, shape) = (Column::Proxy, Shape::Upstream);
        Ok(Self { column, shape, process: process::proxy(upstream)?, redis: None, folder: tempfile::tempdir()? })
    }

    /// The server on the store of this column.
    pub fn server(column: Column, upstream: &Process, settings: &[(&str, &str)]) -> Result<Self, Failure> {
        Self::of(&process::program(process::SERVER)?, column, upstream, settings)
    }

    /// The server without its event log.
    pub fn unlogged(column: Column, upstream: &Process) -> Result<Self, Failure> {
        Self::of(&process::program(process::UNLOGGED)?, column, upstream, &[])
    }

    fn of(program: &Path, column: Column, upstream: &Process, settings: &[(&str, &str)]) -> Result<Self, Failure> {
        let folder = tempfile::tempdir()?;
        let redis = column.is_redis().then(|| Process::start_redis(folder.path())).transpose()?;
        let process = process::server(program, upstream, folder.path(), redis.as_ref(), settings)?;
        Ok(Self { column, shape: Shape::Chat, process, redis, folder })
    }

    /// A second server on the same Redis.
    pub fn sibling(&self, upstream: &Process, settings: &[(&str, &str)]) -> Result<Process, Failure> {
        process::server(
            &process::program(process::SERVER)?,
            upstream,
            self.folder.path(),
            self.redis.as_ref(),
            settings,
        )
    }

    /// A load on it.
    pub fn load(&self, expected: &Arc<str>, connections: usize, streamed: bool, time: Duration) -> Load {
        Load {
            address: self.process.address,
            shape: self.shape,
            connections,
            streamed,
            turns_a_session: TURNS_A_SESSION,
            expected: expected.clone(),
            time,
        }
    }

    /// Runs a load, once to warm up and once measured.
    pub async fn measure(&self, load: &Load) -> Result<Measured, Failure> {
        load::run(&Load { time: load.time / 4, ..load.clone() }).await?;
        let before = self.cpu()?;
        let outcome = load::run(load).await?;
        let after = self.cpu()?;
        Ok(Measured { outcome, cpu: after.0 - before.0, redis_cpu: after.1 - before.1 })
    }

    /// CPU time of the system's own process, and of its Redis.
    pub fn cpu(&self) -> Result<(Duration, Duration), Failure> {
        let redis = self.redis.as_ref().map(Process::cpu).transpose()?;
        Ok((self.process.cpu()?, redis.unwrap_or_default()))
    }

    pub fn memory(&self) -> Result<Memory, Failure> {
        self.process.memory()
    }
}

/// A load that was measured.
pub struct Measured {
    pub outcome: Outcome,
    /// Of the system's own process.
    pub cpu: Duration,
    /// Of its Redis.
    pub redis_cpu: Duration,
}

impl Measured {
    pub fn cpu_an_answer(&self) -> Duration {
        self.cpu.div_f64(self.outcome.answers.max(1) as f64)
    }
}

/// The proxy and the server on both stores, in front of one upstream; beside each server, with `--before`, the one that it
/// is compared with.
pub struct Rig {
    pub systems: Vec<System>,
    pub expected: Arc<str>,
    _upstream: Process,
}

impl Rig {
    /// Starts everything; answers have so many tokens, and `flags` go to the upstream.
    pub fn start(options: &Options, tokens: usize, flags: &[&str], settings: &[(&str, &str)]) -> Result<Self, Failure> {
        let tokens_flag = tokens.to_string();
        let upstream = process::fake(&[&["--bench", "--tokens", &tokens_flag], flags].concat())?;
        let mut systems = vec![System::proxy(&upstream)?];
        for column in [Column::SqliteBefore, Column::Sqlite, Column::RedisBefore, Column::Redis] {
            match (column.is_before(), &options.before) {
                (false, _) => systems.push(System::server(column, &upstream, settings)?),
                (true, Some(program)) => systems.push(System::of(program, column, &upstream, settings)?),
                (true, None) => {}
            }
        }
        Ok(Self { systems, expected: answer::text(tokens).into(), _upstream: upstream })
    }
}

/// How long `work` took, and what it gave.
pub async fn timed<T>(work: impl Future<Output = Result<T, Failure>>) -> Result<(Duration, T), Failure> {
    let began = Instant::now();
    let done = work.await?;
    Ok((began.elapsed(), done))
}
