//! The shell around the state: it waits, turns what happens into events, and performs the actions.
//!
//! One thread, one loop on poll(2) over the signal pipe, the life-lines, a trial, the control socket and
//! the files that are watched, one timer. It never waits anywhere else, never reads a byte from a client
//! of the application and never loads one. What to do is the state's to decide.

mod aide;
mod control;
mod deaths;
mod exec;
mod hooks;
mod level;
mod limits;
mod load;
mod logged;
mod mold;
mod overload;
mod perform;
mod probe;
mod quarantine;
mod reap;
mod reload;
mod second;
mod slow;
mod status;

use std::collections::{BTreeMap, VecDeque};
use std::os::fd::BorrowedFd;
use std::rc::Rc;
use std::time::Duration;

use ferricorn_base::board::{Board, WORKER_SEATS};
use ferricorn_base::lifeline::Up;
use ferricorn_base::logs::Counted;
use ferricorn_base::rendezvous::Rendezvous;
use ferricorn_base::sys::monotonic as now;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::children::{Child, Children, Doors};
use crate::config::Names;
use crate::control::Control;
use crate::control::words::News;
use crate::daemon::Waiting;
use crate::diagnose::{self, Oom, Pauses};
use crate::generation::{Generation, urls};
use crate::memory::{Headroom, Scales};
use crate::mold::Mold;
use crate::notify::Notifier;
use crate::past::Past;
use crate::poison::Ledger;
use crate::program::Program;
use crate::registry::Registry;
use crate::second::Other;
use crate::signals::{self, Signals};
use crate::sockets::{self, Inherited, Listener};
use crate::state::{self, Event, Moment, Parting, State, WorkerId};
use crate::tally;
use crate::watch::{Plan, Watch};

use self::aide::Aides;
pub use self::level::Override;
use self::load::Measured;
use self::overload::Overload;
use self::probe::{Proof, Trial};

/// How often the scoreboard is looked at while a worker serves.
const LOOK: Duration = Duration::from_millis(500);
/// Reports of one worker that are taken in one turn, so that none can keep the master to itself.
const REPORTS: usize = 64;
/// Who wakes so late was not run, and neither were the workers.
const OVERSLEPT: Duration = Duration::from_secs(3);

/// What the master is made of.
#[derive(Debug)]
pub struct Parts {
    /// The program and how it was started.
    pub program: Program,
    /// Host names that were looked up.
    pub names: Names,
    /// What it offers.
    pub registry: Registry,
    /// Sockets that were open at the start.
    pub inherited: Inherited,
    /// The signals, watched already.
    pub signals: Signals,
    /// Who is to be told how it goes.
    pub notifier: Notifier,
    /// The first generation.
    pub generation: Generation,
    /// The files to be watched.
    pub watch: Option<Plan>,
    /// The process that waits for a daemon's start.
    pub waiting: Waiting,
    /// The first master and its pid, where this is a second one.
    pub first: Option<(Other, i32)>,
}

/// The master.
#[derive(Debug)]
pub struct Master {
    program: Program,
    names: Names,
    registry: Registry,
    inherited: Inherited,
    signals: Signals,
    notifier: Notifier,
    waiting: Waiting,
    state: State,
    events: VecDeque<Event>,
    generations: BTreeMap<state::Generation, Generation>,
    serving: state::Generation,
    // The number of the generation after the newest.
    next: state::Generation,
    // Why there is nothing to spawn from, where there is nothing.
    broken: String,
    trial: Option<Trial>,
    proof: Option<Proof>,
    watch: Option<Watch>,
    executes: bool,
    children: Children,
    past: Past,
    // From which workers are made, with `preload`.
    mold: Option<Mold>,
    // Molds that were ended and scribes, not reaped yet.
    spent: Vec<i32>,
    // What scribes are to write, as it is logged if they cannot.
    unwritten: BTreeMap<i32, String>,
    aides: Aides,
    doors: Doors,
    rendezvous: Rendezvous,
    control: Control,
    // Always there, but in a worker, which takes it.
    board: Option<Board>,
    oom: Oom,
    poison: Ledger,
    scales: Scales,
    measured: Measured,
    headroom: Headroom,
    looked: Moment,
    pauses: Pauses,
    overload: Overload,
    // What the operator has said is to be logged.
    level: Option<Override>,
    // What of the log is on the scoreboard.
    logged: Counted,
    exit: Option<u8>,
    // How many workers the hooks know to be wanted.
    counted: Option<usize>,
    // Dropped last: its end says that all else is done.
    other: Option<Other>,
}

