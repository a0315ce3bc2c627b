//! Exchanges that the loop drives: what a [`Task`] gives of its answer goes into the output, what comes
//! of the body goes to the task. It runs no handler, but where a task's answer is that to another request.
//!
//! A task goes on when one of its descriptors is told of, when its client is, and when its time has come. While
//! its client takes nothing it is not asked, so that the back end waits; while it takes nothing of the
//! body, the client is not read, so that the client waits.

mod drive;

use std::collections::HashMap;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::sync::Weak;

use ferricorn_base::task::{Beat, Intake, Task, Watch, Watcher};
use ferricorn_base::{Error, Response};
use ferricorn_http::{Head, Reject};
use http::{HeaderMap, StatusCode};
use mio::unix::SourceFd;
use mio::{Interest, Registry, Token};

use crate::conn::{Active, Call, Next, Phase};
use crate::core::{Core, WATCHES};
use crate::event_loop::Loop;
use crate::executor::{Executor, Failure};
use crate::found::Told;
use crate::protocol::Protocol;
use crate::respond::error_response;
use crate::serve::Served;

/// Steps that one task gets before others have their turn.
const STEPS: usize = 64;
/// How often the answer to a request may be that to another one (RFC 3875 section 6.2.2 sets no bound).
const REDIRECTS: u8 = 10;
/// Forgotten watches are looked for when there are so many, and then when there are twice as many as are left.
const SWEEP: usize = 64;

/// A task and what is known of its exchange.
#[derive(Debug)]
pub(crate) struct Running<P: Protocol> {
    task: Box<dyn Task>,
    intake: Intake,
    /// When it wants to be called, in µs of CLOCK_MONOTONIC.
    due_us: u64,
    /// There may be bytes of the client that were not read.
    unread: bool,
    /// Its answer, once that has begun.
    answer: Option<Answer<P::Writer>>,
    /// Its answer is that to a GET of this target, once the body is over.
    redirect: Option<String>,
}

/// An answer that has begun.
#[derive(Debug)]
struct Answer<W> {
    writer: W,
    status: u16,
    /// Its fields, if they are logged.
    fields: Option<HeaderMap>,
    /// Bytes of its content.
    content: u64,
}

impl<P: Protocol> Running<P> {
    /// A task that is given the body piece by piece, or all of it when that is here.
    pub(crate) fn new(task: Box<dyn Task>, whole: bool) -> Box<Running<P>> {
        Box::new(Running {
            task,
            intake: if whole {
                Intake::whole()
            } else {
                Intake::streamed()
            },
            due_us: u64::MAX,
            unread: false,
            answer: None,
            redirect: None,
        })
    }

    /// Something may have come from its client.
    pub(crate) fn look(&mut self) {
        self.unread = true;
    }

    /// Whether some of its answer may be with the client.
    pub(crate) fn has_begun(&self) -> bool {
        self.answer.is_some()
    }

    /// Whether it has taken all that is here of a body that goes on.
    pub(crate) fn waits_for_client(&self) -> bool {
        self.intake.is_empty() && !self.intake.is_received()
    }

    /// When it wants to be called, in µs of CLOCK_MONOTONIC.
    pub(crate) fn due_us(&self) -> u64 {
        self.due_us
    }
}

/// The descriptors of tasks, by numbers that are never used again.
#[derive(Debug, Default)]
pub(crate) struct Watches {
    all: HashMap<usize, Watch>,
    next: usize,
    sweep: usize,
    /// What is to be looked after now and then.
    beats: Vec<Weak<dyn Beat>>,
}

impl Watches {
    /// A new one, and its number.
    fn add(&mut self) -> (usize, Watch) {
        if self.all.len() >= self.sweep {
            self.all.retain(|_, watch| !watch.is_forgotten());
            self.sweep = (self.all.len() * 2).max(SWEEP);
        }
        let (number, watch) = (self.next, Watch::unfollowed());
        self.next += 1;
        self.all.insert(number, watch.clone());
        (number, watch)
    }

    /// Looks after what tasks have left behind.
    pub(crate) fn beat(&mut self, now_us: u64) {
        self.beats.retain(|what| {
            let what = what.upgrade();
            what.inspect(|what| what.beat(now_us)).is_some()
        });
    }
}

/// Registers descriptors of a task.
struct Registrar<'a> {
    registry: &'a Registry,
    watches: &'a mut Watches,
}

impl Watcher for Registrar<'_> {
    fn watch(&mut self, fd: BorrowedFd<'_>) -> io::Result<Watch> {
        let (number, watch) = self.watches.add();
        let (token, both) = (
            Token(WATCHES + number),
            Interest::READABLE | Interest::WRITABLE,
        );
        self.registry
            .register(&mut SourceFd(&fd.as_raw_fd()), token, both)?;
        Ok(watch)
    }

    fn look_after(&mut self, what: Weak<dyn Beat>) {
        self.watches.beats.push(what);
    }
}

