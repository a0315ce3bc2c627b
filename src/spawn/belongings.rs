//! What of the master's a process has that serves, and how it becomes nothing else.
//!
//! In a worker, and in the mold, which gives its workers what it has. Between the fork and the
//! application: nothing here returns to the master's code.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd, RawFd};
use std::sync::Arc;

use ferricorn_base::board::Board;
use ferricorn_base::conf::Conf;
use ferricorn_base::lifeline::{Stage, WorkerEnd};
use ferricorn_base::logs::Outlet;
use ferricorn_base::rendezvous::Rendezvous;
use ferricorn_base::{Context, Exit, Hooked, Parts, logs};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::stat::{Mode, umask};

use super::Inheritance;
use crate::generation::Generation;
use crate::logging::LogFiles;
use crate::{daemon, state, sys, title};

/// Environment variables that are the master's alone.
const OURS: [&str; 7] = [
    "LISTEN_PID",
    "LISTEN_FDS",
    "LISTEN_FDNAMES",
    "NOTIFY_SOCKET",
    "WATCHDOG_USEC",
    "WATCHDOG_PID",
    "FDSTORE",
];

/// What of the master's a process has that serves.
#[derive(Debug)]
pub struct Belongings {
    /// The configuration of its generation.
    pub conf: Arc<Conf>,
    /// The eventfds of all seats that have one.
    pub doors: Vec<Option<OwnedFd>>,
    /// Where the access log goes.
    pub access_log: Vec<Outlet>,
    generation: state::Generation,
    /// The scoreboard.
    pub board: Board,
    /// What its generation accepts from.
    pub listeners: Vec<OwnedFd>,
    /// Where workers hand connections to each other.
    pub rendezvous: Rendezvous,
    hooks: Hooked,
}

impl Belongings {
    /// From the fork to the point where nothing of the master is left but what the process may have:
    /// this, its error log, and `own`, the descriptors that are its alone, as that by which it hears
    /// of its master.
    ///
    /// # Errors
    /// `NotConnected` when the master died meanwhile, else what cannot be done, in words.
    pub fn take(
        from: &mut Inheritance<'_>,
        own: &[BorrowedFd<'_>],
        title: &str,
        master: u32,
    ) -> io::Result<Belongings> {
        title::set(title);
        let board = from.board.take();
        let board = board.ok_or_else(|| io::Error::other("there is no scoreboard"))?;
        let (generation, recipe) = (from.generation, from.recipe()?);
        let config = &recipe.config;
        umask(Mode::from_bits_truncate(config.umask));
        recipe.directory.enter()?;
        for name in OURS {
            sys::set_variable(name.as_ref(), None);
        }
        for (name, value) in &config.env {
            sys::set_variable(name, Some(value));
        }
        let (error_log, access_log) = outlets(generation, config.daemon)?;
        let rendezvous = from.rendezvous.try_clone()?;
        let share = |fd: &dyn AsFd| fd.as_fd().try_clone_to_owned();
        let listeners = from
            .listeners
            .iter()
            .map(|l| share(&**l))
            .collect::<io::Result<Vec<_>>>()?;
        let doors = from
            .doors
            .iter()
            .map(|door| door.as_ref().map(|door| share(door)).transpose())
            .collect::<io::Result<Vec<_>>>()?;
        let [giving, taking] = rendezvous.ends();
        let shared = [board.fd(), giving, taking];
        let mut keep: Vec<RawFd> = shared
            .iter()
            .chain(own)
            .map(|fd| sys::number(*fd))
            .collect();
        let shared = listeners.iter().chain(doors.iter().flatten());
        keep.extend(shared.map(|fd| sys::number(fd.as_fd())));
        let outlets = error_log.iter().chain(&access_log);
        keep.extend(outlets.map(|outlet| sys::number(outlet.fd())));
        logs::set_outlets(error_log);
        logs::set_level(recipe.log_level);
        // Belt and braces: everything is close-on-exec too, but a worker does not execute.
        sys::close_all_but(&keep)?;
        recipe.account.assume()?;
        if config.dump_cores {
            allow_cores()?;
        }
        // After the ids, because changing them clears it.
        watch_master(master)?;
        Ok(Belongings {
            conf: Arc::clone(&recipe.conf),
            doors,
            access_log,
            generation: generation.number,
            board,
            listeners,
            rendezvous,
            hooks: from.registry.hooks().clone(),
        })
    }

    /// The file of the access log was opened anew.
    pub fn reopen_access_log(&mut self, fd: OwnedFd) {
        if let Some(lines) = self
            .access_log
            .iter_mut()
            .find(|outlet| outlet.takes_lines())
        {
            lines.replace(fd);
        }
    }

    /// Becomes the worker of this place.
    ///
    /// # Errors
    /// How the worker is to end that cannot be.
    pub fn context(self, slot: usize, seat: usize, lifeline: WorkerEnd) -> Result<Context, Exit> {
        logs::journal::identify(slot, self.generation);
        let context = Context::new(Parts {
            conf: self.conf,
            slot,
            generation: self.generation,
            seat,
            board: self.board,
            lifeline,
            listeners: self.listeners,
            rendezvous: self.rendezvous,
            doors: self.doors,
            access_log: self.access_log,
            hooks: self.hooks,
        });
        let context = context.and_then(|context| context.breathe().map(|()| context));
        context.map_err(|error| {
            log::error!("cannot become a worker: {error}");
            Exit::Failed(Stage::Boot)
        })
    }
}

/// Lets this process leave a core, be it that it has changed its user (PR_SET_DUMPABLE, prctl(2)).
fn allow_cores() -> io::Result<()> {
    let (_, most) = getrlimit(Resource::RLIMIT_CORE)?;
    setrlimit(Resource::RLIMIT_CORE, most, most)?;
    nix::sys::prctl::set_dumpable(true)?;
    Ok(())
}

/// Sees to it that this process does not outlive its master.
///
/// # Errors
/// `NotConnected` when the master is gone, else what the system answers.
pub fn watch_master(master: u32) -> io::Result<()> {
    match ferricorn_base::sys::watch_parent(master as i32) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            Err(io::ErrorKind::NotConnected.into())
        }
        watched => watched,
    }
}

/// Where the error log and the access log go.
fn outlets(generation: &Generation, daemon: bool) -> io::Result<(Vec<Outlet>, Vec<Outlet>)> {
    let both = |logs: &LogFiles| Ok((logs.error_outlets()?, logs.access_outlets()?));
    if daemon {
        // The terminal is the master's alone until it has said that all went well.
        daemon::silence_output()?;
        return both(&generation.logs.reopen()?);
    }
    both(&generation.logs)
}
