//! The life of a mold: it becomes what a worker is before it has a place, loads, and forks.
//!
//! It has one thread, and does nothing but what its master says; without its master it ends. It must
//! never serve. What it forks is a worker like any other from the moment when it has its parent.

use std::io;
use std::os::fd::AsFd;

use ferricorn_base::lifeline::{Down, Stage, Up, WorkerEnd};
use ferricorn_base::sys::outlive;
use ferricorn_base::{Exit, Worker, board, logs};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::eventfd::EventFd;
use nix::sys::signal::SigSet;
use nix::sys::wait::waitpid;
use nix::unistd::Pid;

use crate::spawn::{self, Belongings, Inheritance};
use crate::sys::{self, Fork};
use crate::title;

/// What a mold has, and each of its workers takes out of its own copy.
struct Stock {
    line: WorkerEnd,
    signals: EventFd,
    belongings: Belongings,
    class: Box<dyn Worker>,
    name: String,
    master: u32,
}

/// The whole life of the mold, or of a worker that it has forked.
pub(super) fn live(mut from: Inheritance<'_>, line: WorkerEnd, master: u32, mask: &SigSet) -> Exit {
    sys::reset_signals();
    let title = format!("ferricorn: mold{}", from.name);
    let belongings = match Belongings::take(&mut from, &[line.as_fd()], &title, master) {
        Ok(belongings) => belongings,
        Err(error) if error.kind() == io::ErrorKind::NotConnected => return Exit::Done,
        Err(error) => return fail(&line, Stage::Boot, error.to_string()),
    };
    let mut class = match from.registry.take(&belongings.conf) {
        Ok(class) => class,
        Err(reason) => return fail(&line, Stage::Boot, reason),
    };
    // INT comes to all who are at a terminal, and must not end it before its master says so.
    let signals = ferricorn_base::collect_signals().and_then(|wake| {
        mask.thread_set_mask()?;
        Ok(wake)
    });
    let signals = match signals {
        Ok(signals) => signals,
        Err(error) => return fail(&line, Stage::Boot, error.to_string()),
    };
    let loaded = class.load().and_then(|()| Ok(spawn::only_thread()?));
    if let Err(error) = loaded {
        return fail(&line, Stage::Load, format!("{error:#}"));
    }
    logs::flush();
    if line.send(&Up::Ready).is_err() {
        return Exit::Done;
    }
    serve(Stock {
        line,
        signals,
        belongings,
        class,
        name: from.name.to_owned(),
        master,
    })
}

fn fail(line: &WorkerEnd, stage: Stage, reason: String) -> Exit {
    let _ = line.send(&Up::Failed { stage, reason });
    Exit::Failed(stage)
}

/// Does what the master says until it is gone. A worker comes back from here with its end.
fn serve(stock: Stock) -> Exit {
    // Always there, but in a worker, which takes it.
    let mut stock = Some(stock);
    while let Some(here) = &mut stock {
        let mut fds = [PollFd::new(here.line.as_fd(), PollFlags::POLLIN)];
        let _ = poll(&mut fds, PollTimeout::NONE);
        match here.line.receive() {
            Ok(None) => {}
            Ok(Some((Down::Door { seat }, fds))) if seat < board::SEATS => {
                let doors = &mut here.belongings.doors;
                if doors.len() <= seat {
                    doors.resize_with(seat + 1, || None);
                }
                doors[seat] = fds.into_iter().next();
            }
            Ok(Some((Down::Level(level), _))) => logs::set_level(level),
            Ok(Some((Down::Logs { error, access }, fds))) => {
                let mut fds = fds.into_iter();
                if let Some(fd) = error.then(|| fds.next()).flatten() {
                    logs::set_error(fd);
                }
                if let Some(fd) = access.then(|| fds.next()).flatten() {
                    here.belongings.reopen_access_log(fd);
                }
            }
            Ok(Some((Down::Fork { slot, seat }, fds))) => {
                if let Some(lifeline) = fds.into_iter().next() {
                    fork(&mut stock, slot, seat, lifeline.into());
                }
            }
            Ok(Some((command, _))) => log::error!("{command:?} is nothing for a mold"),
            Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                log::error!("cannot read a command of the master: {error}");
            }
            Err(_) => return Exit::Done,
        }
    }
    Exit::Done
}

/// Makes a worker that is its master's child, by a process between that ends at once. Whether it is
/// there its life-line says.
fn fork(stock: &mut Option<Stock>, slot: usize, seat: usize, lifeline: WorkerEnd) {
    // As with the stock: the worker takes it.
    let mut lifeline = Some(lifeline);
    let forked = spawn::fork(|mask| {
        let between = std::process::id();
        match sys::fork() {
            Ok(Fork::Parent(_)) => {}
            Ok(Fork::Child) => spawn::live(|| match (stock.take(), lifeline.take()) {
                (Some(stock), Some(lifeline)) => worker(stock, slot, seat, lifeline, between, mask),
                _ => Exit::Broken("there is nothing to make a worker from".to_owned()),
            }),
            Err(error) => cannot(lifeline.as_ref(), &error),
        }
        sys::exit_now(0)
    });
    match forked {
        // There are no others that it would wait for; what the application has started is its own.
        Ok(pid) => drop(waitpid(Pid::from_raw(pid), None)),
        Err(error) => cannot(lifeline.as_ref(), &error),
    }
}

fn cannot(lifeline: Option<&WorkerEnd>, error: &io::Error) {
    if let Some(lifeline) = lifeline {
        fail(
            lifeline,
            Stage::Boot,
            format!("the mold cannot fork: {error}"),
        );
    }
}

fn worker(
    stock: Stock,
    slot: usize,
    seat: usize,
    lifeline: WorkerEnd,
    between: u32,
    mask: &SigSet,
) -> Exit {
    // Only the mold may hold on to these; signals are blocked still.
    drop((stock.line, stock.signals));
    title::set(&format!("ferricorn: worker {slot}{}", stock.name));
    let outlived = outlive(between as i32);
    match outlived.and_then(|()| spawn::watch_master(stock.master)) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::NotConnected => return Exit::Done,
        Err(error) => return fail(&lifeline, Stage::Boot, error.to_string()),
    }
    // Not before: from now on the master may take it for its child.
    let born = Up::Born {
        pid: std::process::id() as i32,
    };
    if lifeline.send(&born).is_err() {
        return Exit::Done;
    }
    let context = match stock.belongings.context(slot, seat, lifeline) {
        Ok(context) => context,
        Err(exit) => return exit,
    };
    match mask.thread_set_mask() {
        Ok(()) => spawn::run(stock.class, context),
        Err(errno) => Exit::Broken(format!("cannot unblock signals: {errno}")),
    }
}
