//! Making a worker: the fork, and everything between it and the application.
//!
//! The child's road is one function that never returns, so that nothing of the master's stack is
//! ever unwound in it. The order of its steps matters; `docs/FORK_SAFETY.md` says why.

use std::convert::Infallible;
use std::fs;
use std::io::{self, Write};
use std::os::fd::{AsFd, OwnedFd, RawFd};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;

use ferricorn_base::board::Board;
use ferricorn_base::lifeline::{self, MasterEnd, Stage, Up, WorkerEnd};
use ferricorn_base::rendezvous::Rendezvous;
use ferricorn_base::{Context, Exit, Parts, logs};
use nix::sys::signal::{SigSet, SigmaskHow};
use nix::sys::stat::{Mode, umask};

use crate::generation::{Generation, Recipe};
use crate::logging::LogFiles;
use crate::registry::Registry;
use crate::sockets::Listener;
use crate::sys::{self, Fork};
use crate::{daemon, title};

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

/// What the new worker is.
#[derive(Debug)]
pub struct Order<'a> {
    /// The stable number of its place.
    pub slot: usize,
    /// Its pages on the scoreboard.
    pub seat: usize,
    /// Its configuration and what that opened.
    pub generation: &'a Generation,
    /// What it accepts from: the generation's listeners, but none on trial.
    pub listeners: &'a [Rc<Listener>],
    /// What it serves; the child takes it out of its copy.
    pub registry: &'a mut Registry,
    /// The scoreboard; the child takes it.
    pub board: &'a mut Option<Board>,
    /// The eventfds of all seats that have one.
    pub doors: &'a [Option<OwnedFd>],
    /// Where workers hand connections to each other.
    pub rendezvous: &'a Rendezvous,
    /// What the title is to say beside the slot.
    pub name: &'a str,
}

/// Forks a worker. Returns its pid and our end of its life-line, in the master only.
///
/// # Errors
/// More than one thread, or what socketpair(2) or fork(2) answer.
pub fn spawn(order: Order<'_>) -> io::Result<(i32, MasterEnd)> {
    let generation = order.generation;
    let Some(recipe) = &generation.recipe else {
        return Err(io::Error::other("another image made this generation"));
    };
    let (ours, theirs) = lifeline::pair()?;
    let master = std::process::id();
    let pid = fork(|mask| child(order, recipe, theirs, master, mask))?;
    Ok((pid, ours))
}

/// Forks a child that lives in `child`, which is given the signals that were blocked before. Until
/// it resets them all are.
///
/// # Errors
/// More than one thread, or what fork(2) answers.
pub fn fork(child: impl FnOnce(&SigSet) -> Infallible) -> io::Result<i32> {
    only_thread()?;
    // What waits in a buffer would come out of both processes.
    let _ = io::stdout().flush();
    let _ = io::stderr().flush();
    logs::flush();
    // No signal may reach the child before it has forgotten the master's handlers.
    let before = SigSet::all().thread_swap_mask(SigmaskHow::SIG_SETMASK)?;
    let forked = sys::fork();
    if let Ok(Fork::Child) = forked {
        child(&before);
    }
    before.thread_set_mask()?;
    match forked? {
        Fork::Parent(pid) => Ok(pid),
        Fork::Child => Err(io::Error::other("fork returned twice")),
    }
}

/// Refuses to fork with more than one thread: a lock that another one holds would be held for ever
/// in the child.
///
/// # Errors
/// The names of the threads.
pub fn only_thread() -> io::Result<()> {
    let mut names = Vec::new();
    for task in fs::read_dir("/proc/self/task")? {
        let name = fs::read_to_string(task?.path().join("comm")).unwrap_or_default();
        names.push(name.trim().to_owned());
    }
    if names.len() <= 1 {
        return Ok(());
    }
    Err(io::Error::other(format!(
        "the master has {} threads ({}): cannot fork safely; start threads in App::load or \
         App::boot, which run in the worker",
        names.len(),
        names.join(", ")
    )))
}

/// The whole life of a worker process.
fn child(order: Order<'_>, recipe: &Recipe, lifeline: WorkerEnd, master: u32, mask: &SigSet) -> ! {
    // A panic must not unwind into the master's frames, whose owners would clean up for it.
    let result = catch_unwind(AssertUnwindSafe(|| {
        serve(order, recipe, lifeline, master, mask)
    }));
    let exit = result.unwrap_or_else(|_| Exit::Broken("a panic ended the worker".to_owned()));
    if let Exit::Broken(text) = &exit {
        log::error!("worker failed: {text}");
    }
    logs::flush();
    let _ = io::stdout().flush();
    sys::exit_now(exit.code())
}

