//! What can happen to the master: the one list of events that [`State::step`] takes.
//!
//! An event is plain data. Nothing here looks at a clock, a process or a file.
//!
//! [`State::step`]: super::State::step

use std::fmt;
use std::time::Duration;

use ferricorn_base::lifeline::{Retirement, Stage};
use serde::{Deserialize, Serialize};

use super::budget::Share;
use super::limits::Recycling;
use super::scale::{Load, Scaling};

/// A point on the monotonic clock, as the time since the machine was started. The scoreboard
/// counts the same clock, and a test can make one up.
pub type Moment = Duration;

/// A generation: the workers of one configuration. The first is 1; a reload makes the next.
pub type Generation = u64;

/// A worker as the state knows it. Never given twice, so that a pid that the kernel uses again is
/// never taken for a worker that has gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct WorkerId(pub u64);

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// The process could not be made (fork refused, threads in the master).
    SpawnFailed(WorkerId, String),
    /// The worker says that it serves.
    Ready(WorkerId),
    /// The worker wants to be replaced; it serves on until it is told to drain.
    Retiring(WorkerId, Retirement),
    /// The worker says that it cannot serve, and why. It exits by itself.
    Failed(WorkerId, Stage, String),
    /// The worker was reaped.
    Exited(WorkerId, Ending),
    /// The worker is past a deadline that only the scoreboard can show.
    Overdue(WorkerId, Overdue),
    /// The worker has so many bytes of memory.
    Memory(WorkerId, u64),
    /// So many bytes are free for another one; `None` when nobody knows.
    Room(Option<u64>),
    /// So much there was to do since the last one.
    Load(Load),
    /// The answer to [`Action::LookForCore`](super::Action::LookForCore): there is no core to wait for.
    NoCore(WorkerId),
    /// The worker leaves, and this became of its clients.
    Left(WorkerId, Parting),
    /// The operator wants this worker gone at once. It is no failure of its place.
    Kill(WorkerId),
    /// TERM, or INT and QUIT.
    Stop(Stop),
    /// HUP.
    Reload,
    /// The program on trial has read its configuration and boots a worker, for which it takes so
    /// long at most.
    Proving(Duration),
    /// The answer to [`Action::Probe`](super::Action::Probe): the program on disk can serve.
    Proved,
    /// The answer to [`Action::Probe`](super::Action::Probe) or [`Action::Exec`](super::Action::Exec):
    /// nothing has changed.
    LoadFailed(String),
    /// First thing in an image that was executed in place: what it can spawn is this generation.
    Executed(Generation, Policy),
    /// TTIN: one worker more.
    More,
    /// TTOU: one worker less, but never none.
    Less,
    /// So many workers, at least one.
    Scale(usize),
    /// The number of workers is the controller's again.
    ScaleAuto,
    /// WINCH: no worker at all, until HUP or TTIN.
    RetireAll,
    /// USR1: open the logs anew.
    Reopen,
    /// USR2: start a second master.
    Upgrade,
    /// Something has become of the other master.
    Other(Other),
    /// Nothing has run for so long until now: the machine slept, or was stopped. Comes before whatever
    /// was missed.
    Slept(Duration),
    /// Time has passed.
    Tick,
}

/// What becomes of another master beside this one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Other {
    /// The second one is this process.
    Begun(i32),
    /// The second one has read its configuration; its workers boot within this time.
    Boots(Duration),
    /// The second one serves.
    Serves,
    /// The second one stops, and has given the lead back.
    Leaves,
    /// The second one could not be made, or was reaped: how it ended, or why.
    Ended(String),
    /// The first one has given us the lead.
    Leads,
    /// The first one has ended.
    Gone,
}

/// The numbers of a generation that the state decides by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Policy {
    /// Workers asked for; at least 1.
    pub workers: usize,
    /// Between which numbers there may be others.
    pub scaling: Scaling,
    /// How long a worker may take to say that it is ready.
    pub boot_timeout: Duration,
    /// How long a worker may drain.
    pub graceful_timeout: Duration,
    /// How long a worker may go on draining when two generations have come after its own.
    pub superseded_timeout: Duration,
    /// How long the server goes on as before when it is told to stop.
    pub pre_stop_delay: Duration,
    /// Whether a worker that hangs is to leave a core behind.
    pub dump_cores: bool,
    /// How many workers more than wanted may be up while some are replaced.
    pub max_surge: Share,
    /// How many workers fewer than wanted may serve while some are replaced.
    pub max_unavailable: Share,
    /// When workers are replaced, or ended.
    pub recycling: Recycling,
    /// How many workers may be started in a second when there are more to start than are wanted; 0: any
    /// number.
    pub spawn_rate: u32,
}

/// How a process ended, as wait(2) tells it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// It called exit with this code.
    Code(i32),
    /// It was killed by this signal.
    Signal(i32),
}

/// What became of a worker's clients after it was told to go.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Parting {
    /// Requests that it answered.
    pub completed: u64,
    /// Connections that siblings took over.
    pub handed_over: u64,
    /// Connections that it closed while nothing was under way on them.
    pub closed_idle: u64,
    /// Connections that it closed in the middle of something.
    pub forced: u64,
}

/// Which deadline of a worker that serves has passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Overdue {
    /// A request has been handled for longer than `timeout`, and nothing else goes on.
    Request,
    /// So it has, on one of several threads, and the others go on.
    Thread,
    /// The loop turns no more, and not because of a request.
    Heartbeat,
}

/// How to stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Stop {
    /// Finish what was begun, within the graceful timeout.
    Graceful,
    /// Go now.
    Quick,
}

impl fmt::Display for WorkerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

impl Policy {
    /// For a generation that nobody knows, which does not happen.
    pub const FALLBACK: Policy = Policy {
        workers: 1,
        scaling: Scaling::fixed(1),
        boot_timeout: Duration::from_secs(60),
        graceful_timeout: Duration::from_secs(30),
        superseded_timeout: Duration::from_secs(10),
        pre_stop_delay: Duration::ZERO,
        dump_cores: false,
        max_surge: Share::Number(1),
        max_unavailable: Share::Number(0),
        recycling: Recycling::NONE,
        spawn_rate: 0,
    };
}

impl fmt::Display for Ending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Ending::Code(code) => write!(f, "exited with code {code}"),
            Ending::Signal(number) => {
                write!(f, "was killed by {}", crate::exit::signal_name(*number))
            }
        }
    }
}
