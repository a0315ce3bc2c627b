//! From a head, and from a complete request, to the handler, and what becomes of its failures; `send`
//! takes its answer from there.

use ferricorn_base::board::{Cell, Counter};
use ferricorn_base::lifeline::Retirement;
use ferricorn_base::sys::breath;
use ferricorn_base::{Handler, Peer, Request, RequestId, Response, logs};
use ferricorn_http::{BodyLength, Reject};
use http::StatusCode;

use crate::conn::{Active, After, Call, Phase};
use crate::core::Core;
use crate::event_loop::Loop;
use crate::executor::{Begun, Errand, Executor, Failure, begin, discard, guard, handle};
use crate::protocol::Protocol;
use crate::send::hollow;
use crate::serve::Served;
use crate::stream::is_client;
use crate::timers::Wait;

/// The handler is shown the head of a request.
struct Show<'a, P: Protocol> {
    active: &'a mut Active<P>,
    has_body: bool,
}

impl<P: Protocol, H: Handler> Errand<P, H> for Show<'_, P> {
    type Result = Begun;
    type End = Option<Served>;

    #[inline(always)]
    fn key(&self) -> usize {
        self.active.key
    }

    #[inline(always)]
    fn run(&mut self, handler: &mut H) -> Begun {
        begin(handler, &mut self.active.request, !self.has_body)
    }

    #[inline(always)]
    fn end(self, core: &mut Core<P>, begun: &mut Begun) -> (Option<Served>, bool) {
        let Show { active, has_body } = self;
        core.reclaim(active);
        if let Begun::Answer(result) = begun {
            return core.answer(active, result);
        }
        (core.begun(active, begun, has_body), false)
    }
}

/// The handler is asked for the answer to a request that is complete.
struct Ask<'a, P: Protocol> {
    active: &'a mut Active<P>,
}

impl<P: Protocol, H: Handler> Errand<P, H> for Ask<'_, P> {
    type Result = Result<Response, Failure>;
    type End = Option<Served>;

    fn key(&self) -> usize {
        self.active.key
    }

    fn run(&mut self, handler: &mut H) -> Result<Response, Failure> {
        handle(handler, &mut self.active.request)
    }

    fn end(
        self,
        core: &mut Core<P>,
        result: &mut Result<Response, Failure>,
    ) -> (Option<Served>, bool) {
        core.reclaim(self.active);
        core.answer(self.active, result)
    }
}

impl<P: Protocol, E: Executor<P>> Loop<P, E> {
    /// The head is complete: the handler may decide now.
    pub(crate) fn on_head(&mut self, active: &mut Active<P>) -> Option<Served> {
        let core = &mut **self;
        let number = core.ids.next_number();
        let Some(conn) = core.conns.get(active.key) else {
            return Some(Served::Flush);
        };
        let work = &mut active.work;
        let has_body = active.request.head().body() != BodyLength::None;
        if has_body {
            work.receive_due = core.receive_due(active.key, active.waits);
        }
        // This wait is over: the next of its kind has a time of its own.
        active.waits = None;
        let request = &mut active.request;
        request.renew(&conn.peer, &conn.local, conn.link, number);
        let head = active.request.head();
        let concerned = head.initials().meets(core.concerns);
        let mut facts = P::facts(head);
        facts.keep_alive &= core.goes_on() && core.waits[Wait::KeepAlive as usize] > 0;
        work.facts = Some(facts);
        work.wants_go_on = has_body && head.expects_continue();
        work.body_read = 0;
        work.window = 0;
        work.redirects = 0;
        work.began_us = core.clock.now();
        active.phase = Phase::Body;
        if concerned {
            if let Err(reject) = core.conf.trust.judge(&mut active.request) {
                core.reject(active, reject);
                return Some(Served::Flush);
            }
        }
        let request = &active.request;
        let head = request.head();
        if head.is_https_target() && request.scheme() != "https" {
            core.reject(active, misdirected());
            return Some(Served::Flush);
        }
        if let Some(waited) = core.late.sample(active.work.began_us) {
            core.context.page.queued(waited);
        }
        if self.screens {
            let waits = !self.executor.is_free(&self.hand);
            if let Some(response) = self.screen(active, waits) {
                return self.respond_early(active, response, has_body);
            }
        }
        if facts.connect_request {
            // RFC 9110 section 9.3.6: a 2xx would promise a tunnel, which no handler here makes.
            self.refuse(active, StatusCode::NOT_IMPLEMENTED);
            return Some(Served::Flush);
        }
        if !self.executor.is_free(&self.hand) {
            return Some(Served::Hold(Call::Begin { has_body }));
        }
        self.begin(active, has_body)
    }

