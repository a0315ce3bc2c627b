//! One task's turn: what it gives of its answer goes into the output, what comes of the body goes to it.
//! It runs no handler; what a task comes to is for [`super`] to carry out.

use ferricorn_base::Error;
use ferricorn_base::board::Counter;
use ferricorn_base::task::{Step, Turn};
use ferricorn_http::{EncodeError, Event, Length, Reject, Version, encode_interim};
use http::{HeaderMap, StatusCode};

use super::{Answer, Came, Registrar, Running, STEPS};
use crate::buffer::Filled;
use crate::conn::{Active, After, Next, Phase};
use crate::core::Core;
use crate::executor::{Failure, guard};
use crate::output::Flushed;
use crate::protocol::{BodyWriter, Protocol};
use crate::respond::error_response;
use crate::send::name;

/// Bytes of the requests behind one that a task answers that are read before it has.
const AHEAD: usize = 64 * 1024;

impl<P: Protocol> Core<P> {
    /// Lets a task go on as far as that goes, with its client.
    pub(super) fn drive(&mut self, active: &mut Active<P>, running: &mut Running<P>) -> Came {
        if active.own_output {
            // The client has not taken what was there before.
            if let Some(next) = self.flush_for_task(active) {
                return Came::To(next);
            }
        }
        // What the client did comes first: its body puts off what the task waits for, and its end ends it.
        if let Err(came) = self.receive(active, running) {
            return came;
        }
        for _ in 0..STEPS {
            if self.output.is_full() {
                if let Some(next) = self.flush_for_task(active) {
                    return Came::To(next);
                }
            }
            let step = if running.redirect.is_some() {
                Ok(Step::Wait)
            } else {
                self.step(active, running)
            };
            let failed: Result<(), Error> = match step {
                Ok(Step::Wait) => match self.exchange(active, running) {
                    Ok(true) => continue,
                    Ok(false) => return Came::To(Next::Read),
                    Err(came) => return came,
                },
                Ok(Step::Inform(status, fields)) => {
                    let head = active.request.head();
                    if running.answer.is_none() && head.version() == Version::Http11 {
                        // An interim response that cannot be one is not worth the final one.
                        let _ = encode_interim(&mut self.output.bytes, status, &fields);
                    }
                    continue;
                }
                Ok(Step::Head(status, fields, len)) if running.answer.is_none() => {
                    match self.begin_answer(active, status, fields, len) {
                        Ok(answer) => running.answer = Some(answer),
                        Err(error) => {
                            return self.fail_task(active, running, StatusCode::BAD_GATEWAY, error);
                        }
                    }
                    continue;
                }
                Ok(Step::Content(bytes)) => match &mut running.answer {
                    Some(answer) => {
                        let encoded = answer.writer.encode(&bytes, &mut self.output.bytes);
                        if !answer.writer.suppressed() {
                            answer.content += bytes.len() as u64;
                        }
                        match encoded {
                            Ok(()) => continue,
                            Err(error) => Err(error.into()),
                        }
                    }
                    None => Err(Error::msg("content without a head")),
                },
                Ok(Step::End) => match self.end_answer(active, running) {
                    Ok(()) => return Came::Answered,
                    Err(error) => Err(error),
                },
                Ok(Step::Respond(response)) if running.answer.is_none() => {
                    return Came::Whole(response);
                }
                Ok(Step::Redirect(target)) if running.answer.is_none() => {
                    if running.intake.is_received() {
                        return Came::Elsewhere(target);
                    }
                    running.redirect = Some(target);
                    continue;
                }
                Ok(Step::Fail(status, error)) => {
                    return self.fail_task(active, running, status, error);
                }
                Ok(Step::Head(..) | Step::Respond(_) | Step::Redirect(_)) => {
                    Err(Error::msg("a second head"))
                }
                Err(error) => Err(error),
            };
            if let Err(error) = failed {
                return self.fail_task(active, running, StatusCode::BAD_GATEWAY, error);
            }
        }
        Came::To(Next::Turn)
    }

    /// Asks the task for the next of its answer.
    fn step(&mut self, active: &mut Active<P>, running: &mut Running<P>) -> Result<Step, Error> {
        let now = self.clock.now();
        let due = running.due_us;
        let mut registrar = Registrar {
            registry: self.poll.registry(),
            watches: &mut self.watches,
        };
        let mut turn = Turn::new(
            &mut active.request,
            &mut running.intake,
            &mut registrar,
            (active.key, now),
            &mut running.due_us,
        );
        let step = guard(|| running.task.step(&mut turn));
        if running.due_us == due && now >= due {
            // It was told so, and has nothing else in mind.
            running.due_us = u64::MAX;
        }
        Ok(step?)
    }

