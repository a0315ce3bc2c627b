//! The scoreboard: one sealed memfd, whole pages per worker, one writer per page, atomics only.
//!
//! The master makes it before the first fork. A worker maps its own *seat* (a set of pages)
//! writable and the whole read-only; the master writes only the header area. There is no lock that
//! a crashing process could die holding. A reader believes nothing: it bounds every length and index
//! and treats text as bytes of a stranger.
//!
//! Layout, in 64-bit words: area 0 is the header (magic, version, seats, highest seat in use, the key
//! of the hashes, whether the server stops, one *alive* word per seat, the table of poison,
//! the numbers of workers that are gone); area `1 + seat` is a worker's: header, counters, histograms of
//! handler and queue times, one cell per request on a stream thread, the ring of the requests in handlers and of
//! the last ones.
//! Behind the areas lie the tables of peers, one per seat, which take no memory until they are used.

mod cell;
mod counters;
pub(crate) mod last;
mod layout;
mod limit;
mod page;
mod peers;
mod poison;
mod tally;
#[cfg(test)]
mod tests;
mod totals;

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::UNIX_EPOCH;

use nix::fcntl::{FcntlArg, SealFlag, fcntl};
use nix::sys::memfd::{MFdFlags, memfd_create};

use crate::sys::{Map, random};

pub use cell::RequestView;
pub use counters::{BUCKETS, CODES, COUNTERS, Counter, State};
pub use last::LastWords;
pub use layout::{
    BYTES, ID_MAX, LINE_MAX, PEERS, POISONS, RECENT, SEATS, STREAMS, THREADS, WORKER_SEATS,
};
pub use limit::Limit;
pub(crate) use limit::{due, name_thread};
pub use page::{Cell, Page};
pub use peers::{Peers, Rate};
pub use poison::{fingerprint, resource};
pub use tally::Tally;
pub use totals::Totals;

use cell::read_cell;
use counters::classify;
use layout::*;

/// Words of a worker's area.
pub(crate) const AREA: usize = AREA_WORDS;

/// The whole board, as the master and every worker reads it.
#[derive(Debug)]
pub struct Board {
    fd: OwnedFd,
    whole: Map,
    header: Option<Map>,
}

/// What a reader sees of one seat at one moment.
#[derive(Clone, Debug, Default)]
pub struct SeatView {
    /// As the worker wrote it; the master trusts the pid that fork gave it instead.
    pub pid: u64,
    /// The stable number of the worker's place.
    pub slot: u64,
    /// The generation of its configuration.
    pub generation: u64,
    /// What it is doing.
    pub state: State,
    /// When its loop last turned, in µs of CLOCK_MONOTONIC.
    pub heartbeat_us: u64,
    /// How often its loop turned.
    pub turns: u64,
    /// Connections it holds.
    pub connections: u64,
    /// Requests that wait for a handler, as all are busy.
    pub waiting: u64,
    /// See [`Counter`].
    pub counters: [u64; COUNTERS],
    /// Handler times, see [`BUCKETS`].
    pub handler_times: Vec<u64>,
    /// Queue times, see [`BUCKETS`].
    pub queue_times: Vec<u64>,
    /// Requests in a handler or on a stream thread.
    pub in_flight: Vec<RequestView>,
    /// The last requests, the newest first.
    pub recent: Vec<RequestView>,
}

