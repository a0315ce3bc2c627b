//! From a complete request to its response: the handler runs, and what it gives is encoded.

use ferricorn_base::access::{AccessLog, Record};
use ferricorn_base::board::Counter;
use ferricorn_base::body::Kind;
use ferricorn_base::lifeline::Retirement;
use ferricorn_base::{Request, Response};
use ferricorn_http::{BodyLength, EncodeError, Event, Length, Reject};
use http::response::Parts;
use http::{HeaderMap, StatusCode, header};

use crate::conn::{Active, After, Phase, Unlogged};
use crate::event_loop::Loop;
use crate::executor::{Executor, Failure, guard};
use crate::output::{INLINE, Large, Output};
use crate::protocol::{BodyWriter, Protocol};
use crate::serve::Served;
use crate::stream::is_client;
use crate::timers::Wait;

impl<P: Protocol, E: Executor> Loop<P, E> {
    /// The head is complete: the handler may decide now.
    pub(crate) fn on_head(&mut self, active: &mut Active<P>) -> Option<Served> {
        let Some(conn) = self.conns.get(active.key) else {
            return Some(Served::Flush);
        };
        let work = &mut active.work;
        let has_body = active.request.head().body() != BodyLength::None;
        if has_body {
            work.receive_due = self.receive_due(active.key);
        }
        // This wait is over: the next of its kind has a time of its own.
        self.timers.clear(active.key);
        active.request.renew(&conn.peer, &conn.local, conn.link);
        let head = active.request.head();
        let concerned = head.initials().meets(self.concerns);
        let mut facts = P::facts(head);
        facts.keep_alive &= self.drain.is_none() && !self.conf.deadlines.keep_alive.is_zero();
        work.facts = Some(facts);
        work.wants_go_on = has_body && head.expects_continue();
        work.body_read = 0;
        work.window = 0;
        work.began_us = self.clock.now();
        active.phase = Phase::Body;
        if concerned {
            if let Err(reject) = self.conf.trust.judge(&mut active.request) {
                self.reject(active, reject);
                return Some(Served::Flush);
            }
        }
        let request = &active.request;
        let head = request.head();
        if head.is_https_target() && request.scheme() != "https" {
            self.reject(active, misdirected());
            return Some(Served::Flush);
        }
        if self.peers.is_some() {
            if let Some(response) = self.over_rate(active) {
                return self.respond_early(active, response, has_body);
            }
        }
        let (request, head) = (&active.request, active.request.head());
        let cell =
            self.context
                .page
                .begin(head.method_and_target(), request.client(), self.clock.now());
        if facts.connect_request {
            // RFC 9110 section 9.3.6: a 2xx would promise a tunnel, which no handler here makes.
            self.context.page.cancel(cell);
            self.refuse(active, StatusCode::NOT_IMPLEMENTED);
            return Some(Served::Flush);
        }
        self.lend(active);
        let begun = self.executor.begin(&mut active.request);
        if !has_body && matches!(begun, Ok(None)) {
            // All of the request is here: the handler goes on at once.
            active.work.cell = Some(cell);
            let result = self.executor.handle(&mut active.request);
            self.reclaim(active);
            self.end_without_body(active);
            return self.answer(active, result);
        }
        self.reclaim(active);
        let failure = match begun {
            Ok(None) => {
                // Until its body is here, no handler is busy with it.
                self.context.page.cancel(cell);
                return None;
            }
            Ok(Some(response)) => {
                active.work.cell = Some(cell);
                return self.respond_early(active, *response, has_body);
            }
            Err(failure) => failure,
        };
        active.work.cell = Some(cell);
        self.log_failure(&active.request, &failure);
        let response = error_response(StatusCode::INTERNAL_SERVER_ERROR);
        self.respond_early(active, response, has_body)
    }

    /// When the request whose head is complete now must be here as a whole, in µs of
    /// CLOCK_MONOTONIC: it began when its connection began to wait for a head, if it did.
    fn receive_due(&self, key: usize) -> u64 {
        let whole = self.conf.deadlines.receive;
        if whole.is_zero() {
            return u64::MAX;
        }
        let began = match (self.timers.wait(key), self.timers.due(key)) {
            (Some(Wait::Head), Some(due)) => due - self.waits[Wait::Head as usize],
            _ => self.clock.now(),
        };
        began.saturating_add(whole.as_micros() as u64)
    }

    /// Before a handler is called: it has the connection meanwhile, for interim responses. Those go
    /// out at once, if nothing is to go before them.
    fn lend(&self, active: &mut Active<P>) {
        if self.output.is_empty() {
            if let Some(wire) = active.wire.take() {
                active.request.lend(wire);
            }
        }
    }

