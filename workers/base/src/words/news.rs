//! What has happened, as the control socket tells it: plain data, written and read with serde alone.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A worker in the news.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Who {
    /// The stable number of its place.
    pub slot: usize,
    /// Its process.
    pub pid: i32,
    /// The generation that it is of.
    pub generation: u64,
}

/// What the master does, and why.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub enum News {
    /// All workers of the first start have answered.
    Started {
        /// Where it serves.
        listeners: String,
    },
    /// A signal is dealt with.
    Signal {
        /// Which one.
        name: String,
    },
    /// A command is dealt with.
    Command {
        /// Which one.
        name: String,
        /// Whose.
        uid: u32,
        /// And of which process.
        pid: i32,
    },
    /// A worker was forked.
    WorkerStarted {
        /// Which one.
        #[serde(flatten)]
        who: Who,
        /// `start`, `reload` or `vacant`.
        cause: String,
    },
    /// A worker serves.
    WorkerReady {
        /// Which one.
        #[serde(flatten)]
        who: Who,
        /// How long it took.
        seconds: f64,
    },
    /// A worker wants to be replaced.
    WorkerRetiring {
        /// Which one.
        #[serde(flatten)]
        who: Who,
        /// Why.
        cause: String,
    },
    /// A worker was told to finish and go.
    WorkerDraining {
        /// Which one.
        #[serde(flatten)]
        who: Who,
        /// Why.
        cause: String,
    },
    /// A worker was told to go at once.
    WorkerLeaving {
        /// Which one.
        #[serde(flatten)]
        who: Who,
        /// Why.
        cause: String,
    },
    /// A worker is sent a signal that ends it.
    WorkerSignalled {
        /// Which one.
        #[serde(flatten)]
        who: Who,
        /// Which signal.
        signal: String,
        /// Why.
        cause: String,
    },
    /// A worker stands still: somebody has stopped it.
    WorkerStopped {
        /// Which one.
        #[serde(flatten)]
        who: Who,
        /// By which signal.
        signal: String,
    },
    /// A worker that was stopped goes on.
    WorkerContinued {
        /// Which one.
        #[serde(flatten)]
        who: Who,
    },
    /// A worker has gone.
    WorkerLeft {
        /// Which one.
        #[serde(flatten)]
        who: Who,
        /// How.
        ending: String,
        /// Whether it went as it should.
        well: bool,
        /// What became of its clients, if it said so.
        counts: Option<Counts>,
    },
    /// A worker did not come up.
    BootFailed {
        /// Its place.
        slot: usize,
        /// Why.
        cause: String,
        /// When there is another try.
        retry: f64,
    },
    /// A worker died soon after it was ready.
    Crashed {
        /// Its place.
        slot: usize,
        /// When its successor comes.
        retry: f64,
    },
    /// The workers of a place fail again and again while others serve: it stays vacant for a while.
    Suspended {
        /// The place.
        slot: usize,
        /// For how long.
        seconds: f64,
    },
    /// Workers are past a limit as soon as they have booted: it is ignored until a reload.
    LimitTooSmall {
        /// The setting.
        limit: String,
        /// The place where two in a row were.
        slot: usize,
        /// Bytes that the second one had.
        bytes: u64,
    },
    /// There is no memory for an extra worker: workers are replaced in place.
    MemoryShort {
        /// Bytes that are free.
        free: u64,
        /// Bytes that a worker has.
        worker: u64,
    },
    /// A reload was asked for, and comes after the one under way or the start.
    ReloadWaits {},
    /// A reload has begun: the program on disk is tried.
    Trying {
        /// Which reload.
        reload: u64,
        /// What is tried.
        program: String,
        /// In this process.
        pid: i32,
    },
    /// What was tried can serve, and will be executed.
    Passed {
        /// Which reload.
        reload: u64,
        /// How long it took.
        seconds: f64,
    },
    /// It was executed in the master's place.
    Executed {
        /// Which reload.
        reload: u64,
        /// The server's version.
        server: String,
    },
    /// The workers are replaced.
    Rolling {
        /// Which reload.
        reload: u64,
        /// By this generation.
        generation: u64,
    },
    /// The new workers serve alone; old ones may be finishing.
    TakenOver {
        /// The generation that serves.
        generation: u64,
    },
    /// A reload is over: it is complete, and the old workers have gone.
    ReloadComplete {
        /// Which one.
        reload: u64,
        /// What came of it.
        #[serde(flatten)]
        verdict: Verdict,
    },
    /// A reload is over: it came to nothing.
    ReloadFailed {
        /// Which one.
        reload: u64,
        /// Why.
        cause: String,
        /// After so long.
        seconds: f64,
    },
    /// So many workers are wanted.
    Wanted {
        /// How many.
        workers: usize,
    },
    /// The controller wants another number of workers.
    Scaled {
        /// So many it wanted before.
        from: usize,
        /// So many now.
        workers: usize,
        /// How busy those were that serve, from 0 to 1.
        busy: f64,
        /// Connections that waited to be accepted.
        waiting: u32,
    },
    /// It would want more, if there were memory for one.
    NoMemoryForMore {},
    /// All workers retire, by WINCH.
    Retired {},
    /// Nobody serves: requests are answered 503.
    Outage {
        /// For how long nobody did.
        seconds: f64,
        /// Why, as far as it is known.
        cause: Option<String>,
    },
    /// Somebody serves again.
    Recovered {
        /// After so long.
        seconds: f64,
    },
    /// Workers refuse requests, as all wait for too long (`shed-target`).
    Overloaded {},
    /// They do so no more.
    Relieved {
        /// How many were refused.
        requests: u64,
        /// In how long.
        seconds: f64,
    },
    /// The logs were opened anew.
    Reopened {},
    /// Requests are with a handler for longer than `slow-request`, and still are.
    SlowRequest {
        /// With which worker.
        #[serde(flatten)]
        who: Who,
        /// Which ones, escaped and cut.
        requests: String,
    },
    /// A request is in quarantine from now on.
    Quarantined {
        /// How it is known.
        fingerprint: String,
        /// Its method and path, escaped and cut.
        request: String,
        /// In how many deaths of workers it was in flight.
        deaths: usize,
        /// For how many seconds; none: until it is cleared.
        hold: Option<f64>,
    },
    /// A request is in quarantine no more.
    Released {
        /// How it is known.
        fingerprint: String,
        /// Its method and path, escaped and cut.
        request: String,
        /// Why.
        cause: String,
    },
    /// A stop will begin.
    StopsSoon {
        /// In so long.
        seconds: f64,
    },
    /// A stop has begun.
    Stopping {
        /// Workers finish what they have.
        graceful: bool,
        /// Why, if nobody asked for it.
        #[serde(skip_serializing_if = "Option::is_none")]
        cause: Option<String>,
    },
    /// No worker is left, and the server ends.
    Stopped {
        /// Its exit code.
        code: u8,
    },
    /// Something that this program does not know.
    #[serde(other)]
    Unknown,
}

