//! A program on trial: it shows that it could serve, says so, and ends.
//!
//! A child of the master that has executed what is on disk now. It reads the configuration, binds
//! what is new, boots one worker that accepts from nobody else, and answers over a socket pair: with the
//! reason why not, or with what it has opened and the text that it has read, so that exactly this is
//! served afterwards. It may wait and look names up, which the master must not. It must change
//! nothing that the master or its workers see. The other side is `master/probe.rs`.

mod answer;
mod check;

use std::cell::RefCell;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, RawFd};
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use ferricorn_base::board::Board;
use ferricorn_base::lifeline::{self, Down, Up};
use ferricorn_base::logs;
use ferricorn_base::rendezvous::Rendezvous;
use ferricorn_base::sys::monotonic as now;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::stat::{Mode, umask};

use crate::config::{Config, Known, Names};
use crate::generation::{Generation, Master};
use crate::handover::{self, Handover};
use crate::program::Program;
use crate::registry::Registry;
use crate::sockets::Listener;
use crate::spawn::{self, Inheritance, Order};
use crate::state::QUICK;
use crate::watch::{Plan, Print};
use crate::{diagnose, sys};

use self::answer::TOGETHER;
pub use self::answer::{Answer, MasterEnd, Passed, TrialEnd, pair};
use self::check::Check;

/// Stands trial in this process, and ends it: `main` is not come back to, since what the program does
/// after it has served is not for a trial. `name` is what the program calls itself.
pub fn stand(handover: RawFd, answer: RawFd, mut registry: Registry, name: Option<&str>) -> ! {
    let answer = match sys::take_over(answer) {
        Ok(fd) => TrialEnd::from(fd),
        Err(error) => {
            eprintln!("ferricorn: there is nobody to answer to: {error}");
            sys::exit_now(1);
        }
    };
    let passed = passes(handover, &answer, &mut registry, name);
    logs::flush();
    let code = match passed {
        Ok(()) => 0,
        Err(reason) => {
            let _ = answer.send(&Answer::Failed(reason), &[]);
            1
        }
    };
    // What was opened is the master's now: nothing is dropped that would remove its files.
    sys::exit_now(code)
}

fn passes(
    handover: RawFd,
    answer: &TrialEnd,
    registry: &mut Registry,
    name: Option<&str>,
) -> Result<(), String> {
    let text = |error: io::Error| error.to_string();
    let handover = Handover::read(handover).map_err(text)?;
    let held = handover.held(false).map_err(text)?;
    // Is it a scoreboard that this program knows?
    sys::take_over(handover.board)
        .and_then(Board::attach)
        .map_err(text)?;
    if let Some((log, level)) = handover.log().map_err(text)? {
        let started = logs::init(level, log.error_outlets().map_err(text)?);
        started.map_err(|error| error.to_string())?;
    }
    ferricorn_base::sys::ignore_signals(&[libc::SIGXFSZ]).map_err(text)?;

    let program = Program::executed(handover.origin.clone());
    let names = Names::known(handover.names.clone());
    let call = program.call(name, names.clone());
    let (read, looked) = (RefCell::new(None), RefCell::new(None));
    let config = {
        let known = Known {
            apps: &registry.apps(),
            classes: &registry.classes(),
            defaults: &registry.defaults(),
        };
        Config::load_with(&call, &known, &|path: &Path| {
            let print = Print::of(path);
            *looked.borrow_mut() = Some((path.to_owned(), print));
            let text = crate::config::read(path)?;
            *read.borrow_mut() = Some((path.as_os_str().to_owned(), text.clone()));
            Ok(text)
        })?
    };
    let mut watch = Plan::of(&config, program.path());
    if let (Some(plan), Some((path, print))) = (&mut watch, looked.take()) {
        plan.read(&path, print);
    }
    umask(Mode::from_bits_truncate(config.umask));
    let (boot_timeout, path) = (config.boot_timeout, config.reload_check_path.clone());
    let master = Master {
        pid: u32::try_from(nix::unistd::getppid().as_raw()).unwrap_or(0),
        second: handover.state.is_second(),
    };
    let inherited = &handover.inherited;
    let mut generation =
        Generation::make(handover.next, config, &held, inherited, registry, master)
            .map_err(|failure| failure.text)?;
    answer
        .send(&Answer::Boots(boot_timeout), &[])
        .map_err(text)?;
    boot(&mut generation, registry, boot_timeout, path, answer)?;

    let is_new =
        |listener: &&Rc<Listener>| !held.listeners.iter().any(|old| Rc::ptr_eq(old, listener));
    let opened = generation.sockets().chain(&generation.control);
    let new: Vec<&Rc<Listener>> = opened.filter(is_new).collect();
    let pidfile = generation
        .pidfile
        .as_ref()
        .filter(|file| !held.pidfiles.iter().any(|old| Rc::ptr_eq(old, file)));
    let passed = Passed {
        file: read.take(),
        names: names.found(),
        listeners: new.iter().map(|listener| listener.record()).collect(),
        pidfile: pidfile.map(|file| file.record()),
        watch,
    };
    let state = handover::seal(&passed).map_err(text)?;
    for together in new.chunks(TOGETHER) {
        let fds: Vec<BorrowedFd<'_>> = together.iter().map(|listener| listener.as_fd()).collect();
        answer.send(&Answer::Listeners, &fds).map_err(text)?;
    }
    let recipe = generation.recipe.as_ref().ok_or("there is no recipe")?;
    let mut fds = vec![state.as_fd(), recipe.directory.as_fd()];
    fds.extend(pidfile.map(|file| file.as_fd()));
    answer.send(&Answer::Passed, &fds).map_err(text)?;
    // From here on all of it belongs to the master.
    std::mem::forget(generation);
    Ok(())
}

