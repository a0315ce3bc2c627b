//! A response into the output, or with its connection to a stream thread; and its line in the access
//! log. Runs no handler.

use std::sync::Arc;

use ferricorn_base::access::{AccessLog, Record};
use ferricorn_base::board::Counter;
use ferricorn_base::body::Kind;
use ferricorn_base::conf::Names;
use ferricorn_base::{Request, Response, logs};
use ferricorn_http::{EncodeError, Length};
use http::header::{Entry, HeaderName, HeaderValue};
use http::{HeaderMap, StatusCode, header};

use crate::conn::{Active, After, Unlogged};
use crate::core::Core;
use crate::executor::discard;
use crate::output::{INLINE, Large, Output};
use crate::protocol::{BodyWriter, Protocol};
use crate::respond::error_response;

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const TRACE: HeaderName = HeaderName::from_static("traceresponse");

impl<P: Protocol> Core<P> {
    /// Encodes a response into the output, or hands the connection to a stream thread: `true`.
    pub(crate) fn respond(
        &mut self,
        active: &mut Active<P>,
        response: Response,
        body_done: bool,
    ) -> bool {
        let (mut parts, body) = response.into_parts();
        if let Some(names) = self.conf.names {
            name(&active.request, names, &mut parts.headers);
        }
        let content_type = body.content_type();
        let content = match body.into_kind() {
            Kind::Empty => Content::None,
            Kind::Static(bytes) => Content::Static(bytes),
            Kind::Bytes(bytes) => Content::Bytes(bytes),
            Kind::File { file, start, len } => Content::File(file, start, len),
            kind if self.pool.has_room() => {
                return self.stream(active, parts, content_type, kind, body_done);
            }
            kind => return self.refuse_stream(active, kind, body_done),
        };
        if !parts.extensions.is_empty() {
            if let Err(failure) = discard(std::mem::take(&mut parts.extensions)) {
                self.log_failure(&active.request, &failure);
            }
        }
        let fields = parts.headers;
        self.send(active, parts.status, &fields, content_type, content);
        if active.request.extensions().is_some() {
            // Not when the next one of a pipeline takes its place, which has no part in it.
            self.release(&mut active.request);
        }
        // Most maps are empty and hold no memory, which dropping one finds out in four steps.
        if fields.capacity() == 0 {
            std::mem::forget(fields);
        }
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
        self.respond(active, busy, body_done)
    }

    fn send(
        &mut self,
        active: &mut Active<P>,
        code: StatusCode,
        headers: &HeaderMap,
        content_type: Option<&'static str>,
        content: Content,
    ) {
        let work = &mut active.work;
        let Some(mut facts) = work.facts else { return };
        facts.keep_alive &= self.goes_on();
        let output = &mut self.output;
        let before = output.bytes.len();
        let defaults = self.clock.defaults(content_type);
        let protocol = &mut work.protocol;
        let encoded = match content.small() {
            Some(bytes) => {
                let out = &mut output.bytes;
                protocol.respond_whole(out, &facts, code, headers, bytes, &defaults)
            }
            None => {
                let (out, length) = (&mut output.bytes, Length::Known(content.len()));
                protocol
                    .respond(out, &facts, code, headers, length, &defaults)
                    .and_then(|writer| encode(writer, output, content, self.conf.sendfile))
            }
        };
        let (status, keep_alive, sent, fields) = match encoded {
            Ok((keep_alive, sent)) => (code.as_u16(), keep_alive, sent, Some(headers)),
            Err(error) => {
                let head = active.request.head();
                let (method, target) = (head.method(), head.target());
                logs::enter(active.request.request_id());
                log::error!("cannot send the response to {method} {target}: {error}");
                logs::leave();
                self.context.page.add(Counter::Errors, 1);
                output.bytes.truncate(before);
                let status = StatusCode::INTERNAL_SERVER_ERROR;
                work.protocol
                    .refuse(&mut output.bytes, status, facts.head_request, &defaults);
                (500, false, 0, None)
            }
        };
        if !keep_alive {
            let wished = active.request.head().keep_alive();
            // Who asked for the end sends nothing more; others may have sent already.
            work.after = if wished { After::Linger } else { After::Close };
        }
        self.context.page.count_status(status);
        let began = work.began_us;
        if let Some(cell) = work.cell.take() {
            let took = self.end_handler(cell, status);
            if took >= self.slow_us {
                log_slow(&active.request, status, took);
            }
        }
        if self.context.access.is_some() {
            if self.output.is_large() {
                active.work.unlogged = Some(Box::new(Unlogged {
                    status,
                    fields: fields.filter(|_| self.logs_fields()).cloned(),
                    promised: sent,
                }));
            } else {
                self.log_access(&active.request, status, fields, sent, began);
            }
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

/// Content that goes out from the loop.
enum Content {
    None,
    Static(&'static [u8]),
    Bytes(bytes::Bytes),
    /// So many bytes of a file from here on.
    File(Arc<std::fs::File>, u64, u64),
}

impl Content {
    fn len(&self) -> u64 {
        match self {
            Content::None => 0,
            Content::Static(bytes) => bytes.len() as u64,
            Content::Bytes(bytes) => bytes.len() as u64,
            Content::File(_, _, len) => *len,
        }
    }

    /// What is small enough to be copied behind its head.
    fn small(&self) -> Option<&[u8]> {
        let bytes = match self {
            Content::None => &[],
            Content::Static(bytes) => *bytes,
            Content::Bytes(bytes) => bytes,
            Content::File(..) => return None,
        };
        (bytes.len() <= INLINE).then_some(bytes)
    }
}

/// Puts content that is not small behind its head: whether the connection goes on, and how many bytes it will be.
fn encode<W: BodyWriter>(
    mut writer: W,
    output: &mut Output,
    content: Content,
    sendfile: bool,
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
    let len = content.len();
    writer.frame(len, out)?;
    let large = match content {
        Content::None => None,
        Content::Static(bytes) => Some(Large::Static(bytes)),
        Content::Bytes(bytes) => Some(Large::Bytes(bytes)),
        Content::File(file, at, left) => (left > 0).then_some(Large::File {
            file,
            at,
            left,
            sendfile,
        }),
    };
    if let Some(large) = large {
        output.set_large(large);
    }
    writer.finish(None, &mut output.bytes)?;
    Ok((writer.keep_alive(), len))
}
