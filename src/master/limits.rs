//! What the workers have and do, as the state is to know it, and what the operator hears of it.
//!
//! It reads /proc and the scoreboard now and then, and decides nothing.

use std::collections::BTreeMap;

use ferricorn_base::lifeline::Retirement;
use ferricorn_base::words::{Memory, News, Scaling, Suspended};

use super::Master;
use crate::children::Child;
use crate::diagnose;
use crate::generation::Generation;
use crate::memory::{self, mebibytes};
use crate::mold::Mold;
use crate::state::{self, Event, Fate, Moment, Stage, WorkerId};

impl Master {
    /// Whether a worker that says it is ready is larger than it may ever be, and is ended for it.
    pub(super) fn is_too_large(&mut self, id: WorkerId) -> bool {
        let Some(child) = self.children.get(&id) else {
            return false;
        };
        let found = hard(&self.generations, child).zip(child.pid);
        let Some(bytes) = found.and_then(|(most, pid)| memory::beyond(pid, most)) else {
            return false;
        };
        self.happened(Event::Memory(id, bytes));
        let worker = self.state.pool().get(id);
        worker.is_none_or(|worker| worker.stage == Stage::Killed)
    }

    /// Reads how much memory some of the processes have, and how much is left.
    pub(super) fn weigh(&mut self, now: Moment) {
        let workers = self.children.values();
        let workers = workers.filter(|child| !child.leaving);
        let mold = self.mold.as_ref().map(|mold: &Mold| mold.pid);
        let processes: Vec<(i32, Option<u64>)> = workers
            .filter_map(|child| Some((child.pid?, hard(&self.generations, child))))
            .chain(mold.map(|pid| (pid, None)))
            .chain(self.aides.pid().map(|pid| (pid, None)))
            .chain([(std::process::id() as i32, None)])
            .collect();
        let readings = self.scales.look(&processes, now);
        if readings.is_empty() {
            return;
        }
        self.happened(Event::Room(self.headroom.free()));
        for (pid, reading) in readings {
            let mut children = self.children.iter();
            let found = children.find(|(_, child)| child.pid == Some(pid));
            if let Some(id) = found.map(|(id, _)| *id) {
                self.happened(Event::Memory(id, reading.bytes()));
            }
        }
    }

    /// The places that are suspended, for the status.
    pub(super) fn suspended(&self, now: Moment) -> Vec<Suspended> {
        let suspended = self.state.suspended(now).into_iter();
        suspended
            .map(|(slot, left)| Suspended {
                slot,
                seconds: left.as_secs_f64(),
            })
            .collect()
    }

    /// What may be decided of the number of workers, for the status.
    pub(super) fn scaling(&self) -> Option<Scaling> {
        let open = self.state.scaling()?;
        Some(Scaling {
            least: open.least,
            most: open.most,
            pinned: self.state.is_pinned(),
        })
    }

    /// What a process had when it was last looked at.
    pub(super) fn memory_of(&self, pid: i32) -> Option<Memory> {
        let last = self.scales.last(pid)?;
        Some(Memory {
            rss: last.rss,
            pss: last.pss,
        })
    }

    /// Tells that the state will have a worker replaced.
    pub(super) fn tell_retired(&mut self, worker: WorkerId, why: Retirement, memory: u64) {
        let mut cause = diagnose::reason(Fate::Recycled(why));
        if memory > 0 {
            cause = format!("{cause} (it has {})", mebibytes(memory));
        }
        if let Some(child) = self.children.get(&worker) {
            log::info!("Worker {} ({}) is to be {cause}", child.slot, child.whom());
        }
        self.news_of(worker, |who| News::WorkerRetiring { who, cause });
    }
}

/// What a worker may have at most, if there is a limit.
fn hard(generations: &BTreeMap<state::Generation, Generation>, child: &Child) -> Option<u64> {
    let policy = generations.get(&child.generation)?.policy;
    Some(policy.recycling.memory_hard).filter(|most| *most > 0)
}
