//! The framing of a response body. Counts what is written against what was declared; never
//! holds content, and never lets a Content-Length be wrong on the wire without saying so.

use crate::{encode::field, encode_error::EncodeError, trailers::is_forbidden};
use http::HeaderMap;

/// How the content is delimited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// There is none on the wire, whatever the handler writes.
    Suppressed,
    /// Another protocol has the connection (101, 2xx to CONNECT).
    Handed,
    /// As many bytes are still to come.
    Length(u64),
    /// Chunked; a chunk whose data the caller sends may be open.
    Chunked { open: bool },
    /// Until the connection closes.
    Close,
}

/// Frames the body of one response, after its head was encoded.
///
/// After an error the connection is to be aborted, not ended: the client must see that what it got
/// is not whole (RFC 9112 §8). What is still written then does no harm, and need not be an error.
#[derive(Debug)]
#[must_use]
pub struct BodyEncoder {
    kind: Kind,
    keep_alive: bool,
    finished: bool,
}

/// Digits of 64 bits, hexadecimal.
const HEX_DIGITS: usize = 16;

impl BodyEncoder {
    pub(crate) fn new(kind: Kind, keep_alive: bool) -> Self {
        Self {
            kind,
            keep_alive,
            finished: false,
        }
    }

    /// Whether the connection may carry another request after this response. False from the first
    /// error on, and after a head that handed the connection to another protocol.
    pub fn keep_alive(&self) -> bool {
        self.keep_alive
    }

    /// Whether nothing of the message is missing on the wire any more.
    pub fn is_complete(&self) -> bool {
        match self.kind {
            Kind::Suppressed | Kind::Handed | Kind::Length(0) => true,
            Kind::Length(_) => false,
            Kind::Chunked { .. } | Kind::Close => self.finished,
        }
    }

    /// Whether content is swallowed (RFC 9112 §6.3): HEAD, 204, 205, 304, and behind 101 or a 2xx to
    /// CONNECT, whose bytes are written past this encoder.
    pub fn suppressed(&self) -> bool {
        matches!(self.kind, Kind::Suppressed | Kind::Handed)
    }

    /// Whether the head handed the connection to another protocol: 101, 2xx to CONNECT.
    pub fn upgraded(&self) -> bool {
        self.kind == Kind::Handed
    }

    /// Bytes still to come by the declared length; `None` where none was declared, or content is
    /// swallowed.
    pub fn remaining(&self) -> Option<u64> {
        match self.kind {
            Kind::Length(remaining) => Some(remaining),
            _ => None,
        }
    }

    /// Writes content, framed. No bytes in, no bytes out: an empty chunk would end the body (RFC 9112
    /// §7.1). Never more than Content-Length says (RFC 9110 §8.6).
    ///
    /// # Errors
    /// [`EncodeError::TooLong`] when this exceeds the declared length, or the body was finished; as
    /// much as fits the length is written.
    #[inline]
    pub fn encode(&mut self, data: &[u8], out: &mut Vec<u8>) -> Result<(), EncodeError> {
        if data.is_empty() {
            return Ok(());
        }
        match &mut self.kind {
            Kind::Suppressed | Kind::Handed => Ok(()),
            Kind::Length(remaining) => {
                let fits = data
                    .len()
                    .min(usize::try_from(*remaining).unwrap_or(usize::MAX));
                *remaining -= fits as u64;
                out.extend_from_slice(&data[..fits]);
                if fits < data.len() {
                    self.fail(EncodeError::TooLong)
                } else {
                    Ok(())
                }
            }
            Kind::Chunked { .. } | Kind::Close if self.finished => self.fail(EncodeError::TooLong),
            Kind::Chunked { .. } => {
                chunk_size(out, data.len() as u64);
                out.extend_from_slice(data);
                out.extend_from_slice(b"\r\n");
                Ok(())
            }
            Kind::Close => {
                out.extend_from_slice(data);
                Ok(())
            }
        }
    }

    /// Writes what goes before `len` bytes that the caller sends itself (sendfile), and returns how
    /// many of them to send: `len`, or 0 where content is swallowed. When they are sent, call
    /// [`end_frame`](Self::end_frame), and nothing else before.
    ///
    /// # Errors
    /// [`EncodeError::TooLong`] when they exceed the declared length, or the body was finished;
    /// nothing is written then, and none of them may be sent.
    pub fn frame(&mut self, len: u64, out: &mut Vec<u8>) -> Result<u64, EncodeError> {
        if len == 0 {
            return Ok(0);
        }
        match &mut self.kind {
            Kind::Suppressed | Kind::Handed => Ok(0),
            Kind::Length(remaining) => match remaining.checked_sub(len) {
                Some(left) => {
                    *remaining = left;
                    Ok(len)
                }
                None => self.fail(EncodeError::TooLong),
            },
            Kind::Chunked { .. } | Kind::Close if self.finished => self.fail(EncodeError::TooLong),
            Kind::Chunked { open } => {
                *open = true;
                chunk_size(out, len);
                Ok(len)
            }
            Kind::Close => Ok(len),
        }
    }

    /// Writes what goes behind the bytes of [`frame`](Self::frame).
    pub fn end_frame(&mut self, out: &mut Vec<u8>) {
        if let Kind::Chunked { open: open @ true } = &mut self.kind {
            *open = false;
            out.extend_from_slice(b"\r\n");
        }
    }

    /// Ends the body: the last chunk and the trailers, where it is chunked (RFC 9112 §7.1). Trailers
    /// that must not be any are left out (RFC 9110 §6.5.1), and all of them where the body is not
    /// chunked. A second call does nothing.
    ///
    /// # Errors
    /// [`EncodeError::TooShort`] when bytes of the declared length are missing.
    pub fn finish(
        &mut self,
        trailers: Option<&HeaderMap>,
        out: &mut Vec<u8>,
    ) -> Result<(), EncodeError> {
        if std::mem::replace(&mut self.finished, true) {
            return Ok(());
        }
        match self.kind {
            Kind::Length(missing) if missing > 0 => self.fail(EncodeError::TooShort { missing }),
            Kind::Chunked { .. } => {
                out.extend_from_slice(b"0\r\n");
                for (name, value) in trailers
                    .into_iter()
                    .flatten()
                    .filter(|(name, _)| !is_forbidden(name))
                {
                    field(out, name.as_str().as_bytes(), value.as_bytes());
                }
                out.extend_from_slice(b"\r\n");
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn fail<T>(&mut self, error: EncodeError) -> Result<T, EncodeError> {
        self.keep_alive = false;
        Err(error)
    }
}

/// `chunk-size CRLF`, without leading zeros (RFC 9112 §7.1).
fn chunk_size(out: &mut Vec<u8>, size: u64) {
    let mut digits = [0; HEX_DIGITS];
    let mut first = HEX_DIGITS;
    let mut rest = size;
    while first > 0 && (rest > 0 || first == HEX_DIGITS) {
        first -= 1;
        digits[first] = b"0123456789abcdef"[(rest & 0xf) as usize];
        rest >>= 4;
    }
    out.extend_from_slice(&digits[first..]);
    out.extend_from_slice(b"\r\n");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_in_hexadecimal() {
        for size in [0, 1, 0xf, 0x10, 0xabc, 0x1_0000, u64::MAX] {
            let mut out = Vec::new();
            chunk_size(&mut out, size);
            assert_eq!(out, format!("{size:x}\r\n").into_bytes());
        }
    }
}
