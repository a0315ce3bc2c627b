//! The scoreboard: one sealed memfd, whole pages per worker, one writer per page, atomics only.
//!
//! The master makes it before the first fork. A worker maps its own *seat* (a set of pages)
//! writable and the whole read-only; the master writes only the header area. There is no lock that
//! a crashing process could die holding. A reader believes nothing: it bounds every length and index
//! and treats text as bytes of a stranger.
//!
//! Layout, in 64-bit words: area 0 is the header (magic, version, seats, highest seat in use, one
//! *alive* word per seat); area `1 + seat` is a worker's: header, counters, a histogram of handler
//! times, the ring of the last requests, one cell per request on a stream thread.

use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicU64, Ordering, fence};

use nix::fcntl::{FcntlArg, SealFlag, fcntl};
use nix::sys::memfd::{MFdFlags, memfd_create};

use crate::peer::Peer;
use crate::sys::Map;

/// Seats on a board: live workers of all generations together.
pub const SEATS: usize = 512;
/// Requests that a worker's ring remembers.
pub const RECENT: usize = 16;
/// Requests on stream threads that have a cell; more are served, but not shown.
pub const STREAMS: usize = 64;
/// Bytes of a request line that a cell keeps.
pub const LINE_MAX: usize = (CELL_WORDS - CELL_LINE) * 8;

const VERSION: u64 = 1;
const MAGIC: u64 = u64::from_le_bytes(*b"ferricrn");
const AREA_WORDS: usize = 4096;
const AREA_BYTES: usize = AREA_WORDS * 8;
const CELL_WORDS: usize = 40;

// Header area.
const MAGIC_AT: usize = 0;
const VERSION_AT: usize = 1;
const SEATS_AT: usize = 2;
const HIGH_AT: usize = 3;
const ALIVE_AT: usize = 64;

// A worker's area.
const PID_AT: usize = 0;
const SLOT_AT: usize = 1;
const GENERATION_AT: usize = 2;
const STATE_AT: usize = 3;
const HEARTBEAT_AT: usize = 4;
const TURNS_AT: usize = 5;
const CONNECTIONS_AT: usize = 6;
const COUNTERS_AT: usize = 16;
const HISTOGRAM_AT: usize = 64;
const RECENT_AT: usize = 512;
const STREAMS_AT: usize = RECENT_AT + RECENT * CELL_WORDS;

// A cell.
const CELL_SEQUENCE: usize = 0;
const CELL_STATE: usize = 1;
const CELL_STARTED: usize = 2;
const CELL_ENDED: usize = 3;
const CELL_STATUS: usize = 4;
const CELL_SHAPE: usize = 5;
const CELL_PEER: usize = 6;
const CELL_LINE: usize = 8;

const _: () = assert!(STREAMS_AT + STREAMS * CELL_WORDS <= AREA_WORDS);
const _: () = assert!(ALIVE_AT + SEATS <= AREA_WORDS);

/// What a worker is doing as a whole.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u64)]
pub enum State {
    /// Forked; its application is not ready.
    #[default]
    Booting = 0,
    /// It accepts and serves.
    Serving = 1,
    /// It accepts no more and finishes what it has.
    Draining = 2,
}

/// Counters of one worker, since its start. They only grow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub enum Counter {
    /// Connections accepted.
    Accepted = 0,
    /// Requests answered, by a handler or by the loop.
    Requests,
    /// Responses 1xx (final ones: 101).
    Informational,
    /// Responses 2xx.
    Success,
    /// Responses 3xx.
    Redirection,
    /// Responses 4xx.
    ClientError,
    /// Responses 5xx.
    ServerError,
    /// Requests that the loop refused before any handler saw them.
    Refused,
    /// Handlers that returned an error.
    Errors,
    /// Handlers that panicked.
    Panics,
    /// Responses cut after their head was sent.
    Aborted,
    /// Connections ended because a deadline passed.
    TimedOut,
    /// Requests that went to a stream thread.
    Streams,
    /// Bytes read from clients.
    BytesIn,
    /// Bytes written to clients.
    BytesOut,
    /// Log lines dropped because their reader was too slow.
    LogDropped,
}

