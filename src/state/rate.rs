//! How many workers may be started in a time, whoever they are for: a token bucket.
//!
//! It holds what a start or a roll takes at once, so that only a storm is slowed down. One moment is its
//! whole memory: the one at which it would be full again (the *theoretical arrival time* of the
//! generic cell rate algorithm). Pure.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::event::Moment;

/// The bucket.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rate {
    full: Moment,
}

impl Rate {
    /// When the next one may be taken, at so many a second and `burst` at once. No rate is none.
    pub fn due(&self, per_second: u32, burst: usize) -> Moment {
        let Some(each) = each(per_second) else {
            return Moment::ZERO;
        };
        let burst = u32::try_from(burst.max(1)).unwrap_or(u32::MAX);
        (self.full + each).saturating_sub(each.saturating_mul(burst))
    }

    /// One is taken.
    pub fn take(&mut self, per_second: u32, now: Moment) {
        if let Some(each) = each(per_second) {
            self.full = self.full.max(now) + each;
        }
    }
}

/// How long one of them takes to come back.
fn each(per_second: u32) -> Option<Duration> {
    Duration::from_secs(1).checked_div(per_second)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn a_burst_is_free_and_then_they_come_at_the_rate() {
        let mut rate = Rate::default();
        let mut now = 1000 * MS;
        let mut times = vec![];
        for _ in 0..6 {
            now = now.max(rate.due(10, 3));
            rate.take(10, now);
            times.push(now / 1_000_000);
        }
        let nanos = |ms: u64| Duration::from_nanos(ms);
        assert_eq!(
            times,
            [1000, 1000, 1000, 1100, 1200, 1300].map(nanos).to_vec()
        );
        // After a rest all of them are there again, and no more than that.
        now += 3600 * 1000 * MS;
        for _ in 0..3 {
            assert!(rate.due(10, 3) <= now);
            rate.take(10, now);
        }
        assert_eq!(rate.due(10, 3), now + 100 * MS);
    }

    #[test]
    fn no_rate_is_no_bound() {
        let mut rate = Rate::default();
        for _ in 0..1000 {
            assert_eq!(rate.due(0, 1), Moment::ZERO);
            rate.take(0, MS);
        }
    }
}
