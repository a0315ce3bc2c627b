//! The worker processes as the shell knows them: pids, life-lines, doors.
//!
//! The state decides about workers by their identity; what that is to the system is kept here. A
//! pid comes from fork, or with `preload` from a message.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use ferricorn_base::lifeline::{Down, MasterEnd, Up};
use nix::sys::eventfd::{EfdFlags, EventFd};

use crate::diagnose::Look;
use crate::state::{Generation, Moment, Signal, WorkerId};
use crate::sys;

/// One worker process.
#[derive(Debug)]
pub struct Child {
    /// What the system calls it. It is not reaped yet, so nobody else has this number. None while a
    /// mold is to make it.
    pub pid: Option<i32>,
    /// The stable number of its place.
    pub slot: usize,
    /// Its pages on the scoreboard.
    pub seat: usize,
    /// Its configuration.
    pub generation: Generation,
    /// When it was forked.
    pub started: Moment,
    /// It said that it serves.
    pub ready: bool,
    /// It was told to go; it accepts nothing more.
    pub leaving: bool,
    /// How many requests it had answered when it was told to go.
    pub answered: Option<u64>,
    /// The last signal that we sent it.
    pub sent: Option<Signal>,
    /// The slow requests that were told of, by when they began.
    pub slow: Vec<u64>,
    /// What was seen of it when it was past a deadline.
    pub look: Option<Look>,
    /// The requests that were past their time, by when they began.
    pub hung: Vec<u64>,
    /// It was asked where one of them is: when to write the answer down.
    pub answer_at: Option<Moment>,
    lifeline: Option<MasterEnd>,
}

impl Child {
    /// A worker that was just made, or that another image has made.
    pub fn new(
        pid: Option<i32>,
        slot: usize,
        seat: usize,
        generation: Generation,
        started: Moment,
        lifeline: Option<MasterEnd>,
    ) -> Child {
        Child {
            pid,
            slot,
            seat,
            generation,
            started,
            ready: false,
            leaving: false,
            answered: None,
            sent: None,
            slow: Vec::new(),
            look: None,
            hung: Vec::new(),
            answer_at: None,
            lifeline,
        }
    }

    /// The descriptor to wait on; none when the other side is gone.
    pub fn lifeline(&self) -> Option<BorrowedFd<'_>> {
        self.lifeline.as_ref().map(AsFd::as_fd)
    }

    /// Sends a command. A worker that is gone is reaped, and one that reads nothing is ended by its
    /// deadline; that it missed a command is told, as new log files may be among them.
    pub fn tell(&self, command: Down, fds: &[BorrowedFd<'_>]) {
        let Some(lifeline) = &self.lifeline else {
            return;
        };
        if let Err(error) = lifeline.send(command, fds) {
            let level = match error.kind() {
                io::ErrorKind::WouldBlock => log::Level::Warn,
                _ => log::Level::Debug,
            };
            log::log!(
                level,
                "cannot tell worker {} ({}) {command:?}: {error}",
                self.slot,
                self.whom()
            );
        }
    }

    /// The next report, if there is one.
    pub fn hear(&mut self) -> Option<Up> {
        loop {
            match self.lifeline.as_ref()?.receive() {
                Ok(report) => return report,
                Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                    log::warn!("worker {} ({}): {error}", self.slot, self.whom());
                }
                Err(_) => self.lifeline = None,
            }
        }
    }

    /// "pid 4711", or that there is none yet.
    pub fn whom(&self) -> String {
        self.pid
            .map_or("not made yet".to_owned(), |pid| format!("pid {pid}"))
    }

    /// Sends a signal; to one that is not made yet, when it is.
    pub fn signal(&mut self, signal: Signal) {
        let number = match signal {
            Signal::Term => libc::SIGTERM,
            Signal::Abort => libc::SIGABRT,
            Signal::Kill => libc::SIGKILL,
        };
        self.sent = Some(signal);
        let Some(pid) = self.pid else {
            return;
        };
        if let Err(error) = sys::kill(pid, number) {
            log::warn!("cannot signal worker {} (pid {pid}): {error}", self.slot);
        }
    }
}

/// All of them, the oldest first.
pub type Children = BTreeMap<WorkerId, Child>;

/// The eventfds by which workers wake each other, and the master them, one for each seat that was ever used.
#[derive(Debug, Default)]
pub struct Doors(Vec<Option<OwnedFd>>);

impl Doors {
    /// Sees to it that a seat has a door; `tell` is given a new one.
    ///
    /// # Errors
    /// What eventfd(2) answers.
    pub fn open(&mut self, seat: usize, tell: impl FnOnce(Down, BorrowedFd<'_>)) -> io::Result<()> {
        if self.0.get(seat).is_some_and(Option::is_some) {
            return Ok(());
        }
        let flags = EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK;
        let door: OwnedFd = EventFd::from_flags(flags)?.into();
        tell(Down::Door { seat }, door.as_fd());
        if self.0.len() <= seat {
            self.0.resize_with(seat + 1, || None);
        }
        self.0[seat] = Some(door);
        Ok(())
    }

    /// Wakes the worker on this seat: it looks whether a connection waits.
    pub fn ring(&self, seat: usize) {
        if let Some(Some(door)) = self.0.get(seat) {
            // It can only be full of wake-ups, which is as good.
            let _ = nix::unistd::write(door, &1u64.to_ne_bytes());
        }
    }

    /// Those that another image has made.
    pub fn adopt(doors: Vec<Option<OwnedFd>>) -> Doors {
        Doors(doors)
    }

    /// The doors by seat.
    pub fn all(&self) -> &[Option<OwnedFd>] {
        &self.0
    }
}
