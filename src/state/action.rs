//! What the master is to do: the one list of actions that [`State::step`] returns.
//!
//! The shell performs them in order and decides nothing. What went wrong on the way comes back as
//! an event.
//!
//! [`State::step`]: super::State::step

use std::time::Duration;

use ferricorn_base::lifeline::{Retirement, Stage};
use serde::{Deserialize, Serialize};

use super::event::{Ending, Generation, Parting, Stop, WorkerId};
use super::ledger::Verdict;
use super::limits::Limit;

/// Something to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Make a process. It counts as booting from now on.
    Spawn {
        /// Its identity.
        worker: WorkerId,
        /// The stable number of its place.
        slot: usize,
        /// Its pages on the scoreboard.
        seat: usize,
        /// The configuration that it gets.
        generation: Generation,
    },
    /// Tell whoever asks for readiness that the server will stop.
    Unready,
    /// Let nobody else in: before the workers of a server that stops take what waits.
    Deafen,
    /// Tell a worker over its life-line to finish and leave.
    Drain {
        /// Who.
        worker: WorkerId,
        /// The whole server stops: take what waits in the accept queue first.
        stop: bool,
        /// Others serve on: the connections become theirs.
        heirs: bool,
    },
    /// Tell a worker that drains to cut what is not finished within this time.
    Hurry(WorkerId, Duration),
    /// Tell a worker over its life-line to leave now.
    Quit(WorkerId),
    /// Send a signal.
    Signal(WorkerId, Signal),
    /// Say that a worker will be replaced, because the state wants it.
    Retire {
        /// Who.
        worker: WorkerId,
        /// Why.
        why: Retirement,
        /// Bytes of memory that it has, where that is why.
        memory: u64,
    },
    /// Ask a worker that is past a deadline where it is, and have it answer the client that waits.
    Ask(WorkerId),
    /// Look whether a worker that was aborted writes a core; if not, `NoCore` is the answer.
    LookForCore(WorkerId),
    /// Write down what is known of a worker before it is killed.
    Diagnose(WorkerId, Fate),
    /// The worker has gone: free its seat and its life-line, and say of what it died, and what it
    /// had said of its clients.
    Bury(WorkerId, Ending, Option<Fate>, Option<Parting>),
    /// Try the program that is on disk now in a process of its own, and answer with `Proved` or
    /// `LoadFailed`.
    Probe,
    /// End that trial and whatever it has begun; if it is under way, `LoadFailed` follows.
    Cancel,
    /// Execute what was proved in this very process. What comes back is `LoadFailed`; else the next
    /// image begins with `Executed`.
    Exec,
    /// This generation is the only one that serves.
    Commit(Generation),
    /// A reload is over, and this came of it.
    Verdict(Verdict),
    /// No worker of this generation is left and none will come: drop its configuration and
    /// close the listeners that only it had.
    Forget(Generation),
    /// Open the logs anew, here and in the workers.
    Reopen,
    /// Every worker of the first start has answered.
    Announce,
    /// Start a second master beside this one, and answer with `Other`.
    Upgrade,
    /// Send a signal to the second master, which does not serve yet.
    EndSecond(Signal),
    /// There is no other master any more: what both had is ours.
    Own,
    /// Leave the program; no worker is left.
    Exit(u8),
    /// Say something.
    Tell(Note),
}

/// The signals that the master sends to its children.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Signal {
    /// To a worker that boots and does not read its life-line yet, and to a second master.
    Term,
    /// To a worker that hangs: a core, where cores are wanted.
    Abort,
    /// To who does not leave.
    Kill,
}

/// Why a worker was ended by the master.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Fate {
    /// It was replaced, because it asked.
    Recycled(Retirement),
    /// It belonged to a generation that is no longer wanted.
    Replaced,
    /// Fewer workers are wanted.
    Surplus,
    /// The server stops.
    Stopped(Stop),
    /// It reported that it could not boot.
    CouldNotBoot(Stage),
    /// It was not ready within `boot-timeout`.
    BootTimeout,
    /// A request was past `timeout`.
    RequestTimeout,
    /// Its loop was past `heartbeat-timeout`.
    Silent,
    /// It drained for longer than `graceful-timeout`.
    GracefulTimeout,
    /// It drained when two generations had come after its own, for `superseded-timeout` at most.
    Superseded,
    /// It did not leave when told to.
    Stubborn,
    /// The operator had it killed.
    Unwanted,
    /// It had so many bytes of memory, more than `max-memory-hard`.
    TooLarge(u64),
}

/// Who is there when a reload has failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Left {
    /// The workers that served before.
    Workers,
    /// Nobody: all were told to retire.
    Retired,
    /// Nobody, as it was before: none could be made, or all have died.
    Nobody,
}

/// What an operator should read about a decision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Note {
    /// The first start has failed; the program will exit with this code.
    StartFailed {
        /// 3 or 4.
        code: u8,
        /// What was the matter.
        reason: String,
    },
    /// A worker did not come up; there will be another try.
    BootFailed {
        /// The place.
        slot: usize,
        /// What was the matter.
        reason: String,
        /// When the next one is started.
        retry: Duration,
    },
    /// A worker left without being told to; the next one waits for a while.
    Crashed {
        /// The place.
        slot: usize,
        /// When the next one is started.
        retry: Duration,
    },
    /// The workers of a place fail again and again while others serve: it stays vacant for so long.
    Suspended {
        /// The place.
        slot: usize,
        /// For how long.
        hold: Duration,
    },
    /// Two workers of a place in a row were past a limit when they had just booted: it is no reason any
    /// more.
    LimitTooSmall {
        /// Which limit.
        limit: Limit,
        /// The place.
        slot: usize,
        /// What the second one had.
        bytes: u64,
    },
    /// There is no memory for an extra worker: they are replaced in place.
    MemoryShort {
        /// Bytes that are free.
        free: u64,
        /// Bytes that a worker takes.
        worker: u64,
    },
    /// A reload has begun.
    Rolling(Generation),
    /// A reload came to nothing.
    ReloadFailed {
        /// Why.
        reason: String,
        /// Who serves although it has failed.
        left: Left,
    },
    /// A reload was asked for while one is under way; it will follow.
    ReloadWaits,
    /// So many workers are wanted now.
    Wanted(usize),
    /// Another number of workers is wanted, as so much is to be done.
    Scaled {
        /// Before.
        from: usize,
        /// Now.
        to: usize,
        /// How busy those were that serve, in thousandths of their time.
        share: u32,
        /// Connections that waited to be accepted.
        waiting: u32,
    },
    /// More workers would be wanted, if there were memory for one.
    NoMemoryForMore,
    /// TTOU with one worker left, or with none because they are retired.
    NeverNone,
    /// TTIN with no seat left on the scoreboard.
    NoMoreSeats,
    /// The workers are retired by WINCH.
    Retired,
    /// The workers that were retired beside another master come back.
    Returned,
    /// USR2 came at a time when it cannot be obeyed, and why.
    UpgradeRefused(String),
    /// The second master does not serve; this one has everything as before.
    UpgradeFailed(String),
    /// The second master serves.
    SecondServes(i32),
    /// The second master has ended, and how; this one has everything again.
    SecondEnded(i32, String),
    /// The first master has ended; this one has everything now.
    FirstGone(i32),
    /// A stop will begin, in so long.
    StopsIn(Duration),
    /// A stop has begun.
    Stopping(Stop),
}
