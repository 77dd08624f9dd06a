//! HTTP/1.1 requests: the head's parts and how long the body is. Nothing here does I/O.

use bytes::BytesMut;

/// The head of a request.
#[derive(Debug)]
pub(crate) struct Head {
    text: String,
    method_end: usize,
    target_end: usize,
    pub(crate) http11: bool,
    pub(crate) length: BodyLength,
    pub(crate) close: bool,
    pub(crate) expects_continue: bool,
}

/// How long a request's body is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BodyLength {
    Known(usize),
    Chunked,
}

/// A request that is not HTTP.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct BadRequest(pub(crate) &'static str);

impl Head {
    /// Takes a head from the front of `buffer`, when all of it is there.
    pub(crate) fn take(buffer: &mut BytesMut) -> Result<Option<Self>, BadRequest> {
        let Some(end) = buffer.windows(4).position(|four| four == b"\r\n\r\n") else {
            return Ok(None);
        };
        let text = String::from_utf8(buffer.split_to(end + 4).to_vec()).map_err(|_| BadRequest("head is not UTF-8"))?;
        Self::parse(text).map(Some)
    }

    fn parse(text: String) -> Result<Self, BadRequest> {
        let line = text.lines().next().unwrap_or_default();
        let bad = BadRequest("request line");
        let (method, rest) = line.split_once(' ').ok_or(BadRequest("request line"))?;
        let (target, version) = rest.split_once(' ').ok_or(bad)?;
        let http11 = version != "HTTP/1.0";
        let mut head = Self {
            method_end: method.len(),
            target_end: method.len() + 1 + target.len(),
            text: String::new(),
            http11,
            length: BodyLength::Known(0),
            close: !http11,
            expects_continue: false,
        };
        for (name, value) in headers(&text) {
            head.notice(name, value)?;
        }
        head.text = text;
        Ok(head)
    }

    fn notice(&mut self, name: &str, value: &str) -> Result<(), BadRequest> {
        if name.eq_ignore_ascii_case("content-length") {
            let length = value.parse().map_err(|_| BadRequest("content-length"))?;
            self.length = BodyLength::Known(length);
        } else if name.eq_ignore_ascii_case("transfer-encoding") && value.eq_ignore_ascii_case("chunked") {
            self.length = BodyLength::Chunked;
        } else if name.eq_ignore_ascii_case("connection") {
            self.close = match value {
                v if v.eq_ignore_ascii_case("close") => true,
                v if v.eq_ignore_ascii_case("keep-alive") => false,
                _ => self.close,
            };
        } else if name.eq_ignore_ascii_case("expect") {
            self.expects_continue = value.eq_ignore_ascii_case("100-continue");
        }
        Ok(())
    }

    pub(crate) fn method(&self) -> &str {
        &self.text[..self.method_end]
    }

    /// The path without the query.
    pub(crate) fn path(&self) -> &str {
        self.target().split_once('?').map_or(self.target(), |(path, _)| path)
    }

    pub(crate) fn query(&self) -> &str {
        self.target().split_once('?').map_or("", |(_, query)| query)
    }

    pub(crate) fn headers(&self) -> impl Iterator<Item = (&str, &str)> {
        headers(&self.text)
    }

    fn target(&self) -> &str {
        &self.text[self.method_end + 1..self.target_end]
    }
}

fn headers(text: &str) -> impl Iterator<Item = (&str, &str)> {
    let lines = text.split("\r\n").skip(1);
    lines.filter_map(|line| line.split_once(':').map(|(name, value)| (name, value.trim())))
}

/// Takes the next chunk of a chunked body from the front of `buffer`, when all of it is there. The last one is empty.
pub(crate) fn take_chunk(buffer: &mut BytesMut) -> Result<Option<BytesMut>, BadRequest> {
    let Some(line_end) = buffer.windows(2).position(|two| two == b"\r\n") else {
        return Ok(None);
    };
    let bad = || BadRequest("chunk size");
    let line = std::str::from_utf8(&buffer[..line_end]).map_err(|_| bad())?;
    let digits = line.split(';').next().unwrap_or_default().trim();
    let size = usize::from_str_radix(digits, 16).map_err(|_| bad())?;
    let start = line_end + 2;
    let end = start.checked_add(size).and_then(|n| n.checked_add(2)).ok_or_else(bad)?;
    if buffer.len() < end {
        return Ok(None);
    }
    let _size_line = buffer.split_to(start);
    let data = buffer.split_to(size);
    let _line_end = buffer.split_to(2);
    Ok(Some(data))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_gives_its_parts() {
        let mut buffer = BytesMut::from("POST /v1/x?a=b HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\nhi");
        let head = Head::take(&mut buffer).expect("http").expect("whole");
        assert_eq!((head.method(), head.path(), head.query()), ("POST", "/v1/x", "a=b"));
        assert_eq!(head.headers().collect::<Vec<_>>(), [("Host", "h"), ("Content-Length", "2")]);
        assert_eq!(head.length, BodyLength::Known(2));
        assert!(!head.close);
        assert_eq!(&buffer[..], b"hi");
    }

    #[test]
    fn half_a_head_waits_for_more() {
        let mut buffer = BytesMut::from("POST / HTTP/1.1\r\nHost: h\r\n");
        assert!(Head::take(&mut buffer).expect("http so far").is_none());
        assert!(Head::take(&mut BytesMut::from("nonsense\r\n\r\n")).is_err());
    }

    #[test]
    fn chunks_come_one_by_one() {
        let mut buffer = BytesMut::from("3\r\nabc\r\n0\r\n\r\nrest");
        assert_eq!(take_chunk(&mut buffer).expect("chunk").as_deref(), Some(&b"abc"[..]));
        assert_eq!(take_chunk(&mut buffer).expect("chunk").as_deref(), Some(&b""[..]));
        assert_eq!(&buffer[..], b"rest");
    }
}
