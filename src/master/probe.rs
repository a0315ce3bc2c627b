//! A program on trial, as the master sees it: a process that answers over a socket pair, or does not.
//!
//! It has a process group of its own, so that what it leaves can be ended with it. Whatever it does,
//! nothing here waits for it: its answers and its end are events. The other side is [`crate::trial`].

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io;
use std::net::IpAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd, RawFd};
use std::rc::Rc;
use std::time::Duration;

use nix::sys::prctl;
use nix::sys::signal::{Signal, killpg};
use nix::unistd::{Pid, getppid, setpgid};

use super::Master;
use crate::control::words::News;
use crate::daemon;
use crate::directory::Directory;
use crate::generation::Held;
use crate::handover::{self, Handover, Parts};
use crate::pidfile::PidFile;
use crate::program::{Image, Program};
use crate::second::Other;
use crate::sockets::Listener;
use crate::spawn;
use crate::state::{Ending, Event};
use crate::sys;
use crate::trial::{self, Answer, MasterEnd};
use crate::watch::Plan;

/// A trial under way.
#[derive(Debug)]
pub(super) struct Trial {
    pid: i32,
    image: Image,
    // Gone when the other side is.
    answer: Option<MasterEnd>,
    listeners: Vec<OwnedFd>,
    verdict: Option<Result<Proof, String>>,
    given_up: bool,
    began: Duration,
}

/// What has passed: a program, and what it needs to begin.
#[derive(Debug)]
pub(super) struct Proof {
    /// The very program that was tried; none before its trial has ended.
    pub(super) image: Option<Image>,
    /// What it has opened.
    pub(super) held: Held,
    /// The file of the configuration and its text.
    pub(super) file: Option<(OsString, String)>,
    /// Host names that it knows.
    pub(super) names: BTreeMap<String, Vec<IpAddr>>,
    /// What is to be watched.
    pub(super) watch: Option<Plan>,
}

impl Trial {
    /// Where it answers, to wait on.
    pub(super) fn answer(&self) -> Option<BorrowedFd<'_>> {
        self.answer.as_ref().map(AsFd::as_fd)
    }

    /// Ends everything in its process group. Before it was reaped, so that the number is its own.
    fn kill(&self) {
        let _ = killpg(Pid::from_raw(self.pid), Signal::SIGKILL);
    }
}

impl Master {
    /// Executes what is on disk now in a child.
    pub(super) fn probe(&mut self) -> io::Result<()> {
        if let Some(watch) = &mut self.watch {
            watch.tried();
        }
        let image = self.program.open()?;
        let (answer, theirs) = trial::pair()?;
        let handover = self.handover(None)?;
        let state = handover::seal(&handover)?;
        let mut keep = handover.for_trial();
        keep.extend([sys::number(state.as_fd()), sys::number(theirs.as_fd())]);
        let variable = format!(
            "trial:{}:{}",
            sys::number(state.as_fd()),
            sys::number(theirs.as_fd())
        );
        let (program, master) = (&self.program, Pid::this());
        let pid = spawn::fork(|_| {
            let error = become_program(program, &image, &keep, master, &variable);
            let _ = theirs.send(&Answer::Failed(error.to_string()), &[]);
            sys::exit_now(1)
        })?;
        // Here as well, whoever comes first; it fails when the child has executed its program.
        let _ = setpgid(Pid::from_raw(pid), Pid::from_raw(pid));
        let path = self.program.path().display().to_string();
        log::info!("Trying {path} (pid {pid})");
        self.publish(&News::Trying {
            reload: self.state.next_reload() - 1,
            program: path,
            pid,
        });
        self.trial = Some(Trial {
            pid,
            image,
            answer: Some(answer),
            listeners: Vec::new(),
            verdict: None,
            given_up: false,
            began: super::now(),
        });
        Ok(())
    }

    /// What another image has to know now; with `proof`, the one that is to come.
    pub(super) fn handover(&self, proof: Option<&Proof>) -> io::Result<Handover> {
        let board = self.board.as_ref().map(|board| sys::number(board.fd()));
        let known = || self.names.found();
        Ok(Handover::of(Parts {
            origin: self.program.origin(),
            names: proof.map_or_else(known, |proof| proof.names.clone()),
            inherited: &self.inherited,
            notified: self.notifier.record(),
            board: board.ok_or_else(|| io::Error::other("there is no scoreboard"))?,
            rendezvous: &self.rendezvous,
            doors: self.doors.all(),
            generations: &self.generations,
            children: &self.children,
            past: &self.past,
            molds: self.molds(),
            aides: self.aides.records(),
            new: proof.map(|proof| proof.held.clone()).unwrap_or_default(),
            serving: self.serving,
            next: self.next,
            state: self.state.clone(),
            poison: self.poison.clone(),
            control: self.control.record(),
            proved: proof.and_then(|proof| proof.file.clone()),
            watch: proof.and_then(|proof| proof.watch.clone()),
            level: self.level.clone(),
            other: self.other.as_ref().map(Other::record),
        }))
    }

    /// Ends the trial, or throws away what has passed.
    pub(super) fn cancel(&mut self) {
        self.executes = false;
        self.proof = None;
        if let Some(trial) = &mut self.trial {
            trial.given_up = true;
            trial.kill();
        }
    }

