//! Who starts the programs of a worker, watches over them, and ends them: one thread, which begins with the
//! first request for one. It waits for nothing but its programs, and no other code of a worker waits for
//! children.
//!
//! Starting one takes until it is executed, and the system ends it with the thread that started it: so
//! neither is for the worker's loop. Who wants one has a [`Ward`] of it, and lets go of it.
//! As long as it does not, a program that has ended is not waited for: its group keeps its number.

use std::collections::VecDeque;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use ferricorn_base::sys::spawn::{Child, Failed, Start};
use ferricorn_base::{Error, RequestId, logs};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::eventfd::{EfdFlags, EventFd};
use nix::sys::signal::{SigSet, Signal, killpg};
use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid};
use nix::unistd::Pid;

/// How long a group has after SIGTERM until SIGKILL.
const GRACE: Duration = Duration::from_secs(1);

/// How many programs run, of so many as may.
#[derive(Clone, Debug)]
pub(super) struct Places {
    taken: Arc<AtomicUsize>,
    most: usize,
}

/// The place of one program; free again when it is dropped.
#[derive(Debug)]
pub(super) struct Place(Arc<AtomicUsize>);

/// What is known of the request that a program was started for.
#[derive(Debug)]
pub(super) struct About {
    /// The request's id.
    pub(super) id: String,
    /// What it asks for, and which program answers: for the log.
    pub(super) line: String,
}

/// A program that was asked for. Dropped, it ends the program and all of its group.
#[derive(Debug)]
pub(super) struct Ward {
    number: usize,
    door: Arc<Door>,
    failed: Arc<OnceLock<Failed>>,
    /// How long it may go on when it has answered.
    patience: Option<Option<Duration>>,
}

/// Where the keeper is told what to do.
#[derive(Debug)]
struct Door {
    posts: Mutex<VecDeque<Post>>,
    wake: EventFd,
    next: AtomicUsize,
}

#[derive(Debug)]
enum Post {
    Start(Box<Order>),
    /// Nobody wants it any more. It may go on so long, or is ended now.
    Leave(usize, Option<Option<Duration>>),
}

#[derive(Debug)]
struct Order {
    number: usize,
    start: Start,
    about: About,
    place: Place,
    failed: Arc<OnceLock<Failed>>,
}

/// A program that runs, or has ended and is still wanted.
#[derive(Debug)]
struct Held {
    number: usize,
    child: Child,
    about: About,
    has_ended: bool,
    is_wanted: bool,
    /// SIGTERM was sent.
    is_ending: bool,
    /// When the next is sent.
    due: Option<Instant>,
    #[expect(dead_code, reason = "it is free when this is dropped")]
    place: Place,
}

impl Places {
    pub(super) fn new(most: usize) -> Places {
        Places {
            taken: Arc::default(),
            most,
        }
    }

    /// Takes one, if there is any.
    pub(super) fn take(&self) -> Option<Place> {
        let place = Place(Arc::clone(&self.taken));
        // One too many is given back by its drop.
        let before = self.taken.fetch_add(1, Ordering::Relaxed);
        (before < self.most).then_some(place)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Ward {
    /// Asks the keeper of this process for a program. That it cannot be started is told by the end of
    /// its streams, and by [`Ward::failure`].
    pub(super) fn start(start: Start, about: About, place: Place) -> Result<Ward, Error> {
        let door = door()?;
        let number = door.next.fetch_add(1, Ordering::Relaxed);
        let failed = Arc::new(OnceLock::new());
        let order = Order {
            number,
            start,
            about,
            place,
            failed: Arc::clone(&failed),
        };
        door.put(Post::Start(Box::new(order)));
        Ok(Ward {
            number,
            door,
            failed,
            patience: None,
        })
    }

    /// Why it was not started.
    pub(super) fn failure(&self) -> Option<&Failed> {
        self.failed.get()
    }

    /// It has answered, and may end by itself: within this time, if there is a bound.
    pub(super) fn let_go(&mut self, patience: Option<Duration>) {
        self.patience = Some(patience);
    }
}

impl Drop for Ward {
    fn drop(&mut self) {
        self.door.put(Post::Leave(self.number, self.patience));
    }
}

impl Door {
    fn put(&self, post: Post) {
        let mut posts = self.posts.lock().unwrap_or_else(PoisonError::into_inner);
        posts.push_back(post);
        drop(posts);
        // Full means that it is woken anyway.
        let _ = self.wake.write(1);
    }

    fn take(&self) -> VecDeque<Post> {
        let mut posts = self.posts.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut *posts)
    }
}

/// The door of this process's keeper, which begins now if there is none.
fn door() -> Result<Arc<Door>, Error> {
    // Processes that fork have none: it takes a request to make it.
    static DOOR: Mutex<Option<Arc<Door>>> = Mutex::new(None);
    let mut known = DOOR.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(door) = &*known {
        return Ok(Arc::clone(door));
    }
    let wake = EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)?;
    let door = Arc::new(Door {
        posts: Mutex::default(),
        wake,
        next: AtomicUsize::new(0),
    });
    let own = Arc::clone(&door);
    let thread = std::thread::Builder::new().name("cgi".to_owned());
    thread.spawn(move || {
        // Signals are for the worker's loop.
        let _ = SigSet::all().thread_block();
        keep(&own);
    })?;
    *known = Some(Arc::clone(&door));
    Ok(door)
}