impl Board {
    /// Makes the board: in the master, before the first fork.
    ///
    /// # Errors
    /// What memfd_create(2), ftruncate(2), fcntl(2) and mmap(2) answer.
    pub fn create() -> io::Result<Board> {
        let flags = MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING;
        let fd = memfd_create(c"ferricorn-board", flags)?;
        nix::unistd::ftruncate(&fd, BYTES as i64)?;
        let seals = SealFlag::F_SEAL_SHRINK | SealFlag::F_SEAL_GROW | SealFlag::F_SEAL_SEAL;
        fcntl(&fd, FcntlArg::F_ADD_SEALS(seals))?;
        let whole = Map::new(fd.as_fd(), 0, BYTES, false)?;
        let header = Map::new(fd.as_fd(), 0, AREA_BYTES, true)?;
        let words = header.words();
        let key = u128::from_ne_bytes(random());
        words[KEY_AT].store(key as u64, Ordering::Relaxed);
        words[KEY_AT + 1].store((key >> 64) as u64, Ordering::Relaxed);
        let unix = UNIX_EPOCH.elapsed().unwrap_or_default();
        words[STARTED_AT].store(unix.as_millis() as u64, Ordering::Relaxed);
        words[SEATS_AT].store(SEATS as u64, Ordering::Relaxed);
        words[VERSION_AT].store(VERSION, Ordering::Relaxed);
        words[MAGIC_AT].store(MAGIC, Ordering::Release);
        Ok(Board {
            fd,
            whole,
            header: Some(header),
        })
    }

    /// A board that another process, or another part of this one, made: to read, and to take a seat
    /// on. Its header is not writable through it.
    ///
    /// # Errors
    /// `InvalidData` for what is no board of this version; what fstat(2) and mmap(2) answer.
    pub fn attach(fd: OwnedFd) -> io::Result<Board> {
        let foreign = || {
            io::Error::new(
                io::ErrorKind::InvalidData,
                "not a scoreboard of this version",
            )
        };
        let len = nix::sys::stat::fstat(&fd)?.st_size;
        if len != BYTES as i64 {
            return Err(foreign());
        }
        let whole = Map::new(fd.as_fd(), 0, BYTES, false)?;
        let word = |at: usize| whole.words()[at].load(Ordering::Acquire);
        if (word(MAGIC_AT), word(VERSION_AT), word(SEATS_AT)) != (MAGIC, VERSION, SEATS as u64) {
            return Err(foreign());
        }
        Ok(Board {
            fd,
            whole,
            header: None,
        })
    }

    /// The board that this very master made before it executed its program anew: with its header.
    ///
    /// # Errors
    /// As [`Board::attach`].
    pub fn adopt(fd: OwnedFd) -> io::Result<Board> {
        let mut board = Board::attach(fd)?;
        board.header = Some(Map::new(board.fd.as_fd(), 0, AREA_BYTES, true)?);
        Ok(board)
    }

    /// When the server was started, in seconds of Unix time. A reload is no start.
    #[must_use]
    pub fn started(&self) -> f64 {
        self.whole.words()[STARTED_AT].load(Ordering::Relaxed) as f64 / 1e3
    }

    /// The descriptor, to be kept across a fork.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    /// Says that the worker on `seat` serves, or that it does no more. Master only: in a worker,
    /// after [`Board::take_seat`], it does nothing.
    pub fn set_alive(&self, seat: usize, alive: bool) {
        if let (Some(header), true) = (&self.header, seat < SEATS) {
            let words = header.words();
            words[ALIVE_AT + seat].store(u64::from(alive), Ordering::Release);
            if alive && words[HIGH_AT].load(Ordering::Relaxed) <= seat as u64 {
                words[HIGH_AT].store(seat as u64 + 1, Ordering::Release);
            }
        }
    }

    /// Says that the server was told to stop, which it does not forget. Master only.
    pub fn set_stopping(&self) {
        if let Some(header) = &self.header {
            header.words()[STOPPING_AT].store(1, Ordering::Release);
        }
    }

    /// Says that the server stops now, gracefully: nobody who is answered from here on is to come
    /// again. Master only.
    pub fn set_ending(&self) {
        if let Some(header) = &self.header {
            header.words()[STOPPING_AT].store(ENDING, Ordering::Release);
        }
    }

