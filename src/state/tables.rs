//! What the state decides, event by event, in each phase: the tables.

use std::time::Duration;

use ferricorn_base::lifeline::{Retirement, Stage as BootStage};

use super::*;

pub(super) const SECOND: Duration = Duration::from_secs(1);
pub(super) const KILLED: Ending = Ending::Signal(libc::SIGKILL);

pub(super) fn policy(workers: usize) -> Policy {
    Policy {
        workers,
        boot_timeout: 10 * SECOND,
        graceful_timeout: 30 * SECOND,
        superseded_timeout: 10 * SECOND,
        pre_stop_delay: Duration::ZERO,
        dump_cores: false,
        max_surge: Share::Number(1),
        max_unavailable: Share::Number(0),
        ..Policy::FALLBACK
    }
}

/// A state, the clock, and all actions of the last step.
pub(super) struct Bench {
    pub(super) state: State,
    pub(super) now: Moment,
    pub(super) actions: Vec<Action>,
}

impl Bench {
    pub(super) fn new(policy: Policy) -> Bench {
        let mut bench = Bench {
            state: State::new(policy, 16, 7),
            now: 100 * SECOND,
            actions: vec![],
        };
        bench.step(Event::Tick);
        bench
    }

    /// A server with all its workers ready for a long time.
    pub(super) fn serving(policy: Policy) -> Bench {
        let mut bench = Bench::new(policy);
        for id in bench.spawned() {
            bench.step(Event::Ready(id));
        }
        bench.now += 60 * SECOND;
        bench
    }

    pub(super) fn step(&mut self, event: Event) -> &[Action] {
        self.actions = self.state.step(event, self.now);
        &self.actions
    }

    pub(super) fn later(&mut self, time: Duration) -> &[Action] {
        self.now += time;
        self.step(Event::Tick)
    }

    pub(super) fn spawned(&self) -> Vec<WorkerId> {
        let spawned = |action: &Action| match action {
            Action::Spawn { worker, .. } => Some(*worker),
            _ => None,
        };
        self.actions.iter().filter_map(spawned).collect()
    }

    pub(super) fn drained(&self) -> Vec<WorkerId> {
        let drained = |action: &Action| match action {
            Action::Drain { worker, .. } => Some(*worker),
            _ => None,
        };
        self.actions.iter().filter_map(drained).collect()
    }

    pub(super) fn did(&self, action: &Action) -> bool {
        self.actions.contains(action)
    }

    fn failed_reload(&self) -> bool {
        self.actions
            .iter()
            .any(|a| matches!(a, Action::Tell(Note::ReloadFailed { .. })))
    }

    /// HUP, with a new configuration.
    pub(super) fn reload(&mut self, generation: Generation, policy: Policy) -> WorkerId {
        assert_eq!(self.step(Event::Reload), [Action::Probe]);
        self.pass(generation, policy)
    }

    /// The program on trial passes, and is executed.
    fn pass(&mut self, generation: Generation, policy: Policy) -> WorkerId {
        assert_eq!(self.step(Event::Proved), [Action::Exec]);
        self.step(Event::Executed(generation, policy));
        let [canary] = self.spawned()[..] else {
            panic!("{:?}", self.actions)
        };
        canary
    }
}

pub(super) fn exited(id: WorkerId, code: i32) -> Event {
    Event::Exited(id, Ending::Code(code))
}

#[test]
fn the_first_start_boots_all_and_announces_once_all_are_ready() {
    let mut bench = Bench::new(policy(3));
    let ids = bench.spawned();
    assert_eq!(ids.len(), 3);
    bench.step(Event::Ready(ids[0]));
    assert_eq!(bench.state.phase(), Phase::Running);
    bench.step(Event::Ready(ids[1]));
    assert!(!bench.did(&Action::Announce));
    bench.step(Event::Ready(ids[2]));
    assert!(bench.did(&Action::Announce));
}

#[test]
fn a_first_start_that_fails_ends_with_its_code_after_the_others_are_gone() {
    for (stage, code) in [(BootStage::Load, 4), (BootStage::Boot, 3)] {
        let mut bench = Bench::new(policy(2));
        let ids = bench.spawned();
        bench.step(Event::Failed(ids[0], stage, "no database".into()));
        let reason = "no database".to_owned();
        assert!(bench.did(&Action::Tell(Note::StartFailed { code, reason })));
        assert!(bench.did(&Action::Quit(ids[1])));
        bench.step(exited(ids[0], i32::from(code)));
        bench.step(Event::Exited(ids[1], Ending::Signal(libc::SIGTERM)));
        assert!(bench.did(&Action::Exit(code)));
    }
}

#[test]
fn a_first_start_that_dies_or_hangs_ends_with_code_3() {
    let mut bench = Bench::new(policy(1));
    let id = bench.spawned()[0];
    bench.step(Event::Exited(id, Ending::Signal(libc::SIGSEGV)));
    assert!(bench.did(&Action::Exit(3)));

    let mut bench = Bench::new(policy(1));
    let id = bench.spawned()[0];
    bench.later(10 * SECOND);
    assert!(bench.did(&Action::Ask(id)));
    bench.later(ASK);
    assert!(bench.did(&Action::Diagnose(id, Fate::BootTimeout)));
    assert!(bench.did(&Action::Signal(id, Signal::Kill)));
    bench.step(Event::Exited(id, Ending::Signal(libc::SIGKILL)));
    assert!(bench.did(&Action::Bury(id, KILLED, Some(Fate::BootTimeout), None)));
    assert!(bench.did(&Action::Exit(3)));
}

/// As a mold says it of those that it was to make.
#[test]
fn a_first_start_whose_mold_cannot_load_ends_with_code_4_when_nobody_is_left() {
    let mut bench = Bench::new(policy(2));
    let ids = bench.spawned();
    bench.step(Event::Failed(ids[0], BootStage::Load, "no module".into()));
    assert!(bench.did(&Action::Quit(ids[1])));
    for id in [ids[1], ids[0]] {
        assert!(!bench.did(&Action::Exit(4)));
        bench.step(Event::SpawnFailed(id, "no module".into()));
    }
    assert!(bench.did(&Action::Exit(4)));
}