/// How many counters there are.
pub const COUNTERS: usize = Counter::LogDropped as usize + 1;
/// Buckets of the histogram: bucket `n` counts handler times below 2^n µs and not below 2^(n-1).
pub const BUCKETS: usize = 40;

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
    /// See [`Counter`].
    pub counters: [u64; COUNTERS],
    /// Handler times, see [`BUCKETS`].
    pub histogram: Vec<u64>,
    /// Requests in a handler or on a stream thread.
    pub in_flight: Vec<RequestView>,
    /// The last requests, the newest first.
    pub recent: Vec<RequestView>,
}

/// One request as the board shows it.
#[derive(Clone, Debug)]
pub struct RequestView {
    /// Method and target as received, cut at [`LINE_MAX`] bytes. Escape before logging.
    pub line: Vec<u8>,
    /// Who asked.
    pub peer: Peer,
    /// When its handler started, in µs of CLOCK_MONOTONIC.
    pub started_us: u64,
    /// When it ended; 0 while in flight.
    pub ended_us: u64,
    /// The status sent; 0 while in flight.
    pub status: u16,
    /// Whether it is on a stream thread, where `timeout` does not count.
    pub streaming: bool,
}

impl Board {
    /// Makes the board: in the master, before the first fork.
    ///
    /// # Errors
    /// What memfd_create(2), ftruncate(2), fcntl(2) and mmap(2) answer.
    pub fn create() -> io::Result<Board> {
        let flags = MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING;
        let fd = memfd_create(c"ferricorn-board", flags)?;
        nix::unistd::ftruncate(&fd, (AREA_BYTES * (1 + SEATS)) as i64)?;
        let seals = SealFlag::F_SEAL_SHRINK | SealFlag::F_SEAL_GROW | SealFlag::F_SEAL_SEAL;
        fcntl(&fd, FcntlArg::F_ADD_SEALS(seals))?;
        let whole = Map::new(fd.as_fd(), 0, AREA_BYTES * (1 + SEATS), false)?;
        let header = Map::new(fd.as_fd(), 0, AREA_BYTES, true)?;
        let words = header.words();
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
        if len != (AREA_BYTES * (1 + SEATS)) as i64 {
            return Err(foreign());
        }
        let whole = Map::new(fd.as_fd(), 0, AREA_BYTES * (1 + SEATS), false)?;
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

    /// Whether the master says that the worker on `seat` serves.
    #[inline]
    #[must_use]
    pub fn is_alive(&self, seat: usize) -> bool {
        seat < SEATS && self.whole.words()[ALIVE_AT + seat].load(Ordering::Acquire) == 1
    }

    /// Whether the worker on `seat` accepts, as the master and it itself say.
    #[inline]
    #[must_use]
    pub fn is_serving(&self, seat: usize) -> bool {
        self.is_alive(seat)
            && self.area(seat)[STATE_AT].load(Ordering::Relaxed) == State::Serving as u64
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

    /// How often the loop of the worker on `seat` turned, as it says.
    #[inline]
    #[must_use]
    pub fn turns(&self, seat: usize) -> u64 {
        self.area(seat)[TURNS_AT].load(Ordering::Relaxed)
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
            counters: std::array::from_fn(|n| word(COUNTERS_AT + n)),
            histogram: (0..BUCKETS).map(|n| word(HISTOGRAM_AT + n)).collect(),
            ..SeatView::default()
        };
        for n in 0..RECENT {
            match read_cell(&area[RECENT_AT + n * CELL_WORDS..][..CELL_WORDS]) {
                Some(cell) if cell.ended_us == 0 => view.in_flight.push(cell),
                Some(cell) => view.recent.push(cell),
                None => {}
            }
        }
        view.recent
            .sort_by_key(|cell| std::cmp::Reverse(cell.ended_us));
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
        let map = Map::new(self.fd.as_fd(), AREA_BYTES * (1 + seat), AREA_BYTES, true)?;
        for word in map.words() {
            word.store(0, Ordering::Relaxed);
        }
        let page = Page { map, next: 0 };
        page.store(PID_AT, u64::from(std::process::id()));
        page.store(SLOT_AT, slot as u64);
        page.store(GENERATION_AT, generation);
        Ok(page)
    }

    fn area(&self, seat: usize) -> &[AtomicU64] {
        let seat = seat.min(SEATS - 1);
        &self.whole.words()[AREA_WORDS * (1 + seat)..][..AREA_WORDS]
    }
}

/// A worker's own pages: the one writer.
#[derive(Debug)]
pub struct Page {
    map: Map,
    next: usize,
}

/// The cell of one request in flight.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cell(usize);

impl Page {
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

