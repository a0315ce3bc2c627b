//! The life of the aide: it hears its master, does its duties, and ends.
//!
//! This thread waits for descriptors and for the next second only. What clients send is read in the
//! threads that `house` begins.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use ferricorn_base::board::Board;
use ferricorn_base::lifeline::{Down, Stage, Up, WorkerEnd};
use ferricorn_base::logs::{self, Outlet};
use ferricorn_base::rendezvous::Rendezvous;
use ferricorn_base::sys::{ignore_signals, monotonic};
use ferricorn_base::{Conf, Exit, Listener};
use ferricorn_loop::install_panic_hook;
use libc::{SIGPIPE, SIGXFSZ};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::duty::{Duty, duties};
use crate::house::{House, Said};
use crate::outage::{Means, Outage};
use crate::syslog::{Forward, Relay};
use crate::{Inquiry, desk};

/// How often duties are due.
const SECOND: Duration = Duration::from_secs(1);
/// What a thread is let be silent at least: a page may wait for the master.
const SILENT: Duration = Duration::from_secs(3);
/// How long whoever waits in the queue of a server that stops has to be told so.
const LAST: Duration = Duration::from_millis(100);

/// What an aide has of its master.
#[derive(Debug)]
pub struct Setup {
    /// The configuration of its generation.
    pub conf: Arc<Conf>,
    /// Its life-line.
    pub lifeline: WorkerEnd,
    /// Its channel to the control socket.
    pub channel: OwnedFd,
    /// The scoreboard.
    pub board: Board,
    /// Pages there that no worker has and that are never said to be alive.
    pub seat: usize,
    /// The listeners for metrics, status and health.
    pub metrics: Vec<Listener>,
    /// The workers' listeners, in the order of [`Conf::listeners`].
    pub listeners: Vec<OwnedFd>,
    /// Where workers hand connections to each other.
    pub rendezvous: Rendezvous,
    /// Where the access log goes.
    pub access_log: Vec<Outlet>,
    /// What is to be sent on to syslog, if that is reached by a stream.
    pub syslog: Option<Forward>,
}

/// The whole life. In the aide, with the signals blocked that are for its master to act upon.
#[must_use]
pub fn run(setup: Setup) -> Exit {
    install_panic_hook();
    match Aide::begin(setup) {
        Ok(mut aide) => aide.live(),
        Err((lifeline, error)) => {
            // A master that is gone needs no report.
            let _ = lifeline.send(&Up::Failed {
                stage: Stage::Boot,
                reason: error.to_string(),
            });
            Exit::Failed(Stage::Boot)
        }
    }
}

struct Aide {
    lifeline: WorkerEnd,
    /// To see that the master has closed it.
    channel: OwnedFd,
    inquiry: Inquiry,
    duties: Vec<Box<dyn Duty>>,
    desk: Option<House>,
    outage: Outage,
    /// How long a thread may be silent.
    patience: Duration,
    /// Another one has taken over.
    leaving: bool,
}

impl Aide {
    fn begin(setup: Setup) -> Result<Aide, (WorkerEnd, io::Error)> {
        let lifeline = setup.lifeline;
        let begin = || {
            ignore_signals(&[SIGPIPE, SIGXFSZ])?;
            // Its header is the master's to write.
            let board = Arc::new(Board::attach(setup.board.fd().try_clone_to_owned()?)?);
            let inquiry = Inquiry::new(setup.channel.try_clone()?, board)?;
            let desk = match setup.metrics {
                none if none.is_empty() => None,
                some => Some(desk::open(some, &setup.conf, inquiry.clone())?),
            };
            let relay = setup.syslog.map(Relay::new).transpose()?;
            let patience = setup.conf.deadlines.heartbeat.max(SILENT);
            let outage = Outage::new(Means {
                conf: (*setup.conf).clone(),
                seat: setup.seat,
                listeners: setup.listeners,
                rendezvous: setup.rendezvous,
                access_log: setup.access_log,
            });
            let mut duties = duties(&setup.conf, &inquiry);
            duties.extend(relay.map(|relay| Box::new(relay) as Box<dyn Duty>));
            Ok((setup.channel, inquiry, desk, outage, duties, patience))
        };
        match begin() {
            Ok((channel, inquiry, desk, outage, duties, patience)) => Ok(Aide {
                lifeline,
                channel,
                inquiry,
                duties,
                desk,
                outage,
                patience,
                leaving: false,
            }),
            Err(error) => Err((lifeline, error)),
        }
    }

    fn live(&mut self) -> Exit {
        if self.lifeline.send(&Up::Ready).is_err() {
            return Exit::Done;
        }
        let mut next = monotonic() + SECOND;
        loop {
            self.wait(next);
            if let Some(exit) = self.hear_master() {
                self.end();
                return exit;
            }
            match self.desk.as_ref().map(House::hear) {
                Some(Said::Gone) if self.leaving => self.desk = None,
                Some(Said::Gone | Said::Broken) => {
                    return Exit::Broken("nobody answers at metrics-bind".to_owned());
                }
                _ => {}
            }
            self.hear_outage();
            if self.leaving && self.desk.is_none() && self.outage.house().is_none() {
                self.end();
                return Exit::Done;
            }
            let now = monotonic();
            if now >= next {
                // What was missed is not made up for.
                next = now.max(next + SECOND);
                self.duties
                    .iter_mut()
                    .for_each(|duty| duty.tick(&self.inquiry));
            }
            logs::flush();
        }
    }