#[test]
fn a_worker_that_was_told_to_go_before_it_was_made_has_not_failed() {
    let mut bench = Bench::serving(policy(1));
    bench.step(Event::More);
    let id = bench.spawned()[0];
    bench.step(Event::Less);
    assert!(bench.did(&Action::Signal(id, Signal::Term)));
    bench.step(Event::SpawnFailed(id, "it was told to go".into()));
    assert_eq!(bench.actions, []);
    // So the next one need not wait.
    bench.step(Event::More);
    assert_eq!(bench.spawned().len(), 1);
}

#[test]
fn a_boot_failure_while_another_worker_serves_never_ends_the_server() {
    let mut bench = Bench::new(policy(2));
    let ids = bench.spawned();
    bench.step(Event::Ready(ids[0]));
    bench.step(Event::Failed(ids[1], BootStage::Boot, "no database".into()));
    bench.step(exited(ids[1], 3));
    assert_eq!(bench.state.phase(), Phase::Running);
    // The other one dies too: still no end, only patience.
    bench.step(Event::Exited(ids[0], Ending::Signal(libc::SIGKILL)));
    for _ in 0..20 {
        bench.later(31 * 2 * SECOND);
        for id in bench.spawned() {
            bench.step(Event::Failed(id, BootStage::Load, "no module".into()));
            bench.step(exited(id, 4));
        }
    }
    assert_eq!(bench.state.phase(), Phase::Running);
}

#[test]
fn a_crash_is_respawned_at_once_after_a_long_life_and_later_after_a_short_one() {
    let mut bench = Bench::serving(policy(1));
    let first = bench.state.pool().iter().map(|(id, _)| id).next().unwrap();
    bench.step(Event::Exited(first, Ending::Signal(libc::SIGSEGV)));
    assert!(bench.did(&Action::Bury(
        first,
        Ending::Signal(libc::SIGSEGV),
        None,
        None
    )));
    let second = bench.spawned()[0];
    bench.step(Event::Ready(second));
    bench.step(Event::Exited(second, Ending::Signal(libc::SIGSEGV)));
    assert_eq!(bench.spawned(), []);
    let due = bench.state.deadline().unwrap();
    assert!(due >= bench.now + backoff::FIRST / 2 && due <= bench.now + backoff::FIRST * 3 / 2);
    bench.now = due;
    bench.step(Event::Tick);
    assert_eq!(bench.spawned().len(), 1);
}

#[test]
fn a_respawned_worker_keeps_its_slot_and_takes_the_lowest_seat() {
    let mut bench = Bench::serving(policy(3));
    let (id, worker) = bench
        .state
        .pool()
        .iter()
        .nth(1)
        .map(|(id, w)| (id, w.clone()))
        .unwrap();
    bench.step(Event::Exited(id, Ending::Code(0)));
    assert!(matches!(
        bench.actions[..],
        [_, Action::Spawn { slot, seat, .. }] if slot == worker.slot && seat == worker.seat
    ));
}

#[test]
fn a_retiring_worker_is_drained_only_when_its_successor_is_ready() {
    let mut bench = Bench::serving(policy(1));
    let old = bench.state.pool().iter().next().unwrap().0;
    bench.step(Event::Retiring(old, Retirement::MaxRequests));
    let [new] = bench.spawned()[..] else { panic!() };
    assert_eq!(bench.drained(), []);
    bench.step(Event::Ready(new));
    assert_eq!(bench.drained(), [old]);
    bench.step(exited(old, 0));
    let fate = Fate::Recycled(Retirement::MaxRequests);
    assert_eq!(
        bench.actions,
        [Action::Bury(old, Ending::Code(0), Some(fate), None)]
    );
}

/// A server that misses a third worker, so that a retiring one stays beside its successor.
fn with_a_place_that_two_hold() -> (Bench, WorkerId, WorkerId) {
    let mut bench = Bench::serving(policy(2));
    let old = bench.state.pool().iter().next().unwrap().0;
    bench.step(Event::More);
    let [third] = bench.spawned()[..] else {
        panic!()
    };
    bench.step(Event::Failed(third, BootStage::Boot, "no database".into()));
    bench.step(exited(third, 3));
    bench.step(Event::Retiring(old, Retirement::MaxRequests));
    let [new] = bench.spawned()[..] else { panic!() };
    bench.step(Event::Ready(new));
    assert_eq!(bench.drained(), []);
    (bench, old, new)
}

/// The room that the two of them take is what it needs to begin.
#[test]
fn a_place_that_two_hold_stops_no_roll() {
    let (mut bench, old, _) = with_a_place_that_two_hold();
    let mut next = bench.reload(2, policy(2));
    bench.step(Event::Ready(next));
    assert_eq!(bench.drained(), [old]);
    for _ in 0..2 {
        next = bench.spawned()[0];
        bench.step(Event::Ready(next));
    }
    assert!(bench.did(&Action::Commit(2)));
}

#[test]
fn of_two_retiring_workers_in_one_place_the_older_makes_room_for_a_successor() {
    let (mut bench, old, new) = with_a_place_that_two_hold();
    bench.step(Event::Retiring(new, Retirement::MaxRequests));
    assert_eq!(bench.spawned(), []);
    bench.later(SECOND);
    let [third] = bench.spawned()[..] else {
        panic!()
    };
    bench.step(Event::Ready(third));
    assert_eq!(bench.drained(), [old]);
    let [successor] = bench.spawned()[..] else {
        panic!("{:?}", bench.actions)
    };
    bench.step(Event::Ready(successor));
    assert_eq!(bench.drained(), [new]);
}

