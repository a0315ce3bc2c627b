//! How much time and memory a worker has before it is replaced, or ended.
//!
//! Each draws its own allowance when it becomes ready, so that those that began together do not go
//! together. Who is past it serves on until its successor is ready, like anybody who retires. A limit that
//! two workers of a place in a row are past as soon as they have booted is a mistake of the
//! configuration: it is said, and the limit is no reason any more. Pure.

use std::collections::BTreeSet;
use std::time::Duration;

use ferricorn_base::lifeline::Retirement;
use serde::{Deserialize, Serialize};

use super::action::{Action, Fate, Note, Signal};
use super::event::{Generation, Moment, WorkerId};
use super::pool::{Stage, Worker};
use super::{Phase, State};
use crate::exit::WORKER_BOOT;

/// A worker that is past a limit when it is first looked at, so soon after it became ready, has not
/// grown over it.
const EARLY: Duration = Duration::from_secs(10);

/// The limits of a generation's workers; zero means none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Recycling {
    /// How long a worker serves.
    pub lifetime: Duration,
    /// Up to so much is added, drawn per worker.
    pub lifetime_jitter: Duration,
    /// Bytes of memory that it may have.
    pub memory: u64,
    /// Up to so many are added, drawn per worker.
    pub memory_jitter: u64,
    /// So many samples in a row must be over it.
    pub memory_samples: u32,
    /// Bytes of memory beyond which it is killed.
    pub memory_hard: u64,
}

/// A limit that may be smaller than what every worker needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Limit {
    /// `max-memory`.
    Memory,
    /// `max-memory-hard`.
    MemoryHard,
}

/// What one worker may have, and what it has.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Allowance {
    /// When its time is over.
    pub until: Option<Moment>,
    /// Bytes at the last sample.
    pub memory: Option<u64>,
    // What it may have, with its jitter.
    most: u64,
    // Samples over that, in a row.
    over: u32,
    // It was looked at since it became ready.
    seen: bool,
    // It was over at each look, from the first on, which came early.
    born_over: bool,
}

/// What is remembered of limits that are too small.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Doubts {
    // Places whose last worker was past a limit from the first.
    once: BTreeSet<(usize, Limit)>,
    // No reason any more for the workers of this generation.
    ignored: BTreeSet<(Generation, Limit)>,
}

impl Recycling {
    /// No limits.
    pub const NONE: Recycling = Recycling {
        lifetime: Duration::ZERO,
        lifetime_jitter: Duration::ZERO,
        memory: 0,
        memory_jitter: 0,
        memory_samples: 3,
        memory_hard: 0,
    };
}

impl Limit {
    /// The setting.
    pub fn name(self) -> &'static str {
        match self {
            Limit::Memory => "max-memory",
            Limit::MemoryHard => "max-memory-hard",
        }
    }
}

impl Allowance {
    /// What a worker gets that has become ready. The chances are drawn from 0..1.
    fn draw(limits: &Recycling, now: Moment, time: f64, memory: f64) -> Allowance {
        let spread = (limits.memory_jitter as f64 * memory) as u64;
        Allowance {
            until: (!limits.lifetime.is_zero())
                .then(|| now + limits.lifetime + limits.lifetime_jitter.mul_f64(time)),
            most: match limits.memory {
                0 => 0,
                memory => memory.saturating_add(spread),
            },
            ..Allowance::default()
        }
    }
}

impl State {
    /// The limits that are no reason any more for the workers of today, as every one is past them.
    pub fn ignored_limits(&self) -> Vec<String> {
        let ignored = self.doubts.ignored.iter();
        let own = ignored.filter(|(generation, _)| *generation == self.own);
        own.map(|(_, limit)| limit.name().to_owned()).collect()
    }

    pub(super) fn draw_allowance(&mut self, id: WorkerId, generation: Generation, now: Moment) {
        let (time, memory) = (self.chance(), self.chance());
        let drawn = Allowance::draw(&self.policy(generation).recycling, now, time, memory);
        if let Some(worker) = self.pool.get_mut(id) {
            worker.allowance = drawn;
        }
    }

    /// When the next worker's time is over.
    pub(super) fn lifetime_deadline(&self) -> Option<Moment> {
        let serving = self.pool.iter().map(|(_, worker)| worker);
        let serving = serving.filter(|w| w.serves() && w.retiring.is_none());
        serving.filter_map(|worker| worker.allowance.until).min()
    }

