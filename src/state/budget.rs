//! How many workers may be extra, and how many may be missing, while some are replaced. Pure.
//!
//! A percentage is one of those that are wanted at that time, whoever has said how many: the setting, the
//! operator, or the load. So a server that has grown does not take the longer to be reloaded.

use serde::{Deserialize, Serialize};

use super::State;
use super::event::Policy;

/// A number of workers, or a percentage of those wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Share {
    /// So many.
    Number(usize),
    /// So many of a hundred.
    Percent(usize),
}

/// What may be at one time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budget {
    /// Workers that stand in a place which another one holds.
    pub surge: usize,
    /// Workers that are wanted and do not serve.
    pub unavailable: usize,
}

impl Policy {
    /// The budget where so many workers are wanted. A percentage of extra ones is rounded up, one of
    /// missing ones down; and one may be extra where neither may be otherwise, since nobody could be
    /// replaced then.
    pub fn budget(&self, wanted: usize) -> Budget {
        let unavailable = match self.max_unavailable {
            Share::Number(number) => number.min(wanted),
            Share::Percent(percent) => wanted * percent / 100,
        };
        let surge = match self.max_surge {
            Share::Number(number) => number,
            Share::Percent(percent) => (wanted * percent).div_ceil(100),
        };
        Budget {
            surge: surge.max(usize::from(unavailable == 0)),
            unavailable,
        }
    }
}

impl State {
    /// Whether there are seats for so many workers, and for those that are extra in a reload.
    pub(super) fn fits(&self, workers: usize) -> bool {
        let surge = |workers| self.policy(self.own).budget(workers).surge;
        let seats = self.pool.seats();
        workers <= seats && workers + surge(workers) <= seats
    }

    /// How many workers there are seats for, and for those that are extra in a reload.
    pub(super) fn most_that_fit(&self) -> usize {
        let mut numbers = (1..=self.pool.seats()).rev();
        numbers.find(|number| self.fits(*number)).unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentages_are_of_those_wanted_and_a_roll_can_always_move() {
        use Share::{Number, Percent};
        // Of how many, what is allowed, what it comes to.
        for (wanted, max_surge, max_unavailable, surge, unavailable) in [
            (1, Percent(25), Number(0), 1, 0),
            (4, Percent(25), Number(0), 1, 0),
            (5, Percent(25), Number(0), 2, 0),
            (40, Percent(25), Number(0), 10, 0),
            (40, Percent(100), Percent(100), 40, 40),
            (40, Percent(0), Percent(10), 0, 4),
            (9, Percent(0), Percent(10), 1, 0),
            (0, Percent(25), Percent(25), 1, 0),
            (3, Number(0), Number(0), 1, 0),
            (3, Number(0), Number(1), 0, 1),
            (3, Number(7), Number(7), 7, 3),
        ] {
            let policy = Policy {
                max_surge,
                max_unavailable,
                ..Policy::FALLBACK
            };
            let expected = Budget { surge, unavailable };
            let case = format!("{max_surge:?} {max_unavailable:?} of {wanted}");
            assert_eq!(policy.budget(wanted), expected, "{case}");
        }
    }
}
