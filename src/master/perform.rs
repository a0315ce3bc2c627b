//! Doing what the state has decided, one action at a time.
//!
//! It decides nothing and waits for nothing; what fails comes back as an event.

use std::rc::Rc;

use ferricorn_base::board::{Counter, SeatView};
use ferricorn_base::lifeline::Down;

use super::control::who;
use super::{Master, mold, now};
use crate::children::Child;
use crate::control::words::{News, Who};
use crate::generation::Generation;
use crate::report;
use crate::sockets::Listener;
use crate::spawn::{self, Inheritance, Order};
use crate::state::{self, Action, Event, Fate, Note, Step, WorkerId};

impl Master {
    pub(super) fn perform(&mut self, action: Action) {
        match action {
            Action::Spawn {
                worker,
                slot,
                seat,
                generation,
            } => {
                if let Err(error) = self.spawn(worker, slot, seat, generation) {
                    self.events
                        .push_back(Event::SpawnFailed(worker, error.to_string()));
                }
            }
            Action::Drain {
                worker,
                stop,
                heirs,
            } => {
                // Nobody accepts after the last worker of a listener that is going away.
                let stop = stop || self.is_last_at_a_listener(worker);
                self.tell(worker, Down::Drain { stop, heirs });
            }
            Action::Hurry(worker, within) => self.tell(worker, Down::Hurry(within)),
            Action::Unready => {
                if let Some(board) = &self.board {
                    board.set_stopping();
                }
            }
            Action::Deafen => {
                if let Some(board) = &self.board {
                    board.set_ending();
                }
                self.deafen();
            }
            Action::Quit(worker) => self.tell(worker, Down::Quit),
            Action::Signal(worker, signal) => {
                self.set_alive(worker, false);
                if let Some(child) = self.children.get_mut(&worker) {
                    child.leaving = true;
                    child.signal(signal);
                    if child.pid.is_none() {
                        self.signal_unmade(worker, signal);
                    }
                }
            }
            Action::Retire {
                worker,
                why,
                memory,
            } => self.tell_retired(worker, why, memory),
            Action::Ask(worker) => {
                self.ask(worker);
                let asked = self.state.pool().get(worker);
                if asked.is_some_and(|asked| asked.fate == Some(Fate::RequestTimeout)) {
                    self.tell(worker, Down::Doomed);
                }
            }
            Action::LookForCore(worker) => self.look_for_core(worker),
            Action::Diagnose(worker, fate) => {
                self.diagnose(worker, fate);
                self.before_abort(worker);
            }
            Action::Bury(worker, ending, fate, parting) => {
                self.bury(worker, ending, fate, parting);
            }
            Action::Probe => {
                if let Err(error) = self.probe() {
                    self.events.push_back(Event::LoadFailed(error.to_string()));
                }
            }
            Action::Cancel => self.cancel(),
            // When all that has happened until now was dealt with.
            Action::Exec => self.executes = true,
            Action::Commit(generation) => {
                self.commit(generation);
                self.publish(&News::TakenOver { generation });
            }
            Action::Verdict(verdict) => self.verdict(verdict),
            Action::Forget(generation) => {
                self.generations.remove(&generation);
            }
            Action::Reopen => {
                self.reopen();
                self.publish(&News::Reopened {});
            }
            Action::Announce => {
                self.announce();
                let listeners = self.generations.get(&self.serving).map(Generation::urls);
                let listeners = listeners.unwrap_or_default();
                self.publish(&News::Started { listeners });
            }
            Action::Upgrade => {
                if let Err(error) = self.upgrade() {
                    let ended = state::Other::Ended(error.to_string());
                    self.events.push_back(Event::Other(ended));
                }
            }
            Action::EndSecond(signal) => self.end_second(signal),
            Action::Own => self.own(),
            Action::Exit(code) => {
                self.exit = Some(code);
                self.publish(&News::Stopped { code });
            }
            Action::Tell(note) => {
                report::note(&note);
                if let Note::StartFailed { reason, .. } = &note {
                    self.tell_why_not(reason);
                }
            }
        }
    }

