//! A client on a bare socket, so that every byte and every end of a connection is seen.

use std::future::Future;
use std::io;
use std::time::Duration;

use fake_openai::FakeOpenAi;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;

/// What nothing here should ever take.
pub const SOON: Duration = Duration::from_secs(20);

pub struct Client {
    socket: BufReader<TcpStream>,
}

pub struct Response {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Response {
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut all = self.headers.iter();
        all.find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    pub fn text(&self) -> String {
        String::from_utf8(self.body.clone()).unwrap()
    }

    /// The data of each event, with LF line ends.
    pub fn events(&self) -> Vec<String> {
        let text = self.text();
        let events = text.split("\n\n").filter(|event| !event.is_empty());
        events.map(|event| event.strip_prefix("data: ").unwrap().to_owned()).collect()
    }
}

/// A body that asks for `text`.
pub fn prompt(text: &str, stream: bool) -> Value {
    json!({"model": "gpt-test", "stream": stream, "messages": [{"role": "user", "content": text}]})
}

/// A body that asks for a stream with usage.
pub fn prompt_with_usage(text: &str) -> Value {
    let mut body = prompt(text, true);
    body["stream_options"] = json!({"include_usage": true});
    body
}

pub async fn soon<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(SOON, what).await.expect("within the time that nothing here takes")
}

impl Client {
    pub async fn connect(fake: &FakeOpenAi) -> Self {
        let socket = soon(TcpStream::connect(fake.address())).await.unwrap();
        Self { socket: BufReader::new(socket) }
    }

    pub async fn send(&mut self, bytes: &[u8]) {
        soon(self.socket.write_all(bytes)).await.unwrap();
    }

    pub async fn request(&mut self, method: &str, path: &str, headers: &str, body: &str) {
        let length = body.len();
        let head = format!("{method} {path} HTTP/1.1\r\nHost: fake\r\nContent-Length: {length}\r\n{headers}\r\n");
        self.send((head + body).as_bytes()).await;
    }

    /// Sends a chat call.
    pub async fn chat(&mut self, body: &Value) {
        self.request("POST", "/v1/chat/completions", "", &body.to_string()).await;
    }

    /// Sends a chat call and reads its answer.
    pub async fn ask(&mut self, body: &Value) -> Response {
        self.chat(body).await;
        self.response().await.unwrap()
    }

    pub async fn get(&mut self, path: &str) -> Response {
        self.request("GET", path, "", "").await;
        self.response().await.unwrap()
    }

    /// The status line and the headers.
    pub async fn head(&mut self) -> io::Result<Response> {
        let status_line = self.line().await?;
        let status = status_line.split(' ').nth(1).and_then(|status| status.parse().ok());
        let status = status.ok_or_else(|| io::Error::other(format!("no HTTP: {status_line:?}")))?;
        let mut headers = Vec::new();
        loop {
            let line = self.line().await?;
            if line.is_empty() {
                return Ok(Response { status, headers, body: Vec::new() });
            }
            let (name, value) = line.split_once(": ").unwrap();
            headers.push((name.to_owned(), value.to_owned()));
        }
    }

    /// A whole answer.
    pub async fn response(&mut self) -> io::Result<Response> {
        let mut response = self.head().await?;
        let length = response.header("content-length").map(|length| length.parse().unwrap());
        if let Some(length) = length {
            response.body = self.exactly(length).await?;
        } else if response.header("transfer-encoding").is_some() {
            while let Some(chunk) = self.chunk().await? {
                response.body.extend(chunk);
            }
        } else {
            response.body = self.rest().await?;
        }
        Ok(response)
    }

    /// An HTTP chunk, `None` for the last one.
    pub async fn chunk(&mut self) -> io::Result<Option<Vec<u8>>> {
        let size = self.line().await?;
        let size = usize::from_str_radix(&size, 16).map_err(|_| io::Error::other(format!("size {size:?}")))?;
        let data = self.exactly(size).await?;
        self.exactly(2).await?;
        Ok((size > 0).then_some(data))
    }

    /// The text of an HTTP chunk.
    pub async fn event(&mut self) -> String {
        String::from_utf8(self.chunk().await.unwrap().unwrap()).unwrap()
    }

    /// All until the connection's end.
    pub async fn rest(&mut self) -> io::Result<Vec<u8>> {
        let mut all = Vec::new();
        soon(self.socket.read_to_end(&mut all)).await?;
        Ok(all)
    }

    async fn exactly(&mut self, length: usize) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; length];
        soon(self.socket.read_exact(&mut bytes)).await?;
        Ok(bytes)
    }

    async fn line(&mut self) -> io::Result<String> {
        let mut line = String::new();
        if soon(self.socket.read_line(&mut line)).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(line.trim_end().to_owned())
    }
}
