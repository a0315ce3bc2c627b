//! The seam for protocols: what the loop asks of HTTP/1.1, and later of FastCGI, SCGI and uwsgi.
//!
//! A protocol is the state of one connection, without I/O. The vocabulary is that of
//! `ferricorn-http`, which the gateways' codecs share.

use std::fmt::Debug;

use ferricorn_http::{
    BodyEncoder, Defaults, EncodeError, Event, Facts, Head, Length, Limits, Reader, Reject, Whole,
    encode_head, encode_interim, encode_reject, encode_whole, is_head_request,
};
use http::{HeaderMap, StatusCode};

/// The state of one connection that speaks a protocol; `Default` is that of a new one. Until a head is
/// complete, a new one goes on where this one is, given the bytes that were not consumed: such a
/// connection can be handed to another process.
pub trait Protocol: Debug + Default + Send + 'static {
    /// Writes the content of one response.
    type Writer: BodyWriter;

    /// Whether a whole answer of HTTP/1 may be written to the connection between two messages, by
    /// whoever has no state of it (`sys::breath`).
    const IS_HTTP1: bool;

    /// One step through the input, see [`ferricorn_http::Reader::next`].
    ///
    /// # Errors
    /// Why the message is refused.
    fn next(&mut self, input: &[u8], limits: &Limits, head: &mut Head) -> Result<Event, Reject>;

    /// Waits for no more of a head; leaves what is sure of it in `head`.
    fn give_up(&mut self, head: &mut Head);

    /// Whether it is between messages, with nothing of the next in `input`.
    fn is_idle(&self, input: &[u8]) -> bool;

    /// Whether a new one would go on as this one does, when it is idle: it can be forgotten.
    fn is_new(&self) -> bool;

    /// The trailer fields of the message that ended.
    fn trailers(&self) -> Option<&HeaderMap>;

    /// What a response must know of its request.
    fn facts(head: &Head) -> Facts {
        Facts::of(head)
    }

    /// Writes the head of a final response.
    ///
    /// # Errors
    /// Why it cannot be sent; nothing is written then.
    fn respond(
        &mut self,
        out: &mut Vec<u8>,
        facts: &Facts,
        status: StatusCode,
        fields: &HeaderMap,
        length: Length,
        defaults: &Defaults<'_>,
    ) -> Result<Self::Writer, EncodeError>;

    /// Writes a final response whose content is in memory: whether the connection goes on, and how many
    /// bytes of content there are.
    ///
    /// # Errors
    /// Why it cannot be sent; nothing is written then.
    fn respond_whole(
        &mut self,
        out: &mut Vec<u8>,
        whole: &Whole<'_>,
    ) -> Result<(bool, u64), EncodeError>;

    /// Writes `100 Continue`.
    fn go_on(&mut self, out: &mut Vec<u8>);

    /// Whether a message whose head is not complete asks with HEAD, as far as `input` shows.
    fn is_head_request(input: &[u8]) -> bool;

    /// Writes a whole answer that refuses a request and closes the connection; without its content
    /// where the request is HEAD.
    fn refuse(
        &mut self,
        out: &mut Vec<u8>,
        status: StatusCode,
        head_request: bool,
        defaults: &Defaults<'_>,
    );
}

/// Writes the content of one response, framed.
pub trait BodyWriter: Debug + Send + 'static {
    /// Whether the connection goes on after this response.
    fn keep_alive(&self) -> bool;

    /// Whether content is swallowed (an answer to HEAD, a 204, a 304).
    fn suppressed(&self) -> bool;

    /// Whether the head handed the connection to another protocol (101).
    fn upgraded(&self) -> bool;

    /// Appends content.
    ///
    /// # Errors
    /// When it is more than declared.
    fn encode(&mut self, content: &[u8], out: &mut Vec<u8>) -> Result<(), EncodeError>;

    /// Announces `len` bytes of content that the caller sends itself.
    ///
    /// # Errors
    /// When it is more than declared.
    fn frame(&mut self, len: u64, out: &mut Vec<u8>) -> Result<u64, EncodeError>;

    /// Ends the content.
    ///
    /// # Errors
    /// When it is less than declared.
    fn finish(
        &mut self,
        trailers: Option<&HeaderMap>,
        out: &mut Vec<u8>,
    ) -> Result<(), EncodeError>;
}

/// HTTP/1.1 (RFC 9112), with HTTP/1.0 clients.
#[derive(Debug, Default)]
pub struct Http1(Reader);

impl Protocol for Http1 {
    type Writer = BodyEncoder;

    const IS_HTTP1: bool = true;

    #[inline]
    fn next(&mut self, input: &[u8], limits: &Limits, head: &mut Head) -> Result<Event, Reject> {
        self.0.next(input, limits, head)
    }

    fn give_up(&mut self, head: &mut Head) {
        self.0.give_up(head);
    }

    #[inline]
    fn is_idle(&self, input: &[u8]) -> bool {
        self.0.is_idle(input)
    }

    #[inline]
    fn is_new(&self) -> bool {
        self.0.is_new()
    }

    fn trailers(&self) -> Option<&HeaderMap> {
        self.0.trailers()
    }

    #[inline]
    fn respond(
        &mut self,
        out: &mut Vec<u8>,
        facts: &Facts,
        status: StatusCode,
        fields: &HeaderMap,
        length: Length,
        defaults: &Defaults<'_>,
    ) -> Result<BodyEncoder, EncodeError> {
        encode_head(out, facts, status, fields, length, defaults)
    }

    #[inline]
    fn respond_whole(
        &mut self,
        out: &mut Vec<u8>,
        whole: &Whole<'_>,
    ) -> Result<(bool, u64), EncodeError> {
        encode_whole(out, whole)
    }

    fn go_on(&mut self, out: &mut Vec<u8>) {
        // 100 is an interim status, the only thing that could be refused.
        let _ = encode_interim(out, StatusCode::CONTINUE, &HeaderMap::new());
    }

    fn is_head_request(input: &[u8]) -> bool {
        is_head_request(input)
    }

    fn refuse(
        &mut self,
        out: &mut Vec<u8>,
        status: StatusCode,
        head_request: bool,
        defaults: &Defaults<'_>,
    ) {
        encode_reject(out, status, head_request, defaults);
    }
}

impl BodyWriter for BodyEncoder {
    #[inline]
    fn keep_alive(&self) -> bool {
        BodyEncoder::keep_alive(self)
    }

    #[inline]
    fn suppressed(&self) -> bool {
        BodyEncoder::suppressed(self)
    }

    #[inline]
    fn upgraded(&self) -> bool {
        BodyEncoder::upgraded(self)
    }

    #[inline]
    fn encode(&mut self, content: &[u8], out: &mut Vec<u8>) -> Result<(), EncodeError> {
        BodyEncoder::encode(self, content, out)
    }

    fn frame(&mut self, len: u64, out: &mut Vec<u8>) -> Result<u64, EncodeError> {
        BodyEncoder::frame(self, len, out)
    }

    #[inline]
    fn finish(
        &mut self,
        trailers: Option<&HeaderMap>,
        out: &mut Vec<u8>,
    ) -> Result<(), EncodeError> {
        BodyEncoder::finish(self, trailers, out)
    }
}
