//! A response into the output, or with its connection to a stream thread; and its line in the access
//! log. Runs no handler.

use ferricorn_base::access::{AccessLog, Record};
use ferricorn_base::board::Counter;
use ferricorn_base::body::Kind;
use ferricorn_base::conf::Names;
use ferricorn_base::{Body, Request, Response, logs};
use ferricorn_http::{Defaults, EncodeError, Facts, Length, Whole};
use http::header::{Entry, HeaderName, HeaderValue};
use http::{Extensions, HeaderMap, StatusCode, header};

use crate::conn::{Active, After, Unlogged};
use crate::core::Core;
use crate::executor::discard;
use crate::output::{INLINE, Large, Output};
use crate::protocol::{BodyWriter, Protocol};
use crate::respond::error_response;

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const TRACE: HeaderName = HeaderName::from_static("traceresponse");

impl<P: Protocol> Core<P> {
    /// Encodes a response into the output, or hands the connection to a stream thread: `true`. The response
    /// stays where it is, but for what is needed of it for longer.
    #[inline]
    pub(crate) fn respond(
        &mut self,
        active: &mut Active<P>,
        response: &mut Response,
        body_done: bool,
    ) -> bool {
        if let Some(names) = self.conf.names {
            name(&active.request, names, response.headers_mut());
        }
        // Those of a stream live as long as it does.
        if !response.extensions().is_empty() && !response.body().needs_thread() {
            if let Err(failure) = discard(std::mem::take(response.extensions_mut())) {
                self.log_failure(&active.request, &failure);
            }
        }
        let (status, fields, body) = (response.status(), response.headers(), response.body());
        // What is small is copied behind its head.
        let Some(content) = body.as_slice().filter(|content| content.len() <= INLINE) else {
            return self.respond_large(active, std::mem::take(response), body_done);
        };
        let content_type = body.content_type();
        self.send(
            active,
            status,
            fields,
            content_type,
            |protocol, output, facts, defaults| {
                let whole = Whole {
                    facts,
                    status,
                    fields,
                    content,
                    defaults,
                };
                protocol.respond_whole(&mut output.bytes, &whole)
            },
        );
        false
    }

    /// As [`Core::respond`], where the content is not small, or not in memory.
    #[inline(never)]
    fn respond_large(
        &mut self,
        active: &mut Active<P>,
        response: Response,
        body_done: bool,
    ) -> bool {
        let (parts, body) = response.into_parts();
        let content_type = body.content_type();
        let (large, len) = match body.into_kind() {
            Kind::Empty => (Large::Static(&[]), 0),
            Kind::Static(bytes) => (Large::Static(bytes), bytes.len() as u64),
            Kind::Bytes(bytes) => {
                let len = bytes.len() as u64;
                (Large::Bytes(bytes), len)
            }
            Kind::File { file, start, len } => {
                let large = Large::File {
                    file,
                    at: start,
                    left: len,
                    sendfile: self.conf.sendfile,
                };
                (large, len)
            }
            kind if self.pool.has_room() => {
                return self.stream(active, parts, content_type, kind, body_done);
            }
            kind => return self.refuse_stream(active, kind, body_done),
        };
        let (status, fields) = (parts.status, &parts.headers);
        self.send(
            active,
            status,
            fields,
            content_type,
            |protocol, output, facts, defaults| {
                let (out, length) = (&mut output.bytes, Length::Known(len));
                let writer = protocol.respond(out, &facts, status, fields, length, &defaults)?;
                encode(writer, output, large, len)
            },
        );
        false
    }

    /// Answers in place of a stream, for which there is no thread.
    fn refuse_stream(&mut self, active: &mut Active<P>, kind: Kind, body_done: bool) -> bool {
        self.log_busy();
        if let (false, Some(facts)) = (body_done, &mut active.work.facts) {
            facts.keep_alive = false;
        }
        if let Err(failure) = discard(kind) {
            self.log_failure(&active.request, &failure);
        }
        let mut busy = error_response(StatusCode::SERVICE_UNAVAILABLE);
        let soon = HeaderValue::from_static("1");
        busy.headers_mut().insert(header::RETRY_AFTER, soon);
        self.respond(active, &mut busy, body_done)
    }

    /// Has a response encoded into the output, and counts and logs it.
    #[inline]
    fn send(
        &mut self,
        active: &mut Active<P>,
        status: StatusCode,
        fields: &HeaderMap,
        content_type: Option<&'static str>,
        encode: impl FnOnce(
            &mut P,
            &mut Output,
            Facts,
            Defaults<'_>,
        ) -> Result<(bool, u64), EncodeError>,
    ) {
        let work = &mut active.work;
        let Some(mut facts) = work.facts else { return };
        facts.keep_alive &= self.goes_on();
        let before = self.output.bytes.len();
        let defaults = self.clock.defaults(content_type);
        let encoded = encode(&mut work.protocol, &mut self.output, facts, defaults);
        let (status, keep_alive, sent, fields) = match encoded {
            Ok((keep_alive, sent)) => (status.as_u16(), keep_alive, sent, Some(fields)),
            Err(error) => {
                self.output.bytes.truncate(before);
                (self.unsendable(active, &error), false, 0, None)
            }
        };
        let work = &mut active.work;
        if !keep_alive {
            let wished = active.request.head().keep_alive();
            // Who asked for the end sends nothing more; others may have sent already.
            work.after = if wished { After::Linger } else { After::Close };
        }
        self.context.page.count_status(status);
        if let Some(cell) = work.cell.take() {
            let took = self.end_handler(cell, status);
            if took >= self.slow_us {
                log_slow(&active.request, status, took);
            }
        }
        if self.context.access.is_some() {
            self.log_sent(active, status, fields, sent);
        }
        if active.request.extensions().is_some() {
            // Not when the next one of a pipeline takes its place, which has no part in it.
            self.release(&mut active.request);
        }
    }

