//! What the system says of the master's children: they have ended, stand still, or go on.
//!
//! An arrival at a listener wakes one worker. Whoever is killed or stopped in that very moment takes the
//! wake-up along, so that the others are told to look. It decides nothing else, and never waits.

use super::Master;
use super::control::who;
use crate::children::Child;
use crate::control::words::News;
use crate::exit::signal_name;
use crate::state::{Ending, Event, WorkerId};
use crate::sys;

impl Master {
    /// Reaps the dead: its own, and as the subreaper of what a mold forks, or as process 1,
    /// strangers.
    pub(super) fn reap(&mut self) {
        self.note_halts();
        loop {
            self.reap_workers();
            self.reap_molds();
            self.reap_aides();
            self.reap_trial();
            self.reap_second();
            let Ok(Some(pid)) = sys::ended() else {
                return;
            };
            // Who has ended says nothing more: who is not known when all was heard is nobody's.
            self.hear_all();
            if self.is_trial(pid) {
                self.end_trial();
            } else if !self.is_known(pid) {
                match sys::reap(pid) {
                    Ok(Some(ending)) => log::info!("an orphan (pid {pid}) {ending}"),
                    reaped => return log::error!("cannot reap process {pid}: {reaped:?}"),
                }
            }
        }
    }

    fn reap_workers(&mut self) {
        let known = self.children.iter();
        let known: Vec<(WorkerId, i32)> = known.filter_map(|(id, c)| Some((*id, c.pid?))).collect();
        for (id, pid) in known {
            match sys::reap(pid) {
                Ok(None) => {}
                Ok(Some(ending)) => self.exited(id, ending),
                // Somebody else has reaped it; how it ended nobody knows.
                Err(error) => {
                    log::error!("worker process {pid} is lost: {error}");
                    self.exited(id, Ending::Signal(0));
                }
            }
        }
    }

    /// A worker was reaped. Its last words are in the life-line still; they say why.
    pub(super) fn exited(&mut self, id: WorkerId, ending: Ending) {
        self.hear(id);
        if ending != Ending::Code(0) {
            self.rouse();
        }
        self.happened(Event::Exited(id, ending));
    }

    /// Workers that were stopped, or go on: nobody has to wonder why one answers nothing.
    fn note_halts(&mut self) {
        while let Ok(Some((pid, signal))) = sys::halted() {
            let worker = self.children.values().find(|child| child.pid == Some(pid));
            let Some((slot, who)) = worker.and_then(|child| Some((child.slot, who(child)?))) else {
                continue;
            };
            if signal == libc::SIGCONT {
                log::info!("Worker {slot} (pid {pid}) goes on");
                self.publish(&News::WorkerContinued { who });
            } else {
                let signal = signal_name(signal);
                log::warn!("Worker {slot} (pid {pid}) was stopped by {signal}");
                self.publish(&News::WorkerStopped { who, signal });
                self.rouse();
            }
        }
    }

    /// Has those who accept look whether a connection waits.
    fn rouse(&self) {
        let accept = |child: &&Child| child.ready && !child.leaving;
        for child in self.children.values().filter(accept) {
            self.doors.ring(child.seat);
        }
    }
}
