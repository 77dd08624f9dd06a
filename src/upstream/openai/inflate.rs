//! Bodies that came compressed: decoded as they come, a bounded piece at a time, so that a small body that stands for a huge
//! one meets the limits of what is read before it is in memory.

use std::fmt;

use bytes::{Buf, Bytes};
use flate2::{Decompress, FlushDecompress, Status};

use super::faults::garbage;
use crate::domain::turn::Fault;

/// The most bytes that are decoded at once.
const PIECE: usize = 64 * 1024;

const GZIP: &[u8] = b"\x1f\x8b";

/// What a header says of a body's encoding.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Coding {
    /// Nothing.
    None,
    /// gzip.
    Gzip,
    /// deflate: what the standard means by it has a header, what some servers mean by it has none.
    Deflate,
    /// Something that was not asked for.
    Other(String),
}

impl Coding {
    /// By its name.
    #[must_use]
    pub fn named(name: &str) -> Self {
        match name.trim().to_ascii_lowercase().as_str() {
            "" | "identity" => Self::None,
            "gzip" | "x-gzip" => Self::Gzip,
            "deflate" => Self::Deflate,
            other => Self::Other(
                other.chars().filter(|c| c.is_ascii_alphanumeric() || "-, ".contains(*c)).take(32).collect(),
            ),
        }
    }

    /// The decoder for a body that begins with these bytes, of which two are enough; `None` where it is not encoded, which
    /// the bytes say better than the header.
    ///
    /// # Errors
    /// When there is none for this encoding.
    pub fn decoder(&self, begun: &[u8]) -> Result<Option<Decoder>, Fault> {
        Ok(match self {
            Self::Other(name) => return Err(garbage(&format!("an answer encoded as {name}, which was not asked for"))),
            _ if begun.starts_with(GZIP) => Some(Decoder::new(Kind::Gzip)),
            Self::None | Self::Gzip => None,
            Self::Deflate if is_zlib(begun) => Some(Decoder::new(Kind::Zlib)),
            Self::Deflate => Some(Decoder::new(Kind::Raw)),
        })
    }
}

/// Whether this is the header of RFC 1950: method 8, and a number that 31 divides.
fn is_zlib(begun: &[u8]) -> bool {
    matches!(begun, [method, flags, ..] if method & 0x0f == 8 && u16::from_be_bytes([*method, *flags]) % 31 == 0)
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Gzip,
    Zlib,
    Raw,
}

/// A body as far as it has been decoded.
pub struct Decoder {
    kind: Kind,
    inflate: Decompress,
    /// All has been decoded; what follows is another body of the same kind, or padding.
    is_over: bool,
}

impl fmt::Debug for Decoder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Decoder").field("kind", &self.kind).finish_non_exhaustive()
    }
}

impl Decoder {
    fn new(kind: Kind) -> Self {
        const WINDOW_BITS: u8 = 15;
        let inflate = match kind {
            Kind::Gzip => Decompress::new_gzip(WINDOW_BITS),
            Kind::Zlib => Decompress::new(true),
            Kind::Raw => Decompress::new(false),
        };
        Self { kind, inflate, is_over: false }
    }

    /// Decodes the next piece, taking what it reads off `encoded`; `None` where more bytes are needed.
    ///
    /// # Errors
    /// When the bytes are not what they should be.
    pub fn next(&mut self, encoded: &mut Bytes) -> Result<Option<Bytes>, Fault> {
        let broken = || garbage("an answer that cannot be decoded");
        loop {
            if self.is_over && self.kind == Kind::Gzip && encoded.starts_with(&GZIP[..1]) {
                *self = Self::new(Kind::Gzip);
            }
            if self.is_over {
                encoded.clear();
                return Ok(None);
            }
            let mut piece = Vec::with_capacity(PIECE);
            let before = self.inflate.total_in();
            let status =
                self.inflate.decompress_vec(encoded, &mut piece, FlushDecompress::None).map_err(|_| broken())?;
            let read = usize::try_from(self.inflate.total_in() - before).unwrap_or(usize::MAX).min(encoded.len());
            encoded.advance(read);
            self.is_over = status == Status::StreamEnd;
            match () {
                () if !piece.is_empty() => return Ok(Some(piece.into())),
                () if encoded.is_empty() => return Ok(None),
                () if read == 0 && !self.is_over => return Err(broken()),
                () => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use flate2::Compression;
    use flate2::write::{DeflateEncoder, GzEncoder, ZlibEncoder};

    use super::*;

    fn decoded(coding: &Coding, body: &[u8], size: usize) -> Result<Vec<u8>, Fault> {
        let mut decoder = coding.decoder(body)?.expect("it is encoded");
        let mut all = Vec::new();
        for chunk in body.chunks(size) {
            let mut chunk = Bytes::copy_from_slice(chunk);
            while let Some(piece) = decoder.next(&mut chunk)? {
                assert!(piece.len() <= PIECE);
                all.extend_from_slice(&piece);
            }
        }
        Ok(all)
    }

    fn gzip(text: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(text).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn every_wrapping_is_read_however_it_is_cut() {
        let text = "data: {\"a\":1}\n\n".repeat(50_000);
        let mut zlib = ZlibEncoder::new(Vec::new(), Compression::default());
        zlib.write_all(text.as_bytes()).unwrap();
        let mut raw = DeflateEncoder::new(Vec::new(), Compression::default());
        raw.write_all(text.as_bytes()).unwrap();
        let (half, rest) = text.as_bytes().split_at(1234);
        let bodies = [
            (Coding::Gzip, gzip(text.as_bytes())),
            (Coding::None, gzip(text.as_bytes())),
            (Coding::Gzip, [gzip(half), gzip(rest)].concat()),
            (Coding::Deflate, zlib.finish().unwrap()),
            (Coding::Deflate, raw.finish().unwrap()),
        ];
        for (coding, body) in bodies {
            for size in [1, 7, 16_384] {
                assert!(decoded(&coding, &body, size).unwrap() == text.as_bytes(), "{coding:?} by {size}");
            }
        }
    }

    #[test]
    fn what_is_flushed_is_there_before_the_rest() {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(b"data: 1\n\n").unwrap();
        encoder.flush().unwrap();
        let mut begun = Bytes::copy_from_slice(encoder.get_ref());
        let mut decoder = Coding::Gzip.decoder(&begun).unwrap().unwrap();
        assert_eq!(decoder.next(&mut begun).unwrap().as_deref(), Some(&b"data: 1\n\n"[..]));
        assert_eq!(decoder.next(&mut begun).unwrap(), None);
    }

    #[test]
    fn what_is_not_encoded_stays_and_what_is_broken_fails() {
        for coding in [Coding::None, Coding::Gzip, Coding::named("identity")] {
            assert!(coding.decoder(b"{\"a\":1}").unwrap().is_none());
        }
        assert!(Coding::named("br").decoder(b"{}").is_err());
        assert_eq!(Coding::named(" GZip "), Coding::Gzip);
        let mut body = gzip(b"some text that is long enough to be broken somewhere");
        body[12] ^= 0xff;
        body[14] ^= 0xff;
        assert!(decoded(&Coding::Gzip, &body, 64).is_err());
    }
}
