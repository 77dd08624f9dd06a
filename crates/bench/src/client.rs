//! One HTTP/1.1 connection, read by hand: the load should cost less than what it loads.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::Failure;

/// How much is read at once, at least.
const READ: usize = 16 * 1024;

/// A response's head.
pub struct Head {
    pub status: u16,
    /// What `Set-Cookie` gave, without its attributes.
    pub cookie: Option<String>,
}

/// What of a body is still to come.
#[derive(Clone, Copy)]
enum Rest {
    Nothing,
    Bytes(usize),
    Chunks,
}

/// A connection that is kept alive.
pub struct Connection {
    stream: TcpStream,
    buffer: Vec<u8>,
    /// How much of the buffer has been used.
    used: usize,
    rest: Rest,
}

impl Connection {
    /// Connects.
    pub async fn open(address: SocketAddr) -> Result<Self, Failure> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, buffer: Vec::new(), used: 0, rest: Rest::Nothing })
    }

    /// Sends a request and reads the head of its answer. The answer before must have been read to its end.
    pub async fn send(&mut self, request: &[u8]) -> Result<Head, Failure> {
        self.stream.write_all(request).await?;
        let length = loop {
            if let Some(at) = find(self.unused(), b"\r\n\r\n") {
                break at + 4;
            }
            self.fill().await?;
        };
        let text = std::str::from_utf8(&self.unused()[..length])?;
        let (head, rest) = read_head(text)?;
        self.used += length;
        self.rest = rest;
        Ok(head)
    }

    /// Adds the next piece of the body to `out`; false where there is none.
    pub async fn piece(&mut self, out: &mut Vec<u8>) -> Result<bool, Failure> {
        match self.rest {
            Rest::Nothing => Ok(false),
            Rest::Bytes(0) => {
                self.rest = Rest::Nothing;
                Ok(false)
            }
            Rest::Bytes(left) => {
                if self.unused().is_empty() {
                    self.fill().await?;
                }
                let some = self.unused().len().min(left);
                self.take(some, out);
                self.rest = Rest::Bytes(left - some);
                Ok(true)
            }
            Rest::Chunks => self.chunk(out).await,
        }
    }

    /// Adds the whole body to `out`.
    pub async fn body(&mut self, out: &mut Vec<u8>) -> Result<(), Failure> {
        while self.piece(out).await? {}
        Ok(())
    }

    async fn chunk(&mut self, out: &mut Vec<u8>) -> Result<bool, Failure> {
        let (line, size) = loop {
            if let Some(at) = find(self.unused(), b"\r\n") {
                let digits = std::str::from_utf8(&self.unused()[..at])?;
                break (at + 2, usize::from_str_radix(digits, 16)?);
            }
            self.fill().await?;
        };
        while self.unused().len() < line + size + 2 {
            self.fill().await?;
        }
        self.used += line;
        self.take(size, out);
        self.used += 2;
        if size == 0 {
            self.rest = Rest::Nothing;
        }
        Ok(size > 0)
    }

    fn unused(&self) -> &[u8] {
        &self.buffer[self.used..]
    }

    fn take(&mut self, count: usize, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.buffer[self.used..self.used + count]);
        self.used += count;
    }

    async fn fill(&mut self) -> Result<(), Failure> {
        self.buffer.drain(..self.used);
        self.used = 0;
        self.buffer.reserve(READ);
        match self.stream.read_buf(&mut self.buffer).await? {
            0 => Err("the connection was closed in the middle of an answer".into()),
            _ => Ok(()),
        }
    }
}

fn read_head(text: &str) -> Result<(Head, Rest), Failure> {
    let status = text.split(' ').nth(1).ok_or("no status")?.parse()?;
    let (mut cookie, mut rest) = (None, Rest::Nothing);
    for line in text.lines().skip(1) {
        let Some((name, value)) = line.split_once(':') else { continue };
        let value = value.trim();
        if name.eq_ignore_ascii_case("content-length") {
            rest = Rest::Bytes(value.parse()?);
        } else if name.eq_ignore_ascii_case("transfer-encoding") {
            rest = Rest::Chunks;
        } else if name.eq_ignore_ascii_case("set-cookie") {
            cookie = value.split(';').next().map(str::to_owned);
        }
    }
    Ok((Head { status, cookie }, rest))
}

fn find(bytes: &[u8], what: &[u8]) -> Option<usize> {
    bytes.windows(what.len()).position(|window| window == what)
}
