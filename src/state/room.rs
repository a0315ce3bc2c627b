//! Whether there is memory for one worker more.
//!
//! The shell says what is free; a worker is taken to need what the others have on average. Where that
//! is not there, a worker is not replaced by one that is made beside it, but in place: one that is
//! killed for want of memory takes its requests with it. Pure.

use serde::{Deserialize, Serialize};

use super::State;
use super::action::{Action, Note};
use super::budget::Budget;
use super::pool::Worker;

/// What is known of the memory of the machine, or of the control group.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Room {
    /// Bytes that are free; `None`: nobody knows.
    pub free: Option<u64>,
    // The operator was told that it is short.
    told: bool,
}

impl State {
    /// Bytes that are free for another worker, when that is known.
    pub fn free_memory(&self) -> Option<u64> {
        self.room.free
    }

    /// So much is free.
    pub(super) fn measured(&mut self, free: Option<u64>) {
        self.room.free = free;
        self.room.told &= self.is_short();
    }

    /// How many workers there is memory for, beside those that are there or boot; `None` when
    /// nobody knows.
    pub(super) fn room(&self) -> Option<u64> {
        let (free, size) = (self.room.free?, self.worker_size()?);
        let booting = self.pool.count(Worker::boots) as u64;
        Some((free / size).saturating_sub(booting))
    }

    pub(super) fn is_short(&self) -> bool {
        self.room() == Some(0)
    }

    /// What may be extra and what may be missing, as things are: where there is no memory for an extra
    /// one, one may be missing, since nobody could be replaced otherwise.
    pub(super) fn budget(&self) -> Budget {
        let budget = self.policy(self.own).budget(self.wanted);
        if budget.surge > 0 && self.is_short() {
            return Budget {
                surge: 0,
                unavailable: budget.unavailable.max(1),
            };
        }
        budget
    }

    /// Says, once, that somebody is replaced in place for want of memory.
    pub(super) fn tell_short(&mut self, out: &mut Vec<Action>) {
        let surges = self.policy(self.own).budget(self.wanted).surge > 0;
        if surges && self.is_short() && !self.room.told {
            self.room.told = true;
            out.push(Action::Tell(Note::MemoryShort {
                free: self.room.free.unwrap_or(0),
                worker: self.worker_size().unwrap_or(0),
            }));
        }
    }

    /// What those have on average that are well, else all; at least one byte. Those that drain count until
    /// they have gone, so that telling one to do so does not change what was its reason.
    fn worker_size(&self) -> Option<u64> {
        let mean = |wanted: &dyn Fn(&Worker) -> bool| {
            let workers = self.pool.iter().map(|(_, worker)| worker);
            let sizes = workers.filter(|w| wanted(w));
            let (mut sum, mut count) = (0_u64, 0_u64);
            for size in sizes.filter_map(|worker| worker.allowance.memory) {
                sum = sum.saturating_add(size);
                count += 1;
            }
            sum.checked_div(count)
        };
        let well = mean(&|worker| worker.retiring.is_none());
        well.or_else(|| mean(&|_| true)).map(|size| size.max(1))
    }
}
