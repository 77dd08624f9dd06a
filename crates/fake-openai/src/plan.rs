//! What goes over the socket: an answer compiled to writes, waits and ends.

use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};

use crate::gate::Gate;
use crate::steps::{LineEnd, Step};

/// The largest piece of a huge line that exists in memory.
const PIECE: usize = 64 * 1024;

/// What a cut event begins with; no client can parse it.
const HALF_EVENT: &str = r#"data: {"id":"chatcmpl-fake","object":"chat.completion.chu"#;

#[derive(Clone, Debug)]
pub(crate) enum Op {
    Write(Bytes),
    Repeat(Bytes, u64),
    Wait(Gate),
    Sleep(Duration),
    Hang,
    Fin,
    Reset,
}

/// An answer, ready to be sent.
#[derive(Clone, Debug, Default)]
pub(crate) struct Plan {
    pub(crate) ops: Vec<Op>,
    /// Close the connection when all is sent.
    pub(crate) close: bool,
}

/// How the body is delimited.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Framing {
    /// As it comes: a body with a length, or one that ends with the connection.
    Plain,
    Chunked,
}

/// Compiles steps to a plan. Neighbouring bytes share one write, so that an answer without waits is a single one.
pub(crate) struct Writer {
    ops: Vec<Op>,
    out: BytesMut,
    framing: Framing,
    split: Option<usize>,
    line_end: LineEnd,
}

impl Writer {
    pub(crate) fn new() -> Self {
        Self {
            ops: Vec::new(),
            out: BytesMut::with_capacity(1024),
            framing: Framing::Plain,
            split: None,
            line_end: LineEnd::Lf,
        }
    }

    /// From here on bytes are body.
    pub(crate) fn begin_body(&mut self, framing: Framing, split: Option<usize>, line_end: LineEnd) {
        self.framing = framing;
        self.split = split;
        self.line_end = line_end;
    }

    /// Bytes outside of the framing.
    pub(crate) fn raw(&mut self, bytes: &[u8]) {
        self.out.put_slice(bytes);
    }

    /// Bytes of the body.
    pub(crate) fn body(&mut self, bytes: &[u8]) {
        let Some(size) = self.split else {
            return self.chunk(bytes);
        };
        for piece in bytes.chunks(size.max(1)) {
            self.chunk(piece);
            self.flush();
        }
    }

    fn chunk(&mut self, bytes: &[u8]) {
        if bytes.is_empty() {
            return; // An empty HTTP chunk would end the body.
        }
        if self.framing == Framing::Plain {
            return self.out.put_slice(bytes);
        }
        self.out.put_slice(format!("{:x}\r\n", bytes.len()).as_bytes());
        self.out.put_slice(bytes);
        self.out.put_slice(b"\r\n");
    }

    /// A server-sent event.
    pub(crate) fn event(&mut self, name: Option<&str>, data: &str) {
        let end = self.line_end.as_str();
        let mut text = String::with_capacity(data.len() + 16);
        if let Some(name) = name {
            text.extend(["event: ", name, end]);
        }
        for line in data.split('\n') {
            text.extend(["data: ", line, end]);
        }
        text.push_str(end);
        self.body(text.as_bytes());
    }

    /// One step. Returns whether anything can follow.
    pub(crate) fn step(&mut self, step: &Step) -> bool {
        match step {
            Step::Send(bytes) => self.body(bytes),
            Step::Data(data) => self.event(None, data),
            Step::Event { name, data } => self.event(Some(name), data),
            Step::Comment(text) => self.comment(text),
            Step::Done => self.event(None, "[DONE]"),
            Step::Wait(gate) => self.op(Op::Wait(gate.clone())),
            Step::Sleep(time) => self.op(Op::Sleep(*time)),
            Step::Flush => self.flush(),
            Step::HugeLine(size) => self.huge_line(*size),
            Step::SplitEveryByte => self.split = Some(1),
            Step::SplitEvery(size) => self.split = Some(*size),
            Step::LineEnd(line_end) => self.line_end = *line_end,
            Step::End => {}
            Step::Fin => self.op(Op::Fin),
            Step::FinInsideEvent => {
                self.body(HALF_EVENT.as_bytes());
                self.op(Op::Fin);
            }
            Step::FinInsideChunk => self.cut_chunk(),
            Step::Reset => self.op(Op::Reset),
            Step::Hang => self.op(Op::Hang),
            Step::Garbage(bytes) => self.raw(bytes),
        }
        !step.ends()
    }

