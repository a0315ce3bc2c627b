//! A worker's own pages: the one writer. In the worker only.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering, fence};
use std::time::Duration;

use super::cell::write_text;
use super::counters::{CODES, Counter, State, bucket};
use super::last;
use super::layout::*;
use super::limit::{Limit, name_thread};
use crate::logs::Counted;
use crate::peer::Peer;
use crate::request::RequestId;
use crate::sys::{Map, monotonic};

/// A worker's own pages: the one writer.
#[derive(Debug)]
pub struct Page {
    map: Map,
    /// The same memory, for requests that say how long they may take.
    shared: Arc<Map>,
    timeout: Duration,
    /// Where the next request's cell is, if it is free, and where the ring ends.
    next: usize,
    end: usize,
}

/// The cell of one request in flight.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cell(pub(super) usize);

impl Page {
    /// Clears the pages and says whose they are now.
    pub(super) fn new(map: Map, shared: Map, slot: usize, generation: u64) -> Page {
        // What a predecessor left is among the numbers of the retired until it is said, last, that the
        // seat has a new occupant, whose numbers are 0. Who sees them cleared sees that there was a fold.
        fence(Ordering::Release);
        let words = map.words();
        let (used, records) = (&words[..ring_end(1)], &words[last::AT..]);
        for word in used[..BORN_AT]
            .iter()
            .chain(&used[BORN_AT + 1..])
            .chain(records)
        {
            word.store(0, Ordering::Relaxed);
        }
        let born = monotonic().as_nanos() as u64;
        map.words()[BORN_AT].store(born.max(1), Ordering::Release);
        let page = Page {
            map,
            shared: Arc::new(shared),
            timeout: Duration::ZERO,
            next: RECENT_AT,
            end: ring_end(1),
        };
        page.store(RING_AT, RECENT as u64);
        page.store(PID_AT, u64::from(std::process::id()));
        page.store(SLOT_AT, slot as u64);
        page.store(GENERATION_AT, generation);
        page
    }

    /// Says how long handlers may take unless something else is said; zero: no limit.
    pub fn set_timeout(&mut self, timeout: Duration) {
        self.timeout = timeout;
    }

    /// Says how many requests may be in handlers at once: the ring remembers as many besides. To be called
    /// before the first request; at most [`THREADS`] are seen.
    pub fn set_threads(&mut self, threads: usize) {
        let end = ring_end(threads.clamp(1, THREADS));
        for word in &self.map.words()[self.end..end.max(self.end)] {
            word.store(0, Ordering::Relaxed);
        }
        self.end = end;
        // Who reads it sees no more of a predecessor.
        let cells = (end - RECENT_AT) / CELL_WORDS;
        self.map.words()[RING_AT].store(cells as u64, Ordering::Release);
    }

    /// How long the handler of the request of `cell` may take: written to `limit`, of which one serves
    /// all requests that have the same memory.
    #[inline]
    pub fn limit(&self, cell: Cell, limit: &mut Option<Limit>) {
        match limit {
            Some(limit) => limit.cell = cell,
            None => *limit = Some(Limit::new(Arc::clone(&self.shared), cell, self.timeout)),
        }
    }

    /// Says that the worker's table of peers is in use.
    pub(super) fn show_peers(&self) {
        self.map.words()[PEERS_AT].store(1, Ordering::Release);
    }

    /// Says that the worker takes connections over that are handed to it in messages of this version.
    pub fn show_taking(&self, version: u8) {
        self.store(TAKES_AT, version.into());
    }

    /// Says whether the worker takes connections now, while it serves; it does unless it says
    /// otherwise. Siblings leave one that does not alone, instead of waking it and waiting for it.
    #[inline]
    pub fn set_accepting(&self, accepting: bool) {
        self.store(REFRAINS_AT, u64::from(!accepting));
    }

    /// Says what the worker is doing.
    pub fn set_state(&self, state: State) {
        self.store(STATE_AT, state as u64);
    }

    /// One turn of the loop at `now_us` (CLOCK_MONOTONIC).
    #[inline]
    pub fn turn(&self, now_us: u64) {
        self.store(HEARTBEAT_AT, now_us);
        self.add_at(TURNS_AT, 1);
    }

