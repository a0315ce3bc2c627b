//! What a loop has: its connections, clock, timers and buffers, and the descriptors that it waits on. It
//! runs no handler; who has it in hand does, so that it can change hands meanwhile.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use ferricorn_base::board::{Counter, Peers};
use ferricorn_base::conf::{Deadlines, PeerLimits};
use ferricorn_base::lifeline::{Retirement, Up};
use ferricorn_base::{Closing, Conf, Context, Exit, Incoming, Request, RequestIds, sys};
use ferricorn_http::Initials;
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token, Waker};
use slab::Slab;

use crate::accept::Acceptor;
use crate::buffer::Buffer;
use crate::clock::Clock;
use crate::codel::Codel;
use crate::conn::{Conn, Held, Work};
use crate::drain::Drain;
use crate::found::Found;
use crate::lateness::Lateness;
use crate::output::Output;
use crate::pool::Pool;
use crate::protocol::Protocol;
use crate::stream::Done;
use crate::task::Watches;
use crate::timers::{KINDS, Timers, Wait};

/// Bytes that one read brings at most.
const READ: usize = 64 * 1024;
/// Connections for which there is room from the start, if so many are allowed: room is not memory before it
/// is used, and what grows leaves holes behind.
const EXPECTED: usize = 16 * 1024;
/// Events that one turn asks for at most.
const EVENTS: usize = 512;
/// The longest sleep: the heartbeat on the scoreboard is at most this old, or a third of what the
/// master bears.
const HEARTBEAT: Duration = Duration::from_secs(1);
/// How often lost lines of the access log are told of at most, in µs.
const LOSS_US: u64 = 60_000_000;
/// How often requests that found no stream thread are told of at most, in µs: clients choose how many
/// there are.
const BUSY_US: u64 = 1_000_000;
/// How often requests that were refused because all wait are told of at most, in µs.
const SHED_US: u64 = 10_000_000;
/// A handler that is told of when it takes less is to be timed exactly, in µs.
const EXACT_US: u64 = 100_000;
/// Boxes kept for use again.
pub(crate) const SPARE: usize = 64;

pub(crate) const COMMAND: usize = 0;
pub(crate) const SIGNAL: usize = 1;
pub(crate) const DOOR: usize = 2;
pub(crate) const STREAMS: usize = 3;
pub(crate) const TAKING: usize = 4;
pub(crate) const LISTENERS: usize = 16;
const LISTENERS_MAX: usize = 1024;
pub(crate) const CONNECTIONS: usize = LISTENERS + LISTENERS_MAX;
/// Descriptors of tasks have higher tokens than any connection.
pub(crate) const WATCHES: usize = 1 << 40;
/// No connection has this key.
pub(crate) const NOBODY: usize = usize::MAX;
/// All that a loop has but who turns it.
#[derive(Debug)]
pub struct Core<P: Protocol> {
    pub(crate) conf: Arc<Conf>,
    pub(crate) context: Context,
    pub(crate) poll: Poll,
    pub(crate) clock: Clock,
    pub(crate) conns: Slab<Conn<P>>,
    pub(crate) timers: Timers,
    pub(crate) ids: RequestIds,
    /// What the fields begin with that `trust` is about.
    pub(crate) concerns: Initials,
    /// How long each kind of wait lasts, in µs, by [`Wait`].
    pub(crate) waits: [u64; KINDS],
    pub(crate) acceptor: Acceptor,
    /// What each peer takes, if that is limited.
    pub(crate) peers: Option<Box<Peers>>,
    /// When what is served now has come.
    pub(crate) late: Lateness,
    /// When to refuse requests because all wait, if ever.
    pub(crate) codel: Option<Box<Codel>>,
    /// Whether some requests may be answered before a handler sees them.
    pub(crate) screens: bool,
    pub(crate) drain: Option<Drain>,
    /// What is dealt with in this turn.
    pub(crate) found: Found,
    events: Events,
    /// Connections that go on in the next turn.
    pub(crate) ready: VecDeque<usize>,
    /// Requests that wait for a handler.
    pub(crate) held: VecDeque<Held<P>>,
    /// The master ends this worker in a moment: no handler comes back in time.
    pub(crate) doomed: bool,
    /// So many of the next handlers are taken for ones that last, where the loop may change hands.
    pub(crate) slowness: u8,
    /// The connection for whose request a handler was called last, or [`NOBODY`]; where the loop may change hands.
    pub(crate) calling: usize,
    /// Buffers of connections whose handlers run while the loop is in other hands.
    displaced: Vec<Displaced>,
    spare_buffers: Vec<Buffer>,
    pub(crate) pool: Pool,
    pub(crate) finished: Finished<P>,
    pub(crate) closing: Arc<Closing>,
    /// The buffers that all connections share while they are being served.
    pub(crate) input: Buffer,
    pub(crate) output: Output,
    /// The descriptors of tasks.
    pub(crate) watches: Watches,
    #[expect(clippy::vec_box, reason = "the boxes are what is used again")]
    pub(crate) spare_requests: Vec<Box<Request>>,
    pub(crate) spare_works: Vec<Box<Work<P>>>,
    /// The longest sleep, in µs.
    longest_us: u64,
    /// A handler that takes so long is slow, in µs.
    pub(crate) slow_us: u64,
    /// The number of requests after which to retire, and whether the master was told to replace us.
    pub(crate) max_requests: u64,
    pub(crate) retiring: bool,
    pub(crate) served_since_idle: bool,
    /// When to look for arrivals that nobody tells of.
    next_look_us: u64,
    /// The master or a signal has something to say.
    pub(crate) asked: bool,
    /// When lost lines of the access log may be told of again.
    next_loss_us: u64,
    /// How many were told of.
    told_lost: u64,
    /// When requests that found no stream thread may be told of again.
    next_busy_us: u64,
    /// How many were not told of.
    untold_busy: u64,
    /// When requests that were refused because all wait may be told of again.
    next_shed_us: u64,
    /// How many were not told of.
    untold_shed: u64,
}

