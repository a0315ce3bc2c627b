//! The difference between the workers that there are and those that there should be.
//!
//! Called after every event while the server runs. It starts, drains and ends workers until
//! nothing more may be done now, always within the budget: never more than `max-surge` workers
//! in a place that another one holds, never fewer than wanted less `max-unavailable` that serve
//! because of us. Pure.

use super::action::{Action, Fate, Note};
use super::event::{Generation, Moment, Policy, WorkerId};
use super::pool::Worker;
use super::roll::{GivenUp, RETIRED, Reload, Roll};
use super::{Phase, State};

impl State {
    /// Asks for everything that may be done now.
    pub(super) fn converge(&mut self, now: Moment, out: &mut Vec<Action>) {
        self.release_if_needed();
        self.end_surplus(now, out);
        self.end_obsolete(now, out);
        self.start_missing(now, out);
        self.settle(out);
        self.announce(out);
        self.forget(out);
        self.settle_accounts(out);
        self.reload_again(now, out);
    }

    /// Begins to replace what serves by the generation that this image can spawn.
    pub(super) fn begin_roll(
        &mut self,
        target: Generation,
        policy: Policy,
        now: Moment,
        out: &mut Vec<Action>,
    ) {
        let (old_wanted, old_retired) = (self.wanted, self.retired);
        self.rescale(&self.policy(self.current), &policy);
        self.retired = false;
        self.policies.insert(target, policy);
        self.own = target;
        self.ledger.rolls(target);
        let vacant = (0..self.wanted).find(|slot| !self.pool.any(|w| w.holds() && w.slot == *slot));
        let canary = vacant.unwrap_or(0);
        self.reload = Reload::Rolling(Roll {
            target,
            canary,
            proved: false,
            deaths: 0,
            old_wanted,
            old_retired,
        });
        out.push(Action::Tell(Note::Rolling(target)));
        self.hurry_superseded(target, now, out);
    }

    /// Gives the roll up, if there is one: who is left of the old generation stays. Nobody can be
    /// spawned in it any more, so that whoever is missing comes from the new one.
    pub(super) fn abort_roll(&mut self, reason: &str, out: &mut Vec<Action>) {
        if let Reload::Rolling(roll) = &self.reload {
            self.wanted = roll.old_wanted;
            self.retired = roll.old_retired;
            self.reload_failed(reason.to_owned(), out);
        }
    }

    /// WINCH: nobody serves until HUP or TTIN. Every reload that was asked for before would bring the
    /// workers back, so that it is given up, and its verdict says why.
    pub(super) fn retire_all(&mut self, now: Moment, out: &mut Vec<Action>) {
        let reason = RETIRED.to_owned();
        self.retired = true;
        out.push(Action::Tell(Note::Retired));
        if std::mem::take(&mut self.reload_again) {
            self.reloads += 1;
            self.ledger.open(self.reloads, now);
            self.tell_failed(reason.clone(), out);
            out.extend(self.ledger.fail(reason.clone()).map(Action::Verdict));
        }
        match &mut self.reload {
            Reload::Idle => {}
            Reload::Probing { given_up, .. } => {
                if given_up.replace(GivenUp::Retired).is_none() {
                    out.push(Action::Cancel);
                }
            }
            Reload::Executing => {
                out.push(Action::Cancel);
                self.reload_failed(reason, out);
            }
            Reload::Rolling(roll) => {
                roll.old_retired = true;
                self.abort_roll(&reason, out);
            }
        }
    }

    /// TTIN.
    pub(super) fn more(&mut self, out: &mut Vec<Action>) {
        if self.retired {
            self.retired = false;
            self.wanted = 1;
        } else if !self.fits(self.wanted + 1) {
            out.push(Action::Tell(Note::NoMoreSeats));
            return;
        } else {
            self.wanted += 1;
        }
        if let Reload::Rolling(roll) = &mut self.reload {
            roll.old_wanted += 1;
        }
        self.pin();
        out.push(Action::Tell(Note::Wanted(self.wanted)));
    }

