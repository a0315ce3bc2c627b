//! What the master decides: `step(state, event, now) -> actions`, and nothing else.
//!
//! Pure: no clock, no process, no file, no log. An event changes what is known ([`State::step`] is
//! the table of phase × event); after it the state compares what there is with what there should
//! be and asks for the difference (`converge`), within the budget of how many workers may
//! be extra and how many may be missing. So there is one road for the first start, a respawn, a
//! recycled worker, TTIN and TTOU, a roll and its roll-back.

mod action;
mod backoff;
mod budget;
mod converge;
mod event;
mod flapping;
mod leave;
mod ledger;
mod limits;
mod pool;
mod rate;
mod roll;
mod room;
mod scale;
mod second;
mod standing;

#[cfg(test)]
mod model;
#[cfg(test)]
mod tables;
#[cfg(test)]
mod tables_limits;

use std::collections::BTreeMap;
use std::time::Duration;

use ferricorn_base::lifeline::{self, Retirement};
use serde::{Deserialize, Serialize};

use crate::exit::{APP_LOAD, WORKER_BOOT};

pub use action::{Action, Fate, Left, Note, Signal};
pub use backoff::{Backoff, STABLE};
pub use budget::Share;
pub use event::{
    Ending, Event, Generation, Moment, Other, Overdue, Parting, Policy, Stop, WorkerId,
};
pub use ledger::{Ledger, Outcome, Verdict};
pub use limits::Recycling;
pub use pool::{Pool, Stage, Worker};
pub use roll::Reload;
use roll::{GivenUp, RETIRED};
pub use scale::{Load, Scaling};
pub use standing::{Standing, Step};

use self::limits::Doubts;
use self::rate::Rate;
use self::room::Room;
use self::scale::Scale;
use self::second::Beside;

/// What a draining worker has beyond `graceful-timeout`, so that it can cut what is left itself.
pub const GRACE: Duration = Duration::from_millis(1500);
/// How long a worker that was told to go now has before it is killed.
pub const QUICK: Duration = Duration::from_secs(2);
/// What a program on trial has beyond the `boot-timeout` of its worker, for all that it does
/// besides.
pub const TRIAL: Duration = Duration::from_secs(10);
/// How long a worker that hangs has to say where, and to answer its client, before it is ended. On a
/// machine that is overloaded it has to wait for a processor.
pub const ASK: Duration = Duration::from_secs(1);
/// How often it is asked after SIGABRT whether a core is being written.
pub const ABORT: Duration = Duration::from_secs(1);
/// How long writing a core may take before SIGKILL.
pub const CORE: Duration = Duration::from_secs(60);

/// Where the server is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Phase {
    /// No worker has been ready yet; one that fails ends the program.
    Starting,
    /// A worker has been ready once; from now on nothing but a stop ends the program.
    Running,
    /// The workers leave; nothing is started any more.
    Stopping {
        /// The exit code of the program.
        code: u8,
        /// How.
        how: Stop,
    },
}

/// Everything that the master knows. It goes from image to image as it is when the master executes
/// its program anew, so that a change of its fields is one of the hand-over's version.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct State {
    phase: Phase,
    policies: BTreeMap<Generation, Policy>,
    current: Generation,
    own: Generation,
    wanted: usize,
    retired: bool,
    announced: bool,
    reload: Reload,
    reload_again: bool,
    beside: Beside,
    /// When the stop begins that was asked for.
    stop_at: Option<Moment>,
    // How many have begun.
    reloads: u64,
    ledger: Ledger,
    // Why the start or the last reload has failed.
    failure: Option<String>,
    // Since when nobody serves, though somebody should.
    outage: Option<Moment>,
    // Why, as far as it is known.
    trouble: Option<String>,
    doubts: Doubts,
    room: Room,
    rate: Rate,
    scale: Scale,
    pool: Pool,
    wake: Option<Moment>,
    random: u64,
}

impl State {
    /// A server with its first generation (number 1) and no worker yet. `seed` is for the spread
    /// of the delays.
    pub fn new(policy: Policy, seats: usize, seed: u64) -> State {
        State {
            phase: Phase::Starting,
            policies: BTreeMap::from([(1, policy)]),
            current: 1,
            own: 1,
            wanted: policy.workers.max(1),
            retired: false,
            announced: false,
            reload: Reload::Idle,
            reload_again: false,
            beside: Beside::Nobody,
            stop_at: None,
            reloads: 0,
            ledger: Ledger::default(),
            failure: None,
            outage: None,
            trouble: None,
            doubts: Doubts::default(),
            room: Room::default(),
            rate: Rate::default(),
            scale: Scale::default(),
            pool: Pool::new(seats),
            wake: None,
            random: seed,
        }
    }