    /// Whether the server stops now: a worker whose handler runs meanwhile hears nothing else of it.
    #[inline]
    #[must_use]
    pub fn is_ending(&self) -> bool {
        self.whole.words()[STOPPING_AT].load(Ordering::Acquire) == ENDING
    }

    /// Whether the master was told to stop the server, be it that it does not do so yet.
    #[must_use]
    pub fn is_stopping(&self) -> bool {
        self.whole.words()[STOPPING_AT].load(Ordering::Acquire) != 0
    }

    /// Whether the master says that the worker on `seat` serves.
    #[inline]
    #[must_use]
    pub fn is_alive(&self, seat: usize) -> bool {
        seat < SEATS && self.whole.words()[ALIVE_AT + seat].load(Ordering::Acquire) == 1
    }

    /// Whether the worker on `seat` serves, as the master and it itself say.
    #[inline]
    #[must_use]
    pub fn is_serving(&self, seat: usize) -> bool {
        self.is_alive(seat)
            && self.area(seat)[STATE_AT].load(Ordering::Relaxed) == State::Serving as u64
    }

    /// Whether the worker on `seat` serves and takes connections now: one that is full, or all of whose
    /// threads are busy, does not.
    #[inline]
    #[must_use]
    pub fn is_accepting(&self, seat: usize) -> bool {
        self.is_serving(seat) && self.area(seat)[REFRAINS_AT].load(Ordering::Relaxed) == 0
    }

    /// Whether the worker on `seat` serves and takes connections over in messages of this version.
    #[must_use]
    pub fn takes(&self, seat: usize, version: u8) -> bool {
        self.is_serving(seat)
            && self.area(seat)[TAKES_AT].load(Ordering::Relaxed) == u64::from(version)
    }

    /// One more than the highest seat that ever was alive.
    #[inline]
    #[must_use]
    pub fn high(&self) -> usize {
        (self.whole.words()[HIGH_AT].load(Ordering::Acquire) as usize).min(SEATS)
    }

    /// Connections that the worker on `seat` says it holds.
    #[inline]
    #[must_use]
    pub fn connections(&self, seat: usize) -> u64 {
        self.area(seat)[CONNECTIONS_AT].load(Ordering::Relaxed)
    }

    /// Since when the loop of the worker on `seat` stands in a handler, in µs of CLOCK_MONOTONIC, as it
    /// says: one that began after it last looked for events, and has not ended.
    #[must_use]
    pub fn held_up_since(&self, seat: usize) -> Option<u64> {
        let area = self.area(seat);
        let turned = area[HEARTBEAT_AT].load(Ordering::Relaxed);
        (0..ring(area)).find_map(|n| {
            let word = |at: usize| area[RECENT_AT + n * CELL_WORDS + at].load(Ordering::Relaxed);
            let started = word(CELL_STARTED);
            (word(CELL_ENDED) == IN_FLIGHT && started >= turned).then_some(started)
        })
    }

    /// How often the loop of the worker on `seat` turned, as it says.
    #[inline]
    #[must_use]
    pub fn turns(&self, seat: usize) -> u64 {
        self.area(seat)[TURNS_AT].load(Ordering::Relaxed)
    }

    /// The table of peers of the worker on `seat`, if it serves and keeps one. One that is gone, or
    /// drains, has left its table behind.
    fn peers(&self, seat: usize) -> Option<&[AtomicU64]> {
        let kept = self.is_serving(seat) && self.area(seat)[PEERS_AT].load(Ordering::Acquire) == 1;
        let at = TABLES_AT + seat * TABLE_WORDS;
        kept.then(|| &self.whole.words()[at..at + TABLE_WORDS])
    }

    /// The key of the hashes on the board.
    fn key(&self) -> [u64; 2] {
        [KEY_AT, KEY_AT + 1].map(|at| self.whole.words()[at].load(Ordering::Relaxed))
    }

