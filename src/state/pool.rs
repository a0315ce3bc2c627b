//! The workers that are alive, the places (slots) that they fill and the seats that they sit on.
//!
//! A *slot* is the stable number of a place, which a respawned worker takes over. A *seat* is a
//! set of pages on the scoreboard; every process has its own, so that the old and the new worker
//! of one slot do not share one. Pure; it only keeps count.

use std::collections::BTreeMap;
use std::time::Duration;

use ferricorn_base::lifeline::Retirement;
use serde::{Deserialize, Serialize};

use super::action::Fate;
use super::backoff::Backoff;
use super::event::{Generation, Moment, Parting, WorkerId};
use super::limits::Allowance;

/// One process, from the decision to make it until it is reaped.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Worker {
    /// Its place.
    pub slot: usize,
    /// Its pages on the scoreboard.
    pub seat: usize,
    /// Its configuration.
    pub generation: Generation,
    /// When it was started.
    pub spawned: Moment,
    /// What it is doing, as far as the master knows.
    pub stage: Stage,
    /// It was ready once.
    pub served: bool,
    /// What it said of its clients when it left.
    pub left: Option<Parting>,
    /// It asked to be replaced.
    pub retiring: Option<Retirement>,
    /// Why the master ends it, if it does.
    pub fate: Option<Fate>,
    /// How much time and memory it may have.
    pub allowance: Allowance,
}

/// What a worker is doing. Each waiting stage has its deadline.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Stage {
    /// Not ready yet.
    Booting {
        /// `boot-timeout`.
        until: Moment,
    },
    /// It was told to finish before it was heard to be ready: it may accept connections by now.
    Dismissed {
        /// When it is killed, unless it is heard to be ready.
        until: Moment,
    },
    /// It accepts connections.
    Serving {
        /// When it became ready.
        since: Moment,
    },
    /// It was told to finish.
    Draining {
        /// `graceful-timeout` and a little.
        until: Moment,
    },
    /// It was told to go now.
    Leaving {
        /// When it is killed.
        until: Moment,
    },
    /// It is past a deadline, and was asked where it is. Its client is answered meanwhile.
    Asked {
        /// When that is written down, answer or not, and the worker ended.
        until: Moment,
    },
    /// It was sent SIGABRT, so that there is a core.
    Aborted {
        /// When to look whether a core is being written.
        until: Moment,
        /// When it is killed, be the core complete or not.
        last: Moment,
    },
    /// It was sent SIGKILL.
    Killed,
}

impl Worker {
    /// Whether it serves.
    pub fn serves(&self) -> bool {
        matches!(self.stage, Stage::Serving { .. })
    }

    /// Whether it boots.
    pub fn boots(&self) -> bool {
        matches!(self.stage, Stage::Booting { .. })
    }

    /// Whether it fills its slot: it boots or serves.
    pub fn holds(&self) -> bool {
        self.serves() || self.boots()
    }

    /// Its next deadline.
    pub fn deadline(&self) -> Option<Moment> {
        match self.stage {
            Stage::Booting { until }
            | Stage::Dismissed { until }
            | Stage::Draining { until }
            | Stage::Leaving { until }
            | Stage::Asked { until }
            | Stage::Aborted { until, .. } => Some(until),
            Stage::Serving { .. } | Stage::Killed => None,
        }
    }

    /// Gives it so much more time for what it is doing.
    fn put_off(&mut self, time: Duration) {
        match &mut self.stage {
            Stage::Booting { until }
            | Stage::Dismissed { until }
            | Stage::Draining { until }
            | Stage::Leaving { until }
            | Stage::Asked { until } => *until += time,
            Stage::Aborted { until, last } => {
                *until += time;
                *last += time;
            }
            Stage::Serving { .. } | Stage::Killed => {}
        }
    }
}

/// All of them.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Pool {
    workers: BTreeMap<WorkerId, Worker>,
    seats: Vec<bool>,
    backoffs: Vec<Backoff>,
    last: u64,
}