/// What a connection has in the buffers of the loop while its handler runs.
#[derive(Debug)]
pub(crate) struct Displaced {
    key: usize,
    input: Buffer,
    output: Output,
}

/// Streams that ended, and what tells the loop.
#[derive(Debug)]
pub(crate) struct Finished<P> {
    pub(crate) queue: Arc<Mutex<VecDeque<Done<P>>>>,
    pub(crate) waker: Arc<Waker>,
}

impl<P> Finished<P> {
    /// The one that ended first.
    pub(crate) fn take(&self) -> Option<Done<P>> {
        let queue = self.queue.lock();
        queue.unwrap_or_else(PoisonError::into_inner).pop_front()
    }
}

impl<P: Protocol> Core<P> {
    /// A core over what `context` has. In the worker.
    ///
    /// # Errors
    /// What epoll_create1(2), epoll_ctl(2), eventfd(2) or mmap(2) answer.
    pub(crate) fn new(context: Context) -> io::Result<Core<P>> {
        let poll = Poll::new()?;
        let registry = poll.registry();
        for (fd, token) in context.wake_fds().into_iter().zip([COMMAND, SIGNAL]) {
            registry.register(
                &mut SourceFd(&fd.as_raw_fd()),
                Token(token),
                Interest::READABLE,
            )?;
        }
        if let Some(door) = context.door() {
            let fd = door.as_raw_fd();
            registry.register(&mut SourceFd(&fd), Token(DOOR), Interest::READABLE)?;
        }
        let waker = Arc::new(Waker::new(registry, Token(STREAMS))?);
        let conf = Arc::clone(context.conf());
        if let Err(error) = Incoming::try_directory(&conf.tmp_dir) {
            let place = conf.tmp_dir.display();
            log::warn!("tmp-dir {place}: no body beyond body-buffer can be kept there: {error}");
        }
        let (deadlines, slow) = (conf.deadlines, conf.slow_request);
        let jitter =
            u128::from_ne_bytes(sys::random()) % (u128::from(conf.max_requests_jitter) + 1);
        let max_requests = match conf.max_requests {
            0 => u64::MAX,
            requests => requests.saturating_add(jitter as u64),
        };
        let limited = conf.peer_limits != PeerLimits::default();
        let peers = limited.then(|| context.peers()).transpose()?;
        let micros = |time: Duration| time.as_micros() as u64;
        let slow_us = match slow {
            Duration::ZERO => u64::MAX,
            limit => micros(limit),
        };
        // Told of in the access log, compared with little, or subtracted from what is waited for.
        let exact = context.access.is_some() || slow_us < EXACT_US || !conf.shed.target.is_zero();
        let shed = conf.shed;
        let codel = (!shed.target.is_zero())
            .then(|| Codel::new(micros(shed.target), micros(shed.interval)));
        let expected = conf.worker_connections.min(EXPECTED);
        Ok(Core {
            pool: Pool::new(conf.stream_threads),
            clock: Clock::new(conf.server.clone(), exact),
            ids: RequestIds::new(),
            concerns: conf.trust.concerns(),
            late: Lateness::new(),
            screens: limited || codel.is_some() || conf.readiness_path.is_some() || conf.poison,
            codel: codel.map(Box::new),
            conf,
            context,
            poll,
            conns: Slab::with_capacity(expected),
            timers: Timers::new(expected),
            waits: waits(&deadlines),
            acceptor: Acceptor::default(),
            peers: peers.map(Box::new),
            drain: None,
            found: Found::default(),
            events: Events::with_capacity(EVENTS),
            ready: VecDeque::with_capacity(SPARE),
            held: VecDeque::new(),
            doomed: false,
            slowness: 0,
            calling: NOBODY,
            displaced: Vec::new(),
            spare_buffers: Vec::new(),
            finished: Finished {
                queue: Arc::default(),
                waker,
            },
            closing: Arc::new(Closing::new()?),
            input: Buffer::shared(READ),
            output: Output::default(),
            watches: Watches::default(),
            spare_requests: Vec::new(),
            spare_works: Vec::new(),
            slow_us,
            longest_us: micros(HEARTBEAT.min(deadlines.heartbeat / 3)),
            max_requests,
            retiring: false,
            served_since_idle: false,
            next_look_us: 0,
            asked: false,
            next_loss_us: 0,
            told_lost: 0,
            next_busy_us: 0,
            untold_busy: 0,
            next_shed_us: 0,
            untold_shed: 0,
        })
    }

