//! A connection's bytes on a clock of their own.

mod idle;

use std::io::ErrorKind;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use super::client_io::ClientIo;
use super::phase::Phase;
use super::waiting::{WaitRules, Waiting};
use crate::config::{Config, Given};
use crate::http::places::Places;

const LIMIT: Duration = Duration::from_secs(60);

/// The settings' own limits, and refusals that name their status and what they refuse.
fn rules() -> WaitRules {
    let given: Given = [("APP_ENV", "development")].into_iter().collect();
    let limits = Config::new(&given).unwrap().limits;
    let refuse = Arc::new(|status, line: &[u8]| format!("{status}: {}", String::from_utf8_lossy(line)).into_bytes());
    WaitRules { idle: limits.idle_timeout, header: limits.header_timeout, places: Places::new(&limits, None), refuse }
}

/// A connection on which an answer is being written, with room for so many bytes on their way, and the client's end of it.
async fn connection(room: usize) -> (ClientIo<DuplexStream>, DuplexStream, CancellationToken) {
    let rules = rules();
    let place = rules.places.connection().await.unwrap();
    let phase = Phase::default();
    phase.serve();
    let closing = CancellationToken::new();
    let (ours, theirs) = duplex(room);
    (ClientIo::new(ours, LIMIT, closing.clone(), Waiting::new(rules, phase), place, Arc::default()), theirs, closing)
}

#[tokio::test(start_paused = true)]
async fn a_client_that_takes_nothing_is_cut() {
    let (mut ours, theirs, _) = connection(8).await;
    let since = Instant::now();
    let error = ours.write_all(&[0; 9]).await.unwrap_err();
    assert_eq!((error.kind(), since.elapsed().as_secs()), (ErrorKind::TimedOut, 60));
    drop(theirs);
}

#[tokio::test(start_paused = true)]
async fn a_slow_one_is_not() {
    let (mut ours, mut theirs, _) = connection(1).await;
    let reading = async {
        for _ in 0..9 {
            sleep(LIMIT - Duration::from_secs(1)).await;
            theirs.read_u8().await.unwrap();
        }
    };
    let (written, ()) = futures::future::join(ours.write_all(&[0; 9]), reading).await;
    written.unwrap();
}

#[tokio::test(start_paused = true)]
async fn what_a_client_still_sends_is_taken_in_until_it_ends() {
    let (mut ours, mut theirs, _) = connection(8).await;
    let sending = async {
        for _ in 0..5 {
            theirs.write_all(&[0; 100]).await.unwrap();
            sleep(Duration::from_secs(1)).await;
        }
        theirs.shutdown().await.unwrap();
    };
    let since = Instant::now();
    let (closed, ()) = futures::future::join(ours.shutdown(), sending).await;
    closed.unwrap();
    assert_eq!(since.elapsed().as_secs(), 5);
}

#[tokio::test(start_paused = true)]
async fn a_silent_client_and_one_that_never_ends_are_left() {
    let (mut ours, theirs, _) = connection(8).await;
    let since = Instant::now();
    ours.shutdown().await.unwrap();
    assert_eq!(since.elapsed().as_secs(), 2);
    drop((ours, theirs));

    for (each, seconds) in [(1, 10), (40 * 1024 * 1024, 0)] {
        let (mut ours, mut theirs, _) = connection(64 * 1024).await;
        let since = Instant::now();
        let sending = async {
            while theirs.write_all(&vec![0; each]).await.is_ok() {
                sleep(Duration::from_millis(500)).await;
            }
        };
        let closing = async {
            ours.shutdown().await.unwrap();
            drop(ours);
            since.elapsed().as_secs()
        };
        let (took, ()) = futures::future::join(closing, sending).await;
        assert_eq!(took, seconds, "{each}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_client_that_has_ended_is_not_waited_for_and_none_is_once_the_server_closes() {
    let since = Instant::now();
    let (mut ours, mut theirs, _) = connection(8).await;
    theirs.shutdown().await.unwrap();
    assert_eq!(ours.read(&mut [0; 8]).await.unwrap(), 0);
    ours.shutdown().await.unwrap();

    let (mut ours, _theirs, closing) = connection(8).await;
    closing.cancel();
    ours.shutdown().await.unwrap();
    assert_eq!(since.elapsed(), Duration::ZERO);
}