    fn spawn(
        &mut self,
        worker: WorkerId,
        slot: usize,
        seat: usize,
        generation: state::Generation,
    ) -> std::io::Result<()> {
        let (children, mold) = (&self.children, self.mold.as_ref());
        self.doors.open(seat, |news, door| {
            children
                .values()
                .for_each(|child| child.tell(news, &[door]));
            mold::tell(mold, news, &[door]);
        })?;
        self.before_fork(slot, generation);
        let recipe = self
            .generations
            .get(&generation)
            .and_then(|g| g.recipe.as_ref());
        if recipe.is_some_and(|recipe| recipe.config.preload) {
            return self.order(worker, slot, seat, generation);
        }
        let name = self.suffix(generation);
        let Some(made_from) = self.generations.get(&generation) else {
            return Err(std::io::Error::other(self.broken.clone()));
        };
        let (pid, lifeline) = spawn::spawn(Order {
            slot,
            seat,
            from: Inheritance {
                generation: made_from,
                listeners: &made_from.listeners,
                registry: &mut self.registry,
                board: &mut self.board,
                doors: self.doors.all(),
                rendezvous: &self.rendezvous,
                name: &name,
            },
        })?;
        let child = Child::new(Some(pid), slot, seat, generation, now(), Some(lifeline));
        self.children.insert(worker, child);
        self.is_there(worker);
        Ok(())
    }

    /// Tells of a worker that was made.
    pub(super) fn is_there(&mut self, worker: WorkerId) {
        let Some(Who {
            slot,
            pid,
            generation,
        }) = self.children.get(&worker).and_then(who)
        else {
            return;
        };
        log::info!("Booting worker with pid: {pid} (worker {slot}, generation {generation})");
        let standing = self.state.standing(now());
        let cause = match standing.reload {
            Some(Step::Rolling { target, .. }) if target == generation => "reload",
            _ if !standing.announced => "start",
            _ => "vacant",
        };
        let cause = cause.to_owned();
        self.news_of(worker, |who| News::WorkerStarted { who, cause });
    }

    fn tell(&mut self, worker: WorkerId, command: Down) {
        self.set_alive(worker, false);
        let answered = self.children.get(&worker).map(|child| self.answered(child));
        if let Some(child) = self.children.get_mut(&worker) {
            child.leaving = true;
            child.answered = child.answered.or(answered);
            child.tell(command, &[]);
        }
    }

    /// Lets nobody else connect, where that is ours to say.
    fn deafen(&self) {
        for listener in self.generations.values().flat_map(|g| &g.listeners) {
            if let Err(error) = listener.deafen() {
                let url = listener.url();
                log::debug!("{url}: who connects now may be reset: {error}");
            }
        }
    }

    /// Whether a worker is the last one that accepts from a listener which no other generation
    /// has, nor another master: what waits there is its to take.
    fn is_last_at_a_listener(&self, worker: WorkerId) -> bool {
        let Some(number) = self.children.get(&worker).map(|child| child.generation) else {
            return false;
        };
        let sibling = |(id, child): (&WorkerId, &Child)| {
            *id != worker && child.generation == number && !child.leaving
        };
        let others_accept = |listener: &Rc<Listener>| listener.is_shared();
        !self.children.iter().any(sibling)
            && !self.exclusive_listeners(number).iter().all(others_accept)
    }

    /// The listeners that only this generation has.
    fn exclusive_listeners(&self, number: state::Generation) -> Vec<Rc<Listener>> {
        let mine = self
            .generations
            .get(&number)
            .map_or(&[][..], |g| &g.listeners);
        let others = || self.generations.values().filter(|g| g.number != number);
        mine.iter()
            .filter(|listener| {
                !others().any(|g| g.listeners.iter().any(|other| Rc::ptr_eq(other, listener)))
            })
            .cloned()
            .collect()
    }

    /// Closes our copies of what only generations have that accept no more, so that nobody waits
    /// in a queue that nobody empties.
    pub(super) fn close_abandoned_listeners(&mut self) {
        let serving = self.serving;
        for number in self.generations.keys().copied().collect::<Vec<_>>() {
            let accepts = |child: &Child| child.generation == number && !child.leaving;
            if number == serving || self.children.values().any(accepts) {
                continue;
            }
            let gone = self.exclusive_listeners(number);
            if let Some(generation) = self.generations.get_mut(&number) {
                generation
                    .listeners
                    .retain(|l| !gone.iter().any(|other| Rc::ptr_eq(l, other)));
            }
        }
    }

    /// How many requests a worker has answered, as it says.
    fn answered(&self, child: &Child) -> u64 {
        self.view(child).counters[Counter::Requests as usize]
    }

    /// Says on the scoreboard whether siblings may leave connections to this worker.
    pub(super) fn set_alive(&self, worker: WorkerId, alive: bool) {
        if let (Some(board), Some(child)) = (&self.board, self.children.get(&worker)) {
            board.set_alive(child.seat, alive);
        }
    }

    /// What a worker says of itself; nothing when the pages are still those of a predecessor.
    pub(super) fn view(&self, child: &Child) -> SeatView {
        let view = self
            .board
            .as_ref()
            .map(|board| board.view(child.seat))
            .unwrap_or_default();
        if child.pid.is_some_and(|pid| view.pid == pid as u64) {
            view
        } else {
            SeatView::default()
        }
    }
}