fn serve(
    mut order: Order<'_>,
    recipe: &Recipe,
    lifeline: WorkerEnd,
    master: u32,
    mask: &SigSet,
) -> Exit {
    sys::reset_signals();
    match prepare(&mut order, recipe, &lifeline, master) {
        Ok(Belongings {
            board,
            listeners,
            rendezvous,
            doors,
            access_log,
        }) => {
            let conf = &recipe.conf;
            let class = match order.registry.take(conf) {
                Ok(class) => class,
                Err(reason) => return fail(&lifeline, reason),
            };
            let context = Context::new(Parts {
                conf: conf.clone(),
                slot: order.slot,
                generation: order.generation.number,
                seat: order.seat,
                board,
                lifeline,
                listeners,
                rendezvous,
                doors,
                access_log,
            });
            let context = match context {
                Ok(context) => context,
                Err(error) => {
                    log::error!("cannot become a worker: {error}");
                    return Exit::Failed(Stage::Boot);
                }
            };
            if let Err(errno) = mask.thread_set_mask() {
                return Exit::Broken(format!("cannot unblock signals: {errno}"));
            }
            class.run(context)
        }
        // The master died meanwhile: nobody is there to serve for.
        Err(error) if error.kind() == io::ErrorKind::NotConnected => Exit::Done,
        Err(error) => fail(&lifeline, error.to_string()),
    }
}

fn fail(lifeline: &WorkerEnd, reason: String) -> Exit {
    let _ = lifeline.send(&Up::Failed {
        stage: Stage::Boot,
        reason,
    });
    Exit::Failed(Stage::Boot)
}

/// What of the master's a worker has.
struct Belongings {
    board: Board,
    listeners: Vec<OwnedFd>,
    rendezvous: Rendezvous,
    doors: Vec<Option<OwnedFd>>,
    access_log: Option<OwnedFd>,
}

/// From the fork to the point where nothing of the master is left but what a worker may have.
fn prepare(
    order: &mut Order<'_>,
    recipe: &Recipe,
    lifeline: &WorkerEnd,
    master: u32,
) -> io::Result<Belongings> {
    let (generation, config) = (order.generation, &recipe.config);
    title::set(&format!("ferricorn: worker {}{}", order.slot, order.name));
    umask(Mode::from_bits_truncate(config.umask));
    let directory = &config.directory;
    std::env::set_current_dir(directory).map_err(|error| {
        io::Error::new(
            error.kind(),
            format!("cannot enter {}: {error}", directory.display()),
        )
    })?;
    for name in OURS {
        sys::set_variable(name.as_ref(), None);
    }
    for (name, value) in &config.env {
        sys::set_variable(name, Some(value));
    }
    let board = order
        .board
        .take()
        .ok_or_else(|| io::Error::other("there is no scoreboard"))?;
    let (error, access_log) = log_descriptors(generation, config.daemon)?;
    let rendezvous = order.rendezvous.try_clone()?;
    let share = |fd: &dyn AsFd| fd.as_fd().try_clone_to_owned();
    let listeners = order
        .listeners
        .iter()
        .map(|l| share(&**l))
        .collect::<io::Result<Vec<_>>>()?;
    let doors = order
        .doors
        .iter()
        .map(|door| door.as_ref().map(|door| share(door)).transpose())
        .collect::<io::Result<Vec<_>>>()?;
    let [giving, taking] = rendezvous.ends();
    let own = [lifeline.as_fd(), board.fd(), error.as_fd(), giving, taking];
    let mut keep: Vec<RawFd> = own.map(sys::number).to_vec();
    let shared = listeners
        .iter()
        .chain(doors.iter().flatten())
        .chain(&access_log);
    keep.extend(shared.map(|fd| sys::number(fd.as_fd())));
    logs::set_error(error);
    logs::set_level(config.log_level);
    // Belt and braces: everything is close-on-exec too, but a worker does not execute.
    sys::close_all_but(&keep)?;
    recipe.account.assume()?;
    // After the ids, because changing them clears it.
    match ferricorn_base::sys::watch_parent(master as i32) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err(io::ErrorKind::NotConnected.into());
        }
        watched => watched?,
    }
    Ok(Belongings {
        board,
        listeners,
        rendezvous,
        doors,
        access_log,
    })
}

/// Descriptors of the error log and of the access log for a worker.
fn log_descriptors(
    generation: &Generation,
    daemon: bool,
) -> io::Result<(OwnedFd, Option<OwnedFd>)> {
    let copies = |files: &LogFiles| {
        let access = files
            .access()
            .map(|fd| fd.try_clone_to_owned())
            .transpose()?;
        Ok((files.error().try_clone_to_owned()?, access))
    };
    if daemon {
        // The terminal is the master's alone until it has said that all went well.
        daemon::silence_output()?;
        return copies(&generation.logs.reopen()?);
    }
    copies(&generation.logs)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn with_more_than_one_thread_a_fork_is_refused_and_they_are_named() {
        // This very test has one beside the harness's.
        let (started, has_started) = std::sync::mpsc::channel();
        let (end, ended) = std::sync::mpsc::channel::<()>();
        let thread = std::thread::Builder::new()
            .name("sneaky".to_owned())
            .spawn(move || {
                let _ = started.send(());
                let _ = ended.recv();
            })
            .unwrap();
        has_started.recv().unwrap();
        let error = only_thread().unwrap_err().to_string();
        assert!(
            error.contains("sneaky") && error.contains("App::boot"),
            "{error}"
        );
        drop(end);
        thread.join().unwrap();
    }
}
