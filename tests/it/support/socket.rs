//! A client's WebSocket at `/v1/responses`.

use futures::{SinkExt, StreamExt};
use serde_json::Value;
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

use super::{SOON, schema};

pub struct Socket(WebSocketStream<MaybeTlsStream<TcpStream>>);

impl Socket {
    /// Opens one at this server, with these headers.
    pub async fn open(server: &str, headers: &[(&'static str, &str)]) -> Result<Self, Error> {
        let url = format!("{}/v1/responses", server.replace("http", "ws"));
        let mut request = url.into_client_request().unwrap();
        for (name, value) in headers {
            request.headers_mut().insert(*name, value.parse().unwrap());
        }
        Ok(Self(connect_async(request).await?.0))
    }

    pub async fn ask(&mut self, mut body: Value) {
        body["type"] = "response.create".into();
        self.say(body.to_string()).await;
    }

    pub async fn say(&mut self, text: String) {
        self.0.send(Message::Text(text.into())).await.unwrap();
    }

    /// The next text frame.
    pub async fn hear(&mut self) -> Value {
        self.next().await.expect("an open socket")
    }

    /// The next text frame; `None` where the server closes the socket, as the protocol wants it, instead.
    pub async fn next(&mut self) -> Option<Value> {
        loop {
            let heard = tokio::time::timeout(SOON, self.0.next()).await.expect("a frame in time");
            match heard.expect("a closing frame before the end").unwrap() {
                Message::Text(text) => {
                    let frame: Value = serde_json::from_str(text.as_str()).unwrap();
                    schema::check_frame(&frame);
                    return Some(frame);
                }
                Message::Close(_) => return None,
                _ => {}
            }
        }
    }

    /// All frames of a response, up to its end.
    pub async fn hear_all(&mut self) -> Vec<Value> {
        let mut frames = Vec::new();
        loop {
            let frame = self.hear().await;
            let kind = frame["type"].as_str().unwrap().to_owned();
            frames.push(frame);
            if ["response.completed", "response.failed", "response.incomplete", "error"].contains(&kind.as_str()) {
                return frames;
            }
        }
    }

    /// Makes a response and gives it.
    pub async fn respond(&mut self, body: Value) -> Value {
        self.ask(body).await;
        let frames = self.hear_all().await;
        let response = frames.last().unwrap()["response"].clone();
        schema::check_response(&response);
        response
    }

    pub async fn refused(&mut self, body: Value) -> Value {
        self.ask(body).await;
        let frame = self.hear().await;
        assert_eq!(frame["type"], "error", "{frame}");
        frame
    }
}