    /// Waits for somebody to say something, or for the next second if there are duties.
    fn wait(&mut self, next: Duration) {
        let lines = [
            Some(self.lifeline.as_fd()),
            self.desk.as_ref().map(AsFd::as_fd),
        ];
        let lines = lines
            .into_iter()
            .chain([self.outage.house().map(AsFd::as_fd)]);
        let mut fds: Vec<PollFd<'_>> = self
            .duties
            .iter()
            .filter_map(|duty| duty.fd())
            .chain(lines.flatten())
            .map(|fd| PollFd::new(fd, PollFlags::POLLIN))
            .collect();
        // Only its end.
        fds.push(PollFd::new(self.channel.as_fd(), PollFlags::empty()));
        let timeout = match self.duties.is_empty() {
            true => PollTimeout::NONE,
            false => {
                let left = next.saturating_sub(monotonic()) + Duration::from_micros(999);
                PollTimeout::try_from(left.as_millis()).unwrap_or(PollTimeout::MAX)
            }
        };
        let _ = poll(&mut fds, timeout);
        let found: Vec<bool> = fds.iter().map(|fd| fd.any().unwrap_or(false)).collect();
        let (duties, mut found) = (self.duties.iter_mut(), found.into_iter());
        for duty in duties.filter(|duty| duty.fd().is_some()) {
            if found.next() == Some(true) {
                duty.readable();
            }
        }
    }

    /// Does what the master says; the exit when that is to end.
    fn hear_master(&mut self) -> Option<Exit> {
        loop {
            match self.lifeline.receive() {
                Ok(None) => break,
                Ok(Some((Down::Outage { on }, _))) if !self.leaving => {
                    self.outage.turn(on, self.inquiry.board());
                }
                Ok(Some((Down::Drain { stop: true, .. }, _))) => self.outage.stop(),
                Ok(Some((Down::Drain { stop: false, .. }, _))) => self.leave(),
                Ok(Some((Down::Ask, _))) => {
                    let mut houses = self.desk.iter().chain(self.outage.house());
                    if let Some(what) = houses.find_map(|house| house.hangs(self.patience)) {
                        return Some(Exit::Broken(what));
                    }
                    // A master that is gone hears nothing any more.
                    let _ = self.lifeline.send(&Up::Here);
                }
                Ok(Some((Down::Quit, _))) => return Some(Exit::Done),
                Ok(Some((Down::Level(level), _))) => logs::set_level(level),
                Ok(Some((Down::Logs { error, access }, fds))) => {
                    let mut fds = fds.into_iter();
                    if let Some(fd) = error.then(|| fds.next()).flatten() {
                        logs::set_error(fd);
                    }
                    if let Some(fd) = access.then(|| fds.next()).flatten() {
                        self.outage.reopen(fd);
                    }
                }
                Ok(Some((command, _))) => log::error!("{command:?} is nothing for the aide"),
                Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                    log::error!("cannot read a command of the master: {error}");
                }
                // Without its master there is nothing to tell.
                Err(_) => return Some(Exit::Done),
            }
        }
        let mut fds = [PollFd::new(self.channel.as_fd(), PollFlags::empty())];
        let _ = poll(&mut fds, PollTimeout::ZERO);
        let closed = fds[0].any().unwrap_or(false);
        closed.then(|| Exit::Broken("the master has closed the aide's channel".to_owned()))
    }

    /// Another aide has taken over: finishes what it has begun.
    fn leave(&mut self) {
        self.leaving = true;
        self.end_duties();
        let drain = Down::Drain {
            stop: false,
            heirs: false,
        };
        self.desk.iter().for_each(|desk| desk.tell(drain, &[]));
        self.outage.turn(false, self.inquiry.board());
    }

    /// Says that an outage's answers are finished: the master adds them up before the next one's.
    fn hear_outage(&mut self) {
        if self.outage.has_ended() {
            // A master that is gone counts nothing any more.
            let _ = self.lifeline.send(&Up::Left {
                answered: 0,
                handed_over: 0,
                closed_idle: 0,
                forced: 0,
            });
        }
    }

    fn end_duties(&mut self) {
        for mut duty in std::mem::take(&mut self.duties) {
            duty.end(&self.inquiry);
        }
    }

    /// The last that is done.
    fn end(&mut self) {
        self.end_duties();
        self.finish_outage();
        // Who has heard nothing would take the end of its life-line for that of its master.
        let houses = self.desk.iter().chain(self.outage.house());
        houses.for_each(|house| house.tell(Down::Quit, &[]));
    }

    /// Waits a moment for the answers of an outage.
    fn finish_outage(&mut self) {
        let until = monotonic() + LAST;
        while let Some(house) = self.outage.house() {
            let left = until.saturating_sub(monotonic());
            if left.is_zero() {
                return;
            }
            let mut fds = [PollFd::new(house.as_fd(), PollFlags::POLLIN)];
            let timeout = PollTimeout::try_from(left.as_millis() + 1).unwrap_or(PollTimeout::ZERO);
            let _ = poll(&mut fds, timeout);
            self.hear_outage();
        }
    }
}