impl Master {
    /// A master with no worker yet.
    ///
    /// # Errors
    /// The scoreboard or the rendezvous cannot be made.
    pub fn new(parts: Parts) -> std::io::Result<Master> {
        let seed = u64::from(std::process::id()) << 32 | u64::from(now().subsec_nanos());
        let generation = parts.generation;
        let number = generation.number;
        let mut state = State::new(generation.policy, WORKER_SEATS, seed);
        let other = parts.first.map(|(first, pid)| {
            state.follow(pid);
            first
        });
        let board = Board::create()?;
        tally::begin(&board);
        Ok(Master {
            state,
            program: parts.program,
            names: parts.names,
            registry: parts.registry,
            inherited: parts.inherited,
            signals: parts.signals,
            notifier: parts.notifier,
            waiting: parts.waiting,
            events: VecDeque::new(),
            generations: BTreeMap::from([(number, generation)]),
            serving: number,
            next: number + 1,
            broken: String::new(),
            trial: None,
            proof: None,
            watch: parts.watch.map(|plan| Watch::new(plan, now())),
            executes: false,
            children: Children::new(),
            past: Past::default(),
            mold: None,
            spent: Vec::new(),
            unwritten: BTreeMap::new(),
            aides: Aides::default(),
            doors: Doors::default(),
            rendezvous: Rendezvous::new()?,
            control: Control::new(now()),
            board: Some(board),
            oom: Oom::watch(now()),
            poison: Ledger::default(),
            scales: Scales::default(),
            measured: Measured::default(),
            headroom: Headroom::find(),
            looked: now(),
            pauses: Pauses::default(),
            overload: Overload::fresh(),
            level: None,
            logged: Counted::default(),
            exit: None,
            counted: None,
            other,
        })
    }

    /// Serves until told to stop; returns the exit code.
    pub fn run(mut self) -> u8 {
        if let Some(generation) = self.generations.get(&self.serving) {
            log::info!(
                "Listening at: {} ({})",
                generation.urls(),
                std::process::id()
            );
            if let Some(socket) = &generation.control {
                log::info!("Control socket: {}", socket.url());
            }
            if !generation.metrics.is_empty() {
                log::info!(
                    "Metrics, status and health at: {}",
                    urls(&generation.metrics)
                );
            }
            if let Some(recipe) = &generation.recipe {
                log::info!("Using worker: {}", recipe.conf.worker_class);
                let warnings = recipe.warnings(&generation.listeners);
                warnings.iter().for_each(|text| log::warn!("{text}"));
            }
        }
        if let Some(watch) = &self.watch {
            log::info!("Watching for changes: {}", watch.names());
        }
        self.name();
        self.hook("when_ready", |hooks| hooks.when_ready());
        // Process 1 may have inherited somebody before the signals were watched.
        self.reap();
        self.happened(Event::Tick);
        self.supervise()
    }

    fn supervise(mut self) -> u8 {
        loop {
            let now = now();
            let standing = self.state.standing(now);
            // What another master leads with is what both have.
            let kept = |listener: &&Rc<Listener>| standing.main.is_none() || listener.is_shared();
            let listeners = self.generations.values().flat_map(|g| &g.listeners);
            let stored = match self.notifier.stores() {
                true => sockets::storable(listeners.filter(kept)),
                false => Vec::new(),
            };
            self.notifier.tell(&standing, &stored, now);
            self.pass_the_lead();
            self.look_after_aide();
            let gone = self.spent.is_empty() && self.aides.is_empty();
            if let Some(code) = self.exit.filter(|_| gone) {
                if code != 0 {
                    self.waiting.fails(code);
                }
                self.hook("on_exit", |hooks| hooks.on_exit());
                return code;
            }
            self.count_log();
            if std::mem::take(&mut self.executes) {
                let error = self.execute();
                self.happened(Event::LoadFailed(error.to_string()));
                continue;
            }
            // What a slow reader of the error log left behind.
            ferricorn_base::logs::flush();
            if let Some(time) = self.wait() {
                self.overslept(time);
            }
            for (signal, count) in self.signals.take() {
                for _ in 0..count {
                    self.signalled(signal);
                }
            }
            self.reap_trial();
            self.hear_other();
            self.bury_first();
            self.hear_mold();
            self.hear_all();
            self.hear_control();
            self.look();
            self.look_at_files();
            self.look_at_poison();
            self.happened(Event::Tick);
        }
    }

