//! The aide, as the master deals with it: when it is made and ended, what it is told, and the outage in
//! which it answers for the workers.
//!
//! What is to be done is `Upkeep`'s to decide. That an aide dies, or cannot be made, is nobody else's
//! business; and no aide keeps the server from its end.

use std::os::fd::BorrowedFd;
use std::time::Duration;

use ferricorn_base::lifeline::{Down, Up};
use ferricorn_base::sys::random;
use ferricorn_base::words::News;

use super::{Master, now};
use crate::aide::{Aide, Need, Record, Step, Upkeep};
use crate::spawn::Inheritance;
use crate::state::{Ending, Moment};
use crate::sys;

/// How long an aide may take until it says that it serves.
const BOOT: Duration = Duration::from_secs(10);
/// How long one may be silent of which this image knows nothing.
const QUIET: Duration = Duration::from_secs(30);
/// How long one may take to finish that accepts no more. It lingers for clients that still send.
const LEAVE: Duration = Duration::from_secs(10);
/// How long the last one may take to end. It answers whoever waits, and sends what is to be sent.
const QUIT: Duration = Duration::from_millis(250);

/// All aides that are not reaped yet, and what is remembered of those before.
#[derive(Debug, Default)]
pub(super) struct Aides {
    /// The one of this image, unless it was told to go.
    current: Option<Aide>,
    /// Those of other images, and those that were told to go.
    others: Vec<Aide>,
    upkeep: Upkeep,
    /// The one that there is knows that the server stops.
    told_of_stop: bool,
    /// They all know that it exits.
    told_to_quit: bool,
}

impl Aides {
    /// Those that another image has made.
    pub(super) fn adopt(records: &[Record], upkeep: Upkeep) -> Aides {
        // One that cannot be adopted is no reason to end.
        let others = records.iter().filter_map(|record| Aide::adopt(record).ok());
        Aides {
            others: others.collect(),
            upkeep,
            ..Aides::default()
        }
    }

    /// What another image must be told.
    pub(super) fn records(&self) -> (Vec<Record>, Upkeep) {
        (self.all().map(Aide::record).collect(), self.upkeep)
    }

    fn all(&self) -> impl Iterator<Item = &Aide> + Clone {
        self.current.iter().chain(&self.others)
    }

    fn all_mut(&mut self) -> impl Iterator<Item = &mut Aide> {
        self.current.iter_mut().chain(&mut self.others)
    }

    /// Whether this is one of them.
    pub(super) fn has(&self, pid: i32) -> bool {
        self.all().any(|aide| aide.pid == pid)
    }

    /// Whether none is left.
    pub(super) fn is_empty(&self) -> bool {
        self.all().next().is_none()
    }

    /// The one that serves, or will.
    pub(super) fn pid(&self) -> Option<i32> {
        self.all()
            .find(|aide| aide.until.is_none())
            .map(|aide| aide.pid)
    }

    /// What to wait on.
    pub(super) fn lifelines(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.all().filter_map(Aide::lifeline)
    }

    /// Tells those that stay.
    pub(super) fn tell(&self, command: Down, fds: &[BorrowedFd<'_>]) {
        let stay = self.all().filter(|aide| aide.until.is_none());
        stay.for_each(|aide| aide.tell(command, fds));
    }

    /// When the one of this image is to be asked whether it lives.
    fn question(&self, patience: Duration) -> Option<Moment> {
        let current = self.current.iter().filter(|aide| aide.ready);
        let mut idle = current.filter(|aide| aide.asked.is_none() && aide.until.is_none());
        idle.next().map(|aide| aide.heard + patience / 2)
    }

    /// Asks it when it is time to.
    fn ask(&mut self, patience: Duration, now: Moment) {
        let due = self.question(patience).is_some_and(|due| due <= now);
        if let Some(aide) = self.current.as_mut().filter(|_| due) {
            aide.asked = Some(now);
            aide.tell(Down::Ask, &[]);
        }
    }

    /// Gives all so much more time, as nothing has run for so long.
    pub(super) fn put_off(&mut self, time: Duration) {
        for aide in self.all_mut() {
            aide.made += time;
            let waits = [aide.until.as_mut(), aide.asked.as_mut()];
            waits.into_iter().flatten().for_each(|at| *at += time);
        }
    }

    /// Has those of other images finish, which accept no more.
    fn end_others(&mut self, now: Moment) {
        for aide in self.others.iter_mut().filter(|aide| aide.until.is_none()) {
            leave(aide, now);
        }
    }
}

impl Master {
    /// Sees to it that there is an aide where there should be, and that it answers where nobody else
    /// can.
    pub(super) fn look_after_aide(&mut self) {
        let now = now();
        if self.exit.is_some() {
            return self.end_aides(now);
        }
        self.hear_aides();
        let patience = self.patience_with_aide();
        self.aides.ask(patience, now);
        for aide in self.aides.all_mut() {
            let Some(what) = lateness(aide, patience, now) else {
                continue;
            };
            log::warn!("The aide (pid {}) does not {what}; killed", aide.pid);
            aide.kill();
            aide.until = Some(now + LEAVE);
        }
        let need = self.need_of_aide();
        if self.stops() && !std::mem::replace(&mut self.aides.told_of_stop, true) {
            self.stop_aides(&need, now);
        }
        for step in self.aides.upkeep.step(&need, now) {
            match step {
                Step::Make => self.make_aide(now),
                Step::End => {
                    if let Some(mut aide) = self.aides.current.take() {
                        leave(&mut aide, now);
                        self.aides.others.push(aide);
                    }
                }
                Step::Out => self.out(&need),
                Step::Recovered(after) => {
                    self.recovered(after);
                    if !need.always {
                        self.aides.end_others(now);
                    }
                }
            }
        }
    }

