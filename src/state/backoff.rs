//! How long a place waits for its next worker after one has failed there.
//!
//! Pure. The delay doubles from 0.1 s to 30 s and is spread by half of itself either way, so that
//! places that failed together do not fork together. A worker that served for a while wipes it.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::event::{Generation, Moment};

/// The first delay.
pub const FIRST: Duration = Duration::from_millis(100);
/// The longest delay, before the spread.
pub const LONGEST: Duration = Duration::from_secs(30);
/// A worker that served so long was well: the count begins anew after it.
pub const STABLE: Duration = Duration::from_secs(5);

/// The memory of one slot.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Backoff {
    failures: u32,
    not_before: Moment,
    generation: Generation,
}

impl Backoff {
    /// A worker of `generation` failed; returns how long to wait. `chance` is drawn from 0..1.
    pub fn failed(&mut self, generation: Generation, now: Moment, chance: f64) -> Duration {
        if self.generation != generation {
            self.failures = 0;
            self.generation = generation;
        }
        let doubled = FIRST.saturating_mul(1 << self.failures.min(16));
        let delay = doubled.min(LONGEST).mul_f64(0.5 + chance.clamp(0.0, 1.0));
        self.failures = self.failures.saturating_add(1);
        self.not_before = now + delay;
        delay
    }

    /// A worker was well and its successor may come at once.
    pub fn well(&mut self) {
        *self = Backoff::default();
    }

    /// A worker recycled itself: no failure, but not faster than the first delay either.
    pub fn paced(&mut self, generation: Generation, spawned: Moment) {
        if self.generation != generation {
            *self = Backoff {
                generation,
                ..Backoff::default()
            };
        }
        self.not_before = self.not_before.max(spawned + FIRST);
    }

    /// When a worker of `generation` may be started. The failures of one configuration do not
    /// delay another.
    pub fn due(&self, generation: Generation) -> Moment {
        if self.generation == generation {
            self.not_before
        } else {
            Moment::ZERO
        }
    }

    /// Whether the last worker of this place failed.
    pub fn is_failing(&self) -> bool {
        self.failures > 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn doubles_up_to_the_longest() {
        let mut backoff = Backoff::default();
        let now = Duration::from_secs(100);
        let delays: Vec<u128> = (0..11)
            .map(|_| backoff.failed(1, now, 0.5).as_millis())
            .collect();
        assert_eq!(
            delays,
            [
                100, 200, 400, 800, 1600, 3200, 6400, 12800, 25600, 30000, 30000
            ]
        );
        assert_eq!(backoff.due(1), now + LONGEST);
    }

    #[test]
    fn is_spread_by_half_either_way() {
        let delay = |chance| Backoff::default().failed(1, Moment::ZERO, chance);
        assert_eq!(delay(0.0), Duration::from_millis(50));
        assert_eq!(delay(1.0), Duration::from_millis(150));
    }

    #[test]
    fn a_worker_that_was_well_wipes_it() {
        let mut backoff = Backoff::default();
        backoff.failed(1, Duration::from_secs(1), 0.5);
        backoff.well();
        assert_eq!(backoff.due(1), Moment::ZERO);
        assert!(!backoff.is_failing());
    }

    #[test]
    fn another_configuration_starts_with_a_clean_sheet() {
        let mut backoff = Backoff::default();
        let now = Duration::from_secs(1);
        backoff.failed(1, now, 0.5);
        backoff.failed(1, now, 0.5);
        assert_eq!(backoff.due(2), Moment::ZERO);
        assert_eq!(backoff.failed(2, now, 0.5), FIRST);
    }

    #[test]
    fn recycling_is_paced_without_counting_as_failure() {
        let mut backoff = Backoff::default();
        backoff.paced(1, Duration::from_secs(7));
        assert_eq!(backoff.due(1), Duration::from_secs(7) + FIRST);
        assert!(!backoff.is_failing());
    }
}
