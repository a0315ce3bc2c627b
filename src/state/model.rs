//! A model of the operating system that drives the real state through random orders of events.
//!
//! Processes boot, fail, hang, crash and are late in every way; signals come at any moment. What
//! must hold whatever happens is asserted after each step.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use ferricorn_base::lifeline::{Retirement, Stage as BootStage};

use super::*;

const MS: Duration = Duration::from_millis(1);

/// SplitMix64: the same run for the same seed.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bits ^ (bits >> 31)
    }

    fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }

    fn ms(&mut self, end: u64) -> Duration {
        MS * self.below(end) as u32
    }
}

struct Process {
    slot: usize,
    seat: usize,
    generation: Generation,
    ready: Option<Moment>,
    /// Ready, and not told to go.
    serves: bool,
    /// Hangs: only SIGKILL ends it.
    deaf: bool,
    dying: bool,
    /// A mold is to make it, and has not.
    unmade: bool,
}

/// What makes a generation good or bad.
#[derive(Clone, Copy)]
struct Quality {
    breaks: u64,
    hangs: u64,
    crashes: u64,
}

const PERFECT: Quality = Quality {
    breaks: 0,
    hangs: 0,
    crashes: 0,
};

struct Model {
    random: Random,
    state: State,
    now: Moment,
    queue: BTreeMap<(Moment, u64), Event>,
    order: u64,
    processes: HashMap<WorkerId, Process>,
    reaped: HashMap<WorkerId, bool>,
    qualities: HashMap<Generation, Quality>,
    newest: Generation,
    failures: HashMap<(usize, Generation), (u32, Moment)>,
    /// When those must be gone that two generations have come after.
    superseded: HashMap<WorkerId, Moment>,
    stopping: Option<Moment>,
    exit: Option<u8>,
    chaos: bool,
    calm: bool,
    most_up: usize,
    story: Vec<String>,
    target: Option<Generation>,
    probing: bool,
    trial: u64,
    answers: HashMap<u64, u64>,
    /// The second master that lives, and what it still does.
    second: Option<u64>,
    words: HashMap<u64, u64>,
    next: Option<Event>,
    reloads: u64,
    /// A reload was asked for while another was under way.
    waits: bool,
    /// Reloads that have begun, and on which no verdict was given.
    open: Vec<u64>,
    /// Generations have limits, rates and numbers that may change.
    limits: bool,
    /// When the last workers were started.
    started: Vec<Moment>,
}

impl Model {
    fn new(seed: u64, policy: Policy, quality: Quality, chaos: bool) -> Model {
        Model {
            random: Random(seed),
            state: State::new(policy, 24, seed),
            now: 1000 * MS,
            queue: BTreeMap::new(),
            order: 0,
            processes: HashMap::new(),
            reaped: HashMap::new(),
            qualities: HashMap::from([(1, quality)]),
            newest: 1,
            failures: HashMap::new(),
            superseded: HashMap::new(),
            stopping: None,
            exit: None,
            chaos,
            calm: false,
            most_up: 0,
            story: Vec::new(),
            target: None,
            probing: false,
            trial: 0,
            answers: HashMap::new(),
            second: None,
            words: HashMap::new(),
            next: None,
            reloads: 0,
            waits: false,
            open: Vec::new(),
            limits: false,
            started: Vec::new(),
        }
    }

    fn after(&mut self, delay: Duration, event: Event) {
        self.order += 1;
        self.queue.insert((self.now + delay, self.order), event);
    }

    /// What a program on trial says: nothing, when it was cancelled before.
    fn answer(&mut self, delay: Duration, event: Event) {
        self.after(delay, event);
        self.answers.insert(self.order, self.trial);
    }

    /// What becomes of the second master that lives now.
    fn second(&mut self, delay: Duration, what: Other) {
        self.after(delay, Event::Other(what));
        let second = self.second.expect("there is one");
        self.words.insert(self.order, second);
    }

