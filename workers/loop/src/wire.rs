//! The connection's side of an exchange: blocking, on a stream thread, each wait with its deadline.

use std::any::Any;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use ferricorn_base::sys::breath;
use ferricorn_base::transport::{AnyTransport, Ready, wait};
use ferricorn_base::{Conf, Wire, clients};
use ferricorn_http::{Date, Defaults, EncodeError, Event, Facts, Head, Length};
use http::response::Parts;
use http::{HeaderMap, StatusCode};

use crate::buffer::{Buffer, Filled};
use crate::pace::{Patience, least_brought};
use crate::protocol::{BodyWriter, Protocol};

/// The connection's side of an exchange.
#[derive(Debug)]
pub(crate) struct StreamWire<P: Protocol> {
    pub(crate) wire: AnyTransport,
    pub(crate) protocol: P,
    pub(crate) input: Buffer,
    pub(crate) head: Head,
    pub(crate) body_done: bool,
    pub(crate) wants_go_on: bool,
    /// Bytes of content at the front of the input.
    pub(crate) ready: usize,
    /// What to answer when the body was refused and the head is not sent.
    pub(crate) refused: Option<StatusCode>,
    pub(crate) writer: Option<P::Writer>,
    pub(crate) facts: Facts,
    pub(crate) content_type: Option<&'static str>,
    pub(crate) conf: Arc<Conf>,
    pub(crate) now: Arc<AtomicU64>,
    pub(crate) out: Vec<u8>,
    pub(crate) content: u64,
    pub(crate) sent: u64,
    pub(crate) received: u64,
    /// How much longer the rest of the request may be waited for.
    pub(crate) receive_left: Duration,
    /// How long this window of the minimum rate was waited for.
    pub(crate) waited: Duration,
    /// Bytes received when it began.
    pub(crate) window: u64,
    /// With the client that takes the response.
    pub(crate) patience: Patience,
}

impl<P: Protocol> StreamWire<P> {
    pub(crate) fn flush(&mut self) -> io::Result<()> {
        if !self.out.is_empty() {
            breath::cover();
        }
        let deadlines = &self.conf.deadlines;
        self.patience
            .send_all(&mut *self.wire, &self.out, deadlines)?;
        self.sent += self.out.len() as u64;
        self.out.clear();
        Ok(())
    }

    /// One step through what is here of the body; `false` when more has to come.
    fn parse(&mut self) -> io::Result<bool> {
        let event = self
            .protocol
            .next(self.input.bytes(), &self.conf.limits, &mut self.head);
        match event {
            Ok(Event::NeedMore { consumed }) => {
                self.input.consume(consumed);
                return Ok(false);
            }
            Ok(Event::Data { skip, len }) => {
                self.input.consume(skip);
                self.ready = len;
            }
            Ok(Event::End { consumed }) => {
                self.input.consume(consumed);
                self.body_done = true;
            }
            Ok(Event::Head { consumed }) => self.input.consume(consumed),
            Err(reject) => {
                self.refused = Some(reject.status);
                return Err(clients(io::Error::new(io::ErrorKind::InvalidData, reject)));
            }
        }
        Ok(true)
    }

    fn fill(&mut self) -> io::Result<()> {
        loop {
            match self.input.fill(&mut *self.wire).map_err(clients)? {
                Filled::Bytes(n, _) => {
                    self.received += n as u64;
                    return Ok(());
                }
                Filled::End => {
                    return Err(clients(io::Error::new(io::ErrorKind::UnexpectedEof, Cut)));
                }
                Filled::Nothing => self.wait_for_body().map_err(clients)?,
            }
        }
    }

