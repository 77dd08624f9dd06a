//! The least that a chat backend in Rust can cost: axum in, reqwest out, the bytes in between left alone.
//!
//! `bare-proxy UPSTREAM` listens on a free port and prints its address as its first line.

use std::io::Write as _;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::serve::ListenerExt as _;
use tokio::net::TcpListener;

#[derive(Clone)]
struct Upstream {
    client: reqwest::Client,
    url: String,
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let base = std::env::args().nth(1).ok_or("usage: bare-proxy UPSTREAM")?;
    let client = reqwest::Client::builder().tcp_nodelay(true).no_proxy().build()?;
    let upstream = Upstream { client, url: format!("{}/chat/completions", base.trim_end_matches('/')) };
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let mut out = std::io::stdout();
    writeln!(out, "http://{}", listener.local_addr()?)?;
    out.flush()?;
    let listener = listener.tap_io(|stream| {
        if let Err(error) = stream.set_nodelay(true) {
            eprintln!("bare-proxy: {error}");
        }
    });
    axum::serve(listener, Router::new().fallback(forward).with_state(upstream)).await?;
    Ok(())
}

async fn forward(State(upstream): State<Upstream>, request: Request) -> Response {
    let (head, body) = request.into_parts();
    let mut onward = upstream.client.post(&upstream.url);
    for name in [header::CONTENT_TYPE, header::CONTENT_LENGTH, header::AUTHORIZATION] {
        if let Some(value) = head.headers.get(&name) {
            onward = onward.header(name, value);
        }
    }
    match onward.body(reqwest::Body::wrap_stream(body.into_data_stream())).send().await {
        Err(error) => (StatusCode::BAD_GATEWAY, error.to_string()).into_response(),
        Ok(answer) => {
            let mut response = Response::new(Body::empty());
            *response.status_mut() = answer.status();
            for name in [header::CONTENT_TYPE, header::CONTENT_LENGTH] {
                if let Some(value) = answer.headers().get(&name) {
                    response.headers_mut().insert(name, value.clone());
                }
            }
            *response.body_mut() = Body::new(reqwest::Body::from(answer));
            response
        }
    }
}