    /// Takes the next event or deadline; `false` when nothing will ever happen again.
    fn advance(&mut self) -> bool {
        let next = self.queue.keys().next().copied();
        let timer = self.state.deadline();
        let event = match (next, timer) {
            (Some(key), Some(timer)) if key.0 > timer => {
                self.now = self.now.max(timer);
                Event::Tick
            }
            (Some(key), _) => {
                self.now = self.now.max(key.0);
                let event = self.queue.remove(&key).unwrap();
                if let Some(trial) = self.answers.remove(&key.1) {
                    if trial != self.trial {
                        return true;
                    }
                    self.probing &= matches!(event, Event::Proving(_));
                }
                if let Some(second) = self.words.remove(&key.1) {
                    if self.second != Some(second) {
                        return true;
                    }
                    if matches!(event, Event::Other(Other::Ended(_))) {
                        self.second = None;
                    }
                }
                event
            }
            (None, Some(timer)) => {
                self.now = self.now.max(timer);
                Event::Tick
            }
            (None, None) => return false,
        };
        self.deliver(event);
        true
    }

    fn deliver(&mut self, event: Event) {
        assert!(self.exit.is_none(), "nothing happens after the end");
        match &event {
            // A process that was reaped says nothing any more.
            Event::Ready(id)
            | Event::Retiring(id, _)
            | Event::Failed(id, ..)
            | Event::Overdue(id, _)
            | Event::Left(id, _)
            | Event::Memory(id, _)
            | Event::SpawnFailed(id, _)
                if !self.processes.contains_key(id) =>
            {
                return;
            }
            Event::Exited(id, _) if !self.processes.contains_key(id) => return,
            _ => {}
        }
        let floor = self.state.floor();
        let serving = self.serving();
        self.target = self.state.reload().roll().map(|roll| roll.target);
        let rolling = self.target.is_some();
        match &event {
            Event::Ready(id) => {
                let now = self.now;
                let process = self.processes.get_mut(id).unwrap();
                process.ready = Some(now);
                process.unmade = false;
                process.serves = !process.dying;
            }
            Event::Exited(id, _) => {
                let process = self.processes.remove(id).unwrap();
                assert_eq!(self.reaped.insert(*id, false), None, "reaped twice");
                let limit = self.superseded.remove(id).unwrap_or(Moment::MAX);
                // One that hangs besides is asked about, and given time for its core.
                let late = self.now > limit.saturating_add(ASK + CORE + 10 * MS);
                assert!(!late || self.stopping.is_some(), "{id} outlives its limit");
                if !process.dying {
                    self.note_failure(&process);
                }
            }
            Event::Failed(id, ..) => {
                let process = self.processes.get_mut(id).unwrap();
                let place = (process.slot, process.generation);
                if !process.dying {
                    process.dying = true;
                    self.count_failure(place);
                }
            }
            Event::Overdue(id, which) if *which != Overdue::Thread => {
                let process = &self.processes[id];
                if process.serves {
                    let copy = Process {
                        serves: false,
                        ..*process
                    };
                    self.note_failure(&copy);
                }
            }
            Event::Retiring(id, _) | Event::Overdue(id, _) => {
                let process = &self.processes[id];
                let place = (process.slot, process.generation);
                self.forget_others(place);
            }
            Event::SpawnFailed(id, _) => {
                let process = self.processes.remove(id).unwrap();
                if !process.dying {
                    self.count_failure((process.slot, process.generation));
                }
            }
            _ => {}
        }
        let draining = self.draining();
        let actions = self.state.step(event.clone(), self.now);
        // TTOU and the canary of a smaller generation lower it in the same step.
        let floor = floor.min(self.state.floor());
        let story = format!("{:?} {event:?} -> {actions:?}", self.now);
        self.story.push(story);
        if let Event::Memory(id, _) = event {
            // It is past the hard limit, which is a failure of its place.
            if actions.contains(&Action::Signal(id, Signal::Kill)) {
                let process = Process {
                    ..self.processes[&id]
                };
                self.note_failure(&process);
            }
        }
        for action in actions {
            self.perform(action, floor, rolling);
        }
        if !self.chaos && self.stopping.is_none() {
            let (now, must) = (self.serving(), self.state.floor());
            assert!(
                now >= serving.min(must),
                "{serving} served, {now} do, {must} must"
            );
        }
        if let Event::Executed(target, policy) = &event {
            self.assert_two_generations_last(&draining, *target, policy);
        }
        for (id, buried) in &self.reaped {
            assert!(*buried, "{id} was reaped and not buried");
        }
        // Nothing else comes between an exec and what follows it.
        if let Some(event) = self.next.take() {
            self.deliver(event);
        }
    }