    /// Says how many connections the worker holds.
    #[inline]
    pub fn set_connections(&self, connections: usize) {
        self.store(CONNECTIONS_AT, connections as u64);
    }

    /// Says how many requests wait for a handler, as all are busy.
    pub fn set_waiting(&self, requests: usize) {
        self.store(WAITING_AT, requests as u64);
    }

    /// Adds to a counter.
    #[inline]
    pub fn add(&self, counter: Counter, n: u64) {
        self.add_at(COUNTERS_AT + counter as usize, n);
    }

    /// Counts one final response by its status; one below 100 or above 599 as if it were that.
    #[inline]
    pub fn count_status(&self, status: u16) {
        let code = usize::from(status).saturating_sub(100).min(CODES - 1);
        self.add_at(CODES_AT + code, 1);
        self.add(Counter::Requests, 1);
    }

    /// Says what this process has logged until now.
    pub fn logged(&self, all: Counted) {
        for (counter, n) in all.by_counter() {
            self.store(COUNTERS_AT + counter as usize, n);
        }
    }

    /// A counter of this worker, but none of a class of responses: they are counted by code.
    #[must_use]
    pub fn counter(&self, counter: Counter) -> u64 {
        self.map.words()[COUNTERS_AT + counter as usize].load(Ordering::Relaxed)
    }

    /// A handler starts on a request, `METHOD target`, at `now_us`; its deadline is the usual one.
    #[inline(always)]
    pub fn begin(&mut self, line: &[u8], peer: &Peer, id: RequestId<'_>, now_us: u64) -> Cell {
        let (words, mut at) = (self.map.words(), self.next);
        let mut cell = &words[at..at + CELL_WORDS];
        if cell[CELL_ENDED].load(Ordering::Relaxed) == IN_FLIGHT {
            at = self.skip(at);
            cell = &words[at..at + CELL_WORDS];
        }
        self.next = self.after(at);
        let sequence = cell[CELL_SEQUENCE].load(Ordering::Relaxed);
        cell[CELL_SEQUENCE].store(sequence + 1, Ordering::Relaxed);
        fence(Ordering::Release);
        let line = write_text(&cell[CELL_LINE..], line);
        let id = match id {
            RequestId::Made(number) => {
                cell[CELL_ID].store(number, Ordering::Relaxed);
                0
            }
            RequestId::Given(text) => write_name(&cell[CELL_ID..CELL_LINE], text),
        };
        let (kind, address, port) = match peer {
            Peer::Unix => (0, 0, 0),
            Peer::Tcp(address) => {
                let (kind, ip) = match address.ip() {
                    IpAddr::V4(ip) => (4, u128::from(u32::from(ip))),
                    IpAddr::V6(ip) => (6, u128::from(ip)),
                };
                (kind, ip, address.port())
            }
        };
        let shape = line as u64 | (id as u64) << 16 | kind << 32 | u64::from(port) << 48;
        cell[CELL_SHAPE].store(shape, Ordering::Relaxed);
        cell[CELL_PEER].store(address as u64, Ordering::Relaxed);
        cell[CELL_PEER + 1].store((address >> 64) as u64, Ordering::Relaxed);
        cell[CELL_STARTED].store(now_us, Ordering::Relaxed);
        cell[CELL_ENDED].store(IN_FLIGHT, Ordering::Relaxed);
        cell[CELL_DEADLINE].store(0, Ordering::Relaxed);
        cell[CELL_SEQUENCE].store(sequence + 2, Ordering::Release);
        Cell(at)
    }

    /// Says that the request of `cell` is with the thread of this number (gettid(2)), where there are several
    /// at once.
    #[inline]
    pub fn name_thread(&self, cell: Cell, thread: i32) {
        name_thread(self.map.words(), cell, thread);
    }

    /// The request of `cell` is no handler's after all, for now.
    #[inline]
    pub fn cancel(&self, cell: Cell) {
        self.map.words()[cell.0 + CELL_ENDED].store(FREE, Ordering::Relaxed);
    }

    /// The handler of the request of `cell` is done with it at `now_us`: it is answered with
    /// `status`, or goes on on a stream thread. Its time is counted, and returned in µs.
    #[inline]
    pub fn end(&self, cell: Cell, status: u16, now_us: u64) -> u64 {
        let took = self.end_uncounted(cell, status, now_us);
        self.count_handlers(1, took);
        took
    }