    /// An operation other than a write; what is pending is written before it.
    pub(crate) fn op(&mut self, op: Op) {
        self.flush();
        self.ops.push(op);
    }

    pub(crate) fn flush(&mut self) {
        if !self.out.is_empty() {
            self.ops.push(Op::Write(self.out.split().freeze()));
        }
    }

    /// Ends the body as its framing wants.
    pub(crate) fn end_body(&mut self) {
        if self.framing == Framing::Chunked {
            self.raw(b"0\r\n\r\n");
        }
    }

    pub(crate) fn finish(mut self, close: bool) -> Plan {
        self.flush();
        Plan { ops: self.ops, close }
    }

    fn comment(&mut self, text: &str) {
        let end = self.line_end.as_str();
        self.body(format!(": {text}{end}{end}").as_bytes());
    }

    fn cut_chunk(&mut self) {
        let announced = HALF_EVENT.len() * 2;
        if self.framing == Framing::Chunked {
            self.raw(format!("{announced:x}\r\n").as_bytes());
        }
        self.raw(HALF_EVENT.as_bytes());
        self.op(Op::Fin);
    }

    fn huge_line(&mut self, size: u64) {
        let split = self.split.take(); // Byte by byte this would take for ever.
        self.body(b"data: ");
        self.flush();
        self.chunk(&[b'x'; PIECE]);
        let piece = self.out.split().freeze();
        self.ops.push(Op::Repeat(piece, size / PIECE as u64));
        let rest = usize::try_from(size % PIECE as u64).unwrap_or(0);
        self.body(&vec![b'x'; rest]);
        let end = self.line_end.as_str();
        self.body(end.repeat(2).as_bytes());
        self.split = split;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(writer: Writer) -> Vec<u8> {
        let plan = writer.finish(false);
        let mut all = Vec::new();
        for op in plan.ops {
            match op {
                Op::Write(bytes) => all.extend_from_slice(&bytes),
                Op::Repeat(bytes, count) => {
                    for _ in 0..count {
                        all.extend_from_slice(&bytes);
                    }
                }
                _ => {}
            }
        }
        all
    }

    #[test]
    fn an_answer_without_waits_is_one_write() {
        let mut writer = Writer::new();
        writer.begin_body(Framing::Chunked, None, LineEnd::Lf);
        writer.event(None, "one");
        writer.event(None, "two");
        writer.end_body();
        assert_eq!(writer.finish(false).ops.len(), 1);
    }

    #[test]
    fn several_lines_of_data_keep_the_chosen_line_end() {
        let mut writer = Writer::new();
        writer.begin_body(Framing::Plain, None, LineEnd::CrLf);
        writer.event(Some("note"), "a\nb");
        assert_eq!(written(writer), b"event: note\r\ndata: a\r\ndata: b\r\n\r\n");
    }

    #[test]
    fn split_bytes_are_chunks_of_their_own() {
        let mut writer = Writer::new();
        writer.begin_body(Framing::Chunked, Some(1), LineEnd::Lf);
        writer.step(&Step::send("hi"));
        assert_eq!(written(writer), b"1\r\nh\r\n1\r\ni\r\n");
    }

    #[test]
    fn a_huge_line_has_the_size_asked_for() {
        let size = PIECE as u64 * 2 + 7;
        let mut writer = Writer::new();
        writer.begin_body(Framing::Plain, Some(1), LineEnd::Lf);
        writer.step(&Step::HugeLine(size));
        assert_eq!(written(writer).len() as u64, size + "data: \n\n".len() as u64);
    }
}