    /// TTOU.
    pub(super) fn less(&mut self, out: &mut Vec<Action>) {
        if self.wanted <= 1 || self.retired {
            out.push(Action::Tell(Note::NeverNone));
            return;
        }
        self.wanted -= 1;
        if let Reload::Rolling(roll) = &mut self.reload {
            roll.old_wanted = roll.old_wanted.saturating_sub(1).max(1);
        }
        self.pin();
        out.push(Action::Tell(Note::Wanted(self.wanted)));
    }

    /// The operator says how many.
    pub(super) fn scale(&mut self, workers: usize, out: &mut Vec<Action>) {
        let workers = workers.max(1);
        if !self.fits(workers) {
            out.push(Action::Tell(Note::NoMoreSeats));
            return;
        }
        if let Reload::Rolling(roll) = &mut self.reload {
            let kept = (roll.old_wanted + workers).saturating_sub(self.wanted);
            roll.old_wanted = kept.max(1);
        }
        self.retired = false;
        self.wanted = workers;
        self.pin();
        out.push(Action::Tell(Note::Wanted(workers)));
    }

    /// How many slots should be filled.
    fn goal(&self) -> usize {
        match self.reload.roll() {
            _ if self.retired => 0,
            Some(roll) if !roll.proved => roll.old_goal().max(roll.canary + 1),
            _ => self.wanted,
        }
    }

    /// How many workers must serve whatever we do.
    pub(super) fn floor(&self) -> usize {
        let goal = match self.reload.roll() {
            Some(roll) => roll.old_goal().min(self.wanted),
            None => self.goal(),
        };
        goal.saturating_sub(self.budget().unavailable)
    }

    /// Whether a worker is what its slot should have. Where nothing is rolled that is the oldest
    /// one, of whatever generation: another image's cannot be replaced by its like.
    fn is_fresh(&self, worker: &Worker) -> bool {
        let suits = match self.reload.roll() {
            Some(roll) if roll.proved || roll.canary == worker.slot => {
                worker.generation == roll.target
            }
            _ => !self.pool.any(|other| {
                let older = other.generation < worker.generation;
                older && other.slot == worker.slot && other.serves() && other.retiring.is_none()
            }),
        };
        suits && worker.retiring.is_none()
    }

    fn may_lose_one(&self) -> bool {
        self.pool.count(Worker::serves) > self.floor()
    }

    fn end_surplus(&mut self, now: Moment, out: &mut Vec<Action>) {
        let goal = self.goal();
        let mut surplus = self
            .pool
            .which(|worker| worker.holds() && worker.slot >= goal);
        surplus.sort_by_key(|id| std::cmp::Reverse(self.pool.get(*id).map(|w| w.slot)));
        for id in surplus {
            if self.pool.get(id).is_some_and(Worker::boots) {
                self.dismiss(id, Fate::Surplus, false, now, out);
            } else if self.may_lose_one() {
                self.drain(id, Fate::Surplus, false, now, out);
            }
        }
    }

    fn end_obsolete(&mut self, now: Moment, out: &mut Vec<Action>) {
        let goal = self.goal();
        let held = self
            .pool
            .which(|worker| worker.holds() && worker.slot < goal);
        for id in held {
            let Some(worker) = self.pool.get(id).cloned() else {
                continue;
            };
            if self.is_fresh(&worker) {
                continue;
            }
            let fate = worker.retiring.map_or(Fate::Replaced, Fate::Recycled);
            if worker.boots() {
                self.dismiss(id, fate, false, now, out);
            } else if self.may_lose_one() && self.is_replaceable(id, &worker, now) {
                self.drain(id, fate, false, now, out);
                if !self.pool.any(|w| w.slot == worker.slot && w.serves()) {
                    self.tell_short(out);
                }
            }
        }
    }

    /// Whether a worker that serves may go: a better one serves in its slot, or must come after it.
    fn is_replaceable(&mut self, id: WorkerId, worker: &Worker, now: Moment) -> bool {
        let slot = worker.slot;
        // Where nobody is what the slot should have, two would stand in the way of whoever is.
        let rank = |id, w: &Worker| (self.is_fresh(w), w.retiring.is_none(), id);
        let own = rank(id, worker);
        if self
            .pool
            .iter()
            .any(|(id, w)| w.slot == slot && w.serves() && rank(id, w) > own)
        {
            return true;
        }
        let coming = self
            .pool
            .any(|w| w.slot == slot && w.boots() && self.is_fresh(w));
        let proved = self.reload.roll().is_some_and(|roll| roll.proved);
        let budget = self.budget();
        let spare = proved && worker.generation != self.own && budget.unavailable > 0;
        let before = budget.surge == 0 || spare;
        before && !coming && self.is_due(slot, now)
    }