    /// Everything that the worker on `seat` says of itself.
    #[must_use]
    pub fn view(&self, seat: usize) -> SeatView {
        let area = self.area(seat);
        let word = |at: usize| area[at].load(Ordering::Relaxed);
        let mut view = SeatView {
            pid: word(PID_AT),
            slot: word(SLOT_AT),
            generation: word(GENERATION_AT),
            state: match word(STATE_AT) {
                1 => State::Serving,
                2 => State::Draining,
                _ => State::Booting,
            },
            heartbeat_us: word(HEARTBEAT_AT),
            turns: word(TURNS_AT),
            connections: word(CONNECTIONS_AT),
            waiting: word(WAITING_AT),
            counters: std::array::from_fn(|n| word(COUNTERS_AT + n)),
            handler_times: (0..BUCKETS).map(|n| word(HANDLER_TIMES_AT + n)).collect(),
            queue_times: (0..BUCKETS).map(|n| word(QUEUE_TIMES_AT + n)).collect(),
            ..SeatView::default()
        };
        classify(&mut view.counters, (0..CODES).map(|n| word(CODES_AT + n)));
        for n in 0..ring(area) {
            match read_cell(&area[RECENT_AT + n * CELL_WORDS..][..CELL_WORDS]) {
                Some(cell) if cell.ended_us == 0 => view.in_flight.push(cell),
                Some(cell) => view.recent.push(cell),
                None => {}
            }
        }
        view.recent
            .sort_by_key(|cell| std::cmp::Reverse(cell.ended_us));
        view.recent.truncate(RECENT);
        for n in 0..STREAMS {
            view.in_flight.extend(
                read_cell(&area[STREAMS_AT + n * CELL_WORDS..][..CELL_WORDS])
                    .filter(|cell| cell.ended_us == 0)
                    .map(|cell| RequestView {
                        streaming: true,
                        ..cell
                    }),
            );
        }
        view
    }

    /// Becomes the worker on `seat`: clears its pages and gives the one writer of them. In the
    /// worker, once. The header is no longer writable through this board then.
    ///
    /// # Errors
    /// What mmap(2) answers; `InvalidInput` for a seat beyond [`SEATS`].
    pub fn take_seat(&mut self, seat: usize, slot: usize, generation: u64) -> io::Result<Page> {
        if seat >= SEATS {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        self.header = None;
        let map = || Map::new(self.fd.as_fd(), AREA_BYTES * (1 + seat), AREA_BYTES, true);
        Ok(Page::new(map()?, map()?, slot, generation))
    }

    /// What the worker on `seat` has said of its end, if it could.
    #[must_use]
    pub fn last_words(&self, seat: usize) -> Option<LastWords> {
        last::read(self.area(seat), last::LAST)
    }

    /// Where the worker on `seat` was when its master asked it, if it has answered.
    #[must_use]
    pub fn place(&self, seat: usize) -> Option<LastWords> {
        last::read(self.area(seat), last::ASKED)
    }

    /// Whether the worker on `seat` can be asked where it is: SIGUSR2 would end another.
    #[must_use]
    pub fn listens(&self, seat: usize) -> bool {
        last::listens(self.area(seat))
    }

    /// The pages of the worker on `seat` once more, for what it says in signal handlers. In the
    /// worker, once, after [`Board::take_seat`].
    ///
    /// # Errors
    /// What mmap(2) answers.
    pub fn own_area(&self, seat: usize) -> io::Result<Map> {
        Map::new(self.fd.as_fd(), AREA_BYTES * (1 + seat), AREA_BYTES, true)
    }

    fn area(&self, seat: usize) -> &[AtomicU64] {
        let seat = seat.min(SEATS - 1);
        &self.whole.words()[AREA_WORDS * (1 + seat)..][..AREA_WORDS]
    }
}

/// How many cells the ring of a worker has.
fn ring(area: &[AtomicU64]) -> usize {
    (area[RING_AT].load(Ordering::Acquire) as usize).min(RING_MOST)
}
