//! Where things lie on the scoreboard, in 64-bit words. Constants only.

use super::counters::{BUCKETS, CODES, COUNTERS};

/// Seats on a board: live workers of all generations together.
pub const SEATS: usize = 512;
/// Those of workers; the others are for who answers in their place when there is none, and are never
/// said to be alive.
pub const WORKER_SEATS: usize = SEATS - 4;
/// Requests that a worker's ring remembers, beside those in its handlers.
pub const RECENT: usize = 16;
/// Handler threads that a worker may have: each has a request in flight.
pub const THREADS: usize = 128;
/// Requests on stream threads that have a cell; more are served, but not shown.
pub const STREAMS: usize = 64;
/// Bytes of a request line that a cell keeps.
pub const LINE_MAX: usize = (CELL_WORDS - CELL_LINE) * 8;
/// Bytes of a request's name that a cell keeps.
pub const ID_MAX: usize = (CELL_LINE - CELL_ID) * 8;

/// Peer addresses that the table of a worker holds.
pub const PEERS: usize = 2048;

/// Fingerprints of requests that all workers refuse.
pub const POISONS: usize = 63;

pub(super) const VERSION: u64 = 5;
pub(super) const MAGIC: u64 = u64::from_le_bytes(*b"ferricrn");
pub(super) const AREA_WORDS: usize = 16384;
pub(super) const AREA_BYTES: usize = AREA_WORDS * 8;
pub(super) const CELL_WORDS: usize = 50;
/// Entries of a table that one address may be in.
pub(super) const WAYS: usize = 16;
pub(super) const ENTRY_WORDS: usize = 4;
pub(super) const TABLE_WORDS: usize = PEERS * ENTRY_WORDS;
/// The tables of peers, by seat, behind the areas.
pub(super) const TABLES_AT: usize = AREA_WORDS * (1 + SEATS);
/// Bytes of a board; what is not used takes no memory.
pub const BYTES: usize = (TABLES_AT + SEATS * TABLE_WORDS) * 8;

// Header area.
pub(super) const MAGIC_AT: usize = 0;
pub(super) const VERSION_AT: usize = 1;
pub(super) const SEATS_AT: usize = 2;
pub(super) const HIGH_AT: usize = 3;
pub(super) const KEY_AT: usize = 4;
pub(super) const STOPPING_AT: usize = 6;
/// What is there when it stops now; before, while it only was told to, something else that is not 0.
pub(super) const ENDING: u64 = 2;
pub(super) const ALIVE_AT: usize = 64;
/// How many places of the table of poison are in use, then the places.
pub(super) const POISON_AT: usize = 640;
/// How many workers' numbers were added to those of the retired.
pub(super) const FOLDS_AT: usize = 7;
/// By seat: which occupant's numbers are among them, and since which fold.
pub(super) const FOLDED_AT: usize = 704;
pub(super) const FOLDED_SINCE_AT: usize = FOLDED_AT + SEATS;
/// Two rows with the numbers of all who are gone; see `totals`.
pub(super) const RETIRED_AT: usize = FOLDED_SINCE_AT + SEATS;
/// How many names the master counts under, then each with its count.
pub(super) const TALLY_AT: usize = RETIRED_AT + 2 * NUMBERS;
pub(super) const TALLIES: usize = 64;
pub(super) const TALLY_NAME_WORDS: usize = 4;
/// When the board was made, in ms of Unix time.
pub(super) const STARTED_AT: usize = 8;

// A worker's area.
pub(super) const PID_AT: usize = 0;
pub(super) const SLOT_AT: usize = 1;
pub(super) const GENERATION_AT: usize = 2;
pub(super) const STATE_AT: usize = 3;
pub(super) const HEARTBEAT_AT: usize = 4;
pub(super) const TURNS_AT: usize = 5;
pub(super) const CONNECTIONS_AT: usize = 6;
pub(super) const PEERS_AT: usize = 7;
pub(super) const TAKES_AT: usize = 8;
/// When the occupant took the seat, in ns of CLOCK_MONOTONIC: never twice the same.
pub(super) const BORN_AT: usize = 9;
/// 1 while the occupant serves, but takes no connection.
pub(super) const REFRAINS_AT: usize = 10;
/// How many cells the ring has.
pub(super) const RING_AT: usize = 11;
pub(super) const WAITING_AT: usize = 12;
/// The numbers that are added up over all workers: counters and histograms.
pub(super) const NUMBERS_AT: usize = 16;
pub(super) const NUMBERS: usize = 676;
pub(super) const COUNTERS_AT: usize = NUMBERS_AT;
pub(super) const HANDLER_TIMES_AT: usize = 64;
pub(super) const QUEUE_TIMES_AT: usize = 128;
/// Responses by status code, from 100 on.
pub(super) const CODES_AT: usize = 192;
pub(super) const STREAMS_AT: usize = 1024;
/// The ring, last: only where there are handler threads it has more than [`RECENT`] cells, and what is not
/// used takes no memory.
pub(super) const RECENT_AT: usize = STREAMS_AT + STREAMS * CELL_WORDS;
pub(super) const RING_MOST: usize = RECENT + THREADS;

// A cell.
pub(super) const CELL_SEQUENCE: usize = 0;
/// Which thread has it (gettid(2)), where its class says so; 0: the first.
pub(super) const CELL_THREAD: usize = 1;
pub(super) const CELL_STARTED: usize = 2;
/// [`FREE`], [`IN_FLIGHT`], or when it ended, in µs and [`ENDED`] more.
pub(super) const CELL_ENDED: usize = 3;
pub(super) const CELL_STATUS: usize = 4;
pub(super) const CELL_SHAPE: usize = 5;
pub(super) const CELL_PEER: usize = 6;
/// When the master may take its handler for hung, in µs; 0 where the worker's `timeout` says so.
pub(super) const CELL_DEADLINE: usize = 8;
/// Its number, or the text of its name.
pub(super) const CELL_ID: usize = 9;
pub(super) const CELL_LINE: usize = 18;

/// Nothing is in the cell; a request that goes on; one that ended at 0.
pub(super) const FREE: u64 = 0;
pub(super) const IN_FLIGHT: u64 = 1;
pub(super) const ENDED: u64 = 2;

// An entry of a table of peers.
pub(super) const ENTRY_KEY: usize = 0;
pub(super) const ENTRY_CONNECTIONS: usize = 1;
pub(super) const ENTRY_CONNECTION_RATE: usize = 2;
pub(super) const ENTRY_REQUEST_RATE: usize = 3;

const _: () = assert!(RECENT_AT + RING_MOST * CELL_WORDS <= super::last::AT);
const _: () = assert!(ALIVE_AT + SEATS <= POISON_AT);
const _: () = assert!(POISON_AT + 1 + POISONS <= AREA_WORDS);
const _: () = assert!(POISON_AT + 1 + POISONS <= FOLDED_AT);
const _: () = assert!(TALLY_AT + 1 + TALLIES * (TALLY_NAME_WORDS + 1) <= AREA_WORDS);
const _: () = assert!(COUNTERS_AT + COUNTERS <= HANDLER_TIMES_AT);
const _: () = assert!(HANDLER_TIMES_AT + BUCKETS <= QUEUE_TIMES_AT);
const _: () = assert!(QUEUE_TIMES_AT + BUCKETS <= CODES_AT);
const _: () = assert!(CODES_AT + CODES <= NUMBERS_AT + NUMBERS);
const _: () = assert!(NUMBERS_AT + NUMBERS <= STREAMS_AT);