    /// Never more at once than the burst, and never more in a time than the rate.
    fn assert_no_storm(&mut self) {
        let policy = self.state.policy(self.state.own);
        let rate = policy.spawn_rate as usize;
        if self.target.is_some() || rate == 0 {
            return self.started.clear();
        }
        self.started.push(self.now);
        // The burst follows the number that is wanted, which seats bound.
        let burst = 2 * rate.max(24);
        let Some(first) = self.started.len().checked_sub(burst + 10) else {
            return;
        };
        let passed = self.now - self.started[first];
        let least = Duration::from_secs(9) / rate as u32;
        assert!(passed >= least, "ten more within {passed:?}");
    }

    fn draining(&self) -> Vec<WorkerId> {
        let pool = self.state.pool();
        pool.which(|worker| matches!(worker.stage, Stage::Draining { .. }))
    }

    /// Whoever drained already, and for an older generation than the one before the newest, has a
    /// near end.
    fn assert_two_generations_last(
        &self,
        draining: &[WorkerId],
        target: Generation,
        policy: &Policy,
    ) {
        let pool = self.state.pool();
        let older = pool.iter().map(|(_, worker)| worker.generation);
        let Some(previous) = older.filter(|generation| *generation < target).max() else {
            return;
        };
        let limit = self.now + policy.superseded_timeout + GRACE;
        for worker in draining.iter().filter_map(|id| pool.get(*id)) {
            if let (true, Stage::Draining { until }) = (worker.generation < previous, worker.stage)
            {
                assert!(until <= limit, "one of {} drains on", worker.generation);
            }
        }
    }

    fn note_failure(&mut self, process: &Process) {
        match process.ready {
            Some(since) if self.now >= since + STABLE => {
                self.failures.retain(|place, _| place.0 != process.slot);
            }
            Some(_) => self.count_failure((process.slot, process.generation)),
            None => self.count_failure((process.slot, process.generation)),
        }
    }

    fn count_failure(&mut self, place: (usize, Generation)) {
        // Nobody is spawned in an older one any more.
        if place.1 == self.newest {
            self.remember_failure(place);
        }
    }

    fn remember_failure(&mut self, place: (usize, Generation)) {
        self.forget_others(place);
        let entry = self.failures.entry(place).or_insert((0, self.now));
        *entry = (entry.0 + 1, self.now);
    }

    /// A slot remembers one configuration only.
    fn forget_others(&mut self, place: (usize, Generation)) {
        self.failures
            .retain(|other, _| other.0 != place.0 || other.1 == place.1);
    }

