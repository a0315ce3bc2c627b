//! Limits of time and memory, places that flap, storms of forks and want of memory: the tables.

use std::time::Duration;

use ferricorn_base::lifeline::{Retirement, Stage as BootStage};

use super::limits::Limit;
use super::tables::{Bench, KILLED, SECOND, exited, policy};
use super::*;

const MIB: u64 = 1 << 20;

fn limited(workers: usize, recycling: Recycling) -> Policy {
    Policy {
        recycling,
        ..policy(workers)
    }
}

fn memory(memory: u64, memory_hard: u64) -> Recycling {
    Recycling {
        memory: memory * MIB,
        memory_hard: memory_hard * MIB,
        ..Recycling::NONE
    }
}

impl Bench {
    fn ids(&self) -> Vec<WorkerId> {
        self.state.pool().iter().map(|(id, _)| id).collect()
    }

    fn weigh(&mut self, id: WorkerId, mebibytes: u64) -> &[Action] {
        self.now += 2 * SECOND;
        self.step(Event::Memory(id, mebibytes * MIB))
    }

    fn retired(&self, id: WorkerId, expected: Retirement) -> bool {
        let retired = |action: &Action| matches!(action, Action::Retire { worker, why, .. } if *worker == id && *why == expected);
        self.actions.iter().any(retired)
    }

    /// The successor of a worker that retires becomes ready, and it leaves.
    fn succeed(&mut self, old: WorkerId) -> WorkerId {
        while self.spawned().is_empty() {
            self.now = self.state.deadline().unwrap();
            self.step(Event::Tick);
        }
        let new = self.spawned()[0];
        self.step(Event::Ready(new));
        assert_eq!(self.drained(), [old]);
        self.step(exited(old, 0));
        new
    }
}

#[test]
fn a_worker_whose_time_is_over_serves_until_its_successor_does() {
    let lives = Recycling {
        lifetime: 100 * SECOND,
        ..Recycling::NONE
    };
    let mut bench = Bench::serving(limited(1, lives));
    let old = bench.ids()[0];
    assert_eq!(bench.state.deadline(), Some(200 * SECOND));
    bench.now = 200 * SECOND - Duration::from_millis(1);
    assert_eq!(bench.step(Event::Tick), []);
    bench.later(Duration::from_millis(1));
    assert!(bench.retired(old, Retirement::Lifetime));
    assert_eq!(bench.drained(), []);
    let new = bench.succeed(old);
    // Whose time begins anew.
    assert_eq!(bench.state.deadline(), Some(bench.now + 100 * SECOND));
    assert_eq!(bench.ids(), [new]);
}

#[test]
fn workers_that_began_together_do_not_retire_together_and_never_more_than_the_budget() {
    let lives = Recycling {
        lifetime: 100 * SECOND,
        lifetime_jitter: 50 * SECOND,
        ..Recycling::NONE
    };
    let mut bench = Bench::serving(limited(8, lives));
    let mut ends: Vec<Moment> = bench
        .state
        .pool()
        .iter()
        .filter_map(|(_, worker)| worker.allowance.until)
        .collect();
    ends.sort();
    ends.dedup();
    assert_eq!(ends.len(), 8);
    assert!(ends[0] >= 200 * SECOND && ends[7] <= 250 * SECOND);
    // All at once, as after a long sleep: one extra worker at a time all the same.
    bench.now = 300 * SECOND;
    bench.step(Event::Tick);
    assert_eq!(bench.spawned().len(), 1);
    let new = bench.spawned()[0];
    bench.step(Event::Ready(new));
    assert_eq!((bench.drained().len(), bench.spawned().len()), (1, 1));
}

