//! The accounts of reloads: what became of the workers that each one replaced.
//!
//! A reload is over when its workers have taken over *and* the last worker of an older generation
//! has gone, or when it has failed. The next one may have begun by then, so there may be several
//! accounts; who leaves is counted in the oldest whose generation is newer. Pure.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::event::{Generation, Moment, Parting};

/// What became of the workers that a reload replaced, added up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tally {
    /// Workers that have gone.
    pub workers: u64,
    /// Those of them that died without a word, so that nobody knows what they had.
    pub unreported: u64,
    /// What became of the clients of the others.
    pub clients: Parting,
}

/// The end of a reload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// Which one, from 1.
    pub reload: u64,
    /// When it began.
    pub began: Moment,
    /// How it went.
    pub outcome: Outcome,
}

/// How a reload went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// This generation serves, and the older ones have gone.
    Complete(Generation, Tally),
    /// It came to nothing before anything had changed, for this reason.
    Failed(String),
    /// It had begun to roll, and the generation before it serves on, for this reason.
    RolledBack(String),
}

/// The accounts that are open.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ledger(Vec<Account>);

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Account {
    reload: u64,
    began: Moment,
    // Once it is known.
    target: Option<Generation>,
    // It serves alone.
    complete: bool,
    tally: Tally,
}

impl Ledger {
    /// A reload begins.
    pub fn open(&mut self, reload: u64, now: Moment) {
        self.0.push(Account {
            reload,
            began: now,
            target: None,
            complete: false,
            tally: Tally::default(),
        });
    }

    /// Its workers will be of this generation.
    pub fn rolls(&mut self, target: Generation) {
        if let Some(account) = self.under_way() {
            account.target = Some(target);
        }
    }

    /// Its workers serve alone.
    pub fn complete(&mut self) {
        if let Some(account) = self.under_way() {
            account.complete = true;
        }
    }

    /// It has failed; the verdict, if there is one under way.
    pub fn fail(&mut self, reason: String) -> Option<Verdict> {
        self.under_way()?;
        let account = self.0.pop()?;
        Some(Verdict {
            reload: account.reload,
            began: account.began,
            outcome: match account.target {
                None => Outcome::Failed(reason),
                Some(_) => Outcome::RolledBack(reason),
            },
        })
    }

    /// A worker that served has gone.
    pub fn left(&mut self, generation: Generation, parting: Option<Parting>) {
        let is_newer = |account: &&mut Account| account.target.is_some_and(|t| t > generation);
        let Some(Account { tally, .. }) = self.0.iter_mut().find(is_newer) else {
            return;
        };
        tally.workers += 1;
        match parting {
            None => tally.unreported += 1,
            // A worker may say any number.
            Some(parting) => {
                let sum = &mut tally.clients;
                sum.completed = sum.completed.saturating_add(parting.completed);
                sum.handed_over = sum.handed_over.saturating_add(parting.handed_over);
                sum.closed_idle = sum.closed_idle.saturating_add(parting.closed_idle);
                sum.forced = sum.forced.saturating_add(parting.forced);
            }
        }
    }

    /// The verdicts on those whose older workers have all gone; `oldest` is the generation of the
    /// oldest worker.
    pub fn close(&mut self, oldest: Option<Generation>) -> Vec<Verdict> {
        let over = |account: &Account| {
            let target = account.target.filter(|_| account.complete);
            target.filter(|target| oldest.is_none_or(|oldest| oldest >= *target))
        };
        let verdicts = self.0.iter().filter_map(|account| {
            Some(Verdict {
                reload: account.reload,
                began: account.began,
                outcome: Outcome::Complete(over(account)?, account.tally),
            })
        });
        let verdicts = verdicts.collect();
        self.0.retain(|account| over(account).is_none());
        verdicts
    }

    fn under_way(&mut self) -> Option<&mut Account> {
        self.0.last_mut().filter(|account| !account.complete)
    }
}

impl Verdict {
    /// How long it took.
    pub fn took(&self, now: Moment) -> Duration {
        now.saturating_sub(self.began)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn parting(completed: u64) -> Option<Parting> {
        Some(Parting {
            completed,
            handed_over: 10,
            closed_idle: 1,
            forced: 0,
        })
    }

    #[test]
    fn a_verdict_comes_when_the_last_old_worker_has_gone() {
        let mut ledger = Ledger::default();
        ledger.open(1, SECOND);
        // It was tried still.
        ledger.left(1, parting(9));
        ledger.rolls(2);
        ledger.left(1, parting(3));
        ledger.left(2, parting(9));
        assert_eq!(ledger.close(Some(2)), []);
        ledger.complete();
        assert_eq!(ledger.close(Some(1)), []);
        ledger.left(1, None);
        let tally = Tally {
            workers: 2,
            unreported: 1,
            clients: parting(3).unwrap(),
        };
        let verdict = Verdict {
            reload: 1,
            began: SECOND,
            outcome: Outcome::Complete(2, tally),
        };
        assert_eq!(ledger.close(Some(2)), [verdict]);
        assert_eq!(ledger, Ledger::default());
    }

    #[test]
    fn one_that_fails_leaves_those_before_it_open() {
        let mut ledger = Ledger::default();
        ledger.open(1, SECOND);
        ledger.rolls(2);
        ledger.complete();
        assert_eq!(ledger.fail("no database".to_owned()), None);
        ledger.open(2, 2 * SECOND);
        ledger.rolls(3);
        ledger.left(1, parting(1));
        ledger.left(2, parting(5));
        let failed = ledger.fail("no database".to_owned()).unwrap();
        assert_eq!((failed.reload, failed.took(5 * SECOND)), (2, 3 * SECOND));
        assert!(matches!(failed.outcome, Outcome::RolledBack(_)));
        let [verdict] = &ledger.close(None)[..] else {
            panic!("one verdict")
        };
        let Outcome::Complete(2, tally) = verdict.outcome else {
            panic!("{verdict:?}")
        };
        assert_eq!((tally.workers, tally.clients.completed), (1, 1));
    }
}
