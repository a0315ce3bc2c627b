//! Workers that hang or have died: what is asked of them, looked at and written down.
//!
//! It decides nothing, and waits for nothing: what a worker has to say it says on the scoreboard, and
//! names for addresses are looked up by a process of its own.

use ferricorn_base::board::{LastWords, RequestView, Tally};

use super::control::{counts, who};
use super::{Master, now};
use crate::children::Child;
use crate::control::words::News;
use crate::diagnose::{self, End, Look, Thread};
use crate::state::{ASK, Ending, Event, Fate, Moment, Overdue, Parting, WorkerId};
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
        let look = Some(Look::at(self.suspect(child, pid), now()));
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
            child.answer_at = None;
        }
    }

    /// Remembers which requests of a worker are past their time. Where it goes on with others, it is asked
    /// where those are that are new among them, and answers their clients.
    pub(super) fn accuse(&mut self, worker: WorkerId, which: Overdue, late: Vec<RequestView>) {
        let Some(child) = self.children.get_mut(&worker) else {
            return;
        };
        let began = |request: &RequestView| request.started_us;
        let fresh = late.iter().find(|r| !child.hung.contains(&r.started_us));
        let fresh = fresh.map(|request| request.tid);
        // Two that have begun in the same microsecond are told of as one.
        child.hung = late.iter().map(began).collect();
        let (Some(tid), Some(pid), Overdue::Thread) = (fresh, child.pid, which) else {
            return;
        };
        child.look = Some(Look::at(Thread::with(pid, tid), now()));
        child.answer_at = Some(now() + ASK);
        let (slot, seat) = (child.slot, child.seat);
        let on_its_seat = self
            .children
            .get(&worker)
            .map(|child| self.is_on_its_seat(child, pid));
        let board = self.board.as_ref().filter(|_| on_its_seat == Some(true));
        if board.is_some_and(|board| board.listens(seat)) {
            if let Err(error) = sys::queue_signal(pid, libc::SIGUSR2) {
                log::debug!("cannot ask worker {slot} (pid {pid}): {error}");
            }
        }
    }

    /// Writes down where the handlers are that were past their time a moment ago, of workers that go on.
    pub(super) fn hear_accused(&mut self, now: Moment) {
        let due = |child: &Child| child.answer_at.is_some_and(|at| at <= now);
        let all = self.children.iter().filter(|(_, child)| due(child));
        for id in all.map(|(id, _)| *id).collect::<Vec<_>>() {
            if let Some(child) = self.children.get_mut(&id) {
                child.answer_at = None;
            }
            self.describe(
                id,
                "has a request past timeout and goes on with its other threads",
            );
        }
    }

    /// The thread of a worker that is to be looked at: that of a request that is past its time.
    fn suspect(&self, child: &Child, pid: i32) -> Thread {
        let view = self.view(child);
        let mut in_flight = view.in_flight.iter();
        let hung = in_flight.find(|request| child.hung.contains(&request.started_us));
        Thread::with(pid, hung.map_or(0, |request| request.tid))
    }

    /// Writes down what is known of a worker that is about to be ended.
    pub(super) fn diagnose(&mut self, worker: WorkerId, fate: Fate) {
        self.describe(worker, diagnose::accusation(fate));
    }

    fn describe(&mut self, worker: WorkerId, what: &str) {
        let Some(child) = self.children.get(&worker) else {
            return;
        };
        // Of one that there is not yet all was said when it was to be asked.
        let (slot, Some(pid)) = (child.slot, child.pid) else {
            return;
        };
        let meant = |request: &RequestView| child.hung.contains(&request.started_us);
        let serving = diagnose::serving(&self.view(child), meant, now());
        let thread = self.suspect(child, pid);
        let whereabouts = diagnose::whereabouts(thread, child.look.as_ref(), now());
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
        // What it died of is in the handler of the thread that says so, or was past its time.
        let meant = |request: &RequestView| {
            let died = last.as_ref().zip(child.pid);
            died.is_some_and(|(last, pid)| diagnose::is_with(request, last, pid))
                || child.hung.contains(&request.started_us)
        };
        let mut view = self.view(&child);
        if well {
            log::info!("Worker {slot} ({whom}) {words}");
        } else {
            let (now, generation) = (now(), child.generation);
            let serving = diagnose::serving(&view, meant, now);
            log::error!("Worker {slot} of generation {generation} ({whom}) {words}{serving}");
            if let Some(answered) = diagnose::answered(&view, now) {
                log::error!("Worker {slot} ({whom}) had answered {answered}");
            }
            if let Some(last) = &last {
                self.write_calls(format!("Worker {slot} ({whom}) died in "), generation, last);
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
            // One that was to leave has been asked to because of what hung, and whatever else it cut is none of
            // the cause.
            let leaves = matches!(fate, Some(Fate::Recycled(_)));
            if leaves || view.in_flight.iter().any(meant) {
                view.in_flight.retain(meant);
            }
            self.blame(&view);
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