    fn perform(&mut self, action: Action, floor: usize, rolling: bool) {
        match action {
            Action::Spawn {
                worker,
                slot,
                seat,
                generation,
            } => {
                let stops = matches!(self.state.phase(), Phase::Stopping { .. });
                assert!(!stops, "a worker is started during a stop");
                assert_eq!(generation, self.newest, "an image spawns one generation");
                assert!(
                    !self.reaped.contains_key(&worker),
                    "an identity is given twice"
                );
                assert!(
                    self.processes.values().all(|process| process.seat != seat),
                    "two workers on seat {seat}"
                );
                let pool = self.state.pool();
                let holds = |(id, other): (WorkerId, &Worker)| {
                    id != worker && other.slot == slot && other.holds()
                };
                let policy = self.state.policy(generation);
                let (extra, surge) = (pool.extra(), policy.budget(self.state.wanted).surge);
                assert!(
                    !pool.iter().any(holds) || extra <= surge,
                    "{extra} are extra, and {surge} may be"
                );
                if let Some((count, since)) = self.failures.get(&(slot, generation)) {
                    let doubled = backoff::FIRST * (1 << (count - 1).min(12));
                    let least = doubled.min(backoff::LONGEST) / 2;
                    assert!(
                        self.now >= *since + least,
                        "slot {slot} came back too early"
                    );
                }
                self.assert_no_storm();
                self.boot(worker, slot, seat, generation);
            }
            Action::Drain { worker, stop, .. } => {
                self.alive(worker);
                let serving = self.serving();
                let process = self.processes.get_mut(&worker).unwrap();
                if process.serves && rolling && !stop {
                    assert!(serving > floor, "{serving} serve and {floor} must");
                }
                process.serves = false;
                process.dying = true;
                let slow = self.random.one_in(8);
                if !self.processes[&worker].deaf && !slow {
                    let delay = self.random.ms(4000);
                    if self.random.one_in(2) {
                        self.after(delay, Event::Left(worker, Parting::default()));
                    }
                    self.after(delay, Event::Exited(worker, Ending::Code(0)));
                }
            }
            Action::Hurry(worker, within) => {
                let process = &self.processes[&worker];
                assert!(process.dying && process.generation + 1 < self.newest);
                let limit = self.now + within + GRACE;
                let before = self.superseded.insert(worker, limit);
                assert!(before.is_none_or(|before| limit < before), "more time");
            }
            Action::Quit(worker) => {
                self.alive(worker);
                self.leave(worker, 500, Ending::Code(0));
            }
            Action::Signal(worker, Signal::Term) => {
                self.alive(worker);
                self.leave(worker, 50, Ending::Signal(libc::SIGTERM));
            }
            Action::Signal(worker, Signal::Abort) => {
                self.alive(worker);
                self.leave(worker, 900, Ending::Signal(libc::SIGABRT));
            }
            Action::Signal(worker, Signal::Kill) => {
                self.alive(worker);
                self.processes.get_mut(&worker).unwrap().deaf = false;
                self.leave(worker, 5, Ending::Signal(libc::SIGKILL));
            }
            Action::Retire { worker, .. } => {
                self.alive(worker);
                let process = &self.processes[&worker];
                self.forget_others((process.slot, process.generation));
            }
            Action::Ask(worker) => {
                self.alive(worker);
                self.hang(worker);
            }
            Action::LookForCore(worker) => {
                self.alive(worker);
                if self.random.one_in(2) {
                    self.after(MS, Event::NoCore(worker));
                }
            }
            Action::Diagnose(worker, _) => self.alive(worker),
            Action::Bury(worker, ..) => {
                assert_eq!(
                    self.reaped.insert(worker, true),
                    Some(false),
                    "buried twice or alive"
                );
            }
            Action::Probe => {
                assert!(!self.probing, "one trial at a time");
                self.probing = true;
                self.waits = false;
                self.trial += 1;
                self.reloads += 1;
                self.open.push(self.reloads);
                if self.random.one_in(4) {
                    let delay = self.random.ms(50);
                    self.answer(delay, Event::LoadFailed("unknown key".into()));
                } else if self.chaos && self.random.one_in(8) {
                    // It hangs until it is cancelled.
                } else {
                    let delay = self.random.ms(50);
                    self.answer(delay, Event::Proving(Duration::from_secs(2)));
                    let more = delay + self.random.ms(500);
                    self.answer(more, Event::Proved);
                }
            }
            Action::Cancel => {
                self.trial += 1;
                if self.probing {
                    let delay = self.random.ms(20);
                    self.answer(delay, Event::LoadFailed("no answer".into()));
                }
            }
            Action::Exec => {
                assert!(!self.probing, "it has ended");
                if self.random.one_in(8) {
                    self.next = Some(Event::LoadFailed("no such file".into()));
                } else {
                    self.newest += 1;
                    // The state goes to the next image as it is.
                    let text = serde_json::to_string(&self.state).unwrap();
                    self.state = serde_json::from_str(&text).unwrap();
                    let quality = Quality {
                        breaks: [0, 1, 4, 0][self.random.below(4) as usize],
                        hangs: [0, 0, 5][self.random.below(3) as usize],
                        crashes: [0, 0, 0, 3][self.random.below(4) as usize],
                    };
                    let quality = if self.has_accidents() {
                        quality
                    } else {
                        PERFECT
                    };
                    self.qualities.insert(self.newest, quality);
                    let mut policy = random_policy(&mut self.random);
                    if self.limits {
                        limit(&mut policy, &mut self.random);
                    }
                    self.next = Some(Event::Executed(self.newest, policy));
                }
            }
            Action::Forget(generation) => {
                assert!(
                    self.processes
                        .values()
                        .all(|process| process.generation != generation)
                );
                assert!(
                    self.qualities.remove(&generation).is_some(),
                    "forgotten twice"
                );
            }
            Action::Commit(generation) => {
                assert!(self.qualities.contains_key(&generation));
                assert!(
                    self.processes
                        .values()
                        .all(|process| !process.serves || process.generation == generation)
                );
            }
            Action::Upgrade => {
                assert!(self.second.is_none(), "one second master at a time");
                self.order += 1;
                self.second = Some(self.order);
                if self.random.one_in(6) {
                    self.second = None;
                    self.next = Some(Event::Other(Other::Ended("no memory".into())));
                    return;
                }
                self.next = Some(Event::Other(Other::Begun(7)));
                if self.chaos && self.random.one_in(4) {
                    // It hangs.
                    return;
                }
                let mut delay = self.random.ms(100);
                self.second(delay, Other::Boots(Duration::from_secs(2)));
                if self.random.one_in(2) {
                    delay += self.random.ms(3000);
                    self.second(delay, Other::Serves);
                    delay += self.random.ms(5000);
                    self.second(delay, Other::Leaves);
                }
                delay += self.random.ms(1000);
                self.second(delay, Other::Ended("is gone".into()));
            }
            Action::EndSecond(signal) => {
                assert!(self.second.is_some(), "nobody is there to be ended");
                if signal == Signal::Kill || self.random.one_in(2) {
                    let delay = self.random.ms(500);
                    self.second(delay, Other::Ended("was killed".into()));
                }
            }
            Action::Own => assert!(self.second.is_none(), "it lives"),
            Action::Exit(code) => {
                assert!(!self.state.is_upgrading(), "a second master is left behind");
                assert!(
                    self.processes.is_empty(),
                    "the master leaves workers behind"
                );
                self.exit = Some(code);
            }
            Action::Verdict(verdict) => {
                let number = verdict.reload;
                if number > self.reloads {
                    assert!(std::mem::take(&mut self.waits), "nobody asked for {number}");
                    self.reloads = number;
                    self.open.push(number);
                }
                let at = self.open.iter().position(|open| *open == number);
                let at = at.unwrap_or_else(|| panic!("no verdict on {number} is due"));
                self.open.remove(at);
                if let Outcome::Complete(generation, _) = verdict.outcome {
                    let old = |process: &Process| process.generation < generation;
                    assert!(!self.processes.values().any(old), "an old worker is left");
                }
            }
            Action::Reopen | Action::Unready | Action::Deafen | Action::Announce => {}
            Action::Tell(note) => self.waits |= note == Note::ReloadWaits,
        }
        let up = self
            .processes
            .values()
            .filter(|process| !process.dying)
            .count();
        self.most_up = self.most_up.max(up);
    }