    /// Retires those whose time is over.
    pub(super) fn lifetimes(&mut self, now: Moment, out: &mut Vec<Action>) {
        let over = |w: &Worker| {
            let over = w.allowance.until.is_some_and(|until| until <= now);
            over && w.serves() && w.retiring.is_none()
        };
        for id in self.pool.which(over) {
            self.retire(id, Retirement::Lifetime, 0, now, out);
        }
    }

    /// A worker has so much memory.
    pub(super) fn weighed(&mut self, id: WorkerId, bytes: u64, now: Moment, out: &mut Vec<Action>) {
        let Some(worker) = self.pool.get_mut(id) else {
            return;
        };
        worker.allowance.memory = Some(bytes);
        let (slot, generation) = (worker.slot, worker.generation);
        let early = match worker.stage {
            Stage::Booting { .. } => true,
            Stage::Serving { since } => !worker.allowance.seen && now < since + EARLY,
            _ => return,
        };
        let serves = worker.serves();
        worker.allowance.seen |= serves;
        let hard = self.policy(generation).recycling.memory_hard;
        if hard > 0 && bytes > hard {
            // It is looked at when it says that it is ready: what it takes from then on, it takes for
            // requests.
            if !self.is_doubtful(slot, generation, Limit::MemoryHard, !serves, bytes, out) {
                self.end_large(id, bytes, now, out);
                return;
            }
        } else if serves {
            self.doubts.once.remove(&(slot, Limit::MemoryHard));
        }
        if serves {
            self.judge(id, bytes, early, now, out);
        }
    }

    /// Whether a worker that serves is to be replaced because of its memory.
    fn judge(&mut self, id: WorkerId, bytes: u64, first: bool, now: Moment, out: &mut Vec<Action>) {
        let Some(worker) = self.pool.get_mut(id) else {
            return;
        };
        let (slot, generation) = (worker.slot, worker.generation);
        let allowance = &mut worker.allowance;
        if allowance.most == 0 || worker.retiring.is_some() {
            return;
        }
        if bytes <= allowance.most {
            (allowance.over, allowance.born_over) = (0, false);
            self.doubts.once.remove(&(slot, Limit::Memory));
            return;
        }
        allowance.over += 1;
        allowance.born_over |= first;
        let (over, born_over) = (allowance.over, allowance.born_over);
        if over >= self.policy(generation).recycling.memory_samples
            && !self.is_doubtful(slot, generation, Limit::Memory, born_over, bytes, out)
        {
            self.retire(id, Retirement::Memory, bytes, now, out);
        }
    }

    /// Whether a limit that a worker is past is no reason to end it: it is known to be too small, or
    /// now seen to be, since the one before in this place was past it from the `first`, too.
    fn is_doubtful(
        &mut self,
        slot: usize,
        generation: Generation,
        limit: Limit,
        first: bool,
        bytes: u64,
        out: &mut Vec<Action>,
    ) -> bool {
        if self.doubts.ignored.contains(&(generation, limit)) {
            return true;
        }
        if !first {
            self.doubts.once.remove(&(slot, limit));
            return false;
        }
        let twice = !self.doubts.once.insert((slot, limit));
        if twice {
            self.doubts.ignored.insert((generation, limit));
            out.push(Action::Tell(Note::LimitTooSmall { limit, slot, bytes }));
        }
        twice
    }

    pub(super) fn retire(
        &mut self,
        id: WorkerId,
        why: Retirement,
        memory: u64,
        now: Moment,
        out: &mut Vec<Action>,
    ) {
        out.push(Action::Retire {
            worker: id,
            why,
            memory,
        });
        self.retiring(id, why, now);
    }

    /// Ends a worker that takes more than it may ever have.
    fn end_large(&mut self, id: WorkerId, bytes: u64, now: Moment, out: &mut Vec<Action>) {
        let Some(worker) = self.pool.get_mut(id) else {
            return;
        };
        let before = worker.stage;
        worker.stage = Stage::Killed;
        worker.fate = Some(Fate::TooLarge(bytes));
        let worker = worker.clone();
        out.push(Action::Signal(id, Signal::Kill));
        if matches!(self.phase, Phase::Stopping { .. }) {
            return;
        }
        match before {
            Stage::Serving { since } => self.crashed(&worker, since, now, out),
            _ => {
                let slot = worker.slot;
                let reason = format!("worker {slot} was past max-memory-hard before it was ready");
                self.boot_failed(&worker, WORKER_BOOT, reason, now, out);
            }
        }
    }

    /// Generations that are gone need no memory.
    pub(super) fn forget_doubts(&mut self, gone: Generation) {
        self.doubts
            .ignored
            .retain(|(generation, _)| *generation != gone);
    }
}