    /// The handler is shown the head, and answers where nothing follows it.
    #[inline]
    pub(crate) fn begin(&mut self, active: &mut Active<P>, has_body: bool) -> Option<Served> {
        let cell = self.note(active);
        // Before a client waits for this thread: how long that may be is in the cell.
        self.executor.serves(&self.hand, cell);
        self.lend(active);
        self.executor.run(&mut self.hand, Show { active, has_body })
    }

    /// The handler answers a request that is complete.
    pub(crate) fn handle(&mut self, active: &mut Active<P>) -> Option<Served> {
        let cell = self.note(active);
        self.executor.serves(&self.hand, cell);
        self.lend(active);
        self.executor.run(&mut self.hand, Ask { active })
    }

    /// The body of the request is complete: the handler answers.
    pub(crate) fn on_end(&mut self, active: &mut Active<P>) -> Option<Served> {
        let request = &mut active.request;
        let trailers = active.work.protocol.trailers();
        if let Err(error) = request.body_mut().complete(trailers) {
            let mut failure = Err(Failure::Error(error.into()));
            return self.answer(active, &mut failure).0;
        }
        if active.work.task.is_some() {
            active.phase = Phase::Task;
            return Some(Served::Task);
        }
        if !self.executor.is_free(&self.hand) {
            return Some(Served::Hold(Call::Handle));
        }
        self.handle(active)
    }
}

impl<P: Protocol> Core<P> {
    /// The handler has seen the head, and did not answer as usual.
    fn begun(
        &mut self,
        active: &mut Active<P>,
        begun: &mut Begun,
        has_body: bool,
    ) -> Option<Served> {
        let failure = match std::mem::replace(begun, Begun::Body) {
            Begun::Answer(mut result) => return self.answer(active, &mut result).0,
            Begun::Body => {
                // Until its body is here, no handler is busy with it.
                if let Some(cell) = active.work.cell.take() {
                    self.context.page.cancel(cell);
                }
                return None;
            }
            Begun::Early(response) => return self.respond_early(active, *response, has_body),
            Begun::Task(task) => return self.begin_task(active, task, has_body),
            Begun::Failed(failure) => failure,
        };
        self.failed(&active.request, failure);
        let response = error_response(StatusCode::INTERNAL_SERVER_ERROR);
        self.respond_early(active, response, has_body)
    }