#[test]
fn with_no_surge_a_retiring_worker_goes_first() {
    let budget = Policy {
        max_surge: Share::Number(0),
        max_unavailable: Share::Number(1),
        ..policy(2)
    };
    let mut bench = Bench::serving(budget);
    let old = bench.state.pool().iter().next().unwrap().0;
    bench.step(Event::Retiring(old, Retirement::MaxRequests));
    assert_eq!(bench.drained(), [old]);
    assert_eq!(bench.spawned().len(), 1);
}

/// The setting says 4, and the operator wanted 8.
#[test]
fn percentages_of_the_budget_are_of_the_workers_that_are_wanted_now() {
    let quarter = Policy {
        max_surge: Share::Percent(25),
        ..policy(4)
    };
    let mut bench = Bench::serving(quarter);
    bench.step(Event::Scale(8));
    for id in bench.spawned() {
        bench.step(Event::Ready(id));
    }
    let canary = bench.reload(2, quarter);
    bench.step(Event::Ready(canary));
    assert_eq!(bench.spawned().len(), 2);
    // Also of what there are seats for: 12, and a quarter of them, but not 13.
    let mut bench = Bench::serving(quarter);
    bench.step(Event::Scale(13));
    assert!(bench.did(&Action::Tell(Note::NoMoreSeats)));
    bench.step(Event::Scale(12));
    assert_eq!(bench.state.wanted(), 12);
    bench.step(Event::More);
    assert!(bench.did(&Action::Tell(Note::NoMoreSeats)));
}

#[test]
fn a_worker_one_of_whose_threads_hangs_serves_on_until_its_successor_does() {
    let mut bench = Bench::serving(policy(1));
    let old = bench.state.pool().iter().next().unwrap().0;
    bench.now += STABLE;
    bench.step(Event::Overdue(old, Overdue::Thread));
    let retire = Action::Retire {
        worker: old,
        why: Retirement::Timeout,
        memory: 0,
    };
    assert!(bench.did(&retire) && !bench.did(&Action::Ask(old)));
    let [new] = bench.spawned()[..] else {
        panic!("{:?}", bench.actions)
    };
    bench.step(Event::Overdue(old, Overdue::Thread));
    assert!(bench.actions.is_empty(), "{:?}", bench.actions);
    bench.step(Event::Ready(new));
    assert_eq!(bench.drained(), [old]);
    bench.step(Event::Overdue(old, Overdue::Thread));
    assert!(bench.actions.is_empty(), "{:?}", bench.actions);
    // Nothing but what hangs is left.
    bench.step(Event::Overdue(old, Overdue::Request));
    assert!(bench.did(&Action::Ask(old)));
    bench.later(ASK);
    assert!(bench.did(&Action::Signal(old, Signal::Kill)));
    bench.step(Event::Exited(old, Ending::Signal(libc::SIGKILL)));
    assert!(bench.spawned().is_empty());
}

#[test]
fn workers_that_panic_or_hang_all_the_time_are_replaced_ever_more_slowly() {
    for event in [
        |worker| Event::Retiring(worker, Retirement::Panic),
        |worker| Event::Overdue(worker, Overdue::Thread),
    ] {
        replaced_ever_more_slowly(event);
    }
}

fn replaced_ever_more_slowly(event: impl Fn(WorkerId) -> Event) {
    let mut bench = Bench::serving(policy(1));
    let mut worker = bench.state.pool().iter().next().unwrap().0;
    let mut spawned_at = vec![];
    for _ in 0..12 {
        bench.step(event(worker));
        if bench.spawned().is_empty() {
            bench.now = bench.state.deadline().unwrap();
            bench.step(Event::Tick);
        }
        let new = bench.spawned()[0];
        spawned_at.push(bench.now);
        bench.step(Event::Ready(new));
        assert_eq!(bench.drained(), [worker]);
        bench.step(exited(worker, 0));
        worker = new;
    }
    let gaps: Vec<Duration> = spawned_at
        .windows(2)
        .map(|pair| pair[1] - pair[0])
        .collect();
    assert!(gaps[0] >= backoff::FIRST / 2);
    assert!(*gaps.last().unwrap() >= backoff::LONGEST / 2);
}

#[test]
fn a_hung_request_is_asked_about_then_diagnosed_then_killed_and_replaced_at_once() {
    let mut bench = Bench::serving(policy(1));
    let id = bench.state.pool().iter().next().unwrap().0;
    bench.step(Event::Overdue(id, Overdue::Request));
    assert!(matches!(
        bench.actions[..],
        [Action::Ask(_), Action::Spawn { .. }]
    ));
    // Once is enough, and a stop does not spare it.
    assert_eq!(bench.step(Event::Overdue(id, Overdue::Request)), []);
    assert_eq!(
        bench.later(ASK),
        [
            Action::Diagnose(id, Fate::RequestTimeout),
            Action::Signal(id, Signal::Kill)
        ]
    );
    bench.step(Event::Exited(id, Ending::Signal(libc::SIGKILL)));
    assert_eq!(
        bench.actions,
        [Action::Bury(id, KILLED, Some(Fate::RequestTimeout), None)]
    );
}