#[test]
fn memory_counts_when_so_many_samples_in_a_row_are_over() {
    let mut bench = Bench::serving(limited(1, memory(100, 0)));
    let old = bench.ids()[0];
    for (mebibytes, retires) in [
        (90, false),
        (110, false),
        (120, false),
        (100, false),
        (101, false),
        (101, false),
        (101, true),
    ] {
        bench.weigh(old, mebibytes);
        assert_eq!(bench.retired(old, Retirement::Memory), retires);
    }
    // It is said once.
    bench.weigh(old, 130);
    assert!(!bench.retired(old, Retirement::Memory));
    bench.step(Event::Tick);
    bench.now += SECOND;
    bench.step(Event::Tick);
    let [new] = bench.ids()[1..] else { panic!() };
    bench.step(Event::Ready(new));
    assert_eq!(bench.drained(), [old]);
}

#[test]
fn jitter_gives_each_worker_a_limit_of_its_own() {
    let limits = Recycling {
        memory_jitter: 100 * MIB,
        memory_samples: 1,
        ..memory(100, 0)
    };
    let mut bench = Bench::serving(limited(8, limits));
    let mut retired = vec![];
    for mebibytes in (95..=205).step_by(5) {
        for id in bench.ids() {
            bench.weigh(id, mebibytes);
            if bench.retired(id, Retirement::Memory) {
                assert!((100..=200).contains(&(mebibytes - 5)) || mebibytes == 105);
                retired.push(mebibytes);
            }
        }
    }
    assert_eq!(retired.len(), 8);
    retired.dedup();
    assert!(retired.len() > 3, "{retired:?}");
}

#[test]
fn two_in_a_row_over_a_limit_as_soon_as_they_have_booted_end_the_limit() {
    let mut bench = Bench::new(limited(1, memory(100, 0)));
    let first = bench.spawned()[0];
    bench.step(Event::Ready(first));
    for _ in 0..3 {
        bench.weigh(first, 150);
    }
    assert!(bench.retired(first, Retirement::Memory));
    let second = bench.succeed(first);
    for _ in 0..2 {
        bench.weigh(second, 160);
        assert_eq!(bench.actions, []);
    }
    bench.weigh(second, 160);
    let note = Note::LimitTooSmall {
        limit: Limit::Memory,
        slot: 0,
        bytes: 160 * MIB,
    };
    assert_eq!(bench.actions, [Action::Tell(note.clone())]);
    for _ in 0..5 {
        bench.weigh(second, 170);
        assert_eq!(bench.actions, []);
    }
    // A reload with a limit that is no better: what is known is not learned again.
    let third = bench.reload(2, limited(1, memory(110, 0)));
    bench.step(Event::Ready(third));
    bench.step(exited(second, 0));
    for _ in 0..2 {
        bench.weigh(third, 160);
    }
    bench.weigh(third, 160);
    assert!(bench.did(&Action::Tell(note)));
    assert_eq!(bench.state.ignored_limits(), ["max-memory"]);
    // One that is large enough holds.
    let fourth = bench.reload(3, limited(1, memory(200, 0)));
    bench.step(Event::Ready(fourth));
    bench.step(exited(third, 0));
    bench.weigh(fourth, 160);
    for _ in 0..3 {
        bench.weigh(fourth, 210);
    }
    assert!(bench.retired(fourth, Retirement::Memory));
}

#[test]
fn a_worker_that_grows_over_its_limit_is_no_mistake_of_the_configuration() {
    let mut bench = Bench::new(limited(1, memory(100, 0)));
    let mut worker = bench.spawned()[0];
    bench.step(Event::Ready(worker));
    for _ in 0..4 {
        bench.weigh(worker, 50);
        for _ in 0..3 {
            bench.weigh(worker, 150);
        }
        assert!(bench.retired(worker, Retirement::Memory));
        worker = bench.succeed(worker);
    }
    // Nor is one that is looked at late.
    for _ in 0..3 {
        bench.now += 10 * SECOND;
        for _ in 0..3 {
            bench.weigh(worker, 150);
        }
        assert!(bench.retired(worker, Retirement::Memory));
        worker = bench.succeed(worker);
    }
}

