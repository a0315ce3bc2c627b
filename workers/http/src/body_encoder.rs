//! The framing of a response body.

use crate::encode::EncodeError;
use http::HeaderMap;

/// Frames the body of one response.
#[derive(Debug)]
#[must_use]
pub struct BodyEncoder {
    keep_alive: bool,
}

impl BodyEncoder {
    /// Whether the connection may carry another request after this response.
    pub fn keep_alive(&self) -> bool {
        self.keep_alive
    }
    /// Whether nothing is missing on the wire any more.
    pub fn is_complete(&self) -> bool {
        false
    }
    /// Whether content is swallowed (HEAD, 1xx, 204, 304).
    pub fn suppressed(&self) -> bool {
        false
    }
    /// Writes content, framed.
    pub fn encode(&mut self, data: &[u8], out: &mut Vec<u8>) -> Result<(), EncodeError> {
        out.extend_from_slice(data);
        Ok(())
    }
    /// Writes what goes before `len` bytes that the caller sends itself (sendfile), and returns how
    /// many of them to send: `len`, or 0 where content is swallowed.
    pub fn frame(&mut self, len: u64, out: &mut Vec<u8>) -> Result<u64, EncodeError> {
        let _ = out;
        Ok(len)
    }
    /// Writes what goes behind the bytes of [`frame`](Self::frame).
    pub fn end_frame(&mut self, out: &mut Vec<u8>) {
        let _ = out;
    }
    /// Ends the body.
    pub fn finish(
        &mut self,
        trailers: Option<&HeaderMap>,
        out: &mut Vec<u8>,
    ) -> Result<(), EncodeError> {
        let _ = (trailers, out);
        Ok(())
    }
}
