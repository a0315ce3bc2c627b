//! What the commands of the control socket mean, and what has happened.
//!
//! A command becomes an event of the state, like a signal; its answer is how things stand after it.
//! Nothing here waits.

use std::rc::Rc;

use ferricorn_base::board::Tally;
use ferricorn_base::lifeline::Retirement;

use super::status::stage;
use super::{Master, now};
use crate::children::Child;
use crate::control::words::{Answer, Command, Counts, News, Verdict, Who};
use crate::control::{ClientId, Interest, Peer};
use crate::diagnose;
use crate::sockets::Listener;
use crate::state::{
    self, Action, Event, Fate, Note, Outcome, Parting, Phase, Signal, Stop, WorkerId,
};
use crate::tally;

impl Master {
    /// The control sockets of all generations, each once.
    pub(super) fn control_sockets(&self) -> Vec<Rc<Listener>> {
        let mut sockets: Vec<Rc<Listener>> = Vec::new();
        for socket in self.generations.values().filter_map(|g| g.control.as_ref()) {
            if !sockets.iter().any(|other| Rc::ptr_eq(other, socket)) {
                sockets.push(Rc::clone(socket));
            }
        }
        sockets
    }

    /// Lets clients in, and does what they ask for.
    pub(super) fn hear_control(&mut self) {
        for socket in self.control_sockets() {
            self.control.accept(&socket, now());
        }
        for (client, peer, command) in self.control.hear(now()) {
            self.commanded(client, peer, &command);
        }
    }

    fn commanded(&mut self, client: ClientId, peer: Peer, command: &Command) {
        if !command.only_looks() {
            let Peer { uid, pid } = peer;
            let name = command.name();
            log::info!("Handling command: {name} (from pid {pid}, uid {uid})");
            let name = name.to_owned();
            self.publish(&News::Command { name, uid, pid });
        }
        // Who waits is noted first: what it waits for may come of the event at once.
        let answer = match *command {
            Command::Status {} => Ok(Answer {
                status: Some(Box::new(self.status())),
                ..Answer::done()
            }),
            Command::Events {} => return self.control.interest(client, Interest::Events),
            Command::Reload { wait } => {
                let number = self.state.next_reload();
                if self.state.standing(now()).stopping {
                    Err("the server stops".to_owned())
                } else if self.state.may_return() {
                    self.happened(Event::Reload);
                    Ok(Answer {
                        workers: Some(self.state.standing(now()).wanted),
                        ..Answer::done()
                    })
                } else if wait {
                    self.control.interest(client, Interest::Reload(number));
                    return self.happened(Event::Reload);
                } else {
                    self.happened(Event::Reload);
                    Ok(Answer {
                        reload: Some(number),
                        ..Answer::done()
                    })
                }
            }
            Command::Stop { wait } | Command::Quit { wait } => {
                let how = match command {
                    Command::Stop { .. } => Stop::Graceful,
                    _ => Stop::Quick,
                };
                if wait {
                    self.control.interest(client, Interest::Stop);
                    return self.happened(Event::Stop(how));
                }
                self.happened(Event::Stop(how));
                Ok(Answer::done())
            }
            Command::Reopen {} => {
                self.happened(Event::Reopen);
                Ok(Answer::done())
            }
            Command::Scale { workers, by } => self.scale(workers, by),
            Command::ScaleAuto {} => self.scale_auto(),
            Command::Drain { pid } => self.drain(pid),
            Command::LogLevel { ref level } => self.log_level(level.as_deref()),
            Command::Quarantine { ref clear } => self.quarantine(clear.as_deref()),
            Command::Kill { pid } => self.worker(pid).map(|id| {
                self.happened(Event::Kill(id));
                Answer::done()
            }),
        };
        let answer = answer.unwrap_or_else(Answer::failed);
        self.control.answer(client, answer, now());
    }