    /// Where the server is in its life.
    pub fn phase(&self) -> Phase {
        self.phase
    }

    /// The number that the next reload to begin will have, from 1.
    pub fn next_reload(&self) -> u64 {
        self.reloads + 1
    }

    /// Whether a worker may be started some time from now on.
    pub fn spawns(&self) -> bool {
        !self.retired && !matches!(self.phase, Phase::Stopping { .. })
    }

    /// How many workers are wanted.
    pub fn wanted(&self) -> usize {
        self.wanted
    }

    /// The workers.
    pub fn pool(&self) -> &Pool {
        &self.pool
    }

    /// How far a reload is.
    #[cfg(test)]
    pub fn reload(&self) -> &Reload {
        &self.reload
    }

    /// When [`Event::Tick`] is due at the latest.
    pub fn deadline(&self) -> Option<Moment> {
        let workers = self
            .pool
            .iter()
            .filter_map(|(_, worker)| worker.deadline())
            .min();
        let trial = match self.reload {
            Reload::Probing {
                until,
                given_up: None,
            } => Some(until),
            _ => None,
        };
        let second = self.second_deadline();
        let lifetime = self.lifetime_deadline();
        [workers, self.wake, trial, second, self.stop_at, lifetime]
            .into_iter()
            .flatten()
            .min()
    }

    /// Takes one event and says what is to be done, in order.
    pub fn step(&mut self, event: Event, now: Moment) -> Vec<Action> {
        let mut out = Vec::new();
        self.wake = None;
        match (self.phase, event) {
            (_, Event::Exited(id, ending)) => self.exited(id, ending, now, &mut out),
            (_, Event::Upgrade) => self.upgrade(now, &mut out),
            (_, Event::Other(what)) => self.other(what, now, &mut out),
            (_, Event::Reopen) => out.push(Action::Reopen),
            (Phase::Running, Event::Stop(Stop::Graceful)) if self.stop_at.is_none() => {
                self.stop_soon(now, &mut out);
            }
            (_, Event::Stop(how)) => self.stop(how, 0, now, &mut out),
            (_, Event::Overdue(id, which)) => self.overdue(id, which, now, &mut out),
            (_, Event::Left(id, parting)) => {
                if let Some(worker) = self.pool.get_mut(id) {
                    worker.left = Some(parting);
                }
            }
            (_, Event::Kill(id)) => self.kill(id, &mut out),
            (_, Event::Memory(id, bytes)) => self.weighed(id, bytes, now, &mut out),
            (_, Event::Room(free)) => self.measured(free),
            (_, Event::Load(load)) => self.loaded(load, now, &mut out),
            (_, Event::ScaleAuto) => self.unpin(&mut out),
            (_, Event::NoCore(id)) => self.no_core(id, &mut out),
            (_, Event::Slept(time)) => self.put_off(time),
            (Phase::Stopping { .. }, Event::SpawnFailed(id, _)) => {
                self.pool.remove(id);
            }
            (Phase::Stopping { .. }, _) => {}
            (_, Event::Ready(id)) => self.ready(id, now),
            (_, Event::Retiring(id, why)) => self.retiring(id, why, now),
            (_, Event::Failed(id, stage, reason)) => self.failed(id, stage, reason, now, &mut out),
            (_, Event::SpawnFailed(id, reason)) => {
                // One that was told to leave before it was there has not failed.
                if let Some(worker) = self.pool.remove(id).filter(Worker::boots) {
                    self.boot_failed(&worker, WORKER_BOOT, reason, now, &mut out);
                }
            }
            (_, Event::Reload) if self.stop_at.is_some() => {
                let reason = "the server is about to stop".to_owned();
                self.tell_failed(reason, &mut out);
            }
            (_, Event::Reload) if self.may_return() => self.come_back(&mut out),
            (_, Event::Reload) => {
                if self.may_reload() {
                    self.probe(now, &mut out);
                } else {
                    self.reload_again = true;
                    out.push(Action::Tell(Note::ReloadWaits));
                }
            }
            (_, Event::Proving(time)) => {
                if let Reload::Probing { until, .. } = &mut self.reload {
                    *until = now + time + TRIAL;
                }
            }
            (_, Event::Proved) => {
                if let Reload::Probing { given_up, .. } = self.reload {
                    if given_up == Some(GivenUp::Retired) {
                        self.reload_failed(RETIRED.to_owned(), &mut out);
                    } else {
                        self.reload = Reload::Executing;
                        out.push(Action::Exec);
                    }
                }
            }
            (_, Event::Executed(generation, policy)) => {
                self.begin_roll(generation, policy, now, &mut out);
            }
            (_, Event::LoadFailed(reason)) => {
                let reason = match self.reload {
                    Reload::Probing {
                        given_up: Some(GivenUp::Retired),
                        ..
                    } => RETIRED.to_owned(),
                    _ => reason,
                };
                self.reload_failed(reason, &mut out);
            }
            (_, Event::More) => self.more(&mut out),
            (_, Event::Less) => self.less(&mut out),
            (_, Event::Scale(workers)) => self.scale(workers, &mut out),
            (_, Event::RetireAll) => self.retire_all(now, &mut out),
            (_, Event::Tick) => {}
        }
        if self.stop_at.is_some_and(|at| at <= now) {
            self.stop(Stop::Graceful, 0, now, &mut out);
        }
        self.deadlines(now, &mut out);
        if let Phase::Stopping { code, .. } = self.phase {
            if self.pool.is_empty() && !self.is_upgrading() {
                out.push(Action::Exit(code));
            }
        } else {
            self.lifetimes(now, &mut out);
            self.converge(now, &mut out);
        }
        self.note_outage(now);
        out
    }

