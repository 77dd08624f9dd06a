//! The composition root: parts in, a running server out, and an orderly end.

mod write_timeout;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use self::write_timeout::WriteTimeout;
use crate::access::KeyAccess;
use crate::access::keys::cache::KeyCache;
use crate::access::session::SessionCookies;
use crate::config::{Config, ServerLimits};
use crate::domain::clock::Clock;
use crate::domain::ids::Ids;
use crate::http::app::{App, Readiness};
use crate::http::{guard, router};
use crate::metering::Metering;
use crate::store::Store;
use crate::tasks::{InFlight, Tasks};
use crate::turn::scratch::Scratch;
use crate::turn::{TurnLimits, Turns};

/// How often expired things are looked for.
const SWEEP_EVERY: Duration = Duration::from_secs(60);

/// How long connections may take to end after the last turn has.
const CLOSE_WITHIN: Duration = Duration::from_secs(2);

/// The most bytes that a connection keeps of a request's header, and about the most of an answer that its client does not
/// read.
const CONNECTION_BUFFER: usize = 64 * 1024;

/// How much the system keeps of an answer that its client does not read; left to itself it takes megabytes.
const SEND_BUFFER: u32 = 128 * 1024;

/// How many connections may wait to be accepted.
const BACKLOG: u32 = 1024;

/// A pause after an accept that failed for want of files, so that the loop does not spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// What a server is made of.
#[derive(Clone)]
pub struct Parts {
    /// Wall-clock time.
    pub clock: Arc<dyn Clock>,
    /// Ids and secrets.
    pub ids: Arc<dyn Ids>,
    /// Where everything is kept.
    pub store: Arc<dyn Store>,
    /// The only way to a model.
    pub metering: Metering,
}

/// Serves on `listener` until `shutdown` resolves, then ends in order: no longer ready, no new turns, running turns get
/// the grace period, connections close, the store closes.
///
/// # Errors
/// When the settings cannot be turned into a server; they are validated before, so that is a defect.
pub async fn run(
    config: &Config,
    parts: Parts,
    listener: TcpListener,
    shutdown: impl Future<Output = ()>,
) -> Result<(), String> {
    let tasks = Tasks::default();
    let app = app(config, &parts, &tasks);
    let own_url = own_origin(config);
    let listed = match &config.web.production_url {
        Some(url) => url.as_str().trim_end_matches('/').to_owned(),
        None => format!("http://localhost:{}", config.port),
    };
    let router = router::router(app.clone(), &listed);
    let router = guard::guarded(router, &app, &config.web.cors_origins, own_url.as_deref())?;
    let closing = CancellationToken::new();
    tasks.spawn("notices", app.turns.clone().heed_notices());
    tasks.spawn("adopt", app.turns.clone().adopt_orphans());
    tasks.spawn("sweep", sweep(parts.clone(), tasks.stopping().clone()));
    tasks.spawn(
        "accept",
        accept(listener, router, config.limits, config.pace.write_timeout, tasks.clone(), closing.clone()),
    );

    shutdown.await;
    tracing::info!(turns = app.turns.running(), "stopping");
    app.ready.stop();
    tasks.stopping().cancel();
    let grace = config.limits.shutdown_grace;
    tokio::join!(app.turns.shut_down(grace), app.scratch.shut_down(grace), app.in_flight.drain(grace));
    closing.cancel();
    let left = tasks.wait(CLOSE_WITHIN).await;
    parts.store.close().await;
    tracing::info!(tasks.left = left, "stopped");
    Ok(())
}

fn app(config: &Config, parts: &Parts, tasks: &Tasks) -> Arc<App> {
    let limits = TurnLimits {
        history_max_tokens: config.chat.history_max_tokens,
        max_waiting: config.chat.max_waiting,
        max_wait: config.chat.max_wait,
        lease: config.pace.lease,
        keep_events: config.resume_window,
        store_patience: config.pace.store_patience,
        on_crash: config.on_crash,
    };
    let (store, metering, clock) = (parts.store.clone(), parts.metering.clone(), parts.clock.clone());
    let session = &config.session;
    let scratch = Scratch::new(metering.clone(), clock.clone(), parts.ids.clone(), &limits, tasks.clone());
    Arc::new(App {
        scratch,
        turns: Turns::new(store.clone(), metering.clone(), clock.clone(), &*parts.ids, limits, tasks.clone()),
        store,
        metering,
        in_flight: InFlight::default(),
        keys: KeyAccess::new(config.api_keys.clone(), KeyCache::new(parts.store.clone()), config.is_open()),
        clock,
        ids: parts.ids.clone(),
        sessions: SessionCookies::new(&session.secrets, session.max_age, session.same_site.into(), session.https),
        chat: config.chat.clone(),
        sockets: Arc::new(Semaphore::new(config.limits.max_connections)),
        origins: own_origin(config).into_iter().chain(config.web.cors_origins.clone()).collect(),
        max_upload_bytes: config.limits.max_upload_bytes,
        max_body_bytes: config.limits.max_body_bytes,
        body_timeout: config.limits.body_timeout,
        first_event_wait: config.limits.first_event_wait,
        ready: Readiness::default(),
    })
}