    /// Goes on in other hands, while the handler runs that was called last: what its connection has in the
    /// buffers is put aside.
    pub(crate) fn move_on(&mut self) {
        let key = std::mem::replace(&mut self.calling, NOBODY);
        if key == NOBODY {
            return;
        }
        self.leave(key);
        let input = self.spare_buffers.pop();
        let input = input.unwrap_or_else(|| Buffer::shared(READ));
        self.displaced.push(Displaced {
            key,
            input: std::mem::replace(&mut self.input, input),
            output: std::mem::take(&mut self.output),
        });
    }

    /// The handler of the request on `key` is done, and the loop is back in the hands that called it.
    pub(crate) fn rejoin(&mut self, key: usize) {
        let Some(at) = self.displaced.iter().position(|aside| aside.key == key) else {
            return;
        };
        let aside = self.displaced.swap_remove(at);
        self.spare_buffers
            .push(std::mem::replace(&mut self.input, aside.input));
        self.output = aside.output;
    }

    /// Asks the master for a successor, once; it says when to drain.
    pub(crate) fn retire(&mut self, why: Retirement) {
        if !std::mem::replace(&mut self.retiring, true) {
            // A master that is gone is seen at the life-line.
            let _ = self.context.report(&Up::Retiring(why));
        }
    }

    /// Waits for events; who `hurries` takes those that are there.
    ///
    /// # Errors
    /// That it cannot.
    #[inline]
    pub(crate) fn wait(&mut self, hurries: bool) -> Result<(), Exit> {
        if self.clock.has_untimed() || self.codel.is_some() {
            // How long the turn took that ends here, and its handlers.
            self.read_clock();
        }
        let sleep = if hurries {
            Duration::ZERO
        } else {
            self.sleep()
        };
        let asked = self.clock.now();
        match self.poll.poll(&mut self.events, Some(sleep)) {
            Err(error) if error.kind() != io::ErrorKind::Interrupted => {
                return Err(Exit::Broken(format!("cannot wait for events: {error}")));
            }
            _ => {}
        }
        let now = self.clock.read();
        self.context.page.turn(now);
        let found = self.found.renew(&self.events, now);
        self.late.turn(asked, now, found, self.ready.len());
        Ok(())
    }

    /// Whether to look for arrivals that nobody tells of.
    pub(crate) fn is_time_to_look(&mut self, now: u64) -> bool {
        let due = now >= self.next_look_us;
        if due {
            self.next_look_us = now + self.longest_us;
        }
        due
    }

    /// How long to sleep: until the next deadline, at most a heartbeat.
    fn sleep(&self) -> Duration {
        if !self.ready.is_empty() {
            return Duration::ZERO;
        }
        let now = self.clock.now();
        let mut due = self.timers.none_before().min(now + self.longest_us);
        let own = self.drain.as_ref().map(|drain| drain.due(now));
        for other in [self.acceptor.retry_due(), own].into_iter().flatten() {
            due = due.min(other);
        }
        // mio rounds up, as epoll_wait(2) has milliseconds only.
        Duration::from_micros(due.saturating_sub(now))
    }

