//! Making a worker: the fork, and everything between it and the application.
//!
//! The child's road is one function that never returns, so that nothing of the master's stack is
//! ever unwound in it. The order of its steps matters; `docs/FORK_SAFETY.md` says why.

mod belongings;

use std::convert::Infallible;
use std::fs;
use std::io::{self, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;

use ferricorn_base::board::Board;
use ferricorn_base::lifeline::{self, MasterEnd, Stage, Up, WorkerEnd};
use ferricorn_base::rendezvous::Rendezvous;
use ferricorn_base::{Context, Exit, Worker, logs};
use nix::sys::signal::{SigSet, SigmaskHow};

use crate::generation::{Generation, Recipe};
use crate::registry::Registry;
use crate::sockets::Listener;
use crate::sys::{self, Fork};

pub use belongings::{Belongings, watch_master};

/// What the new worker is.
#[derive(Debug)]
pub struct Order<'a> {
    /// The stable number of its place.
    pub slot: usize,
    /// Its pages on the scoreboard.
    pub seat: usize,
    /// What it has of the process that makes it.
    pub from: Inheritance<'a>,
}

/// What a child that serves takes of the process that makes it, out of its own copy.
#[derive(Debug)]
pub struct Inheritance<'a> {
    /// Its configuration and what that opened.
    pub generation: &'a Generation,
    /// What it accepts from: the generation's listeners, but none on trial.
    pub listeners: &'a [Rc<Listener>],
    /// What it serves.
    pub registry: &'a mut Registry,
    /// The scoreboard.
    pub board: &'a mut Option<Board>,
    /// The eventfds of all seats that have one.
    pub doors: &'a [Option<OwnedFd>],
    /// Where workers hand connections to each other.
    pub rendezvous: &'a Rendezvous,
    /// What the title is to say beside what it is.
    pub name: &'a str,
}

impl Inheritance<'_> {
    /// What workers are made from.
    ///
    /// # Errors
    /// There is nothing.
    pub fn recipe(&self) -> io::Result<&Recipe> {
        let recipe = self.generation.recipe.as_ref();
        recipe.ok_or_else(|| io::Error::other("another image made this generation"))
    }
}

/// Forks a worker. Returns its pid and our end of its life-line, in the master only.
///
/// # Errors
/// More than one thread, or what socketpair(2) or fork(2) answer.
pub fn spawn(order: Order<'_>) -> io::Result<(i32, MasterEnd)> {
    order.from.recipe()?;
    let (ours, theirs) = lifeline::pair()?;
    let master = std::process::id();
    let pid = fork(|mask| live(|| serve(order, theirs, master, mask)))?;
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
        "cannot fork safely with {} threads ({}): start threads in App::boot, or without preload \
         in App::load, which run in the worker",
        names.len(),
        names.join(", ")
    )))
}

/// The whole life of a process that was forked, to its very end.
pub fn live(life: impl FnOnce() -> Exit) -> ! {
    // A panic must not unwind into the master's frames, whose owners would clean up for it.
    let result = catch_unwind(AssertUnwindSafe(life));
    let exit = result.unwrap_or_else(|_| Exit::Broken("a panic ended the process".to_owned()));
    if let Exit::Broken(text) = &exit {
        log::error!("worker failed: {text}");
    }
    logs::flush();
    let _ = io::stdout().flush();
    sys::exit_now(exit.code())
}

fn serve(mut order: Order<'_>, lifeline: WorkerEnd, master: u32, mask: &SigSet) -> Exit {
    sys::reset_signals();
    let title = format!("ferricorn: worker {}{}", order.slot, order.from.name);
    let own = [lifeline.as_fd()];
    let belongings = match Belongings::take(&mut order.from, &own, &title, master) {
        Ok(belongings) => belongings,
        // The master died meanwhile: nobody is there to serve for.
        Err(error) if error.kind() == io::ErrorKind::NotConnected => return Exit::Done,
        Err(error) => return fail(&lifeline, error.to_string()),
    };
    let mut class = match order.from.registry.take(&belongings.conf) {
        Ok(class) => class,
        Err(reason) => return fail(&lifeline, reason),
    };
    // Those of a configuration that preloads are made by a mold, but for the one on trial.
    let preloads = order.from.recipe().is_ok_and(|r| r.config.preload);
    let context = match belongings.context(order.slot, order.seat, lifeline) {
        Ok(context) => context,
        Err(exit) => return exit,
    };
    if let Err(errno) = mask.thread_set_mask() {
        return Exit::Broken(format!("cannot unblock signals: {errno}"));
    }
    let loaded = class.load().and_then(|()| match preloads {
        true => Ok(only_thread()?),
        false => Ok(()),
    });
    if let Err(error) = loaded {
        return context.fail(Stage::Load, &error);
    }
    run(class, context)
}

/// Has the worker serve, and says of its end.
pub fn run(class: Box<dyn Worker>, context: Context) -> Exit {
    let (hooks, whom) = (context.hooks().clone(), context.whom());
    let exit = class.run(context);
    hooks.call("worker_exit", |hooks| hooks.worker_exit(whom, &exit));
    exit
}

fn fail(lifeline: &WorkerEnd, reason: String) -> Exit {
    let _ = lifeline.send(&Up::Failed {
        stage: Stage::Boot,
        reason,
    });
    Exit::Failed(Stage::Boot)
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
