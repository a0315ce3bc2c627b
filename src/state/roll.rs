//! A reload under way: one generation takes the place of another.
//!
//! First the program on disk is tried in a process of its own; what has passed is executed in the
//! master's place and can spawn one generation: the new one. Its first worker is the *canary*: until
//! a new worker has said that it is ready, nothing of the old generation is touched beyond what the
//! budget forces. Pure.

use serde::{Deserialize, Serialize};

use super::event::{Generation, Moment};

/// Deaths of new workers after which a roll is given up, although each had become ready: a
/// generation that keeps dying would never be complete.
pub const DEATHS: usize = 3;

/// The reason of a reload that failed because the workers were told to retire meanwhile.
pub const RETIRED: &str = "the workers were told to retire";

/// Which part of a reload is under way.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Reload {
    /// None.
    #[default]
    Idle,
    /// The program on disk is being tried.
    Probing {
        /// When it must have passed.
        until: Moment,
        /// Why it is not to pass any more; its end is awaited.
        given_up: Option<GivenUp>,
    },
    /// It has passed, and is being executed.
    Executing,
    /// New workers replace old ones.
    Rolling(Roll),
}

/// Why a trial is ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum GivenUp {
    /// It has taken too long.
    Late,
    /// Nobody is to serve: [`RETIRED`].
    Retired,
}

/// The roll itself, with what is to be restored if it fails.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Roll {
    /// The new generation.
    pub target: Generation,
    /// The slot of the first new worker.
    pub canary: usize,
    /// Whether a new worker has become ready.
    pub proved: bool,
    /// New workers that died after they had become ready.
    pub deaths: usize,
    /// How many workers were wanted before.
    pub old_wanted: usize,
    /// Whether the workers had been retired by WINCH before.
    pub old_retired: bool,
}

impl Roll {
    /// How many workers were up before, as far as wanted.
    pub fn old_goal(&self) -> usize {
        if self.old_retired { 0 } else { self.old_wanted }
    }
}

impl Reload {
    /// The roll, if one is under way.
    pub fn roll(&self) -> Option<&Roll> {
        match self {
            Reload::Rolling(roll) => Some(roll),
            Reload::Idle | Reload::Probing { .. } | Reload::Executing => None,
        }
    }
}
