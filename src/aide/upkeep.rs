//! Whether there is to be an aide, and whether it is to answer for the workers. Pure.
//!
//! An aide is there while something is asked of it: always where it has listeners of its own, else for as
//! long as nobody serves. One that ends by itself is made again, later each time.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::state::{Backoff, Generation, Moment, STABLE};

/// What is asked of an aide, and what stands in its way.
#[derive(Clone, Copy, Debug)]
pub struct Need {
    /// It has something to do at all times.
    pub always: bool,
    /// Since when nobody serves who should.
    pub outage: Option<Moment>,
    /// How long that is borne; zero: for ever.
    pub delay: Duration,
    /// Another master accepts at the same listeners.
    pub accompanied: bool,
    /// The server stops, or soon will.
    pub stopping: bool,
    /// From what it is made; none when this image could make nothing.
    pub generation: Option<Generation>,
    /// There is one that was not told to go.
    pub there: bool,
}

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// An aide is to be made.
    Make,
    /// The one that there is has nothing more to do.
    End,
    /// From now on nobody can serve.
    Out,
    /// Somebody serves again, after so long.
    Recovered(Duration),
}

/// What is remembered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Upkeep {
    // Since when nobody serves, once that was announced.
    out: Option<Moment>,
    backoff: Backoff,
}

impl Upkeep {
    /// Whether an outage was announced and is not over.
    pub fn is_out(&self) -> bool {
        self.out.is_some()
    }

    /// What is to be done now, in order.
    pub fn step(&mut self, need: &Need, now: Moment) -> Vec<Step> {
        let mut steps = Vec::new();
        let since = need.announced(now).or(self.out.and(need.outage));
        match (self.out, since) {
            (None, Some(since)) => {
                self.out = Some(since);
                steps.push(Step::Out);
            }
            (Some(since), None) => {
                self.out = None;
                if !need.stopping {
                    steps.push(Step::Recovered(now.saturating_sub(since)));
                }
            }
            _ => {}
        }
        if self.wants(need) && !need.there {
            steps.extend(self.due(need).filter(|due| *due <= now).map(|_| Step::Make));
        } else if !self.wants(need) && need.there && !need.stopping {
            steps.push(Step::End);
        }
        steps
    }

    /// When to look again at the latest.
    pub fn deadline(&self, need: &Need) -> Option<Moment> {
        let out = need.due().filter(|_| self.out.is_none());
        let missing = self.wants(need) && !need.there;
        let made = self.due(need).filter(|_| missing);
        out.into_iter().chain(made).min()
    }

    /// One has ended by itself that was made at `made`; returns how long to wait. `chance` is drawn from
    /// 0..1.
    pub fn ended(
        &mut self,
        generation: Generation,
        made: Moment,
        now: Moment,
        chance: f64,
    ) -> Duration {
        if now >= made + STABLE {
            self.backoff.well();
        }
        self.backoff.failed(generation, now, chance)
    }

    fn wants(&self, need: &Need) -> bool {
        !need.stopping && (need.always || self.out.is_some())
    }

    fn due(&self, need: &Need) -> Option<Moment> {
        need.generation
            .map(|generation| self.backoff.due(generation))
    }
}

impl Need {
    /// When an outage is to be announced that there is.
    fn due(&self) -> Option<Moment> {
        let borne = self.delay.is_zero() || self.accompanied || self.stopping;
        self.outage
            .filter(|_| !borne)
            .map(|since| since + self.delay)
    }

    /// The begin of an outage that is to be announced by now.
    fn announced(&self, now: Moment) -> Option<Moment> {
        self.due().filter(|due| *due <= now).and(self.outage)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);
    const NEED: Need = Need {
        always: false,
        outage: None,
        delay: Duration::from_secs(5),
        accompanied: false,
        stopping: false,
        generation: Some(1),
        there: false,
    };
    const OUT: Need = Need {
        outage: Some(Duration::from_secs(10)),
        ..NEED
    };

