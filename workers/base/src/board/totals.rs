//! The numbers of all workers together, of those that are gone too: sums that never go backwards.
//!
//! When a worker was reaped, the master adds its numbers to those of the retired: one *fold*. There
//! are two rows for them, and the header counts the folds: row `folds % 2` is valid. A fold writes the
//! other row, says of the seat whose numbers are in it since which fold, and counts up, last. So
//! a reader at fold `n` adds up row `n % 2` and every seat whose occupant is not in it, be the next fold
//! half written; it looks again only when one was completed meanwhile. Nobody waits for anybody.
//!
//! A seat's occupant is known by the moment at which it was born. Its successor clears the pages before it
//! says that it is born, so that what lies there is either the one's numbers, folded, or its own.

use std::sync::atomic::{AtomicU64, Ordering, fence};

use super::Board;
use super::counters::{BUCKETS, CODES, COUNTERS, Counter, classify};
use super::layout::*;

/// What all workers have done since the server was started: over deaths and reloads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Totals {
    /// See [`Counter`].
    pub counters: [u64; COUNTERS],
    /// Handler times, see [`BUCKETS`].
    pub handler_times: [u64; BUCKETS],
    /// Queue times, see [`BUCKETS`].
    pub queue_times: [u64; BUCKETS],
    /// Responses by status code, from 100 on, see [`CODES`].
    pub codes: [u64; CODES],
    /// Connections that are open now.
    pub connections: u64,
    /// Requests that wait for a handler now.
    pub waiting: u64,
}

impl Totals {
    /// A counter.
    #[must_use]
    pub fn get(&self, counter: Counter) -> u64 {
        self.counters[counter as usize]
    }

    /// What was added since `earlier`. What is open and what waits stays that of now.
    #[must_use]
    pub fn since(&self, earlier: &Totals) -> Totals {
        fn minus<const N: usize>(now: &[u64; N], before: &[u64; N]) -> [u64; N] {
            std::array::from_fn(|n| now[n].saturating_sub(before[n]))
        }
        Totals {
            counters: minus(&self.counters, &earlier.counters),
            handler_times: minus(&self.handler_times, &earlier.handler_times),
            queue_times: minus(&self.queue_times, &earlier.queue_times),
            codes: minus(&self.codes, &earlier.codes),
            connections: self.connections,
            waiting: self.waiting,
        }
    }
}

impl Default for Totals {
    fn default() -> Totals {
        Totals::of(&[0; NUMBERS], [0; 2])
    }
}

impl Totals {
    fn of(numbers: &[u64; NUMBERS], [connections, waiting]: [u64; 2]) -> Totals {
        let part = |at: usize| &numbers[at - NUMBERS_AT..];
        let mut counters = std::array::from_fn(|n| part(COUNTERS_AT)[n]);
        let codes = std::array::from_fn(|n| part(CODES_AT)[n]);
        classify(&mut counters, codes);
        Totals {
            counters,
            handler_times: std::array::from_fn(|n| part(HANDLER_TIMES_AT)[n]),
            queue_times: std::array::from_fn(|n| part(QUEUE_TIMES_AT)[n]),
            codes,
            connections,
            waiting,
        }
    }
}

impl Board {
    /// The numbers of all workers together, of who answers in their place, and of the master. No sum is
    /// ever smaller than it was, and nobody is counted twice, whoever dies or comes meanwhile. In any
    /// process.
    #[must_use]
    pub fn totals(&self) -> Totals {
        let header = self.whole.words();
        loop {
            let folds = header[FOLDS_AT].load(Ordering::Acquire);
            let mut numbers = [0; NUMBERS];
            add(&mut numbers, &header[row(folds)..]);
            let mut now = [0_u64; 2];
            let seats = (0..self.high()).chain(WORKER_SEATS..SEATS);
            for seat in seats.filter(|seat| self.counts(*seat, folds)) {
                let area = self.area(seat);
                add(&mut numbers, &area[NUMBERS_AT..]);
                for (sum, at) in now.iter_mut().zip([CONNECTIONS_AT, WAITING_AT]) {
                    *sum = sum.saturating_add(area[at].load(Ordering::Relaxed));
                }
            }
            fence(Ordering::Acquire);
            if header[FOLDS_AT].load(Ordering::Relaxed) == folds {
                return Totals::of(&numbers, now);
            }
        }
    }

    /// The worker on `seat` was reaped: it serves no more, and its numbers are those of the retired
    /// from now on. Master only; a second time it does nothing.
    pub fn bury(&self, seat: usize) {
        self.set_alive(seat, false);
        let (Some(header), true) = (&self.header, seat < SEATS) else {
            return;
        };
        let header = header.words();
        let born = self.area(seat)[BORN_AT].load(Ordering::Acquire);
        if born == header[FOLDED_AT + seat].load(Ordering::Relaxed) {
            // It died before it had taken its seat.
            return;
        }
        let next = prepare(header, |numbers| {
            add(numbers, &self.area(seat)[NUMBERS_AT..]);
        });
        header[FOLDED_SINCE_AT + seat].store(next, Ordering::Relaxed);
        header[FOLDED_AT + seat].store(born, Ordering::Release);
        header[FOLDS_AT].store(next, Ordering::Release);
    }

    /// Adds what the master itself has counted. Master only.
    pub fn count(&self, counted: &[(Counter, u64)]) {
        let Some(header) = &self.header else { return };
        let header = header.words();
        let next = prepare(header, |numbers| {
            for (counter, n) in counted {
                let number = &mut numbers[COUNTERS_AT - NUMBERS_AT + *counter as usize];
                *number = number.wrapping_add(*n);
            }
        });
        header[FOLDS_AT].store(next, Ordering::Release);
    }

    /// Whether the numbers on `seat` are not in the row of this fold.
    fn counts(&self, seat: usize, folds: u64) -> bool {
        let header = self.whole.words();
        let born = self.area(seat)[BORN_AT].load(Ordering::Acquire);
        born != header[FOLDED_AT + seat].load(Ordering::Acquire)
            || header[FOLDED_SINCE_AT + seat].load(Ordering::Relaxed) > folds
    }
}

/// Writes the numbers of the next fold, which it returns, to the row that nobody reads.
fn prepare(header: &[AtomicU64], change: impl FnOnce(&mut [u64; NUMBERS])) -> u64 {
    let folds = header[FOLDS_AT].load(Ordering::Relaxed);
    let next = folds.wrapping_add(1);
    let mut numbers = [0; NUMBERS];
    add(&mut numbers, &header[row(folds)..]);
    change(&mut numbers);
    // Who reads what this row held until now sees that there was a fold since.
    fence(Ordering::Release);
    for (word, number) in header[row(next)..].iter().zip(numbers) {
        word.store(number, Ordering::Relaxed);
    }
    next
}

fn row(folds: u64) -> usize {
    RETIRED_AT + NUMBERS * (folds % 2) as usize
}

// A worker may write any number; one that overflows the sum is no reason to panic.
fn add(numbers: &mut [u64; NUMBERS], words: &[AtomicU64]) {
    for (number, word) in numbers.iter_mut().zip(words) {
        *number = number.wrapping_add(word.load(Ordering::Relaxed));
    }
}