/// While nothing runs, nobody can be late.
#[test]
fn whoever_has_a_deadline_has_it_later_when_nothing_ran() {
    let sleep = |bench: &mut Bench| {
        bench.now += 600 * SECOND;
        bench.step(Event::Slept(600 * SECOND)).to_vec()
    };
    // One that boots, one that drains, one that leaves, one that is asked.
    let mut bench = Bench::new(policy(1));
    assert_eq!(sleep(&mut bench), []);
    assert_eq!(bench.later(10 * SECOND - Duration::from_millis(1)), []);
    assert!(!bench.later(Duration::from_millis(1)).is_empty());

    let mut bench = Bench::serving(Policy {
        dump_cores: true,
        ..policy(1)
    });
    let old = bench.state.pool().iter().next().unwrap().0;
    bench.step(Event::Overdue(old, Overdue::Request));
    assert_eq!(sleep(&mut bench), []);
    bench.later(ASK);
    assert!(bench.did(&Action::Signal(old, Signal::Abort)));
    for id in bench.state.pool().which(Worker::boots) {
        bench.step(Event::Ready(id));
    }
    for _ in 0..59 {
        assert_eq!(sleep(&mut bench), []);
        assert_eq!(bench.later(ABORT), [Action::LookForCore(old)]);
    }
    assert_eq!(bench.later(ABORT), [Action::Signal(old, Signal::Kill)]);

    let mut bench = Bench::serving(policy(1));
    let old = bench.state.pool().iter().next().unwrap().0;
    bench.step(Event::Stop(Stop::Graceful));
    assert!(bench.drained().contains(&old));
    assert_eq!(sleep(&mut bench), []);
    assert_eq!(bench.later(30 * SECOND), []);
    assert!(bench.later(GRACE).contains(&Action::Ask(old)));

    // A program on trial, and a second master.
    let mut bench = Bench::serving(policy(1));
    bench.step(Event::Reload);
    assert_eq!(sleep(&mut bench), []);
    assert_eq!(bench.later(19 * SECOND), []);
    assert_eq!(bench.later(SECOND), [Action::Cancel]);
    let mut bench = Bench::serving(policy(1));
    bench.step(Event::Upgrade);
    bench.step(Event::Other(Other::Begun(7)));
    assert_eq!(sleep(&mut bench), []);
    assert_eq!(bench.later(19 * SECOND), []);
    assert_eq!(bench.later(SECOND), [Action::EndSecond(Signal::Term)]);
}

#[test]
fn where_cores_are_wanted_a_hung_worker_is_aborted_and_has_its_time_to_write_one() {
    let cores = Policy {
        dump_cores: true,
        ..policy(1)
    };
    let mut bench = Bench::serving(cores);
    let id = bench.state.pool().iter().next().unwrap().0;
    bench.step(Event::Overdue(id, Overdue::Request));
    for successor in bench.spawned() {
        bench.step(Event::Ready(successor));
    }
    bench.later(ASK);
    assert!(bench.did(&Action::Signal(id, Signal::Abort)));
    // As long as nobody says that there is no core, it is looked for, but not for ever.
    let mut looks = Duration::ZERO;
    while bench.later(ABORT) == [Action::LookForCore(id)] {
        looks += ABORT;
    }
    assert_eq!(bench.actions, [Action::Signal(id, Signal::Kill)]);
    assert!(looks < CORE && looks + 2 * ABORT >= CORE, "{looks:?}");

    let mut bench = Bench::serving(cores);
    let id = bench.state.pool().iter().next().unwrap().0;
    bench.step(Event::Overdue(id, Overdue::Request));
    bench.later(ASK);
    bench.later(ABORT);
    assert_eq!(
        bench.step(Event::NoCore(id)),
        [Action::Signal(id, Signal::Kill)]
    );
    assert_eq!(bench.step(Event::NoCore(id)), []);
}

#[test]
fn a_reload_replaces_one_by_one_and_then_forgets_the_old() {
    let mut bench = Bench::serving(policy(2));
    let old: Vec<WorkerId> = bench.state.pool().iter().map(|(id, _)| id).collect();
    let canary = bench.reload(2, policy(2));
    assert_eq!(bench.drained(), []);
    bench.step(Event::Ready(canary));
    assert_eq!(bench.drained(), [old[0]]);
    let [second] = bench.spawned()[..] else {
        panic!()
    };
    bench.step(exited(old[0], 0));
    bench.step(Event::Ready(second));
    assert_eq!(bench.drained(), [old[1]]);
    assert!(bench.did(&Action::Commit(2)));
    assert!(!bench.did(&Action::Forget(1)));
    bench.step(exited(old[1], 0));
    assert!(bench.did(&Action::Forget(1)));
}

#[test]
fn whatever_breaks_the_canary_leaves_the_old_workers_serving() {
    let breakages: [fn(&mut Bench, WorkerId); 5] = [
        |bench, id| {
            bench.step(Event::Failed(id, BootStage::Load, "typo".into()));
        },
        |bench, id| {
            bench.step(Event::Exited(id, Ending::Signal(libc::SIGSEGV)));
        },
        |bench, id| {
            bench.step(exited(id, 0));
        },
        |bench, id| {
            bench.step(Event::SpawnFailed(id, "fork: no memory".into()));
        },
        |bench, _| {
            bench.later(10 * SECOND);
        },
    ];
    for breakage in breakages {
        let mut bench = Bench::serving(policy(2));
        let old: Vec<WorkerId> = bench.state.pool().iter().map(|(id, _)| id).collect();
        let canary = bench.reload(2, policy(4));
        breakage(&mut bench, canary);
        assert!(bench.failed_reload());
        assert_eq!(*bench.state.reload(), Reload::Idle);
        bench.step(exited(canary, 3));
        let left: Vec<WorkerId> = bench.state.pool().iter().map(|(id, _)| id).collect();
        assert_eq!(left, old);
        assert_eq!(bench.later(60 * SECOND), []);
    }
}

/// The newest worker, which drains for a reload from now on.
fn replaced(bench: &mut Bench, generation: Generation, policy: Policy) -> WorkerId {
    let old = bench.state.pool().which(Worker::serves)[0];
    let canary = bench.reload(generation, policy);
    bench.step(Event::Ready(canary));
    assert_eq!(bench.drained(), [old]);
    old
}

