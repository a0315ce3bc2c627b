//! How many workers there should be, where `min-workers` and `max-workers` leave it open.
//!
//! The controller looks at how busy those are that serve, and at how many connections wait to be
//! accepted. It grows quickly, by 1, 2, 4 and so on while the pressure lasts, and shrinks slowly, by one, when
//! one less would do for long. Between the share at which it grows and that at which it shrinks there is room, so
//! that a steady load is met by a steady number; and a worker that had to come back soon after it was
//! sent away makes it more patient. What the operator says holds until the operator gives it back. Pure.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::action::{Action, Note};
use super::event::{Moment, Policy};
use super::pool::Worker;
use super::{Phase, State};

/// Grow when those who serve are this busy, in thousandths of their time.
const HIGH: u32 = 800;
/// Shrink when they would be no busier than this with one less.
const LOW: u32 = 600;
/// For how long it must be so before more are started.
const PRESSURE: Duration = Duration::from_secs(1);
/// A worker that is missed within so many times the patience should have stayed.
const REGRET: u32 = 2;
/// The patience doubles with each regret, so often at most.
const PENALTY: u32 = 5;

/// What the configuration allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Scaling {
    /// `min-workers`.
    pub least: usize,
    /// `max-workers`; not below `least`.
    pub most: usize,
    /// `scale-down-delay`: how long one less must do before one is sent away.
    pub patience: Duration,
}

/// What is to be done, over the time since the last look.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Load {
    /// How busy those who serve are, added up, in thousandths of one worker's time.
    pub busy: u32,
    /// Connections that wait to be accepted.
    pub waiting: u32,
}

/// The memory of the controller.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Scale {
    /// The operator has said how many.
    pinned: bool,
    // How many the next growth adds, less one.
    step: usize,
    // Since when it is too much for those who serve, or one less would do.
    pressed: Option<Moment>,
    relaxed: Option<Moment>,
    // When one was sent away last, unless that was regretted.
    shrunk: Option<Moment>,
    penalty: u32,
    // The operator was told that there is no memory for more.
    told: bool,
    // How many served at the last look.
    served: usize,
}

/// What the controller looks at besides.
#[derive(Clone, Copy, Debug)]
struct Crew {
    wanted: usize,
    serving: usize,
    boots: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Stay,
    More(usize),
    Less,
}

impl Scaling {
    /// Always so many.
    pub const fn fixed(workers: usize) -> Scaling {
        Scaling {
            least: workers,
            most: workers,
            patience: Duration::from_secs(30),
        }
    }

    /// Whether there is anything to decide.
    pub fn is_open(&self) -> bool {
        self.least < self.most
    }
}

impl Scale {
    /// Forgets what it has seen of the load, as it says nothing at the moment.
    fn rest(&mut self) {
        (self.step, self.pressed, self.relaxed) = (0, None, None);
    }

    fn decide(&mut self, load: Load, crew: Crew, bounds: &Scaling, now: Moment) -> Step {
        let serving = u32::try_from(crew.serving.max(1)).unwrap_or(u32::MAX);
        let busy = load.busy.min(serving.saturating_mul(1000));
        let pressed = busy >= serving.saturating_mul(HIGH) || load.waiting >= serving;
        let fewer = (serving - 1).saturating_mul(LOW);
        let relaxed = !pressed && load.waiting == 0 && busy <= fewer;
        // Of the time since the last look, who is new has served a part only.
        let served = std::mem::replace(&mut self.served, crew.serving);
        if (1..crew.serving).contains(&served) && !pressed {
            return Step::Stay;
        }
        if !pressed {
            (self.step, self.pressed) = (0, None);
        }
        if !relaxed || crew.serving < crew.wanted {
            self.relaxed = None;
        }
        if pressed && crew.wanted < bounds.most {
            let since = *self.pressed.get_or_insert(now);
            // Those that come may be enough.
            if crew.boots || now < since + PRESSURE {
                return Step::Stay;
            }
            self.pressed = Some(now);
            let more = 1 << self.step.min(16);
            self.step += 1;
            let soon = bounds.patience * (REGRET << self.penalty);
            self.penalty = match self.shrunk.take() {
                Some(at) if now <= at + soon => self.penalty + 1,
                Some(_) => self.penalty.saturating_sub(1),
                None => self.penalty,
            }
            .min(PENALTY);
            return Step::More(more.min(bounds.most - crew.wanted));
        }
        if relaxed && crew.serving >= crew.wanted && crew.wanted > bounds.least {
            let since = *self.relaxed.get_or_insert(now);
            if now >= since + bounds.patience * (1 << self.penalty) {
                self.relaxed = Some(now);
                self.shrunk = Some(now);
                return Step::Less;
            }
        }
        Step::Stay
    }
}

impl State {
    /// What the configuration leaves open, if it does.
    pub fn scaling(&self) -> Option<Scaling> {
        let scaling = self.policy(self.own).scaling;
        scaling.is_open().then_some(scaling)
    }

