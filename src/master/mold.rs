//! The mold, as the master deals with it: what it is told, what it says, and what becomes of those
//! that it was to make.
//!
//! A worker that it is to make is a child without a pid. What becomes of it its own life-line says, in
//! whatever order the rest happens: its first report, or the end of the file. Nothing here waits.

use std::io;
use std::os::fd::BorrowedFd;

use ferricorn_base::lifeline::{self, Down, Up};

use super::{Master, now};
use crate::children::Child;
use crate::diagnose;
use crate::mold::{Mold, Order, Stage};
use crate::spawn::Inheritance;
use crate::state::{self, Ending, Event, Fate, Signal, WorkerId};
use crate::sys;

impl Master {
    /// Has a worker made by the mold, which is made as well if there is none.
    pub(super) fn order(
        &mut self,
        worker: WorkerId,
        slot: usize,
        seat: usize,
        generation: state::Generation,
    ) -> io::Result<()> {
        self.need_mold(generation)?;
        let (ours, lifeline) = lifeline::pair()?;
        ours.ask_who()?;
        let order = Order {
            worker,
            slot,
            seat,
            lifeline,
        };
        if let Some(mold) = &mut self.mold {
            mold.order(order).inspect_err(|_| mold.kill())?;
        }
        let child = Child::new(None, slot, seat, generation, now(), Some(ours));
        self.children.insert(worker, child);
        Ok(())
    }

    fn need_mold(&mut self, generation: state::Generation) -> io::Result<()> {
        if self.mold.is_some() {
            return Ok(());
        }
        let name = self.suffix(generation);
        let Some(made_from) = self.generations.get(&generation) else {
            return Err(io::Error::other(self.broken.clone()));
        };
        let mold = Mold::make(
            Inheritance {
                generation: made_from,
                listeners: &made_from.listeners,
                registry: &mut self.registry,
                board: &mut self.board,
                doors: self.doors.all(),
                rendezvous: &self.rendezvous,
                name: &name,
            },
            now(),
        )?;
        let pid = mold.pid;
        log::info!("Loading generation {generation} in the mold (pid {pid})");
        self.mold = Some(mold);
        Ok(())
    }

    /// Takes the reports of the mold.
    pub(super) fn hear_mold(&mut self) {
        while let Some(report) = self.mold.as_mut().and_then(Mold::hear) {
            self.mold_says(report);
        }
    }

    fn mold_says(&mut self, report: Up) {
        let Some(mold) = &mut self.mold else {
            return;
        };
        match report {
            Up::Ready => {
                let (pid, took) = (mold.pid, (now() - mold.began).as_secs_f64());
                log::info!("The mold has loaded (pid {pid}, after {took:.2} s)");
                mold.stage = Stage::Loaded;
                for order in std::mem::take(&mut mold.waiting) {
                    // One that is not sent closes its life-line.
                    if mold.order(order).is_err() {
                        mold.kill();
                    }
                }
            }
            Up::Failed { stage, reason } => {
                mold.stage = Stage::Failed;
                for order in std::mem::take(&mut mold.waiting) {
                    self.unmake(order.worker, Some(stage), &reason);
                }
            }
            report => log::warn!("the mold (pid {}) says {report:?}", mold.pid),
        }
    }

    /// Reaps the mold, if it has ended, and those that were ended.
    pub(super) fn reap_molds(&mut self) {
        let unwritten = &mut self.unwritten;
        self.spent.retain(|pid| {
            let reaped = sys::reap(*pid);
            if matches!(reaped, Ok(None)) {
                return true;
            }
            let line = unwritten.remove(pid);
            if let Some(line) = line.filter(|_| !matches!(reaped, Ok(Some(Ending::Code(0))))) {
                log::error!("{line}");
            }
            false
        });
        let Some(pid) = self.mold.as_ref().map(|mold| mold.pid) else {
            return;
        };
        match sys::reap(pid) {
            Ok(None) => {}
            Ok(Some(ending)) => self.mold_ended(ending),
            Err(_) => self.mold_ended(Ending::Signal(0)),
        }
    }

    /// The mold has ended by itself, or by somebody else. The workers serve on, and those that it was
    /// to make are made by another, unless it was the application that has ended it.
    fn mold_ended(&mut self, ending: Ending) {
        self.hear_mold();
        let Some(mold) = self.mold.take() else {
            return;
        };
        let pid = mold.pid;
        if mold.stage == Stage::Loading && !mold.waiting.is_empty() {
            let reason = format!("the mold (pid {pid}) {ending} while it loaded the application");
            for order in mold.waiting {
                self.unmake(order.worker, Some(lifeline::Stage::Load), &reason);
            }
            return;
        }
        if mold.stage != Stage::Failed {
            log::warn!("The mold (pid {pid}) {ending}; the next worker is made from a new one");
        }
        for order in mold.waiting {
            let Some(generation) = self.children.get(&order.worker).map(|c| c.generation) else {
                continue;
            };
            let worker = order.worker;
            let made = self.need_mold(generation);
            let waits = made.and_then(|()| self.mold.as_mut().map_or(Ok(()), |m| m.order(order)));
            if let Err(error) = waits {
                self.unmake(worker, None, &error.to_string());
            }
        }
    }