#[test]
fn who_drains_for_an_older_generation_than_the_last_gets_a_deadline() {
    let slow = Policy {
        graceful_timeout: 3600 * SECOND,
        ..policy(1)
    };
    let mut bench = Bench::serving(slow);
    let first = replaced(&mut bench, 2, slow);
    bench.now += 100 * SECOND;
    bench.step(Event::Reload);
    // Nothing has come after the second generation yet.
    bench.step(Event::Proved);
    bench.step(Event::Executed(3, slow));
    assert!(bench.did(&Action::Hurry(first, 10 * SECOND)));
    let [canary] = bench.spawned()[..] else {
        panic!()
    };
    let second = bench.state.pool().which(Worker::serves)[0];
    bench.step(Event::Ready(canary));
    assert_eq!(bench.drained(), [second]);
    assert_eq!(bench.later(10 * SECOND), []);
    assert_eq!(bench.later(GRACE), [Action::Ask(first)]);
    bench.later(ASK);
    assert_eq!(
        bench.actions,
        [
            Action::Diagnose(first, Fate::Superseded),
            Action::Signal(first, Signal::Kill)
        ]
    );
    bench.step(Event::Exited(first, KILLED));
    assert!(bench.did(&Action::Bury(first, KILLED, Some(Fate::Superseded), None)));
    // The second has all its time until there is a fourth.
    assert_eq!(bench.later(1000 * SECOND), []);
    let third = replaced(&mut bench, 4, slow);
    bench.later(10 * SECOND + GRACE);
    bench.later(ASK);
    assert!(bench.did(&Action::Signal(second, Signal::Kill)));
    assert!(!bench.did(&Action::Signal(third, Signal::Kill)));
}

#[test]
fn nobody_gets_more_time_because_a_generation_came_after_the_next() {
    let soon = Policy {
        graceful_timeout: 5 * SECOND,
        ..policy(1)
    };
    let mut bench = Bench::serving(soon);
    let first = replaced(&mut bench, 2, soon);
    bench.now += SECOND;
    replaced(&mut bench, 3, soon);
    bench.now += 4 * SECOND + GRACE;
    bench.step(Event::Tick);
    assert!(bench.did(&Action::Ask(first)));
    bench.later(ASK);
    assert_eq!(
        bench.actions[..2],
        [
            Action::Diagnose(first, Fate::GracefulTimeout),
            Action::Signal(first, Signal::Kill)
        ]
    );
}

/// The slots of those who serve, with their generations.
fn places(bench: &Bench) -> Vec<(usize, Generation)> {
    let workers = bench.state.pool().iter().filter(|(_, w)| w.serves());
    let mut places: Vec<_> = workers.map(|(_, w)| (w.slot, w.generation)).collect();
    places.sort_unstable();
    places
}

#[test]
fn a_roll_that_fails_half_way_keeps_who_is_left_and_touches_nobody_any_more() {
    let mut bench = Bench::serving(policy(3));
    let old: Vec<WorkerId> = bench.state.pool().iter().map(|(id, _)| id).collect();
    let canary = bench.reload(2, policy(3));
    bench.step(Event::Ready(canary));
    assert_eq!(bench.drained(), [old[0]]);
    let [second] = bench.spawned()[..] else {
        panic!()
    };
    bench.step(Event::Failed(second, BootStage::Boot, "one in ten".into()));
    assert!(bench.failed_reload());
    bench.step(exited(second, 3));
    bench.step(exited(old[0], 0));
    assert_eq!(places(&bench), [(0, 2), (1, 1), (2, 1)]);
    assert_eq!(bench.later(60 * SECOND), []);
}

#[test]
fn a_roll_that_fails_ends_new_workers_in_places_that_old_ones_hold() {
    let surge = Policy {
        max_surge: Share::Number(2),
        ..policy(3)
    };
    let mut bench = Bench::serving(surge);
    let old = bench.state.pool().iter().next().unwrap().0;
    let canary = bench.reload(2, surge);
    bench.step(Event::Ready(canary));
    let [one, two] = bench.spawned()[..] else {
        panic!("{:?}", bench.actions)
    };
    bench.step(Event::Failed(one, BootStage::Boot, "one in ten".into()));
    assert!(bench.failed_reload());
    assert_eq!(bench.drained(), [two]);
    bench.step(exited(one, 3));
    bench.step(exited(two, 0));
    bench.step(exited(old, 0));
    assert_eq!(places(&bench), [(0, 2), (1, 1), (2, 1)]);
    assert_eq!(bench.later(60 * SECOND), []);
}

#[test]
fn after_a_roll_that_failed_vacant_places_are_filled_from_the_new_generation_with_patience() {
    let mut bench = Bench::serving(policy(2));
    let old: Vec<WorkerId> = bench.state.pool().iter().map(|(id, _)| id).collect();
    let canary = bench.reload(2, policy(2));
    bench.step(Event::Failed(canary, BootStage::Boot, "no database".into()));
    assert!(bench.failed_reload());
    bench.step(exited(canary, 3));
    bench.step(Event::Exited(old[1], Ending::Signal(libc::SIGKILL)));
    let mut waited = vec![];
    for _ in 0..10 {
        if bench.spawned().is_empty() {
            let due = bench.state.deadline().unwrap();
            waited.push(due - bench.now);
            bench.now = due;
            bench.step(Event::Tick);
        }
        let [id] = bench.spawned()[..] else { panic!() };
        bench.step(Event::Failed(id, BootStage::Boot, "no database".into()));
        bench.step(exited(id, 3));
    }
    assert_eq!(places(&bench), [(0, 1)]);
    assert!(
        waited.last().unwrap() >= &(backoff::LONGEST / 2),
        "{waited:?}"
    );
    // The database is back. When the last of the old ones has gone, the new generation is complete.
    bench.now = bench.state.deadline().unwrap();
    bench.step(Event::Tick);
    let id = bench.spawned()[0];
    bench.step(Event::Ready(id));
    assert_eq!(places(&bench), [(0, 1), (1, 2)]);
    bench.step(Event::Exited(old[0], Ending::Signal(libc::SIGKILL)));
    bench.later(SECOND);
    let first = bench.state.pool().which(|w| w.boots())[0];
    bench.step(Event::Ready(first));
    assert!(bench.did(&Action::Commit(2)) && bench.did(&Action::Forget(1)));
}

#[test]
fn a_worker_lost_before_the_canary_is_ready_comes_back_in_the_generation_that_can_be_spawned() {
    let mut bench = Bench::serving(policy(2));
    let old: Vec<WorkerId> = bench.state.pool().iter().map(|(id, _)| id).collect();
    bench.reload(2, policy(2));
    bench.step(Event::Exited(old[1], Ending::Signal(libc::SIGKILL)));
    assert!(matches!(
        bench.actions.last(),
        Some(Action::Spawn {
            slot: 1,
            generation: 2,
            ..
        })
    ));
}

