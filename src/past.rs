//! What became of the workers that each place had before: how many have ended, and how the last one
//! did. In the master; plain data, which goes along with an exec.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::control::words::End;
use crate::state::Moment;

/// Of all places. There are no more of them than seats on the scoreboard.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Past(BTreeMap<usize, Place>);

/// Of one place.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Place {
    ended: u64,
    last: Option<Last>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Last {
    how: String,
    well: bool,
    at: Moment,
}

impl Past {
    /// A worker of this place has ended.
    pub fn ended(&mut self, slot: usize, how: &str, well: bool, at: Moment) {
        let place = self.0.entry(slot).or_default();
        place.ended += 1;
        place.last = Some(Last {
            how: how.to_owned(),
            well,
            at,
        });
    }

    /// What is known of this place.
    pub fn of(&self, slot: usize) -> &Place {
        static NOTHING: Place = Place {
            ended: 0,
            last: None,
        };
        self.0.get(&slot).unwrap_or(&NOTHING)
    }
}

impl Place {
    /// How many workers have ended.
    pub fn ended(&self) -> u64 {
        self.ended
    }

    /// How the last one did.
    pub fn last(&self, now: Moment) -> Option<End> {
        self.last.as_ref().map(|last| End {
            how: last.how.clone(),
            well: last.well,
            ago: now.saturating_sub(last.at).as_secs_f64(),
        })
    }
}