    /// Waits for more of the body: each window of the body deadline must bring its minimum. Only the
    /// time spent here counts: what a handler takes for what it has read is not the client's.
    fn wait_for_body(&mut self) -> io::Result<()> {
        let deadlines = &self.conf.deadlines;
        let window = deadlines.body.saturating_sub(self.waited);
        let start = Instant::now();
        let limit = Some(window.min(self.receive_left));
        let result = wait(self.wire.as_fd(), Ready::Readable, limit);
        let waited = start.elapsed();
        self.waited += waited;
        self.receive_left = self.receive_left.saturating_sub(waited);
        match result {
            Err(error) if error.kind() == io::ErrorKind::TimedOut => {
                let brought = self.received - self.window;
                if self.receive_left.is_zero() || brought < least_brought(deadlines, deadlines.body)
                {
                    self.refused = Some(StatusCode::REQUEST_TIMEOUT);
                    return Err(error);
                }
                self.waited = Duration::ZERO;
                self.window = self.received;
                Ok(())
            }
            result => result,
        }
    }
}

impl<P: Protocol> Wire for StreamWire<P> {
    fn read_body(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while !self.body_done && self.ready == 0 && !buffer.is_empty() {
            if !self.parse()? {
                // RFC 9110 section 10.1.1: when the body is first wanted, unless it comes anyway.
                if std::mem::take(&mut self.wants_go_on) && self.input.is_empty() {
                    self.protocol.go_on(&mut self.out);
                    self.flush()?;
                }
                self.fill()?;
            }
        }
        let n = self.ready.min(buffer.len());
        buffer[..n].copy_from_slice(self.input.range(0..n));
        self.input.consume(n);
        self.ready -= n;
        Ok(n)
    }

    fn send_head(&mut self, parts: &Parts, len: Option<u64>) -> io::Result<()> {
        let mut facts = self.facts;
        // What is left of a request that nobody read must not be taken for the next one. Perhaps
        // all of it was read and only its end not seen.
        if !self.body_done && self.ready == 0 {
            let _ = self.parse();
        }
        facts.keep_alive &= self.body_done;
        // An interim response behind this head would be content.
        self.wants_go_on = false;
        let mut date = Date::new();
        date.update(self.now.load(Ordering::Relaxed));
        let length = len.map_or(Length::Unknown, Length::Known);
        let writer = {
            let defaults = defaults(&date, &self.conf, self.content_type);
            self.protocol
                .respond(
                    &mut self.out,
                    &facts,
                    parts.status,
                    &parts.headers,
                    length,
                    &defaults,
                )
                .and_then(|writer| match writer.upgraded() {
                    // A 101 comes with `Body::upgrade`.
                    true => Err(EncodeError::Status(parts.status)),
                    false => Ok(writer),
                })
                .map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?
        };
        self.writer = Some(writer);
        Ok(())
    }

    fn send(&mut self, content: &[u8]) -> io::Result<()> {
        let Some(writer) = &mut self.writer else {
            return Ok(());
        };
        let invalid = |error: EncodeError| io::Error::new(io::ErrorKind::InvalidData, error);
        writer.encode(content, &mut self.out).map_err(invalid)?;
        if !writer.suppressed() {
            self.content += content.len() as u64;
        }
        self.flush()
    }

    fn finish(&mut self, trailers: Option<&HeaderMap>) -> io::Result<()> {
        let Some(writer) = &mut self.writer else {
            return Ok(());
        };
        let invalid = |error: EncodeError| io::Error::new(io::ErrorKind::InvalidData, error);
        writer.finish(trailers, &mut self.out).map_err(invalid)?;
        self.flush()
    }

    fn into_any(self: Box<Self>) -> Box<dyn Any> {
        self
    }
}

/// The client ended its connection inside a request.
#[derive(Debug)]
pub(crate) struct Cut;

impl std::fmt::Display for Cut {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the client went away inside its request")
    }
}

impl std::error::Error for Cut {}

pub(crate) fn defaults<'a>(
    date: &'a Date,
    conf: &'a Conf,
    content_type: Option<&'a str>,
) -> Defaults<'a> {
    let server = conf.server.as_deref().map(str::as_bytes);
    Defaults {
        date: date.as_bytes(),
        server,
        content_type,
        rendered: b"",
    }
}
