//! Who accepts: a worker takes a connection only while it holds hardly more than the least loaded
//! sibling, else it steps back and wakes that one.
//!
//! EPOLLEXCLUSIVE alone gives nearly everything to one worker. A sibling that is woken and does not
//! turn its loop (stopped, or inside a long handler) is ignored until it does. Pure: it reads the
//! board through a closure and never blocks.

/// What a worker sees of a sibling on the board.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Sibling {
    pub(crate) seat: usize,
    pub(crate) connections: u64,
    pub(crate) turns: u64,
}

/// How long a worker waits for the sibling that it woke, in µs.
pub(crate) const PATIENCE_US: u64 = 3_000;

/// How many connections more than the least loaded sibling a worker may hold and still accept.
const SLACK: u64 = 1;

/// Memory of the siblings that did not move when they were woken.
#[derive(Debug, Default)]
pub(crate) struct Balance {
    ignored: Vec<(usize, u64)>,
    woken: Option<Sibling>,
}

impl Balance {
    /// Whether to accept, holding `own` connections: `None` is yes, else the sibling to wake.
    pub(crate) fn yield_to(
        &mut self,
        own: u64,
        siblings: impl Iterator<Item = Sibling>,
    ) -> Option<usize> {
        let ignored = &mut self.ignored;
        let least = siblings
            .filter(|sibling| {
                let stuck = ignored.iter().position(|(seat, _)| *seat == sibling.seat);
                match stuck {
                    Some(at) if ignored[at].1 == sibling.turns => false,
                    Some(at) => {
                        ignored.swap_remove(at);
                        true
                    }
                    None => true,
                }
            })
            .min_by_key(|sibling| sibling.connections)
            .filter(|least| own > least.connections + SLACK)?;
        self.woken = Some(least);
        Some(least.seat)
    }

    /// The patience is over: `turns` says how often a sibling's loop has turned by now.
    pub(crate) fn give_up(&mut self, turns: impl Fn(usize) -> u64) {
        let woken = self.woken.take();
        let unmoved = woken.filter(|woken| turns(woken.seat) == woken.turns);
        self.ignored
            .extend(unmoved.map(|woken| (woken.seat, woken.turns)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sibling(seat: usize, connections: u64, turns: u64) -> Sibling {
        Sibling {
            seat,
            connections,
            turns,
        }
    }

    #[test]
    fn the_least_loaded_accepts_and_the_others_wake_it() {
        let mut balance = Balance::default();
        let board = [sibling(1, 5, 0), sibling(2, 3, 0)];
        for (own, expected) in [(0, None), (3, None), (4, None), (5, Some(2)), (9, Some(2))] {
            assert_eq!(
                balance.yield_to(own, board.into_iter()),
                expected,
                "holding {own}"
            );
        }
        assert_eq!(balance.yield_to(9, std::iter::empty()), None, "alone");
    }

    #[test]
    fn a_sibling_that_does_not_move_is_ignored_until_it_does() {
        let mut balance = Balance::default();
        assert_eq!(balance.yield_to(9, [sibling(2, 0, 7)].into_iter()), Some(2));
        balance.give_up(|_| 7);
        assert_eq!(balance.yield_to(9, [sibling(2, 0, 7)].into_iter()), None);
        assert_eq!(balance.yield_to(9, [sibling(2, 0, 8)].into_iter()), Some(2));
        balance.give_up(|_| 9);
        assert_eq!(balance.yield_to(9, [sibling(2, 0, 9)].into_iter()), Some(2));
    }

    #[test]
    fn many_connections_spread_evenly() {
        let mut held = [0u64; 4];
        let mut balances: [Balance; 4] = Default::default();
        for n in 0..256 {
            // Whoever is woken by chance asks; the one it yields to asks in turn.
            let mut who = (n * 7919) % 4;
            for _ in 0..8 {
                let siblings: Vec<_> = (0..4)
                    .filter(|s| *s != who)
                    .map(|s| sibling(s, held[s], n as u64))
                    .collect();
                match balances[who].yield_to(held[who], siblings.into_iter()) {
                    Some(other) => who = other,
                    None => break,
                }
            }
            held[who] += 1;
        }
        let max = held.iter().max().unwrap();
        assert!(*max as f64 / 64.0 <= 1.06, "{held:?}");
    }
}
