//! What the master writes into the log about its own decisions.
//!
//! One place for the words, so that they stay alike. It decides nothing.

use crate::state::{Note, Stop};

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
        Note::Rolling(generation) => {
            log::info!("generation {generation}: replacing the workers");
        }
        Note::ReloadFailed(reason) => {
            log::error!("reload failed: {reason}; the old workers serve on");
        }
        Note::ReloadWaits => log::info!("a reload follows when this one is over"),
        Note::Wanted(1) => log::info!("1 worker wanted"),
        Note::Wanted(workers) => log::info!("{workers} workers wanted"),
        Note::NeverNone => log::info!("not one worker less: the last one stays"),
        Note::NoMoreSeats => log::warn!("no room for another worker"),
        Note::Retired => log::info!("the workers retire; SIGHUP or SIGTTIN brings them back"),
        Note::StopsIn(delay) => log::info!(
            "told to stop: serving on for pre-stop-delay ({} s)",
            delay.as_secs_f64()
        ),
        Note::Stopping(Stop::Graceful) => log::info!("stopping: workers finish what they have"),
        Note::Stopping(Stop::Quick) => log::info!("stopping at once"),
    }
}