    /// A reload waits for the one before it, and for the end of a start: the first, or a second
    /// master's.
    fn may_reload(&self) -> bool {
        self.announced && self.reload == Reload::Idle && !self.is_upgrading()
    }

    fn probe(&mut self, now: Moment, out: &mut Vec<Action>) {
        let until = now + self.policy(self.own).boot_timeout + TRIAL;
        self.reload = Reload::Probing {
            until,
            given_up: None,
        };
        self.reloads += 1;
        self.ledger.open(self.reloads, now);
        self.failure = None;
        out.push(Action::Probe);
    }

    fn reload_failed(&mut self, reason: String, out: &mut Vec<Action>) {
        self.reload = Reload::Idle;
        self.failure = Some(reason.clone());
        // Whoever reads that it has failed finds it counted.
        out.extend(self.ledger.fail(reason.clone()).map(Action::Verdict));
        self.tell_failed(reason, out);
    }

    fn tell_failed(&self, reason: String, out: &mut Vec<Action>) {
        let left = match self.retired {
            true => Left::Retired,
            false if self.pool.any(Worker::serves) => Left::Workers,
            false => Left::Nobody,
        };
        out.push(Action::Tell(Note::ReloadFailed { reason, left }));
    }

    fn ready(&mut self, id: WorkerId, now: Moment) {
        let Some(generation) = self.pool.get(id).map(|worker| worker.generation) else {
            return;
        };
        let graceful = self.policy(generation).graceful_timeout;
        self.draw_allowance(id, generation, now);
        let Some(worker) = self.pool.get_mut(id) else {
            return;
        };
        match worker.stage {
            Stage::Booting { .. } => {
                worker.stage = Stage::Serving { since: now };
                worker.served = true;
            }
            Stage::Dismissed { .. } => {
                let until = now + graceful + GRACE;
                worker.served = true;
                return worker.stage = Stage::Draining { until };
            }
            _ => return,
        }
        if let Reload::Rolling(roll) = &mut self.reload {
            roll.proved |= roll.target == generation;
        }
        self.phase = Phase::Running;
    }

    fn retiring(&mut self, id: WorkerId, why: Retirement, now: Moment) {
        let chance = self.chance();
        let Some(worker) = self.pool.get_mut(id) else {
            return;
        };
        let Stage::Serving { since } = worker.stage else {
            return;
        };
        if worker.retiring.replace(why).is_some() {
            return;
        }
        let (slot, generation, spawned) = (worker.slot, worker.generation, worker.spawned);
        let backoff = self.pool.backoff_mut(slot);
        // It serves until its successor is ready, so that a delay costs nothing, and a handler
        // that always panics or hangs does not become a storm of forks.
        match why {
            Retirement::Panic | Retirement::Timeout if now < since + STABLE => {
                backoff.failed(generation, now, chance);
            }
            _ => backoff.paced(generation, spawned),
        }
    }