    fn alive(&self, worker: WorkerId) {
        assert!(
            self.processes.contains_key(&worker),
            "{worker} is touched after it was reaped"
        );
    }

    fn serving(&self) -> usize {
        self.processes
            .values()
            .filter(|process| process.serves)
            .count()
    }

    /// It is past a deadline: if it boots, past `boot-timeout`, which is a failure of its place.
    fn hang(&mut self, worker: WorkerId) {
        let process = self.processes.get_mut(&worker).unwrap();
        let fails = !process.dying && process.ready.is_none();
        let place = (process.slot, process.generation);
        process.dying = true;
        process.serves = false;
        if fails {
            self.count_failure(place);
        }
    }

    fn leave(&mut self, worker: WorkerId, within: u64, ending: Ending) {
        let process = self.processes.get_mut(&worker).unwrap();
        process.dying = true;
        process.serves = false;
        if process.unmade {
            let delay = self.random.ms(within);
            self.after(
                delay,
                Event::SpawnFailed(worker, "it was told to go".into()),
            );
        } else if !process.deaf {
            let delay = self.random.ms(within) + MS;
            self.after(delay, Event::Exited(worker, ending));
        }
    }

    fn boot(&mut self, worker: WorkerId, slot: usize, seat: usize, generation: Generation) {
        let quality = self.qualities[&generation];
        let mut process = Process {
            slot,
            seat,
            generation,
            ready: None,
            serves: false,
            deaf: false,
            dying: false,
            unmade: self.random.one_in(3),
        };
        let boots_in = self.random.ms(800);
        let hits = |random: &mut Random, n: u64| n > 0 && random.one_in(n);
        if hits(&mut self.random, quality.hangs) {
            process.deaf = self.random.one_in(2);
        } else if hits(&mut self.random, quality.breaks) {
            match self.random.below(5) {
                0 => self.after(boots_in, Event::SpawnFailed(worker, "no memory".into())),
                1 => {
                    let failed = Event::Failed(worker, BootStage::Load, "no module".into());
                    self.after(boots_in, failed);
                    self.after(boots_in, Event::SpawnFailed(worker, "no module".into()));
                }
                2 => self.after(
                    boots_in,
                    Event::Exited(worker, Ending::Signal(libc::SIGSEGV)),
                ),
                _ => {
                    let failed = Event::Failed(worker, BootStage::Boot, "no database".into());
                    self.after(boots_in, failed);
                    self.after(boots_in + 3 * MS, Event::Exited(worker, Ending::Code(3)));
                }
            }
        } else {
            self.after(boots_in, Event::Ready(worker));
            process.deaf = self.has_accidents() && self.random.one_in(40);
            let lives = boots_in + self.random.ms(20_000);
            if hits(&mut self.random, quality.crashes) {
                self.after(lives, Event::Exited(worker, Ending::Signal(libc::SIGSEGV)));
            }
            if self.has_accidents() && self.random.one_in(6) {
                let which = [
                    Retirement::MaxRequests,
                    Retirement::Panic,
                    Retirement::Asked,
                ];
                let which = which[self.random.below(3) as usize];
                self.after(lives, Event::Retiring(worker, which));
            }
            if self.has_accidents() && self.random.one_in(10) {
                let which = match self.random.one_in(2) {
                    true => Overdue::Request,
                    false => Overdue::Thread,
                };
                self.after(lives, Event::Overdue(worker, which));
            }
        }
        self.processes.insert(worker, process);
    }

