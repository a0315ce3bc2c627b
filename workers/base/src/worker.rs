//! A worker class and what a worker process is given.
//!
//! Everything here happens in the worker process, after the fork, but [`Worker::check`] and, with
//! `preload`, [`Worker::load`].

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use nix::sys::eventfd::{EfdFlags, EventFd};

use crate::Error;
use crate::board::{Board, Page, Peers, State};
use crate::conf::{Conf, ListenerConf};
use crate::hooks::{Hooked, Hooks, Whom};
use crate::lifeline::{Down, Stage, Up, WorkerEnd};
use crate::logs::{AccessLog, Outlet};
use crate::rendezvous::{self, Rendezvous};
use crate::seat::Seat;
use crate::sys;

/// A way of serving: `sync` is one. It owns what it serves and is chosen by its name (`-k NAME`).
pub trait Worker: 'static {
    /// The name for `-k`.
    fn name(&self) -> &'static str;

    /// Whether it can run with this configuration. In the master, at the start and at each reload;
    /// it must start no thread and open nothing that stays open.
    ///
    /// # Errors
    /// The reason why not; the start or the reload fails with it.
    fn check(&self, conf: &Conf) -> Result<(), Error> {
        let _ = conf;
        Ok(())
    }

    /// Loads what all workers could share: the application ([`App::load`](crate::App::load)). After
    /// privileges were dropped; in the worker, or with `preload` once in the mold, from which the
    /// workers are forked: then it must leave no thread behind.
    ///
    /// # Errors
    /// The reason why it cannot be loaded: the worker exits with 4.
    fn load(&mut self) -> Result<(), Error>;

    /// Serves until told to stop. In the worker, after [`Worker::load`]. It boots the application,
    /// calls [`Context::ready`], serves, and returns why it ended. When a reload tries the program
    /// there are no listeners: it must become ready without any, and is then told to quit.
    fn run(self: Box<Self>, context: Context) -> Exit;
}

/// Why a worker ended.
#[derive(Debug)]
pub enum Exit {
    /// As it was told, or because its master is gone.
    Done,
    /// It could not start; said to the master by [`Context::fail`].
    Failed(Stage),
    /// Something that should not happen; the text goes to the log.
    Broken(String),
}

impl Exit {
    /// The exit code of the process.
    #[must_use]
    pub fn code(&self) -> i32 {
        match self {
            Exit::Done => 0,
            Exit::Failed(Stage::Boot) => 3,
            Exit::Failed(Stage::Load) => 4,
            Exit::Broken(_) => 1,
        }
    }
}

/// One listening socket as a worker inherits it: bound, listening, non-blocking.
#[derive(Debug)]
pub struct Listener {
    /// The descriptor, shared with all workers and the master.
    pub fd: OwnedFd,
    /// What it is.
    pub conf: ListenerConf,
}

/// What the master hands to a new worker, gathered by the code that forked it.
#[derive(Debug)]
pub struct Parts {
    /// The configuration of its generation.
    pub conf: Arc<Conf>,
    /// The stable number of its place.
    pub slot: usize,
    /// The number of its generation.
    pub generation: u64,
    /// Its page set on the board.
    pub seat: usize,
    /// The scoreboard.
    pub board: Board,
    /// Its life-line.
    pub lifeline: WorkerEnd,
    /// The listeners, in the order of [`Conf::listeners`].
    pub listeners: Vec<OwnedFd>,
    /// Where workers hand connections to each other.
    pub rendezvous: Rendezvous,
    /// Eventfds that wake the worker on a seat, by seat; its own among them.
    pub doors: Vec<Option<OwnedFd>>,
    /// Where the access log goes; nowhere: there is none.
    pub access_log: Vec<Outlet>,
    /// The hooks of the program.
    pub hooks: Hooked,
}

/// Everything a worker process has: what a class gets to run with.
#[derive(Debug)]
pub struct Context {
    conf: Arc<Conf>,
    slot: usize,
    generation: u64,
    seat: usize,
    lifeline: WorkerEnd,
    doors: Vec<Option<OwnedFd>>,
    wake: EventFd,
    hooks: Hooked,
    /// The whole scoreboard, to read.
    pub board: Arc<Board>,
    /// This worker's own pages, to write.
    pub page: Page,
    /// The sockets to accept from.
    pub listeners: Vec<Listener>,
    /// Where workers hand connections to each other. A class that watches it says so by
    /// [`Context::take_over`].
    pub rendezvous: Rendezvous,
    /// The access log, if there is one.
    pub access: Option<AccessLog>,
}

/// What a worker is asked to do, by its master or by a signal.
#[derive(Debug)]
pub enum Command {
    /// Accept no more, finish, exit.
    Drain {
        /// Nobody else accepts: take what waits in the backlog first.
        stop: bool,
        /// Others serve on, and take connections over where they can.
        heirs: bool,
    },
    /// Cut what is not finished within this time: a worker that drains has had long enough.
    Hurry(Duration),
    /// The master will end this worker in a moment, as no handler comes back in time: answer who waits for one,
    /// and let others have who can go on elsewhere.
    Doomed,
    /// Exit now.
    Quit,
    /// The master is gone: finish what can be finished in about a second and exit.
    Orphaned,
}

