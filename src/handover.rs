//! The hand-over: what the master tells the image that comes after it, and the one that it tries.
//!
//! A sealed memfd with JSON in it and a version on top, named by a variable of the environment which
//! is removed first thing. The program on trial reads all of it, so that a version which it does not
//! know is refused before anything has changed, never after. Descriptors are listed by number; they
//! pass through execve(2) because their close-on-exec mark was taken off for the moment.

mod sealed;

use std::collections::BTreeMap;
use std::env;
use std::ffi::OsString;
use std::io;
use std::net::IpAddr;
use std::os::fd::{AsFd, OwnedFd, RawFd};
use std::rc::Rc;
use std::time::Duration;

use ferricorn_base::lifeline::MasterEnd;
use ferricorn_base::rendezvous::Rendezvous;
use log::LevelFilter;
use serde::{Deserialize, Serialize};

use crate::aide;
use crate::children::{Child, Children};
use crate::control;
use crate::diagnose::Patience;
use crate::directory::Directory;
use crate::generation::{Generation, Held};
use crate::logging::{self, LogFiles, Relay};
use crate::master::Override;
use crate::notify;
use crate::past::Past;
use crate::pidfile::{self, PidFile};
use crate::poison;
use crate::program::Origin;
use crate::second;
use crate::sockets::{self, Inherited, Listener};
use crate::state::{self, Moment, Policy, Signal, State, WorkerId};
use crate::sys;
use crate::watch::Plan;

pub use self::sealed::{seal, unseal, unseal_version};

/// The version of all this. An image refuses any other.
pub const VERSION: u32 = 1;
/// The variable that says what this process is and where the hand-over lies.
pub const VARIABLE: &str = "FERRICORN_HANDOVER";

/// What this process is to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Nobody hands anything over: the first start.
    First,
    /// A program on trial.
    Trial {
        /// The memfd.
        handover: RawFd,
        /// Where to answer.
        answer: RawFd,
    },
    /// The next image of the master.
    Next {
        /// The memfd.
        handover: RawFd,
    },
    /// A second master, beside the one that has started it.
    Second {
        /// The memfd with [`second::Given`].
        given: RawFd,
        /// The channel between the two.
        channel: RawFd,
    },
}

/// Everything that another image has to know.
#[derive(Debug, Serialize, Deserialize)]
pub struct Handover {
    version: u32,
    /// How the program was started.
    pub origin: Origin,
    /// Host names that were looked up.
    pub names: BTreeMap<String, Vec<IpAddr>>,
    /// Sockets that were open at the first start.
    pub inherited: Inherited,
    /// What the service manager was told.
    pub notified: notify::Record,
    /// The scoreboard.
    pub board: RawFd,
    /// Where workers hand connections to each other: the giving end, then the taking end.
    pub rendezvous: [RawFd; 2],
    /// The doors by seat.
    pub doors: Vec<Option<RawFd>>,
    /// The way of messages for syslog to the aide: the giving end, then the taking end.
    relay: Option<[RawFd; 2]>,
    listeners: Vec<(RawFd, sockets::Record)>,
    pidfiles: Vec<(RawFd, pidfile::Record)>,
    // Of the generation to come.
    directory: Option<RawFd>,
    generations: Vec<GenerationRecord>,
    workers: Vec<(WorkerId, WorkerRecord)>,
    /// What became of earlier ones.
    pub past: Past,
    /// Molds that are not reaped yet. The next image has no use for them.
    pub molds: Vec<i32>,
    /// Aides that are not reaped yet, which serve until the next image has its own, and whether nobody
    /// else does.
    pub aides: (Vec<aide::Record>, aide::Upkeep),
    /// The generation whose log and title the master has.
    pub serving: state::Generation,
    /// The number that the next generation gets.
    pub next: state::Generation,
    /// What the master has decided so far.
    pub state: State,
    /// The deaths of late, and what is in quarantine for them.
    pub poison: poison::Ledger,
    /// Who is connected to the control socket.
    pub control: control::Record,
    /// The file of the configuration that was proved and its text, as they were read on trial.
    pub proved: Option<(OsString, String)>,
    /// The files to be watched.
    pub watch: Option<Plan>,
    /// What the operator has said is to be logged.
    pub level: Option<Override>,
    /// The other master, if there is one.
    pub other: Option<second::Record>,
}

