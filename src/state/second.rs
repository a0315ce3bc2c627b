//! Two masters beside each other: SIGUSR2 starts a second one, and one of the two leaves later.
//!
//! The first one supervises the start of the second like that of any child: with a deadline, and
//! nothing has changed until it serves. From then on both are masters in full, with what listeners
//! they have in common; which of them is to go is the operator's to say, and who is left finds out
//! that it is alone. To the service manager one of them speaks: the one that *leads*. Pure.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::action::{Action, Note, Signal};
use super::event::{Moment, Other};
use super::roll::Reload;
use super::{Phase, QUICK, State, TRIAL};

/// Whether there is another master, as this one sees it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Beside {
    /// There is none.
    #[default]
    Nobody,
    /// A second one starts.
    Starts {
        /// Its process, once there is one.
        pid: Option<i32>,
        /// When it must serve, or have ended; `None` when it was killed and its end is awaited.
        until: Option<Moment>,
        /// It was told to end.
        ends: bool,
    },
    /// A second one serves.
    Second {
        /// Its process.
        pid: i32,
        /// Whether we lead, and not it.
        leads: bool,
    },
    /// We are the second one, and the first one lives.
    First {
        /// Its process.
        pid: i32,
        /// Whether we lead, and not it.
        leads: bool,
    },
}

impl State {
    /// This is a second master, beside the one of this pid.
    pub fn follow(&mut self, first: i32) {
        self.beside = Beside::First {
            pid: first,
            leads: false,
        };
    }

    /// Whether this is a second master whose first one lives.
    pub fn is_second(&self) -> bool {
        matches!(self.beside, Beside::First { .. })
    }

    /// Whether this is a second master that does not serve yet: every one of its workers has to.
    pub(super) fn is_tried(&self) -> bool {
        self.is_second() && !self.announced
    }

    /// Whether a second master starts.
    pub(super) fn is_upgrading(&self) -> bool {
        matches!(self.beside, Beside::Starts { .. })
    }

    /// The master that leads, if it is not this one. A second one that stops gives the lead back.
    pub(super) fn leader(&self, stopping: bool) -> Option<i32> {
        match self.beside {
            Beside::Second { pid, leads: false } => Some(pid),
            Beside::First { pid, leads } if stopping || !leads => Some(pid),
            _ => None,
        }
    }

    /// Whether HUP is to bring back the workers that were retired in favour of another master: they are
    /// what they were, whatever is on disk now.
    pub fn may_return(&self) -> bool {
        let accompanied = matches!(self.beside, Beside::Second { .. } | Beside::First { .. });
        self.retired && accompanied
    }

    /// Brings back the workers that were retired.
    pub(super) fn come_back(&mut self, out: &mut Vec<Action>) {
        self.retired = false;
        out.push(Action::Tell(Note::Returned));
    }

    /// When the second master must serve.
    pub(super) fn second_deadline(&self) -> Option<Moment> {
        match self.beside {
            Beside::Starts { until, .. } => until,
            _ => None,
        }
    }

    /// The second master could not do anything for so long.
    pub(super) fn put_off_second(&mut self, time: Duration) {
        if let Beside::Starts {
            until: Some(until), ..
        } = &mut self.beside
        {
            *until += time;
        }
    }

    /// USR2.
    pub(super) fn upgrade(&mut self, now: Moment, out: &mut Vec<Action>) {
        let stops = self.stop_at.is_some() || matches!(self.phase, Phase::Stopping { .. });
        let refused = match self.beside {
            Beside::Starts { pid, .. } => {
                let pid = pid.unwrap_or_default();
                format!("a second master starts already (pid {pid})")
            }
            Beside::Second { pid, .. } => format!("there is a second master (pid {pid})"),
            Beside::First { pid, .. } => format!("the first master lives (pid {pid})"),
            Beside::Nobody if stops => "the server is about to stop".to_owned(),
            Beside::Nobody if !self.announced => "the server has not started yet".to_owned(),
            Beside::Nobody if self.reload != Reload::Idle => "a reload is under way".to_owned(),
            Beside::Nobody => {
                let until = now + self.policy(self.own).boot_timeout + TRIAL;
                self.beside = Beside::Starts {
                    pid: None,
                    until: Some(until),
                    ends: false,
                };
                out.push(Action::Upgrade);
                return;
            }
        };
        out.push(Action::Tell(Note::UpgradeRefused(refused)));
    }

