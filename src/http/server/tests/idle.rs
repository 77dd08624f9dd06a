//! How long connections last between requests, on a clock of their own.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::routing::get;
use futures::FutureExt as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex};
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::super::connection::serve_until;
use super::super::exchange::Watched;
use super::super::service::Service;
use super::{LIMIT, rules};
use crate::http::places::Place;
use crate::tasks::Tasks;

const REQUEST: &str = "GET / HTTP/1.1\r\nhost: a\r\n\r\n";

fn service() -> Arc<Service> {
    Arc::new(Service {
        router: Router::new().route("/", get(async || "Hi")),
        wait: rules(),
        write_timeout: LIMIT,
        stopping: CancellationToken::new(),
        closing: CancellationToken::new(),
    })
}

/// A client's end of a connection that is served.
async fn connect(service: &Arc<Service>, tasks: &Tasks) -> DuplexStream {
    let (ours, theirs) = duplex(64 * 1024);
    let place = service.wait.places.connection().await.unwrap();
    let service = service.clone();
    tasks.spawn("connection", async move {
        let routes = Watched { router: service.router.clone(), peer: None, exchange: Arc::default() };
        serve_until(std::future::pending(), ours, routes, &service, place).await;
    });
    theirs
}

async fn ask(client: &mut DuplexStream) -> String {
    client.write_all(REQUEST.as_bytes()).await.unwrap();
    let mut answer = [0; 1024];
    let length = client.read(&mut answer).await.unwrap();
    String::from_utf8(answer[..length].to_vec()).unwrap()
}

/// What else comes until the server closes, and after how many seconds that is.
async fn closed(client: &mut DuplexStream) -> (String, u64) {
    let since = Instant::now();
    let mut rest = String::new();
    timeout(Duration::from_secs(3_600), client.read_to_string(&mut rest)).await.expect("it is closed").unwrap();
    (rest, since.elapsed().as_secs())
}

#[tokio::test(start_paused = true)]
async fn a_connection_outlasts_the_pools_of_proxies_and_then_is_closed() {
    let (service, tasks) = (service(), Tasks::default());
    let mut client = connect(&service, &tasks).await;
    // nginx, load balancers, Go's pools and Caddy keep idle connections for 60 to 120 s; the limit of headers is 10 s.
    for pause in [0, 9, 10, 11, 60, 75, 90, 120, 149] {
        sleep(Duration::from_secs(pause)).await;
        assert!(ask(&mut client).await.starts_with("HTTP/1.1 200"), "after {pause} s");
    }
    assert_eq!(closed(&mut client).await, (String::new(), 150));
    let mut silent = connect(&service, &tasks).await;
    assert_eq!(closed(&mut silent).await, (String::new(), 150));
}

#[tokio::test(start_paused = true)]
async fn a_header_has_its_time_from_its_first_byte_on() {
    let (service, tasks) = (service(), Tasks::default());
    for pause in [0, 100] {
        let mut client = connect(&service, &tasks).await;
        for part in REQUEST.as_bytes().chunks(10) {
            sleep(Duration::from_secs(pause.min(3))).await;
            client.write_all(part).await.unwrap();
        }
        let mut answer = [0; 1024];
        assert!(client.read(&mut answer).await.unwrap() > 0);
        sleep(Duration::from_secs(pause)).await;
        client.write_all(b"G").await.unwrap();
        sleep(Duration::from_secs(7)).await;
        client.write_all(b"ET").await.unwrap();
        let (said, after) = closed(&mut client).await;
        assert_eq!((said.as_str(), after), ("408 Request Timeout: GET", 3));
    }
}

#[tokio::test(start_paused = true)]
async fn idle_connections_make_room_where_a_client_waits_for_a_place() {
    let (service, tasks) = (service(), Tasks::default());
    let mut idle = connect(&service, &tasks).await;
    ask(&mut idle).await;
    sleep(Duration::from_secs(25)).await;
    let held = take_all_places(&service);
    let (_place, (said, after)) = futures::future::join(service.wait.places.connection(), closed(&mut idle)).await;
    assert_eq!((said.as_str(), after), ("", 5), "it looks every 10 s");
    drop(held);
}

fn take_all_places(service: &Service) -> Vec<Option<Place>> {
    std::iter::from_fn(|| service.wait.places.connection().now_or_never()).collect()
}

#[tokio::test(start_paused = true)]
async fn the_last_answer_says_that_it_is() {
    let (service, tasks) = (service(), Tasks::default());
    let mut client = connect(&service, &tasks).await;
    assert!(!ask(&mut client).await.contains("connection: close"));
    service.stopping.cancel();
    assert!(ask(&mut client).await.contains("connection: close"));
    client.shutdown().await.unwrap();
    assert_eq!(closed(&mut client).await, (String::new(), 0));
}
