//! How late the loop is: when what is served now has come, as far as that can be known without asking the
//! system for each request. Pure: no clock.
//!
//! A loop that slept was woken by what came: that came now. One that found something at once had been
//! busy. Its events came while the turn before lasted, and epoll(7) tells of them in the order in
//! which they became ready, so that each is taken to have come at its share of that turn. A connection
//! that was left over from that turn cannot have brought the next request before its share of it had
//! ended. All times are in µs of CLOCK_MONOTONIC.

/// Asking for events takes longer than this only if the loop slept meanwhile, in µs.
const SLEEP: u64 = 100;
/// The wait of one in so many requests is counted. A number that has nothing to do with how many
/// connections take turns.
const SAMPLE: u32 = 7;
/// It is not known when it came.
const UNKNOWN: u64 = u64::MAX;

#[derive(Debug)]
pub(crate) struct Lateness {
    /// When the turn began.
    turn: u64,
    /// The loop slept until then.
    slept: bool,
    events: Row,
    left_over: Row,
    /// When what is served now came.
    came: u64,
    /// Its client has said that it sends nothing more, or is gone.
    pub(crate) ended: bool,
    /// How many more are not counted.
    skip: u32,
}

/// What is served one after the other: when the next of it came, and how much later the one after.
#[derive(Clone, Copy, Debug, Default)]
struct Row {
    next: u64,
    step: u64,
}

impl Row {
    #[inline]
    fn next(&mut self) -> u64 {
        let next = self.next;
        self.next += self.step;
        next
    }
}

impl Lateness {
    pub(crate) fn new() -> Lateness {
        Lateness {
            turn: 0,
            slept: false,
            events: Row::default(),
            left_over: Row::default(),
            came: UNKNOWN,
            ended: false,
            skip: 1,
        }
    }

    /// A turn begins `now`, with so many events, which were asked for at `asked`, and so many
    /// connections that were left over from the turn before.
    #[inline]
    pub(crate) fn turn(&mut self, asked: u64, now: u64, events: usize, left_over: usize) {
        let before = std::mem::replace(&mut self.turn, now);
        self.events = Row { next: now, step: 0 };
        self.slept = left_over == 0 && now.saturating_sub(asked) > SLEEP;
        if self.slept {
            return;
        }
        let busy = asked.saturating_sub(before);
        if left_over > 0 {
            let step = busy / left_over as u64;
            let next = asked - busy + step;
            self.left_over = Row { next, step };
        }
        if events > 0 {
            let step = busy / events as u64;
            let next = asked - busy + step / 2;
            self.events = Row { next, step };
        }
    }

    /// Whether the loop slept until this turn: nothing had been left undone.
    #[inline]
    pub(crate) fn slept(&self) -> bool {
        self.slept
    }

    /// The next event is dealt with.
    #[inline]
    pub(crate) fn event(&mut self) {
        self.came = self.events.next();
    }

    /// The next connection goes on that was left over.
    #[inline]
    pub(crate) fn left_over(&mut self) {
        self.came = self.left_over.next();
        self.ended = false;
    }

    /// A connection was accepted `now` that had waited for so long.
    pub(crate) fn accepted(&mut self, now: u64, waited: u64, ended: bool) {
        self.came = now.saturating_sub(waited);
        self.ended = ended;
        // It was not asked for in vain.
        self.skip = 1;
    }

    /// When what comes next has come is not known.
    #[inline]
    pub(crate) fn forget(&mut self) {
        self.came = UNKNOWN;
        self.ended = false;
    }

    /// As [`Lateness::waited`], where it is to be counted.
    #[inline]
    pub(crate) fn sample(&mut self, now: u64) -> Option<u64> {
        self.skip -= 1;
        if self.skip > 0 {
            return None;
        }
        self.skip = SAMPLE;
        self.waited(now)
    }

    /// How long what is served now has waited, if that is known.
    #[inline]
    pub(crate) fn waited(&self, now: u64) -> Option<u64> {
        now.checked_sub(self.came)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// When the events of a turn came.
    fn came(late: &mut Lateness, asked: u64, now: u64, events: usize) -> Vec<u64> {
        late.turn(asked, now, events, 0);
        let one = |_| {
            late.event();
            late.came
        };
        (0..events).map(one).collect()
    }

    #[test]
    fn what_wakes_a_loop_has_not_waited_and_what_finds_it_busy_came_meanwhile() {
        let mut late = Lateness::new();
        assert_eq!(came(&mut late, 1_000, 50_000, 2), [50_000, 50_000]);
        assert!(late.slept());
        // That turn took 8 ms.
        assert_eq!(
            came(&mut late, 58_000, 58_010, 4),
            [51_000, 53_000, 55_000, 57_000]
        );
        assert!(!late.slept());
        assert_eq!(late.waited(60_000), Some(3_000));
        // Nothing was done in that turn, or the clock is odd.
        assert_eq!(came(&mut late, 58_010, 58_020, 1), [58_010]);
        assert_eq!(came(&mut late, 58_000, 58_030, 1), [58_000]);
        assert_eq!(came(&mut late, 58_040, 58_050, 0), [0; 0]);
    }

    #[test]
    fn what_is_left_over_waits_for_those_before_it() {
        let mut late = Lateness::new();
        late.turn(0, 10_000, 3, 0);
        // Three handlers of 20 ms; nobody was asleep, however long the asking took.
        late.turn(70_000, 70_500, 1, 3);
        late.event();
        assert_eq!(late.waited(70_500), Some(30_500));
        for (now, waited) in [(70_500, 40_500), (90_500, 40_500), (110_500, 40_500)] {
            late.left_over();
            assert_eq!(late.waited(now), Some(waited));
        }
        // Alone it waits for nobody.
        late.turn(130_500, 130_510, 0, 1);
        late.left_over();
        assert_eq!(late.waited(130_510), Some(10));
    }

    #[test]
    fn one_in_seven_is_counted_and_whatever_the_system_was_asked_for() {
        let mut late = Lateness::new();
        late.turn(10, 1_000, 1, 0);
        late.event();
        let counted: Vec<_> = (0..9).map(|_| late.sample(1_000).is_some()).collect();
        let first = [true, false, false, false, false, false, false, true, false];
        assert_eq!(counted, first);
        late.accepted(2_000, 500, false);
        assert_eq!(late.sample(2_000), Some(500));
        late.forget();
        assert!((0..20).all(|_| late.sample(3_000).is_none()));
    }

    #[test]
    fn what_is_not_known_is_not_told() {
        let mut late = Lateness::new();
        late.accepted(5_000, 4_000, true);
        assert_eq!((late.waited(6_000), late.ended), (Some(5_000), true));
        // The system may have been slower than its clock says.
        late.accepted(5_000, 8_000, false);
        assert_eq!(late.waited(6_000), Some(6_000));
        late.forget();
        assert_eq!(late.waited(6_000), None);
    }
}