    #[test]
    fn an_aide_is_there_where_it_has_something_to_do() {
        let always = Need {
            always: true,
            ..NEED
        };
        let there = |need| Need {
            there: true,
            ..need
        };
        let stopping = |need| Need {
            stopping: true,
            ..need
        };
        for (need, steps) in [
            (NEED, vec![]),
            (always, vec![Step::Make]),
            (there(always), vec![]),
            (there(NEED), vec![Step::End]),
            // It goes last, and no other comes.
            (stopping(there(NEED)), vec![]),
            (stopping(always), vec![]),
            // Nothing to make it from.
            (
                Need {
                    generation: None,
                    ..always
                },
                vec![],
            ),
        ] {
            assert_eq!(Upkeep::default().step(&need, SECOND), steps, "{need:?}");
        }
    }

    #[test]
    fn an_outage_is_announced_when_it_has_lasted_and_until_somebody_serves() {
        let mut upkeep = Upkeep::default();
        assert_eq!(upkeep.step(&OUT, 14 * SECOND), []);
        assert_eq!(upkeep.deadline(&OUT), Some(15 * SECOND));
        assert_eq!(upkeep.step(&OUT, 15 * SECOND), [Step::Out, Step::Make]);
        let there = Need { there: true, ..OUT };
        assert_eq!(upkeep.deadline(&there), None);
        assert_eq!(upkeep.step(&there, 16 * SECOND), []);
        let over = Need {
            there: true,
            ..NEED
        };
        let steps = [Step::Recovered(7 * SECOND), Step::End];
        assert_eq!(upkeep.step(&over, 17 * SECOND), steps);
        assert!(!upkeep.is_out());
        // The next one is borne as long as the first was.
        let again = Need {
            outage: Some(18 * SECOND),
            ..NEED
        };
        assert_eq!(upkeep.step(&again, 20 * SECOND), []);
        assert_eq!(upkeep.deadline(&again), Some(23 * SECOND));
    }

    #[test]
    fn an_outage_is_not_announced_where_another_answers_or_the_server_stops() {
        for need in [
            Need {
                delay: Duration::ZERO,
                ..OUT
            },
            Need {
                accompanied: true,
                ..OUT
            },
            Need {
                stopping: true,
                ..OUT
            },
        ] {
            let mut upkeep = Upkeep::default();
            assert_eq!(upkeep.step(&need, 99 * SECOND), [], "{need:?}");
            assert_eq!(upkeep.deadline(&need), None);
        }
    }

    #[test]
    fn a_stop_ends_an_outage_without_a_word() {
        let mut upkeep = Upkeep::default();
        upkeep.step(&OUT, 15 * SECOND);
        let stopping = Need {
            stopping: true,
            there: true,
            ..NEED
        };
        assert_eq!(upkeep.step(&stopping, 16 * SECOND), []);
        assert!(!upkeep.is_out());
    }

    #[test]
    fn one_that_ends_by_itself_is_made_again_later_each_time_unless_it_was_well() {
        let need = Need {
            always: true,
            ..NEED
        };
        let mut upkeep = Upkeep::default();
        let delay = upkeep.ended(1, 9 * SECOND, 10 * SECOND, 0.5);
        assert_eq!(delay, Duration::from_millis(100));
        assert_eq!(upkeep.step(&need, 10 * SECOND), []);
        assert_eq!(upkeep.deadline(&need), Some(10 * SECOND + delay));
        assert_eq!(upkeep.step(&need, 10 * SECOND + delay), [Step::Make]);
        assert_eq!(upkeep.ended(1, 11 * SECOND, 11 * SECOND, 0.5), 2 * delay);
        assert_eq!(upkeep.ended(1, 12 * SECOND, 60 * SECOND, 0.5), delay);
        // What another configuration has failed with is no reason to wait.
        let next = Need {
            generation: Some(2),
            ..need
        };
        assert_eq!(upkeep.step(&next, 60 * SECOND), [Step::Make]);
    }
}
