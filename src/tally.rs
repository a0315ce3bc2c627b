//! What the master counts on the scoreboard: how workers have ended, by cause, and what came of reloads.
//!
//! It is the master's alone, since no worker can tell how it ended. Every end has exactly one cause. It
//! decides nothing.

use ferricorn_base::board::{Board, Tally};
use ferricorn_base::lifeline::Retirement;

use crate::diagnose::is_ours;
use crate::state::{Ending, Fate, Outcome, Signal, Stop};

/// The end of a worker, as far as its cause goes.
#[derive(Clone, Copy, Debug)]
pub struct Exit {
    /// How it ended.
    pub ending: Ending,
    /// Why the master ended it, if it did.
    pub fate: Option<Fate>,
    /// The last signal that it was sent by us.
    pub sent: Option<Signal>,
    /// Whether it was the OOM killer's.
    pub oom: bool,
    /// Whether it was ready once.
    pub served: bool,
}

/// All causes that [`Exit::cause`] knows, so that each can be told before it has happened.
const CAUSES: [&str; 19] = [
    BOOT,
    BOOT_TIMEOUT,
    CRASH,
    EXIT,
    GRACEFUL_TIMEOUT,
    HEARTBEAT,
    KILLED,
    MAX_LIFETIME,
    MAX_MEMORY,
    MAX_MEMORY_HARD,
    MAX_REQUESTS,
    OOM,
    OPERATOR,
    PANIC,
    RELOAD,
    REQUEST_TIMEOUT,
    SCALE_DOWN,
    STOP,
    UNKNOWN,
];
/// All verdicts on reloads.
const VERDICTS: [&str; 3] = [OK, FAILED, ROLLED_BACK];

const BOOT: &str = "boot";
const BOOT_TIMEOUT: &str = "boot-timeout";
const CRASH: &str = "crash";
const EXIT: &str = "exit";
const GRACEFUL_TIMEOUT: &str = "graceful-timeout";
const HEARTBEAT: &str = "heartbeat-timeout";
const KILLED: &str = "killed";
const MAX_LIFETIME: &str = "max-lifetime";
const MAX_MEMORY: &str = "max-memory";
const MAX_MEMORY_HARD: &str = "max-memory-hard";
const MAX_REQUESTS: &str = "max-requests";
const OOM: &str = "oom";
const OPERATOR: &str = "operator";
const PANIC: &str = "panic";
const RELOAD: &str = "reload";
const REQUEST_TIMEOUT: &str = "timeout";
const SCALE_DOWN: &str = "scale-down";
const STOP: &str = "stop";
const UNKNOWN: &str = "unknown";

const OK: &str = "ok";
const FAILED: &str = "failed";
const ROLLED_BACK: &str = "rolled-back";

/// Has all names known, so that each is told before it has happened.
pub fn begin(board: &Board) {
    CAUSES
        .iter()
        .for_each(|cause| board.tally(Tally::Exits, cause, 0));
    VERDICTS
        .iter()
        .for_each(|verdict| board.tally(Tally::Reloads, verdict, 0));
}

/// What came of a reload, in a word.
pub fn verdict(outcome: &Outcome) -> &'static str {
    match outcome {
        Outcome::Complete(..) => OK,
        Outcome::Failed(_) => FAILED,
        Outcome::RolledBack(_) => ROLLED_BACK,
    }
}

impl Exit {
    /// Whether it ended of what it was doing, so that the requests it served are suspects: not so
    /// where an operator or a reload wanted it, nor where nobody knows who killed it.
    pub fn is_of_its_work(self) -> bool {
        matches!(
            self.cause(),
            CRASH | EXIT | HEARTBEAT | OOM | REQUEST_TIMEOUT
        )
    }

    /// Its one cause: what went wrong, if that was not our doing; else why the master wanted it.
    pub fn cause(self) -> &'static str {
        match (self.ending, self.fate) {
            (Ending::Signal(0), _) => UNKNOWN,
            (Ending::Signal(number), fate) => match fate {
                Some(fate) if is_ours(self.ending, self.sent) => why(fate),
                _ if self.oom => OOM,
                // Who sends these means the process, and nothing is wrong with its code.
                _ if matches!(number, libc::SIGKILL | libc::SIGTERM) => KILLED,
                _ => CRASH,
            },
            (Ending::Code(0), Some(fate)) => why(fate),
            (Ending::Code(_), Some(fate)) if !is_planned(fate) => why(fate),
            (Ending::Code(_), _) if !self.served => BOOT,
            (Ending::Code(_), _) => EXIT,
        }
    }
}

/// Whether a worker of this fate was to leave by itself.
fn is_planned(fate: Fate) -> bool {
    matches!(
        fate,
        Fate::Recycled(_) | Fate::Replaced | Fate::Surplus | Fate::Stopped(_)
    )
}