const SIGNALS: [i32; 4] = [libc::SIGTERM, libc::SIGINT, libc::SIGQUIT, libc::SIGUSR1];
const IGNORED: [i32; 7] = [
    libc::SIGHUP,
    libc::SIGWINCH,
    libc::SIGTTIN,
    libc::SIGTTOU,
    libc::SIGPIPE,
    libc::SIGURG,
    // A file at its limit (RLIMIT_FSIZE) is an error to handle, not an end.
    libc::SIGXFSZ,
];

/// Makes this process's signals a worker's: they are noted, or mean nothing, and the descriptor, which
/// must stay open, is readable when one was noted. For the worker, and for the mold, which notes them
/// and looks at none: only its master ends it.
///
/// # Errors
/// What eventfd(2) or sigaction(2) answer.
pub fn collect_signals() -> io::Result<EventFd> {
    let wake = EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)?;
    sys::collect_signals(&SIGNALS, wake.as_fd())?;
    sys::ignore_signals(&IGNORED)?;
    Ok(wake)
}

impl Context {
    /// Becomes the worker: takes the seat and this process's signals. In the worker, once, with all
    /// signals at their defaults (the code that forked sees to that).
    ///
    /// TERM asks the master for a successor, INT and QUIT end at once, USR1 asks for new log
    /// files; HUP, WINCH, TTIN and TTOU are the master's and are ignored here.
    ///
    /// # Errors
    /// What eventfd(2), mmap(2) or sigaction(2) answer, or a bad access format.
    pub fn new(parts: Parts) -> io::Result<Context> {
        let wake = collect_signals()?;
        let mut board = parts.board;
        let mut page = board.take_seat(parts.seat, parts.slot, parts.generation)?;
        page.set_timeout(parts.conf.deadlines.request);
        page.set_threads(parts.conf.threads);
        page.turn(sys::monotonic().as_micros() as u64);
        let listeners = parts
            .listeners
            .into_iter()
            .zip(parts.conf.listeners.iter().cloned());
        let access = match (&parts.conf.access_format, parts.access_log) {
            (Some(format), outlets) if !outlets.is_empty() => {
                Some(AccessLog::new(format, outlets).map_err(io::Error::other)?)
            }
            _ => None,
        };
        let context = Context {
            slot: parts.slot,
            generation: parts.generation,
            seat: parts.seat,
            lifeline: parts.lifeline,
            doors: parts.doors,
            wake,
            board: Arc::new(board),
            page,
            listeners: listeners.map(|(fd, conf)| Listener { fd, conf }).collect(),
            rendezvous: parts.rendezvous,
            access,
            conf: parts.conf,
            hooks: parts.hooks,
        };
        context.hook("post_fork", |hooks, whom| hooks.post_fork(whom));
        Ok(context)
    }

    /// From now on this process says of what it dies, and answers the client whose request is in a
    /// handler then (`sys::breath`). In the worker, once, on the thread that will run, before its
    /// signals are unblocked.
    ///
    /// # Errors
    /// What mmap(2), sigaction(2) or sigaltstack(2) answer.
    pub fn breathe(&self) -> io::Result<()> {
        let area = self.board.own_area(self.seat)?;
        sys::breath::install(area, self.conf.deadlines.request)?;
        // This thread has its stack for signal handlers as long as it lives.
        std::mem::forget(sys::breath::sit(true)?);
        Ok(())
    }

    /// The configuration of this worker's generation.
    #[must_use]
    pub fn conf(&self) -> &Arc<Conf> {
        &self.conf
    }

    /// The hooks of the program.
    #[must_use]
    pub fn hooks(&self) -> &Hooked {
        &self.hooks
    }

    /// This worker, as hooks are told of it.
    #[must_use]
    pub fn whom(&self) -> Whom {
        Whom {
            slot: self.slot,
            pid: std::process::id() as i32,
            generation: self.generation,
        }
    }

    fn hook(&self, name: &str, run: impl FnOnce(&mut dyn Hooks, Whom)) {
        self.hooks.call(name, |hooks| run(hooks, self.whom()));
    }

    /// What the handlers on `thread` are told of their place.
    #[must_use]
    pub fn seat(&self, thread: usize) -> Seat {
        Seat::new(self.slot, self.generation, thread, Arc::clone(&self.conf))
    }

    /// The number of this worker's page set on the board.
    #[must_use]
    pub fn seat_number(&self) -> usize {
        self.seat
    }

    /// Tells the master that this worker serves from now on.
    ///
    /// # Errors
    /// `BrokenPipe` when the master is gone.
    pub fn ready(&self) -> io::Result<()> {
        self.hook("post_worker_init", |hooks, whom| {
            hooks.post_worker_init(whom);
        });
        self.page.set_state(State::Serving);
        self.lifeline.send(&Up::Ready)
    }