    /// Waits for a signal, a report or the next deadline. Returns by how much it was missed, if nothing ran
    /// meanwhile.
    fn wait(&mut self) -> Option<Duration> {
        // Also while they boot: who looks often knows when nothing ran.
        let look = (!self.children.is_empty()).then_some(self.looked + LOOK);
        let deadlines = [
            self.state.deadline(),
            self.notifier.deadline(),
            self.first_deadline(),
            self.aide_deadline(),
            self.control.deadline(),
            self.poison.deadline(),
            self.watch.as_ref().and_then(Watch::deadline),
            look,
        ];
        let (deadline, began) = (deadlines.into_iter().flatten().min(), now());
        let timeout = deadline.map_or(PollTimeout::NONE, |deadline| {
            // Rounded up: waking a little early would only mean to wait once more.
            let wait = deadline.saturating_sub(began) + Duration::from_micros(999);
            let wait = i32::try_from(wait.as_millis()).unwrap_or(i32::MAX);
            PollTimeout::try_from(wait).unwrap_or(PollTimeout::MAX)
        });
        let signals = std::os::fd::AsFd::as_fd(&self.signals);
        let lifelines = self.children.values().filter_map(Child::lifeline);
        let trial = self.trial.as_ref().and_then(Trial::answer);
        let sockets = self.control_sockets();
        let mold = self.mold.as_ref().and_then(Mold::line);
        let mut fds: Vec<PollFd<'_>> = std::iter::once(signals)
            .chain(lifelines)
            .chain(self.aides.lifelines())
            .chain(trial)
            .chain(self.watch.as_ref().and_then(Watch::fd))
            .chain(self.channel())
            .chain(mold)
            .map(|fd: BorrowedFd<'_>| PollFd::new(fd, PollFlags::POLLIN))
            .chain(self.control.polls(&sockets, now()))
            .collect();
        match poll(&mut fds, timeout) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(errno) => log::error!("cannot wait: {errno}"),
        }
        let clients = &fds[fds.len() - self.control.len()..];
        let found: Vec<PollFlags> = clients.iter().filter_map(PollFd::revents).collect();
        self.control.polled(&found);
        let late = now().saturating_sub(deadline?.max(began));
        (late > OVERSLEPT).then_some(late)
    }

    /// Nothing has run for so long, but time has passed: all get that much more.
    fn overslept(&mut self, time: Duration) {
        let seconds = time.as_secs_f64();
        log::warn!("nothing was run for {seconds:.1} s: all deadlines are put off by as much");
        self.pauses.add(time, now());
        self.aides.put_off(time);
        self.happened(Event::Slept(time));
    }

    fn signalled(&mut self, signal: i32) {
        match signal {
            libc::SIGCHLD => self.reap(),
            // A terminal sends it when its window changes.
            libc::SIGWINCH if std::io::IsTerminal::is_terminal(&std::io::stdin()) => {
                log::debug!("SIGWINCH ignored: there is a terminal");
            }
            _ => {
                let name = crate::exit::signal_name(signal);
                log::info!("Handling signal: {name}");
                self.publish(&News::Signal { name });
                if let Some(event) = signals::event(signal) {
                    self.happened(event);
                }
            }
        }
    }

    /// Takes the reports of all workers.
    fn hear_all(&mut self) {
        let ids: Vec<WorkerId> = self.children.keys().copied().collect();
        ids.into_iter().for_each(|id| self.hear(id));
    }