/// Where the server is reached from outside, for proxies that rewrite `Host`.
fn own_origin(config: &Config) -> Option<String> {
    config.web.production_url.as_ref().map(|url| url.origin().ascii_serialization())
}

async fn sweep(parts: Parts, stopping: CancellationToken) {
    while stopping.run_until_cancelled(tokio::time::sleep(SWEEP_EVERY)).await.is_some() {
        match parts.store.sweep(parts.clock.now_ms()).await {
            Ok(0) => {}
            Ok(swept) => tracing::debug!(swept, "removed what had expired"),
            Err(error) => tracing::warn!(%error, "expired things could not be removed; trying again later"),
        }
    }
}

async fn accept(
    listener: TcpListener,
    router: Router,
    limits: ServerLimits,
    write_timeout: Duration,
    tasks: Tasks,
    closing: CancellationToken,
) {
    let most = open_files().map_or(limits.max_connections, |files| limits.connections_within(files));
    if most < limits.max_connections {
        tracing::info!(connections.most = most, "`ulimit -n` leaves room for fewer connections than MAX_CONNECTIONS");
    }
    let room = Arc::new(Semaphore::new(most));
    while let Some(Ok(permit)) = closing.run_until_cancelled(room.clone().acquire_owned()).await {
        let stream = match closing.run_until_cancelled(listener.accept()).await {
            Some(Ok((stream, _))) => stream,
            Some(Err(error)) => {
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
            None => return,
        };
        // Without it a stream's small writes wait for the client's acknowledgements: 40 ms each.
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "a connection ended before it was served");
            continue;
        }
        let stream = WriteTimeout::new(stream, write_timeout);
        let connection = serve_connection(stream, router.clone(), limits.header_timeout, closing.clone());
        tasks.spawn("connection", async move {
            connection.await;
            drop(permit);
        });
    }
}

/// How many files this process may have open, where the system says.
fn open_files() -> Option<usize> {
    let limits = std::fs::read_to_string("/proc/self/limits").ok()?;
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    line.split_whitespace().next()?.parse().ok()
}

/// One connection until it ends; when the server closes, what is being answered is answered to its end.
async fn serve_connection(
    stream: WriteTimeout<TcpStream>,
    router: Router,
    header_timeout: Duration,
    closing: CancellationToken,
) {
    let service = TowerToHyperService::new(router);
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(header_timeout).max_buf_size(CONNECTION_BUFFER);
    let mut connection = std::pin::pin!(builder.serve_connection(TokioIo::new(stream), service).with_upgrades());
    let ended = tokio::select! {
        ended = &mut connection => ended,
        () = closing.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        // Clients that go away are no news.
        tracing::trace!(%error, "a connection ended early");
    }
}

impl From<crate::config::SameSite> for cookie::SameSite {
    fn from(same_site: crate::config::SameSite) -> Self {
        match same_site {
            crate::config::SameSite::Lax => Self::Lax,
            crate::config::SameSite::Strict => Self::Strict,
            crate::config::SameSite::None => Self::None,
        }
    }
}

/// Takes the address of the settings.
///
/// # Errors
/// With a sentence that says what to change.
pub async fn listen(config: &Config) -> Result<TcpListener, String> {
    let address = config.address();
    open(address).map_err(|error| match error.kind() {
        std::io::ErrorKind::AddrInUse => format!("{address} is taken by another program: set PORT to another port."),
        _ => format!("{address} cannot be listened on: {error}. HOST and PORT say where."),
    })
}

fn open(address: SocketAddr) -> std::io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    // A port that was just let go can be taken again, and connections inherit the buffer.
    socket.set_reuseaddr(true)?;
    socket.set_send_buffer_size(SEND_BUFFER)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// Resolves at SIGTERM or Ctrl-C.
///
/// # Errors
/// When the signals cannot be listened for.
pub fn stop_signal() -> Result<impl Future<Output = ()>, String> {
    use tokio::signal::unix::{SignalKind, signal};
    let signal = |kind| signal(kind).map_err(|error| format!("signals cannot be listened for: {error}"));
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
}