#[test]
fn beyond_the_hard_limit_a_worker_is_killed_at_once_and_replaced() {
    let mut bench = Bench::serving(limited(2, memory(0, 300)));
    let old = bench.ids()[0];
    bench.weigh(old, 300);
    assert_eq!(bench.actions, []);
    bench.weigh(old, 301);
    assert!(matches!(
        bench.actions[..],
        [Action::Signal(id, Signal::Kill), Action::Spawn { slot: 0, .. }] if id == old
    ));
    bench.step(Event::Exited(old, KILLED));
    let fate = Some(Fate::TooLarge(301 * MIB));
    assert_eq!(bench.actions, [Action::Bury(old, KILLED, fate, None)]);
}

#[test]
fn a_hard_limit_that_two_in_a_row_are_over_at_boot_is_ignored() {
    let mut bench = Bench::serving(limited(2, memory(0, 300)));
    let old = bench.ids()[0];
    bench.step(Event::Exited(old, KILLED));
    let first = bench.spawned()[0];
    bench.weigh(first, 400);
    assert!(bench.did(&Action::Signal(first, Signal::Kill)));
    bench.step(Event::Exited(first, KILLED));
    bench.later(SECOND);
    let second = bench.spawned()[0];
    bench.weigh(second, 400);
    assert!(!bench.did(&Action::Signal(second, Signal::Kill)));
    assert!(matches!(
        bench.actions[..],
        [Action::Tell(Note::LimitTooSmall { .. })]
    ));
    bench.step(Event::Ready(second));
    assert_eq!(bench.weigh(second, 500), []);
}

#[test]
fn a_first_start_over_the_hard_limit_ends_with_a_code() {
    let mut bench = Bench::new(limited(1, memory(0, 300)));
    let id = bench.spawned()[0];
    bench.weigh(id, 400);
    bench.step(Event::Exited(id, KILLED));
    assert!(bench.did(&Action::Exit(3)));
}

#[test]
fn where_there_is_no_memory_for_one_more_a_worker_is_replaced_in_place() {
    for surge in [1, 0] {
        let budget = Policy {
            max_surge: Share::Number(surge),
            max_unavailable: Share::Number(1 - surge),
            ..policy(2)
        };
        let mut bench = Bench::serving(budget);
        let ids = bench.ids();
        for id in &ids {
            bench.weigh(*id, 100);
        }
        let enough = |free: u64| Event::Room(Some(free * MIB));
        bench.step(enough(99));
        bench.step(Event::Retiring(ids[0], Retirement::MaxRequests));
        assert_eq!(bench.drained(), [ids[0]]);
        let told = bench
            .actions
            .iter()
            .any(|action| matches!(action, Action::Tell(Note::MemoryShort { .. })));
        assert_eq!(told, surge == 1);
        // Its successor needs its memory, and the other one waits until that serves.
        assert_eq!(bench.spawned(), []);
        bench.step(Event::Retiring(ids[1], Retirement::MaxRequests));
        assert_eq!((bench.drained(), bench.spawned()), (vec![], vec![]));
        bench.step(exited(ids[0], 0));
        let [new] = bench.spawned()[..] else { panic!() };
        // There is room again: the second is replaced by one beside it, if that may be.
        bench.step(enough(1000));
        assert_eq!((bench.spawned().len(), bench.drained()), (surge, vec![]));
        bench.step(Event::Ready(new));
        assert_eq!(bench.spawned().len(), 1 - surge);
        assert_eq!(bench.drained().len(), 1 - surge);
    }
}

