//! The steps an answer is made of, down to faults that no HTTP framework would let through.

use std::time::Duration;

use bytes::Bytes;
use serde_json::Value;

use crate::gate::Gate;

/// One step of an answer. In a stream the steps happen in order between the chunks; see
/// [`Reply::then`](crate::Reply::then) for what they mean in an answer that is not streamed.
#[derive(Clone, Debug)]
pub enum Step {
    /// These bytes as they are, as one HTTP chunk of the body.
    Send(Bytes),
    /// A server-sent event; data of several lines becomes several `data:` lines.
    Data(String),
    /// A server-sent event with an `event:` line.
    Event {
        /// The name after `event:`.
        name: String,
        /// Its data.
        data: String,
    },
    /// A comment line, `: ping`, as proxies send to keep a connection alive.
    Comment(String),
    /// `data: [DONE]`.
    Done,
    /// Waits until the gate opens.
    Wait(Gate),
    /// Waits this long.
    Sleep(Duration),
    /// Writes what is pending now; without it neighbours with no wait in between share one write.
    Flush,
    /// A `data:` line of this many bytes, sent in pieces that are never held together.
    HugeLine(u64),
    /// From here on every byte of the body is an HTTP chunk and a write of its own.
    SplitEveryByte,
    /// From here on the body goes out in HTTP chunks of this many bytes.
    SplitEvery(usize),
    /// Changes the line ends from here on.
    LineEnd(LineEnd),
    /// Ends the body here as HTTP wants it, without the finish, the usage and `[DONE]` that would follow.
    End,
    /// Closes the connection here (FIN); a chunked body is then visibly incomplete.
    Fin,
    /// Sends the first half of an event, as a whole HTTP chunk, then closes.
    FinInsideEvent,
    /// Announces an HTTP chunk, sends half of it, then closes.
    FinInsideChunk,
    /// Resets the connection (RST).
    Reset,
    /// Sends nothing more, and holds the connection until the client closes it.
    Hang,
    /// These bytes straight on the socket, outside of the HTTP framing.
    Garbage(Bytes),
}

/// How the lines of a stream end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LineEnd {
    /// `\n`, as OpenAI sends.
    #[default]
    Lf,
    /// `\r\n`.
    CrLf,
    /// `\r`, allowed by the specification and rarely tested.
    Cr,
}

impl LineEnd {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Lf => "\n",
            Self::CrLf => "\r\n",
            Self::Cr => "\r",
        }
    }
}

impl Step {
    /// An event whose data is this JSON.
    pub fn json(value: &Value) -> Self {
        Self::Data(value.to_string())
    }

    /// The error object that OpenAI sends inside a stream that has begun.
    pub fn error(message: &str) -> Self {
        Self::json(&serde_json::json!({
            "error": {"message": message, "type": "server_error", "param": null, "code": null}
        }))
    }

    /// An event with an `event:` line.
    pub fn event(name: impl Into<String>, data: impl Into<String>) -> Self {
        Self::Event { name: name.into(), data: data.into() }
    }

    /// Bytes as they are.
    pub fn send(bytes: impl Into<Bytes>) -> Self {
        Self::Send(bytes.into())
    }

    /// Whether nothing can follow.
    pub(crate) fn ends(&self) -> bool {
        matches!(self, Self::End | Self::Fin | Self::FinInsideEvent | Self::FinInsideChunk | Self::Reset | Self::Hang)
    }
}