    fn stops(&self) -> bool {
        matches!(self.state.phase(), crate::state::Phase::Stopping { .. })
    }

    fn need_of_aide(&self) -> Need {
        let standing = self.state.standing(now());
        let makers = self.generations.values().filter(|g| g.recipe.is_some());
        let own = makers.max_by_key(|g| g.number);
        let recipe = own.and_then(|g| g.recipe.as_ref());
        let counts = own.or(self.generations.get(&self.serving));
        Need {
            // What a second master has to say before it serves is no news of the first.
            always: recipe.is_some_and(|recipe| recipe.config.wants_aide())
                && (standing.announced || self.other.is_none()),
            outage: standing.outage,
            delay: counts.map_or(Duration::ZERO, |g| g.outage_delay),
            accompanied: self.other.is_some(),
            stopping: standing.stopping,
            generation: own.map(|g| g.number),
            there: self.aides.current.is_some(),
        }
    }

    /// How long an aide may be silent when it was asked: as long as a worker's loop.
    fn patience_with_aide(&self) -> Duration {
        let makers = self.generations.values().filter(|g| g.recipe.is_some());
        let own = makers.max_by_key(|g| g.number);
        own.map_or(QUIET, |g| g.patience.heartbeat)
    }

    /// When to look after it at the latest.
    pub(super) fn aide_deadline(&self) -> Option<Moment> {
        let patience = self.patience_with_aide();
        let ends = self.aides.all().filter_map(|aide| deadline(aide, patience));
        let question = self.aides.question(patience);
        let upkeep = self.aides.upkeep.deadline(&self.need_of_aide());
        ends.chain(question).chain(upkeep).min()
    }

    fn make_aide(&mut self, now: Moment) {
        let makers = self.generations.values().filter(|g| g.recipe.is_some());
        let Some(generation) = makers.max_by_key(|g| g.number) else {
            return;
        };
        let number = generation.number;
        let name = self.suffix(number);
        let made = Aide::make(
            Inheritance {
                generation,
                listeners: &generation.listeners,
                registry: &mut self.registry,
                board: &mut self.board,
                doors: &[],
                rendezvous: &self.rendezvous,
                name: &name,
            },
            self.aides.all(),
            now,
        );
        let made = made.and_then(|(aide, client)| {
            let pid = aide.pid;
            self.aides.current = Some(aide);
            self.control.invite(client, now)?;
            Ok(pid)
        });
        match made {
            Ok(pid) => log::info!("Booting the aide with pid: {pid}"),
            Err(error) => {
                let retry = self.aides.upkeep.ended(number, now, now, chance());
                let seconds = retry.as_secs_f64();
                log::error!("cannot make an aide: {error}; trying again in {seconds:.1} s");
                self.aides.current.iter().for_each(Aide::kill);
            }
        }
        if self.aides.upkeep.is_out() {
            self.aides.tell(Down::Outage { on: true }, &[]);
        }
    }

    /// Takes the reports of all aides.
    fn hear_aides(&mut self) {
        let (mut ready, is_out) = (false, self.aides.upkeep.is_out());
        for aide in self.aides.all_mut() {
            while let Some(report) = aide.hear() {
                let pid = aide.pid;
                (aide.heard, aide.asked) = (now(), None);
                match report {
                    Up::Here => {}
                    Up::Ready => {
                        aide.ready = true;
                        ready = true;
                        log::info!("The aide is ready (pid {pid})");
                    }
                    // What it has answered in an outage is added up, and it may begin with the next.
                    Up::Left { .. } => {
                        self.board.iter().for_each(|board| board.bury(aide.seat));
                        if is_out && aide.until.is_none() {
                            aide.tell(Down::Outage { on: true }, &[]);
                        }
                    }
                    Up::Failed { reason, .. } => log::error!("The aide (pid {pid}): {reason}"),
                    report => log::warn!("the aide (pid {pid}) says {report:?}"),
                }
            }
        }
        if ready && self.aides.current.as_ref().is_some_and(|aide| aide.ready) {
            self.end_former_aides();
        }
    }

