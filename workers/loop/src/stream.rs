//! One request on a stream thread: the connection left the loop with it and comes back after.
//!
//! The thread owns the connection, so it may block: every wait is a poll(2) with the connection's
//! own deadline, and a body that trickles or a client that does not read delays nobody else.

use std::any::Any;
use std::io::{self, Read, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Instant;

use ferricorn_base::board::Cell;
use ferricorn_base::body::Kind;
use ferricorn_base::conf::Deadlines;
use ferricorn_base::transport::{Ready, Transport, wait};
use ferricorn_base::{Conf, Exchange, Request, Upgraded, Wire, clients};
use ferricorn_http::{Date, Defaults, EncodeError, Event, Facts, Head, Length};
use http::response::Parts;
use http::{HeaderMap, StatusCode};

use crate::buffer::{Buffer, Filled};
use crate::executor::{Failure, guard};
use crate::protocol::{BodyWriter, Protocol};

/// What a stream thread is given.
#[derive(Debug)]
pub(crate) struct Job<P> {
    /// The connection's key in the loop.
    pub(crate) key: usize,
    pub(crate) wire: Box<dyn Transport>,
    pub(crate) protocol: P,
    /// Bytes read and not parsed.
    pub(crate) input: Buffer,
    /// Bytes that go out before anything else.
    pub(crate) out: Vec<u8>,
    pub(crate) request: Box<Request>,
    /// Whether the request's body is in `request` already.
    pub(crate) body_done: bool,
    /// Whether the client waits for `100 Continue`.
    pub(crate) wants_go_on: bool,
    pub(crate) facts: Facts,
    pub(crate) parts: Parts,
    pub(crate) content_type: Option<&'static str>,
    pub(crate) kind: Kind,
    pub(crate) cell: Option<Cell>,
    pub(crate) began_us: u64,
    pub(crate) conf: Arc<Conf>,
    pub(crate) closing: Arc<AtomicBool>,
    /// Unix seconds for the Date field, kept by the loop.
    pub(crate) now: Arc<AtomicU64>,
}

/// What comes back.
#[derive(Debug)]
pub(crate) struct Done<P> {
    pub(crate) key: usize,
    /// The connection, where it goes on or is to linger.
    pub(crate) wire: Option<Box<dyn Transport>>,
    pub(crate) protocol: P,
    pub(crate) input: Buffer,
    pub(crate) request: Box<Request>,
    pub(crate) keep_alive: bool,
    /// The status sent; 0 when the client went before one was.
    pub(crate) status: u16,
    /// Bytes of content sent, for the access log.
    pub(crate) content: u64,
    /// Bytes written in all.
    pub(crate) sent: u64,
    pub(crate) received: u64,
    pub(crate) failure: Option<Failure>,
    pub(crate) aborted: bool,
    /// The fields of the response, for the access log.
    pub(crate) fields: Option<HeaderMap>,
    pub(crate) cell: Option<Cell>,
    pub(crate) began_us: u64,
}

impl<P: Protocol> Job<P> {
    /// Runs to the end of the response.
    pub(crate) fn run(self) -> Done<P> {
        if let Kind::Upgrade(_) = self.kind {
            return self.upgrade();
        }
        let len = match &self.kind {
            Kind::Reader { len, .. } => *len,
            _ => None,
        };
        let closing = Arc::clone(&self.closing);
        let (key, cell, began_us) = (self.key, self.cell, self.began_us);
        let is_head = self.facts.head_request;
        let (kind, request, parts) = (self.kind, self.request, self.parts);
        let mut line = StreamWire {
            wire: self.wire,
            protocol: self.protocol,
            input: self.input,
            head: Head::new(),
            body_done: self.body_done,
            wants_go_on: self.wants_go_on,
            ready: 0,
            refused: None,
            writer: None,
            facts: self.facts,
            content_type: self.content_type,
            conf: self.conf,
            now: self.now,
            out: self.out,
            content: 0,
            sent: 0,
            received: 0,
            window: None,
        };
        // Answers to earlier requests of a pipeline do not wait for this one, nor share its fate.
        let flushed = line.flush();
        let mut exchange = Exchange::new(Box::new(line), request, parts, closing);
        exchange.set_len(len);
        let result = guard(|| {
            flushed?;
            match kind {
                // Nobody would get the content; perhaps it never ends.
                Kind::Reader { .. } | Kind::Pieces(_) if is_head => {}
                Kind::Reader { reader, len } => copy(reader, len, &mut exchange)?,
                Kind::Pieces(pieces) => {
                    for piece in pieces {
                        exchange.write_all(&piece?)?;
                        exchange.flush()?;
                    }
                }
                Kind::Stream(run) => run(&mut exchange)?,
                // The other kinds never leave the loop.
                _ => {}
            }
            exchange.finish()?;
            Ok(())
        });
        Done {
            key,
            cell,
            began_us,
            ..finish(exchange, result)
        }
    }

    /// Sends the 101 and gives the connection away.
    fn upgrade(mut self) -> Done<P> {
        let mut out = std::mem::take(&mut self.out);
        let mut date = Date::new();
        date.update(self.now.load(Ordering::Relaxed));
        let defaults = defaults(&date, &self.conf, None);
        let mut status = self.parts.status;
        let encoded = if status == StatusCode::SWITCHING_PROTOCOLS {
            let (fields, length) = (&self.parts.headers, Length::Known(0));
            self.protocol
                .respond(&mut out, &self.facts, status, fields, length, &defaults)
                .map(drop)
                .map_err(ferricorn_base::Error::from)
        } else {
            let text = format!("an upgrade needs the status 101, not {status}");
            Err(ferricorn_base::Error::msg(text))
        };
        if encoded.is_err() {
            status = StatusCode::INTERNAL_SERVER_ERROR;
            self.protocol.refuse(&mut out, status, &defaults);
        }
        let sent = send_all(&mut *self.wire, &out, &self.conf);
        let mut done = Done {
            key: self.key,
            wire: None,
            protocol: P::default(),
            input: Buffer::default(),
            request: self.request,
            keep_alive: false,
            status: status.as_u16(),
            content: 0,
            sent: out.len() as u64,
            received: 0,
            failure: None,
            aborted: false,
            fields: Some(self.parts.headers),
            cell: self.cell,
            began_us: self.began_us,
        };
        let early = self.input.bytes().to_vec();
        let Kind::Upgrade(run) = self.kind else {
            return done;
        };
        if let Err(error) = sent {
            done.status = 0;
            done.aborted = true;
            done.failure = Some(Failure::Error(error.into()));
            return done;
        }
        if let Err(error) = encoded {
            done.wire = Some(self.wire);
            done.failure = Some(Failure::Error(error));
            return done;
        }
        let upgraded = Upgraded::new(self.wire, early, self.closing);
        if let Err(failure) = guard(|| run(upgraded)) {
            done.failure = Some(failure);
        }
        done
    }
}

/// Ends the exchange: in order, with a 500, or by an abort when the head is out.
fn finish<P: Protocol>(exchange: Exchange, result: Result<(), Failure>) -> Done<P> {
    let mut status = exchange.status().as_u16();
    let (wire, request, parts) = exchange.into_parts();
    let line = wire.into_any().downcast::<StreamWire<P>>();
    // The exchange was made with that very type above.
    let mut line = line.expect("an exchange gives back the wire it was made with");
    let mut aborted = false;
    let mut keep_alive = false;
    let failure = match result {
        Ok(()) => {
            keep_alive = line.writer.as_ref().is_some_and(BodyWriter::keep_alive) && line.body_done;
            None
        }
        Err(failure) if line.writer.is_some() => {
            line.wire.abort();
            aborted = true;
            Some(failure)
        }
        Err(failure) => {
            let code = match line.refused {
                Some(code) => Some(code),
                None if is_client(&failure) => None,
                None => Some(StatusCode::INTERNAL_SERVER_ERROR),
            };
            status = code.map_or(0, |code| code.as_u16());
            if let Some(code) = code {
                line.out.clear();
                let mut date = Date::new();
                date.update(line.now.load(Ordering::Relaxed));
                let defaults = defaults(&date, &line.conf, None);
                line.protocol.refuse(&mut line.out, code, &defaults);
                // The client may be gone, then nobody misses the answer.
                let _ = line.flush();
            }
            Some(failure)
        }
    };
    Done {
        key: 0,
        wire: (!aborted).then_some(line.wire),
        protocol: line.protocol,
        input: line.input,
        request,
        keep_alive,
        status,
        content: line.content,
        sent: line.sent,
        received: line.received,
        failure,
        aborted,
        fields: Some(parts.headers),
        cell: None,
        began_us: 0,
    }
}

/// Whether a failure is the client's: it went away, was too slow, or sent a bad body.
pub(crate) fn is_client(failure: &Failure) -> bool {
    matches!(failure, Failure::Error(error) if ferricorn_base::is_clients(error))
}

/// The client ended its connection inside a request.
#[derive(Debug)]
struct Cut;

impl std::fmt::Display for Cut {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the client went away inside its request")
    }
}