/// And it does not make up for it when there is some again: it begins with one.
#[test]
fn without_memory_the_controller_starts_nobody_and_says_so_once() {
    let scaled = Policy {
        scaling: Scaling {
            least: 1,
            most: 8,
            patience: 30 * SECOND,
        },
        ..policy(1)
    };
    let mut bench = Bench::serving(scaled);
    let id = bench.ids()[0];
    bench.weigh(id, 100);
    bench.step(Event::Room(Some(50 * MIB)));
    let (busy, waiting) = (1000, 5);
    let mut told = 0;
    for _ in 0..10 {
        bench.now += SECOND;
        bench.step(Event::Load(Load { busy, waiting }));
        assert_eq!(bench.spawned(), []);
        told += usize::from(bench.did(&Action::Tell(Note::NoMemoryForMore)));
    }
    assert_eq!(told, 1);
    // Two would be wanted next, and there is room for one.
    for (free, wanted) in [(1000, 2), (150, 3)] {
        bench.step(Event::Room(Some(free * MIB)));
        bench.now += SECOND;
        bench.step(Event::Load(Load { busy, waiting }));
        assert_eq!(bench.state.wanted(), wanted);
        for id in bench.spawned() {
            bench.step(Event::Ready(id));
        }
    }
}

#[test]
fn a_reload_without_room_is_done_in_place_too() {
    let mut bench = Bench::serving(policy(1));
    let old = bench.ids()[0];
    bench.weigh(old, 100);
    bench.step(Event::Room(Some(50 * MIB)));
    bench.step(Event::Reload);
    bench.step(Event::Proved);
    bench.step(Event::Executed(2, policy(1)));
    assert_eq!((bench.drained(), bench.spawned()), (vec![old], vec![]));
    bench.step(exited(old, 0));
    let [canary] = bench.spawned()[..] else {
        panic!()
    };
    bench.step(Event::Ready(canary));
    assert!(bench.did(&Action::Commit(2)));
}

#[test]
fn those_that_boot_have_taken_their_room_already() {
    let budget = Policy {
        max_surge: Share::Number(4),
        ..policy(4)
    };
    let mut bench = Bench::serving(budget);
    let ids = bench.ids();
    for id in &ids {
        bench.weigh(*id, 100);
    }
    bench.step(Event::Room(Some(250 * MIB)));
    for id in &ids {
        bench.step(Event::Retiring(*id, Retirement::MaxRequests));
    }
    // Two beside their predecessors, and then one in place.
    let boots = |bench: &Bench| bench.state.pool().count(Worker::boots);
    assert_eq!((bench.state.pool().extra(), boots(&bench)), (2, 2));
    let drains = |w: &Worker| matches!(w.stage, Stage::Draining { .. });
    let [third] = bench.state.pool().which(drains)[..] else {
        panic!()
    };
    bench.step(exited(third, 0));
    assert_eq!((bench.state.pool().extra(), boots(&bench)), (2, 3));
}

/// Fails as often as it takes, each time after so long.
fn fail(bench: &mut Bench, slot: usize, lived: Duration, times: usize) -> bool {
    for _ in 0..times {
        let held = |(_, w): &(WorkerId, &Worker)| w.slot == slot && w.holds();
        if !bench.state.pool().iter().any(|entry| held(&entry)) {
            let until = bench.now + Duration::from_secs(40);
            while bench.spawned().is_empty() && bench.now < until {
                bench.now = bench.state.deadline().unwrap_or(until).max(bench.now);
                bench.step(Event::Tick);
            }
        }
        let found = bench.state.pool().iter().find(held);
        let Some(id) = found.map(|(id, _)| id) else {
            return false;
        };
        bench.step(Event::Ready(id));
        bench.now += lived;
        bench.step(Event::Exited(id, Ending::Signal(libc::SIGSEGV)));
    }
    let suspended = |a: &Action| matches!(a, Action::Tell(Note::Suspended { .. }));
    bench.actions.iter().any(suspended)
}

#[test]
fn a_place_that_flaps_while_others_serve_is_suspended_and_comes_back() {
    for lived in [Duration::ZERO, 6 * SECOND] {
        let mut bench = Bench::serving(policy(4));
        assert!(!fail(&mut bench, 1, lived, 4));
        assert!(fail(&mut bench, 1, lived, 1));
        let [(1, left)] = bench.state.suspended(bench.now)[..] else {
            panic!()
        };
        assert!(left >= backoff::HOLD && left <= backoff::HOLD * 5 / 4);
        assert_eq!(bench.later(backoff::HOLD - SECOND), []);
        assert_eq!(bench.later(left - backoff::HOLD + SECOND).len(), 1);
        assert_eq!(bench.spawned().len(), 1);
        assert_eq!(bench.state.suspended(bench.now), []);
    }
}

