//! Deadlines of connections: one first-in-first-out list per kind of wait.
//!
//! All waits of one kind last equally long, so the list is in the order of its deadlines nearly by itself:
//! setting, clearing and finding the next one take constant time, and the front of the keep-alive
//! list is the connection that has been idle longest. Pure: no clock.
//!
//! Deadlines are put off far more often than they pass. So the next one is known as a time before
//! which there is none: it is found anew when that has come, and not each time one is put off.

/// What a connection waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Wait {
    /// The rest of a request head, or the first byte after accept.
    Head = 0,
    /// More of a request body.
    Body,
    /// The next request.
    KeepAlive,
    /// Room to write.
    Write,
    /// The end of a lingering close.
    Linger,
    /// The next request, shortly, while the worker drains.
    Quiet,
    /// What a task waits for: each for as long as it says.
    Task,
}

/// How many kinds there are.
pub(crate) const KINDS: usize = Wait::Task as usize + 1;
const NONE: u32 = u32::MAX;
const WAIT_BITS: u32 = 3;
const WAIT_MASK: u64 = (1 << WAIT_BITS) - 1;
/// By their number.
const WAITS: [Wait; KINDS] = [
    Wait::Head,
    Wait::Body,
    Wait::KeepAlive,
    Wait::Write,
    Wait::Linger,
    Wait::Quiet,
    Wait::Task,
];

/// A connection's place in a list, in 16 bytes: ten thousand idle ones have one each.
#[derive(Clone, Copy, Debug)]
struct Link {
    before: u32,
    after: u32,
    due: Due,
}

const UNLINKED: Link = Link {
    before: NONE,
    after: NONE,
    due: Due::NEVER,
};

/// A deadline in µs and what it is of, in one word; they sort by the deadline.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Due(u64);

impl Due {
    /// Of nothing.
    const NEVER: Due = Due(KINDS as u64);

    /// Within the next 73 000 years.
    #[inline]
    fn new(at: u64, wait: Wait) -> Due {
        debug_assert!(at <= u64::MAX >> WAIT_BITS);
        Due(at << WAIT_BITS | wait as u64)
    }

    #[inline]
    fn at(self) -> u64 {
        self.0 >> WAIT_BITS
    }

    #[inline]
    fn kind(self) -> usize {
        (self.0 & WAIT_MASK) as usize
    }

    fn wait(self) -> Option<Wait> {
        WAITS.get(self.kind()).copied()
    }
}

/// The deadlines of all connections, by their key.
#[derive(Debug)]
pub(crate) struct Timers {
    links: Vec<Link>,
    first: [u32; KINDS],
    last: [u32; KINDS],
    /// No deadline is before this.
    none_before: u64,
}

impl Timers {
    /// For so many connections at first; memory is taken when they come.
    pub(crate) fn new(connections: usize) -> Timers {
        Timers {
            links: Vec::with_capacity(connections),
            first: [NONE; KINDS],
            last: [NONE; KINDS],
            none_before: u64::MAX,
        }
    }

    /// The connection waits until `due`, and for nothing else any more. One that comes from elsewhere,
    /// with some of its wait behind it, is put where it belongs; that costs a step for each one that
    /// it overtakes.
    pub(crate) fn set(&mut self, key: usize, wait: Wait, due: u64) {
        if key >= self.links.len() {
            self.links.resize(key + 1, UNLINKED);
        }
        self.unlink(key);
        self.none_before = self.none_before.min(due);
        let kind = wait as usize;
        let at = key as u32;
        let (mut before, mut after) = (self.last[kind], NONE);
        while before != NONE && self.links[before as usize].due.at() > due {
            (before, after) = (self.links[before as usize].before, before);
        }
        self.links[key] = Link {
            before,
            after,
            due: Due::new(due, wait),
        };
        match before {
            NONE => self.first[kind] = at,
            _ => self.links[before as usize].after = at,
        }
        match after {
            NONE => self.last[kind] = at,
            _ => self.links[after as usize].before = at,
        }
    }

    /// The connection waits for nothing.
    pub(crate) fn clear(&mut self, key: usize) {
        self.unlink(key);
        if let Some(link) = self.links.get_mut(key) {
            *link = UNLINKED;
        }
    }

    /// Takes a connection out of its list; what its own link says is to be overwritten.
    #[inline]
    fn unlink(&mut self, key: usize) {
        let Some(&Link { before, after, due }) = self.links.get(key) else {
            return;
        };
        let kind = due.kind();
        if kind >= KINDS {
            return;
        }
        match before {
            NONE => self.first[kind] = after,
            _ => self.links[before as usize].after = after,
        }
        match after {
            NONE => self.last[kind] = before,
            _ => self.links[after as usize].before = before,
        }
    }

    /// What the connection waits for.
    pub(crate) fn wait(&self, key: usize) -> Option<Wait> {
        self.links.get(key)?.due.wait()
    }

    /// When its wait ends.
    pub(crate) fn due(&self, key: usize) -> Option<u64> {
        let due = self.links.get(key)?.due;
        (due != Due::NEVER).then(|| due.at())
    }