    fn disturb(&mut self) {
        let event = match self.random.below(16) {
            0..=3 => Event::Reload,
            4 => Event::More,
            5 => Event::Less,
            6 => Event::Reopen,
            7 if self.chaos => Event::RetireAll,
            11 => Event::Upgrade,
            8 | 9 if self.chaos => {
                let mut ids: Vec<WorkerId> = self.processes.keys().copied().collect();
                ids.sort();
                if ids.is_empty() {
                    return;
                }
                let victim = ids[self.random.below(ids.len() as u64) as usize];
                if self.random.one_in(2) {
                    Event::Kill(victim)
                } else {
                    Event::Exited(victim, Ending::Signal(libc::SIGKILL))
                }
            }
            10 => Event::Scale(1 + self.random.below(5) as usize),
            12 => {
                let mut ids: Vec<WorkerId> = self.processes.keys().copied().collect();
                ids.sort();
                if ids.is_empty() {
                    return;
                }
                let id = ids[self.random.below(ids.len() as u64) as usize];
                Event::Memory(id, self.random.below(200))
            }
            13 => Event::Room(Some(self.random.below(1000)).filter(|free| *free < 900)),
            15 => {
                let time = self.random.ms(20_000);
                self.now += time;
                self.superseded
                    .values_mut()
                    .for_each(|limit| *limit += time);
                Event::Slept(time)
            }
            14 if self.random.one_in(8) => Event::ScaleAuto,
            14 => Event::Load(Load {
                busy: self.random.below(6000) as u32,
                waiting: self.random.below(6) as u32,
            }),
            _ => Event::Tick,
        };
        self.deliver(event);
    }

