//! What each peer address takes of the server: one table per worker, one writer, read by the others.
//!
//! A limit per address has to hold for the server, and no worker can ask another. So each publishes
//! what it has given, and each adds up what all that serve have given: exact but for the races of
//! workers that give at the same moment, at most one each. A table knows an address by a hash with a
//! random key, so that nobody can choose addresses that collide; an IPv6 client is its /64, which is
//! what it can choose from. The master reads nothing of this. In workers only.

use std::hash::{DefaultHasher, Hasher};
use std::io;
use std::net::IpAddr;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::Board;
use super::layout::*;
use super::page::Page;
use crate::sys::Map;

/// What the address of one client has been given, as this worker counts and all publish.
#[derive(Debug)]
pub struct Peers {
    board: Arc<Board>,
    seat: usize,
    own: Map,
}

/// A rate, in the unit of [`Peers::rate`].
const ONE: u64 = SECOND_US;
const SECOND_US: u64 = 1_000_000;

/// What is counted per second, and the word of an entry that counts it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub enum Rate {
    /// Connections that were let in.
    Connections = ENTRY_CONNECTION_RATE,
    /// Requests that were let in.
    Requests = ENTRY_REQUEST_RATE,
}

impl Peers {
    /// Clears this worker's table, and shows it to the others.
    pub(crate) fn new(board: Arc<Board>, seat: usize, page: &Page) -> io::Result<Peers> {
        let own = Map::new(
            board.fd.as_fd(),
            (TABLES_AT + seat * TABLE_WORDS) * 8,
            TABLE_WORDS * 8,
            true,
        )?;
        for word in own.words() {
            word.store(0, Ordering::Relaxed);
        }
        page.show_peers();
        Ok(Peers { board, seat, own })
    }

    /// How an address is known in the tables.
    #[must_use]
    pub fn key(&self, address: IpAddr) -> u64 {
        let mut hasher = DefaultHasher::new();
        for word in self.board.key() {
            hasher.write_u64(word);
        }
        // An IPv4 client of a listener on [::] is the same as one of 0.0.0.0.
        match address.to_canonical() {
            IpAddr::V4(ip) => hasher.write_u32(ip.into()),
            IpAddr::V6(ip) => hasher.write_u64((u128::from(ip) >> 64) as u64),
        }
        // 0 is the key of an empty entry.
        hasher.finish().max(1)
    }

    /// Connections that the address of `key` has open.
    #[must_use]
    pub fn connections(&self, key: u64) -> u64 {
        self.sum(key, |entry| {
            entry[ENTRY_CONNECTIONS].load(Ordering::Relaxed)
        })
    }

    /// Whether the address of `key` has been given fewer than `most` within a second by now, which is
    /// in µs of CLOCK_MONOTONIC: what this second of the clock has seen, and of the last the share
    /// that is not a second ago yet.
    #[must_use]
    pub fn is_below(&self, rate: Rate, key: u64, most: u64, now_us: u64) -> bool {
        let sum = self.sum(key, |entry| {
            Window::load(&entry[rate as usize]).estimate(now_us)
        });
        sum < most.saturating_mul(ONE)
    }

    /// The address of `key` has one connection more.
    pub fn connected(&mut self, key: u64, now_us: u64) {
        let entry = self.taken(key, now_us);
        Window::count(&entry[Rate::Connections as usize], now_us);
    }

    /// The address of `key` has one connection more, which is not new: a sibling had it.
    pub fn moved_in(&mut self, key: u64, now_us: u64) {
        self.taken(key, now_us);
    }

    fn taken(&mut self, key: u64, now_us: u64) -> &[AtomicU64] {
        let entry = self.entry(key, now_us);
        let open = entry[ENTRY_CONNECTIONS].load(Ordering::Relaxed);
        entry[ENTRY_CONNECTIONS].store(open + 1, Ordering::Relaxed);
        entry
    }

    /// The address of `key` has one connection less.
    pub fn disconnected(&mut self, key: u64) {
        // One that was forgotten for want of room is not there.
        if let Some(entry) = find(self.own.words(), key) {
            let open = entry[ENTRY_CONNECTIONS].load(Ordering::Relaxed);
            entry[ENTRY_CONNECTIONS].store(open.saturating_sub(1), Ordering::Relaxed);
        }
    }

    /// The address of `key` was given one request more.
    pub fn requested(&mut self, key: u64, now_us: u64) {
        Window::count(&self.entry(key, now_us)[Rate::Requests as usize], now_us);
    }

