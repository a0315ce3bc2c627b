//! What a worker says of its end, and where it hangs: two records on its pages.
//!
//! They are written in signal handlers (`sys::breath`), each once in a worker's life, and read by the
//! master, which believes nothing of it: numbers are looked up or shown, never followed.

use std::sync::atomic::{AtomicU64, Ordering};

use super::layout::AREA_WORDS;

/// Where the records begin in a worker's area.
pub(crate) const AT: usize = AREA_WORDS - WORDS;
/// How many words they have together.
pub(crate) const WORDS: usize = 2 * RECORD + 16;
/// Words of one.
pub(crate) const RECORD: usize = 16 + FRAMES;
/// Calls that one has room for, the innermost ones.
const FRAMES: usize = 128;

/// The record of an end, and of where the worker was when its master asked.
pub(crate) const LAST: usize = 0;
pub(crate) const ASKED: usize = RECORD;
/// Whether the worker has the handlers to be asked, and where its program lies in memory.
pub(crate) const LISTENS: usize = 2 * RECORD;
pub(crate) const BASE: usize = 2 * RECORD + 1;

// A record.
pub(crate) const STATE: usize = 0;
pub(crate) const SIGNAL: usize = 1;
pub(crate) const CODE: usize = 2;
pub(crate) const ADDRESS: usize = 3;
pub(crate) const SENDER: usize = 4;
pub(crate) const OVERFLOW: usize = 5;
pub(crate) const NAME: usize = 6;
pub(crate) const COUNT: usize = 8;
pub(crate) const THREAD: usize = 9;
pub(crate) const FRAMES_AT: usize = 16;

pub(crate) const EMPTY: u64 = 0;
pub(crate) const WRITTEN: u64 = 1;
/// In place of a signal: exit(3) was called.
pub(crate) const EXIT: u64 = 0;

/// What a worker has said of its end, or of where it hangs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LastWords {
    /// The signal that came; `None`: code of the application called exit(3).
    pub signal: Option<i32>,
    /// What it was about (`si_code`, sigaction(2)).
    pub code: i32,
    /// The address that could not be accessed or executed, where the signal is about one.
    pub address: u64,
    /// The process that has sent the signal; 0 where none has.
    pub sender: u64,
    /// The thread has outgrown its stack.
    pub overflow: bool,
    /// The name of the thread, printable.
    pub thread: String,
    /// Its number (gettid(2)), as the worker says; 0 if it does not.
    pub tid: u32,
    /// Where the calls are that led there, the innermost first.
    pub frames: Vec<u64>,
    /// Where the program lies in the worker's memory; 0 if that is not known.
    pub base: u64,
}

/// The record at `at`, if there is one.
pub(super) fn read(area: &[AtomicU64], at: usize) -> Option<LastWords> {
    let records = &area[AT..];
    let record = &records[at..at + RECORD];
    let word = |at: usize| record[at].load(Ordering::Acquire);
    if word(STATE) != WRITTEN {
        return None;
    }
    let count = usize::try_from(word(COUNT)).unwrap_or(FRAMES).min(FRAMES);
    let name = [word(NAME), word(NAME + 1)].map(u64::to_le_bytes);
    let name = name.concat().into_iter().take_while(|byte| *byte != 0);
    let signal = word(SIGNAL);
    Some(LastWords {
        signal: (signal != EXIT).then_some(signal as i32),
        code: word(CODE) as u32 as i32,
        address: word(ADDRESS),
        sender: word(SENDER),
        overflow: word(OVERFLOW) == 1,
        thread: name
            .filter(|b| matches!(b, b' '..=b'~'))
            .map(char::from)
            .collect(),
        tid: word(THREAD) as u32,
        frames: (0..count).map(|n| word(FRAMES_AT + n)).collect(),
        base: records[BASE].load(Ordering::Relaxed),
    })
}

/// Whether the worker can be asked.
pub(super) fn listens(area: &[AtomicU64]) -> bool {
    area[AT + LISTENS].load(Ordering::Acquire) == 1
}
