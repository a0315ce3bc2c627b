//! The ledger of deaths: which request is poison, because workers die while they serve it.
//!
//! A request is known by its fingerprint, and in quarantine when it was in flight in so many deaths
//! within so long. What else was in flight then is no suspect for these deaths any more, so that
//! whatever is always under way (a stream that lives for hours, the page that everybody asks for) is not
//! blamed along with it. What is told of a death comes from the scoreboard, and so from a process that
//! may write anything there: all of it is bounded, and the worst that it can do is a 503. Pure.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use ferricorn_base::board::{POISONS, STREAMS, THREADS};
use serde::{Deserialize, Serialize};

use crate::state::Moment;

/// The most deaths that are remembered.
pub const DEATHS: usize = 256;
/// Requests of one worker that are looked at: as many as the board shows of it.
const SUSPECTS: usize = THREADS + STREAMS;

/// When a request is poison, and for how long.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Policy {
    /// In so many deaths it must have been in flight; 0: no request is poison.
    pub deaths: usize,
    /// Within so long.
    pub window: Duration,
    /// How long it stays in quarantine; zero: until it is cleared.
    pub hold: Duration,
}

/// A request that was in flight when a worker died.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Suspect {
    /// How it is known.
    pub fingerprint: u64,
    /// Method and path, for people.
    pub request: String,
    /// It was on a stream thread, not in a handler.
    pub streaming: bool,
}

/// A request in quarantine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Held {
    /// How it is known.
    pub fingerprint: u64,
    /// Method and path, for people.
    pub request: String,
    /// In how many deaths it was in flight.
    pub deaths: usize,
    /// Since when.
    pub since: Moment,
    /// Until when; `None`: until it is cleared.
    pub until: Option<Moment>,
}

/// The deaths of late, and what is in quarantine for those before.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Ledger {
    deaths: VecDeque<Death>,
    // In the order of `since`.
    held: Vec<Held>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Death {
    at: Moment,
    suspects: Vec<u64>,
}

impl Ledger {
    /// A worker has died of what it did, with these requests in flight. What is in quarantine for it
    /// from now on; whom that drives out of a full table stands behind it.
    pub fn died(
        &mut self,
        policy: Policy,
        suspects: &[Suspect],
        now: Moment,
    ) -> (Vec<Held>, Vec<Held>) {
        let nothing = (Vec::new(), Vec::new());
        // By fingerprint, so that a worker that says a thing twice has said it once.
        let mut seen: BTreeMap<u64, &Suspect> = BTreeMap::new();
        for suspect in suspects.iter().take(SUSPECTS) {
            let known = seen.entry(suspect.fingerprint).or_insert(suspect);
            if known.streaming {
                *known = suspect;
            }
        }
        // One that was let in before it was in quarantine has explained this death already.
        let held = |one: &u64| self.held.iter().any(|held| held.fingerprint == *one);
        if policy.deaths == 0 || seen.is_empty() || seen.keys().any(held) {
            return nothing;
        }
        let since = now.saturating_sub(policy.window);
        self.deaths.retain(|death| death.at >= since);
        if self.deaths.len() == DEATHS {
            self.deaths.pop_front();
        }
        self.deaths.push_back(Death {
            at: now,
            suspects: seen.keys().copied().collect(),
        });
        let count = |one: u64| {
            let deaths = self.deaths.iter();
            deaths.filter(|death| death.suspects.contains(&one)).count()
        };
        let counted = seen
            .values()
            .map(|suspect| (*suspect, count(suspect.fingerprint)));
        let enough: Vec<(&Suspect, usize)> = counted
            .filter(|(_, deaths)| *deaths >= policy.deaths)
            .collect();
        // What ran in a handler explains the deaths sooner than what streamed beside it.
        let streamed = enough.iter().all(|(suspect, _)| suspect.streaming);
        let guilty: Vec<Held> = enough
            .iter()
            .filter(|(suspect, _)| suspect.streaming == streamed)
            .take(POISONS)
            .map(|(suspect, deaths)| Held {
                fingerprint: suspect.fingerprint,
                request: suspect.request.clone(),
                deaths: *deaths,
                since: now,
                until: (!policy.hold.is_zero()).then(|| now + policy.hold),
            })
            .collect();
        if guilty.is_empty() {
            return nothing;
        }
        let explains = |one: &u64| guilty.iter().any(|held| held.fingerprint == *one);
        self.deaths
            .retain(|death| !death.suspects.iter().any(explains));
        self.held.extend(guilty.iter().cloned());
        let surplus = self.held.len().saturating_sub(POISONS);
        let released = self.held.drain(..surplus).collect();
        (guilty, released)
    }

    /// Lets go of what has been held for long enough.
    pub fn expire(&mut self, now: Moment) -> Vec<Held> {
        self.release(|held| held.until.is_some_and(|until| until <= now))
    }

    /// Lets go of one, or of all; it takes as many deaths as before to come back.
    pub fn clear(&mut self, which: Option<u64>) -> Vec<Held> {
        self.release(|held| which.is_none_or(|one| held.fingerprint == one))
    }

    fn release(&mut self, which: impl Fn(&Held) -> bool) -> Vec<Held> {
        let (gone, held) = self.held.drain(..).partition(which);
        self.held = held;
        gone
    }

    /// When [`Ledger::expire`] has something to do.
    pub fn deadline(&self) -> Option<Moment> {
        self.held.iter().filter_map(|held| held.until).min()
    }

    /// What is in quarantine, the oldest first, at most [`POISONS`].
    pub fn held(&self) -> &[Held] {
        &self.held
    }
}

#[cfg(test)]
mod tests;