    /// After a handler was called.
    fn reclaim(&mut self, active: &mut Active<P>) {
        let (wire, interim) = active.request.reclaim();
        if wire.is_some() {
            active.wire = wire;
        }
        if !interim.is_empty() {
            self.output.bytes.append(interim);
        }
    }

    /// The handler answered from the head alone.
    fn respond_early(
        &mut self,
        active: &mut Active<P>,
        response: Response,
        has_body: bool,
    ) -> Option<Served> {
        if let (true, Some(facts)) = (has_body, &mut active.work.facts) {
            // Only a stream reads the body; what nobody reads cannot be followed by a request.
            facts.keep_alive &= response.body().needs_thread();
        }
        if !has_body {
            self.end_without_body(active);
        }
        if self.respond(active, response, !has_body) {
            return Some(Served::Streamed);
        }
        if has_body {
            active.phase = Phase::Answered;
            active.work.after = After::Linger;
            return Some(Served::Flush);
        }
        active.phase = self.between();
        None
    }

    /// A message without a body ends with its head; a stream takes a protocol along that knows it.
    fn end_without_body(&self, active: &mut Active<P>) {
        let (head, limits) = (active.request.head_mut(), &self.conf.limits);
        let ended = active.work.protocol.next(&[], limits, head);
        debug_assert_eq!(ended, Ok(Event::End { consumed: 0 }));
    }

    /// The body of the request is complete: the handler answers.
    pub(crate) fn on_end(&mut self, active: &mut Active<P>) -> Option<Served> {
        let request = &mut active.request;
        let trailers = active.work.protocol.trailers();
        if let Err(error) = request.body_mut().complete(trailers) {
            return self.answer(active, Err(Failure::Error(error.into())));
        }
        let (head, client) = (request.head(), request.client());
        let (line, now) = (head.method_and_target(), self.clock.now());
        active.work.cell = Some(self.context.page.begin(line, client, now));
        self.lend(active);
        let result = self.executor.handle(&mut active.request);
        self.reclaim(active);
        self.answer(active, result)
    }

    /// The handler has answered a request that is complete, or failed.
    fn answer(
        &mut self,
        active: &mut Active<P>,
        result: Result<Response, Failure>,
    ) -> Option<Served> {
        active.phase = Phase::Idle;
        let streamed = match result {
            Ok(response) => self.respond(active, response, true),
            Err(failure) => {
                self.fail(active, &failure);
                false
            }
        };
        if streamed {
            return Some(Served::Streamed);
        }
        active.phase = self.between();
        None
    }

    /// A handler failed before its response was sent: 500 for the client, the detail for the log.
    fn fail(&mut self, active: &mut Active<P>, failure: &Failure) {
        self.log_failure(&active.request, failure);
        let response = error_response(StatusCode::INTERNAL_SERVER_ERROR);
        self.respond(active, response, true);
    }

    pub(crate) fn log_failure(&mut self, request: &Request, failure: &Failure) {
        // The application's errors print themselves, with code of the application.
        let text = guard(|| Ok(failure.to_string()));
        if text.is_err() {
            self.retire(Retirement::Panic);
        }
        let text = text.unwrap_or_else(|_| "an error that cannot be printed".to_owned());
        let head = request.head();
        let (method, target, client) = (head.method(), head.target(), request.client());
        match failure {
            failure if is_client(failure) => {
                log::debug!("{method} {target} of {client} ended: {text}");
            }
            Failure::Error(_) => {
                self.context.page.add(Counter::Errors, 1);
                log::error!("{method} {target} of {client} failed: {text}");
            }
            Failure::Panic(_) => {
                self.context.page.add(Counter::Panics, 1);
                log::error!("{method} {target} of {client} failed: {text}; this worker retires");
                self.retire(Retirement::Panic);
            }
        }
    }

    /// A handler failed between requests.
    pub(crate) fn log_idle_failure(&mut self, failure: &Failure) {
        self.context.page.add(Counter::Panics, 1);
        log::error!("a handler failed while nothing waited: {failure}; this worker retires");
        self.retire(Retirement::Panic);
    }

    /// Lets go of what a request holds, handlers' values among them: whether that went well. What
    /// they do when they are dropped is the application's code too.
    pub(crate) fn release(&mut self, request: &mut Request) -> bool {
        if request.extensions().is_none() {
            request.release();
            return true;
        }
        let released = guard(|| {
            request.release();
            Ok(())
        });
        if let Err(failure) = &released {
            self.log_failure(request, failure);
        }
        released.is_ok()
    }