#[test]
fn a_trial_changes_nothing_and_its_end_is_awaited() {
    let mut bench = Bench::serving(policy(2));
    assert_eq!(bench.step(Event::Reload), [Action::Probe]);
    // `boot-timeout` and what a program needs besides; it begins anew when a worker boots.
    assert_eq!(bench.later(9 * SECOND), []);
    assert_eq!(bench.step(Event::Proving(20 * SECOND)), []);
    assert_eq!(bench.later(20 * SECOND + TRIAL - SECOND), []);
    assert_eq!(bench.later(SECOND), [Action::Cancel]);
    assert_eq!(bench.later(60 * SECOND), []);
    assert_eq!(bench.step(Event::Reload), [Action::Tell(Note::ReloadWaits)]);
    bench.step(Event::LoadFailed("no answer".into()));
    assert!(bench.failed_reload() && bench.did(&Action::Probe));
    bench.pass(2, policy(2));
}

#[test]
fn an_exec_that_fails_leaves_everything_as_it_was() {
    let mut bench = Bench::serving(policy(2));
    bench.step(Event::Reload);
    bench.step(Event::Proved);
    bench.step(Event::LoadFailed("no such file".into()));
    assert!(bench.failed_reload());
    assert_eq!(*bench.state.reload(), Reload::Idle);
    assert_eq!(places(&bench), [(0, 1), (1, 1)]);
    assert_eq!(bench.later(60 * SECOND), []);
}

#[test]
fn a_stop_ends_a_trial_and_what_has_passed_is_not_executed_any_more() {
    for passed in [false, true] {
        let mut bench = Bench::serving(policy(1));
        bench.step(Event::Reload);
        if passed {
            bench.step(Event::Proved);
        }
        bench.step(Event::Stop(Stop::Graceful));
        assert!(bench.did(&Action::Cancel));
        assert_eq!(bench.step(Event::Proved), []);
        assert_eq!(bench.step(Event::LoadFailed(String::new())), []);
    }
}

/// The reloads that have failed, with the reasons.
fn failures(bench: &Bench) -> Vec<(u64, &str)> {
    let failed = |action| match action {
        &Action::Verdict(Verdict {
            reload,
            outcome: Outcome::Failed(ref why) | Outcome::RolledBack(ref why),
            ..
        }) => Some((reload, why.as_str())),
        _ => None,
    };
    bench.actions.iter().filter_map(failed).collect()
}

#[test]
fn a_reload_that_fails_while_nobody_serves_does_not_say_that_somebody_does() {
    for (lost, left) in [(1, Left::Workers), (2, Left::Nobody)] {
        let mut bench = Bench::serving(policy(2));
        let ids = bench.state.pool().which(Worker::serves);
        for id in &ids[..lost] {
            bench.step(Event::Exited(*id, KILLED));
        }
        bench.step(Event::Reload);
        let reason = "no such file".to_owned();
        bench.step(Event::LoadFailed(reason.clone()));
        let note = Action::Tell(Note::ReloadFailed { reason, left });
        assert!(bench.did(&note), "{:?}", bench.actions);
    }
}

/// Nothing that was asked for before brings back the workers that are told to retire.
#[test]
fn whoever_retires_the_workers_gives_up_every_reload() {
    let why = RETIRED;
    let retired = Action::Tell(Note::ReloadFailed {
        reason: why.to_owned(),
        left: Left::Retired,
    });
    for waits in [false, true] {
        let gone = |mut bench: Bench| {
            for id in bench
                .state
                .pool()
                .iter()
                .map(|(id, _)| id)
                .collect::<Vec<_>>()
            {
                bench.step(exited(id, 0));
            }
            assert_eq!(bench.later(60 * SECOND), []);
            let canary = bench.reload(3, policy(2));
            bench.step(Event::Ready(canary));
            assert_eq!(bench.spawned().len(), 1, "a reload brings them back");
        };
        let second = if waits { vec![(2, why)] } else { vec![] };
        let begun = |waits| {
            let mut bench = Bench::serving(policy(2));
            bench.step(Event::Reload);
            if waits {
                bench.step(Event::Reload);
            }
            bench
        };
        // On trial, whatever it may have said already.
        for end in [Event::Proved, Event::LoadFailed(why.to_owned())] {
            let mut bench = begun(waits);
            bench.step(Event::RetireAll);
            assert!(bench.did(&Action::Cancel));
            assert_eq!(bench.drained().len(), 2);
            assert_eq!(failures(&bench), second);
            if end == Event::Proved {
                bench.step(end);
                assert!(!bench.did(&Action::Exec));
                continue;
            }
            bench.step(end);
            assert!(bench.did(&retired));
            assert_eq!(failures(&bench), [(1, why)]);
            gone(bench);
        }
        // Passed, and not executed yet.
        let mut bench = begun(waits);
        bench.step(Event::Proved);
        bench.step(Event::RetireAll);
        assert!(bench.did(&Action::Cancel));
        assert_eq!(failures(&bench), [second.clone(), vec![(1, why)]].concat());
        gone(bench);
        // While it rolls.
        let mut bench = begun(waits);
        bench.pass(2, policy(2));
        bench.step(Event::RetireAll);
        assert!(bench.did(&retired));
        assert_eq!(failures(&bench), [second.clone(), vec![(1, why)]].concat());
        gone(bench);
    }
}

#[test]
fn a_second_reload_waits_for_the_first_and_many_are_one() {
    let mut bench = Bench::serving(policy(1));
    let old = bench.state.pool().iter().next().unwrap().0;
    let canary = bench.reload(2, policy(1));
    for _ in 0..5 {
        assert_eq!(bench.step(Event::Reload), [Action::Tell(Note::ReloadWaits)]);
    }
    bench.step(Event::Ready(canary));
    assert_eq!(bench.drained(), [old]);
    assert!(bench.did(&Action::Commit(2)));
    assert!(bench.did(&Action::Probe));
    bench.step(Event::LoadFailed("unknown key".into()));
    assert!(bench.failed_reload());
    assert!(!bench.did(&Action::Probe));
}

