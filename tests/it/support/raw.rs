//! A bare socket, for what no HTTP client would send.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::SOON;
use super::server::TestServer;

pub struct Raw {
    socket: TcpStream,
    got: Vec<u8>,
}

/// A response as it came.
#[derive(Debug)]
pub struct RawAnswer {
    pub status: u16,
    /// Names in lower case.
    pub headers: Vec<(String, String)>,
    pub body: String,
}

impl RawAnswer {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// The code of a failure that has the one shape.
    #[track_caller]
    pub fn code(&self) -> String {
        let body: serde_json::Value = serde_json::from_str(&self.body).unwrap_or_else(|e| panic!("{e}: {self:?}"));
        assert!(body["error"].is_string(), "{self:?}");
        body["code"].as_str().unwrap().to_owned()
    }
}

impl Raw {
    pub async fn connect(server: &TestServer) -> Self {
        Self::to(&server.url).await
    }

    pub async fn to(url: &str) -> Self {
        let address = url.strip_prefix("http://").unwrap();
        Self { socket: TcpStream::connect(address).await.unwrap(), got: Vec::new() }
    }

    /// Sends; a connection that the server has closed already is no failure.
    pub async fn send(&mut self, bytes: impl AsRef<[u8]>) -> bool {
        self.socket.write_all(bytes.as_ref()).await.is_ok()
    }

    /// Sends nothing more, and waits for what is still to come.
    pub async fn half_close(&mut self) {
        self.socket.shutdown().await.unwrap();
    }

    /// A whole request with a body of this length.
    pub async fn request(&mut self, head: &str, body: impl AsRef<[u8]>) -> RawAnswer {
        let body = body.as_ref();
        let head = format!("{head}\r\nhost: test\r\ncontent-length: {}\r\n\r\n", body.len());
        self.send([head.as_bytes(), body].concat()).await;
        self.answer().await.expect("an answer")
    }

    /// A `POST /chat` of a body that need not be text.
    pub async fn chat(&mut self, body: impl AsRef<[u8]>) -> RawAnswer {
        self.request("POST /chat HTTP/1.1\r\ncontent-type: application/json", body).await
    }

    async fn fill(&mut self) -> bool {
        let mut chunk = [0; 8192];
        let read = tokio::time::timeout(SOON, self.socket.read(&mut chunk)).await.expect("the server does something");
        let read = read.unwrap_or(0);
        self.got.extend_from_slice(&chunk[..read]);
        read > 0
    }

    /// The next response with a `Content-Length`; `None` where the connection ends before it.
    pub async fn answer(&mut self) -> Option<RawAnswer> {
        let head_end = loop {
            if let Some(at) = self.got.windows(4).position(|four| four == b"\r\n\r\n") {
                break at;
            }
            if !self.fill().await {
                return None;
            }
        };
        let head = String::from_utf8(self.got[..head_end].to_vec()).unwrap();
        self.got.drain(..head_end + 4);
        let mut lines = head.lines();
        let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
        let headers: Vec<(String, String)> = lines
            .map(|line| line.split_once(": ").unwrap())
            .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
            .collect();
        let mut answer = RawAnswer { status, headers, body: String::new() };
        let length: usize = answer.header("content-length").map_or(0, |length| length.parse().unwrap());
        while self.got.len() < length {
            assert!(self.fill().await, "the body is cut: {answer:?}");
        }
        answer.body = String::from_utf8(self.got.drain(..length).collect()).unwrap();
        Some(answer)
    }

    /// Takes in what comes until this has.
    pub async fn until(&mut self, text: &str) {
        while !String::from_utf8_lossy(&self.got).contains(text) {
            assert!(self.fill().await, "the server closes before {text:?}");
        }
    }

    /// Everything until the server closes.
    pub async fn until_closed(&mut self) -> String {
        while self.fill().await {}
        String::from_utf8_lossy(&std::mem::take(&mut self.got)).into_owned()
    }
}