    /// A worker that was to be made will not be. `stage` is how far the mold came with the
    /// application.
    pub(super) fn unmake(&mut self, id: WorkerId, stage: Option<lifeline::Stage>, reason: &str) {
        if self.children.remove(&id).is_none() {
            return;
        }
        if let Some(mold) = &mut self.mold {
            mold.waiting.retain(|order| order.worker != id);
        }
        let failed = stage.map(|stage| Event::Failed(id, stage, reason.to_owned()));
        self.events.extend(failed);
        let gone = Event::SpawnFailed(id, reason.to_owned());
        self.events.push_back(gone);
    }

    /// A worker says that the mold has made it. Its pid is what the system says; it is believed when it
    /// is that of a child that is nobody else.
    pub(super) fn born(&mut self, id: WorkerId, pid: i32) {
        let is_known = self.is_known(pid);
        let Some(child) = self.children.get_mut(&id).filter(|c| c.pid.is_none()) else {
            return log::warn!("process {pid} says that it is worker {id}, which there is already");
        };
        let ending = match sys::reap(pid) {
            _ if is_known => Err(io::ErrorKind::AlreadyExists.into()),
            reaped => reaped,
        };
        let ending = match ending {
            Ok(ending) => ending,
            Err(error) => {
                let reason = format!("process {pid} is no worker of this master: {error}");
                return self.unmake(id, None, &reason);
            }
        };
        child.pid = Some(pid);
        if let (None, Some(signal)) = (ending, child.sent) {
            child.signal(signal);
        }
        self.is_there(id);
        if let Some(ending) = ending {
            self.exited(id, ending);
        }
    }

    /// Whether this is a child that has a place in what the master knows. Whoever forks another kind
    /// of child has to be asked here, as it is reaped as a stranger else.
    pub(super) fn is_known(&self, pid: i32) -> bool {
        self.children.values().any(|child| child.pid == Some(pid))
            || self.is_trial(pid)
            || self.is_second(pid)
            || self.aides.has(pid)
            || self.molds().contains(&pid)
    }

    /// The pids of all molds that are not reaped yet.
    pub(super) fn molds(&self) -> Vec<i32> {
        let mold = self.mold.as_ref().map(|mold| mold.pid);
        mold.into_iter().chain(self.spent.iter().copied()).collect()
    }

    /// Ends the mold: no worker is to be made for now. There is nothing that it could finish.
    pub(super) fn end_mold(&mut self) {
        let Some(mold) = self.mold.take() else {
            return;
        };
        mold.kill();
        self.spent.push(mold.pid);
        for order in mold.waiting {
            self.unmake(order.worker, None, "its mold was ended");
        }
    }

    /// Ends a worker that is not there yet.
    pub(super) fn signal_unmade(&mut self, id: WorkerId, signal: Signal) {
        let waits = |mold: &Mold| mold.waiting.iter().any(|order| order.worker == id);
        match (signal, &self.mold) {
            (Signal::Term, Some(mold)) if waits(mold) => self.unmake(id, None, "it was told to go"),
            // It hears of it when it is there.
            (Signal::Term, _) => {}
            // It was not made in time, nor was anybody else.
            (Signal::Abort, Some(mold)) => mold.kill(),
            (Signal::Abort, None) => {}
            // If it is there nevertheless, it finds that its life-line has ended.
            (Signal::Kill, mold) => {
                mold.iter().for_each(|mold| mold.kill());
                self.unmake(id, None, "it was not made in time");
            }
        }
    }

    /// Says why a worker is given up that is not there yet.
    pub(super) fn diagnose_unmade(&self, slot: usize, fate: Fate) {
        let what = diagnose::accusation(fate);
        let Some(mold) = &self.mold else {
            return log::error!("Worker {slot} {what}: there is no mold to make it");
        };
        let (pid, whereabouts) = (
            mold.pid,
            diagnose::whereabouts(diagnose::Thread::first(mold.pid), None, now()),
        );
        let doing = match mold.stage {
            Stage::Loading => "loads the application",
            Stage::Loaded | Stage::Failed => "has not made it",
        };
        log::error!("Worker {slot} {what}: the mold (pid {pid}) {doing} ({whereabouts})");
    }
}

/// Tells the mold, if there is one, what its workers will have to know.
pub(super) fn tell(mold: Option<&Mold>, news: Down, fds: &[BorrowedFd<'_>]) {
    let Some(mold) = mold else {
        return;
    };
    match mold.tell(news, fds) {
        // It reads nothing, and what it would make knew too little.
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => mold.kill(),
        // Where it is gone it will be reaped.
        _ => {}
    }
}