    /// Takes the answers of the program on trial.
    pub(super) fn hear_trial(&mut self) {
        while let Some(trial) = &mut self.trial {
            let Some(answer) = &trial.answer else {
                return;
            };
            match answer.receive() {
                Ok(None) => return,
                Ok(Some((Answer::Boots(time), _))) => self.happened(Event::Proving(time)),
                Ok(Some((Answer::Listeners, fds))) => trial.listeners.extend(fds),
                Ok(Some((Answer::Passed, fds))) => {
                    let listeners = std::mem::take(&mut trial.listeners);
                    let proof = proof(listeners, fds).map_err(|error| error.to_string());
                    trial.verdict.get_or_insert(proof);
                }
                Ok(Some((Answer::Failed(reason), _))) => {
                    trial.verdict.get_or_insert(Err(reason));
                }
                Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                    log::warn!("the program on trial (pid {}): {error}", trial.pid);
                }
                Err(_) => trial.answer = None,
            }
        }
    }

    /// Reaps the program on trial if it has ended: that comes after the end of its answers.
    pub(super) fn reap_trial(&mut self) {
        self.hear_trial();
        let Some(trial) = self.trial.as_ref().filter(|trial| trial.answer.is_none()) else {
            return;
        };
        // It has closed its side, so that nothing good can come any more; what it left goes with it.
        trial.kill();
        match sys::reap(trial.pid) {
            Ok(None) => {}
            Ok(Some(ending)) => self.trial_ended(ending),
            Err(_) => self.trial_ended(Ending::Signal(0)),
        }
    }

    /// The program on trial has ended, whoever still holds the other side of its answers.
    pub(super) fn end_trial(&mut self) {
        let Some(trial) = &self.trial else {
            return;
        };
        trial.kill();
        if let Ok(Some(ending)) = sys::reap(trial.pid) {
            self.trial_ended(ending);
        }
    }

    pub(super) fn is_trial(&self, pid: i32) -> bool {
        self.trial.as_ref().is_some_and(|trial| trial.pid == pid)
    }

    fn trial_ended(&mut self, ending: Ending) {
        self.hear_trial();
        let Some(trial) = self.trial.take() else {
            return;
        };
        let took = (super::now() - trial.began).as_secs_f64();
        let failure = match trial.verdict {
            _ if trial.given_up => format!("the program gave no answer within {took:.0} s"),
            Some(Ok(proof)) => {
                log::info!("It can serve (after {took:.2} s)");
                self.publish(&News::Passed {
                    reload: self.state.next_reload() - 1,
                    seconds: took,
                });
                self.proof = Some(Proof {
                    image: Some(trial.image),
                    ..proof
                });
                return self.happened(Event::Proved);
            }
            Some(Err(reason)) => reason,
            None => format!("the program {ending} without an answer"),
        };
        // Whoever reads of the failure finds nothing left of the trial.
        drop((trial.image, trial.answer, trial.listeners));
        self.happened(Event::LoadFailed(failure));
    }
}

/// Puts together what a program that has passed has sent.
fn proof(listeners: Vec<OwnedFd>, fds: Vec<OwnedFd>) -> io::Result<Proof> {
    let missing = || io::Error::other("the program on trial left something out");
    let mut fds = fds.into_iter();
    let passed: trial::Passed = handover::unseal(fds.next().ok_or_else(missing)?)?;
    if listeners.len() != passed.listeners.len() {
        return Err(missing());
    }
    let mut held = Held {
        directory: Some(Rc::new(Directory::from(fds.next().ok_or_else(missing)?))),
        ..Held::default()
    };
    for (fd, record) in listeners.into_iter().zip(&passed.listeners) {
        let listener = Listener::handed_over(fd, record, true)?;
        held.add_listener(Rc::new(listener));
    }
    if let Some(record) = &passed.pidfile {
        let file = PidFile::adopt(record, fds.next().ok_or_else(missing)?, true);
        held.add_pidfile(Rc::new(file));
    }
    Ok(Proof {
        image: None,
        held,
        file: passed.file,
        names: passed.names,
        watch: passed.watch,
    })
}

/// In the child: from the fork to the program, which is not come back from but with an error.
fn become_program(
    program: &Program,
    image: &Image,
    keep: &[RawFd],
    master: Pid,
    variable: &str,
) -> io::Error {
    let prepare = || -> io::Result<()> {
        sys::reset_signals();
        setpgid(Pid::from_raw(0), Pid::from_raw(0))?;
        // It has nothing to do in a world without its master.
        prctl::set_pdeathsig(Signal::SIGKILL)?;
        if getppid() != master {
            sys::exit_now(1);
        }
        // If memory runs out, it is taken before whoever serves.
        let _ = std::fs::write("/proc/self/oom_score_adj", "1000");
        program.restore(image, keep.iter().copied().max().unwrap_or(0))?;
        keep.iter().try_for_each(|fd| sys::keep_on_exec(*fd))?;
        // What `main` prints before it serves was printed before.
        daemon::silence_stdout()?;
        program.unblock()
    };
    match prepare() {
        Ok(()) => program.execute(image, (handover::VARIABLE, variable)),
        Err(error) => error,
    }
}