    /// The handler answered from the head alone.
    pub(crate) fn respond_early(
        &mut self,
        active: &mut Active<P>,
        mut response: Response,
        has_body: bool,
    ) -> Option<Served> {
        if let (true, Some(facts)) = (has_body, &mut active.work.facts) {
            // Only a stream reads the body; what nobody reads cannot be followed by a request.
            facts.keep_alive &= response.body().needs_thread();
        }
        if self.respond(active, &mut response, !has_body) {
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

    /// The handler has answered a request that is complete, or failed; and whether nothing is left of the
    /// response that needs to be dropped. It stays where it is: it is large, and each move of it a copy.
    #[inline(always)]
    fn answer(
        &mut self,
        active: &mut Active<P>,
        result: &mut Result<Response, Failure>,
    ) -> (Option<Served>, bool) {
        active.phase = Phase::Idle;
        let (streamed, hollow) = match result {
            Ok(response) => (self.respond(active, response, true), hollow(response)),
            Err(failure) => {
                let taken = Failure::Panic(String::new());
                self.fail(active, std::mem::replace(failure, taken));
                (false, false)
            }
        };
        if streamed {
            return (Some(Served::Streamed), hollow);
        }
        active.phase = self.between();
        (None, hollow)
    }

    /// A handler failed before its response was sent: 500 for the client, the detail for the log.
    fn fail(&mut self, active: &mut Active<P>, failure: Failure) {
        self.failed(&active.request, failure);
        let mut response = error_response(StatusCode::INTERNAL_SERVER_ERROR);
        self.respond(active, &mut response, true);
    }

    /// When the request whose head is complete now must be here as a whole, in µs of
    /// CLOCK_MONOTONIC: it began when its connection began to wait for a head, if it did.
    fn receive_due(&self, key: usize, waits: Option<Wait>) -> u64 {
        let whole = self.conf.deadlines.receive;
        if whole.is_zero() {
            return u64::MAX;
        }
        let began = match (waits, self.timers.due(key)) {
            (Some(Wait::Head), Some(due)) => due - self.waits[Wait::Head as usize],
            _ => self.clock.now(),
        };
        began.saturating_add(whole.as_micros() as u64)
    }

    /// A handler is called next: that is on the scoreboard, and what is logged is about its request.
    #[inline(always)]
    fn note(&mut self, active: &mut Active<P>) -> Cell {
        let request = &mut *active.request;
        let (line, id) = (request.head().method_and_target(), request.request_id());
        logs::enter(id);
        let page = &mut self.context.page;
        let cell = page.begin(line, request.client(), id, self.clock.now());
        request.limit(page, cell);
        active.work.cell = Some(cell);
        cell
    }

    /// A handler is told that nothing waits. Where the loop goes on meanwhile, only the scoreboard can show
    /// that it hangs in that.
    pub(crate) fn note_idle(&mut self) -> Cell {
        let number = RequestId::Made(self.ids.next_number());
        let (peer, now) = (&Peer::Unix, self.clock.read());
        self.context.page.begin(b"(idle)", peer, number, now)
    }

    /// Before a handler is called: it has the connection meanwhile, for interim responses. Those go
    /// out at once, if nothing is to go before them.
    #[inline(always)]
    fn lend(&self, active: &mut Active<P>) {
        if self.output.is_empty() {
            if let Some(wire) = active.wire.take() {
                // Should the process die in the handler, the client is answered all the same.
                if let (true, Some(fd)) = (P::IS_HTTP1, wire.movable()) {
                    let head_request = active.work.facts.is_some_and(|facts| facts.head_request);
                    breath::expose(fd, head_request);
                }
                active.request.lend(wire);
            }
        }
    }

    /// After a handler was called.
    #[inline(always)]
    fn reclaim(&mut self, active: &mut Active<P>) {
        logs::leave();
        breath::cover();
        let (wire, interim) = active.request.reclaim();
        if wire.is_some() {
            active.wire = wire;
        }
        if !interim.is_empty() {
            self.output.bytes.append(interim);
        }
    }

    /// Logs a failure and lets go of it: an error of the application may panic in that.
    pub(crate) fn failed(&mut self, request: &Request, failure: Failure) {
        self.log_failure(request, &failure);
        if let Err(panic) = discard(failure) {
            self.log_failure(request, &panic);
        }
    }

    pub(crate) fn log_failure(&mut self, request: &Request, failure: &Failure) {
        logs::enter(request.request_id());
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
        logs::leave();
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
}

/// RFC 9110 section 7.4: an https target over clear text is somebody else's request.
fn misdirected() -> Reject {
    let reason = "https target over clear text";
    Reject::new(StatusCode::MISDIRECTED_REQUEST, reason)
}

/// A generic answer: nothing of what went wrong is in it.
pub(crate) fn error_response(status: StatusCode) -> Response {
    use ferricorn_base::IntoResponse;
    // A status with its reason cannot fail to be a response.
    status.into_response().unwrap_or_default()
}
