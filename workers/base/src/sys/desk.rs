//! The desks of a worker's threads: which client waits for whom, and whose time is over.
//!
//! Signal handlers read and write this (`breath`), so it is made of atomics: no lock, no allocation, no panic.
//! A thread writes to its own desk, and whoever is asked by the master says on the others' what they are
//! to do.

use std::cell::Cell as Own;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::sync::atomic::{
    AtomicBool, AtomicI32, AtomicU8, AtomicU64, Ordering::Relaxed, Ordering::SeqCst, compiler_fence,
};

use crate::board::{self, THREADS};

/// Threads that can have a request without an answer; what is on others is not answered.
const DESKS: usize = 1024;
/// The first ones are for those that run handlers: streams never take them all.
const RESERVED: usize = THREADS + 2;
/// A client that is to have no content, as it asked with HEAD.
pub(super) const HEAD: u64 = 1 << 32;

/// Where a thread says which client waits for it.
pub(super) struct Desk {
    /// Whose it is (gettid(2)); 0 nobody's.
    pub(super) thread: AtomicI32,
    /// The descriptor and one, or 0; [`HEAD`].
    pub(super) client: AtomicU64,
    /// It runs handlers, whose time is limited.
    limited: AtomicBool,
    /// What it is told by the next SIGUSR2 of this process; see [`Told`].
    told: AtomicU8,
}

/// What a thread is told by another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Told {
    /// Nothing: the process ends.
    Nothing,
    /// Its handler's time is over.
    Late,
    /// So it is, and it is to say where it is.
    Speak,
}

static ALL: [Desk; DESKS] = [const {
    Desk {
        thread: AtomicI32::new(0),
        client: AtomicU64::new(0),
        limited: AtomicBool::new(false),
        told: AtomicU8::new(0),
    }
}; DESKS];

thread_local! {
    static DESK: Own<Option<&'static Desk>> = const { Own::new(None) };
}

/// Says that the client at `fd` waits for this thread and has seen nothing of its answer, nor does
/// anything wait to be written to it: it gets one if the process dies. `head` tells that it asked
/// with HEAD. Only for plain HTTP/1. Two stores at most, no system call.
#[inline]
pub fn expose(fd: BorrowedFd<'_>, head: bool) {
    if let Some(desk) = DESK.get() {
        let client = fd.as_raw_fd() as u64 + 1;
        desk.client
            .store(client | if head { HEAD } else { 0 }, Relaxed);
        compiler_fence(SeqCst);
    }
}

/// Says that no client waits for this thread, or that some of its answer may be out. To be called
/// before anything else is written, and before the descriptor is closed.
#[inline]
pub fn cover() {
    if let Some(desk) = DESK.get() {
        compiler_fence(SeqCst);
        desk.client.store(0, Relaxed);
        compiler_fence(SeqCst);
    }
}

/// Gives the thread `me` a desk, if one is free.
pub(super) fn sit(me: i32, limited: bool) {
    let mine = |desk: &&Desk| {
        let free = desk.thread.compare_exchange(0, me, SeqCst, SeqCst);
        free.is_ok()
    };
    let from = if limited { 0 } else { RESERVED };
    if let Some(desk) = ALL[from..].iter().find(mine) {
        desk.limited.store(limited, SeqCst);
        desk.told.store(Told::Nothing as u8, SeqCst);
        DESK.set(Some(desk));
    }
}

/// This thread leaves its desk.
pub(super) fn stand_up() {
    if let Some(desk) = DESK.take() {
        desk.client.store(0, SeqCst);
        desk.thread.store(0, SeqCst);
    }
}

/// This thread's.
pub(super) fn own() -> Option<&'static Desk> {
    DESK.get()
}

/// Those that somebody has.
pub(super) fn all() -> impl Iterator<Item = &'static Desk> {
    ALL.iter().filter(|desk| desk.thread.load(SeqCst) != 0)
}

impl Desk {
    /// What it was told, once.
    pub(super) fn hear(&self) -> Told {
        match self.told.swap(Told::Nothing as u8, SeqCst) {
            2 => Told::Speak,
            1 => Told::Late,
            _ => Told::Nothing,
        }
    }

