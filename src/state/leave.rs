//! How workers are made to leave: kindly, at once, or because a deadline has passed.
//!
//! Whoever is told to leave has a deadline, and behind the last one stands SIGKILL, so that
//! everything that waits for an end gets one. Pure.

use std::time::Duration;

use ferricorn_base::lifeline::Retirement;

use super::action::{Action, Fate, Note, Signal};
use super::event::{Generation, Moment, Overdue, Stop, WorkerId};
use super::pool::{Stage, Worker};
use super::roll::{GivenUp, Reload};
use super::{ABORT, ASK, CORE, GRACE, Ledger, Phase, QUICK, State};
use crate::exit::WORKER_BOOT;

impl State {
    pub(super) fn overdue(
        &mut self,
        id: WorkerId,
        which: Overdue,
        now: Moment,
        out: &mut Vec<Action>,
    ) {
        let Some(worker) = self.pool.get(id) else {
            return;
        };
        let since = match worker.stage {
            // The others are not cut for it: it serves until its successor is ready, and drains then.
            Stage::Serving { .. } if which == Overdue::Thread => {
                if worker.retiring.is_none() {
                    self.retire(id, Retirement::Timeout, 0, now, out);
                }
                return;
            }
            Stage::Draining { .. } if which == Overdue::Thread => return,
            Stage::Serving { since } => Some(since),
            Stage::Draining { .. } => None,
            Stage::Booting { .. }
            | Stage::Dismissed { .. }
            | Stage::Leaving { .. }
            | Stage::Asked { .. }
            | Stage::Aborted { .. }
            | Stage::Killed => return,
        };
        let fate = match which {
            Overdue::Request | Overdue::Thread => Fate::RequestTimeout,
            Overdue::Heartbeat => Fate::Silent,
        };
        self.ask(id, fate, now, out);
        if let (Some(since), Some(worker)) = (since, self.pool.get(id).cloned()) {
            if !matches!(self.phase, Phase::Stopping { .. }) {
                self.crashed(&worker, since, now, out);
            }
        }
    }

    /// Ends a worker because the operator wants it. Whoever follows it comes at once.
    pub(super) fn kill(&mut self, id: WorkerId, out: &mut Vec<Action>) {
        let Some(worker) = self.pool.get_mut(id) else {
            return;
        };
        worker.stage = Stage::Killed;
        worker.fate = Some(Fate::Unwanted);
        out.push(Action::Signal(id, Signal::Kill));
    }

    /// The first step against a worker that is past a deadline.
    fn ask(&mut self, id: WorkerId, fate: Fate, now: Moment, out: &mut Vec<Action>) {
        if let Some(worker) = self.pool.get_mut(id) {
            worker.stage = Stage::Asked { until: now + ASK };
            worker.fate = Some(fate);
            out.push(Action::Ask(id));
        }
    }

    /// The second: what is known is written down, then it is ended.
    fn end_hung(&mut self, id: WorkerId, fate: Fate, now: Moment, out: &mut Vec<Action>) {
        let Some(generation) = self.pool.get(id).map(|worker| worker.generation) else {
            return;
        };
        let dumps = self.policy(generation).dump_cores;
        let time = match self.phase {
            // Nobody waits a minute longer for a stop.
            Phase::Stopping { .. } => ABORT,
            Phase::Starting | Phase::Running => CORE,
        };
        let Some(worker) = self.pool.get_mut(id) else {
            return;
        };
        out.push(Action::Diagnose(id, fate));
        let (stage, signal) = match dumps {
            true => {
                let (until, last) = (now + ABORT, now + time);
                (Stage::Aborted { until, last }, Signal::Abort)
            }
            false => (Stage::Killed, Signal::Kill),
        };
        worker.stage = stage;
        out.push(Action::Signal(id, signal));
    }

    /// A worker that was aborted has no core to write, or has written it and lives.
    pub(super) fn no_core(&mut self, id: WorkerId, out: &mut Vec<Action>) {
        if let Some(worker) = self.pool.get_mut(id) {
            if matches!(worker.stage, Stage::Aborted { .. }) {
                worker.stage = Stage::Killed;
                out.push(Action::Signal(id, Signal::Kill));
            }
        }
    }