    /// From now on all goes well.
    fn calm(&mut self) {
        self.calm = true;
        if self.exit.is_none() {
            self.deliver(Event::Room(None));
        }
        self.qualities.values_mut().for_each(|q| *q = PERFECT);
    }

    fn has_accidents(&self) -> bool {
        self.chaos && !self.calm
    }

    fn end(&mut self) {
        let how = if self.random.one_in(2) {
            Stop::Graceful
        } else {
            Stop::Quick
        };
        self.stopping = Some(self.now);
        self.deliver(Event::Stop(how));
        let begun = self.now;
        while self.exit.is_none() {
            assert!(self.advance(), "the stop hangs");
        }
        let most = Duration::from_secs(6) + GRACE + Duration::from_secs(3);
        assert!(
            self.now <= begun + most,
            "the stop took {:?}",
            self.now - begun
        );
        assert!(self.reaped.values().all(|buried| *buried));
    }
}

impl Drop for Model {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let last = self.story.len().saturating_sub(40);
            eprintln!("{}", self.story[last..].join("\n"));
        }
    }
}

fn random_policy(random: &mut Random) -> Policy {
    use Share::{Number, Percent};
    let (max_surge, max_unavailable) = [
        (Number(1), Number(0)),
        (Number(1), Number(1)),
        (Number(2), Number(0)),
        (Number(0), Number(1)),
        (Number(3), Number(2)),
        (Percent(25), Number(0)),
        (Percent(50), Percent(40)),
    ][random.below(7) as usize];
    Policy {
        workers: 1 + random.below(5) as usize,
        boot_timeout: Duration::from_secs(2),
        graceful_timeout: Duration::from_secs(5),
        superseded_timeout: Duration::from_secs(random.below(4)),
        pre_stop_delay: [Duration::ZERO, Duration::from_secs(1)][random.below(2) as usize],
        dump_cores: random.one_in(2),
        max_surge,
        max_unavailable,
        ..Policy::FALLBACK
    }
}

/// Limits of all kinds that workers may be past.
fn limit(policy: &mut Policy, random: &mut Random) {
    let or_none = |random: &mut Random, value: u64| [0, value][random.below(2) as usize];
    policy.recycling = Recycling {
        lifetime: Duration::from_secs(or_none(random, 30)),
        lifetime_jitter: Duration::from_secs(random.below(20)),
        memory: or_none(random, 100),
        memory_jitter: random.below(30),
        memory_samples: 1 + random.below(3) as u32,
        memory_hard: or_none(random, 180),
    };
    policy.spawn_rate = [0, 1, 4, 32][random.below(4) as usize];
    if random.one_in(2) {
        policy.scaling = Scaling {
            least: 1 + random.below(policy.workers as u64) as usize,
            most: policy.workers + random.below(6 - policy.workers as u64) as usize,
            patience: Duration::from_secs(5),
        };
    }
}