    /// Whether the operator has said how many workers there are.
    pub fn is_pinned(&self) -> bool {
        self.scale.pinned
    }

    /// How much there was to do.
    pub(super) fn loaded(&mut self, load: Load, now: Moment, out: &mut Vec<Action>) {
        let steady = self.phase == Phase::Running
            && self.announced
            && self.stop_at.is_none()
            && !self.retired
            && !self.scale.pinned
            && self.reload.roll().is_none();
        let Some(bounds) = self.scaling().filter(|_| steady) else {
            return self.scale.rest();
        };
        let bounds = Scaling {
            most: bounds.most.min(self.most_that_fit()),
            ..bounds
        };
        let crew = Crew {
            wanted: self.wanted,
            serving: self.pool.count(|w| w.serves() && w.retiring.is_none()),
            boots: self.pool.any(Worker::boots),
        };
        let (before, room) = (self.wanted, self.room().unwrap_or(u64::MAX));
        match self.scale.decide(load, crew, &bounds, now) {
            Step::Stay => return,
            Step::Less => self.wanted -= 1,
            Step::More(more) => {
                self.wanted += more.min(usize::try_from(room).unwrap_or(usize::MAX));
                let short = self.wanted == before;
                if short {
                    self.scale.step = 0;
                }
                if short && !std::mem::replace(&mut self.scale.told, true) {
                    out.push(Action::Tell(Note::NoMemoryForMore));
                }
                self.scale.told &= short;
            }
        }
        if self.wanted != before {
            out.push(Action::Tell(Note::Scaled {
                from: before,
                to: self.wanted,
                share: load.busy / u32::try_from(crew.serving.max(1)).unwrap_or(u32::MAX),
                waiting: load.waiting,
            }));
        }
    }

    /// The operator says how many workers there are: the controller keeps out of it.
    pub(super) fn pin(&mut self) {
        self.scale.pinned = self.scaling().is_some();
    }

    /// The operator leaves it to the controller, which begins where the number is.
    pub(super) fn unpin(&mut self, out: &mut Vec<Action>) {
        let Some(bounds) = self.scaling() else {
            return;
        };
        self.scale = Scale::default();
        self.retired = false;
        self.wanted = self.wanted.clamp(bounds.least, bounds.most);
        out.push(Action::Tell(Note::Wanted(self.wanted)));
    }

    /// The number of workers with a new configuration. What the operator or the controller have made
    /// of it outlives that, unless the settings themselves have changed.
    pub(super) fn rescale(&mut self, before: &Policy, after: &Policy) {
        let numbers = |policy: &Policy| {
            let Scaling { least, most, .. } = policy.scaling;
            (policy.workers, least, most)
        };
        if numbers(before) == numbers(after) {
            return;
        }
        let kept = before.workers == after.workers && after.scaling.is_open();
        self.wanted = match kept && !self.scale.pinned {
            true => self.wanted.clamp(after.scaling.least, after.scaling.most),
            false => after.workers.max(1),
        };
        self.scale = Scale::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);
    const BOUNDS: Scaling = Scaling {
        least: 1,
        most: 16,
        patience: Duration::from_secs(30),
    };

    /// A server whose workers take some time to boot, under a load that is looked at each second.
    struct Server {
        scale: Scale,
        now: Moment,
        wanted: usize,
        serving: usize,
        // When those that boot serve.
        ready: Option<Moment>,
        boot: Duration,
        // Each change: when, and to how many.
        changes: Vec<(u64, usize)>,
    }

    impl Server {
        fn new(workers: usize) -> Server {
            Server {
                scale: Scale::default(),
                now: 1000 * SECOND,
                wanted: workers,
                serving: workers,
                ready: None,
                boot: 2 * SECOND,
                changes: vec![],
            }
        }

        /// A second under so much work, in thousandths of a worker.
        fn second(&mut self, work: u32) {
            self.now += SECOND;
            if self.ready.is_some_and(|ready| ready <= self.now) {
                (self.serving, self.ready) = (self.wanted, None);
            }
            let can = self.serving as u32 * 1000;
            let load = Load {
                busy: work.min(can),
                waiting: work.saturating_sub(can) / 10,
            };
            let crew = Crew {
                wanted: self.wanted,
                serving: self.serving,
                boots: self.ready.is_some(),
            };
            match self.scale.decide(load, crew, &BOUNDS, self.now) {
                Step::Stay => return,
                Step::More(more) => {
                    self.wanted += more;
                    self.ready = Some(self.now + self.boot);
                }
                Step::Less => {
                    self.wanted -= 1;
                    self.serving -= 1;
                }
            }
            assert!((BOUNDS.least..=BOUNDS.most).contains(&self.wanted));
            let at = self.now.as_secs() - 1000;
            self.changes.push((at, self.wanted));
        }