#[test]
fn a_new_number_of_workers_takes_effect_when_the_canary_is_ready() {
    let mut bench = Bench::serving(policy(1));
    let canary = bench.reload(2, policy(4));
    assert!(matches!(
        bench.actions[..],
        [_, Action::Spawn { slot: 1, .. }]
    ));
    bench.step(Event::Ready(canary));
    let places: Vec<(usize, Generation)> = bench
        .state
        .pool()
        .iter()
        .filter(|(_, w)| w.boots())
        .map(|(_, w)| (w.slot, w.generation))
        .collect();
    assert_eq!(places, [(2, 2), (3, 2), (0, 2)]);

    let mut bench = Bench::serving(policy(4));
    let canary = bench.reload(2, policy(2));
    bench.step(Event::Ready(canary));
    assert_eq!(bench.drained().len(), 3);
}

#[test]
fn more_and_less_outlive_a_reload_unless_the_setting_changed() {
    let mut bench = Bench::serving(policy(1));
    bench.step(Event::Less);
    assert!(bench.did(&Action::Tell(Note::NeverNone)));
    bench.step(Event::More);
    assert!(bench.did(&Action::Tell(Note::Wanted(2))));
    let second = bench.spawned()[0];
    bench.step(Event::Ready(second));
    let canary = bench.reload(2, policy(1));
    bench.step(Event::Ready(canary));
    let third = bench.spawned()[0];
    bench.step(Event::Ready(third));
    assert!(bench.did(&Action::Commit(2)));
    assert_eq!(bench.state.pool().count(Worker::serves), 2);

    let canary = bench.reload(3, policy(3));
    bench.step(Event::Ready(canary));
    assert_eq!(bench.state.wanted, 3);
}

#[test]
fn less_drains_the_highest_slot() {
    let mut bench = Bench::serving(policy(3));
    let highest = bench.state.pool().iter().last().unwrap().0;
    bench.step(Event::Less);
    assert_eq!(bench.drained(), [highest]);
}

#[test]
fn retired_workers_come_back_with_a_reload() {
    let mut bench = Bench::serving(policy(2));
    bench.step(Event::RetireAll);
    let old = bench.drained();
    assert_eq!(old.len(), 2);
    for id in old {
        bench.step(exited(id, 0));
    }
    assert_eq!(bench.later(60 * SECOND), []);
    let canary = bench.reload(2, policy(2));
    bench.step(Event::Ready(canary));
    assert_eq!(bench.spawned().len(), 1);
}

#[test]
fn a_graceful_stop_drains_all_and_kills_who_stays() {
    let mut bench = Bench::serving(policy(2));
    let ids: Vec<WorkerId> = bench.state.pool().iter().map(|(id, _)| id).collect();
    bench.step(Event::Stop(Stop::Graceful));
    assert!(bench.did(&Action::Drain {
        worker: ids[0],
        stop: true,
        heirs: false
    }));
    bench.step(exited(ids[0], 0));
    assert_eq!(bench.later(30 * SECOND), []);
    bench.later(GRACE);
    assert!(bench.did(&Action::Ask(ids[1])));
    bench.later(ASK);
    assert!(bench.did(&Action::Diagnose(ids[1], Fate::GracefulTimeout)));
    assert!(bench.did(&Action::Signal(ids[1], Signal::Kill)));
    bench.step(Event::Exited(ids[1], Ending::Signal(libc::SIGKILL)));
    assert!(bench.did(&Action::Exit(0)));
}

#[test]
fn a_quick_stop_overtakes_a_graceful_one() {
    let mut bench = Bench::serving(policy(1));
    let id = bench.state.pool().iter().next().unwrap().0;
    bench.step(Event::Stop(Stop::Graceful));
    bench.step(Event::Stop(Stop::Quick));
    assert!(bench.did(&Action::Quit(id)));
    assert_eq!(bench.step(Event::Stop(Stop::Graceful)), []);
    bench.later(QUICK);
    assert!(bench.did(&Action::Signal(id, Signal::Kill)));
}

#[test]
fn a_stop_during_a_reload_works_at_once() {
    let mut bench = Bench::serving(policy(1));
    let old = bench.state.pool().iter().next().unwrap().0;
    let canary = bench.reload(2, policy(1));
    bench.step(Event::Stop(Stop::Graceful));
    assert!(bench.did(&Action::Drain {
        worker: old,
        stop: true,
        heirs: false
    }));
    assert!(bench.did(&Action::Drain {
        worker: canary,
        stop: true,
        heirs: false
    }));
    assert!(bench.did(&Action::Signal(canary, Signal::Term)));
}

/// A worker accepts before it is heard to be ready: what it has by then must not be cut.
#[test]
fn a_worker_that_is_not_wanted_any_more_is_drained_if_it_was_ready_already() {
    for ready in [true, false] {
        let mut bench = Bench::serving(policy(1));
        bench.step(Event::More);
        let [id] = bench.spawned()[..] else { panic!() };
        bench.step(Event::Less);
        assert!(bench.did(&Action::Drain {
            worker: id,
            stop: false,
            heirs: true
        }));
        assert!(bench.did(&Action::Signal(id, Signal::Term)));
        if ready {
            assert_eq!(bench.step(Event::Ready(id)), []);
        }
        let killed = [Action::Signal(id, Signal::Kill)];
        let soon = bench.later(QUICK) == killed;
        assert_eq!(soon, !ready);
        if ready {
            bench.later(30 * SECOND + GRACE);
            bench.later(ASK);
            assert!(bench.did(&killed[0]));
        }
    }
}

