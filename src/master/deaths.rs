//! Workers that hang or have died: what is asked of them, looked at and written down.
//!
//! It decides nothing, and waits for nothing: what a worker has to say it says on the scoreboard, and
//! names for addresses are looked up by a process of its own.

use ferricorn_base::board::{LastWords, Tally};

use super::control::{counts, who};
use super::{Master, now};
use crate::children::Child;
use crate::control::words::News;
use crate::diagnose::{self, End, Look};
use crate::state::{Ending, Event, Fate, Parting, WorkerId};
use crate::tally::Exit;
use crate::{scribe, sys};

/// Processes that look up names at once; what is beyond that is shown as numbers.
const SCRIBES: usize = 4;

impl Master {
    /// Asks a worker that is past a deadline where it is, after a look of our own, which a signal
    /// disturbs.
    pub(super) fn ask(&mut self, worker: WorkerId) {
        self.set_alive(worker, false);
        let Some(child) = self.children.get(&worker) else {
            return;
        };
        let Some(pid) = child.pid else {
            let fate = self.state.pool().get(worker).and_then(|worker| worker.fate);
            return self.diagnose_unmade(child.slot, fate.unwrap_or(Fate::BootTimeout));
        };
        let look = Some(Look::at(pid, now()));
        // One that does not listen yet would die of it.
        let board = self.board.as_ref();
        if self.is_on_its_seat(child, pid) && board.is_some_and(|b| b.listens(child.seat)) {
            if let Err(error) = sys::kill(pid, libc::SIGUSR2) {
                log::debug!("cannot ask worker {} (pid {pid}): {error}", child.slot);
            }
        }
        if let Some(child) = self.children.get_mut(&worker) {
            child.leaving = true;
            child.look = look;
        }
    }

    /// Writes down what is known of a worker that is about to be ended.
    pub(super) fn diagnose(&mut self, worker: WorkerId, fate: Fate) {
        let Some(child) = self.children.get(&worker) else {
            return;
        };
        let (slot, what) = (child.slot, diagnose::accusation(fate));
        // Of one that there is not yet all was said when it was to be asked.
        let Some(pid) = child.pid else {
            return;
        };
        let serving = diagnose::serving(&self.view(child), now());
        let whereabouts = diagnose::whereabouts(pid, child.look.as_ref(), now());
        log::error!("Worker {slot} (pid {pid}) {what}{serving} ({whereabouts})");
        let place = self
            .board
            .as_ref()
            .filter(|_| self.is_on_its_seat(child, pid))
            .and_then(|board| board.place(child.seat));
        if let Some(place) = place {
            let (line, generation) = (
                format!("Worker {slot} (pid {pid}) is in "),
                child.generation,
            );
            self.write_calls(line, generation, &place);
        }
    }

    /// Looks whether a worker that was aborted writes a core.
    pub(super) fn look_for_core(&mut self, worker: WorkerId) {
        let pid = self.children.get(&worker).and_then(|child| child.pid);
        if !pid.is_some_and(diagnose::dumps_core) {
            self.events.push_back(Event::NoCore(worker));
        }
    }

    /// Says how a worker has ended, and while serving whom.
    pub(super) fn bury(
        &mut self,
        worker: WorkerId,
        ending: Ending,
        fate: Option<Fate>,
        parting: Option<Parting>,
    ) {
        let Some(child) = self.children.remove(&worker) else {
            return;
        };
        if let Some(board) = &self.board {
            board.bury(child.seat);
        }
        let (slot, whom) = (child.slot, child.whom());
        let killed = matches!(ending, Ending::Signal(libc::SIGKILL));
        let oom = if killed {
            self.oom.evidence(now())
        } else {
            None
        };
        let exit = Exit {
            ending,
            fate,
            sent: child.sent,
            oom: oom.is_some(),
            served: child.ready,
        };
        if let Some(board) = &self.board {
            board.tally(Tally::Exits, exit.cause(), 1);
        }
        let last = self
            .board
            .as_ref()
            .filter(|_| {
                child
                    .pid
                    .is_some_and(|pid| self.is_on_its_seat(&child, pid))
            })
            .and_then(|board| board.last_words(child.seat));
        let (words, well) = diagnose::obituary(End {
            ending,
            fate,
            sent: child.sent,
            oom,
            last: last.as_ref(),
            pid: child.pid,
        });
        if well {
            log::info!("Worker {slot} ({whom}) {words}");
        } else {
            let (view, now, generation) = (self.view(&child), now(), child.generation);
            let serving = diagnose::serving(&view, now);
            log::error!("Worker {slot} of generation {generation} ({whom}) {words}{serving}");
            if let Some(answered) = diagnose::answered(&view, now) {
                log::error!("Worker {slot} ({whom}) had answered {answered}");
            }
            if let Some(last) = last {
                self.write_calls(
                    format!("Worker {slot} ({whom}) died in "),
                    generation,
                    &last,
                );
            }
        }
        self.after_exit(&child, ending, &words, well);
        self.past.ended(slot, &words, well, now());
        if let Some(who) = who(&child) {
            self.publish(&News::WorkerLeft {
                who,
                ending: words,
                well,
                counts: parting.map(counts),
            });
        }
        if exit.is_of_its_work() {
            self.blame(&self.view(&child));
        }
    }

    /// Logs the calls in which a worker was, behind `line`: their names where this image has made
    /// the worker, so that they lie in the same place here.
    fn write_calls(&mut self, line: String, generation: u64, words: &LastWords) {
        if words.frames.is_empty() {
            return;
        }
        let generation = self.generations.get(&generation);
        let ours = generation.filter(|g| g.recipe.is_some() && self.spent.len() < SCRIBES);
        let numbers = || scribe::numbers(&words.frames, words.base);
        let Some(generation) = ours else {
            return log::error!("{line}{}", numbers());
        };
        match scribe::spawn(generation, &line, &words.frames) {
            Ok(pid) => {
                self.spent.push(pid);
                self.unwritten.insert(pid, format!("{line}{}", numbers()));
            }
            Err(error) => {
                log::debug!("cannot look up names: {error}");
                log::error!("{line}{}", numbers());
            }
        }
    }

    /// Whether what lies on a worker's pages is its own, and not a predecessor's.
    fn is_on_its_seat(&self, child: &Child, pid: i32) -> bool {
        let board = self.board.as_ref();
        board.is_some_and(|board| board.view(child.seat).pid == pid as u64)
    }
}
