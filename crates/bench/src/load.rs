//! The load: so many connections, each a user who asks, waits for the answer, and asks again.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::task::JoinSet;

use crate::Failure;
use crate::answer::{Response, Shape, Stream, check_plain};
use crate::client::Connection;

/// A run is cut when it takes this much longer than it should.
const PATIENCE: Duration = Duration::from_secs(120);

/// What to do.
#[derive(Clone)]
pub struct Load {
    pub address: SocketAddr,
    pub shape: Shape,
    pub connections: usize,
    pub streamed: bool,
    /// After so many turns a user starts anew.
    pub turns_a_session: usize,
    /// The text of a right answer.
    pub expected: Arc<str>,
    /// No user begins another turn after this long.
    pub time: Duration,
}

/// What came of it.
#[derive(Default)]
pub struct Outcome {
    pub answers: u64,
    pub elapsed: Duration,
    /// How long each answer took, sorted.
    pub latencies: Vec<Duration>,
    /// How long each stream took to its first text, sorted.
    pub first_texts: Vec<Duration>,
    /// Events with text that the clients saw.
    pub texts: u64,
}

impl Outcome {
    /// The value below which so many of a hundred lie.
    pub fn percentile(sorted: &[Duration], percent: usize) -> Duration {
        let at = (sorted.len() * percent).div_ceil(100).max(1) - 1;
        sorted.get(at).copied().unwrap_or_default()
    }

    pub fn rate(&self) -> f64 {
        self.answers as f64 / self.elapsed.as_secs_f64()
    }

    fn join(&mut self, other: Self) {
        self.answers += other.answers;
        self.texts += other.texts;
        self.latencies.extend(other.latencies);
        self.first_texts.extend(other.first_texts);
    }
}

/// One user: a connection and, where there is one, a session.
pub struct User {
    connection: Connection,
    address: SocketAddr,
    shape: Shape,
    /// The session's cookie, or the response to go on from.
    cookie: Option<String>,
    /// Filled and emptied again for each answer.
    bytes: Vec<u8>,
}

impl User {
    /// A user without a session.
    pub async fn new(address: SocketAddr, shape: Shape) -> Result<Self, Failure> {
        let connection = Connection::open(address).await?;
        Ok(Self { connection, address, shape, cookie: None, bytes: Vec::new() })
    }

    /// Starts anew.
    pub fn leave_session(&mut self) {
        self.cookie = None;
    }

    /// The session's cookie.
    pub fn cookie(&self) -> Option<&str> {
        self.cookie.as_deref()
    }

    /// Asks, and checks the plain answer.
    pub async fn ask(&mut self, expected: &str) -> Result<(), Failure> {
        self.send(false).await?;
        self.bytes.clear();
        self.connection.body(&mut self.bytes).await?;
        check_plain(self.shape, &self.bytes, expected)?;
        if self.shape == Shape::Responses {
            self.cookie = Some(serde_json::from_slice::<Response>(&self.bytes)?.id.into_owned());
        }
        Ok(())
    }

    /// Asks, and checks the streamed answer; gives the time to its first text, and the number of its texts.
    pub async fn ask_streamed(&mut self, expected: &str) -> Result<(Duration, u64), Failure> {
        let began = Instant::now();
        self.send(true).await?;
        self.bytes.clear();
        let mut stream = Stream::new(self.shape, expected);
        let mut first = None;
        while self.connection.piece(&mut self.bytes).await? {
            stream.feed(&mut self.bytes)?;
            if first.is_none() && stream.texts > 0 {
                first = Some(began.elapsed());
            }
        }
        stream.end()?;
        if self.shape == Shape::Responses {
            self.cookie = stream.response.take();
        }
        Ok((first.unwrap_or_default(), stream.texts))
    }

    async fn send(&mut self, streamed: bool) -> Result<(), Failure> {
        let request = request(self.address, self.shape, streamed, self.cookie.as_deref());
        let head = self.connection.send(request.as_bytes()).await?;
        if head.status != 200 {
            self.bytes.clear();
            self.connection.body(&mut self.bytes).await?;
            return Err(format!("status {}: {}", head.status, String::from_utf8_lossy(&self.bytes)).into());
        }
        if self.shape == Shape::Chat {
            self.cookie = Some(head.cookie.ok_or("an answer without a cookie")?);
        }
        Ok(())
    }
}

const QUESTION: &str = "What was the first thing that I asked you about?";

fn request(address: SocketAddr, shape: Shape, streamed: bool, cookie: Option<&str>) -> String {
    let (path, body) = match shape {
        Shape::Chat => ("/chat", format!(r#"{{"prompt":"{QUESTION}","stream":{streamed}}}"#)),
        Shape::Upstream => {
            let system = r#"{"role":"system","content":"You are a helpful AI assistant."}"#;
            let messages = format!(r#"[{system},{{"role":"user","content":"{QUESTION}"}}]"#);
            ("/v1/chat/completions", format!(r#"{{"model":"m","messages":{messages},"stream":{streamed}}}"#))
        }
        Shape::Responses => {
            let previous = cookie.map(|id| format!(r#","previous_response_id":"{id}""#)).unwrap_or_default();
            let body =
                format!(r#"{{"model":"m","input":"{QUESTION}","truncation":"auto","stream":{streamed}{previous}}}"#);
            ("/v1/responses", body)
        }
    };
    let cookie =
        cookie.filter(|_| shape == Shape::Chat).map(|cookie| format!("Cookie: {cookie}\r\n")).unwrap_or_default();
    format!(
        "POST {path} HTTP/1.1\r\nHost: {address}\r\nContent-Type: application/json\r\n{cookie}Content-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

/// Runs the load; the first wrong answer fails it.
pub async fn run(load: &Load) -> Result<Outcome, Failure> {
    let began = Instant::now();
    let mut users = JoinSet::new();
    for _ in 0..load.connections {
        users.spawn(use_for_a_while(load.clone(), began + load.time));
    }
    let mut outcome = Outcome::default();
    let all = async {
        while let Some(user) = users.join_next().await {
            outcome.join(user??);
        }
        Ok::<_, Failure>(())
    };
    tokio::time::timeout(load.time + PATIENCE, all).await.map_err(|_| "the load does not come to its end")??;
    outcome.elapsed = began.elapsed();
    outcome.latencies.sort_unstable();
    outcome.first_texts.sort_unstable();
    Ok(outcome)
}

async fn use_for_a_while(load: Load, until: Instant) -> Result<Outcome, Failure> {
    let mut user = User::new(load.address, load.shape).await?;
    let mut outcome = Outcome::default();
    while Instant::now() < until {
        if outcome.answers.is_multiple_of(load.turns_a_session as u64) {
            user.leave_session();
        }
        let began = Instant::now();
        if load.streamed {
            let (first, texts) = user.ask_streamed(&load.expected).await?;
            outcome.first_texts.push(first);
            outcome.texts += texts;
        } else {
            user.ask(&load.expected).await?;
        }
        outcome.latencies.push(began.elapsed());
        outcome.answers += 1;
    }
    Ok(outcome)
}