#[derive(Debug, Serialize, Deserialize)]
struct GenerationRecord {
    number: state::Generation,
    policy: Policy,
    slow_request: Duration,
    patience: Patience,
    poison: poison::Policy,
    log_level: String,
    name: Option<String>,
    show_queries: bool,
    listeners: Vec<usize>,
    metrics: Vec<usize>,
    outage_delay: Duration,
    control: Option<usize>,
    pidfile: Option<usize>,
    logs: logging::Record,
    error_log: RawFd,
    access_log: Option<RawFd>,
    syslog: Option<RawFd>,
}

#[derive(Debug, Serialize, Deserialize)]
struct WorkerRecord {
    pid: Option<i32>,
    slot: usize,
    seat: usize,
    generation: state::Generation,
    started: Moment,
    ready: bool,
    leaving: bool,
    answered: Option<u64>,
    sent: Option<Signal>,
    lifeline: Option<RawFd>,
}

/// What a master hands over, gathered.
#[derive(Debug)]
pub struct Parts<'a> {
    /// See [`Handover`].
    pub origin: &'a Origin,
    /// See [`Handover`].
    pub names: BTreeMap<String, Vec<IpAddr>>,
    /// See [`Handover`].
    pub inherited: &'a Inherited,
    /// See [`Handover`].
    pub notified: notify::Record,
    /// See [`Handover`].
    pub board: RawFd,
    /// See [`Handover`].
    pub rendezvous: &'a Rendezvous,
    /// See [`Handover`].
    pub doors: &'a [Option<OwnedFd>],
    /// All generations that live.
    pub generations: &'a BTreeMap<state::Generation, Generation>,
    /// All workers that live.
    pub children: &'a Children,
    /// See [`Handover`].
    pub past: &'a Past,
    /// See [`Handover`].
    pub molds: Vec<i32>,
    /// See [`Handover`].
    pub aides: (Vec<aide::Record>, aide::Upkeep),
    /// What is open for the generation to come.
    pub new: Held,
    /// See [`Handover`].
    pub serving: state::Generation,
    /// See [`Handover`].
    pub next: state::Generation,
    /// See [`Handover`].
    pub state: State,
    pub poison: poison::Ledger,
    /// See [`Handover`].
    pub control: control::Record,
    /// See [`Handover`].
    pub proved: Option<(OsString, String)>,
    /// See [`Handover`].
    pub watch: Option<Plan>,
    /// See [`Handover`].
    pub level: Option<Override>,
    /// See [`Handover`].
    pub other: Option<second::Record>,
}

impl Handover {
    /// Writes down what there is. The descriptors stay their owners'.
    pub fn of(parts: Parts<'_>) -> Handover {
        let mut held = parts.new;
        let mut relays = parts.generations.values().filter_map(|g| g.logs.relay());
        let relay = relays.next().or(held.relay.as_ref());
        let relay = relay.map(|relay| relay.ends().map(sys::number));
        let generations = parts.generations.values().map(|generation| {
            let listeners = generation.listeners.iter();
            let metrics = generation.metrics.iter();
            let control = generation.control.as_ref();
            let pidfile = generation.pidfile.as_ref();
            GenerationRecord {
                number: generation.number,
                policy: generation.policy,
                slow_request: generation.slow_request,
                patience: generation.patience,
                poison: generation.poison,
                log_level: generation.log_level.to_string(),
                name: generation.name.clone(),
                show_queries: generation.show_queries,
                listeners: listeners.map(|l| held.add_listener(Rc::clone(l))).collect(),
                metrics: metrics.map(|l| held.add_listener(Rc::clone(l))).collect(),
                outage_delay: generation.outage_delay,
                control: control.map(|l| held.add_listener(Rc::clone(l))),
                pidfile: pidfile.map(|file| held.add_pidfile(Rc::clone(file))),
                logs: generation.logs.record(),
                error_log: sys::number(generation.logs.error()),
                access_log: generation.logs.access().map(sys::number),
                syslog: generation.logs.syslog().map(sys::number),
            }
        });
        let generations = generations.collect();
        let door = |door: &Option<OwnedFd>| door.as_ref().map(|fd| sys::number(fd.as_fd()));
        let listeners = held.listeners.iter();
        let pidfiles = held.pidfiles.iter();
        let directory = held.directory.as_ref();
        let workers = parts.children.iter();
        Handover {
            version: VERSION,
            origin: parts.origin.clone(),
            names: parts.names,
            inherited: parts.inherited.clone(),
            notified: parts.notified,
            board: parts.board,
            rendezvous: parts.rendezvous.ends().map(sys::number),
            doors: parts.doors.iter().map(door).collect(),
            relay,
            listeners: listeners
                .map(|listener| (sys::number(listener.as_fd()), listener.record()))
                .collect(),
            pidfiles: pidfiles
                .map(|file| (sys::number(file.as_fd()), file.record()))
                .collect(),
            directory: directory.map(|directory| sys::number(directory.as_fd())),
            generations,
            workers: workers
                .map(|(id, child)| (*id, WorkerRecord::of(child)))
                .collect(),
            past: parts.past.clone(),
            molds: parts.molds,
            aides: parts.aides,
            serving: parts.serving,
            next: parts.next,
            state: parts.state,
            poison: parts.poison,
            control: parts.control,
            proved: parts.proved,
            watch: parts.watch,
            level: parts.level,
            other: parts.other,
        }
    }