    /// As [`Page::end`], but its time is to be counted by [`Page::count_handlers`].
    #[inline]
    pub fn end_uncounted(&self, cell: Cell, status: u16, now_us: u64) -> u64 {
        let words = self.close(cell, status, now_us);
        now_us.saturating_sub(words[CELL_STARTED].load(Ordering::Relaxed))
    }

    /// So many handlers, at least one, took so many µs together.
    #[inline]
    pub fn count_handlers(&self, handlers: u64, micros: u64) {
        self.add_at(HANDLER_TIMES_AT + bucket(micros / handlers), handlers);
        self.add(Counter::HandlerMicros, micros);
    }

    /// The request of `cell`, which went on on a stream thread, has ended with `status` at `now_us`.
    pub fn end_stream(&self, cell: Cell, status: u16, now_us: u64) {
        self.close(cell, status, now_us);
    }

    /// Something waited so long for its turn, in µs.
    #[inline]
    pub fn queued(&self, micros: u64) {
        self.add_at(QUEUE_TIMES_AT + bucket(micros), 1);
        self.add(Counter::QueueMicros, micros);
    }

    #[inline]
    fn close(&self, cell: Cell, status: u16, now_us: u64) -> &[AtomicU64] {
        let words = &self.map.words()[cell.0..cell.0 + CELL_WORDS];
        words[CELL_STATUS].store(u64::from(status), Ordering::Relaxed);
        words[CELL_ENDED].store(now_us.wrapping_add(ENDED), Ordering::Release);
        words
    }

    /// The request of `cell` goes on on a stream thread: it leaves the ring for a cell of its own,
    /// if one of [`STREAMS`] is free.
    pub fn stream(&self, cell: Cell) -> Option<Cell> {
        let words = self.map.words();
        let free = (0..STREAMS)
            .map(|n| STREAMS_AT + n * CELL_WORDS)
            .find(|at| words[*at + CELL_ENDED].load(Ordering::Relaxed) != IN_FLIGHT)?;
        let sequence = words[free + CELL_SEQUENCE].load(Ordering::Relaxed);
        words[free + CELL_SEQUENCE].store(sequence + 1, Ordering::Relaxed);
        fence(Ordering::Release);
        words[free + CELL_THREAD].store(0, Ordering::Relaxed);
        for n in CELL_THREAD + 1..CELL_WORDS {
            words[free + n].store(words[cell.0 + n].load(Ordering::Relaxed), Ordering::Relaxed);
        }
        words[free + CELL_SEQUENCE].store(sequence + 2, Ordering::Release);
        Some(Cell(free))
    }

    /// The cell behind another one in the ring.
    #[inline]
    fn after(&self, at: usize) -> usize {
        match at + CELL_WORDS {
            next if next < self.end => next,
            _ => RECENT_AT,
        }
    }

    /// The next cell that is not in flight: there always is one, as the ring has more than there are threads.
    #[cold]
    fn skip(&self, from: usize) -> usize {
        let mut at = self.after(from);
        while at != from && self.map.words()[at + CELL_ENDED].load(Ordering::Relaxed) == IN_FLIGHT {
            at = self.after(at);
        }
        at
    }

    #[inline]
    pub(super) fn store(&self, at: usize, value: u64) {
        self.map.words()[at].store(value, Ordering::Relaxed);
    }

    // Only this thread writes the page, so a load and a store do what an atomic addition would.
    #[inline]
    fn add_at(&self, at: usize, n: u64) {
        let word = &self.map.words()[at];
        word.store(
            word.load(Ordering::Relaxed).wrapping_add(n),
            Ordering::Relaxed,
        );
    }
}

/// Where the ring of a worker with so many handler threads ends.
fn ring_end(threads: usize) -> usize {
    let cells = if threads > 1 {
        RECENT + threads
    } else {
        RECENT
    };
    RECENT_AT + cells * CELL_WORDS
}

/// Most requests have no name of their own.
#[cold]
fn write_name(words: &[AtomicU64], name: &str) -> usize {
    write_text(words, name.as_bytes())
}
