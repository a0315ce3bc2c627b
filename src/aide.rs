//! The aide: the process that answers when no worker can, as its master makes and knows it.
//!
//! It is forked like a worker and by the same road, but has nothing of the application's and no place
//! among the workers. What it does is in `workers/aide`; when there is to be one is [`Upkeep`]'s to say.
//! Nothing here waits. The aide of another image serves until there is one of this.

mod upkeep;

use std::convert::Infallible;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd, RawFd};

use ferricorn_aide::{Forward, Setup, Target};
use ferricorn_base::board::{SEATS, WORKER_SEATS};
use ferricorn_base::lifeline::{self, Down, MasterEnd, Stage, Up, WorkerEnd};
use ferricorn_base::{Exit, Listener};
use nix::sys::signal::{SigSet, SigmaskHow, Signal};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socketpair};
use serde::{Deserialize, Serialize};

use crate::spawn::{self, Belongings, Inheritance};
use crate::state::Moment;
use crate::sys;
use crate::syslog::Receiver;

pub use upkeep::{Need, Step, Upkeep};

/// An aide.
#[derive(Debug)]
pub struct Aide {
    /// What the system calls it. It is not reaped yet.
    pub pid: i32,
    /// When it was made.
    pub made: Moment,
    /// It serves.
    pub ready: bool,
    /// When it was heard last.
    pub heard: Moment,
    /// When it was asked whether it lives, unless it has answered.
    pub asked: Option<Moment>,
    /// It was told to go, and when it is killed.
    pub until: Option<Moment>,
    /// Its place on the scoreboard, which no worker has.
    pub seat: usize,
    lifeline: Option<MasterEnd>,
}

/// What another image must be told of an aide.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Record {
    pid: i32,
    made: Moment,
    ready: bool,
    seat: usize,
    lifeline: Option<RawFd>,
}

impl Aide {
    /// Forks one beside those that are there still. Returns it and the end of its channel that is to be a
    /// client of the control socket. In the master.
    ///
    /// # Errors
    /// More than one thread, or what socketpair(2) or fork(2) answer.
    pub fn make<'a>(
        mut from: Inheritance<'_>,
        others: impl Iterator<Item = &'a Aide> + Clone,
        now: Moment,
    ) -> io::Result<(Aide, OwnedFd)> {
        from.recipe()?;
        let is_free = |seat: &usize| !others.clone().any(|other| other.seat == *seat);
        let seat = (WORKER_SEATS..SEATS).find(is_free);
        let seat = seat.ok_or_else(|| io::Error::other("too many aides have not ended yet"))?;
        let (ours, lifeline) = lifeline::pair()?;
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let (client, channel) = socketpair(AddressFamily::Unix, SockType::Stream, None, flags)?;
        let master = std::process::id();
        let pid = spawn::fork(|mask| live(&mut from, seat, lifeline, channel, master, mask))?;
        let aide = Aide {
            pid,
            made: now,
            ready: false,
            heard: now,
            asked: None,
            until: None,
            seat,
            lifeline: Some(ours),
        };
        Ok((aide, client))
    }

    /// The descriptor to wait on; none when the other side is gone.
    pub fn lifeline(&self) -> Option<BorrowedFd<'_>> {
        self.lifeline.as_ref().map(AsFd::as_fd)
    }

    /// The next report, if there is one.
    pub fn hear(&mut self) -> Option<Up> {
        loop {
            match self.lifeline.as_ref()?.receive() {
                Ok(report) => return report,
                Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                    log::warn!("the aide (pid {}): {error}", self.pid);
                }
                Err(_) => self.lifeline = None,
            }
        }
    }

    /// Tells it something. One that takes nothing is of no use.
    pub fn tell(&self, command: Down, fds: &[BorrowedFd<'_>]) {
        let Some(lifeline) = &self.lifeline else {
            return;
        };
        match lifeline.send(command, fds) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.kill(),
            _ => {}
        }
    }

    /// Ends it at once.
    pub fn kill(&self) {
        if let Err(error) = sys::kill(self.pid, libc::SIGKILL) {
            log::warn!("cannot end the aide (pid {}): {error}", self.pid);
        }
    }

    /// What another image must be told of it.
    pub fn record(&self) -> Record {
        Record {
            pid: self.pid,
            made: self.made,
            ready: self.ready,
            seat: self.seat,
            lifeline: self.lifeline().map(sys::number),
        }
    }

    /// One that another image has made. Once.
    ///
    /// # Errors
    /// Its life-line is not open.
    pub fn adopt(record: &Record) -> io::Result<Aide> {
        let lifeline = record.lifeline.map(sys::take_over).transpose()?;
        Ok(Aide {
            pid: record.pid,
            made: record.made,
            ready: record.ready,
            heard: record.made,
            asked: None,
            until: None,
            seat: record.seat,
            lifeline: lifeline.map(MasterEnd::from),
        })
    }
}

