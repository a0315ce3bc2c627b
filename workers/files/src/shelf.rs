//! Files that were asked for of late, ready to be sent: small ones in memory, larger ones open. Bounded in
//! bytes and descriptors; knows of no file system.

use std::cell::Cell;
use std::collections::HashMap;
use std::rc::Rc;

use crate::variant::Variant;

/// What an entry takes beside its content, about.
const OVERHEAD: usize = 2048;
/// Entries with open files beyond so many go.
const OPEN: usize = 64;

/// A file in all its variants, the one without a coding first.
#[derive(Debug)]
pub(crate) struct Entry {
    /// Its name beneath the root.
    pub(crate) name: Vec<u8>,
    pub(crate) variants: Vec<Variant>,
    /// When it was last seen to be so, and last wanted, in µs of the coarse clock.
    checked: Cell<u64>,
    used: Cell<u64>,
}

/// Entries by what was asked for.
#[derive(Debug)]
pub(crate) struct Shelf {
    entries: HashMap<Box<[u8]>, Rc<Entry>>,
    /// For how long an entry counts without another look, in µs.
    fresh: u64,
    room: usize,
    taken: usize,
    open: usize,
}

impl Entry {
    pub(crate) fn new(name: Vec<u8>, variants: Vec<Variant>, now: u64) -> Entry {
        Entry {
            name,
            variants,
            checked: Cell::new(now),
            used: Cell::new(now),
        }
    }

    /// It is still so.
    pub(crate) fn confirm(&self, now: u64) {
        self.checked.set(now);
    }

    fn takes(&self) -> usize {
        let memory: usize = self.variants.iter().map(Variant::memory).sum();
        memory + OVERHEAD + self.name.len()
    }

    fn opens(&self) -> usize {
        let open = |variant: &&Variant| variant.is_open();
        self.variants.iter().filter(open).count()
    }
}

impl Shelf {
    /// Holds up to `room` bytes, each entry unquestioned for `fresh` µs.
    pub(crate) fn new(room: usize, fresh: u64) -> Shelf {
        Shelf {
            entries: HashMap::new(),
            fresh,
            room,
            taken: 0,
            open: 0,
        }
    }

    /// What is there, and whether it counts without another look.
    #[inline]
    pub(crate) fn get(&self, key: &[u8], now: u64) -> Option<(Rc<Entry>, bool)> {
        let entry = self.entries.get(key)?;
        entry.used.set(now);
        let fresh = now.saturating_sub(entry.checked.get()) < self.fresh;
        Some((Rc::clone(entry), fresh))
    }

    pub(crate) fn remove(&mut self, key: &[u8]) {
        if let Some(entry) = self.entries.remove(key) {
            self.taken -= entry.takes();
            self.open -= entry.opens();
        }
    }

    pub(crate) fn clear(&mut self) {
        self.entries = HashMap::new();
        self.taken = 0;
        self.open = 0;
    }

    /// Takes an entry in, and lets those go that nobody has wanted for the longest time.
    pub(crate) fn put(&mut self, key: &[u8], entry: Rc<Entry>) {
        self.remove(key);
        let (takes, opens) = (entry.takes(), entry.opens());
        if takes > self.room {
            return;
        }
        while self.taken + takes > self.room || self.open + opens > OPEN && self.open > 0 {
            let only_open = self.taken + takes <= self.room;
            let others = self.entries.iter();
            let others = others.filter(|(_, entry)| !only_open || entry.opens() > 0);
            let oldest = others.min_by_key(|(_, entry)| entry.used.get());
            let Some(oldest) = oldest.map(|(key, _)| key.clone()) else {
                break;
            };
            self.remove(&oldest);
        }
        self.taken += takes;
        self.open += opens;
        self.entries.insert(key.into(), entry);
    }

    /// Lets go of what nobody has wanted since `before`.
    pub(crate) fn forget(&mut self, before: u64) {
        let gone = |entry: &Rc<Entry>| entry.used.get() < before;
        let keys = self.entries.iter().filter(|(_, entry)| gone(entry));
        let keys: Vec<Box<[u8]>> = keys.map(|(key, _)| key.clone()).collect();
        keys.iter().for_each(|key| self.remove(key));
        if self.entries.is_empty() {
            self.entries = HashMap::new();
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::options::Options;
    use crate::root::{Root, Symlinks};

    /// Entries of files of these sizes.
    fn entries(sizes: &[usize]) -> Vec<Rc<Entry>> {
        let directory = tempfile::tempdir().unwrap();
        let root = |()| Root::open(directory.path(), Symlinks::Inside).unwrap();
        let entry = |size: &usize| {
            std::fs::write(directory.path().join("a"), vec![b'x'; *size]).unwrap();
            let opened = root(()).read(b"a").unwrap();
            let variant = Variant::load(opened, b"a", None, &Options::default()).unwrap();
            Rc::new(Entry::new(b"a".to_vec(), vec![variant], 0))
        };
        sizes.iter().map(entry).collect()
    }

    #[test]
    fn who_was_wanted_longest_ago_makes_room() {
        let mut shelf = Shelf::new(3 * OVERHEAD + 2500, 10);
        for (at, entry) in entries(&[1000, 1000]).into_iter().enumerate() {
            shelf.put(&[at as u8], entry);
        }
        assert!(shelf.get(&[0], 5).unwrap().1);
        assert!(!shelf.get(&[1], 20).unwrap().1, "it is to be looked at");
        shelf.put(b"third", entries(&[1000]).remove(0));
        assert!(shelf.get(&[0], 21).is_none() && shelf.get(&[1], 22).is_some());
        shelf.put(b"too large", entries(&[20_000]).remove(0));
        assert!(shelf.get(b"too large", 0).is_none() && !shelf.is_empty());
        shelf.forget(23);
        assert!(shelf.is_empty() && shelf.taken == 0);
    }

    #[test]
    fn open_files_are_bounded() {
        let mut shelf = Shelf::new(1 << 20, 10);
        let large = entries(&[40_000; OPEN + 5]);
        for (at, entry) in large.into_iter().enumerate() {
            shelf.put(&[at as u8], entry);
            let _ = shelf.get(&[at as u8], at as u64);
        }
        assert_eq!(shelf.open, OPEN);
        assert!(shelf.get(&[4], 0).is_none() && shelf.get(&[5], 0).is_some());
        shelf.clear();
        assert!(shelf.is_empty() && shelf.open == 0);
    }
}
