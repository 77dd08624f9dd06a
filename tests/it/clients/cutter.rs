//! A proxy between a client and the server that takes answers away.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use fake_openai::{FakeOpenAi, Outcome};
use serde_json::json;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// A proxy that lets the server do all of its work, receives the whole answer to each first try of a `POST`, and then
/// closes the connection instead of passing it on; where the request says `!slow`, it closes at once, without waiting
/// for the answer. What an SDK tries again passes.
pub struct Cutter {
    pub url: String,
    cuts: Arc<AtomicUsize>,
    accepting: JoinHandle<()>,
}

impl Cutter {
    /// In front of the server at this URL.
    pub async fn start(server: &str) -> Self {
        let server = server.strip_prefix("http://").unwrap().to_owned();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let cuts = Arc::new(AtomicUsize::new(0));
        let counted = cuts.clone();
        let accepting = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(serve(client, server.clone(), counted.clone()));
            }
        });
        Self { url, cuts, accepting }
    }

    /// How many answers it has taken away.
    pub fn cuts(&self) -> usize {
        self.cuts.load(Ordering::SeqCst)
    }
}

impl Drop for Cutter {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

/// Requests and answers of a connection, each read to its end before it goes on.
async fn serve(client: TcpStream, server: String, cuts: Arc<AtomicUsize>) {
    let mut client = BufReader::new(client);
    let mut server = BufReader::new(TcpStream::connect(server).await.unwrap());
    while let Some(request) = message(&mut client).await {
        server.write_all(&request.bytes).await.unwrap();
        let is_cut = request.is_first_try();
        if is_cut && request.bytes.windows(5).any(|five| five == b"!slow") {
            cuts.fetch_add(1, Ordering::SeqCst);
            return;
        }
        let answer = message(&mut server).await.expect("the server answers");
        if is_cut {
            cuts.fetch_add(1, Ordering::SeqCst);
            return;
        }
        if client.write_all(&answer.bytes).await.is_err() {
            return;
        }
    }
}

/// A request or an answer as it came.
struct Message {
    head: String,
    bytes: Vec<u8>,
}

impl Message {
    fn is_first_try(&self) -> bool {
        let tried_again = self.header("x-stainless-retry-count").is_some_and(|count| count != "0");
        self.head.starts_with("POST ") && !tried_again
    }

    fn header(&self, name: &str) -> Option<&str> {
        let headers = self.head.lines().filter_map(|line| line.split_once(": "));
        headers.filter(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value).next()
    }
}

/// `None` where the connection has ended.
async fn message(from: &mut BufReader<TcpStream>) -> Option<Message> {
    let mut message = Message { head: String::new(), bytes: Vec::new() };
    while !message.bytes.ends_with(b"\r\n\r\n") {
        match from.read_until(b'\n', &mut message.bytes).await {
            Ok(read) if read > 0 => {}
            _ => return None,
        }
    }
    message.head = String::from_utf8(message.bytes.clone()).unwrap();
    if message.header("transfer-encoding") == Some("chunked") {
        while !chunk(from, &mut message.bytes).await? {}
    } else {
        let length = message.header("content-length").map_or(0, |length| length.parse().unwrap());
        more(from, &mut message.bytes, length).await?;
    }
    Some(message)
}

/// Reads an HTTP chunk; whether it was the last.
async fn chunk(from: &mut BufReader<TcpStream>, bytes: &mut Vec<u8>) -> Option<bool> {
    let start = bytes.len();
    from.read_until(b'\n', bytes).await.ok()?;
    let size = std::str::from_utf8(&bytes[start..]).ok()?.trim();
    let size = usize::from_str_radix(size, 16).ok()?;
    more(from, bytes, size + 2).await?;
    Some(size == 0)
}

async fn more(from: &mut BufReader<TcpStream>, bytes: &mut Vec<u8>, length: usize) -> Option<()> {
    let start = bytes.len();
    bytes.resize(start + length, 0);
    from.read_exact(&mut bytes[start..]).await.ok()?;
    Some(())
}

#[tokio::test]
async fn it_takes_away_what_comes_first() {
    let fake = FakeOpenAi::start().await;
    let cutter = Cutter::start(fake.base_url().strip_suffix("/v1").unwrap()).await;
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    for stream in [false, true] {
        let body = json!({"model": "m", "stream": stream, "messages": [{"role": "user", "content": "Hi"}]}).to_string();
        let post = |tried: &'static str| {
            let request = client.post(format!("{}/v1/chat/completions", cutter.url));
            request.header("x-stainless-retry-count", tried).body(body.clone()).send()
        };
        let before = (cutter.cuts(), fake.calls());
        post("0").await.unwrap_err();
        assert_eq!((cutter.cuts(), fake.calls()), (before.0 + 1, before.1 + 1));
        assert_eq!(fake.outcome(fake.last().index), Some(Outcome::Finished), "all of it was said");
        let answer = post("1").await.unwrap().text().await.unwrap();
        assert!(answer.contains(if stream { "[DONE]" } else { "Hello from the fake." }), "{answer}");
        assert_eq!((cutter.cuts(), fake.calls()), (before.0 + 1, before.1 + 2));
    }
    let models = client.get(format!("{}/v1/models", cutter.url)).send().await.unwrap();
    assert_eq!(models.status(), 200);
}