    /// Takes the reports of one worker.
    fn hear(&mut self, id: WorkerId) {
        for _ in 0..REPORTS {
            let Some(child) = self.children.get_mut(&id) else {
                return;
            };
            let Some(report) = child.hear() else {
                if child.pid.is_none() && child.lifeline().is_none() {
                    self.unmake(id, None, "it ended before it was a worker, or its mold did");
                }
                return;
            };
            match report {
                Up::Born { pid } => self.born(id, pid),
                Up::Ready => self.ready(id),
                Up::Retiring(why) => self.retiring(id, why),
                Up::Left {
                    answered,
                    handed_over,
                    closed_idle,
                    forced,
                } => {
                    let child = self.children.get(&id);
                    let before = child.and_then(|child| child.answered).unwrap_or(answered);
                    let parting = Parting {
                        completed: answered.saturating_sub(before),
                        handed_over,
                        closed_idle,
                        forced,
                    };
                    self.happened(Event::Left(id, parting));
                }
                Up::Failed { stage, reason } => self.happened(Event::Failed(id, stage, reason)),
                Up::ReopenLogs => self.send_logs_to(id),
                // Nobody has asked a worker.
                Up::Here => {}
            }
        }
    }

    fn ready(&mut self, id: WorkerId) {
        if self.is_too_large(id) {
            return;
        }
        let Some(child) = self.children.get_mut(&id) else {
            return;
        };
        child.ready = true;
        let (slot, whom) = (child.slot, child.whom());
        let took = (now() - child.started).as_secs_f64();
        if let Some(board) = &self.board {
            board.set_alive(child.seat, true);
        }
        log::info!("Worker {slot} is ready ({whom}, after {took:.2} s)");
        self.news_of(id, |who| News::WorkerReady { who, seconds: took });
        self.happened(Event::Ready(id));
    }

    /// Looks at the scoreboard for deadlines that only it can show.
    fn look(&mut self) {
        let now = now();
        if now < self.looked + LOOK {
            return;
        }
        self.looked = now;
        if !self.children.values().any(|child| child.ready) {
            return;
        }
        self.oom.look(now);
        let mut overdue = Vec::new();
        for (id, child) in self.children.iter().filter(|(_, child)| child.ready) {
            let Some(generation) = self.generations.get(&child.generation) else {
                continue;
            };
            let view = self.view(child);
            let (patience, pauses) = (generation.patience, &self.pauses);
            let late = diagnose::late(&view, patience, pauses, now);
            let (count, leaving) = (late.len(), child.leaving);
            let which = diagnose::overdue(&view, count, leaving, patience, pauses, now);
            let late = late.into_iter().cloned().collect();
            overdue.extend(which.map(|which| (*id, which, late)));
        }
        self.look_for_slow();
        self.look_for_overload(now);
        for (id, which, late) in overdue {
            self.accuse(id, which, late);
            self.happened(Event::Overdue(id, which));
        }
        self.hear_accused(now);
        self.weigh(now);
        self.measure(now);
    }

    /// Reloads when one of the files has changed that are watched.
    fn look_at_files(&mut self) {
        let changed = self.watch.as_mut().and_then(|watch| watch.changed(now()));
        // Workers that were retired in favour of another master are not asked for by this.
        if let Some(names) = changed.filter(|_| !self.state.may_return()) {
            log::info!("Changed: {names}");
            self.happened(Event::Reload);
        }
    }

    /// Gives the state an event, and does what it says; what comes of that is the next event.
    fn happened(&mut self, event: Event) {
        self.events.push_back(event);
        while let Some(event) = self.events.pop_front() {
            let actions = self.state.step(event, now());
            self.count_workers();
            for action in actions {
                self.news_before(&action);
                self.perform(action);
            }
            if !self.state.spawns() {
                self.end_mold();
            }
            if matches!(self.state.phase(), state::Phase::Stopping { .. }) {
                // The workers have theirs; nobody should find the door open when they are gone.
                self.generations
                    .values_mut()
                    .for_each(|g| g.listeners.clear());
            }
        }
    }
}