    /// Whether it was told something that it has not heard yet.
    pub(super) fn is_told(&self) -> bool {
        self.told.load(SeqCst) != Told::Nothing as u8
    }

    /// When the time of its handler is over and since when it runs, in µs, if it has a request in one.
    fn due(&self, area: &[AtomicU64], usual_us: u64) -> Option<(u64, u64)> {
        if !self.limited.load(SeqCst) {
            return None;
        }
        let named = board::due(area, self.thread.load(SeqCst), usual_us);
        // Where threads are not named there is no other request in a handler, as the class has one at a time.
        named.or_else(|| (self.client.load(SeqCst) != 0).then_some((0, 0)))
    }
}

/// Tells those whose handler's time is over at `now_us`, where `usual_us` is what a handler has; where there is
/// none although the master thinks so, the one that has taken longest. One of them is to speak.
pub(super) fn tell_late(area: &[AtomicU64], usual_us: u64, now_us: u64) {
    let mut first: Option<(&Desk, u64)> = None;
    let mut oldest: Option<(&Desk, u64)> = None;
    for desk in all() {
        let Some((due, since)) = desk.due(area, usual_us) else {
            continue;
        };
        if due <= now_us {
            desk.told.store(Told::Late as u8, SeqCst);
            if first.is_none_or(|(_, other)| due < other) {
                first = Some((desk, due));
            }
        }
        if oldest.is_none_or(|(_, other)| since < other) {
            oldest = Some((desk, since));
        }
    }
    if let Some((desk, _)) = first.or(oldest) {
        desk.told.store(Told::Speak as u8, SeqCst);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test ends where something is wrong")]

    use std::sync::Barrier;
    use std::thread;

    use super::*;
    use crate::board::{Board, Cell};
    use crate::{Peer, RequestId};

    /// What threads hear of which each has a request since this second, and a timeout of ten seconds.
    fn heard(starts: &[Option<u64>], now: u64) -> Vec<Told> {
        const SECOND: u64 = 1_000_000;
        let mut board = Board::create().unwrap();
        let mut page = board.take_seat(0, 0, 0).unwrap();
        page.set_threads(starts.len().max(2));
        let map = board.own_area(0).unwrap();
        let mut begin =
            |start| page.begin(b"GET /", &Peer::Unix, RequestId::Made(1), start * SECOND);
        let cells: Vec<Option<Cell>> = starts.iter().map(|start| start.map(&mut begin)).collect();
        let (sat, told) = (
            Barrier::new(starts.len() + 1),
            Barrier::new(starts.len() + 1),
        );
        thread::scope(|scope| {
            let threads: Vec<_> = (1..)
                .zip(cells)
                .map(|(tid, cell)| {
                    let (page, sat, told) = (&page, &sat, &told);
                    if let Some(cell) = cell {
                        page.name_thread(cell, tid);
                    }
                    scope.spawn(move || {
                        sit(tid, true);
                        sat.wait();
                        told.wait();
                        let heard = own().unwrap().hear();
                        assert!(!own().unwrap().is_told());
                        stand_up();
                        heard
                    })
                })
                .collect();
            sat.wait();
            let tids: Vec<u32> = board.view(0).in_flight.iter().map(|r| r.tid).collect();
            let named = (1..).zip(starts).filter(|(_, start)| start.is_some());
            assert!(tids.iter().copied().eq(named.map(|(tid, _)| tid)));
            tell_late(map.words(), 10 * SECOND, now * SECOND);
            told.wait();
            threads.into_iter().map(|t| t.join().unwrap()).collect()
        })
    }

    #[test]
    fn those_whose_time_is_over_are_told_and_the_one_that_is_latest_speaks() {
        use Told::{Late, Nothing, Speak};
        for (starts, now, expected) in [
            (
                &[Some(5), Some(1), Some(91)][..],
                100,
                [Late, Speak, Nothing],
            ),
            (&[Some(95), None, Some(89)], 100, [Nothing, Nothing, Speak]),
            // The master thinks otherwise, or the worker drains for too long.
            (&[Some(97), Some(95), None], 100, [Nothing, Speak, Nothing]),
            (&[None, None, None], 100, [Nothing, Nothing, Nothing]),
        ] {
            assert_eq!(heard(starts, now), expected, "{starts:?}");
        }
    }
}