    /// The task waits: what it gave goes out, more of the body is read for it. Whether there is something
    /// new for it.
    fn exchange(&mut self, active: &mut Active<P>, running: &mut Running<P>) -> Result<bool, Came> {
        let news = self.receive(active, running)?;
        if let (false, Some(next)) = (self.output.is_empty(), self.flush_for_task(active)) {
            return Err(Came::To(next));
        }
        let Some(target) = running.redirect.take() else {
            return Ok(news);
        };
        running.intake.clear();
        if running.intake.is_received() {
            return Err(Came::Elsewhere(target));
        }
        running.redirect = Some(target);
        Ok(news)
    }

    /// Reads on in the body, or looks whether the client is still there: whether there is more of the body.
    fn receive(&mut self, active: &mut Active<P>, running: &mut Running<P>) -> Result<bool, Came> {
        let before = running.intake.len();
        while !running.intake.is_received() && !running.intake.is_full() {
            let work = &mut active.work;
            let head = active.request.head_mut();
            let event = work
                .protocol
                .next(self.input.bytes(), &self.conf.limits, head);
            match event {
                Ok(Event::Data { skip, len }) => {
                    work.body_read += len as u64;
                    running.intake.push(self.input.range(skip..skip + len));
                    self.input.consume(skip + len);
                    if self.clock.now() >= work.receive_due {
                        self.context.page.add(Counter::TimedOut, 1);
                        return Err(self.refuse_task(active, running, StatusCode::REQUEST_TIMEOUT));
                    }
                }
                Ok(Event::End { consumed }) => {
                    self.input.consume(consumed);
                    running.intake.end();
                    return Ok(true);
                }
                Ok(Event::NeedMore { consumed }) => {
                    self.input.consume(consumed);
                    // RFC 9110 section 10.1.1: the body is wanted, and does not come by itself.
                    let waits = work.body_read == 0 && self.input.is_empty();
                    if waits && std::mem::take(&mut work.wants_go_on) {
                        work.protocol.go_on(&mut self.output.bytes);
                    }
                    if !self.read_for_task(active, running)? {
                        break;
                    }
                }
                // Between the head and the end of a message there is no other head.
                Ok(Event::Head { .. }) => return Err(Came::To(Next::Abort)),
                Err(reject) => return Err(self.reject_task(active, running, reject)),
            }
        }
        // Behind the body, what the client asks next is read only to see whether it is still there.
        while running.intake.is_received() && self.input.bytes().len() < AHEAD {
            if !self.read_for_task(active, running)? {
                break;
            }
        }
        Ok(running.intake.len() > before)
    }

    /// Reads once, unless there is surely nothing: whether it brought something. Who sends nothing more has
    /// left: nobody waits for what a back end takes its time for.
    fn read_for_task(
        &mut self,
        active: &mut Active<P>,
        running: &mut Running<P>,
    ) -> Result<bool, Came> {
        let Some(wire) = active.wire.as_mut().filter(|_| running.unread) else {
            return Ok(false);
        };
        match self.input.fill(&mut **wire) {
            Ok(Filled::Bytes(n, all)) => {
                running.unread = !all;
                self.context.page.add(Counter::BytesIn, n as u64);
                Ok(true)
            }
            Ok(Filled::Nothing) => {
                running.unread = false;
                Ok(false)
            }
            Ok(Filled::End) => {
                let head = active.request.head();
                let (method, target) = (head.method(), head.target());
                log::debug!("the client of {method} {target} has left");
                Err(Came::To(Next::Close))
            }
            Err(error) => {
                log::debug!("cannot read from a client: {error}");
                Err(Came::To(Next::Close))
            }
        }
    }

    /// Writes what there is: what the connection waits for, unless all went.
    fn flush_for_task(&mut self, active: &mut Active<P>) -> Option<Next> {
        match self.flush(active) {
            Ok(Flushed::All) => None,
            Ok(Flushed::Blocked) => Some(Next::Write),
            Ok(Flushed::Turn) => Some(Next::Turn),
            Err(next) => Some(next),
        }
    }