    /// What everybody was to do by a deadline, nobody could do for so long.
    pub(super) fn put_off(&mut self, time: Duration) {
        self.pool.put_off(time);
        if let Reload::Probing { until, .. } = &mut self.reload {
            *until += time;
        }
        self.put_off_second(time);
    }

    /// Ends what is past its deadline.
    pub(super) fn deadlines(&mut self, now: Moment, out: &mut Vec<Action>) {
        if let Reload::Probing { until, given_up } = &mut self.reload {
            if given_up.is_none() && *until <= now {
                *given_up = Some(GivenUp::Late);
                out.push(Action::Cancel);
            }
        }
        self.second_overdue(now, out);
        for id in self
            .pool
            .which(|worker| worker.deadline().is_some_and(|until| until <= now))
        {
            let Some(worker) = self.pool.get_mut(id) else {
                continue;
            };
            // What became of the one before may have given this one a new deadline.
            if worker.deadline().is_none_or(|until| until > now) {
                continue;
            }
            match worker.stage {
                Stage::Booting { .. } => {
                    let worker = worker.clone();
                    self.ask(id, Fate::BootTimeout, now, out);
                    let limit = self.policy(worker.generation).boot_timeout;
                    let reason = format!(
                        "worker {} was not ready within boot-timeout ({} s)",
                        worker.slot,
                        limit.as_secs_f64()
                    );
                    self.boot_failed(&worker, WORKER_BOOT, reason, now, out);
                }
                Stage::Draining { .. } => {
                    let fate = match worker.fate {
                        Some(Fate::Superseded) => Fate::Superseded,
                        _ => Fate::GracefulTimeout,
                    };
                    self.ask(id, fate, now, out);
                }
                Stage::Asked { .. } => {
                    let fate = worker.fate.unwrap_or(Fate::Stubborn);
                    self.end_hung(id, fate, now, out);
                }
                Stage::Aborted { last, .. } if now < last => {
                    let until = (now + ABORT).min(last);
                    worker.stage = Stage::Aborted { until, last };
                    out.push(Action::LookForCore(id));
                }
                Stage::Aborted { .. } => {
                    worker.stage = Stage::Killed;
                    out.push(Action::Signal(id, Signal::Kill));
                }
                Stage::Leaving { .. } | Stage::Dismissed { .. } => {
                    worker.stage = Stage::Killed;
                    // What was the matter with it first is what its obituary should say.
                    let fate = *worker.fate.get_or_insert(Fate::Stubborn);
                    if matches!(fate, Fate::Stopped(_)) {
                        out.push(Action::Diagnose(id, Fate::Stubborn));
                    }
                    out.push(Action::Signal(id, Signal::Kill));
                }
                Stage::Serving { .. } | Stage::Killed => {}
            }
        }
    }

    /// Begins a graceful stop when `pre-stop-delay` is over. Until then nothing changes
    /// but what the server says of itself.
    pub(super) fn stop_soon(&mut self, now: Moment, out: &mut Vec<Action>) {
        let delay = self.policy(self.current).pre_stop_delay;
        self.stop_at = Some(now + delay);
        out.push(Action::Unready);
        if !delay.is_zero() {
            out.push(Action::Tell(Note::StopsIn(delay)));
        }
    }

