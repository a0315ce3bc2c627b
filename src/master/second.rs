//! The other master: starting a second one, hearing and telling it, and having everything alone again.
//!
//! Nothing here waits: what the other one says and its end are events. It is no worker and no trial: it
//! has this master's process group and no tie to its life, for it is to outlive it.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, RawFd};
use std::rc::Rc;
use std::time::Duration;

use super::Master;
use crate::control;
use crate::generation::{self, Generation, Held};
use crate::handover;
use crate::program::{Image, Program};
use crate::second::{Channel, Given, Other, Word};
use crate::spawn;
use crate::state::{self, Ending, Event, Moment, Signal};
use crate::sys;

/// How long a process may take from its first closed descriptor to its last.
const DYING: Duration = Duration::from_secs(2);
/// How soon to look again whether it has.
const LOOK: Duration = Duration::from_millis(10);

impl Master {
    /// Executes what is on disk now in a child that is to be a master beside this one.
    pub(super) fn upgrade(&mut self) -> io::Result<()> {
        let image = self.program.open()?;
        let (channel, theirs) = Channel::pair()?;
        let mut all = Held::default();
        for listener in self.generations.values().flat_map(Generation::sockets) {
            all.add_listener(Rc::clone(listener));
        }
        let common = all.listeners;
        let first = std::process::id() as i32;
        let given = Given::new(
            self.program.origin(),
            &self.inherited,
            self.notifier.record().for_second(first),
            &common,
        );
        let state = handover::seal(&given)?;
        let mut keep = given.descriptors();
        keep.extend([&state.as_fd(), &theirs.as_fd()].map(|fd| sys::number(*fd)));
        let variable = format!(
            "second:{}:{}",
            sys::number(state.as_fd()),
            sys::number(theirs.as_fd())
        );
        let (program, hooks) = (&self.program, self.registry.hooks());
        let pid = spawn::fork(|_| {
            hooks.call("pre_exec", |hooks| hooks.pre_exec());
            let error = become_second(program, &image, &keep, &variable);
            theirs.fails(&error.to_string());
            sys::exit_now(1)
        })?;
        log::info!(
            "Starting a second master: {} (pid {pid})",
            self.program.path().display()
        );
        common.iter().for_each(|listener| listener.share(true));
        self.other = Some(Other::second(channel, pid, common));
        self.happens(state::Other::Begun(pid));
        Ok(())
    }

    /// Ends a second master that does not serve yet.
    pub(super) fn end_second(&self, signal: Signal) {
        let Some(pid) = self.other.as_ref().and_then(|other| other.child) else {
            return;
        };
        let number = match signal {
            Signal::Kill => libc::SIGKILL,
            _ => libc::SIGTERM,
        };
        if let Err(error) = sys::kill(pid, number) {
            log::warn!("cannot signal the second master (pid {pid}): {error}");
        }
    }

