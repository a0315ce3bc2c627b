//! Poison: what workers die of is refused by all of them.
//!
//! The master writes a small table of fingerprints into its header; a worker looks a request up
//! before anybody else sees it. What is no fingerprint of ours is a number that nothing meets.

use std::hash::{DefaultHasher, Hasher};
use std::sync::atomic::Ordering;

use super::Board;
use super::layout::*;

/// The method and the path of a request whose method and target are `line`, as far as a cell of the
/// board keeps it: without the query, and without what an absolute-form target has before its path
/// (RFC 9112 section 3.2). Pure.
#[must_use]
pub fn resource(line: &[u8]) -> (&[u8], &[u8]) {
    let line = &line[..line.len().min(LINE_MAX)];
    let blank = line.iter().position(|byte| *byte == b' ');
    let (method, target) = line.split_at(blank.unwrap_or(line.len()));
    let target = target.get(1..).unwrap_or_default();
    let query = target.iter().position(|byte| *byte == b'?');
    let path = &target[..query.unwrap_or(target.len())];
    if path.starts_with(b"/") {
        return (method, path);
    }
    let Some(scheme) = path.windows(3).position(|three| three == b"://") else {
        return (method, path);
    };
    let rest = &path[scheme + 3..];
    match rest.iter().position(|byte| *byte == b'/') {
        Some(slash) => (method, &rest[slash..]),
        None => (method, b"/"),
    }
}

/// How a request is known in the table: a hash of its [`resource`] with the key of a board, so that
/// nobody can choose paths that collide. Pure; never 0, which is the empty place.
#[must_use]
pub fn fingerprint(key: [u64; 2], line: &[u8]) -> u64 {
    let (method, path) = resource(line);
    let mut hasher = DefaultHasher::new();
    key.iter().for_each(|word| hasher.write_u64(*word));
    hasher.write(method);
    hasher.write_u8(b' ');
    hasher.write(path);
    hasher.finish().max(1)
}

impl Board {
    /// The fingerprint of a request of which this is the method and the target.
    #[must_use]
    pub fn fingerprint(&self, line: &[u8]) -> u64 {
        fingerprint(self.key(), line)
    }

    /// Makes these fingerprints the table, at most [`POISONS`] of them. One that stays keeps its
    /// place, so that nobody misses it while others come and go. Master only.
    pub fn set_poison(&self, table: &[u64]) {
        let Some(header) = &self.header else { return };
        let words = header.words();
        let places = &words[POISON_AT + 1..][..POISONS];
        let table = &table[..table.len().min(POISONS)];
        let held = || places.iter().map(|place| place.load(Ordering::Relaxed));
        let fresh: Vec<u64> = table
            .iter()
            .copied()
            .filter(|one| held().all(|other| other != *one))
            .collect();
        for place in places {
            if !table.contains(&place.load(Ordering::Relaxed)) {
                place.store(0, Ordering::Relaxed);
            }
        }
        let empty = places.iter().filter(|p| p.load(Ordering::Relaxed) == 0);
        for (place, one) in empty.zip(fresh) {
            place.store(one, Ordering::Relaxed);
        }
        let high = held().rposition(|one| one != 0).map_or(0, |last| last + 1);
        words[POISON_AT].store(high as u64, Ordering::Release);
    }

    /// Whether a request of this method and target is one that all workers are to refuse. Where
    /// nothing is, it costs one load.
    #[inline]
    #[must_use]
    pub fn is_poison(&self, line: &[u8]) -> bool {
        self.whole.words()[POISON_AT].load(Ordering::Acquire) != 0 && self.is_held(line)
    }

    #[cold]
    fn is_held(&self, line: &[u8]) -> bool {
        let words = self.whole.words();
        let high = (words[POISON_AT].load(Ordering::Relaxed) as usize).min(POISONS);
        let one = self.fingerprint(line);
        let places = &words[POISON_AT + 1..][..high];
        places
            .iter()
            .any(|place| place.load(Ordering::Relaxed) == one)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fingerprint_is_that_of_method_and_path() {
        let board = Board::create().unwrap();
        let same = [
            &b"GET /a"[..],
            b"GET /a?",
            b"GET /a?x=/b",
            b"GET http://example.org/a",
            b"GET HTTPS://[::1]:8/a?http://other/",
        ];
        for line in same {
            assert_eq!(
                board.fingerprint(line),
                board.fingerprint(b"GET /a"),
                "{line:?}"
            );
        }
        let others = [
            &b""[..],
            b"GET",
            b"POST /a",
            b"get /a",
            b"GET /a/",
            b"GET /A",
            b"GET //a",
            b"GET /%61",
            b"GET http://example.org",
            b"OPTIONS *",
            b"CONNECT a:1",
        ];
        for line in others {
            assert_ne!(
                board.fingerprint(line),
                board.fingerprint(b"GET /a"),
                "{line:?}"
            );
        }
        assert_eq!(resource(b"GET http://a.b?c"), (&b"GET"[..], &b"/"[..]));
        // Another server cannot be asked which paths collide.
        let other = Board::create().unwrap();
        assert_ne!(board.fingerprint(b"GET /a"), other.fingerprint(b"GET /a"));
    }

    /// The master has what the cell has kept, and the worker the whole.
    #[test]
    fn what_does_not_fit_a_cell_makes_no_difference() {
        let board = Board::create().unwrap();
        let long = format!("GET /{}", "x".repeat(5000));
        let cut = &long.as_bytes()[..LINE_MAX];
        assert_eq!(board.fingerprint(long.as_bytes()), board.fingerprint(cut));
    }

    #[test]
    fn the_table_is_what_the_master_says() {
        let board = Board::create().unwrap();
        let worker = Board::attach(board.fd().try_clone_to_owned().unwrap()).unwrap();
        assert!(!worker.is_poison(b"GET /0"));
        let line = |n: usize| format!("GET /{n}").into_bytes();
        let table = |range: std::ops::Range<usize>| {
            let prints = range.map(|n| board.fingerprint(&line(n)));
            board.set_poison(&prints.collect::<Vec<_>>());
        };
        let held = || -> Vec<usize> { (0..80).filter(|n| worker.is_poison(&line(*n))).collect() };
        for range in [0..3, 1..4, 3..4, 0..POISONS, 10..12, 9..10, 0..0] {
            table(range.clone());
            assert_eq!(held(), range.collect::<Vec<_>>());
        }
        table(0..80);
        assert_eq!(held().len(), POISONS);
        // Only the master says so.
        worker.set_poison(&[]);
        assert_eq!(held().len(), POISONS);
    }
}