/// What came of a reload that was completed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Verdict {
    /// The generation that serves now.
    pub generation: u64,
    /// From its begin to the end of the last old worker.
    pub seconds: f64,
    /// Old workers that have gone.
    pub workers: u64,
    /// Those of them that died without a word; what they had is not in the sums.
    pub unreported: u64,
    /// What became of their clients.
    #[serde(flatten)]
    pub counts: Counts,
}

/// What became of the clients of workers that have gone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// Requests that were answered after the worker was told to go.
    pub completed: u64,
    /// Connections that other workers took over.
    pub handed_over: u64,
    /// Connections that were closed while nothing was under way.
    pub closed_idle: u64,
    /// Connections that were closed in the middle of something.
    pub forced: u64,
}

/// "3 completed, 12 handed over, 1 closed idle, 0 forced".
impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Counts {
            completed,
            handed_over,
            closed_idle,
            forced,
        } = self;
        write!(
            f,
            "{completed} completed, {handed_over} handed over, {closed_idle} closed idle, {forced} forced"
        )
    }
}

/// "3 completed, 12 handed over, 1 closed idle, 0 forced (1 of 4 workers died without a report), in
/// 1.25 s".
impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Verdict {
            seconds,
            workers,
            unreported,
            counts,
            ..
        } = self;
        write!(f, "{counts}")?;
        if *unreported > 0 {
            write!(
                f,
                " ({unreported} of {workers} workers died without a report)"
            )?;
        }
        write!(f, ", in {seconds:.2} s")
    }
}