    /// Something has become of the other master.
    pub(super) fn other(&mut self, what: Other, now: Moment, out: &mut Vec<Action>) {
        match (what, &mut self.beside) {
            (Other::Begun(second), Beside::Starts { pid, .. }) => *pid = Some(second),
            (
                Other::Boots(time),
                Beside::Starts {
                    until, ends: false, ..
                },
            ) => *until = Some(now + time + TRIAL),
            (
                Other::Serves,
                Beside::Starts {
                    pid: Some(pid),
                    ends: false,
                    ..
                },
            ) => {
                let pid = *pid;
                self.beside = Beside::Second { pid, leads: false };
                out.push(Action::Tell(Note::SecondServes(pid)));
            }
            (Other::Leaves, Beside::Second { leads, .. })
            | (Other::Leads, Beside::First { leads, .. }) => *leads = true,
            (Other::Ended(how), Beside::Starts { ends, .. }) => {
                let late = *ends && self.phase == Phase::Running;
                let how = match late {
                    true => format!("it was not ready in time, and {how}"),
                    false => how,
                };
                self.is_alone(Note::UpgradeFailed(how), out);
            }
            (Other::Ended(how), Beside::Second { pid, .. }) => {
                let note = Note::SecondEnded(*pid, how);
                self.is_alone(note, out);
            }
            (Other::Gone, Beside::First { pid, .. }) => {
                let note = Note::FirstGone(*pid);
                self.is_alone(note, out);
            }
            _ => {}
        }
    }

    fn is_alone(&mut self, note: Note, out: &mut Vec<Action>) {
        let nobody_serves = self.may_return();
        self.beside = Beside::Nobody;
        out.push(Action::Own);
        out.push(Action::Tell(note));
        if nobody_serves && !matches!(self.phase, Phase::Stopping { .. }) {
            self.come_back(out);
        }
    }

    /// Ends a second master that is past its deadline, first kindly.
    pub(super) fn second_overdue(&mut self, now: Moment, out: &mut Vec<Action>) {
        match &mut self.beside {
            Beside::Starts { until, ends, .. } if until.is_some_and(|at| at <= now) => {
                if *ends {
                    *until = None;
                    out.push(Action::EndSecond(Signal::Kill));
                } else {
                    self.end_second(now, out);
                }
            }
            _ => {}
        }
    }

    /// Ends a second master that does not serve yet.
    pub(super) fn end_second(&mut self, now: Moment, out: &mut Vec<Action>) {
        if let Beside::Starts { until, ends, .. } = &mut self.beside {
            if !std::mem::replace(ends, true) {
                *until = Some(now + SECOND_QUICK);
                out.push(Action::EndSecond(Signal::Term));
            }
        }
    }
}

/// How long a second master that was told to go has before it is killed: its workers have
/// [`QUICK`].
const SECOND_QUICK: Duration = QUICK.saturating_add(Duration::from_secs(1));