    /// The descriptors that a program on trial needs.
    pub fn for_trial(&self) -> Vec<RawFd> {
        let logs = self.generations.iter().filter(|g| g.number == self.serving);
        let listeners = self.listeners.iter().map(|(fd, _)| *fd);
        listeners
            .chain(self.pidfiles.iter().map(|(fd, _)| *fd))
            .chain(
                logs.flat_map(|generation| [Some(generation.error_log), generation.syslog])
                    .flatten(),
            )
            .chain(self.inherited.numbers().iter().copied())
            .chain(self.relay.iter().flatten().copied())
            .chain([self.board])
            .collect()
    }

    /// All descriptors.
    pub fn descriptors(&self) -> Vec<RawFd> {
        let mut all = self.for_trial();
        for generation in &self.generations {
            all.push(generation.error_log);
            all.extend(generation.access_log);
            all.extend(generation.syslog);
        }
        all.extend(self.directory);
        all.extend(self.rendezvous);
        all.extend(self.other.as_ref().and_then(second::Record::channel));
        all.extend(self.doors.iter().flatten());
        all.extend(self.workers.iter().filter_map(|(_, w)| w.lifeline));
        all.extend(self.aides.0.iter().filter_map(aide::Record::lifeline));
        all.extend(self.control.descriptors());
        all.sort_unstable();
        all.dedup();
        all
    }

    /// Takes the listeners and pid files over from the image before. `ours` says whether their files
    /// go with them. Once.
    ///
    /// # Errors
    /// A descriptor is not what it should be.
    pub fn held(&self, ours: bool) -> io::Result<Held> {
        let mut held = Held::default();
        for (fd, record) in &self.listeners {
            let listener = Listener::handed_over(sys::take_over(*fd)?, record, ours)?;
            held.listeners.push(Rc::new(listener));
        }
        for (fd, record) in &self.pidfiles {
            let file = PidFile::adopt(record, sys::take_over(*fd)?, ours);
            held.pidfiles.push(Rc::new(file));
        }
        let directory = self.directory.map(sys::take_over).transpose()?;
        held.directory = directory.map(|fd| Rc::new(Directory::from(fd)));
        if let Some([giving, taking]) = self.relay {
            let ends = [sys::take_over(giving)?, sys::take_over(taking)?];
            held.relay = Some(Rc::new(Relay::of(ends)));
        }
        // Their numbers are nobody's; they only must not go further.
        for number in self.inherited.numbers() {
            sys::close_on_exec(*number)?;
        }
        Ok(held)
    }

    /// Takes the generations over, with their shares of `held`. Once.
    ///
    /// # Errors
    /// As [`Handover::held`].
    pub fn generations(&self, held: &Held) -> io::Result<BTreeMap<state::Generation, Generation>> {
        let one = |record: &GenerationRecord| {
            let shares = |places: &[usize]| {
                let listeners = places.iter();
                listeners
                    .filter_map(|n| held.listeners.get(*n).map(Rc::clone))
                    .collect()
            };
            let control = record.control.and_then(|n| held.listeners.get(n));
            let pidfile = record.pidfile.and_then(|n| held.pidfiles.get(n));
            let access = record.access_log.map(sys::take_over).transpose()?;
            let generation = Generation {
                number: record.number,
                policy: record.policy,
                slow_request: record.slow_request,
                patience: record.patience,
                poison: record.poison,
                log_level: level(&record.log_level),
                name: record.name.clone(),
                show_queries: record.show_queries,
                listeners: shares(&record.listeners),
                metrics: shares(&record.metrics),
                outage_delay: record.outage_delay,
                logs: record.logs(access, held.relay.clone())?,
                control: control.map(Rc::clone),
                pidfile: pidfile.map(Rc::clone),
                recipe: None,
            };
            Ok((record.number, generation))
        };
        self.generations.iter().map(one).collect()
    }