    /// The aide of this image serves, or its generation alone does: those before it let go of their
    /// listeners, and what only they had is closed.
    pub(super) fn end_former_aides(&mut self) {
        self.aides.end_others(now());
        let makers = self.generations.values().filter(|g| g.recipe.is_some());
        let own = makers.map(|g| g.number).max();
        for generation in self.generations.values_mut() {
            if Some(generation.number) != own {
                generation.metrics.clear();
            }
        }
    }

    /// Reaps the aides that have ended.
    pub(super) fn reap_aides(&mut self) {
        self.hear_aides();
        let board = &self.board;
        self.aides.others.retain(|aide| {
            let lives = matches!(sys::reap(aide.pid), Ok(None));
            if !lives {
                board.iter().for_each(|board| board.bury(aide.seat));
            }
            lives
        });
        let Some(pid) = self.aides.current.as_ref().map(|aide| aide.pid) else {
            return;
        };
        match sys::reap(pid) {
            Ok(None) => {}
            Ok(Some(ending)) => self.aide_ended(ending),
            Err(_) => self.aide_ended(Ending::Signal(0)),
        }
    }

    /// The aide has ended by itself, or by somebody else.
    fn aide_ended(&mut self, ending: Ending) {
        let Some(aide) = self.aides.current.take() else {
            return;
        };
        self.board.iter().for_each(|board| board.bury(aide.seat));
        let pid = aide.pid;
        if self.exit.is_some() || self.stops() {
            return log::info!("The aide (pid {pid}) {ending}");
        }
        let generation = self.need_of_aide().generation.unwrap_or_default();
        let upkeep = &mut self.aides.upkeep;
        let retry = upkeep.ended(generation, aide.made, now(), chance());
        let seconds = retry.as_secs_f64();
        log::error!("The aide (pid {pid}) {ending}; the next one comes in {seconds:.1} s");
    }

    /// The server stops: nobody is let in any more. The aides tell so to the end, but where another
    /// master's may be asked.
    fn stop_aides(&mut self, need: &Need, now: Moment) {
        let stop = Down::Drain {
            stop: true,
            heirs: false,
        };
        self.aides.tell(stop, &[]);
        if need.accompanied {
            let stay = self.aides.all_mut().filter(|aide| aide.until.is_none());
            stay.for_each(|aide| leave(aide, now));
        }
    }

    /// The server exits: the aides go last.
    fn end_aides(&mut self, now: Moment) {
        let told = std::mem::replace(&mut self.aides.told_to_quit, true);
        for aide in self.aides.all_mut() {
            if !told {
                aide.tell(Down::Quit, &[]);
                aide.until = Some(now + QUIT);
            } else if aide.until.is_some_and(|until| until <= now) {
                aide.kill();
            }
        }
    }

    fn out(&mut self, need: &Need) {
        let seconds = need.delay.as_secs_f64();
        let cause = self.state.standing(now()).trouble.map(str::to_owned);
        let why = cause.as_deref().unwrap_or("no worker is ready");
        log::error!(
            "Nobody serves for {seconds} s: requests are answered 503 until a worker does ({why})"
        );
        self.publish(&News::Outage { seconds, cause });
        self.aides.tell(Down::Outage { on: true }, &[]);
    }

    fn recovered(&mut self, after: Duration) {
        let seconds = after.as_secs_f64();
        self.aides.tell(Down::Outage { on: false }, &[]);
        log::info!("A worker is ready: the outage ends, after {seconds:.1} s");
        self.publish(&News::Recovered { seconds });
    }
}

fn leave(aide: &mut Aide, now: Moment) {
    let finish = Down::Drain {
        stop: false,
        heirs: true,
    };
    aide.tell(finish, &[]);
    aide.until = Some(now + LEAVE);
}

/// When it is to have begun, to have answered or to be gone.
fn deadline(aide: &Aide, patience: Duration) -> Option<Moment> {
    let begun = (!aide.ready).then_some(aide.made + BOOT);
    let answered = aide.asked.map(|asked| asked + patience);
    aide.until.or(begun).or(answered)
}

/// What it should have done by now.
fn lateness(aide: &Aide, patience: Duration, now: Moment) -> Option<&'static str> {
    deadline(aide, patience).filter(|until| *until <= now)?;
    Some(match aide.until {
        Some(_) => "end",
        None if aide.ready => "answer",
        None => "begin",
    })
}

/// From 0..1.
fn chance() -> f64 {
    let [byte, ..] = random();
    f64::from(byte) / 255.0
}
