//! Exchanges whose answer comes from elsewhere: another program, another server.
//!
//! A handler that asked a back end and waited would hold its worker up. It says
//! [`Begin::Task`](crate::Begin::Task) instead, and the worker's loop drives the [`Task`]: a state machine
//! with descriptors of its own, which reads and writes what goes without waiting and says what came of it.
//! Hundreds of them go on in one worker beside everything else that it serves. A task runs in the
//! worker, on the thread that has the loop. It must not block, and whatever it started ends when it is
//! dropped: that is how it learns that the client has gone.

use std::io::{self, Read};
use std::os::fd::BorrowedFd;
use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, StatusCode};

use crate::Error;
use crate::request::Request;
use crate::response::Response;

/// Bytes of a body that wait for a task at most: beyond that its client is not read.
const MOST: usize = 64 * 1024;

/// An exchange that a worker's loop drives.
pub trait Task: Send {
    /// Whether the body is to be complete before the first step: in memory up to `body-buffer`, beyond
    /// it in an unlinked temporary file. For protocols that announce its length. Asked once.
    fn needs_whole_body(&self) -> bool {
        false
    }

    /// Goes on as far as that goes without waiting, and gives what is next of the answer. It is called
    /// again when that is on its way; after [`Step::Wait`], when something is told to one of its watches,
    /// when more of the body is here, or when the time of [`Turn::wake_after`] has passed.
    ///
    /// # Errors
    /// Anything: before the head of the answer the client gets a 502, behind it the connection is
    /// aborted. The log gets the detail.
    fn step(&mut self, turn: &mut Turn<'_>) -> Result<Step, Error>;
}

impl std::fmt::Debug for dyn Task {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Task")
    }
}

/// What a [`Task`] gives of its answer.
#[derive(Debug)]
pub enum Step {
    /// Nothing now.
    Wait,
    /// An interim response (RFC 9110 section 15.2), before the head.
    Inform(StatusCode, HeaderMap),
    /// The head of the answer: status, fields, and the length of its content in bytes, if known.
    Head(StatusCode, HeaderMap, Option<u64>),
    /// Some of the content, behind the head.
    Content(Bytes),
    /// The content is complete, and the task done.
    End,
    /// A whole answer instead of a head; the task is done.
    Respond(Box<Response>),
    /// No answer, but this status with a page of the server's; the reason is for the log. The task is
    /// done. Behind the head it is as an error.
    Fail(StatusCode, Error),
    /// The answer is that to a GET of this target (origin-form), which the handler is asked for. The task
    /// is done (RFC 3875 section 6.2.2).
    Redirect(String),
}

/// What a task has in hand while it goes on.
pub struct Turn<'a> {
    /// The request. Its body is in [`Turn::body`].
    pub request: &'a mut Request,
    intake: &'a mut Intake,
    watcher: &'a mut dyn Watcher,
    key: usize,
    now_us: u64,
    due_us: &'a mut u64,
}

impl<'a> Turn<'a> {
    /// For who drives tasks: the one of the connection `key` goes on at `now_us`, and sets when it wants
    /// to be woken.
    pub fn new(
        request: &'a mut Request,
        intake: &'a mut Intake,
        watcher: &'a mut dyn Watcher,
        (key, now_us): (usize, u64),
        due_us: &'a mut u64,
    ) -> Turn<'a> {
        Turn {
            request,
            intake,
            watcher,
            key,
            now_us,
            due_us,
        }
    }

    /// What is here of the body and was not taken.
    ///
    /// # Errors
    /// What reading the file answers in which it is.
    pub fn body(&mut self) -> io::Result<&[u8]> {
        if self.intake.is_whole {
            self.intake.refill(self.request)?;
        }
        Ok(self.intake.bytes())
    }

    /// Takes so many bytes of what [`Turn::body`] gave.
    pub fn take(&mut self, bytes: usize) {
        self.intake.consume(bytes);
    }

    /// Whether nothing follows of the body behind what is in [`Turn::body`].
    #[must_use]
    pub fn is_body_ended(&self) -> bool {
        self.intake.is_ended
    }

    /// Has the task called again after this time at the latest, counted from now. It takes the place of
    /// what was said before.
    pub fn wake_after(&mut self, time: Duration) {
        let us = u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        *self.due_us = self.now_us.saturating_add(us);
    }

    /// Has the task called again only when something happens.
    pub fn wake_never(&mut self) {
        *self.due_us = u64::MAX;
    }

    /// Whether the time has passed after which it was to be called.
    #[must_use]
    pub fn is_due(&self) -> bool {
        self.now_us >= *self.due_us
    }

    /// The time in µs of CLOCK_MONOTONIC, as of the last events.
    #[must_use]
    pub fn now_us(&self) -> u64 {
        self.now_us
    }

    /// Watches a descriptor for this task: edge-triggered, for reading and writing.
    ///
    /// # Errors
    /// What epoll_ctl(2) answers.
    pub fn watch(&mut self, fd: BorrowedFd<'_>) -> io::Result<Watch> {
        let watch = self.watcher.watch(fd)?;
        self.follow(&watch);
        Ok(watch)
    }

    /// Has `what` looked after about once a second, for as long as somebody else has it, too.
    pub fn look_after(&mut self, what: Weak<dyn Beat>) {
        self.watcher.look_after(what);
    }

    /// What is told to this watch from now on wakes this task: of a connection that was another's.
    pub fn follow(&self, watch: &Watch) {
        watch.0.owner.store(self.key, Ordering::Relaxed);
    }
}

impl std::fmt::Debug for Turn<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Turn").field("key", &self.key).finish()
    }
}