    /// Writes what is gathered of the access log, and says now and then what could not be kept.
    pub(crate) fn flush_access_log(&mut self) {
        let Some(log) = &mut self.context.access else {
            return;
        };
        log.flush();
        let counted = self.context.page.counter(Counter::LogDropped);
        let lost = log.dropped();
        if lost > counted {
            self.context.page.add(Counter::LogDropped, lost - counted);
        }
        let now = self.clock.now();
        if lost > self.told_lost && now >= self.next_loss_us {
            let more = lost - self.told_lost;
            self.told_lost = lost;
            self.next_loss_us = now + LOSS_US;
            log::warn!(
                "{more} lines of the access log were lost: its reader is slow, or its disk full"
            );
        }
    }

    /// A request found no stream thread.
    pub(crate) fn log_busy(&mut self) {
        self.untold_busy += 1;
        let now = self.clock.now();
        if now >= self.next_busy_us {
            self.next_busy_us = now + BUSY_US;
            let (threads, refused) = (self.conf.stream_threads, self.untold_busy);
            self.untold_busy = 0;
            log::warn!("all {threads} stream threads are busy: 503 for {refused} requests");
        }
    }

    /// A request is refused because all wait.
    pub(crate) fn log_shed(&mut self, waited_us: u64) {
        self.untold_shed += 1;
        let now = self.clock.now();
        if now >= self.next_shed_us {
            self.next_shed_us = now + SHED_US;
            let (waited, refused) = (waited_us / 1000, std::mem::take(&mut self.untold_shed));
            let target = self.conf.shed.target.as_secs_f64() * 1000.0;
            log::warn!(
                "overloaded: requests wait {waited} ms (shed-target is {target} ms): 503 for {refused}"
            );
        }
    }

    /// Registers where connections come from: exclusive and level-triggered, which mio has not.
    pub(crate) fn watch_source(&self, fd: BorrowedFd<'_>, token: usize) -> io::Result<()> {
        sys::epoll_add_exclusive(self.poll.registry().as_fd(), fd, token as u64)
    }

    pub(crate) fn unwatch_source(&self, fd: BorrowedFd<'_>) {
        // It may not be in the set; then it needs no removal.
        let _ = sys::epoll_remove(self.poll.registry().as_fd(), fd);
    }

    pub(crate) fn register(&self, key: usize, fd: i32, write: bool, anew: bool) -> io::Result<()> {
        let token = Token(CONNECTIONS + key);
        let interest = if write {
            Interest::READABLE | Interest::WRITABLE
        } else {
            Interest::READABLE
        };
        let registry = self.poll.registry();
        if anew {
            registry.register(&mut SourceFd(&fd), token, interest)
        } else {
            registry.reregister(&mut SourceFd(&fd), token, interest)
        }
    }

    pub(crate) fn spare_request(&mut self) -> Box<Request> {
        self.spare_requests.pop().unwrap_or_default()
    }

    pub(crate) fn spare_work(&mut self) -> Box<Work<P>> {
        self.spare_works.pop().unwrap_or_default()
    }

    pub(crate) fn return_request(&mut self, mut request: Box<Request>) {
        if self.release(&mut request) && self.spare_requests.len() < SPARE {
            self.spare_requests.push(request);
        }
    }

    pub(crate) fn return_work(&mut self, mut work: Box<Work<P>>) {
        if self.spare_works.len() < SPARE {
            work.renew();
            self.spare_works.push(work);
        }
    }
}

/// How long each kind of wait lasts, in µs.
fn waits(deadlines: &Deadlines) -> [u64; KINDS] {
    let mut waits = [0; KINDS];
    let head = match deadlines.receive {
        Duration::ZERO => deadlines.head,
        whole => deadlines.head.min(whole),
    };
    for (wait, limit) in [
        (Wait::Head, head),
        (Wait::Body, deadlines.body),
        (Wait::KeepAlive, deadlines.keep_alive),
        (Wait::Write, deadlines.write),
        (Wait::Linger, deadlines.linger),
        (Wait::Quiet, deadlines.keep_alive),
    ] {
        waits[wait as usize] = limit.as_micros() as u64;
    }
    waits
}