    /// A response cannot be sent as it is: another takes its place, whose status is returned.
    #[cold]
    fn unsendable(&mut self, active: &mut Active<P>, error: &EncodeError) -> u16 {
        let head = active.request.head();
        let (method, target) = (head.method(), head.target());
        logs::enter(active.request.request_id());
        log::error!("cannot send the response to {method} {target}: {error}");
        logs::leave();
        self.context.page.add(Counter::Errors, 1);
        let status = StatusCode::INTERNAL_SERVER_ERROR;
        let head_request = active.work.facts.is_some_and(|facts| facts.head_request);
        let (out, defaults) = (&mut self.output.bytes, self.clock.defaults(None));
        let protocol = &mut active.work.protocol;
        protocol.refuse(out, status, head_request, &defaults);
        status.as_u16()
    }

    /// Logs an answer whose content is in the output, or notes what is to be logged of a large one.
    #[inline(never)]
    fn log_sent(
        &mut self,
        active: &mut Active<P>,
        status: u16,
        fields: Option<&HeaderMap>,
        sent: u64,
    ) {
        if self.output.is_large() {
            active.work.unlogged = Some(Box::new(Unlogged {
                status,
                fields: fields.filter(|_| self.logs_fields()).cloned(),
                promised: sent,
            }));
        } else {
            let began = active.work.began_us;
            self.log_access(&active.request, status, fields, sent, began);
        }
    }

    pub(crate) fn logs_fields(&self) -> bool {
        let log = self.context.access.as_ref();
        log.is_some_and(AccessLog::wants_response_fields)
    }

    /// Logs an answer with a large body, when that is out or will not be.
    pub(crate) fn log_large(&mut self, active: &mut Active<P>) {
        if let Some(answer) = active.work.unlogged.take() {
            let sent = answer.promised - self.output.left();
            let (fields, began) = (answer.fields.as_ref(), active.work.began_us);
            self.log_access(&active.request, answer.status, fields, sent, began);
        }
    }

    pub(crate) fn log_access(
        &mut self,
        request: &Request,
        status: u16,
        response_fields: Option<&HeaderMap>,
        body_bytes: u64,
        began_us: u64,
    ) {
        if let Some(log) = &mut self.context.access {
            log.log(&Record {
                head: request.head(),
                client: request.client(),
                id: request.request_id(),
                trace: request.known_trace(),
                status,
                response_fields,
                body_bytes,
                unix_us: self.clock.unix_us(began_us),
                took_us: self.clock.now().saturating_sub(began_us),
            });
        }
    }
}

/// Says in a response what its request is called, unless the handler has done so.
pub(crate) fn name(request: &Request, names: Names, fields: &mut HeaderMap) {
    let mut say = |field: HeaderName, text: &str| {
        // It is printable ASCII.
        let value = HeaderValue::from_str(text);
        if let (Ok(value), Entry::Vacant(entry)) = (value, fields.entry(field)) {
            entry.insert(value);
        }
    };
    if names.id {
        say(REQUEST_ID, request.id());
    }
    if names.trace {
        say(TRACE, &request.trace().to_string());
    }
}

/// A handler took as long as `slow-request` or longer: its end is told of, too.
#[cold]
fn log_slow(request: &Request, status: u16, took_us: u64) {
    let head = request.head();
    let (method, target, client) = (head.method(), head.target(), request.client());
    let seconds = took_us as f64 / 1e6;
    logs::enter(request.request_id());
    log::warn!("slow request: {method} {target} of {client} took {seconds:.1} s, status {status}");
    logs::leave();
}

/// Takes out of a response that was sent what is to be dropped: whether that was all. Most maps of fields are
/// empty and hold no memory, which dropping one finds out in four steps.
#[inline]
pub(crate) fn hollow(response: &mut Response) -> bool {
    let hollow = response.headers().capacity() == 0;
    if hollow {
        *response.extensions_mut() = Extensions::new();
        *response.body_mut() = Body::empty();
    }
    hollow
}

/// Puts content that is not small behind its head: whether the connection goes on, and how many bytes it will be.
fn encode<W: BodyWriter>(
    mut writer: W,
    output: &mut Output,
    large: Large,
    len: u64,
) -> Result<(bool, u64), EncodeError> {
    let out = &mut output.bytes;
    if writer.suppressed() {
        if writer.upgraded() {
            // Nobody would speak the new protocol: a 101 comes with `Body::upgrade`.
            return Err(EncodeError::Status(StatusCode::SWITCHING_PROTOCOLS));
        }
        writer.finish(None, out)?;
        return Ok((writer.keep_alive(), 0));
    }
    writer.frame(len, out)?;
    if len > 0 {
        output.set_large(large);
    }
    writer.finish(None, &mut output.bytes)?;
    Ok((writer.keep_alive(), len))
}
