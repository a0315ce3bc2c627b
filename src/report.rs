//! What the master writes into the log about its own decisions.
//!
//! One place for the words, so that they stay alike. It decides nothing.

use crate::memory::mebibytes;
use crate::state::{Left, Note, Stop};

/// Logs a decision.
pub fn note(note: &Note) {
    match note {
        Note::StartFailed { code, reason } => {
            log::error!("cannot start: {reason} (exit code {code})");
        }
        Note::BootFailed {
            slot,
            reason,
            retry,
        } => {
            let seconds = retry.as_secs_f64();
            log::error!("worker {slot} cannot boot: {reason}; the next try is in {seconds:.1} s");
        }
        Note::Crashed { slot, retry } => {
            let seconds = retry.as_secs_f64();
            log::warn!("worker {slot} lived briefly; its successor comes in {seconds:.1} s");
        }
        Note::Suspended { slot, hold } => log::error!(
            "worker {slot} fails again and again while others serve: its place stays vacant for {:.0} s",
            hold.as_secs_f64()
        ),
        Note::LimitTooSmall { limit, slot, bytes } => log::error!(
            "{} is too small: worker {slot} had {} as soon as it had booted, and the one before it \
             had as much; the limit is ignored until a reload",
            limit.name(),
            mebibytes(*bytes)
        ),
        Note::MemoryShort { free, worker } => log::warn!(
            "no memory for an extra worker ({} free, a worker has {}): workers are replaced in place",
            mebibytes(*free),
            mebibytes(*worker)
        ),
        Note::Rolling(generation) => {
            log::info!("generation {generation}: replacing the workers");
        }
        Note::ReloadFailed { reason, left } => {
            let who = match left {
                Left::Workers => "the old workers serve on",
                Left::Retired => "the workers stay retired",
                Left::Nobody => "nobody serves",
            };
            log::error!("reload failed: {reason}; {who}");
        }
        Note::ReloadWaits => log::info!("a reload follows when what is under way is over"),
        Note::Wanted(1) => log::info!("1 worker wanted"),
        Note::Wanted(workers) => log::info!("{workers} workers wanted"),
        Note::Scaled {
            from,
            to,
            share,
            waiting,
        } => log::info!(
            "{to} workers wanted after {from}: those that serve are busy for {} % of the time, \
             {waiting} connections wait",
            share / 10
        ),
        Note::NoMemoryForMore => log::warn!("no memory for the further workers that are wanted"),
        Note::NeverNone => log::info!("not one worker less: the last one stays"),
        Note::NoMoreSeats => log::warn!("no room for another worker"),
        Note::Retired => log::info!("the workers retire; SIGHUP or SIGTTIN brings them back"),
        Note::UpgradeRefused(reason) => log::warn!("no second master is started: {reason}"),
        Note::UpgradeFailed(reason) => {
            log::error!("the second master does not serve: {reason}; this one serves on");
        }
        Note::SecondServes(pid) => {
            log::info!("the second master serves (pid {pid}); which of the two is to go?");
        }
        Note::SecondEnded(pid, how) => {
            log::info!("the second master (pid {pid}) {how}; this one has everything again");
        }
        Note::FirstGone(pid) => {
            log::info!("the first master (pid {pid}) is gone; this one has everything now");
        }
        Note::Returned => log::info!("the workers come back, of the program as it was"),
        Note::StopsIn(delay) => log::info!(
            "told to stop: serving on for pre-stop-delay ({} s)",
            delay.as_secs_f64()
        ),
        Note::Stopping(Stop::Graceful) => log::info!("stopping: workers finish what they have"),
        Note::Stopping(Stop::Quick) => log::info!("stopping at once"),
    }
}