impl std::error::Error for Cut {}

fn copy(mut reader: Box<dyn Read + Send>, len: Option<u64>, to: &mut Exchange) -> io::Result<()> {
    let mut left = len.unwrap_or(u64::MAX);
    let mut buffer = vec![0; 64 * 1024];
    while left > 0 {
        let want = buffer
            .len()
            .min(usize::try_from(left).unwrap_or(usize::MAX));
        match reader.read(&mut buffer[..want]) {
            Ok(0) => break,
            Ok(n) => {
                to.write_all(&buffer[..n])?;
                left -= n as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Bytes that each window of the body deadline must bring.
pub(crate) fn least(deadlines: &Deadlines) -> u64 {
    let millis = u64::try_from(deadlines.body.as_millis()).unwrap_or(u64::MAX);
    (deadlines.body_min_rate.saturating_mul(millis) / 1000).max(1)
}

fn defaults<'a>(date: &'a Date, conf: &'a Conf, content_type: Option<&'a str>) -> Defaults<'a> {
    let server = conf.server.as_deref().map(str::as_bytes);
    Defaults {
        date: date.as_bytes(),
        server,
        content_type,
        rendered: b"",
    }
}

/// Writes all, each wait bounded by the write deadline.
fn send_all(wire: &mut dyn Transport, mut bytes: &[u8], conf: &Conf) -> io::Result<()> {
    while !bytes.is_empty() {
        match wire.write(bytes) {
            Ok(0) => return Err(clients(io::ErrorKind::WriteZero.into())),
            Ok(n) => bytes = &bytes[n..],
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                let limit = Some(conf.deadlines.write);
                let before = wire.unsent();
                match wait(wire.as_fd(), Ready::Writable, limit) {
                    // It takes what the system has buffered.
                    Err(error)
                        if error.kind() == io::ErrorKind::TimedOut && wire.unsent() < before => {}
                    result => result.map_err(clients)?,
                }
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(clients(error)),
        }
    }
    Ok(())
}

/// The connection's side of an exchange.
#[derive(Debug)]
struct StreamWire<P: Protocol> {
    wire: Box<dyn Transport>,
    protocol: P,
    input: Buffer,
    head: Head,
    body_done: bool,
    wants_go_on: bool,
    /// Bytes of content at the front of the input.
    ready: usize,
    /// What to answer when the body was refused and the head is not sent.
    refused: Option<StatusCode>,
    writer: Option<P::Writer>,
    facts: Facts,
    content_type: Option<&'static str>,
    conf: Arc<Conf>,
    now: Arc<AtomicU64>,
    out: Vec<u8>,
    content: u64,
    sent: u64,
    received: u64,
    /// Since when this window of the minimum rate runs, and the bytes of it.
    window: Option<(Instant, u64)>,
}

impl<P: Protocol> StreamWire<P> {
    fn flush(&mut self) -> io::Result<()> {
        send_all(&mut *self.wire, &self.out, &self.conf)?;
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

    /// Waits for more of the body: each window of the body deadline must bring its minimum.
    fn wait_for_body(&mut self) -> io::Result<()> {
        let deadlines = self.conf.deadlines;
        let (since, at) = *self.window.get_or_insert((Instant::now(), self.received));
        match wait(
            self.wire.as_fd(),
            Ready::Readable,
            Some(deadlines.body.saturating_sub(since.elapsed())),
        ) {
            Err(error) if error.kind() == io::ErrorKind::TimedOut => {
                if self.received - at < least(&deadlines) {
                    self.refused = Some(StatusCode::REQUEST_TIMEOUT);
                    return Err(error);
                }
                self.window = None;
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
