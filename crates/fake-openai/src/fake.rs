//! `FakeOpenAi`: the handle that a test holds.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::panic::Location;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::bench::{Bench, Rendered};
use crate::record::{Book, Outcome, RecordedRequest};
use crate::reply::Reply;
use crate::script::KeepAlive;
use crate::server::{self, Port, Server, lock};

/// A running fake. Dropping it closes its listener and all its connections.
pub struct FakeOpenAi {
    server: Arc<Server>,
    address: SocketAddr,
    port: Mutex<Port>,
}

/// Its life.
impl FakeOpenAi {
    /// Starts on a free port of the loopback interface.
    ///
    /// # Panics
    /// When there is none.
    pub async fn start() -> Self {
        Self::start_on(server::any_port()).await.expect("a free loopback port")
    }

    /// Starts on an address; port 0 takes a free one.
    pub async fn start_on(address: SocketAddr) -> io::Result<Self> {
        let listener = server::open(server::hold(address)?)?;
        let server = Server::new();
        Ok(Self { address: listener.local_addr()?, port: Mutex::new(Port::Listening(server.listen(listener))), server })
    }

    /// `http://127.0.0.1:PORT/v1`.
    pub fn base_url(&self) -> String {
        format!("http://{}/v1", self.address)
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Refuses new connections from here on; those that are open go on. The port stays taken.
    pub async fn stop_listening(&self) {
        let port = std::mem::replace(&mut *lock(&self.port), Port::Changing);
        let held = match port {
            Port::Listening(accepting) => {
                accepting.abort();
                let _ = accepting.await; // The listener is closed when its task is gone.
                Port::Held(server::hold(self.address).expect("the port that was just ours"))
            }
            other => other,
        };
        *lock(&self.port) = held;
    }

    /// Closes all connections, in the middle of their answers too.
    pub async fn close_connections(&self) {
        self.server.close_connections().await;
    }

    /// An outage: refuses new connections and closes those that are open. [`FakeOpenAi::restart`] heals it.
    pub async fn outage(&self) {
        self.stop_listening().await;
        self.close_connections().await;
    }

    /// Listens again on the same port, with the same script and records.
    pub async fn restart(&self) {
        let mut port = lock(&self.port);
        let held = std::mem::replace(&mut *port, Port::Changing);
        *port = match held {
            Port::Held(socket) => Port::Listening(self.server.listen(server::open(socket).expect("a held port"))),
            other => other,
        };
    }
}

/// What it answers. A chat call gets the next reply of the queue; when that is empty, the responder's; with no
/// responder, the default.
impl FakeOpenAi {
    /// Queues a reply for one chat call.
    pub fn push(&self, reply: Reply) {
        self.server.script().queue.push_back(reply);
    }

    /// Queues replies, one a chat call.
    pub fn push_all(&self, replies: impl IntoIterator<Item = Reply>) {
        self.server.script().queue.extend(replies);
    }

    /// The reply for chat calls with nothing queued.
    pub fn set_default(&self, reply: Reply) {
        let mut script = self.server.script();
        script.default = reply;
        script.responder = None;
    }

    /// Logic instead of a default: called for every chat call with nothing queued. It runs
    /// under the script's lock, so it must not itself push or set anything here.
    pub fn set_responder(&self, responder: impl FnMut(&RecordedRequest) -> Reply + Send + 'static) {
        self.server.script().responder = Some(Box::new(responder));
    }

    /// The reply to every request of this path (`/v1/models`), whatever else is scripted.
    pub fn set_path(&self, path: impl Into<String>, reply: Reply) {
        self.server.script().paths.insert(path.into(), reply);
    }

    /// How many queued replies were not used yet.
    pub fn queued(&self) -> usize {
        self.server.script().queue.len()
    }

    /// Answers 401 to every request without this key.
    pub fn require_key(&self, key: impl Into<String>) {
        self.server.script().required_key = Some(key.into());
    }

    /// When connections end between requests.
    pub fn set_keep_alive(&self, keep_alive: KeepAlive) {
        self.server.set_keep_alive(keep_alive);
    }

    /// From here on every chat call gets the bench's fixed answer, and is counted but not recorded.
    pub fn set_bench(&self, bench: Bench) {
        self.server.set_bench(Some(Rendered::new(bench)));
    }
}

/// What it has seen.
impl FakeOpenAi {
    /// All requests so far, in order.
    pub fn requests(&self) -> Vec<Arc<RecordedRequest>> {
        self.book(|book| book.requests.clone())
    }

    /// The chat calls among them.
    pub fn chat_requests(&self) -> Vec<Arc<RecordedRequest>> {
        self.book(Book::chats)
    }

