//! How long the handler of one request may take, as the worker says it on the scoreboard. The master
//! reads it, and grants no more than its configuration does. In the worker only.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::layout::{CELL_DEADLINE, CELL_ENDED, CELL_STARTED, CELL_THREAD, CELL_WORDS, IN_FLIGHT};
use super::page::Cell;
use crate::sys::{Map, monotonic};

/// The time of one request's handler.
#[derive(Clone, Debug)]
pub struct Limit {
    area: Arc<Map>,
    pub(super) cell: Cell,
    usual: Duration,
}

impl Limit {
    /// For the request of `cell`; `usual` is `timeout`.
    pub(super) fn new(area: Arc<Map>, cell: Cell, usual: Duration) -> Limit {
        Limit { area, cell, usual }
    }

    /// It may take this long from its start on; zero: as long as it likes.
    pub(crate) fn set(&self, time: Duration) {
        let deadline = match time.is_zero() {
            true => u64::MAX,
            false => self.words()[CELL_STARTED]
                .load(Ordering::Relaxed)
                .saturating_add(micros(time)),
        };
        self.words()[CELL_DEADLINE].store(deadline, Ordering::Relaxed);
    }

    /// It may take at least this long from now on.
    pub(crate) fn extend(&self, time: Duration) {
        let words = self.words();
        let started = words[CELL_STARTED].load(Ordering::Relaxed);
        let deadline = match words[CELL_DEADLINE].load(Ordering::Relaxed) {
            // There is none.
            0 if self.usual.is_zero() => return,
            0 => started.saturating_add(micros(self.usual)),
            deadline => deadline,
        };
        let wanted = micros(monotonic()).saturating_add(micros(time));
        words[CELL_DEADLINE].store(deadline.max(wanted), Ordering::Relaxed);
    }

    fn words(&self) -> &[AtomicU64] {
        &self.area.words()[self.cell.0..self.cell.0 + CELL_WORDS]
    }
}

/// Says that the request of `cell` is with the thread of this number (gettid(2)). On that thread.
#[inline]
pub(crate) fn name_thread(area: &[AtomicU64], cell: Cell, tid: i32) {
    if let Some(word) = area.get(cell.0 + CELL_THREAD) {
        word.store(tid as u64, Ordering::Relaxed);
    }
}

/// When the time is over of the handler that has the request at `cell`, and since when it has it, in µs of
/// CLOCK_MONOTONIC, if it has one; `usual_us` is `timeout`. For signal handlers, too.
pub(crate) fn due(area: &[AtomicU64], cell: usize, usual_us: u64) -> Option<(u64, u64)> {
    let words = area.get(cell..cell.checked_add(CELL_WORDS)?)?;
    let word = |at: usize| words[at].load(Ordering::Relaxed);
    if word(CELL_ENDED) != IN_FLIGHT {
        return None;
    }
    let started = word(CELL_STARTED);
    let due = match (word(CELL_DEADLINE), usual_us) {
        (0, 0) => u64::MAX,
        (0, usual) => started.saturating_add(usual),
        (due, _) => due,
    };
    Some((due, started))
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}