/// Boots a worker that accepts from nobody but us, if `path` is to be asked for, and ends it when it is
/// ready and has answered.
fn boot(
    generation: &mut Generation,
    registry: &mut Registry,
    within: Duration,
    path: Option<String>,
    answer: &TrialEnd,
) -> Result<(), String> {
    let text = |error: io::Error| error.to_string();
    let mut board = Some(Board::create().map_err(text)?);
    let rendezvous = Rendezvous::new().map_err(text)?;
    let check = path.is_some().then(Check::open).transpose()?;
    if let (Some(check), Some(recipe)) = (&check, &mut generation.recipe) {
        Arc::make_mut(&mut recipe.conf).listeners = vec![check.conf.clone()];
    }
    let listeners: Vec<Rc<Listener>> = check.iter().map(|c| Rc::clone(&c.listener)).collect();
    let until = now() + within;
    let (pid, lifeline) = spawn::spawn(Order {
        slot: 0,
        seat: 0,
        from: Inheritance {
            generation,
            listeners: &listeners,
            registry,
            board: &mut board,
            doors: &[],
            rendezvous: &rendezvous,
            name: " on trial",
        },
    })
    .map_err(text)?;
    log::info!("Booting a worker on trial with pid: {pid}");
    drop(listeners);
    let ready = until_ready(pid, &lifeline, within, answer);
    let result = ready.and_then(|()| match (check, path) {
        (Some(check), Some(path)) => check.ask(&path, until),
        _ => Ok(()),
    });
    if result.is_ok() {
        let _ = lifeline.send(Down::Quit, &[]);
        let until = now() + QUICK;
        while now() < until {
            if sys::reap(pid).is_ok_and(|ending| ending.is_none()) {
                // Its end of file comes with its end.
                wait(&[lifeline.as_fd()], until);
                std::thread::yield_now();
            } else {
                return result;
            }
        }
    }
    let _ = sys::kill(pid, libc::SIGKILL);
    while sys::reap(pid).is_ok_and(|ending| ending.is_none()) {
        std::thread::sleep(Duration::from_millis(1));
    }
    result
}

fn until_ready(
    pid: i32,
    lifeline: &lifeline::MasterEnd,
    within: Duration,
    answer: &TrialEnd,
) -> Result<(), String> {
    let until = now() + within;
    loop {
        match lifeline.receive() {
            Ok(Some(Up::Ready)) => return Ok(()),
            Ok(Some(Up::Failed { reason, .. })) => return Err(reason),
            Ok(Some(_)) => continue,
            Ok(None) => {}
            Err(_) => return Err(last_words(pid, until)),
        }
        if now() >= until {
            let seconds = within.as_secs_f64();
            let whereabouts = diagnose::whereabouts(diagnose::Thread::first(pid), None, now());
            return Err(format!(
                "a worker on trial was not ready within boot-timeout ({seconds} s; {whereabouts})"
            ));
        }
        // The master says nothing; it can only be gone.
        let [_, gone] = wait(&[lifeline.as_fd(), answer.as_fd()], until)[..] else {
            continue;
        };
        if gone {
            return Err("the master is gone".to_owned());
        }
    }
}

/// How a worker ended that has closed its life-line.
fn last_words(pid: i32, until: Duration) -> String {
    loop {
        match sys::reap(pid) {
            Ok(Some(ending)) => return format!("a worker on trial {ending} before it was ready"),
            Ok(None) if now() < until => std::thread::sleep(Duration::from_millis(1)),
            _ => return "a worker on trial closed its life-line".to_owned(),
        }
    }
}

/// Waits for one of these descriptors, or until then; says which have something.
fn wait(fds: &[BorrowedFd<'_>], until: Duration) -> Vec<bool> {
    let left = until.saturating_sub(now()) + Duration::from_micros(999);
    let left = PollTimeout::try_from(left.as_millis()).unwrap_or(PollTimeout::MAX);
    let mut fds: Vec<PollFd<'_>> = fds
        .iter()
        .map(|fd| PollFd::new(*fd, PollFlags::POLLIN))
        .collect();
    let _ = poll(&mut fds, left);
    fds.iter().map(|fd| fd.any().unwrap_or(false)).collect()
}