    /// Adds to a counter.
    #[inline]
    pub fn add(&self, counter: Counter, n: u64) {
        self.add_at(COUNTERS_AT + counter as usize, n);
    }

    /// Counts one final response by its class.
    #[inline]
    pub fn count_status(&self, status: u16) {
        let class = (usize::from(status) / 100).clamp(1, 5) - 1;
        self.add_at(COUNTERS_AT + Counter::Informational as usize + class, 1);
        self.add(Counter::Requests, 1);
    }

    /// A counter of this worker.
    #[must_use]
    pub fn counter(&self, counter: Counter) -> u64 {
        self.map.words()[COUNTERS_AT + counter as usize].load(Ordering::Relaxed)
    }

    /// A handler starts on a request, `METHOD target`, at `now_us`.
    #[inline]
    pub fn begin(&mut self, line: &str, peer: &Peer, now_us: u64) -> Cell {
        let at = RECENT_AT + self.next * CELL_WORDS;
        self.next = (self.next + 1) % RECENT;
        let cell = &self.map.words()[at..at + CELL_WORDS];
        let sequence = cell[CELL_SEQUENCE].load(Ordering::Relaxed);
        cell[CELL_SEQUENCE].store(sequence + 1, Ordering::Relaxed);
        fence(Ordering::Release);
        let line = write_line(&cell[CELL_LINE..], line.as_bytes());
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
        let shape = line as u64 | kind << 32 | u64::from(port) << 48;
        cell[CELL_SHAPE].store(shape, Ordering::Relaxed);
        cell[CELL_PEER].store(address as u64, Ordering::Relaxed);
        cell[CELL_PEER + 1].store((address >> 64) as u64, Ordering::Relaxed);
        cell[CELL_STARTED].store(now_us, Ordering::Relaxed);
        cell[CELL_ENDED].store(0, Ordering::Relaxed);
        cell[CELL_STATUS].store(0, Ordering::Relaxed);
        cell[CELL_STATE].store(1, Ordering::Relaxed);
        cell[CELL_SEQUENCE].store(sequence + 2, Ordering::Release);
        Cell(at)
    }

    /// The request of `cell` is no handler's after all, for now.
    #[inline]
    pub fn cancel(&self, cell: Cell) {
        self.map.words()[cell.0 + CELL_STATE].store(0, Ordering::Relaxed);
    }

    /// The request of `cell` is answered with `status`, at `now_us`.
    #[inline]
    pub fn end(&self, cell: Cell, status: u16, now_us: u64) {
        let words = &self.map.words()[cell.0..cell.0 + CELL_WORDS];
        words[CELL_STATUS].store(u64::from(status), Ordering::Relaxed);
        words[CELL_ENDED].store(now_us.max(1), Ordering::Release);
        let took = now_us.saturating_sub(words[CELL_STARTED].load(Ordering::Relaxed));
        let bucket = ((u64::BITS - took.leading_zeros()) as usize).min(BUCKETS - 1);
        self.add_at(HISTOGRAM_AT + bucket, 1);
    }