/// Whether somebody serves on for the clients of whoever is told to drain.
#[test]
fn who_drains_has_heirs_while_others_serve_on() {
    let heirs = |bench: &Bench| -> Vec<bool> {
        let drained = |action: &Action| match action {
            Action::Drain { heirs, .. } => Some(*heirs),
            _ => None,
        };
        bench.actions.iter().filter_map(drained).collect()
    };
    let mut bench = Bench::serving(policy(1));
    let new = bench.reload(2, policy(1));
    bench.step(Event::Ready(new));
    assert_eq!(heirs(&bench), [true], "a reload");
    let mut bench = Bench::serving(policy(3));
    bench.step(Event::Less);
    assert_eq!(heirs(&bench), [true], "TTOU");
    let mut bench = Bench::serving(policy(3));
    bench.step(Event::RetireAll);
    assert_eq!(heirs(&bench), [false; 3], "WINCH");
    let mut bench = Bench::serving(policy(3));
    bench.step(Event::Stop(Stop::Graceful));
    assert_eq!(heirs(&bench), [false; 3], "a stop");
    // Nobody serves until the next one has booted.
    let policy = Policy {
        max_surge: Share::Number(0),
        max_unavailable: Share::Number(1),
        ..policy(1)
    };
    let mut bench = Bench::serving(policy);
    bench.step(Event::Reload);
    bench.step(Event::Proved);
    bench.step(Event::Executed(2, policy));
    assert!(
        heirs(&bench).iter().all(|heirs| !heirs),
        "{:?}",
        bench.actions
    );
}

/// The server goes on for `pre-stop-delay` as if nothing had been said.
#[test]
fn a_stop_waits_for_its_delay_and_no_longer() {
    let delayed = Policy {
        pre_stop_delay: 5 * SECOND,
        ..policy(2)
    };
    let wait = [Action::Unready, Action::Tell(Note::StopsIn(5 * SECOND))];
    let mut bench = Bench::serving(delayed);
    let ids: Vec<_> = bench.state.pool().iter().map(|(id, _)| id).collect();
    assert_eq!(bench.step(Event::Stop(Stop::Graceful)), wait);
    assert_eq!(bench.state.deadline(), Some(bench.now + 5 * SECOND));
    // Who dies is replaced, and no reload is begun.
    bench.step(exited(ids[0], 1));
    let [new] = bench.spawned()[..] else {
        panic!("{:?}", bench.actions)
    };
    bench.step(Event::Ready(new));
    bench.step(Event::Reload);
    assert!(bench.failed_reload());
    assert!(bench.later(4 * SECOND).is_empty());
    bench.later(SECOND);
    assert!(bench.did(&Action::Tell(Note::Stopping(Stop::Graceful))));
    assert_eq!(bench.drained().len(), 2);
    assert!(bench.did(&Action::Deafen));
    // Said twice it is meant at once, and a quick one is quick.
    for how in [Stop::Graceful, Stop::Quick] {
        let mut bench = Bench::serving(delayed);
        assert_eq!(bench.step(Event::Stop(Stop::Graceful)), wait);
        bench.step(Event::Stop(how));
        assert!(bench.did(&Action::Tell(Note::Stopping(how))));
        assert_eq!(
            bench
                .later(5 * SECOND)
                .iter()
                .filter(|a| matches!(a, Action::Tell(_)))
                .count(),
            0
        );
    }
    // A start that is not through has nobody to go on for.
    let mut bench = Bench::new(delayed);
    bench.step(Event::Stop(Stop::Graceful));
    assert!(bench.did(&Action::Tell(Note::Stopping(Stop::Graceful))));
}

/// What a worker that drains gave away before it hears of a stop is found by those that hear later.
#[test]
fn those_that_drain_hear_of_a_stop_first() {
    let mut bench = Bench::serving(policy(3));
    bench.step(Event::Less);
    let [leaver] = bench.drained()[..] else {
        panic!("{:?}", bench.actions)
    };
    bench.step(Event::Stop(Stop::Graceful));
    let told = bench.drained();
    assert_eq!((told.len(), told[0]), (3, leaver));
}

#[test]
fn nothing_but_an_end_comes_out_of_a_stop() {
    let id = WorkerId(1);
    let events = [
        Event::Ready(id),
        Event::Retiring(id, Retirement::Panic),
        Event::Failed(id, BootStage::Boot, String::new()),
        Event::Reload,
        Event::Proving(SECOND),
        Event::Proved,
        Event::LoadFailed(String::new()),
        Event::More,
        Event::Less,
        Event::RetireAll,
        Event::Tick,
    ];
    let mut bench = Bench::serving(policy(1));
    bench.step(Event::Stop(Stop::Graceful));
    for event in events {
        assert_eq!(bench.step(event.clone()), [], "{event:?}");
    }
    assert_eq!(bench.step(Event::Reopen), [Action::Reopen]);
    bench.step(exited(id, 0));
    assert!(bench.did(&Action::Exit(0)));
}

#[test]
fn a_hangup_before_the_first_worker_is_ready_waits() {
    let mut bench = Bench::new(policy(1));
    let id = bench.spawned()[0];
    assert_eq!(bench.step(Event::Reload), [Action::Tell(Note::ReloadWaits)]);
    bench.step(Event::Ready(id));
    assert!(bench.did(&Action::Probe));
}

#[test]
fn new_workers_that_die_again_and_again_end_the_roll() {
    let mut bench = Bench::serving(policy(2));
    let canary = bench.reload(2, policy(2));
    bench.step(Event::Ready(canary));
    // Slot 1 goes on booting; slot 0 becomes ready and dies each time.
    for death in 1..=3 {
        let id = bench.state.pool().which(|w| w.slot == 0 && w.serves())[0];
        bench.step(Event::Exited(id, Ending::Signal(libc::SIGSEGV)));
        assert_eq!(bench.failed_reload(), death == 3);
        bench.later(SECOND);
        for id in bench.state.pool().which(|w| w.slot == 0 && w.boots()) {
            bench.step(Event::Ready(id));
        }
    }
    assert_eq!(*bench.state.reload(), Reload::Idle);
}
