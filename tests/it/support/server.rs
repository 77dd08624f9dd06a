//! A whole server in this process, on a free port, over whatever parts a test wants.

use std::sync::Arc;

use futures::FutureExt as _;
use openai_backend::config::{Config, Given, Pace};
use openai_backend::domain::clock::{Clock, SystemClock};
use openai_backend::domain::ids::{Ids, SystemIds};
use openai_backend::http::app::Parts;
use openai_backend::http::server;
use openai_backend::metering::Metering;
use openai_backend::store::Store;
use openai_backend::store::memory::Memory;
use openai_backend::upstream::Upstream;
use openai_backend::upstream::demo::Demo;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::client::Client;

/// What every test server's cookies are signed with.
pub const SECRET: &str = "a secret for tests and of more than 32 characters";

/// What a server is to be made of.
pub struct Setup {
    settings: Vec<(String, String)>,
    clock: Arc<dyn Clock>,
    ids: Arc<dyn Ids>,
    store: Option<Arc<dyn Store>>,
    upstream: Arc<dyn Upstream>,
    metering: Option<Metering>,
    pace: Pace,
}

/// A running server; dropping it aborts it.
pub struct TestServer {
    pub url: String,
    pub store: Arc<dyn Store>,
    stop: Option<oneshot::Sender<()>>,
    task: JoinHandle<Result<(), String>>,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            settings: vec![("SESSION_SECRET".into(), SECRET.into()), ("APP_ENV".into(), "development".into())],
            clock: Arc::new(SystemClock),
            ids: Arc::new(SystemIds),
            store: None,
            upstream: Arc::new(Demo::new(std::time::Duration::ZERO)),
            metering: None,
            pace: Pace::default(),
        }
    }
}

impl Setup {
    /// With this setting, by its environment name.
    pub fn set(mut self, name: &str, value: &str) -> Self {
        self.settings.push((name.into(), value.into()));
        self
    }

    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    pub fn store(mut self, store: Arc<dyn Store>) -> Self {
        self.store = Some(store);
        self
    }

    pub fn upstream(mut self, upstream: Arc<dyn Upstream>) -> Self {
        self.upstream = upstream;
        self
    }

    pub fn metering(mut self, metering: Metering) -> Self {
        self.metering = Some(metering);
        self
    }

    /// Hurries what no setting changes.
    pub fn pace(mut self, change: impl FnOnce(&mut Pace)) -> Self {
        change(&mut self.pace);
        self
    }

    /// The settings as the server will have them.
    pub fn config(&self) -> Config {
        let given: Given = self.settings.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        Config { pace: self.pace, ..Config::new(&given).expect("the test's settings are valid") }
    }

    pub async fn start(self) -> TestServer {
        let config = self.config();
        let listener = server::listen(&Config { port: 0, ..config.clone() }).await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let store = self.store.unwrap_or_else(|| Arc::new(Memory::new(self.clock.clone())));
        let (counted, clock) = (store.clone(), self.clock.clone());
        let metering = self.metering.unwrap_or_else(|| Metering::new(self.upstream, counted, clock, &config));
        let parts = Parts { clock: self.clock, ids: self.ids, store: store.clone(), metering };
        let (stop, stopped) = oneshot::channel::<()>();
        let task = tokio::spawn(async move {
            let once = stopped.map(|_| std::future::pending());
            server::run(&config, parts, listener, once).await
        });
        TestServer { url, store, stop: Some(stop), task }
    }
}

impl TestServer {
    /// Over memory and the demo model.
    pub async fn demo() -> Self {
        Setup::default().start().await
    }

    /// A browser that has not been here before.
    pub fn client(&self) -> Client {
        Client::new(&self.url)
    }

    /// Asks it to stop, as SIGTERM does; the server goes on until it has.
    pub fn begin_stop(&mut self) {
        if let Some(stop) = self.stop.take() {
            let _ = stop.send(());
        }
    }

    /// Waits for an orderly end.
    pub async fn stop(mut self) {
        self.begin_stop();
        (&mut self.task).await.unwrap().unwrap();
    }

    /// Waits for an end that it comes to by itself, and gives the reason.
    pub async fn failed(mut self) -> String {
        (&mut self.task).await.unwrap().unwrap_err()
    }

    /// Waits for the end that [`TestServer::begin_stop`] asked for.
    pub async fn ended(mut self) {
        (&mut self.task).await.unwrap().unwrap();
    }
}

impl Drop for TestServer {
    fn drop(&mut self) {
        self.task.abort();
    }
}
