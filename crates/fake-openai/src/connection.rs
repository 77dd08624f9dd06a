//! One connection: requests in, plans out, and an eye on the client's leaving meanwhile.

use std::io;
use std::sync::Arc;
use std::time::Instant;

use bytes::{Bytes, BytesMut};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::errors;
use crate::http1::{self, BadRequest, BodyLength, Head};
use crate::plan::{Op, Plan};
use crate::record::{Ledger, Outcome, RecordedRequest};
use crate::render;
use crate::script::KeepAlive;
use crate::server::Server;

const READ: usize = 16 * 1024;

/// Serves a connection until one side closes it.
pub(crate) async fn serve(stream: TcpStream, server: Arc<Server>) {
    let _ = stream.set_nodelay(true);
    let open = OpenConnection::count(&server.ledger);
    let mut connection = Connection { stream, buffer: BytesMut::with_capacity(READ) };
    let mut served = 0;
    loop {
        let keep_alive = server.keep_alive();
        let request = match connection.next_request(keep_alive).await {
            Ok(Some(request)) => request,
            Ok(None) => return,
            Err(BadRequest(what)) => return connection.refuse(what).await,
        };
        if keep_alive.stale_after_requests.is_some_and(|limit| served >= limit) {
            server.ledger.book.send_modify(|book| book.stale_closes += 1);
            return;
        }
        served += 1;
        if !connection.answer(request, &server, open.number).await {
            return;
        }
        if keep_alive.close_after_requests.is_some_and(|limit| served >= limit) {
            return;
        }
    }
}

/// Counts a connection while it is open.
struct OpenConnection {
    ledger: Arc<Ledger>,
    number: u64,
}

impl OpenConnection {
    fn count(ledger: &Arc<Ledger>) -> Self {
        let mut number = 0;
        ledger.book.send_modify(|book| {
            number = book.accepted;
            book.accepted += 1;
            book.open_connections += 1;
        });
        Self { ledger: ledger.clone(), number }
    }
}

impl Drop for OpenConnection {
    fn drop(&mut self) {
        self.ledger.book.send_modify(|book| book.open_connections -= 1);
    }
}

struct Request {
    head: Head,
    body: Bytes,
}

struct Connection {
    stream: TcpStream,
    buffer: BytesMut,
}

impl Connection {
    /// The next request; `None` when the client closed, or was idle for too long.
    async fn next_request(&mut self, keep_alive: KeepAlive) -> Result<Option<Request>, BadRequest> {
        if self.buffer.is_empty() && !self.first_bytes(keep_alive).await {
            return Ok(None);
        }
        let head = loop {
            if let Some(head) = Head::take(&mut self.buffer)? {
                break head;
            }
            if !self.more().await {
                return Ok(None);
            }
        };
        let goes_on = b"HTTP/1.1 100 Continue\r\n\r\n";
        if head.expects_continue && self.stream.write_all(goes_on).await.is_err() {
            return Ok(None);
        }
        let body = match head.length {
            BodyLength::Known(length) => self.known_body(length).await,
            BodyLength::Chunked => self.chunked_body().await?,
        };
        Ok(body.map(|body| Request { head, body }))
    }

    async fn first_bytes(&mut self, keep_alive: KeepAlive) -> bool {
        match keep_alive.close_idle_after {
            None => self.more().await,
            Some(limit) => tokio::time::timeout(limit, self.more()).await.unwrap_or(false),
        }
    }

    async fn known_body(&mut self, length: usize) -> Option<Bytes> {
        self.buffer.reserve(length.saturating_sub(self.buffer.len()));
        while self.buffer.len() < length {
            if !self.more().await {
                return None;
            }
        }
        Some(self.buffer.split_to(length).freeze())
    }

    async fn chunked_body(&mut self) -> Result<Option<Bytes>, BadRequest> {
        let mut body = BytesMut::new();
        loop {
            match http1::take_chunk(&mut self.buffer)? {
                Some(chunk) if chunk.is_empty() => return Ok(Some(body.freeze())),
                Some(chunk) => body.extend_from_slice(&chunk),
                None if self.more().await => {}
                None => return Ok(None),
            }
        }
    }

    /// Reads more; false when nothing more comes.
    async fn more(&mut self) -> bool {
        self.buffer.reserve(READ);
        matches!(self.stream.read_buf(&mut self.buffer).await, Ok(read) if read > 0)
    }

    /// Answers one request; whether another may come on this connection.
    async fn answer(&mut self, request: Request, server: &Arc<Server>, connection: u64) -> bool {
        let Request { head, body } = request;
        if let Some(bench) = server.bench()
            && (head.method(), head.path()) == ("POST", crate::record::CHAT)
        {
            let running = server.ledger.count();
            let outcome = self.send(&bench.for_body(&body)).await;
            running.ended(outcome);
            return outcome == Outcome::Finished && !head.close;
        }
        let (request, running) = server.ledger.record(|index| recorded(index, connection, &head, body));
        let reply = server.script().reply_to(&request);
        let plan = render::plan(&reply, &request, head.close);
        let outcome = self.send(&plan).await;
        running.ended(outcome);
        outcome == Outcome::Finished && !plan.close
    }

    /// Carries out a plan.
    async fn send(&mut self, plan: &Plan) -> Outcome {
        for op in &plan.ops {
            let went_on = match op {
                Op::Write(bytes) => self.stream.write_all(bytes).await.is_ok(),
                Op::Repeat(bytes, count) => self.repeat(bytes, *count).await.is_ok(),
                Op::Wait(gate) => self.unless_closed(gate.wait()).await,
                Op::Sleep(time) => self.unless_closed(tokio::time::sleep(*time)).await,
                Op::Hang => self.unless_closed(std::future::pending()).await,
                Op::Fin => return Outcome::Cut,
                Op::Reset => {
                    let _ = self.stream.set_zero_linger();
                    return Outcome::Cut;
                }
            };
            if !went_on {
                return Outcome::Aborted;
            }
        }
        Outcome::Finished
    }

    async fn repeat(&mut self, bytes: &[u8], count: u64) -> io::Result<()> {
        for _ in 0..count {
            self.stream.write_all(bytes).await?;
        }
        Ok(())
    }

    /// Awaits `what`; false when the client closed first.
    async fn unless_closed(&mut self, what: impl Future<Output = ()>) -> bool {
        tokio::select! {
            biased;
            () = closed(&self.stream, &mut self.buffer) => false,
            () = what => true,
        }
    }

    async fn refuse(&mut self, what: &str) {
        let _ = self.stream.write_all(&render::bad_request(&errors::bad_request(what))).await;
    }
}

/// Resolves when the client has closed or reset the connection. What it sends meanwhile is kept.
async fn closed(stream: &TcpStream, buffer: &mut BytesMut) {
    loop {
        if stream.readable().await.is_err() {
            return;
        }
        buffer.reserve(READ);
        match stream.try_read_buf(buffer) {
            Ok(0) => return,
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(_) => return,
        }
    }
}

fn recorded(index: usize, connection: u64, head: &Head, body: Bytes) -> RecordedRequest {
    let headers = head.headers().map(|(name, value)| (name.to_owned(), value.to_owned()));
    RecordedRequest {
        index,
        connection,
        method: head.method().to_owned(),
        path: head.path().to_owned(),
        query: head.query().to_owned(),
        headers: headers.collect(),
        json: serde_json::from_slice(&body).unwrap_or(Value::Null),
        body,
        arrived: Instant::now(),
        http11: head.http11,
    }
}
