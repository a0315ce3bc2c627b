//! Times in which nothing ran: the machine slept, or the processes were stopped.
//!
//! What a worker did not do meanwhile is not its fault, so that such a time counts for no deadline. Pure.

use std::collections::VecDeque;
use std::time::Duration;

use super::age;
use crate::state::Moment;

/// Pauses that are remembered. With more of them old requests get less time than is theirs.
const PAUSES: usize = 16;

/// The last pauses: when each was over, and how long it was.
#[derive(Clone, Debug, Default)]
pub struct Pauses(VecDeque<(Moment, Duration)>);

impl Pauses {
    /// Nothing has run for so long until `now`.
    pub fn add(&mut self, time: Duration, now: Moment) {
        if self.0.len() == PAUSES {
            self.0.pop_front();
        }
        self.0.push_back((now, time));
    }

    /// How long something has run that began at `since_us`, at most.
    pub fn age(&self, since_us: u64, now: Moment) -> Duration {
        age(since_us, now).saturating_sub(self.after(since_us))
    }

    /// For how long nothing has run since `since_us`.
    pub fn after(&self, since_us: u64) -> Duration {
        let since = Duration::from_micros(since_us);
        let later = self.0.iter().filter(|(end, _)| *end > since);
        later.fold(Duration::ZERO, |sum, (_, time)| sum.saturating_add(*time))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_pause_makes_nothing_older_that_began_before_it() {
        let mut pauses = Pauses::default();
        pauses.add(20 * SECOND, 50 * SECOND);
        pauses.add(5 * SECOND, 70 * SECOND);
        let age = |second: u32| {
            let since = (second * SECOND).as_micros() as u64;
            pauses.age(since, 80 * SECOND).as_secs()
        };
        assert_eq!((age(20), age(55), age(75)), (35, 20, 5));
        // Or in it, as a worker may write any number.
        assert_eq!((age(40), age(69), age(90)), (15, 6, 0));
    }

    #[test]
    fn only_the_last_are_remembered() {
        let mut pauses = Pauses::default();
        (1..=100).for_each(|n| pauses.add(SECOND, n * 10 * SECOND));
        assert_eq!(pauses.after(0), PAUSES as u32 * SECOND);
    }
}
