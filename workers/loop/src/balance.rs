//! Who accepts: a worker takes a connection only while it holds hardly more than the least loaded
//! sibling, else it steps back and wakes that one.
//!
//! EPOLLEXCLUSIVE alone gives nearly everything to one worker. A sibling that stands in a handler, or is woken
//! and does not turn its loop (it is stopped), is ignored until it does. Pure: it reads the board through
//! closures and never blocks.

/// What a worker sees of a sibling on the board.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Sibling {
    pub(crate) seat: usize,
    pub(crate) connections: u64,
    pub(crate) turns: u64,
}

/// How long a worker waits for the sibling that it woke, in µs.
pub(crate) const PATIENCE_US: u64 = 3_000;

/// A handler that has lasted so long may last for long, in µs: nobody waits for its worker.
pub(crate) const SLOW_US: u64 = 1_000;

/// How many connections more than the least loaded sibling a worker may hold and still accept: one for so
/// many that the sibling holds, but one at least, unless the sibling has none. It is woken so much less often
/// that it was not its turn.
const SHARE: u64 = 16;

/// Memory of the siblings that did not move when they were woken.
#[derive(Debug, Default)]
pub(crate) struct Balance {
    ignored: Vec<(usize, u64)>,
    woken: Option<Sibling>,
}

impl Balance {
    /// Whether to accept, holding `own` connections: `None` is yes, else the sibling whose turn it is.
    /// `held_up` says whether one stands in a handler.
    pub(crate) fn yield_to(
        &mut self,
        own: u64,
        siblings: impl Iterator<Item = Sibling> + Clone,
        held_up: impl Fn(usize) -> bool,
    ) -> Option<Sibling> {
        loop {
            let ignored = &mut self.ignored;
            let least = siblings
                .clone()
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
                .filter(|least| own > least.connections + slack(least.connections))?;
            if !held_up(least.seat) {
                return Some(least);
            }
            ignored.push((least.seat, least.turns));
        }
    }

    /// The sibling whose turn it is has been woken.
    pub(crate) fn wait_for(&mut self, sibling: Sibling) {
        self.woken = Some(sibling);
    }

    /// The patience is over: `turns` says how often a sibling's loop has turned by now.
    pub(crate) fn give_up(&mut self, turns: impl Fn(usize) -> u64) {
        let woken = self.woken.take();
        let unmoved = woken.filter(|woken| turns(woken.seat) == woken.turns);
        self.ignored
            .extend(unmoved.map(|woken| (woken.seat, woken.turns)));
    }
}

/// What may be held more than such a sibling.
fn slack(connections: u64) -> u64 {
    connections.min(1).max(connections / SHARE)
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

    /// Asks beside siblings none of which stands in a handler.
    fn ask(balance: &mut Balance, own: u64, siblings: &[Sibling]) -> Option<usize> {
        let turn = balance.yield_to(own, siblings.iter().copied(), |_| false);
        turn.map(|sibling| sibling.seat)
    }

    #[test]
    fn nobody_has_two_while_another_has_none() {
        let mut balance = Balance::default();
        for (own, least, expected) in [(0, 0, None), (1, 0, Some(2)), (2, 1, None), (3, 1, Some(2))]
        {
            let siblings = [sibling(1, 5, 0), sibling(2, least, 0)];
            assert_eq!(
                ask(&mut balance, own, &siblings),
                expected,
                "{own} and {least}"
            );
        }
    }

    #[test]
    fn the_least_loaded_accepts_and_the_others_wake_it() {
        let mut balance = Balance::default();
        let board = [sibling(1, 5, 0), sibling(2, 3, 0)];
        for (own, expected) in [(0, None), (3, None), (4, None), (5, Some(2)), (9, Some(2))] {
            assert_eq!(ask(&mut balance, own, &board), expected, "holding {own}");
        }
        assert_eq!(ask(&mut balance, 9, &[]), None, "alone");
        let many = [sibling(1, 64, 0)];
        assert_eq!(ask(&mut balance, 68, &many), None, "a sixteenth more");
        assert_eq!(ask(&mut balance, 69, &many), Some(1));
    }

    #[test]
    fn a_sibling_that_does_not_move_is_ignored_until_it_does() {
        let mut balance = Balance::default();
        let mut wait = |turns| {
            let found = ask(&mut balance, 9, &[sibling(2, 0, turns)]);
            if found.is_some() {
                balance.wait_for(sibling(2, 0, turns));
            }
            balance.give_up(|_| turns.max(9));
            found
        };
        assert_eq!(wait(9), Some(2));
        assert_eq!(wait(9), None);
        assert_eq!(wait(10), Some(2));
        assert_eq!(wait(10), None);
        let mut balance = Balance::default();
        balance.wait_for(sibling(2, 0, 7));
        balance.give_up(|_| 8);
        assert_eq!(
            ask(&mut balance, 9, &[sibling(2, 0, 8)]),
            Some(2),
            "it moved"
        );
    }

    #[test]
    fn nobody_waits_for_a_sibling_that_stands_in_a_handler() {
        let mut balance = Balance::default();
        let mut ask = |turns, busy: &'static [usize]| {
            let board = [sibling(1, 5, 0), sibling(2, 3, turns), sibling(3, 4, 0)];
            let turn = balance.yield_to(9, board.into_iter(), |seat| busy.contains(&seat));
            turn.map(|sibling| sibling.seat)
        };
        assert_eq!(ask(0, &[2]), Some(3));
        assert_eq!(ask(0, &[]), Some(3), "it has not moved since");
        assert_eq!(ask(1, &[]), Some(2));
        assert_eq!(ask(1, &[1, 2, 3]), None);
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
                match ask(&mut balances[who], held[who], &siblings) {
                    Some(other) => who = other,
                    None => break,
                }
            }
            held[who] += 1;
            let (most, sum) = (held.iter().max().unwrap(), n as u64 + 1);
            assert!(
                sum < 64 || *most as f64 / (sum as f64 / 4.0) <= 1.1,
                "{held:?}"
            );
        }
    }
}