/// The keeper, as long as its worker.
fn keep(door: &Door) {
    let mut all: Vec<Held> = Vec::new();
    loop {
        wait(door, &mut all);
        for post in door.take() {
            match post {
                Post::Start(order) => all.extend(order.carry_out()),
                Post::Leave(number, patience) => {
                    if let Some(held) = all.iter_mut().find(|held| held.number == number) {
                        held.leave(patience);
                    }
                }
            }
        }
        let now = Instant::now();
        all.retain_mut(|held| held.is_kept(now));
    }
}

/// Waits until somebody is at the door, a program has ended, or one's time has come.
fn wait(door: &Door, all: &mut [Held]) {
    let due = all.iter().filter_map(|held| held.due).min();
    let timeout = match due.map(|due| due.saturating_duration_since(Instant::now())) {
        // Not a moment too early, which would be once more.
        Some(time) => PollTimeout::try_from(time + Duration::from_millis(1)),
        None => Ok(PollTimeout::NONE),
    };
    let watched = |held: &Held| !held.has_ended;
    let fds = all.iter().filter(|held| watched(held));
    let mut fds: Vec<PollFd<'_>> = fds.map(|held| readable(held.child.fd.as_fd())).collect();
    fds.push(readable(door.wake.as_fd()));
    let found = poll(&mut fds, timeout.unwrap_or(PollTimeout::MAX));
    if let Err(error) = found {
        // Out of memory, or a signal that cannot be blocked.
        if error != Errno::EINTR {
            std::thread::sleep(Duration::from_millis(10));
        }
        return;
    }
    let told: Vec<bool> = fds.iter().map(|fd| fd.any() == Some(true)).collect();
    drop(fds);
    let _ = door.wake.read();
    for (held, has_ended) in all.iter_mut().filter(|held| watched(held)).zip(told) {
        held.has_ended = has_ended;
    }
}

fn readable(fd: BorrowedFd<'_>) -> PollFd<'_> {
    PollFd::new(fd, PollFlags::POLLIN)
}

impl Order {
    fn carry_out(self) -> Option<Held> {
        match self.start.spawn() {
            Ok(child) => Some(Held {
                number: self.number,
                child,
                about: self.about,
                has_ended: false,
                is_wanted: true,
                is_ending: false,
                due: None,
                place: self.place,
            }),
            Err(failed) => {
                // Before its streams end, which the caller hears of.
                let _ = self.failed.set(failed);
                None
            }
        }
    }
}

impl Held {
    fn leave(&mut self, patience: Option<Option<Duration>>) {
        self.is_wanted = false;
        match patience {
            Some(patience) => self.due = patience.map(|time| Instant::now() + time),
            None => self.end(),
        }
    }

    /// Tells the group to end.
    fn end(&mut self) {
        self.is_ending = true;
        self.due = Some(Instant::now() + GRACE);
        self.signal(Signal::SIGTERM);
    }

    /// The group's number is its own until the program was waited for.
    fn signal(&self, signal: Signal) {
        if let Err(error) = killpg(Pid::from_raw(self.child.pid), signal) {
            if error != Errno::ESRCH {
                log::warn!("cannot end {}: {error}", self.about.line);
            }
        }
    }

    /// Does what is due: whether there is more to do.
    fn is_kept(&mut self, now: Instant) -> bool {
        if self.has_ended && !self.is_wanted {
            if self.is_ending {
                // What it has left behind.
                self.signal(Signal::SIGKILL);
            }
            self.bury();
            return false;
        }
        if self.due.is_some_and(|due| now >= due) {
            if self.is_ending {
                self.due = None;
                self.signal(Signal::SIGKILL);
            } else {
                self.end();
            }
        }
        true
    }

    fn bury(&self) {
        let ending = waitid(Id::PIDFd(self.child.fd.as_fd()), WaitPidFlag::WEXITED);
        logs::enter(RequestId::Given(&self.about.id));
        let line = &self.about.line;
        match ending {
            Ok(WaitStatus::Exited(_, 0)) => {}
            Ok(WaitStatus::Exited(_, status)) if !self.is_ending => {
                log::warn!("{line}: exit status {status}");
            }
            Ok(WaitStatus::Signaled(_, signal, _)) if !self.is_ending => {
                log::warn!("{line}: killed by {signal}");
            }
            Ok(_) => log::debug!("{line}: ended by us"),
            Err(error) => log::error!("{line}: cannot wait for it: {error}"),
        }
        logs::leave();
    }
}