impl Record {
    /// Its descriptor.
    pub fn lifeline(&self) -> Option<RawFd> {
        self.lifeline
    }
}

/// The whole life of the aide. It never comes back into the master's code.
fn live(
    from: &mut Inheritance<'_>,
    seat: usize,
    lifeline: WorkerEnd,
    channel: OwnedFd,
    master: u32,
    mask: &SigSet,
) -> Infallible {
    spawn::live(|| serve(from, seat, lifeline, channel, master, mask))
}

fn serve(
    from: &mut Inheritance<'_>,
    seat: usize,
    lifeline: WorkerEnd,
    channel: OwnedFd,
    master: u32,
    mask: &SigSet,
) -> Exit {
    sys::reset_signals();
    let fail = |error: io::Error| match error.kind() {
        // The master died meanwhile: nobody is there to serve for.
        io::ErrorKind::NotConnected => Exit::Done,
        _ => {
            let _ = lifeline.send(&Up::Failed {
                stage: Stage::Boot,
                reason: error.to_string(),
            });
            Exit::Failed(Stage::Boot)
        }
    };
    let metrics = match metrics(from) {
        Ok(metrics) => metrics,
        Err(error) => return fail(error),
    };
    let syslog = match syslog(from) {
        Ok(syslog) => syslog,
        Err(error) => return fail(error),
    };
    let mut own = vec![lifeline.as_fd(), channel.as_fd()];
    own.extend(syslog.iter().map(|forward| forward.from.as_fd()));
    own.extend(metrics.iter().map(|listener| listener.fd.as_fd()));
    let title = format!("ferricorn: aide{}", from.name);
    let belongings = match Belongings::take(from, &own, &title, master) {
        Ok(belongings) => belongings,
        Err(error) => return fail(error),
    };
    if let Err(error) = heed_nobody(mask) {
        return fail(error);
    }
    let setup = Setup {
        conf: belongings.conf,
        lifeline,
        channel,
        seat,
        board: belongings.board,
        metrics,
        listeners: belongings.listeners,
        rendezvous: belongings.rendezvous,
        access_log: belongings.access_log,
        syslog,
    };
    ferricorn_aide::run(setup)
}

/// Its own listeners, as it accepts from them.
fn metrics(from: &Inheritance<'_>) -> io::Result<Vec<Listener>> {
    let listeners = from.generation.metrics.iter();
    let both = listeners.zip(&from.recipe()?.metrics);
    both.map(|(listener, conf)| {
        Ok(Listener {
            fd: listener.as_fd().try_clone_to_owned()?,
            conf: conf.clone(),
        })
    })
    .collect()
}

/// What is to be sent on to syslog.
fn syslog(from: &Inheritance<'_>) -> io::Result<Option<Forward>> {
    let (relay, config) = (from.generation.logs.relay(), &from.recipe()?.config);
    let receiver = config.syslog.as_ref().map(|syslog| &syslog.to);
    let to = match receiver {
        Some(Receiver::Tcp(address)) => Target::Tcp(*address),
        Some(Receiver::Stream(path)) => Target::Unix(path.clone()),
        _ => return Ok(None),
    };
    let from = relay.map(|relay| relay.taking().try_clone_to_owned());
    Ok(from.transpose()?.map(|from| Forward { from, to }))
}

/// Only the master ends it: what a terminal or an operator sends to all processes is not for it. The
/// threads that it starts inherit that.
fn heed_nobody(before: &SigSet) -> io::Result<()> {
    let mut mask = *before;
    for signal in [
        Signal::SIGHUP,
        Signal::SIGINT,
        Signal::SIGQUIT,
        Signal::SIGTERM,
        Signal::SIGUSR1,
        Signal::SIGWINCH,
        Signal::SIGTTIN,
        Signal::SIGTTOU,
    ] {
        mask.add(signal);
    }
    Ok(mask.thread_swap_mask(SigmaskHow::SIG_SETMASK).map(drop)?)
}