    /// Whether a slot may have a worker now: its back-off is over, and not too many were started
    /// just now. If not, the state is to be woken then.
    fn is_due(&mut self, slot: usize, now: Moment) -> bool {
        let policy = self.policy(self.own);
        // All at once, and each of them once more.
        let burst = 2 * self.wanted.max(policy.spawn_rate as usize);
        let rate = self.rate.due(policy.spawn_rate, burst);
        let due = self.pool.backoff(slot).due(self.own).max(rate);
        if due > now {
            self.wake = Some(self.wake.map_or(due, |wake| wake.min(due)));
        }
        due <= now
    }

    fn start_missing(&mut self, now: Moment, out: &mut Vec<Action>) {
        let is_held = |state: &State, slot: usize| state.pool.any(|w| w.slot == slot && w.holds());
        let mut slots: Vec<usize> = (0..self.goal())
            .filter(|slot| {
                !self
                    .pool
                    .any(|w| w.slot == *slot && w.holds() && self.is_fresh(w))
            })
            .collect();
        // Vacant places first: there somebody is missing.
        slots.sort_by_key(|slot| is_held(self, *slot));
        let generation = self.own;
        for slot in slots {
            if is_held(self, slot) && self.pool.extra() >= self.budget().surge {
                continue;
            }
            // In place means in the same memory, which whoever leaves has until it is gone.
            let leaves = self.pool.any(|w| w.slot == slot && !w.holds());
            if leaves && self.is_short() || !self.is_due(slot, now) {
                continue;
            }
            let until = now + self.policy(generation).boot_timeout;
            let Some((worker, seat)) = self.pool.add(slot, generation, now, until) else {
                return;
            };
            self.rate.take(self.policy(generation).spawn_rate, now);
            out.push(Action::Spawn {
                worker,
                slot,
                seat,
                generation,
            });
        }
    }

    /// Ends a roll that is complete. One that was given up is completed like this too, when nobody
    /// of the old generation is left.
    fn settle(&mut self, out: &mut Vec<Action>) {
        let own = self.own;
        if self.current == own {
            return;
        }
        let new = |w: &Worker| w.serves() && w.generation == own;
        let complete = (0..self.wanted).all(|slot| self.pool.any(|w| w.slot == slot && new(w)));
        if complete && !self.pool.any(|w| w.holds() && w.generation != own) {
            self.current = own;
            self.failure = None;
            if self.reload.roll().is_some() {
                self.reload = Reload::Idle;
                self.ledger.complete();
            }
            out.push(Action::Commit(own));
        }
    }

    fn announce(&mut self, out: &mut Vec<Action>) {
        let answered = |slot: usize| {
            self.pool.any(|w| w.slot == slot && w.serves())
                || self.pool.backoff(slot).is_failing() && !self.is_tried()
        };
        if !self.announced && self.phase == Phase::Running && (0..self.wanted).all(answered) {
            self.announced = true;
            out.push(Action::Announce);
        }
    }

    fn forget(&mut self, out: &mut Vec<Action>) {
        let gone: Vec<Generation> = self
            .policies
            .keys()
            .copied()
            .filter(|generation| *generation != self.current && *generation != self.own)
            .filter(|generation| !self.pool.any(|w| w.generation == *generation))
            .collect();
        for generation in gone {
            self.policies.remove(&generation);
            self.forget_doubts(generation);
            out.push(Action::Forget(generation));
        }
    }

    /// Says what came of the reloads whose old workers have all gone.
    fn settle_accounts(&mut self, out: &mut Vec<Action>) {
        let oldest = self.pool.iter().map(|(_, worker)| worker.generation).min();
        let verdicts = self.ledger.close(oldest);
        out.extend(verdicts.into_iter().map(Action::Verdict));
    }

    fn reload_again(&mut self, now: Moment, out: &mut Vec<Action>) {
        if self.may_reload() && std::mem::take(&mut self.reload_again) {
            self.probe(now, out);
        }
    }
}
