//! A reload under way: one generation takes the place of another.
//!
//! The first new worker is the *canary*: until it has said that it is ready, nothing of the old
//! generation is touched beyond what the budget forces, and vacant places are filled with the old
//! configuration. Pure.

use super::event::Generation;

/// Deaths of new workers after which a roll is given up, although each had become ready: a
/// generation that keeps dying would never be complete.
pub const DEATHS: usize = 3;

/// Which part of a reload is under way.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Reload {
    /// None.
    #[default]
    Idle,
    /// The configuration is being read and what is new is being bound.
    Loading,
    /// New workers replace old ones.
    Rolling(Roll),
}

/// The roll itself, with what is to be restored if it fails.
#[derive(Clone, Debug, PartialEq, Eq)]
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
            Reload::Idle | Reload::Loading => None,
        }
    }
}