    fn scale(&mut self, workers: Option<usize>, by: Option<i64>) -> Result<Answer, String> {
        if matches!(self.state.phase(), Phase::Stopping { .. }) {
            return Err("the server stops".to_owned());
        }
        let wanted = self.state.standing(now()).wanted;
        let target = match (workers, by) {
            (Some(workers), None) => Some(workers),
            (None, Some(by)) => i64::try_from(wanted)
                .ok()
                .and_then(|wanted| usize::try_from(wanted.saturating_add(by)).ok()),
            _ => return Err("scale takes one of workers and by".to_owned()),
        };
        let Some(target) = target.filter(|target| *target > 0) else {
            return Err(format!("there are {wanted} workers, and one stays"));
        };
        self.happened(Event::Scale(target));
        let wanted = self.state.standing(now()).wanted;
        if wanted != target {
            return Err(format!("there is no room for {target} workers"));
        }
        Ok(Answer {
            workers: Some(wanted),
            ..Answer::done()
        })
    }

    fn scale_auto(&mut self) -> Result<Answer, String> {
        if self.state.scaling().is_none() {
            return Err("min-workers and max-workers leave nothing to decide".to_owned());
        }
        self.happened(Event::ScaleAuto);
        Ok(Answer {
            workers: Some(self.state.standing(now()).wanted),
            ..Answer::done()
        })
    }

    fn drain(&mut self, pid: i32) -> Result<Answer, String> {
        let id = self.worker(pid)?;
        let stage = self.state.pool().get(id).map(stage);
        match stage {
            Some("serving") => {}
            Some(stage) => return Err(format!("worker process {pid} is {stage}, not serving")),
            None => return Err(unknown(pid)),
        }
        self.retiring(id, Retirement::Commanded);
        Ok(Answer::done())
    }

    /// A worker is to be replaced.
    pub(super) fn retiring(&mut self, id: WorkerId, why: Retirement) {
        let cause = diagnose::reason(Fate::Recycled(why));
        self.news_of(id, |who| News::WorkerRetiring { who, cause });
        self.happened(Event::Retiring(id, why));
    }

    /// The worker that has this pid, and has not been reaped.
    fn worker(&self, pid: i32) -> Result<WorkerId, String> {
        let found = self
            .children
            .iter()
            .find(|(_, child)| child.pid == Some(pid));
        found.map(|(id, _)| *id).ok_or_else(|| unknown(pid))
    }

    /// Tells the clients of the control socket what has happened.
    pub(super) fn publish(&mut self, news: &News) {
        self.control.publish(news, now());
    }

    /// The same, of one worker, if it is there.
    pub(super) fn news_of(&mut self, worker: WorkerId, news: impl FnOnce(Who) -> News) {
        if let Some(who) = self.children.get(&worker).and_then(who) {
            self.publish(&news(who));
        }
    }

    /// What an action that is about to be performed means to those who watch. Those that may fail
    /// tell of themselves.
    pub(super) fn news_before(&mut self, action: &Action) {
        match action {
            Action::Drain { worker, .. } => {
                let cause = self.cause(*worker);
                self.news_of(*worker, |who| News::WorkerDraining { who, cause });
            }
            Action::Quit(worker) => {
                let cause = self.cause(*worker);
                self.news_of(*worker, |who| News::WorkerLeaving { who, cause });
            }
            Action::Signal(worker, signal) => {
                let cause = self.cause(*worker);
                let signal = match signal {
                    Signal::Term => "SIGTERM",
                    Signal::Abort => "SIGABRT",
                    Signal::Kill => "SIGKILL",
                };
                self.news_of(*worker, |who| News::WorkerSignalled {
                    who,
                    signal: signal.to_owned(),
                    cause,
                });
            }
            Action::Tell(note) => {
                if let Some(news) = self.told(note) {
                    self.publish(&news);
                }
            }
            _ => {}
        }
    }