/// Registers descriptors with the loop.
pub trait Watcher {
    /// Watches one that nobody follows yet.
    ///
    /// # Errors
    /// What epoll_ctl(2) answers.
    fn watch(&mut self, fd: BorrowedFd<'_>) -> io::Result<Watch>;

    /// Looks after it about once a second, until it is gone.
    fn look_after(&mut self, what: Weak<dyn Beat>);
}

/// What outlives the tasks that use it, and is to be looked after when there are none: connections that are kept.
pub trait Beat: Send + Sync {
    /// It is `now_us`, in µs of CLOCK_MONOTONIC. In the worker, on the thread that has the loop; it must not wait.
    fn beat(&self, now_us: u64);
}

impl std::fmt::Debug for dyn Beat {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Beat")
    }
}

/// What is known of a descriptor from events, which come once for each change (epoll(7), edge-triggered).
/// Whoever has the descriptor keeps this beside it. When the last of the clones for tasks is dropped, the
/// loop forgets it; the descriptor is to be closed then, which ends the events.
#[derive(Clone, Debug)]
pub struct Watch(Arc<Told>);

#[derive(Debug)]
struct Told {
    /// The key of the connection whose task is woken.
    owner: AtomicUsize,
    bits: AtomicU8,
}

const READABLE: u8 = 1;
const WRITABLE: u8 = 2;
const CLOSED: u8 = 4;

impl Watch {
    /// For the loop: of a descriptor of which nothing was told yet.
    #[must_use]
    pub fn unfollowed() -> Watch {
        Watch(Arc::new(Told {
            owner: AtomicUsize::new(usize::MAX),
            bits: AtomicU8::new(0),
        }))
    }

    /// For the loop: whom it wakes, when this is told.
    pub fn tell(&self, readable: bool, writable: bool, closed: bool) -> usize {
        let mut bits = 0;
        for (told, bit) in [(readable, READABLE), (writable, WRITABLE), (closed, CLOSED)] {
            bits |= if told { bit } else { 0 };
        }
        self.0.bits.fetch_or(bits, Ordering::Relaxed);
        self.0.owner.load(Ordering::Relaxed)
    }

    /// For the loop: whether nobody else has it.
    #[must_use]
    pub fn is_forgotten(&self) -> bool {
        Arc::strong_count(&self.0) == 1
    }

    /// Wakes nobody from now on: the descriptor rests in a pool.
    pub fn rest(&self) {
        self.0.owner.store(usize::MAX, Ordering::Relaxed);
    }

    fn has(&self, bits: u8) -> bool {
        self.0.bits.load(Ordering::Relaxed) & bits != 0
    }

    /// Whether reading may give something, or the end.
    #[must_use]
    pub fn is_readable(&self) -> bool {
        self.has(READABLE | CLOSED)
    }

    /// Whether it was told that there is room to write, or that writing fails.
    #[must_use]
    pub fn is_writable(&self) -> bool {
        self.has(WRITABLE | CLOSED)
    }

    /// Whether the other side has closed, at least for writing.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.has(CLOSED)
    }

    /// All was read that was there: a read would block, or brought less than it had room for.
    pub fn drained(&self) {
        self.0.bits.fetch_and(!READABLE, Ordering::Relaxed);
    }

    /// A write would block.
    pub fn filled(&self) {
        self.0.bits.fetch_and(!WRITABLE, Ordering::Relaxed);
    }
}

/// The body of a request on its way to a task.
#[derive(Debug, Default)]
pub struct Intake {
    bytes: Vec<u8>,
    at: usize,
    is_ended: bool,
    /// All of it is in the request.
    is_whole: bool,
}

impl Intake {
    /// Of a body that comes piece by piece.
    #[must_use]
    pub fn streamed() -> Intake {
        Intake::default()
    }

    /// Of a body that the request has.
    #[must_use]
    pub fn whole() -> Intake {
        Intake {
            is_whole: true,
            ..Intake::default()
        }
    }

    /// More of it is here.
    pub fn push(&mut self, content: &[u8]) {
        if self.at > MOST / 2 {
            // What was taken makes room: it holds no more than there may be.
            self.bytes.drain(..self.at);
            self.at = 0;
        }
        self.bytes.extend_from_slice(content);
    }

    /// All of it is here.
    pub fn end(&mut self) {
        self.is_ended = true;
    }

    /// Whether the task is to take some before more is read.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.len() >= MOST
    }

    /// Whether the task has taken what was here.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.at == self.bytes.len()
    }

    /// How many bytes are here.
    #[must_use]
    pub fn len(&self) -> usize {
        self.bytes.len() - self.at
    }

    /// Drops what is here.
    pub fn clear(&mut self) {
        self.consume(self.len());
    }

    /// Whether the client has sent all of it.
    #[must_use]
    pub fn is_received(&self) -> bool {
        self.is_whole || self.is_ended
    }

    fn bytes(&self) -> &[u8] {
        &self.bytes[self.at..]
    }

    fn consume(&mut self, bytes: usize) {
        self.at = (self.at + bytes).min(self.bytes.len());
        if self.is_empty() {
            self.bytes.clear();
            self.at = 0;
        }
    }

    /// Reads on in the request, when nothing is here.
    fn refill(&mut self, request: &mut Request) -> io::Result<()> {
        if !self.is_empty() || self.is_ended {
            return Ok(());
        }
        self.bytes.resize(MOST, 0);
        let mut filled = 0;
        while filled < MOST {
            match request.body_mut().read(&mut self.bytes[filled..])? {
                0 => {
                    self.is_ended = true;
                    break;
                }
                n => filled += n,
            }
        }
        self.bytes.truncate(filled);
        self.at = 0;
        Ok(())
    }
}