    pub(super) fn stop(&mut self, how: Stop, code: u8, now: Moment, out: &mut Vec<Action>) {
        let code = match self.phase {
            // Only a quick stop adds to a graceful one; the code of a start that failed stays.
            Phase::Stopping {
                code,
                how: Stop::Graceful,
            } if how == Stop::Quick => code,
            Phase::Stopping { .. } => return,
            Phase::Starting | Phase::Running => code,
        };
        self.phase = Phase::Stopping { code, how };
        self.stop_at = None;
        self.ledger = Ledger::default();
        if matches!(self.reload, Reload::Probing { .. } | Reload::Executing) {
            self.reload = Reload::Idle;
            out.push(Action::Cancel);
        }
        self.end_second(now, out);
        if how == Stop::Graceful {
            out.push(Action::Deafen);
        }
        // Whoever reads it knows that nobody is let in any more who would only be reset.
        out.push(Action::Tell(Note::Stopping(how)));
        // Those that drain first: what they gave away before they heard of the stop lies where the
        // others look for it when they hear.
        let mut all = self.pool.which(|_| true);
        all.sort_by_key(|id| self.pool.get(*id).is_some_and(Worker::serves));
        for id in all {
            let Some(worker) = self.pool.get(id) else {
                continue;
            };
            match (worker.stage, how) {
                (Stage::Leaving { .. } | Stage::Asked { .. } | Stage::Killed, _) => {}
                (Stage::Aborted { until, last }, _) => {
                    let time = match how {
                        Stop::Graceful => self.policy(worker.generation).graceful_timeout + GRACE,
                        Stop::Quick => QUICK,
                    };
                    let last = last.min(now + time);
                    let until = until.min(last);
                    if let Some(worker) = self.pool.get_mut(id) {
                        worker.stage = Stage::Aborted { until, last };
                    }
                }
                (Stage::Serving { .. } | Stage::Draining { .. }, Stop::Graceful) => {
                    self.drain(id, Fate::Stopped(how), true, now, out);
                }
                (Stage::Booting { .. } | Stage::Dismissed { .. }, Stop::Graceful) => {
                    self.dismiss(id, Fate::Stopped(how), true, now, out);
                }
                (_, Stop::Quick) => self.quit(id, Fate::Stopped(how), now, out),
            }
        }
    }

    pub(super) fn drain(
        &mut self,
        id: WorkerId,
        fate: Fate,
        stop: bool,
        now: Moment,
        out: &mut Vec<Action>,
    ) {
        let Some(generation) = self.pool.get(id).map(|worker| worker.generation) else {
            return;
        };
        let until = now + self.policy(generation).graceful_timeout + GRACE;
        let Some(worker) = self.pool.get_mut(id) else {
            return;
        };
        let until = match worker.stage {
            // It drains already; a stop must not give it more time than it had.
            Stage::Draining { until: earlier } => earlier.min(until),
            _ => until,
        };
        worker.stage = Stage::Draining { until };
        worker.fate = Some(fate);
        // Who serves now is told to go in the same step where all workers are retired.
        let heirs = !stop && !self.retired && self.pool.any(Worker::serves);
        out.push(Action::Drain {
            worker: id,
            stop,
            heirs,
        });
    }

    /// Ends a worker that boots. It begins to accept before it says that it is ready, so it is to finish
    /// what it may have; where it has not come so far, it has hardly any time.
    pub(super) fn dismiss(
        &mut self,
        id: WorkerId,
        fate: Fate,
        stop: bool,
        now: Moment,
        out: &mut Vec<Action>,
    ) {
        self.drain(id, fate, stop, now, out);
        // It may be in the app's own code, where nobody reads the life-line.
        out.push(Action::Signal(id, Signal::Term));
        if let Some(worker) = self.pool.get_mut(id) {
            worker.stage = Stage::Dismissed { until: now + QUICK };
        }
    }

    /// Two generations are enough: gives those who still drain for an older one than that before
    /// `target` a deadline, unless theirs comes sooner.
    pub(super) fn hurry_superseded(
        &mut self,
        target: Generation,
        now: Moment,
        out: &mut Vec<Action>,
    ) {
        let within = self.policy(target).superseded_timeout;
        let others = self.pool.iter().map(|(_, worker)| worker.generation);
        let Some(previous) = others.filter(|generation| *generation < target).max() else {
            return;
        };
        for id in self.pool.which(|worker| worker.generation < previous) {
            let Some(worker) = self.pool.get_mut(id) else {
                continue;
            };
            let limit = now + within + GRACE;
            if matches!(worker.stage, Stage::Draining { until } if until > limit) {
                worker.stage = Stage::Draining { until: limit };
                worker.fate = Some(Fate::Superseded);
                out.push(Action::Hurry(id, within));
            }
        }
    }

    pub(super) fn quit(&mut self, id: WorkerId, fate: Fate, now: Moment, out: &mut Vec<Action>) {
        let Some(worker) = self.pool.get_mut(id) else {
            return;
        };
        out.push(Action::Quit(id));
        if worker.boots() {
            // It may be in the app's own code, where nobody reads the life-line.
            out.push(Action::Signal(id, Signal::Term));
        }
        worker.stage = Stage::Leaving { until: now + QUICK };
        worker.fate = Some(fate);
    }
}
