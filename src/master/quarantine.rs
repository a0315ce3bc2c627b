//! Poison: what workers died of goes into quarantine, and out of it again.
//!
//! The ledger decides; here it is told of deaths, and what comes of that is written on the scoreboard,
//! where all workers look, and told to whoever watches. Nothing here waits.

use ferricorn_base::board::{SeatView, resource};

use super::{Master, now};
use crate::control::words::{Answer, News, Quarantined};
use crate::diagnose;
use crate::poison::{Held, Policy, Suspect};

impl Master {
    /// A worker has died while it served this, in a way that says something about it.
    pub(super) fn blame(&mut self, view: &SeatView) {
        let policy = self.poison_policy();
        let Some(board) = self.board.as_ref().filter(|_| policy.deaths > 0) else {
            return;
        };
        let suspects = view.in_flight.iter().map(|request| Suspect {
            fingerprint: board.fingerprint(&request.line),
            request: name(&request.line),
            streaming: request.streaming,
        });
        let suspects: Vec<Suspect> = suspects.collect();
        let (held, surplus) = self.poison.died(policy, &suspects, now());
        self.show_poison();
        for one in held {
            let Held {
                request, deaths, ..
            } = &one;
            let fingerprint = fingerprint(&one);
            let (window, hold) = (policy.window.as_secs_f64(), policy.hold.as_secs_f64());
            let until = match one.until {
                Some(_) => format!("for {hold} s, or until it is cleared"),
                None => "until it is cleared".to_owned(),
            };
            let workers = if *deaths == 1 { "worker" } else { "workers" };
            log::error!(
                "{request} is in quarantine: {deaths} {workers} died of it within {window} s. It is \
                 answered 503 {until}: ctl quarantine clear {fingerprint}"
            );
            self.publish(&News::Quarantined {
                fingerprint,
                request: one.request,
                deaths: one.deaths,
                hold: one.until.map(|_| hold),
            });
        }
        self.released(surplus, "the table is full");
    }

    /// Lets go of what was held for long enough, and of everything when no request is to be poison any
    /// more.
    pub(super) fn look_at_poison(&mut self) {
        if self.poison_policy().deaths == 0 {
            let gone = self.poison.clear(None);
            self.released(gone, "poison-deaths is 0");
        }
        let gone = self.poison.expire(now());
        self.released(gone, "poison-hold is over");
    }

    /// What is in quarantine, or, where it says whom, what is no more.
    pub(super) fn quarantine(&mut self, clear: Option<&str>) -> Result<Answer, String> {
        let shown = match clear {
            None => self.quarantined(),
            Some(which) => {
                let number = match which {
                    "all" => None,
                    text => {
                        let number = u64::from_str_radix(text, 16);
                        Some(number.map_err(|_| format!("{text:?} is no fingerprint"))?)
                    }
                };
                let gone = self.poison.clear(number);
                if gone.is_empty() && number.is_some() {
                    return Err(format!("{which} is not in quarantine"));
                }
                let shown = gone.iter().map(show).collect();
                self.released(gone, "the operator asked for it");
                shown
            }
        };
        Ok(Answer {
            quarantine: Some(shown),
            ..Answer::done()
        })
    }

    /// What is in quarantine, the oldest first.
    pub(super) fn quarantined(&self) -> Vec<Quarantined> {
        self.poison.held().iter().map(show).collect()
    }

    /// Writes on the scoreboard what is in quarantine.
    pub(super) fn show_poison(&self) {
        let held = self.poison.held().iter();
        let table: Vec<u64> = held.map(|held| held.fingerprint).collect();
        if let Some(board) = &self.board {
            board.set_poison(&table);
        }
    }

    fn released(&mut self, gone: Vec<Held>, cause: &str) {
        if gone.is_empty() {
            return;
        }
        self.show_poison();
        for one in gone {
            let fingerprint = fingerprint(&one);
            let request = one.request;
            log::info!("{request} is in quarantine no more: {cause}");
            self.publish(&News::Released {
                fingerprint,
                request,
                cause: cause.to_owned(),
            });
        }
    }

    fn poison_policy(&self) -> Policy {
        let serving = self.generations.get(&self.serving);
        serving.map(|g| g.poison).unwrap_or_default()
    }
}

/// Method and path of what a cell says, escaped.
fn name(line: &[u8]) -> String {
    let (method, path) = resource(line);
    diagnose::line(&[method, b" ", path].concat())
}

fn fingerprint(held: &Held) -> String {
    format!("{:016x}", held.fingerprint)
}

fn show(held: &Held) -> Quarantined {
    let now = now();
    Quarantined {
        fingerprint: fingerprint(held),
        request: held.request.clone(),
        deaths: held.deaths,
        age: now.saturating_sub(held.since).as_secs_f64(),
        left: held
            .until
            .map(|until| until.saturating_sub(now).as_secs_f64()),
    }
}