#[test]
fn random_orders_of_events_break_no_promise() {
    for seed in 0..800 {
        let mut random = Random(seed ^ 0xfe44_1c04);
        let mut policy = random_policy(&mut random);
        limit(&mut policy, &mut random);
        let quality = Quality {
            breaks: 0,
            hangs: 0,
            crashes: random.below(3),
        };
        let mut model = Model::new(seed, policy, quality, true);
        model.limits = true;
        model.deliver(Event::Tick);
        for _ in 0..250 {
            if model.exit.is_some() {
                break;
            }
            if model.random.one_in(5) {
                model.disturb();
            } else {
                model.advance();
            }
            let wanted = model.state.wanted;
            assert!((1..=16).contains(&wanted), "seed {seed}: {wanted}");
        }
        if model.exit.is_none() {
            model.end();
        }
    }
}

/// Once nothing is broken any more, and nobody asks for anything.
#[test]
fn whatever_happened_a_reload_comes_to_its_end_and_all_places_are_filled() {
    for seed in 0..2000 {
        let mut random = Random(seed ^ 0x0c0f_fee0);
        let policy = random_policy(&mut random);
        let quality = Quality {
            breaks: random.below(3) * 3,
            hangs: 0,
            crashes: random.below(3),
        };
        let mut model = Model::new(seed, policy, quality, true);
        model.deliver(Event::Tick);
        for _ in 0..250 {
            if model.exit.is_some() {
                break;
            }
            if model.random.one_in(5) {
                model.disturb();
            } else {
                model.advance();
            }
        }
        model.calm();
        // Longer than any back-off.
        let end = model.now + Duration::from_secs(200);
        while model.exit.is_none() && model.now < end && model.advance() {}
        if model.exit.is_some() {
            continue;
        }
        let state = &model.state;
        assert_eq!(*state.reload(), Reload::Idle, "seed {seed}");
        let wanted = if state.retired { 0 } else { state.wanted };
        assert_eq!(model.serving(), wanted, "seed {seed}");
    }
}

#[test]
fn without_accidents_reloads_never_leave_too_few_or_start_too_many() {
    for seed in 0..500 {
        let mut random = Random(seed ^ 0x0bad_cafe);
        let policy = random_policy(&mut random);
        let mut model = Model::new(seed, policy, PERFECT, false);
        model.deliver(Event::Tick);
        while model.serving() < policy.workers {
            assert!(model.advance());
        }
        for _ in 0..200 {
            if model.random.one_in(12) {
                model.disturb();
            } else if !model.advance() {
                model.deliver(Event::Reload);
            }
        }
        assert!(
            model.most_up <= 5 + 3 + 10,
            "seed {seed}: {} at once",
            model.most_up
        );
        while model.advance() {}
        let open = &model.open;
        assert!(open.is_empty(), "seed {seed}: no verdict on {open:?}");
        model.end();
    }
}

#[test]
fn a_first_start_that_cannot_boot_always_ends_with_a_code() {
    for seed in 0..300 {
        let mut random = Random(seed);
        let policy = random_policy(&mut random);
        let quality = Quality {
            breaks: 1,
            hangs: random.below(4),
            crashes: 0,
        };
        let mut model = Model::new(seed, policy, quality, true);
        model.deliver(Event::Tick);
        while model.exit.is_none() {
            assert!(model.advance(), "seed {seed} hangs");
            model.stopping = None;
        }
        assert!(matches!(model.exit, Some(3 | 4)), "{:?}", model.exit);
    }
}
