//! Overload, as it is told of: since when requests are refused because all wait, and when that is over.
//!
//! The workers decide, each for itself, and count. Here it is only looked at.

use std::time::Duration;

use ferricorn_base::board::Counter;

use super::Master;
use crate::control::words::News;
use crate::state::Moment;

/// It is over when nobody was refused for so long.
const OVER: Duration = Duration::from_secs(5);

/// What was seen of it.
#[derive(Debug, Default)]
pub(super) struct Overload {
    /// How many requests had been refused at the last look; none before the first.
    refused: Option<u64>,
    /// The one that lasts.
    now: Option<Episode>,
}

#[derive(Clone, Copy, Debug)]
struct Episode {
    began: Moment,
    /// How many had been refused before it.
    before: u64,
    /// When somebody was seen to be refused last.
    last: Moment,
}

/// What has changed.
#[derive(Debug, PartialEq)]
enum Change {
    Begun,
    /// So many were refused, in so long.
    Over(u64, Duration),
}

impl Overload {
    /// Of a server that has refused nobody yet. What an earlier image has seen is no news for the next.
    pub(super) fn fresh() -> Overload {
        Overload {
            refused: Some(0),
            now: None,
        }
    }

    /// So many requests have been refused until now.
    fn look(&mut self, refused: u64, now: Moment) -> Option<Change> {
        let before = self.refused.replace(refused).unwrap_or(refused);
        match &mut self.now {
            Some(episode) if refused > before => {
                episode.last = now;
                None
            }
            Some(episode) if now >= episode.last + OVER => {
                let (count, time) = (refused - episode.before, episode.last - episode.began);
                self.now = None;
                Some(Change::Over(count, time))
            }
            None if refused > before => {
                self.now = Some(Episode {
                    began: now,
                    before,
                    last: now,
                });
                Some(Change::Begun)
            }
            _ => None,
        }
    }
}

impl Master {
    /// Tells when requests begin to be refused because all wait, and when that is over.
    pub(super) fn look_for_overload(&mut self, now: Moment) {
        let Some(board) = &self.board else {
            return;
        };
        let refused = board.totals().get(Counter::Shed);
        match self.overload.look(refused, now) {
            Some(Change::Begun) => self.publish(&News::Overloaded {}),
            Some(Change::Over(requests, time)) => {
                let seconds = time.as_secs_f64();
                log::info!("the overload is over: {requests} requests refused in {seconds:.1} s");
                self.publish(&News::Relieved { requests, seconds });
            }
            None => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_overload_is_told_of_when_it_begins_and_when_nobody_is_refused_any_more() {
        let mut overload = Overload::default();
        let second = Duration::from_secs(1);
        let mut told = Vec::new();
        // What an earlier image has seen is no news.
        for (at, refused) in [
            (0, 40),
            (1, 40),
            (2, 41),
            (3, 50),
            (7, 50),
            (7, 51),
            (11, 51),
            (12, 51),
            (20, 51),
            (21, 52),
        ] {
            let change = overload.look(refused, at * second);
            told.extend(change.map(|change| (at, change)));
        }
        let over = Change::Over(11, 5 * second);
        assert_eq!(told, [(2, Change::Begun), (12, over), (21, Change::Begun)]);
    }
}