    /// Where the other master speaks, to wait on.
    pub(super) fn channel(&self) -> Option<BorrowedFd<'_>> {
        let channel = self.other.as_ref()?.channel.as_ref();
        channel.map(AsFd::as_fd)
    }

    /// Takes what the other master says.
    pub(super) fn hear_other(&mut self) {
        while let Some(other) = &mut self.other {
            let Some(channel) = &other.channel else {
                return;
            };
            let word = match channel.hear() {
                Ok(Some(word)) => word,
                Ok(None) => return,
                Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                    log::warn!("the other master: {error}");
                    continue;
                }
                Err(_) => {
                    other.channel = None;
                    continue;
                }
            };
            match word {
                Word::Boots(time) => self.happened(Event::Other(state::Other::Boots(time))),
                Word::Serves(taken) => {
                    for (place, listener) in other.common.drain(..).enumerate() {
                        listener.share(taken.contains(&place));
                    }
                    self.happened(Event::Other(state::Other::Serves));
                }
                Word::Failed(reason) => other.reason = Some(reason),
                Word::Leaves => self.happened(Event::Other(state::Other::Leaves)),
                Word::Leads => {
                    other.led = true;
                    self.happened(Event::Other(state::Other::Leads));
                }
            }
        }
    }

    /// Goes on without the first master when nothing of it is left: its lock of the pid file goes a
    /// moment after its end of the channel.
    pub(super) fn bury_first(&mut self) {
        let Some(other) = &mut self.other else {
            return;
        };
        // A child is gone when it is reaped.
        if other.channel.is_some() || other.child.is_some() {
            return;
        }
        let now = super::now();
        let since = *other.gone.get_or_insert(now);
        match self.claim_pidfiles() {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse && now < since + DYING => return,
            Err(error) => log::error!("{error}"),
            Ok(()) => {}
        }
        self.happened(Event::Other(state::Other::Gone));
    }

    /// When to look whether the first master is gone.
    pub(super) fn first_deadline(&self) -> Option<Moment> {
        let since = self.other.as_ref()?.gone?;
        Some(since.max(super::now()) + LOOK)
    }

    /// Tells the other master that it leads now, once the service manager knows.
    pub(super) fn pass_the_lead(&mut self) {
        let leader = self.state.standing(super::now()).main;
        let Some(other) = self.other.as_mut().filter(|_| leader.is_some()) else {
            return;
        };
        // The first one leads until it is said to have passed the lead on, the second one after that.
        let leads = other.child.is_some() != other.led;
        if let (Some(channel), true) = (&other.channel, leads && self.notifier.knows(leader)) {
            other.led = other.child.is_some();
            channel.tell(match other.child {
                Some(_) => &Word::Leads,
                None => &Word::Leaves,
            });
        }
    }

    /// Reaps the second master if it has ended.
    pub(super) fn reap_second(&mut self) {
        self.hear_other();
        let Some(pid) = self.other.as_ref().and_then(|other| other.child) else {
            return;
        };
        match sys::reap(pid) {
            Ok(None) => {}
            Ok(Some(ending)) => self.second_ended(ending),
            Err(_) => self.second_ended(Ending::Signal(0)),
        }
    }

    pub(super) fn is_second(&self, pid: i32) -> bool {
        let child = self.other.as_ref().and_then(|other| other.child);
        child == Some(pid)
    }

    /// The second master was reaped. Its last words are in the channel still.
    fn second_ended(&mut self, ending: Ending) {
        self.hear_other();
        let Some(other) = &mut self.other else {
            return;
        };
        other.child = None;
        let how = other.reason.take().unwrap_or_else(|| ending.to_string());
        self.happened(Event::Other(state::Other::Ended(how)));
    }

    /// The workers of the first start have answered; a second master says so.
    pub(super) fn tell_that_it_serves(&mut self) {
        let generation = self.generations.get(&self.serving);
        let (Some(other), Some(generation)) = (&mut self.other, generation) else {
            return;
        };
        let is_taken = |listener: &Rc<_>| {
            let mut taken = generation.sockets();
            taken.any(|other| Rc::ptr_eq(other, listener))
        };
        let taken = (0..).zip(other.common.drain(..));
        let taken = taken.filter(|(_, listener)| is_taken(listener));
        let taken = taken.map(|(place, _)| place).collect();
        if let (Some(channel), None) = (&other.channel, other.child) {
            channel.tell(&Word::Serves(taken));
        }
    }

    /// A start has failed; a second master says why.
    pub(super) fn tell_why_not(&self, reason: &str) {
        if let Some(other) = &self.other {
            other.fails(reason);
        }
    }

    /// There is no other master any more.
    pub(super) fn own(&mut self) {
        self.other = None;
        for generation in self.generations.values() {
            generation
                .sockets()
                .for_each(|listener| listener.share(false));
            if let Some(recipe) = &generation.recipe {
                recipe.adjust(generation.sockets());
            }
        }
        self.move_control_socket();
        self.name();
    }

    /// A second master has its control socket where it was to be. Who is connected stays so.
    fn move_control_socket(&mut self) {
        let recipes = self.generations.values().filter_map(|g| g.recipe.as_ref());
        let Some(place) = recipes.map(|recipe| &recipe.config.control).next_back() else {
            return;
        };
        let held = self.control_sockets();
        let master = generation::Master {
            pid: std::process::id(),
            second: false,
        };
        match control::open(place, &held, master) {
            Ok(Some(socket)) if !held.iter().any(|one| Rc::ptr_eq(one, &socket)) => {
                log::info!("Control socket: {}", socket.url());
                for generation in self.generations.values_mut() {
                    generation.control = Some(Rc::clone(&socket));
                }
            }
            Ok(_) => {}
            Err(error) => log::error!("{error}"),
        }
    }

    /// Gives the pid files their names.
    pub(super) fn claim_pidfiles(&self) -> io::Result<()> {
        let mut files = self.generations.values().filter_map(|g| g.pidfile.as_ref());
        files.try_for_each(|file| file.claim())
    }

    fn happens(&mut self, what: state::Other) {
        self.events.push_back(Event::Other(what));
    }
}

/// In the child: from the fork to the program, which is not come back from but with an error.
fn become_second(program: &Program, image: &Image, keep: &[RawFd], variable: &str) -> io::Error {
    let prepare = || -> io::Result<()> {
        sys::reset_signals();
        program.restore(image, keep.iter().copied().max().unwrap_or(0))?;
        keep.iter().try_for_each(|fd| sys::keep_on_exec(*fd))?;
        program.unblock()
    };
    match prepare() {
        Ok(()) => program.execute(image, (handover::VARIABLE, variable)),
        Err(error) => error,
    }
}