    /// The connection that has waited longest of this kind.
    pub(crate) fn oldest(&self, wait: Wait) -> Option<usize> {
        let first = self.first[wait as usize];
        (first != NONE).then_some(first as usize)
    }

    /// All connections that wait in this way, the one that has waited longest first.
    pub(crate) fn waiting(&self, wait: Wait) -> impl Iterator<Item = usize> + '_ {
        let at = |key: u32| (key != NONE).then_some(key);
        let first = at(self.first[wait as usize]);
        let all = std::iter::successors(first, move |key| at(self.links[*key as usize].after));
        all.map(|key| key as usize)
    }

    /// When to look next for deadlines that have passed: none is before. In the future, once
    /// [`Timers::pop_expired`] has found no more; `u64::MAX` where nobody waits.
    #[inline]
    pub(crate) fn none_before(&self) -> u64 {
        self.none_before
    }

    /// A connection whose deadline has passed at `now`; it waits for nothing any more.
    #[inline]
    pub(crate) fn pop_expired(&mut self, now: u64) -> Option<(usize, Wait)> {
        if now < self.none_before {
            return None;
        }
        self.find_expired(now)
    }

    fn find_expired(&mut self, now: u64) -> Option<(usize, Wait)> {
        let firsts = self.first.iter().filter(|first| **first != NONE);
        let next = firsts
            .map(|first| *first as usize)
            .min_by_key(|key| self.links[*key].due.at());
        self.none_before = next.map_or(u64::MAX, |key| self.links[key].due.at());
        let key = next.filter(|_| self.none_before <= now)?;
        let wait = self.links[key].due.wait()?;
        self.clear(key);
        Some((key, wait))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deadlines_pass_in_their_order_and_once() {
        let mut timers = Timers::new(0);
        timers.set(0, Wait::Head, 10);
        timers.set(1, Wait::KeepAlive, 5);
        timers.set(2, Wait::Head, 20);
        assert_eq!(timers.none_before(), 5);
        assert_eq!(timers.pop_expired(4), None);
        assert_eq!(timers.pop_expired(12), Some((1, Wait::KeepAlive)));
        assert_eq!(timers.pop_expired(12), Some((0, Wait::Head)));
        assert_eq!(timers.pop_expired(12), None);
        assert_eq!(timers.none_before(), 20);
        timers.clear(2);
        assert_eq!(timers.pop_expired(20), None);
        assert_eq!(timers.none_before(), u64::MAX);
    }

    #[test]
    fn a_deadline_and_what_it_is_of_share_a_word() {
        for (n, wait) in WAITS.into_iter().enumerate() {
            assert_eq!(wait as usize, n);
            for at in [0, 1, u64::MAX >> WAIT_BITS] {
                let due = Due::new(at, wait);
                assert_eq!((due.at(), due.wait()), (at, Some(wait)));
            }
        }
        assert_eq!(Due::NEVER.wait(), None);
        assert_eq!(size_of::<Link>(), 16);
    }

    #[test]
    fn setting_again_moves_to_the_end() {
        let mut timers = Timers::new(0);
        for key in 0..3 {
            timers.set(key, Wait::KeepAlive, 10 + key as u64);
        }
        timers.set(0, Wait::KeepAlive, 20);
        assert_eq!(timers.oldest(Wait::KeepAlive), Some(1));
        assert!(timers.waiting(Wait::KeepAlive).eq([1, 2, 0]));
        timers.clear(1);
        assert_eq!(timers.oldest(Wait::KeepAlive), Some(2));
        timers.set(2, Wait::Write, 30);
        assert_eq!(timers.oldest(Wait::KeepAlive), Some(0));
        assert_eq!((timers.wait(2), timers.wait(1)), (Some(Wait::Write), None));
    }

    #[test]
    fn random_orders_agree_with_a_plain_map() {
        let mut timers = Timers::new(0);
        let mut model = std::collections::BTreeMap::new();
        let mut seed = 1u64;
        for now in 0..20_000u64 {
            seed = seed
                .wrapping_mul(6364136223846793005)
                .wrapping_add(1442695040888963407);
            let key = (seed >> 33) as usize % 50;
            match (seed >> 60) % 3 {
                0 => {
                    // Some have waited elsewhere before.
                    let due = now + 30 - (seed >> 50) % 3 * 10;
                    timers.set(key, Wait::Head, due);
                    model.insert(key, (due, Wait::Head));
                }
                1 => {
                    timers.set(key, Wait::Write, now + 7);
                    model.insert(key, (now + 7, Wait::Write));
                }
                _ => {
                    timers.clear(key);
                    model.remove(&key);
                }
            }
            let next = |model: &std::collections::BTreeMap<_, (u64, Wait)>| {
                let dues = model.values().map(|(due, _)| *due);
                dues.min().unwrap_or(u64::MAX)
            };
            assert!(timers.none_before() <= next(&model));
            let look = timers.none_before() <= now;
            while let Some((key, wait)) = timers.pop_expired(now) {
                let (due, expected) = model.remove(&key).unwrap();
                assert!(due <= now && wait == expected);
            }
            assert!(model.values().all(|(due, _)| *due > now));
            assert!(!look || timers.none_before() == next(&model));
        }
    }
}