    /// Encodes a response into the output, or hands the connection to a stream thread: `true`.
    fn respond(&mut self, active: &mut Active<P>, response: Response, body_done: bool) -> bool {
        let (parts, body) = response.into_parts();
        let content_type = body.content_type();
        match body.into_kind() {
            Kind::Empty => self.send(active, &parts, None, 0, Content::None),
            Kind::Static(bytes) => {
                self.send(
                    active,
                    &parts,
                    content_type,
                    bytes.len() as u64,
                    Content::Static(bytes),
                );
            }
            Kind::Bytes(bytes) => {
                self.send(
                    active,
                    &parts,
                    content_type,
                    bytes.len() as u64,
                    Content::Bytes(bytes),
                );
            }
            Kind::File { file, start, len } => {
                self.send(
                    active,
                    &parts,
                    content_type,
                    len,
                    Content::File(file, start),
                );
            }
            kind => {
                if self.pool.has_room() {
                    return self.stream(active, parts, content_type, kind, body_done);
                }
                self.log_busy();
                if let (false, Some(facts)) = (body_done, &mut active.work.facts) {
                    facts.keep_alive = false;
                }
                let dropped = guard(|| {
                    drop(kind);
                    Ok(())
                });
                if let Err(failure) = dropped {
                    self.log_failure(&active.request, &failure);
                }
                let busy = error_response(StatusCode::SERVICE_UNAVAILABLE);
                let (mut parts, _) = busy.into_parts();
                parts
                    .headers
                    .insert(header::RETRY_AFTER, header::HeaderValue::from_static("1"));
                let text = b"Service Unavailable";
                let text_type = Some("text/plain; charset=utf-8");
                self.send(
                    active,
                    &parts,
                    text_type,
                    text.len() as u64,
                    Content::Static(text),
                );
            }
        }
        false
    }

    fn send(
        &mut self,
        active: &mut Active<P>,
        parts: &Parts,
        content_type: Option<&'static str>,
        len: u64,
        content: Content,
    ) {
        let work = &mut active.work;
        let Some(mut facts) = work.facts else { return };
        facts.keep_alive &= self.drain.is_none();
        let output = &mut self.output;
        let before = output.bytes.len();
        let defaults = self.clock.defaults(content_type);
        let encoded = work
            .protocol
            .respond(
                &mut output.bytes,
                &facts,
                parts.status,
                &parts.headers,
                Length::Known(len),
                &defaults,
            )
            .and_then(|writer| encode(writer, output, content, len, self.conf.sendfile));
        let (status, keep_alive, sent, fields) = match encoded {
            Ok((keep_alive, sent)) => (
                parts.status.as_u16(),
                keep_alive,
                sent,
                Some(&parts.headers),
            ),
            Err(error) => {
                let head = active.request.head();
                let (method, target) = (head.method(), head.target());
                log::error!("cannot send the response to {method} {target}: {error}");
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
        let now = self.clock.read();
        if let Some(cell) = work.cell.take() {
            self.context.page.end(cell, status, now);
        }
        if self.context.access.is_none() {
            return;
        }
        if !self.output.is_large() {
            return self.log_access(&active.request, status, fields, sent, began);
        }
        active.work.unlogged = Some(Box::new(Unlogged {
            status,
            fields: fields.filter(|_| self.logs_fields()).cloned(),
            promised: sent,
        }));
    }

    fn logs_fields(&self) -> bool {
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
                status,
                response_fields,
                body_bytes,
                unix_us: self.clock.unix_us(began_us),
                took_us: self.clock.now().saturating_sub(began_us),
            });
        }
    }
}

/// RFC 9110 section 7.4: an https target over clear text is somebody else's request.
fn misdirected() -> Reject {
    let reason = "https target over clear text";
    Reject::new(StatusCode::MISDIRECTED_REQUEST, reason)
}

/// Content that goes out from the loop.
enum Content {
    None,
    Static(&'static [u8]),
    Bytes(bytes::Bytes),
    File(std::fs::File, u64),
}

/// Puts content behind its head: whether the connection goes on, and how many bytes it will be.
fn encode<W: BodyWriter>(
    mut writer: W,
    output: &mut Output,
    content: Content,
    len: u64,
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
    let large = match content {
        Content::None => None,
        Content::Static(bytes) if bytes.len() <= INLINE => {
            writer.encode(bytes, out)?;
            None
        }
        Content::Bytes(bytes) if bytes.len() <= INLINE => {
            writer.encode(&bytes, out)?;
            None
        }
        Content::Static(bytes) => Some(Large::Static(bytes)),
        Content::Bytes(bytes) => Some(Large::Bytes(bytes)),
        Content::File(file, at) => (len > 0).then_some(Large::File {
            file,
            at,
            left: len,
            sendfile,
        }),
    };
    if let Some(large) = large {
        writer.frame(len, out)?;
        output.set_large(large);
    }
    writer.finish(None, &mut output.bytes)?;
    Ok((writer.keep_alive(), len))
}

/// A generic answer: nothing of what went wrong is in it.
pub(crate) fn error_response(status: StatusCode) -> Response {
    use ferricorn_base::IntoResponse;
    // A status with its reason cannot fail to be a response.
    status.into_response().unwrap_or_default()
}