impl Pool {
    /// An empty pool on a board with so many seats.
    pub fn new(seats: usize) -> Pool {
        Pool {
            workers: BTreeMap::new(),
            seats: vec![false; seats],
            backoffs: Vec::new(),
            last: 0,
        }
    }

    /// Puts a new worker on the lowest free seat; `None` when the board is full.
    pub fn add(
        &mut self,
        slot: usize,
        generation: Generation,
        now: Moment,
        until: Moment,
    ) -> Option<(WorkerId, usize)> {
        let seat = self.seats.iter().position(|taken| !taken)?;
        self.seats[seat] = true;
        self.last += 1;
        let id = WorkerId(self.last);
        let stage = Stage::Booting { until };
        let worker = Worker {
            slot,
            seat,
            generation,
            spawned: now,
            stage,
            served: false,
            left: None,
            retiring: None,
            fate: None,
            allowance: Allowance::default(),
        };
        self.workers.insert(id, worker);
        Some((id, seat))
    }

    /// Takes a worker that was reaped out of the pool and frees its seat.
    pub fn remove(&mut self, id: WorkerId) -> Option<Worker> {
        let worker = self.workers.remove(&id)?;
        self.seats[worker.seat] = false;
        Some(worker)
    }

    /// One worker.
    pub fn get(&self, id: WorkerId) -> Option<&Worker> {
        self.workers.get(&id)
    }

    /// One worker, to change.
    pub fn get_mut(&mut self, id: WorkerId) -> Option<&mut Worker> {
        self.workers.get_mut(&id)
    }

    /// Gives all so much more time for what they are doing.
    pub fn put_off(&mut self, time: Duration) {
        self.workers
            .values_mut()
            .for_each(|worker| worker.put_off(time));
    }

    /// All workers, the oldest first.
    pub fn iter(&self) -> impl Iterator<Item = (WorkerId, &Worker)> {
        self.workers.iter().map(|(id, worker)| (*id, worker))
    }

    /// The identities of those for which `wanted` holds, the oldest first.
    pub fn which(&self, wanted: impl Fn(&Worker) -> bool) -> Vec<WorkerId> {
        self.iter()
            .filter(|(_, worker)| wanted(worker))
            .map(|(id, _)| id)
            .collect()
    }

    /// How many there are for which `wanted` holds.
    pub fn count(&self, wanted: impl Fn(&Worker) -> bool) -> usize {
        self.workers
            .values()
            .filter(|worker| wanted(worker))
            .count()
    }

    /// Whether there is one for which `wanted` holds.
    pub fn any(&self, wanted: impl Fn(&Worker) -> bool) -> bool {
        self.workers.values().any(wanted)
    }

    /// Whether nobody is left.
    pub fn is_empty(&self) -> bool {
        self.workers.is_empty()
    }

    /// How many seats the board has.
    pub fn seats(&self) -> usize {
        self.seats.len()
    }

    /// How many workers stand in a slot that another one holds too.
    pub fn extra(&self) -> usize {
        let mut slots: Vec<usize> = self
            .workers
            .values()
            .filter(|worker| worker.holds())
            .map(|w| w.slot)
            .collect();
        let up = slots.len();
        slots.sort_unstable();
        slots.dedup();
        up - slots.len()
    }

    /// The memories of all slots.
    pub fn backoffs(&self) -> &[Backoff] {
        &self.backoffs
    }

    /// The memories of all slots, to change.
    pub fn backoffs_mut(&mut self) -> &mut [Backoff] {
        &mut self.backoffs
    }

    /// The memory of a slot.
    pub fn backoff(&self, slot: usize) -> Backoff {
        self.backoffs.get(slot).copied().unwrap_or_default()
    }

    /// The memory of a slot, to change.
    pub fn backoff_mut(&mut self, slot: usize) -> &mut Backoff {
        if self.backoffs.len() <= slot {
            self.backoffs.resize(slot + 1, Backoff::default());
        }
        &mut self.backoffs[slot]
    }
}