    /// Writes nonsense into the entry of a key.
    #[cfg(test)]
    pub(super) fn fill(&self, key: u64, word: u64) {
        let entry = self.entry(key, 0);
        entry[ENTRY_KEY + 1..]
            .iter()
            .for_each(|at| at.store(word, Ordering::Relaxed));
    }

    /// Adds up over this worker and all others that serve. What they say is bounded by nothing, so
    /// that it cannot overflow; at worst somebody waits.
    fn sum(&self, key: u64, of: impl Fn(&[AtomicU64]) -> u64) -> u64 {
        let own = find(self.own.words(), key).map_or(0, &of);
        let others = (0..self.board.high()).filter(|seat| *seat != self.seat);
        let tables = others.filter_map(|seat| self.board.peers(seat));
        let entries = tables.filter_map(|table| find(table, key));
        entries.map(of).fold(own, u64::saturating_add)
    }

    /// The entry of a key, made if need be: in the place of one that says nothing any more, else of
    /// the one with the fewest connections. Who has many is not forgotten.
    fn entry(&self, key: u64, now_us: u64) -> &[AtomicU64] {
        let table = self.own.words();
        if let Some(entry) = find(table, key) {
            return entry;
        }
        let entry = set(table, key)
            .min_by_key(|entry| {
                let open = entry[ENTRY_CONNECTIONS].load(Ordering::Relaxed);
                let rates = [Rate::Connections, Rate::Requests]
                    .map(|rate| Window::load(&entry[rate as usize]).estimate(now_us));
                (open, rates[0].max(rates[1]))
            })
            .expect("a set has entries");
        // Nobody finds it while its words change.
        entry[ENTRY_KEY].store(0, Ordering::Release);
        for word in &entry[ENTRY_KEY + 1..] {
            word.store(0, Ordering::Relaxed);
        }
        entry[ENTRY_KEY].store(key, Ordering::Release);
        entry
    }
}

/// The entries among which one of this key may be.
fn set(table: &[AtomicU64], key: u64) -> impl Iterator<Item = &[AtomicU64]> {
    let at = key as usize % (PEERS / WAYS) * WAYS * ENTRY_WORDS;
    table[at..at + WAYS * ENTRY_WORDS].chunks_exact(ENTRY_WORDS)
}

fn find(table: &[AtomicU64], key: u64) -> Option<&[AtomicU64]> {
    set(table, key).find(|entry| entry[ENTRY_KEY].load(Ordering::Acquire) == key)
}

/// A sliding second in one word: which second of the clock, how many in it, how many in the one
/// before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Window {
    second: u32,
    now: u16,
    before: u16,
}

impl Window {
    fn load(word: &AtomicU64) -> Window {
        let bits = word.load(Ordering::Relaxed);
        Window {
            second: (bits >> 32) as u32,
            now: (bits >> 16) as u16,
            before: bits as u16,
        }
    }

    /// As seen in another second than it was written in. A sibling's clock may have been read later.
    fn at(self, second: u32) -> Window {
        let (now, before) = match second.saturating_sub(self.second) {
            0 => (self.now, self.before),
            1 => (0, self.now),
            _ => (0, 0),
        };
        Window {
            second,
            now,
            before,
        }
    }

    /// How many within the second that ends now, times [`ONE`].
    fn estimate(self, now_us: u64) -> u64 {
        let Window { now, before, .. } = self.at((now_us / SECOND_US) as u32);
        u64::from(now) * ONE + u64::from(before) * (SECOND_US - now_us % SECOND_US)
    }

    fn count(word: &AtomicU64, now_us: u64) {
        let window = Window::load(word).at((now_us / SECOND_US) as u32);
        let now = window.now.saturating_add(1);
        let bits = u64::from(window.second) << 32 | u64::from(now) << 16;
        word.store(bits | u64::from(window.before), Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_slides_over_the_second() {
        let word = AtomicU64::new(0);
        let at = |millis: u64| 5 * SECOND_US + millis * 1000;
        for n in 0..10 {
            Window::count(&word, at(n * 100));
        }
        let estimate = |millis| Window::load(&word).estimate(at(millis));
        for (millis, expected) in [
            (999, 10_000),
            (1000, 10_000),
            (1250, 7_500),
            (1900, 1_000),
            (2000, 0),
            (60_000, 0),
        ] {
            assert_eq!(estimate(millis) * 1000 / ONE, expected, "{millis}");
        }
        Window::count(&word, at(1500));
        assert_eq!(estimate(1500), 6 * ONE);
    }

    #[test]
    fn a_window_that_is_full_stays_full() {
        let word = AtomicU64::new(0);
        for _ in 0..100_000 {
            Window::count(&word, 1);
        }
        assert_eq!(Window::load(&word).estimate(1), u64::from(u16::MAX) * ONE);
    }
}
