//! What a stream owns: the rest of the request body and the writer of the response.
//!
//! It runs on a stream thread, so it may block. The connection's side of it is a [`Wire`]: the
//! event loop has one over HTTP/1.1, tests have one in memory.

use std::any::Any;
use std::fmt;
use std::io::{self, Read, Write};
use std::sync::Arc;

use bytes::Bytes;
use http::response::Parts;
use http::{HeaderMap, StatusCode};

use crate::Error;
use crate::body::StreamFn;
use crate::closing::Closing;
use crate::request::Request;

/// Bytes that an exchange gathers before it writes.
const BUFFER: usize = 16 * 1024;

/// The connection's side of an exchange; blocking, with the deadlines of the connection.
pub trait Wire: Send {
    /// Reads on in the request body; 0 at its end.
    ///
    /// # Errors
    /// `InvalidData` for a bad body, `TimedOut` for a slow one, `UnexpectedEof` for a cut one.
    fn read_body(&mut self, buffer: &mut [u8]) -> io::Result<usize>;

    /// Takes the head of the response, of `len` bytes of content if that is known; it goes out with
    /// the next [`Wire::send`].
    ///
    /// # Errors
    /// `InvalidInput` for a head that cannot be sent.
    fn send_head(&mut self, parts: &Parts, len: Option<u64>) -> io::Result<()>;

    /// Sends the head, if it is not out yet, and content (perhaps none), all of it, now.
    ///
    /// # Errors
    /// `TimedOut` when the client takes nothing for too long; what writing answers.
    fn send(&mut self, content: &[u8]) -> io::Result<()>;

    /// Ends the content.
    ///
    /// # Errors
    /// `InvalidData` when it is shorter than declared; what writing answers.
    fn finish(&mut self, trailers: Option<&HeaderMap>) -> io::Result<()>;

    /// Gives the wire back to whoever made it.
    fn into_any(self: Box<Self>) -> Box<dyn Any>;
}

/// The rest of a request's body and the response: what [`crate::Body::stream`] gives.
///
/// As [`Write`] it is the content of the response; [`Write::flush`] sends what was gathered. As
/// [`Read`] it is the rest of the request's body: what was buffered and not read yet, then what comes.
pub struct Exchange {
    wire: Box<dyn Wire>,
    request: Box<Request>,
    parts: Parts,
    len: Option<u64>,
    sent: bool,
    pending: Vec<u8>,
    trailers: Option<HeaderMap>,
    closing: Arc<Closing>,
}

impl Exchange {
    /// The request, its body apart: that is read from the exchange.
    #[must_use]
    pub fn request(&self) -> &Request {
        &self.request
    }

    /// The head of the response while it can still be changed: before the first flush or
    /// 16 KiB of content.
    pub fn head_mut(&mut self) -> Option<&mut Parts> {
        (!self.sent).then_some(&mut self.parts)
    }

    /// Changes the status, if the head is not sent.
    ///
    /// # Errors
    /// `InvalidInput` when it is.
    pub fn set_status(&mut self, status: StatusCode) -> io::Result<()> {
        let late = || io::Error::new(io::ErrorKind::InvalidInput, "the head is sent already");
        self.head_mut().ok_or_else(late)?.status = status;
        Ok(())
    }

    /// Fields to send behind the content; a client of HTTP/1.0 does not get them.
    pub fn set_trailers(&mut self, trailers: HeaderMap) {
        self.trailers = Some(trailers);
    }

    /// Whether the worker is retiring: a stream without an end should end soon.
    #[must_use]
    pub fn is_closing(&self) -> bool {
        self.closing.has_begun()
    }

    /// Runs a stream in memory, for [`crate::Body::collect`].
    pub(crate) fn collect(run: StreamFn) -> Result<Bytes, Error> {
        let collected = Arc::new(std::sync::Mutex::new(Vec::new()));
        let (parts, ()) = http::Response::new(()).into_parts();
        let mut exchange = Exchange::new(
            Box::new(Memory(Arc::clone(&collected))),
            Box::default(),
            parts,
            Arc::new(Closing::new()?),
        );
        run(&mut exchange)?;
        exchange.finish()?;
        let content = std::mem::take(
            &mut *collected
                .lock()
                .map_err(|_| Error::msg("the stream panicked"))?,
        );
        Ok(content.into())
    }

    fn send_pending(&mut self) -> io::Result<()> {
        if !self.sent {
            // A head that cannot be encoded is not sent, nor is one that cannot be written.
            self.wire.send_head(&self.parts, self.len)?;
            self.sent = true;
        }
        self.wire.send(&self.pending)?;
        self.pending.clear();
        Ok(())
    }
}

/// For the worker classes: how an exchange is made and ended.
#[doc(hidden)]
impl Exchange {
    pub fn new(
        wire: Box<dyn Wire>,
        request: Box<Request>,
        parts: Parts,
        closing: Arc<Closing>,
    ) -> Exchange {
        Exchange {
            wire,
            request,
            parts,
            len: None,
            sent: false,
            pending: Vec::new(),
            trailers: None,
            closing,
        }
    }

    /// Declares the length of the content.
    pub fn set_len(&mut self, len: Option<u64>) {
        self.len = len;
    }

    pub fn status(&self) -> StatusCode {
        self.parts.status
    }

    /// Ends the response in order.
    pub fn finish(&mut self) -> io::Result<()> {
        if !self.sent && self.len.is_none() && self.trailers.is_none() {
            // All of it is here: a length is better than chunks.
            self.len = Some(self.pending.len() as u64);
        }
        self.send_pending()?;
        self.wire.finish(self.trailers.as_ref())
    }

    /// Gives back what it was made of.
    pub fn into_parts(self) -> (Box<dyn Wire>, Box<Request>, Parts) {
        (self.wire, self.request, self.parts)
    }
}

impl Write for Exchange {
    fn write(&mut self, content: &[u8]) -> io::Result<usize> {
        if self.pending.len() + content.len() > BUFFER {
            self.send_pending()?;
            if content.len() >= BUFFER {
                self.wire.send(content)?;
                return Ok(content.len());
            }
        }
        self.pending.extend_from_slice(content);
        Ok(content.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.send_pending()
    }
}

impl Read for Exchange {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self.request.body_mut().read(buffer)? {
            0 => self.wire.read_body(buffer),
            n => Ok(n),
        }
    }
}

impl fmt::Debug for Exchange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Exchange")
            .field("parts", &self.parts)
            .field("sent", &self.sent)
            .finish()
    }
}

struct Memory(Arc<std::sync::Mutex<Vec<u8>>>);

impl Wire for Memory {
    fn read_body(&mut self, _: &mut [u8]) -> io::Result<usize> {
        Ok(0)
    }

    fn send_head(&mut self, _: &Parts, _: Option<u64>) -> io::Result<()> {
        Ok(())
    }

    fn send(&mut self, content: &[u8]) -> io::Result<()> {
        let mut all = self.0.lock().map_err(|_| io::ErrorKind::Other)?;
        all.extend_from_slice(content);
        Ok(())
    }

    fn finish(&mut self, _: Option<&HeaderMap>) -> io::Result<()> {
        Ok(())
    }

    fn into_any(self: Box<Self>) -> Box<dyn Any> {
        self
    }
}