    /// Writes the head of an answer.
    fn begin_answer(
        &mut self,
        active: &mut Active<P>,
        status: StatusCode,
        mut fields: HeaderMap,
        len: Option<u64>,
    ) -> Result<Answer<P::Writer>, Error> {
        let Some(mut facts) = active.work.facts else {
            return Err(Error::msg("no request"));
        };
        if let Some(names) = self.conf.names {
            name(&active.request, names, &mut fields);
        }
        facts.keep_alive &= self.goes_on();
        let length = len.map_or(Length::Unknown, Length::Known);
        let defaults = self.clock.defaults(None);
        let out = &mut self.output.bytes;
        let before = out.len();
        let protocol = &mut active.work.protocol;
        let writer = protocol
            .respond(out, &facts, status, &fields, length, &defaults)
            .and_then(|writer| match writer.upgraded() {
                // Nobody would speak the new protocol.
                true => Err(EncodeError::Status(status)),
                false => Ok(writer),
            });
        match writer {
            Ok(writer) => Ok(Answer {
                writer,
                status: status.as_u16(),
                fields: self.logs_fields().then_some(fields),
                content: 0,
            }),
            Err(error) => {
                out.truncate(before);
                Err(error.into())
            }
        }
    }

    /// The answer is complete: its connection goes on, or ends.
    fn end_answer(
        &mut self,
        active: &mut Active<P>,
        running: &mut Running<P>,
    ) -> Result<(), Error> {
        let Some(answer) = &mut running.answer else {
            return Err(Error::msg("the end of an answer without a head"));
        };
        answer.writer.finish(None, &mut self.output.bytes)?;
        let received = running.intake.is_received();
        if !received {
            active.work.after = After::Linger;
        } else if !answer.writer.keep_alive() {
            let wished = active.request.head().keep_alive();
            // Who asked for the end sends nothing more; others may have sent already.
            active.work.after = if wished { After::Linger } else { After::Close };
        }
        active.phase = if received {
            self.between()
        } else {
            Phase::Answered
        };
        let (status, content, fields) = (answer.status, answer.content, answer.fields.take());
        self.context.page.count_status(status);
        self.end_cell(active, status);
        let began = active.work.began_us;
        self.log_access(&active.request, status, fields.as_ref(), content, began);
        Ok(())
    }

    /// The task has no answer.
    fn fail_task(
        &mut self,
        active: &mut Active<P>,
        running: &mut Running<P>,
        status: StatusCode,
        error: Error,
    ) -> Came {
        self.log_failure(&active.request, &Failure::Error(error));
        if running.has_begun() {
            return self.abort_task();
        }
        Came::Whole(Box::new(error_response(status)))
    }

    /// The body of the request is not what it should be.
    fn reject_task(
        &mut self,
        active: &mut Active<P>,
        running: &mut Running<P>,
        reject: Reject,
    ) -> Came {
        if running.has_begun() {
            return self.abort_task();
        }
        self.end_cell(active, reject.status.as_u16());
        self.reject(active, reject);
        Came::Answered
    }

    fn refuse_task(
        &mut self,
        active: &mut Active<P>,
        running: &mut Running<P>,
        status: StatusCode,
    ) -> Came {
        if running.has_begun() {
            return self.abort_task();
        }
        self.end_cell(active, status.as_u16());
        self.refuse(active, status);
        Came::Answered
    }

    /// A client that has got some of an answer sees only so that it is not all of it.
    fn abort_task(&mut self) -> Came {
        self.context.page.add(Counter::Aborted, 1);
        Came::To(Next::Abort)
    }

    /// The request is on the scoreboard no longer.
    pub(super) fn end_cell(&mut self, active: &mut Active<P>, status: u16) {
        if let Some(cell) = active.work.cell.take() {
            self.context.page.end_stream(cell, status, self.clock.now());
        }
    }

    /// Ends the task of a connection that ends before it is answered.
    pub(crate) fn drop_task(&mut self, active: &mut Active<P>) {
        let Some(mut running) = active.work.task.take() else {
            return;
        };
        let (status, fields, content) = match running.answer.take() {
            Some(answer) => (answer.status, answer.fields, answer.content),
            None => (0, None, 0),
        };
        drop(running);
        self.end_cell(active, status);
        let began = active.work.began_us;
        self.log_access(&active.request, status, fields.as_ref(), content, began);
    }
}