    /// The request of `cell` goes on on a stream thread: it leaves the ring for a cell of its own,
    /// if one of [`STREAMS`] is free.
    pub fn stream(&self, cell: Cell) -> Option<Cell> {
        let words = self.map.words();
        let free = (0..STREAMS)
            .map(|n| STREAMS_AT + n * CELL_WORDS)
            .find(|at| {
                let cell = &words[*at..];
                cell[CELL_STATE].load(Ordering::Relaxed) == 0
                    || cell[CELL_ENDED].load(Ordering::Relaxed) != 0
            })?;
        let sequence = words[free + CELL_SEQUENCE].load(Ordering::Relaxed);
        words[free + CELL_SEQUENCE].store(sequence + 1, Ordering::Relaxed);
        fence(Ordering::Release);
        for n in CELL_STATE..CELL_WORDS {
            words[free + n].store(words[cell.0 + n].load(Ordering::Relaxed), Ordering::Relaxed);
        }
        words[free + CELL_SEQUENCE].store(sequence + 2, Ordering::Release);
        Some(Cell(free))
    }

    #[inline]
    fn store(&self, at: usize, value: u64) {
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

/// Packs text into words; returns how many bytes of it.
fn write_line(words: &[AtomicU64], line: &[u8]) -> usize {
    let line = &line[..line.len().min(LINE_MAX)];
    let mut chunks = line.chunks_exact(8);
    for (word, chunk) in words.iter().zip(chunks.by_ref()) {
        let chunk = chunk.try_into().unwrap_or([0; 8]);
        word.store(u64::from_le_bytes(chunk), Ordering::Relaxed);
    }
    let rest = chunks.remainder();
    if let (Some(word), false) = (words.get(line.len() / 8), rest.is_empty()) {
        let bytes = rest.iter().rev();
        let last = bytes.fold(0, |last, byte| last << 8 | u64::from(*byte));
        word.store(last, Ordering::Relaxed);
    }
    line.len()
}

/// Reads a cell, or nothing when it is empty or was being rewritten each time.
fn read_cell(cell: &[AtomicU64]) -> Option<RequestView> {
    for _ in 0..8 {
        let before = cell[CELL_SEQUENCE].load(Ordering::Acquire);
        if before % 2 == 1 {
            continue;
        }
        let words: Vec<u64> = cell
            .iter()
            .map(|word| word.load(Ordering::Relaxed))
            .collect();
        fence(Ordering::Acquire);
        if cell[CELL_SEQUENCE].load(Ordering::Relaxed) != before {
            continue;
        }
        if words[CELL_STATE] != 1 {
            return None;
        }
        let shape = words[CELL_SHAPE];
        let len = (shape as u32 as usize).min(LINE_MAX);
        let mut line: Vec<u8> = words[CELL_LINE..]
            .iter()
            .flat_map(|word| word.to_le_bytes())
            .collect();
        line.truncate(len);
        let port = (shape >> 48) as u16;
        let peer = match (shape >> 32) as u16 {
            4 => Peer::Tcp(SocketAddr::new(
                (words[CELL_PEER] as u32).to_be_bytes().into(),
                port,
            )),
            6 => {
                let ip = u128::from(words[CELL_PEER + 1]) << 64 | u128::from(words[CELL_PEER]);
                Peer::Tcp(SocketAddr::new(Ipv6Addr::from(ip).into(), port))
            }
            _ => Peer::Unix,
        };
        return Some(RequestView {
            line,
            peer,
            started_us: words[CELL_STARTED],
            ended_us: words[CELL_ENDED],
            status: words[CELL_STATUS] as u16,
            streaming: false,
        });
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_in_flight_until_it_ends_and_then_recent() {
        let mut board = Board::create().unwrap();
        let peer = Peer::Tcp("[2001:db8::1]:443".parse().unwrap());
        let mut page = board.take_seat(3, 1, 7).unwrap();
        let cell = page.begin("GET /a?b=c", &peer, 1_000);
        let view = board.view(3);
        assert_eq!((view.slot, view.generation), (1, 7));
        assert_eq!(view.in_flight[0].line, b"GET /a?b=c");
        assert_eq!(view.in_flight[0].peer, peer);
        page.end(cell, 200, 3_000);
        let view = board.view(3);
        assert!(view.in_flight.is_empty());
        assert_eq!(
            (view.recent[0].status, view.recent[0].ended_us),
            (200, 3_000)
        );
        assert_eq!(view.histogram[11], 1, "2000 µs lie below 2^11");
    }

    #[test]
    fn a_long_line_is_cut_and_a_short_one_after_it_is_whole() {
        let mut board = Board::create().unwrap();
        let mut page = board.take_seat(0, 0, 0).unwrap();
        let peer = Peer::Tcp("127.0.0.1:1".parse().unwrap());
        for _ in 0..RECENT {
            let cell = page.begin(&format!("GET {}", "x".repeat(5000)), &peer, 1);
            page.end(cell, 200, 1);
        }
        page.begin("PUT /y", &peer, 5);
        let view = board.view(0);
        assert_eq!(view.in_flight[0].line, b"PUT /y");
        assert!(view.recent.iter().all(|cell| cell.line.len() == LINE_MAX));
    }

    #[test]
    fn a_streaming_request_keeps_its_cell_while_the_ring_turns() {
        let mut board = Board::create().unwrap();
        let mut page = board.take_seat(0, 0, 0).unwrap();
        let cell = page.begin("GET /events", &Peer::Unix, 1);
        let stream = page.stream(cell).unwrap();
        page.end(cell, 200, 2);
        for _ in 0..2 * RECENT {
            let cell = page.begin("GET /", &Peer::Unix, 3);
            page.end(cell, 200, 4);
        }
        let view = board.view(0);
        assert_eq!(view.in_flight.len(), 1);
        assert!(view.in_flight[0].streaming);
        assert_eq!(view.in_flight[0].line, b"GET /events");
        page.end(stream, 200, 9);
        assert!(board.view(0).in_flight.is_empty());
    }

    #[test]
    fn the_board_can_neither_shrink_nor_grow() {
        let board = Board::create().unwrap();
        assert!(nix::unistd::ftruncate(board.fd(), 4096).is_err());
        assert!(nix::unistd::ftruncate(board.fd(), 1 << 30).is_err());
    }

    #[test]
    fn a_board_can_be_attached_to_and_nothing_else_can() {
        let board = Board::create().unwrap();
        board.set_alive(2, true);
        let mut other = Board::attach(board.fd().try_clone_to_owned().unwrap()).unwrap();
        assert!(other.is_alive(2));
        let page = other.take_seat(2, 0, 0).unwrap();
        page.set_connections(7);
        assert_eq!(board.connections(2), 7);
        other.set_alive(2, false);
        assert!(board.is_alive(2), "only the master says so");
        let foreign = std::fs::File::open("/dev/null").unwrap();
        let error = Board::attach(foreign.into()).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
    }

    #[test]
    fn alive_seats_are_the_masters_to_say() {
        let mut board = Board::create().unwrap();
        board.set_alive(4, true);
        assert!(board.is_alive(4) && board.high() == 5);
        let _page = board.take_seat(4, 0, 0).unwrap();
        board.set_alive(4, false);
        assert!(board.is_alive(4), "a worker cannot say it");
        assert!(!board.is_alive(SEATS + 9));
    }

    #[test]
    fn garbage_in_a_cell_is_bounded() {
        let mut board = Board::create().unwrap();
        let page = board.take_seat(0, 0, 0).unwrap();
        for n in 0..AREA_WORDS {
            page.store(n, u64::MAX - 1);
        }
        page.store(RECENT_AT + CELL_STATE, 1);
        let view = board.view(0);
        assert!(view.recent.iter().all(|cell| cell.line.len() <= LINE_MAX));
    }
}