    fn failed(
        &mut self,
        id: WorkerId,
        stage: lifeline::Stage,
        reason: String,
        now: Moment,
        out: &mut Vec<Action>,
    ) {
        let Some(worker) = self.pool.get_mut(id).filter(|worker| worker.boots()) else {
            return;
        };
        worker.stage = Stage::Leaving { until: now + QUICK };
        worker.fate = Some(Fate::CouldNotBoot(stage));
        let worker = worker.clone();
        let code = match stage {
            lifeline::Stage::Load => APP_LOAD,
            lifeline::Stage::Boot => WORKER_BOOT,
        };
        self.boot_failed(&worker, code, reason, now, out);
    }

    /// A worker did not become ready: the start ends, the reload ends, or the slot waits.
    fn boot_failed(
        &mut self,
        worker: &Worker,
        code: u8,
        reason: String,
        now: Moment,
        out: &mut Vec<Action>,
    ) {
        if self.phase == Phase::Starting || self.is_tried() {
            self.failure = Some(reason.clone());
            out.push(Action::Tell(Note::StartFailed { code, reason }));
            self.stop(Stop::Quick, code, now, out);
        } else if self
            .reload
            .roll()
            .is_some_and(|roll| roll.target == worker.generation)
        {
            self.abort_roll(&reason, out);
            // Its place may be vacant, and nobody else can take it.
            let chance = self.chance();
            let backoff = self.pool.backoff_mut(worker.slot);
            backoff.failed(worker.generation, now, chance);
        } else if worker.generation == self.own {
            let chance = self.chance();
            let backoff = self.pool.backoff_mut(worker.slot);
            let retry = backoff.failed(worker.generation, now, chance);
            self.trouble = Some(format!("worker {} cannot boot: {reason}", worker.slot));
            out.push(Action::Tell(Note::BootFailed {
                slot: worker.slot,
                reason,
                retry,
            }));
            let (slot, generation) = (worker.slot, worker.generation);
            self.suspend_if_flapping(slot, generation, Duration::ZERO, now, out);
        }
    }

    fn exited(&mut self, id: WorkerId, ending: Ending, now: Moment, out: &mut Vec<Action>) {
        let Some(worker) = self.pool.remove(id) else {
            return;
        };
        out.push(Action::Bury(id, ending, worker.fate, worker.left));
        if worker.served {
            self.ledger.left(worker.generation, worker.left);
        }
        if matches!(self.phase, Phase::Stopping { .. }) {
            return;
        }
        match worker.stage {
            Stage::Booting { .. } => {
                let code = if ending == Ending::Code(4) {
                    APP_LOAD
                } else {
                    WORKER_BOOT
                };
                let reason = format!("worker {} {ending} before it was ready", worker.slot);
                self.boot_failed(&worker, code, reason, now, out);
            }
            // A worker that asked to go and went by itself is not a crash.
            Stage::Serving { since } if worker.retiring.is_none() || ending != Ending::Code(0) => {
                self.crashed(&worker, since, now, out);
            }
            _ => {}
        }
    }

    /// A worker that served is gone, or will be: its slot waits unless it served for a while.
    fn crashed(&mut self, worker: &Worker, since: Moment, now: Moment, out: &mut Vec<Action>) {
        match &mut self.reload {
            Reload::Rolling(roll) if roll.target == worker.generation => {
                roll.deaths += 1;
                if roll.deaths >= roll::DEATHS {
                    self.abort_roll("new workers die again and again", out);
                }
            }
            // Nobody of its generation will follow it.
            _ if worker.generation != self.own => return,
            _ => {}
        }
        self.trouble = Some(format!("worker {} died", worker.slot));
        let chance = self.chance();
        let backoff = self.pool.backoff_mut(worker.slot);
        if now >= since + STABLE {
            backoff.well();
        } else {
            let retry = backoff.failed(worker.generation, now, chance);
            out.push(Action::Tell(Note::Crashed {
                slot: worker.slot,
                retry,
            }));
        }
        let lived = now.saturating_sub(since);
        self.suspend_if_flapping(worker.slot, worker.generation, lived, now, out);
    }

    fn policy(&self, generation: Generation) -> Policy {
        let newest = self.policies.values().next_back();
        self.policies
            .get(&generation)
            .or(newest)
            .copied()
            .unwrap_or(Policy::FALLBACK)
    }

    /// A number of 0..1 (SplitMix64; only the spread of delays hangs on it).
    fn chance(&mut self) -> f64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.random;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((bits ^ (bits >> 31)) >> 11) as f64 / (1u64 << 53) as f64
    }
}