    /// The newest chat call.
    ///
    /// # Panics
    /// When there was none.
    #[track_caller]
    pub fn last(&self) -> Arc<RecordedRequest> {
        let chats = self.chat_requests();
        chats.last().expect("the fake was called at least once").clone()
    }

    /// How many chat calls have come.
    pub fn calls(&self) -> usize {
        self.book(|book| book.calls)
    }

    /// How the answer to the request of this index went.
    pub fn outcome(&self, index: usize) -> Option<Outcome> {
        self.book(|book| book.outcomes.get(index).copied())
    }

    /// The requests whose client left before the answer's end.
    pub fn aborted(&self) -> Vec<Arc<RecordedRequest>> {
        self.book(Book::aborted)
    }

    /// How many requests are being answered now.
    pub fn in_flight(&self) -> usize {
        self.book(|book| book.in_flight)
    }

    /// The most requests that were ever answered at once.
    pub fn peak_in_flight(&self) -> usize {
        self.book(|book| book.peak_in_flight)
    }

    /// How many connections are open now.
    pub fn open_connections(&self) -> usize {
        self.book(|book| book.open_connections)
    }

    /// How many connections were ever opened.
    pub fn accepted_connections(&self) -> u64 {
        self.book(|book| book.accepted)
    }

    /// How many requests met [`KeepAlive::stale_after_requests`].
    pub fn stale_closes(&self) -> usize {
        self.book(|book| book.stale_closes)
    }

    fn book<T>(&self, look: impl FnOnce(&Book) -> T) -> T {
        look(&self.server.ledger.book.borrow())
    }
}

/// Waiting for what it will see. Each panics at its caller when `timeout` passes first; under a paused clock that is at
/// once, since the runtime takes a wait for the network for idleness.
impl FakeOpenAi {
    /// Waits for so many chat calls in all; returns them.
    #[track_caller]
    pub fn wait_for_calls(
        &self,
        count: usize,
        timeout: Duration,
    ) -> impl Future<Output = Vec<Arc<RecordedRequest>>> + Send + use<> {
        let waited = self.wait_for(format!("{count} chat calls"), timeout, move |book| book.calls >= count);
        let server = self.server.clone();
        async move {
            waited.await;
            server.ledger.book.borrow().chats()
        }
    }

    /// Waits until a client has left before its answer's end; returns the newest such request.
    #[track_caller]
    pub fn wait_for_abort(&self, timeout: Duration) -> impl Future<Output = Arc<RecordedRequest>> + Send + use<> {
        let waited = self.wait_for_aborts(1, timeout);
        async move { waited.await.pop().expect("at least one abort") }
    }

    /// Waits for so many aborts in all; returns the requests.
    #[track_caller]
    pub fn wait_for_aborts(
        &self,
        count: usize,
        timeout: Duration,
    ) -> impl Future<Output = Vec<Arc<RecordedRequest>>> + Send + use<> {
        let waited = self.wait_for(format!("{count} aborts"), timeout, move |book| book.aborted().len() >= count);
        let server = self.server.clone();
        async move {
            waited.await;
            server.ledger.book.borrow().aborted()
        }
    }

    /// Waits until no request is being answered.
    #[track_caller]
    pub fn wait_until_idle(&self, timeout: Duration) -> impl Future<Output = ()> + Send + use<> {
        self.wait_for("no request in flight".to_owned(), timeout, |book| book.in_flight == 0)
    }

    /// Waits until no more than so many connections are open.
    #[track_caller]
    pub fn wait_for_connections(&self, at_most: usize, timeout: Duration) -> impl Future<Output = ()> + Send + use<> {
        let what = format!("at most {at_most} open connections");
        self.wait_for(what, timeout, move |book| book.open_connections <= at_most)
    }

    #[track_caller]
    fn wait_for<F>(&self, what: String, timeout: Duration, seen: F) -> impl Future<Output = ()> + Send + use<F>
    where
        F: FnMut(&Book) -> bool + Send,
    {
        let at = Location::caller();
        let ledger = self.server.ledger.clone();
        async move {
            if !ledger.wait_for(timeout, seen).await {
                let book = ledger.book.borrow();
                let (calls, in_flight) = (book.calls, book.in_flight);
                panic!("{at}: waited {timeout:?} for {what}; there are {calls} calls and {in_flight} in flight");
            }
        }
    }
}

impl Drop for FakeOpenAi {
    fn drop(&mut self) {
        if let Port::Listening(accepting) = &*lock(&self.port) {
            accepting.abort();
        }
        self.server.end();
    }
}

impl fmt::Debug for FakeOpenAi {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FakeOpenAi").field("address", &self.address).finish_non_exhaustive()
    }
}
