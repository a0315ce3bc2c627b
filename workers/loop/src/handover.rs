//! Between the loop and its stream threads: a connection leaves with its request, and comes back.

use std::os::fd::AsRawFd;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use ferricorn_base::board::Counter;
use ferricorn_base::body::Kind;
use http::response::Parts;
use mio::unix::SourceFd;

use crate::buffer::Buffer;
use crate::conn::{Active, After, Phase, Registered};
use crate::core::Core;
use crate::event_loop::Loop;
use crate::executor::Executor;
use crate::protocol::Protocol;
use crate::serve::SHARE_US;
use crate::stream::{Done, Job};

impl<P: Protocol> Core<P> {
    /// The connection leaves the loop for a stream thread.
    pub(crate) fn stream(
        &mut self,
        active: &mut Active<P>,
        parts: Parts,
        content_type: Option<&'static str>,
        kind: Kind,
        body_done: bool,
    ) -> bool {
        let work = &mut active.work;
        let (Some(mut facts), Some(wire)) = (work.facts, active.wire.take()) else {
            return false;
        };
        facts.keep_alive &= self.goes_on();
        let key = active.key;
        if let Some(conn) = self.conns.get_mut(key) {
            if conn.registered != Registered::No {
                // The description leaves the set before the thread may close it.
                let fd = wire.as_fd().as_raw_fd();
                let _ = self.poll.registry().deregister(&mut SourceFd(&fd));
                conn.registered = Registered::No;
            }
        }
        if let Some(cell) = work.cell.take() {
            let streaming = self.context.page.stream(cell);
            self.end_handler(cell, parts.status.as_u16());
            work.cell = streaming;
        }
        self.context.page.add(Counter::Streams, 1);
        let input = if std::mem::take(&mut active.own_input) {
            std::mem::swap(&mut self.input, &mut work.input);
            std::mem::take(&mut work.input)
        } else {
            let input = Buffer::holding(self.input.bytes());
            self.input.clear();
            input
        };
        let cell = work.cell.take();
        active.request.unlimit();
        let job = Job {
            key,
            wire,
            protocol: std::mem::take(&mut work.protocol),
            input,
            out: self.output.take_rest(),
            request: std::mem::take(&mut active.request),
            body_done,
            wants_go_on: work.wants_go_on,
            receive_left: Duration::from_micros(work.receive_due.saturating_sub(self.clock.now())),
            facts,
            parts,
            content_type,
            kind,
            cell,
            began_us: work.began_us,
            conf: Arc::clone(&self.conf),
            closing: Arc::clone(&self.closing),
            now: self.clock.unix_seconds(),
        };
        let queue = Arc::clone(&self.finished.queue);
        let waker = Arc::clone(&self.finished.waker);
        let started = self.pool.start(move || {
            let done = job.run();
            queue
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .push_back(done);
            // The loop looks at least once a second; a failed wake-up only delays.
            let _ = waker.wake();
        });
        if let Err(error) = started {
            // The connection went with the task and is closed.
            log::error!("cannot start a stream thread: {error}");
            self.pool.done();
            if let Some(cell) = cell {
                self.context.page.end_stream(cell, 0, self.clock.now());
            }
            self.forget(key);
        }
        true
    }
}

impl<P: Protocol, E: Executor<P>> Loop<P, E> {
    /// A stream has ended: its connection goes on, lingers, or is gone.
    pub(crate) fn after_stream(&mut self, mut done: Done<P>) {
        self.pool.done();
        if let Some(failure) = done.failure.take() {
            self.failed(&done.request, failure);
        }
        let page = &self.context.page;
        page.add(Counter::BytesIn, done.received);
        page.add(Counter::BytesOut, done.sent);
        page.add(Counter::Aborted, u64::from(done.aborted));
        if done.status > 0 {
            page.count_status(done.status);
        }
        let now = self.read_clock();
        if let Some(cell) = done.cell {
            self.context.page.end_stream(cell, done.status, now);
        }
        if self.context.access.is_some() {
            let fields = done.fields.take();
            self.log_access(
                &done.request,
                done.status,
                fields.as_ref(),
                done.content,
                done.began_us,
            );
        }
        let (Some(wire), true) = (done.wire, self.conns.contains(done.key)) else {
            self.return_request(done.request);
            return self.forget(done.key);
        };
        let own_input = !done.input.is_empty();
        let mut work = self.spare_work();
        work.protocol = done.protocol;
        if !done.keep_alive {
            work.after = After::Linger;
        }
        if own_input {
            work.input = std::mem::replace(&mut self.input, done.input);
        }
        let mut active = Active {
            key: done.key,
            wire: Some(wire),
            phase: if own_input { Phase::Head } else { Phase::Idle },
            work,
            request: done.request,
            own_input,
            own_output: false,
            waits: None,
            until: now + SHARE_US,
        };
        let next = self.advance(&mut active, false);
        self.settle(active, next);
    }
}
