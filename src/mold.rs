//! The mold: a process that has loaded the application, from which the workers are forked.
//!
//! With `preload`. It is a child of the master and forks twice for each worker, so that the worker is
//! the master's child, too, who is the subreaper. So the application is loaded once and shared by
//! all workers, and never loaded in the master. Here is the master's side of it, which waits for
//! nothing; the mold's own life is in `mold/life.rs`.

mod life;

use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use ferricorn_base::lifeline::{self, Down, MasterEnd, Up, WorkerEnd};

use crate::spawn::{self, Inheritance};
use crate::state::{Moment, WorkerId};
use crate::sys;

/// A mold.
#[derive(Debug)]
pub struct Mold {
    /// What the system calls it. It is not reaped yet.
    pub pid: i32,
    /// How far it is.
    pub stage: Stage,
    /// Those that are to be made when it has loaded.
    pub waiting: Vec<Order>,
    /// When it was made.
    pub began: Moment,
    line: Option<MasterEnd>,
}

/// How far a mold is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// It loads the application.
    Loading,
    /// It makes workers.
    Loaded,
    /// It could not load, has said why, and ends.
    Failed,
}

/// A worker to be made.
#[derive(Debug)]
pub struct Order {
    /// Its identity.
    pub worker: WorkerId,
    /// The stable number of its place.
    pub slot: usize,
    /// Its pages on the scoreboard.
    pub seat: usize,
    /// Its end of its life-line. When the last copy of it is closed, the worker is not there.
    pub lifeline: WorkerEnd,
}

impl Mold {
    /// Forks one. In the master, which is a subreaper from then on.
    ///
    /// # Errors
    /// More than one thread, or what socketpair(2), prctl(2) or fork(2) answer.
    pub fn make(from: Inheritance<'_>, now: Moment) -> io::Result<Mold> {
        from.recipe()?;
        nix::sys::prctl::set_child_subreaper(true)?;
        let (ours, theirs) = lifeline::pair()?;
        let master = std::process::id();
        let pid = spawn::fork(|mask| spawn::live(|| life::live(from, theirs, master, mask)))?;
        Ok(Mold {
            pid,
            stage: Stage::Loading,
            waiting: Vec::new(),
            began: now,
            line: Some(ours),
        })
    }

    /// The descriptor to wait on; none when the other side is gone.
    pub fn line(&self) -> Option<BorrowedFd<'_>> {
        self.line.as_ref().map(AsFd::as_fd)
    }

    /// The next report, if there is one.
    pub fn hear(&mut self) -> Option<Up> {
        loop {
            match self.line.as_ref()?.receive() {
                Ok(report) => return report,
                Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                    log::warn!("the mold (pid {}): {error}", self.pid);
                }
                Err(_) => self.line = None,
            }
        }
    }

    /// Has a worker made: now, or when it has loaded.
    ///
    /// # Errors
    /// As [`Mold::tell`].
    pub fn order(&mut self, order: Order) -> io::Result<()> {
        if self.stage != Stage::Loaded || self.line.is_none() {
            self.waiting.push(order);
            return Ok(());
        }
        let Order { slot, seat, .. } = order;
        self.tell(Down::Fork { slot, seat }, &[order.lifeline.as_fd()])
    }

    /// Ends it at once.
    pub fn kill(&self) {
        if let Err(error) = sys::kill(self.pid, libc::SIGKILL) {
            log::warn!("cannot end the mold (pid {}): {error}", self.pid);
        }
    }

    /// Tells it something.
    ///
    /// # Errors
    /// It does not take it: it is gone, or hangs.
    pub fn tell(&self, command: Down, fds: &[BorrowedFd<'_>]) -> io::Result<()> {
        match &self.line {
            Some(line) => line.send(command, fds),
            None => Err(io::ErrorKind::BrokenPipe.into()),
        }
    }
}
