//! Places whose workers fail again and again, while others serve well.
//!
//! Such a place is suspended for a while, so that it does not cost the others the processor, nor the
//! operator the log. Where half of the places are like that, it is not the place, and back-off has to
//! do; and nobody is kept waiting for a suspended place when nobody else serves. Pure.

use std::time::Duration;

use super::State;
use super::action::{Action, Note};
use super::event::{Generation, Moment};
use super::pool::Worker;

impl State {
    /// The places that are suspended, with the time that is left.
    pub fn suspended(&self, now: Moment) -> Vec<(usize, Duration)> {
        let places = self.pool.backoffs().iter().enumerate();
        let held = places.filter_map(|(slot, backoff)| {
            let until = backoff.held(self.own, now)?;
            Some((slot, until - now))
        });
        held.filter(|(slot, _)| *slot < self.wanted).collect()
    }

    /// A worker has failed that served for so long: suspends its place if it flaps.
    pub(super) fn suspend_if_flapping(
        &mut self,
        slot: usize,
        generation: Generation,
        lived: Duration,
        now: Moment,
        out: &mut Vec<Action>,
    ) {
        let flaps = self.pool.backoff_mut(slot).flaps(generation, lived, now);
        let others_serve = self.pool.any(|w| w.slot != slot && w.serves());
        let few = (self.suspended(now).len() + 1) * 2 <= self.wanted;
        if !(flaps && others_serve && few && self.reload.roll().is_none()) {
            return;
        }
        let chance = self.chance();
        let hold = self.pool.backoff_mut(slot).hold(now, chance);
        out.push(Action::Tell(Note::Suspended { slot, hold }));
    }

    /// Suspends nobody any longer when nobody serves.
    pub(super) fn release_if_needed(&mut self) {
        if !self.pool.any(Worker::serves) {
            let backoffs = self.pool.backoffs_mut();
            backoffs.iter_mut().for_each(|backoff| backoff.release());
        }
    }
}
