//! Servers that share a store and can die: each has a runtime of its own, and a crash drops everything in it at once.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use openai_backend::domain::clock::SystemClock;
use openai_backend::domain::ids::{Ids as _, SystemIds};
use openai_backend::store::Store;
use openai_backend::store::memory::Memory;
use openai_backend::store::redis::Redis;
use openai_backend::store::sqlite::Sqlite;
use tempfile::TempDir;
use tokio::runtime::{Builder, Runtime};

use super::SOON;
use super::redis_server::RedisServer;
use super::server::{Setup, TestServer};

/// What servers stand on.
#[derive(Clone)]
pub enum Ground {
    Memory(Arc<Memory>),
    Sqlite(Arc<TempDir>),
    Redis(Arc<RedisServer>, String),
}

/// Makes a test of each case (an async function over a [`Ground`]) on each store.
#[macro_export]
macro_rules! on_every_store {
    ($($case:ident,)*) => {
        $crate::on_store! { memory, $($case,)* }
        $crate::on_store! { sqlite, $($case,)* }
        $crate::on_store! { redis, $($case,)* }
    };
}

/// The same for those stores that several servers may share.
#[macro_export]
macro_rules! on_shared_stores {
    ($($case:ident,)*) => {
        $crate::on_store! { memory, $($case,)* }
        $crate::on_store! { redis, $($case,)* }
    };
}

#[macro_export]
macro_rules! on_store {
    ($store:ident, $($case:ident,)*) => {
        mod $store {
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $case() {
                    super::$case($crate::support::instance::Ground::$store()).await;
                }
            )*
        }
    };
}

impl Ground {
    /// Its leases go by the machine's clock, as a server's on the network would.
    pub fn memory() -> Self {
        Self::Memory(Arc::new(Memory::new(Arc::new(SystemClock))))
    }

    pub fn sqlite() -> Self {
        Self::Sqlite(Arc::new(tempfile::tempdir().unwrap()))
    }

    pub fn redis() -> Self {
        let [a, b, c, d, e, f, ..] = SystemIds.secret();
        Self::Redis(RedisServer::shared(), format!("test-{a:02x}{b:02x}{c:02x}{d:02x}{e:02x}{f:02x}:"))
    }

    /// Whether several servers may stand on it at once.
    pub fn is_shared(&self) -> bool {
        !matches!(self, Self::Sqlite(..))
    }

    /// The store as one more server reaches it.
    pub async fn store(&self) -> Arc<dyn Store> {
        match self {
            Self::Memory(store) => store.clone(),
            Self::Sqlite(folder) => {
                // The one before lets go of the folder when the last of its tasks has gone.
                let deadline = std::time::Instant::now() + SOON;
                loop {
                    match Sqlite::open(folder.path(), Arc::new(SystemClock)) {
                        Ok(store) => break Arc::new(store),
                        Err(error) => assert!(std::time::Instant::now() < deadline, "{error}"),
                    }
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
            }
            Self::Redis(server, prefix) => Arc::new(Redis::connect(server.settings(prefix)).await.unwrap()),
        }
    }

    /// What is stored there, each thing by a name: rows by their table, keys by themselves.
    pub async fn contents(&self) -> Vec<String> {
        match self {
            Self::Memory(store) => vec!["a thing".to_owned(); store.count()],
            Self::Sqlite(folder) => rows(&folder.path().join("openai-backend.db")),
            Self::Redis(server, prefix) => {
                let mut keys = redis::cmd("KEYS");
                let keys: Vec<String> =
                    keys.arg(format!("{prefix}*")).query_async(&mut server.admin().await).await.unwrap();
                // The one that is written to find out whether writing works.
                keys.into_iter().filter(|key| !key.ends_with(":ping")).collect()
            }
        }
    }

    pub async fn start(&self, setup: Setup) -> Instance {
        self.start_over(setup, |store| store).await
    }

    /// With something between the server and the store.
    pub async fn start_over(
        &self,
        setup: Setup,
        wrap: impl FnOnce(Arc<dyn Store>) -> Arc<dyn Store> + Send + 'static,
    ) -> Instance {
        let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let ground = self.clone();
        let starting = runtime.spawn(async move { setup.store(wrap(ground.store().await)).start().await });
        let server = starting.await.unwrap();
        Instance { url: server.url.clone(), server: Some(server), runtime: Some(runtime) }
    }

    /// Two servers; one twice, where no more than one may stand here.
    pub async fn two(&self, setup: impl Fn() -> Setup) -> Pair {
        let one = self.start(setup()).await;
        let other = if self.is_shared() { Some(self.start(setup()).await) } else { None };
        Pair { one, other }
    }
}

/// The table of each row, but for the one that is there from the start.
fn rows(database: &Path) -> Vec<String> {
    let db = rusqlite::Connection::open(database).unwrap();
    let mut tables = db.prepare("SELECT name FROM sqlite_schema WHERE type = 'table' AND name <> 'pulse'").unwrap();
    let tables: Vec<String> = tables.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect();
    let rows = |table: String| {
        let count = db.query_one(&format!("SELECT count(*) FROM {table}"), [], |row| row.get::<_, i64>(0)).unwrap();
        (0..count).map(move |_| table.clone())
    };
    tables.into_iter().flat_map(rows).collect()
}

pub struct Pair {
    pub one: Instance,
    other: Option<Instance>,
}

impl Pair {
    pub fn other(&self) -> &Instance {
        self.other.as_ref().unwrap_or(&self.one)
    }
}

/// A server that can die.
pub struct Instance {
    pub url: String,
    server: Option<TestServer>,
    runtime: Option<Runtime>,
}

impl Instance {
    /// As SIGTERM does.
    pub fn begin_stop(&mut self) {
        self.server.as_mut().unwrap().begin_stop();
    }

    /// An orderly end.
    pub async fn stop(mut self) {
        let server = self.server.take().unwrap();
        tokio::time::timeout(Duration::from_secs(20), server.stop()).await.expect("an orderly end");
        self.crash().await;
    }

    /// Gone in the middle of everything.
    pub async fn crash(mut self) {
        let (server, runtime) = (self.server.take(), self.runtime.take().unwrap());
        tokio::task::spawn_blocking(move || runtime.shutdown_timeout(Duration::from_secs(5))).await.unwrap();
        drop(server);
    }
}

impl Drop for Instance {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}
