//! What the master counts, by name: how workers have ended, and what came of reloads.
//!
//! It lies in the header, so that everybody reads the same numbers at any moment, and a reload takes
//! them along. The names are there, too: which there are is the master's business, and the next image may
//! know others. One writer; a name is complete before it is counted as there.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;

use super::Board;
use super::layout::*;

/// What is counted by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tally {
    /// Workers that have ended, by cause.
    Exits,
    /// Reloads that are over, by what came of them.
    Reloads,
}

/// Bytes of a name; what is longer is cut.
const LONGEST: usize = TALLY_NAME_WORDS * 8 - 1;

impl Board {
    /// Adds `n` to what is counted under this name, which is known from then on, be it with 0. Master
    /// only. Beyond so many names as there is room for it does nothing.
    pub fn tally(&self, what: Tally, name: &str, n: u64) {
        let Some(header) = &self.header else { return };
        let words = header.words();
        let known = words[TALLY_AT].load(Ordering::Relaxed) as usize;
        let key = key(what, name);
        let there = (0..known.min(TALLIES)).find(|place| self.tally_key(*place) == key);
        let place = there.unwrap_or(known);
        if place >= TALLIES {
            return;
        }
        let at = place_at(place);
        if there.is_none() {
            for (word, part) in words[at..].iter().zip(key) {
                word.store(part, Ordering::Relaxed);
            }
        }
        let count = &words[at + TALLY_NAME_WORDS];
        let sum = count.load(Ordering::Relaxed).saturating_add(n);
        count.store(sum, Ordering::Relaxed);
        if there.is_none() {
            words[TALLY_AT].store(place as u64 + 1, Ordering::Release);
        }
    }

    /// What is counted, by name. In any process.
    #[must_use]
    pub fn tallied(&self, what: Tally) -> BTreeMap<String, u64> {
        let words = self.whole.words();
        let known = words[TALLY_AT].load(Ordering::Acquire) as usize;
        let places = 0..known.min(TALLIES);
        let mine = places.filter_map(|place| {
            let bytes = self.tally_key(place).map(u64::to_le_bytes).concat();
            let (kind, name) = bytes.split_first()?;
            let name = name.split(|byte| *byte == 0).next()?;
            let count = words[place_at(place) + TALLY_NAME_WORDS].load(Ordering::Relaxed);
            let is_mine = *kind == what as u8 + 1;
            is_mine.then(|| (String::from_utf8_lossy(name).into_owned(), count))
        });
        mine.collect()
    }

    fn tally_key(&self, place: usize) -> [u64; TALLY_NAME_WORDS] {
        let words = &self.whole.words()[place_at(place)..];
        std::array::from_fn(|n| words[n].load(Ordering::Relaxed))
    }
}

fn place_at(place: usize) -> usize {
    TALLY_AT + 1 + place * (TALLY_NAME_WORDS + 1)
}

/// A name as it lies on the board, after the kind of what it counts.
fn key(what: Tally, name: &str) -> [u64; TALLY_NAME_WORDS] {
    let mut bytes = [0; TALLY_NAME_WORDS * 8];
    bytes[0] = what as u8 + 1;
    for (byte, letter) in bytes[1..].iter_mut().zip(name.bytes().take(LONGEST)) {
        *byte = letter;
    }
    std::array::from_fn(|n| u64::from_le_bytes(std::array::from_fn(|m| bytes[8 * n + m])))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_master_counts_is_everybodys_to_read_and_goes_along() {
        let board = Board::create().unwrap();
        let copy = || board.fd().try_clone_to_owned().unwrap();
        let reader = Board::attach(copy()).unwrap();
        board.tally(Tally::Exits, "crash", 0);
        board.tally(Tally::Reloads, "ok", 1);
        board.tally(Tally::Exits, "graceful-timeout", 2);
        let next = Board::adopt(copy()).unwrap();
        next.tally(Tally::Exits, "graceful-timeout", 1);
        next.tally(Tally::Exits, "ok", 1);
        reader.tally(Tally::Exits, "crash", 9);
        let exits = [("crash", 0), ("graceful-timeout", 3), ("ok", 1)];
        let exits = exits.map(|(name, count)| (name.to_owned(), count));
        assert_eq!(reader.tallied(Tally::Exits), BTreeMap::from(exits));
        let reloads = [("ok".to_owned(), 1)];
        assert_eq!(reader.tallied(Tally::Reloads), BTreeMap::from(reloads));
    }

    #[test]
    fn there_is_room_for_so_many_names_and_a_long_one_is_cut() {
        let board = Board::create().unwrap();
        for n in 0..2 * TALLIES {
            board.tally(Tally::Exits, &format!("{n:02}-{}", "x".repeat(100)), 1);
        }
        let all = board.tallied(Tally::Exits);
        assert_eq!(all.len(), TALLIES);
        assert!(all.iter().all(|(name, n)| name.len() == LONGEST && *n == 1));
    }
}