#[cfg(test)]
mod tests {
    use super::super::{Event, Policy, Stop, WorkerId};
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);
    const PID: i32 = 42;

    fn policy() -> Policy {
        Policy {
            workers: 2,
            boot_timeout: 10 * SECOND,
            ..Policy::FALLBACK
        }
    }

    /// A server whose two workers serve.
    struct Bench {
        state: State,
        now: Moment,
        workers: Vec<WorkerId>,
    }

    impl Bench {
        fn new() -> Bench {
            let mut bench = Bench {
                state: State::new(policy(), 8, 7),
                now: 100 * SECOND,
                workers: Vec::new(),
            };
            bench.workers = bench.boot();
            bench
        }

        fn second() -> Bench {
            let mut state = State::new(policy(), 8, 7);
            state.follow(PID);
            let mut bench = Bench {
                state,
                now: 100 * SECOND,
                workers: Vec::new(),
            };
            bench.workers = bench.boot();
            bench
        }

        fn boot(&mut self) -> Vec<WorkerId> {
            let actions = self.step(Event::Tick);
            let spawned = actions.iter().filter_map(|action| match action {
                Action::Spawn { worker, .. } => Some(*worker),
                _ => None,
            });
            let ids: Vec<WorkerId> = spawned.collect();
            for id in &ids {
                self.step(Event::Ready(*id));
            }
            ids
        }

        fn step(&mut self, event: Event) -> Vec<Action> {
            self.state.step(event, self.now)
        }

        fn other(&mut self, what: Other) -> Vec<Action> {
            self.step(Event::Other(what))
        }

        /// Up to a second master that boots.
        fn starts(&mut self) {
            assert_eq!(self.step(Event::Upgrade), [Action::Upgrade]);
            assert_eq!(self.other(Other::Begun(PID)), []);
        }

        fn serves(&mut self) {
            self.starts();
            let told = Action::Tell(Note::SecondServes(PID));
            assert_eq!(self.other(Other::Serves), [told]);
        }

        fn later(&mut self, time: Duration) -> Vec<Action> {
            self.now += time;
            self.step(Event::Tick)
        }

        fn refuses(&mut self, reason: &str) {
            match &self.step(Event::Upgrade)[..] {
                [Action::Tell(Note::UpgradeRefused(text))] => {
                    assert!(text.contains(reason), "{text}")
                }
                other => panic!("{other:?}"),
            }
        }
    }

    fn ended(how: &str) -> Other {
        Other::Ended(how.to_owned())
    }

    #[test]
    fn there_is_one_other_master_at_most() {
        let mut bench = Bench::new();
        bench.starts();
        bench.refuses("starts already (pid 42)");
        bench.other(Other::Serves);
        bench.refuses("a second master (pid 42)");
        bench.other(ended("x"));
        bench.serves();
        Bench::second().refuses("first master lives (pid 42)");
        let mut bench = Bench::second();
        bench.other(Other::Gone);
        bench.serves();
    }

    #[test]
    fn nothing_is_upgraded_that_starts_reloads_or_stops() {
        let mut bench = Bench {
            state: State::new(policy(), 8, 7),
            now: SECOND,
            workers: Vec::new(),
        };
        bench.step(Event::Tick);
        bench.refuses("not started");
        let mut bench = Bench::new();
        bench.step(Event::Reload);
        bench.refuses("reload");
        let mut bench = Bench::new();
        bench.step(Event::Stop(Stop::Graceful));
        bench.refuses("about to stop");
    }

    #[test]
    fn one_that_fails_has_changed_nothing_and_may_be_tried_again() {
        let mut bench = Bench::new();
        for _ in 0..2 {
            bench.starts();
            assert_eq!(
                bench.other(ended("no database")),
                [
                    Action::Own,
                    Action::Tell(Note::UpgradeFailed("no database".to_owned()))
                ]
            );
            assert_eq!(bench.state.standing(bench.now).main, None);
        }
    }

    #[test]
    fn one_that_is_late_is_told_to_end_and_then_killed() {
        let mut bench = Bench::new();
        bench.starts();
        assert_eq!(bench.later(19 * SECOND), []);
        // It has read a configuration that gives it longer.
        bench.other(Other::Boots(30 * SECOND));
        assert_eq!(bench.later(39 * SECOND), []);
        let term = Action::EndSecond(Signal::Term);
        assert_eq!(bench.later(SECOND), [term]);
        // Too late.
        assert_eq!(bench.other(Other::Serves), []);
        assert_eq!(bench.later(2 * SECOND), []);
        let kill = Action::EndSecond(Signal::Kill);
        assert_eq!(bench.later(SECOND), [kill]);
        assert_eq!(bench.state.deadline(), None);
        let actions = bench.other(ended("was killed"));
        assert!(
            matches!(&actions[1], Action::Tell(Note::UpgradeFailed(text)) if text.contains("in time")),
            "{actions:?}"
        );
    }

    #[test]
    fn a_reload_waits_for_the_second_master_to_serve() {
        let mut bench = Bench::new();
        bench.starts();
        assert_eq!(bench.step(Event::Reload), [Action::Tell(Note::ReloadWaits)]);
        assert!(bench.other(Other::Serves).contains(&Action::Probe));
    }

    #[test]
    fn the_lead_goes_to_the_second_and_comes_back() {
        let mut bench = Bench::new();
        let main = |bench: &Bench| bench.state.standing(bench.now).main;
        bench.starts();
        assert_eq!(main(&bench), None);
        bench.other(Other::Serves);
        assert_eq!(main(&bench), Some(PID));
        bench.other(Other::Leaves);
        assert_eq!(main(&bench), None);

        let mut bench = Bench::second();
        assert_eq!(main(&bench), Some(PID));
        bench.other(Other::Leads);
        assert_eq!(main(&bench), None);
        bench.step(Event::Stop(Stop::Graceful));
        assert_eq!(main(&bench), Some(PID));
        bench.other(Other::Gone);
        assert_eq!(main(&bench), None);
    }

    #[test]
    fn who_stops_takes_a_second_master_along_that_does_not_serve_yet() {
        let mut bench = Bench::new();
        bench.starts();
        let actions = bench.step(Event::Stop(Stop::Quick));
        assert!(
            actions.contains(&Action::EndSecond(Signal::Term)),
            "{actions:?}"
        );
        for id in bench.workers.clone() {
            let actions = bench.step(Event::Exited(id, super::super::Ending::Code(0)));
            assert!(!actions.contains(&Action::Exit(0)));
        }
        let kill = Action::EndSecond(Signal::Kill);
        assert_eq!(bench.later(3 * SECOND), [kill]);
        assert!(bench.other(ended("x")).contains(&Action::Exit(0)));
    }

    #[test]
    fn a_second_master_serves_when_every_worker_does() {
        let mut state = State::new(policy(), 8, 7);
        state.follow(PID);
        let actions = state.step(Event::Tick, SECOND);
        let spawned = |action: &Action| match action {
            Action::Spawn { worker, .. } => Some(*worker),
            _ => None,
        };
        let ids: Vec<WorkerId> = actions.iter().filter_map(spawned).collect();
        assert_eq!(state.step(Event::Ready(ids[0]), SECOND), []);
        let stage = ferricorn_base::lifeline::Stage::Boot;
        let failed = Event::Failed(ids[1], stage, "no database".to_owned());
        let actions = state.step(failed, SECOND);
        let told = |action: &Action| matches!(action, Action::Tell(Note::StartFailed { .. }));
        assert!(actions.iter().any(told), "{actions:?}");
        assert!(actions.contains(&Action::Quit(ids[0])), "{actions:?}");
    }

    #[test]
    fn workers_that_were_retired_come_back_when_they_are_missed() {
        let returned = Action::Tell(Note::Returned);
        for word in [Event::Reload, Event::Other(ended("x"))] {
            let mut bench = Bench::new();
            bench.serves();
            bench.step(Event::RetireAll);
            for id in bench.workers.clone() {
                bench.step(Event::Exited(id, super::super::Ending::Code(0)));
            }
            let actions = bench.step(word);
            assert!(actions.contains(&returned), "{actions:?}");
            let spawns = |action: &&Action| matches!(action, Action::Spawn { generation: 1, .. });
            assert_eq!(actions.iter().filter(spawns).count(), 2);
            assert!(!actions.contains(&Action::Probe));
        }
        // Nobody else has been serving: the operator wants it so.
        let mut bench = Bench::new();
        bench.step(Event::RetireAll);
        bench.starts();
        assert!(!bench.other(ended("x")).contains(&returned));
        assert_eq!(bench.step(Event::Reload), [Action::Probe]);
    }

    #[test]
    fn who_is_left_has_everything_even_when_it_stops() {
        let mut bench = Bench::second();
        bench.step(Event::Stop(Stop::Graceful));
        let actions = bench.other(Other::Gone);
        assert!(actions.contains(&Action::Own), "{actions:?}");
        assert!(!bench.state.is_second());
    }
}
