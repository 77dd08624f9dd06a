//! A server from its start to its end: parts and a listener in, a running server out, and an orderly stop.

mod accept;
mod client_io;
mod connection;
mod exchange;
mod linger;
mod phase;
mod refusal;
mod service;
mod signals;
#[cfg(test)]
mod tests;
mod waiting;
mod write_timeout;

use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

pub use self::accept::listen;
use self::service::Service;
pub use self::signals::stop_signals;
use self::waiting::WaitRules;
use crate::config::Config;
use crate::http::app::{App, Parts};
use crate::http::places::Places;
use crate::http::{guard, router};
use crate::tasks::Tasks;

/// How often expired things are looked for.
const SWEEP_EVERY: Duration = Duration::from_secs(60);

/// How long connections may take to end after the last turn has.
const CLOSE_WITHIN: Duration = Duration::from_secs(2);

/// How long a stop may take that is to be at once: long enough to give turns back, and to tell their readers.
const AT_ONCE: Duration = Duration::from_secs(2);

/// Serves on `listener` until `shutdown` resolves, then ends in order: no longer ready, no new turns, running turns get
/// the grace period, connections close, the store closes. What `shutdown` resolves to ends all waiting when it does.
///
/// # Errors
/// Where the store is lost for this process, where the server was ended before all was in order, and where the settings
/// cannot be turned into a server; they are validated before, so that is a defect.
pub async fn run<AtOnce: Future<Output = ()>>(
    config: &Config,
    parts: Parts,
    listener: TcpListener,
    shutdown: impl Future<Output = AtOnce>,
) -> Result<(), String> {
    if config.session.secrets.is_empty() {
        return Err("There is no secret to sign session cookies with.".to_owned());
    }
    let tasks = Tasks::default();
    let places = Places::new(&config.limits, accept::open_files());
    let app = Arc::new(App::new(config, &parts, places, &tasks));
    let service = Service {
        router: guard::guarded(router::router(app.clone(), &config.listed_url()), &app, config)?,
        wait: wait_rules(&app, config),
        write_timeout: config.pace.write_timeout,
        stopping: tasks.stopping().clone(),
        closing: CancellationToken::new(),
    };
    let closing = service.closing.clone();
    tasks.spawn("notices", app.turns.clone().heed_notices());
    let (running, ended) = (app.turns.clone(), app.turns.clone());
    let watching =
        app.watch.clone().run(closing.clone(), move || running.owners(), move |owner| ended.cancel_all_of(owner));
    tasks.spawn("watch", watching);
    tasks.spawn("adopt", app.turns.clone().adopt_orphans());
    tasks.spawn("sweep", sweep(parts, tasks.stopping().clone()));
    tasks.spawn("accept", accept::accept(listener, service, tasks.clone()));

    let at_once = tokio::select! {
        at_once = shutdown => at_once,
        lost = app.store.lost() => {
            tasks.stopping().cancel();
            stop(&app, &tasks, &closing, Duration::ZERO).await;
            return Err(format!("{lost}: only another process can go on, so this one ends."));
        }
    };
    tracing::info!(turns = app.turns.running(), "stopping");
    tasks.stopping().cancel();
    tokio::select! {
        () = stop(&app, &tasks, &closing, config.limits.shutdown_grace) => return Ok(()),
        () = at_once => {}
    }
    // Turns that cannot be given back in this time are taken over once their lease has run out.
    let _ = tokio::time::timeout(AT_ONCE, stop(&app, &tasks, &closing, Duration::ZERO)).await;
    // A store that is dropped waits for its disk, which may be what the stop was waiting for.
    std::mem::forget(app.store.clone());
    Err("Stopped at once by a second signal, before all that ran had come to its end.".to_owned())
}

fn wait_rules(app: &Arc<App>, config: &Config) -> WaitRules {
    let refusing = app.clone();
    WaitRules {
        idle: config.limits.idle_timeout,
        header: config.limits.header_timeout,
        places: app.places.clone(),
        refuse: Arc::new(move |status, line| refusal::bytes(&refusing, status, line)),
    }
}

/// Ends what runs, after `grace` at most, and then the connections and the store. May be dropped at any point and called
/// again.
async fn stop(app: &App, tasks: &Tasks, closing: &CancellationToken, grace: Duration) {
    tokio::join!(app.turns.shut_down(grace), app.scratch.shut_down(grace), app.in_flight.drain(grace));
    closing.cancel();
    let left = tasks.wait(CLOSE_WITHIN).await;
    app.store.close().await;
    tracing::info!(tasks.left = left, "stopped");
}

async fn sweep(parts: Parts, stopping: CancellationToken) {
    while stopping.run_until_cancelled(tokio::time::sleep(SWEEP_EVERY)).await.is_some() {
        let sweep = parts.store.sweep(parts.clock.certainly_past_ms());
        let Some(swept) = stopping.run_until_cancelled(sweep).await else { return };
        match swept {
            Ok(0) => {}
            Ok(swept) => tracing::debug!(swept, "removed what had expired"),
            Err(error) => tracing::warn!(%error, "what has expired could not be removed; the next sweep tries again"),
        }
    }
}
