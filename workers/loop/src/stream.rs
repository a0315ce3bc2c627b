//! One request on a stream thread: the connection left the loop with it and comes back after.
//!
//! The thread owns the connection, so it may block: a body that trickles or a client that does not
//! read delays nobody else. Waits and their deadlines are in `wire`; an upgraded connection has
//! those that its code sets.

use std::io::{self, Read, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use ferricorn_base::board::Cell;
use ferricorn_base::body::Kind;
use ferricorn_base::sys::breath;
use ferricorn_base::transport::AnyTransport;
use ferricorn_base::{Closing, Conf, Error, Exchange, Request, Returned, Upgraded, logs};
use ferricorn_http::{Date, Facts, Head, Length};
use http::response::Parts;
use http::{HeaderMap, StatusCode, header};

use crate::buffer::Buffer;
use crate::executor::{Failure, discard, guard};
use crate::pace::Patience;
use crate::protocol::{BodyWriter, Protocol};
use crate::wire::{StreamWire, defaults};

/// What a stream thread is given.
#[derive(Debug)]
pub(crate) struct Job<P> {
    /// The connection's key in the loop.
    pub(crate) key: usize,
    pub(crate) wire: AnyTransport,
    pub(crate) protocol: P,
    /// Bytes read and not parsed.
    pub(crate) input: Buffer,
    /// Bytes that go out before anything else.
    pub(crate) out: Vec<u8>,
    pub(crate) request: Box<Request>,
    /// Whether the request's body is in `request` already.
    pub(crate) body_done: bool,
    /// Whether the client waits for `100 Continue`, or did until its body came all the same.
    pub(crate) wants_go_on: bool,
    /// How much longer the rest of the request may be waited for.
    pub(crate) receive_left: Duration,
    pub(crate) facts: Facts,
    pub(crate) parts: Parts,
    pub(crate) content_type: Option<&'static str>,
    pub(crate) kind: Kind,
    pub(crate) cell: Option<Cell>,
    pub(crate) began_us: u64,
    pub(crate) conf: Arc<Conf>,
    pub(crate) closing: Arc<Closing>,
    /// Unix seconds for the Date field, kept by the loop.
    pub(crate) now: Arc<AtomicU64>,
}

/// What comes back.
#[derive(Debug)]
pub(crate) struct Done<P> {
    pub(crate) key: usize,
    /// The connection, where it goes on or is to linger.
    pub(crate) wire: Option<AnyTransport>,
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
    pub(crate) fn run(mut self) -> Done<P> {
        logs::enter(self.request.request_id());
        if let Some(cell) = self.cell {
            breath::serve(cell);
        }
        // They live as long as the response.
        let extensions = std::mem::take(&mut self.parts.extensions);
        let mut done = self.serve();
        if let Err(failure) = discard(extensions) {
            done.failure.get_or_insert(failure);
        }
        logs::leave();
        done
    }

    fn serve(self) -> Done<P> {
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
            receive_left: self.receive_left,
            waited: Duration::ZERO,
            window: 0,
            patience: Patience::default(),
        };
        // Answers to earlier requests of a pipeline do not wait for this one, nor share its fate.
        let flushed = line.flush();
        if let (Ok(()), true, Some(fd)) = (&flushed, P::IS_HTTP1, line.wire.movable()) {
            breath::expose(fd, is_head);
        }
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
        breath::cover();
        Done {
            key,
            cell,
            began_us,
            ..finish(exchange, result)
        }
    }

    /// Why the connection cannot be given away, if it cannot.
    fn may_switch(&self) -> Result<(), Error> {
        let status = self.parts.status;
        if status != StatusCode::SWITCHING_PROTOCOLS {
            let text = format!("an upgrade needs the status 101, not {status}");
            return Err(Error::msg(text));
        }
        if !self.body_done {
            // The new protocol begins behind the request (RFC 9110 section 7.8), body and all.
            let text = "an upgrade needs the whole request: answer it in handle, not in begin";
            return Err(Error::msg(text));
        }
        if !is_offered(&self.parts.headers, self.request.head().upgrade()) {
            return Err(Error::msg("an upgrade to what the client did not ask for"));
        }
        Ok(())
    }

    /// Sends the 101 and gives the connection away.
    fn upgrade(mut self) -> Done<P> {
        let mut out = std::mem::take(&mut self.out);
        let mut date = Date::new();
        date.update(self.now.load(Ordering::Relaxed));
        let defaults = defaults(&date, &self.conf, None);
        let mut status = self.parts.status;
        let encoded = self.may_switch().and_then(|()| {
            if self.wants_go_on {
                // RFC 9110 section 7.8: before the 101, although the body came by itself.
                self.protocol.go_on(&mut out);
            }
            let (fields, length) = (&self.parts.headers, Length::Known(0));
            self.protocol
                .respond(&mut out, &self.facts, status, fields, length, &defaults)?;
            Ok(())
        });
        if encoded.is_err() {
            status = StatusCode::INTERNAL_SERVER_ERROR;
            let head_request = self.facts.head_request;
            self.protocol
                .refuse(&mut out, status, head_request, &defaults);
        }
        let deadlines = &self.conf.deadlines;
        let sent = Patience::default().send_all(&mut *self.wire, &out, deadlines);
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
        let back = Arc::new(Returned::default());
        let (limit, returned) = (self.conf.deadlines.write, Arc::downgrade(&back));
        let upgraded = Upgraded::new(self.wire, early, limit, self.closing, returned);
        if let Err(failure) = guard(|| run(upgraded)) {
            done.failure = Some(failure);
        }
        // It is not there when the code lost it, as in a panic.
        done.wire = back.lock().unwrap_or_else(PoisonError::into_inner).take();
        done
    }
}

/// Whether every protocol that a 101 names is one that the client asked for: a server MUST NOT
/// switch to another (RFC 9110 section 7.8).
fn is_offered(fields: &HeaderMap, offered: Option<&str>) -> bool {
    let offered = offered.unwrap_or_default();
    let mut named = fields.get_all(header::UPGRADE).iter();
    named.all(|value| {
        let value = value.to_str().unwrap_or_default();
        value.split(',').all(|protocol| {
            let same = |other: &str| other.trim().eq_ignore_ascii_case(protocol.trim());
            offered.split(',').any(same)
        })
    })
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
                let head_request = line.facts.head_request;
                line.protocol
                    .refuse(&mut line.out, code, head_request, &defaults);
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