#[test]
fn no_place_is_suspended_when_it_is_not_the_place() {
    // Half of them at most.
    let mut bench = Bench::serving(policy(4));
    for slot in [0, 1] {
        assert!(fail(&mut bench, slot, Duration::ZERO, 5));
    }
    assert!(!fail(&mut bench, 2, Duration::ZERO, 5));
    // Never the only one.
    let mut bench = Bench::serving(policy(1));
    assert!(!fail(&mut bench, 0, Duration::ZERO, 6));
    assert_eq!(bench.state.suspended(bench.now), []);
}

#[test]
fn nobody_waits_for_a_suspended_place_when_nobody_else_serves() {
    let mut bench = Bench::serving(policy(2));
    assert!(fail(&mut bench, 1, Duration::ZERO, 5));
    let other = bench.ids()[0];
    bench.now += 60 * SECOND / 2;
    bench.step(Event::Exited(other, KILLED));
    assert_eq!(bench.spawned().len(), 2);
    assert_eq!(bench.state.suspended(bench.now), []);
}

#[test]
fn a_reload_gives_a_suspended_place_another_chance() {
    let mut bench = Bench::serving(policy(2));
    assert!(fail(&mut bench, 1, Duration::ZERO, 5));
    bench.reload(2, policy(2));
    assert_eq!(bench.state.suspended(bench.now), []);
    let boots = |slot| bench.state.pool().any(|w| w.slot == slot && w.boots());
    assert!(boots(1), "the vacant place is the canary's");
}

#[test]
fn boots_that_fail_are_failures_of_a_place_too() {
    let mut bench = Bench::serving(policy(2));
    let old = bench.ids()[1];
    bench.step(Event::Exited(old, KILLED));
    let mut tries = 0;
    while bench.state.suspended(bench.now).is_empty() {
        tries += bench.spawned().len();
        assert!(
            tries <= 4,
            "one that was killed and four that could not boot"
        );
        for id in bench.spawned() {
            bench.step(Event::Failed(id, BootStage::Boot, "no database".into()));
            bench.step(exited(id, 3));
        }
        if bench.spawned().is_empty() && bench.state.suspended(bench.now).is_empty() {
            bench.now = bench.state.deadline().unwrap();
            bench.step(Event::Tick);
        }
    }
}

#[test]
fn a_storm_of_forks_is_slowed_down_and_a_start_is_not() {
    let slow = Policy {
        spawn_rate: 2,
        ..policy(4)
    };
    let mut bench = Bench::serving(slow);
    assert_eq!(bench.ids().len(), 4);
    let mut spawned = vec![];
    let begun = bench.now;
    while spawned.len() < 20 {
        let before = spawned.len();
        for id in bench.ids() {
            // As the operator does it: no failure, so no back-off.
            for event in [Event::Kill(id), Event::Exited(id, KILLED)] {
                bench.step(event);
                spawned.extend(bench.spawned().iter().map(|_| bench.now - begun));
            }
        }
        if spawned.len() == before {
            bench.now = bench.state.deadline().unwrap();
            bench.step(Event::Tick);
            spawned.extend(bench.spawned().iter().map(|_| bench.now - begun));
        }
    }
    // Twice as many as are wanted at once, then two a second.
    assert_eq!(spawned.iter().filter(|at| at.is_zero()).count(), 8);
    assert_eq!(spawned[8], SECOND / 2);
    let last = spawned.last().unwrap();
    assert!(spawned.len() as f64 <= 8.0 + last.as_secs_f64() * 2.0 + 0.01);
}
