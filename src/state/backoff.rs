//! How long a place waits for its next worker after one has failed there.
//!
//! Pure. The delay doubles from 0.1 s to 30 s and is spread by half of itself either way, so that
//! places that failed together do not fork together. A worker that served for a while wipes it. A place
//! that *flaps*, however long its workers live in between, can be suspended for a longer while.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::event::{Generation, Moment};

/// The first delay.
pub const FIRST: Duration = Duration::from_millis(100);
/// The longest delay, before the spread.
pub const LONGEST: Duration = Duration::from_secs(30);
/// A worker that served so long was well: the count begins anew after it.
pub const STABLE: Duration = Duration::from_secs(5);
/// A place flaps when so many of its workers have failed
pub const FLAPS: usize = 5;
/// within this time. A worker that served so long wipes that, too.
pub const WINDOW: Duration = Duration::from_secs(60);
/// How long a place is suspended first.
pub const HOLD: Duration = Duration::from_secs(60);
/// The longest that it ever is, before the spread; it doubles up to this.
pub const LONGEST_HOLD: Duration = Duration::from_secs(600);

/// The memory of one slot.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Backoff {
    failures: u32,
    not_before: Moment,
    generation: Generation,
    // The last failures, the oldest first.
    last: [Moment; FLAPS],
    holds: u32,
    held: Option<Moment>,
}

impl Backoff {
    /// A worker of `generation` failed; returns how long to wait. `chance` is drawn from 0..1.
    pub fn failed(&mut self, generation: Generation, now: Moment, chance: f64) -> Duration {
        self.concerns(generation);
        let doubled = FIRST.saturating_mul(1 << self.failures.min(16));
        let delay = doubled.min(LONGEST).mul_f64(0.5 + chance.clamp(0.0, 1.0));
        self.failures = self.failures.saturating_add(1);
        self.not_before = now + delay;
        delay
    }

    /// A worker was well and its successor may come at once.
    pub fn well(&mut self) {
        self.failures = 0;
        self.not_before = Moment::ZERO;
    }

    /// A worker of `generation` that served for so long has failed; returns whether its place flaps.
    pub fn flaps(&mut self, generation: Generation, lived: Duration, now: Moment) -> bool {
        self.concerns(generation);
        if lived >= WINDOW {
            (self.last, self.holds) = Default::default();
        }
        self.last.rotate_left(1);
        self.last[FLAPS - 1] = now;
        self.last[0] > Moment::ZERO && now <= self.last[0] + WINDOW
    }

    /// Suspends the place; returns for how long. `chance` is drawn from 0..1.
    pub fn hold(&mut self, now: Moment, chance: f64) -> Duration {
        let doubled = HOLD.saturating_mul(1 << self.holds.min(16));
        let spread = 1.0 + chance.clamp(0.0, 1.0) / 4.0;
        let hold = doubled.min(LONGEST_HOLD).mul_f64(spread);
        self.holds = self.holds.saturating_add(1);
        self.last = Default::default();
        self.held = Some(now + hold);
        hold
    }

    /// Until when the place is suspended, if it is.
    pub fn held(&self, generation: Generation, now: Moment) -> Option<Moment> {
        let held = self.held.filter(|_| self.generation == generation);
        held.filter(|until| *until > now)
    }

    /// Suspends it no longer.
    pub fn release(&mut self) {
        self.held = None;
    }

    /// The failures of one configuration are no other's.
    fn concerns(&mut self, generation: Generation) {
        if self.generation != generation {
            *self = Backoff {
                generation,
                ..Backoff::default()
            };
        }
    }

    /// A worker recycled itself: no failure, but not faster than the first delay either.
    pub fn paced(&mut self, generation: Generation, spawned: Moment) {
        self.concerns(generation);
        self.not_before = self.not_before.max(spawned + FIRST);
    }

    /// When a worker of `generation` may be started. The failures of one configuration do not
    /// delay another.
    pub fn due(&self, generation: Generation) -> Moment {
        if self.generation == generation {
            self.held.unwrap_or_default().max(self.not_before)
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
    fn a_place_flaps_that_fails_often_within_the_window() {
        let second = Duration::from_secs(1);
        // (seconds between failures, seconds lived, whether the fifth makes it flap)
        for (gap, lived, flaps) in [
            (1, 0, true),
            (15, 14, true),
            (16, 15, false),
            (1, 60, false),
        ] {
            let mut backoff = Backoff::default();
            let mut now = 100 * second;
            for n in 1..=FLAPS {
                now += gap * second;
                let found = backoff.flaps(1, lived * second, now);
                assert_eq!(found, flaps && n == FLAPS, "{gap} {lived} {n}");
            }
        }
    }

    #[test]
    fn a_place_is_suspended_for_longer_each_time_until_a_worker_serves_for_long() {
        let mut backoff = Backoff::default();
        let now = Duration::from_secs(100);
        let holds: Vec<u64> = (0..6).map(|_| backoff.hold(now, 0.0).as_secs()).collect();
        assert_eq!(holds, [60, 120, 240, 480, 600, 600]);
        assert_eq!(backoff.held(0, now), Some(now + LONGEST_HOLD));
        assert_eq!(backoff.held(0, now + LONGEST_HOLD), None);
        // Another configuration has nothing to do with it.
        assert_eq!((backoff.held(1, now), backoff.due(1)), (None, Moment::ZERO));
        backoff.flaps(0, WINDOW, now);
        assert_eq!(backoff.hold(now, 1.0).as_secs(), 75);
        assert!(backoff.due(0) > now);
        backoff.release();
        assert_eq!((backoff.held(0, now), backoff.due(0)), (None, Moment::ZERO));
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
