//! How long the handler of one request may take, as the worker says it on the scoreboard. The master
//! reads it, and grants no more than its configuration does. In the worker only.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::layout::{
    CELL_DEADLINE, CELL_ENDED, CELL_STARTED, CELL_THREAD, CELL_WORDS, IN_FLIGHT, RECENT_AT,
};
use super::page::Cell;
use super::ring;
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

/// Says that the request of `cell` is with the thread of this number (gettid(2)): where there are several
/// requests at once, what the worker dies of, and which of them is late, is not clear otherwise.
#[inline]
pub(crate) fn name_thread(area: &[AtomicU64], cell: Cell, thread: i32) {
    area[cell.0 + CELL_THREAD].store(thread as u64, Ordering::Relaxed);
}

/// When the time is over of the handler on the thread of this number (gettid(2)), and since when it has its
/// request, in µs of CLOCK_MONOTONIC, if it has one and is named on the scoreboard; `usual_us` is `timeout`. For signal
/// handlers, too.
pub(crate) fn due(area: &[AtomicU64], thread: i32, usual_us: u64) -> Option<(u64, u64)> {
    let mut cells = area.get(RECENT_AT..)?.chunks_exact(CELL_WORDS);
    let words = cells.by_ref().take(ring(area)).find(|words| {
        let word = |at: usize| words[at].load(Ordering::Relaxed);
        word(CELL_ENDED) == IN_FLIGHT && word(CELL_THREAD) == thread as u64
    })?;
    let word = |at: usize| words[at].load(Ordering::Relaxed);
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