/// Why the master ended a worker.
fn why(fate: Fate) -> &'static str {
    match fate {
        Fate::Recycled(Retirement::MaxRequests) => MAX_REQUESTS,
        Fate::Recycled(Retirement::Lifetime) => MAX_LIFETIME,
        Fate::Recycled(Retirement::Memory) => MAX_MEMORY,
        Fate::Recycled(Retirement::Panic) => PANIC,
        Fate::Recycled(Retirement::Asked | Retirement::Commanded) | Fate::Unwanted => OPERATOR,
        Fate::Replaced | Fate::Superseded => RELOAD,
        Fate::Surplus => SCALE_DOWN,
        Fate::Stopped(Stop::Graceful | Stop::Quick) => STOP,
        Fate::CouldNotBoot(_) => BOOT,
        Fate::BootTimeout => BOOT_TIMEOUT,
        Fate::RequestTimeout | Fate::Recycled(Retirement::Timeout) => REQUEST_TIMEOUT,
        Fate::Silent => HEARTBEAT,
        Fate::GracefulTimeout | Fate::Stubborn => GRACEFUL_TIMEOUT,
        Fate::TooLarge(_) => MAX_MEMORY_HARD,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exit(ending: Ending, fate: Option<Fate>, sent: Option<Signal>) -> Exit {
        Exit {
            ending,
            fate,
            sent,
            oom: false,
            served: true,
        }
    }

    #[test]
    fn every_end_has_the_cause_that_an_operator_would_name() {
        use Ending::{Code, Signal as Killed};
        let abort = Some(Signal::Abort);
        let kill = Some(Signal::Kill);
        for (cause, ending, fate, sent) in [
            (CRASH, Killed(libc::SIGSEGV), None, None),
            (CRASH, Killed(libc::SIGABRT), None, None),
            // What it was told to do meanwhile is not why it died.
            (CRASH, Killed(libc::SIGSEGV), Some(Fate::Replaced), None),
            (KILLED, Killed(libc::SIGKILL), None, None),
            (KILLED, Killed(libc::SIGKILL), Some(Fate::Replaced), None),
            (UNKNOWN, Killed(0), None, None),
            (EXIT, Code(0), None, None),
            (EXIT, Code(7), None, None),
            (EXIT, Code(1), Some(Fate::Replaced), None),
            (RELOAD, Code(0), Some(Fate::Replaced), None),
            (RELOAD, Killed(libc::SIGKILL), Some(Fate::Superseded), kill),
            (
                REQUEST_TIMEOUT,
                Killed(libc::SIGABRT),
                Some(Fate::RequestTimeout),
                abort,
            ),
            (
                REQUEST_TIMEOUT,
                Killed(libc::SIGKILL),
                Some(Fate::RequestTimeout),
                kill,
            ),
            // An application may catch SIGABRT.
            (
                REQUEST_TIMEOUT,
                Code(134),
                Some(Fate::RequestTimeout),
                abort,
            ),
            (HEARTBEAT, Killed(libc::SIGABRT), Some(Fate::Silent), abort),
            (
                BOOT_TIMEOUT,
                Killed(libc::SIGABRT),
                Some(Fate::BootTimeout),
                abort,
            ),
            (OPERATOR, Killed(libc::SIGKILL), Some(Fate::Unwanted), kill),
            (
                OPERATOR,
                Code(0),
                Some(Fate::Recycled(Retirement::Asked)),
                None,
            ),
            (
                PANIC,
                Code(0),
                Some(Fate::Recycled(Retirement::Panic)),
                None,
            ),
            (
                MAX_REQUESTS,
                Code(0),
                Some(Fate::Recycled(Retirement::MaxRequests)),
                None,
            ),
            (SCALE_DOWN, Code(0), Some(Fate::Surplus), None),
            (STOP, Code(0), Some(Fate::Stopped(Stop::Graceful)), None),
            (
                GRACEFUL_TIMEOUT,
                Killed(libc::SIGKILL),
                Some(Fate::GracefulTimeout),
                kill,
            ),
        ] {
            let exit = exit(ending, fate, sent);
            assert_eq!(exit.cause(), cause, "{exit:?}");
        }
        let early = |ending| Exit {
            served: false,
            ..exit(ending, None, None)
        };
        assert_eq!(early(Code(4)).cause(), BOOT);
        assert_eq!(early(Killed(libc::SIGSEGV)).cause(), CRASH);
        let killed = exit(Killed(libc::SIGKILL), None, None);
        assert_eq!(
            Exit {
                oom: true,
                ..killed
            }
            .cause(),
            OOM
        );
    }

    #[test]
    fn every_name_is_told_from_the_first_on() {
        let board = Board::create().unwrap();
        begin(&board);
        begin(&board);
        assert_eq!(board.tallied(Tally::Exits).len(), CAUSES.len());
        assert_eq!(board.tallied(Tally::Reloads).len(), VERDICTS.len());
    }
}