    /// Why the state ends a worker.
    fn cause(&self, worker: WorkerId) -> String {
        let fate = self.state.pool().get(worker).and_then(|worker| worker.fate);
        fate.map(diagnose::reason).unwrap_or_default()
    }

    fn told(&self, note: &Note) -> Option<News> {
        Some(match note {
            Note::BootFailed {
                slot,
                reason,
                retry,
            } => News::BootFailed {
                slot: *slot,
                cause: reason.clone(),
                retry: retry.as_secs_f64(),
            },
            Note::Crashed { slot, retry } => News::Crashed {
                slot: *slot,
                retry: retry.as_secs_f64(),
            },
            Note::Suspended { slot, hold } => News::Suspended {
                slot: *slot,
                seconds: hold.as_secs_f64(),
            },
            Note::LimitTooSmall { limit, slot, bytes } => News::LimitTooSmall {
                limit: limit.name().to_owned(),
                slot: *slot,
                bytes: *bytes,
            },
            Note::MemoryShort { free, worker } => News::MemoryShort {
                free: *free,
                worker: *worker,
            },
            Note::Rolling(generation) => News::Rolling {
                reload: self.state.next_reload() - 1,
                generation: *generation,
            },
            Note::ReloadWaits => News::ReloadWaits {},
            Note::Wanted(workers) => News::Wanted { workers: *workers },
            Note::Scaled {
                from,
                to,
                share,
                waiting,
            } => News::Scaled {
                from: *from,
                workers: *to,
                busy: f64::from(*share) / 1000.0,
                waiting: *waiting,
            },
            Note::NoMemoryForMore => News::NoMemoryForMore {},
            Note::Returned => News::Wanted {
                workers: self.state.standing(now()).wanted,
            },
            Note::Retired => News::Retired {},
            Note::StopsIn(time) => News::StopsSoon {
                seconds: time.as_secs_f64(),
            },
            Note::Stopping(how) => News::Stopping {
                graceful: *how == Stop::Graceful,
                cause: self.state.standing(now()).failure.map(str::to_owned),
            },
            // The verdict on the reload, the answer to the command, or the log say so.
            Note::StartFailed { .. }
            | Note::ReloadFailed { .. }
            | Note::NeverNone
            | Note::UpgradeRefused(_)
            | Note::UpgradeFailed(_)
            | Note::SecondServes(_)
            | Note::SecondEnded(..)
            | Note::FirstGone(_)
            | Note::NoMoreSeats => return None,
        })
    }

    /// A reload is over.
    pub(super) fn verdict(&mut self, verdict: state::Verdict) {
        let reload = verdict.reload;
        let took = verdict.took(now());
        let seconds = took.as_secs_f64();
        if let Some(board) = &self.board {
            board.tally(Tally::Reloads, tally::verdict(&verdict.outcome), 1);
        }
        match verdict.outcome {
            Outcome::Failed(cause) | Outcome::RolledBack(cause) => {
                self.publish(&News::ReloadFailed {
                    reload,
                    cause,
                    seconds,
                })
            }
            Outcome::Complete(generation, tally) => {
                let verdict = Verdict {
                    generation,
                    seconds,
                    workers: tally.workers,
                    unreported: tally.unreported,
                    counts: counts(tally.clients),
                };
                log::info!("Reload {reload}: the old workers have gone; {verdict}");
                self.publish(&News::ReloadComplete { reload, verdict });
            }
        }
    }
}

/// A worker in the news; none that is not made yet.
pub(super) fn who(child: &Child) -> Option<Who> {
    Some(Who {
        slot: child.slot,
        pid: child.pid?,
        generation: child.generation,
    })
}

/// What a worker said of its clients.
pub(super) fn counts(parting: Parting) -> Counts {
    Counts {
        completed: parting.completed,
        handed_over: parting.handed_over,
        closed_idle: parting.closed_idle,
        forced: parting.forced,
    }
}

fn unknown(pid: i32) -> String {
    format!("there is no worker with pid {pid}")
}