    /// Takes the workers over, with their life-lines. Once.
    ///
    /// # Errors
    /// As [`Handover::held`].
    pub fn children(&self) -> io::Result<Children> {
        let one = |(id, record): &(WorkerId, WorkerRecord)| {
            let lifeline = record.lifeline.map(sys::take_over).transpose()?;
            Ok((*id, record.child(lifeline.map(MasterEnd::from))))
        };
        self.workers.iter().map(one).collect()
    }

    /// The logs of the generation that serves but the access log, and its level: where a program on
    /// trial writes what it has to say.
    ///
    /// # Errors
    /// As [`Handover::held`].
    pub fn log(&self) -> io::Result<Option<(LogFiles, LevelFilter)>> {
        let mut generations = self.generations.iter();
        let serving = generations.find(|g| g.number == self.serving);
        let log =
            |serving: &GenerationRecord| Ok((serving.logs(None, None)?, level(&serving.log_level)));
        serving.map(log).transpose()
    }

    /// Reads what another image has left in a memfd.
    ///
    /// # Errors
    /// It is no sealed memfd of ours, or of another version.
    pub fn read(fd: RawFd) -> io::Result<Handover> {
        unseal_version(sys::take_over(fd)?, VERSION)
    }
}

impl GenerationRecord {
    fn logs(&self, access: Option<OwnedFd>, relay: Option<Rc<Relay>>) -> io::Result<LogFiles> {
        let error = sys::take_over(self.error_log)?;
        let syslog = self.syslog.map(sys::take_over).transpose()?;
        let record = self.logs.clone();
        Ok(LogFiles::handed_over(error, access, syslog, relay, record))
    }
}

impl WorkerRecord {
    fn of(child: &Child) -> WorkerRecord {
        WorkerRecord {
            pid: child.pid,
            slot: child.slot,
            seat: child.seat,
            generation: child.generation,
            started: child.started,
            ready: child.ready,
            leaving: child.leaving,
            answered: child.answered,
            sent: child.sent,
            lifeline: child.lifeline().map(sys::number),
        }
    }

    fn child(&self, lifeline: Option<MasterEnd>) -> Child {
        let mut child = Child::new(
            self.pid,
            self.slot,
            self.seat,
            self.generation,
            self.started,
            lifeline,
        );
        child.ready = self.ready;
        child.leaving = self.leaving;
        child.answered = self.answered;
        child.sent = self.sent;
        child
    }
}

/// What this process is to be, from its environment, which forgets it.
///
/// # Errors
/// The variable says something else.
pub fn role() -> io::Result<Role> {
    let Some(text) = env::var_os(VARIABLE) else {
        return Ok(Role::First);
    };
    sys::set_variable(VARIABLE.as_ref(), None);
    let unknown = || io::Error::other(format!("{VARIABLE} is for the server itself to set"));
    let words = text.to_str().ok_or_else(unknown)?.split(':');
    let number = |word: &str| word.parse::<RawFd>().ok();
    match words.collect::<Vec<_>>()[..] {
        ["trial", handover, answer] => number(handover)
            .zip(number(answer))
            .map(|(handover, answer)| Role::Trial { handover, answer }),
        ["second", given, channel] => number(given)
            .zip(number(channel))
            .map(|(given, channel)| Role::Second { given, channel }),
        ["next", handover] => number(handover).map(|handover| Role::Next { handover }),
        _ => None,
    }
    .ok_or_else(unknown)
}

fn level(name: &str) -> LevelFilter {
    name.parse().unwrap_or(LevelFilter::Info)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_version_is_refused_before_anything_else_is_read() {
        for text in [r#"{"version": 2}"#, r#"{"version": 0, "new": []}"#] {
            let value: serde_json::Value = serde_json::from_str(text).unwrap();
            let fd = seal(&value).unwrap();
            let number = sys::number(fd.as_fd());
            std::mem::forget(fd);
            let error = Handover::read(number).unwrap_err().to_string();
            assert!(error.contains("knows version 1; restart"), "{error}");
        }
    }
}