/// How far a task came.
enum Came {
    /// To what its connection waits for.
    To(Next),
    /// To the end of its answer, or to a refusal.
    Answered,
    /// To an answer that it does not write itself.
    Whole(Box<Response>),
    /// To another request, which it is to be answered as.
    Elsewhere(String),
}

impl<P: Protocol> Core<P> {
    /// The handler has named a task that answers.
    pub(crate) fn begin_task(
        &mut self,
        active: &mut Active<P>,
        task: Box<dyn Task>,
        has_body: bool,
    ) -> Option<Served> {
        // No handler is busy with it; it is on the scoreboard with what may last.
        if let Some(cell) = active.work.cell.take() {
            active.work.cell = self.context.page.stream(cell);
            self.context.page.cancel(cell);
        }
        active.request.unlimit();
        let whole = has_body && task.needs_whole_body();
        let mut running = Running::new(task, whole);
        if !has_body {
            running.intake.end();
        }
        active.work.task = Some(running);
        if whole {
            return None;
        }
        active.phase = Phase::Task;
        Some(Served::Task)
    }
}

impl<P: Protocol, E: Executor<P>> Loop<P, E> {
    /// Something was told of a descriptor.
    pub(crate) fn told(&mut self, number: usize, told: Told) {
        let Some(watch) = self.watches.all.get(&number) else {
            return;
        };
        let key = watch.tell(told.readable, told.writable, told.closed);
        self.wake_task(key);
    }

    /// The task of a connection goes on, if it has one.
    pub(crate) fn wake_task(&mut self, key: usize) {
        let conn = self.conns.get(key);
        if conn.is_none_or(|conn| conn.phase != Phase::Task) {
            return;
        }
        let Some(mut active) = self.take(key) else {
            return self.miss(key);
        };
        let next = match self.attend(&mut active) {
            Ok(drained) => self.go_on(&mut active, drained, false),
            Err(next) => next,
        };
        self.settle(active, next);
    }

    /// The task of a connection goes on: whether the socket holds nothing more, when it has answered.
    ///
    /// # Errors
    /// What the connection waits for, when it has not.
    pub(crate) fn attend(&mut self, active: &mut Active<P>) -> Result<bool, Next> {
        loop {
            let Some(mut running) = active.work.task.take() else {
                return Ok(false);
            };
            let came = self.drive(active, &mut running);
            let (unread, received) = (running.unread, running.intake.is_received());
            let served = match came {
                Came::To(next) => {
                    active.work.task = Some(running);
                    return Err(next);
                }
                Came::Answered => None,
                Came::Whole(response) => {
                    drop(running);
                    self.end_cell(active, response.status().as_u16());
                    self.respond_early(active, *response, !received)
                }
                Came::Elsewhere(target) => {
                    drop(running);
                    self.end_cell(active, 0);
                    self.redirect(active, &target)
                }
            };
            return match served {
                Some(Served::Task) => {
                    if let Some(running) = &mut active.work.task {
                        running.unread = unread;
                    }
                    continue;
                }
                Some(Served::Streamed) => Err(Next::Streamed),
                Some(Served::Hold(call)) => {
                    // Earlier answers need not wait with it; how far they came is seen later.
                    let _ = self.flush(active);
                    Err(Next::Hold(call))
                }
                Some(Served::More | Served::Flush) | None => Ok(!unread),
            };
        }
    }

    /// The answer is that to a GET of `target`, which the handler is asked for.
    fn redirect(&mut self, active: &mut Active<P>, target: &str) -> Option<Served> {
        active.work.redirects += 1;
        let head = match redirected(active.request.head(), target) {
            _ if active.work.redirects > REDIRECTS => Err(Error::msg("too many local redirects")),
            Err(reject) => {
                let reason = reject.reason;
                Err(Error::msg(format!(
                    "a local redirect to {target:?}: {reason}"
                )))
            }
            Ok(head) => Ok(head),
        };
        match head {
            Ok(head) => active.request.redirect(head),
            Err(error) => {
                self.log_failure(&active.request, &Failure::Error(error));
                return self.respond_early(active, error_response(StatusCode::BAD_GATEWAY), false);
            }
        }
        if !self.executor.is_free(&self.hand) {
            return Some(Served::Hold(Call::Begin { has_body: false }));
        }
        self.begin(active, false)
    }
}

/// The head of a request that is answered as a GET of `target`: with the fields of the first, but those of its
/// content and conditions.
fn redirected(head: &Head, target: &str) -> Result<Head, Reject> {
    let fields = head.fields().filter(|(name, _)| {
        ![
            "content-length",
            "content-type",
            "content-encoding",
            "transfer-encoding",
            "expect",
        ]
        .iter()
        .any(|of_content| name.eq_ignore_ascii_case(of_content))
    });
    Head::build("GET", target, fields)
}