        fn turns(&self) -> usize {
            let mut turns = 0;
            for three in self.changes.windows(3) {
                let [a, b, c] = [three[0].1, three[1].1, three[2].1];
                turns += usize::from((a < b) != (b < c));
            }
            turns
        }
    }

    #[test]
    fn it_grows_by_doubling_while_the_pressure_lasts_and_waits_for_those_that_boot() {
        let mut server = Server::new(1);
        (0..30).for_each(|_| server.second(20_000));
        assert_eq!(server.changes, [(2, 2), (4, 4), (6, 8), (8, 16)]);
    }

    /// It served for a part of the time that is looked at.
    #[test]
    fn who_has_just_begun_to_serve_ends_no_pressure() {
        let mut scale = Scale::default();
        let mut crew = Crew {
            wanted: 1,
            serving: 1,
            boots: false,
        };
        let mut seconds = 1000;
        let mut look = |crew: Crew, busy: u32| {
            seconds += 1;
            let load = Load { busy, waiting: 0 };
            scale.decide(load, crew, &BOUNDS, seconds * SECOND)
        };
        assert_eq!(look(crew, 1000), Step::Stay);
        assert_eq!(look(crew, 1000), Step::More(1));
        (crew.wanted, crew.serving) = (2, 2);
        assert_eq!(look(crew, 1100), Step::Stay);
        assert_eq!(look(crew, 2000), Step::More(2));
    }

    #[test]
    fn it_shrinks_by_one_when_one_less_would_do_for_long() {
        let mut server = Server::new(4);
        (0..200).for_each(|_| server.second(500));
        // To the least, and no further.
        assert_eq!(server.changes, [(31, 3), (61, 2), (91, 1)]);
    }

    #[test]
    fn the_queue_presses_as_well_as_busy_workers() {
        for (busy, waiting, more) in [
            (1599, 1, false),
            (1600, 0, true),
            (100, 1, false),
            (100, 2, true),
        ] {
            let mut scale = Scale::default();
            let crew = Crew {
                wanted: 2,
                serving: 2,
                boots: false,
            };
            let load = Load { busy, waiting };
            assert_eq!(scale.decide(load, crew, &BOUNDS, SECOND), Step::Stay);
            let second = scale.decide(load, crew, &BOUNDS, 2 * SECOND);
            assert_eq!(second == Step::More(1), more, "{busy} {waiting}");
        }
    }

    #[test]
    fn one_moment_of_pressure_changes_nothing() {
        let mut server = Server::new(2);
        for _ in 0..50 {
            server.second(2000);
            server.second(1300);
        }
        assert_eq!(server.changes, []);
    }

    #[test]
    fn who_is_missed_soon_is_sent_away_later_each_time() {
        let mut server = Server::new(2);
        let mut ends = vec![];
        for _ in 0..4 {
            let begun = server.now;
            while server.wanted == 2 {
                server.second(400);
            }
            ends.push((server.now - begun).as_secs());
            while server.wanted == 1 {
                server.second(1000);
            }
            (0..3).for_each(|_| server.second(1000));
        }
        assert_eq!(ends, [31, 61, 121, 241]);
        // After shrinks that nobody regrets it is as patient as at first.
        for _ in 0..6 {
            while server.wanted > 1 {
                server.second(400);
            }
            (0..2000).for_each(|_| server.second(400));
            while server.wanted < 2 {
                server.second(1000);
            }
            (0..3).for_each(|_| server.second(1000));
        }
        assert!(server.scale.penalty <= 1, "{}", server.scale.penalty);
    }

    /// Whatever the load is, as long as it is steady, so is the number; and it is enough.
    #[test]
    fn a_steady_load_is_met_by_a_steady_number_of_workers() {
        for start in [1, 5, 16] {
            for work in (0..18_000).step_by(130) {
                let mut server = Server::new(start);
                (0..1200).for_each(|_| server.second(work));
                assert!(server.turns() <= 1, "{start} {work}: {:?}", server.changes);
                let settled = server.changes.len();
                (0..1200).for_each(|_| server.second(work));
                assert_eq!(server.changes.len(), settled, "{start} {work}");
                let share = work / server.wanted as u32;
                assert!(share < HIGH || server.wanted == BOUNDS.most);
                let fewer = server.wanted as u32 - 1;
                assert!(server.wanted == BOUNDS.least || work > fewer * LOW);
            }
        }
    }

    /// A load that swings is followed in one direction at a time, and ever less often where that was
    /// regretted.
    #[test]
    fn a_load_that_swings_all_the_time_ends_in_patience() {
        for period in [20, 40, 60, 90, 120] {
            let mut server = Server::new(1);
            let hours = 4 * 3600;
            for second in 0..hours {
                let high = second / period % 2 == 0;
                server.second(if high { 6000 } else { 300 });
            }
            let late = server.changes.iter().filter(|(at, _)| *at > hours / 2);
            let swings = hours / 2 / period;
            assert!(
                late.clone().count() as u64 <= swings,
                "{period}: {} changes in {swings} swings",
                late.count()
            );
        }
    }
}