    /// Says that the worker's loop turned now. The master takes one that does not say so within
    /// `heartbeat-timeout`, and is in no request, for hung.
    pub fn turn(&self) {
        self.page.turn(sys::monotonic().as_micros() as u64);
    }

    /// Says that this worker takes what is handed over at the rendezvous. To be called before
    /// [`Context::ready`] by a class that does, and by no other: what it were handed would hang.
    pub fn take_over(&self) {
        self.page.show_taking(rendezvous::VERSION);
    }

    /// Whether a sibling serves that takes connections over.
    #[must_use]
    pub fn has_heirs(&self) -> bool {
        let mut others = (0..self.board.high()).filter(|seat| *seat != self.seat);
        others.any(|seat| self.board.takes(seat, rendezvous::VERSION))
    }

    /// Tells the master that this worker cannot start, and gives the exit to return.
    #[must_use]
    pub fn fail(&self, stage: Stage, error: &Error) -> Exit {
        // A master that is gone needs no report.
        let _ = self.lifeline.send(&Up::Failed {
            stage,
            reason: format!("{error:#}"),
        });
        Exit::Failed(stage)
    }

    /// Tells the master something.
    ///
    /// # Errors
    /// `BrokenPipe` when the master is gone.
    pub fn report(&self, report: &Up) -> io::Result<()> {
        self.lifeline.send(report)
    }

    /// This worker's table of what each peer address takes, empty, and shown to its siblings. Once.
    ///
    /// # Errors
    /// What mmap(2) answers.
    pub fn peers(&self) -> io::Result<Peers> {
        Peers::new(Arc::clone(&self.board), self.seat, &self.page)
    }

    /// The descriptors to wait on for [`Context::command`]: the life-line and the signals' eventfd.
    #[must_use]
    pub fn wake_fds(&self) -> [BorrowedFd<'_>; 2] {
        [self.lifeline.as_fd(), self.wake.as_fd()]
    }

    /// The eventfd by which siblings wake this worker, if the master gave one.
    #[must_use]
    pub fn door(&self) -> Option<BorrowedFd<'_>> {
        self.doors.get(self.seat)?.as_ref().map(AsFd::as_fd)
    }

    /// Wakes the worker on `seat`, so that it looks at the listeners.
    pub fn knock(&self, seat: usize) {
        if let Some(Some(door)) = self.doors.get(seat) {
            // EAGAIN means that it was knocked on often already.
            let _ = nix::unistd::write(door, &1u64.to_ne_bytes());
        }
    }

    /// The next command of the master or of a signal, `None` when there is none. New logs and new
    /// siblings are dealt with in here.
    pub fn command(&mut self) -> Option<Command> {
        let command = self.next_command();
        if matches!(command, Some(Command::Quit)) {
            self.hook("worker_int", |hooks, whom| hooks.worker_int(whom));
        }
        command
    }

    fn next_command(&mut self) -> Option<Command> {
        // The eventfd is drained first: a signal after that wakes again.
        let mut count = [0; 8];
        let _ = nix::unistd::read(&self.wake, &mut count);
        let signals = sys::take_signals();
        if signals & (1 << libc::SIGINT | 1 << libc::SIGQUIT) != 0 {
            return Some(Command::Quit);
        }
        if signals & (1 << libc::SIGUSR1) != 0 {
            let _ = self.lifeline.send(&Up::ReopenLogs);
        }
        if signals & (1 << libc::SIGTERM) != 0 {
            let _ = self
                .lifeline
                .send(&Up::Retiring(crate::lifeline::Retirement::Asked));
        }
        loop {
            match self.lifeline.receive() {
                Ok(None) => return None,
                Ok(Some((Down::Drain { stop, heirs }, _))) => {
                    return Some(Command::Drain { stop, heirs });
                }
                Ok(Some((Down::Hurry(within), _))) => return Some(Command::Hurry(within)),
                Ok(Some((Down::Doomed, _))) => return Some(Command::Doomed),
                Ok(Some((Down::Quit, _))) => return Some(Command::Quit),
                Ok(Some((Down::Logs { error, access }, fds))) => {
                    let mut fds = fds.into_iter();
                    if let Some(fd) = error.then(|| fds.next()).flatten() {
                        crate::logs::set_error(fd);
                    }
                    if let (Some(log), Some(fd)) =
                        (&mut self.access, access.then(|| fds.next()).flatten())
                    {
                        log.reopen(fd);
                    }
                }
                Ok(Some((Down::Level(level), _))) => crate::logs::set_level(level),
                Ok(Some((Down::Door { seat }, fds))) => {
                    if seat < crate::board::SEATS {
                        if self.doors.len() <= seat {
                            self.doors.resize_with(seat + 1, || None);
                        }
                        self.doors[seat] = fds.into_iter().next();
                    }
                }
                Ok(Some((command @ (Down::Fork { .. } | Down::Outage { .. } | Down::Ask), _))) => {
                    log::error!("{command:?} is nothing for a worker");
                }
                Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                    log::error!("cannot read a command of the master: {error}");
                }
                Err(_) => return Some(Command::Orphaned),
            }
        }
    }
}
