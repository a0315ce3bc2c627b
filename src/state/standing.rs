//! How the server stands: what the service manager is told. Pure; it only looks.

use super::action::Fate;
use super::event::{Generation, Moment};
use super::pool::{Stage, Worker};
use super::roll::Reload;
use super::{Phase, State};

/// How the server stands at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing<'a> {
    /// Every worker of the first start has answered.
    pub announced: bool,
    /// The master that leads, if it is another one.
    pub main: Option<i32>,
    /// It stops, or soon will (`pre-stop-delay`).
    pub stopping: bool,
    /// How many reloads have begun since the first start.
    pub reloads: u64,
    /// What the one under way is doing, if there is one.
    pub reload: Option<Step>,
    /// Why the start or the last reload has failed, if it has.
    pub failure: Option<&'a str>,
    /// The generation that serves, or served before the roll.
    pub generation: Generation,
    /// Workers that serve.
    pub ready: usize,
    /// Workers that there should be.
    pub wanted: usize,
    /// Processes that have not ended.
    pub alive: usize,
    /// There are workers, and each is past a deadline of its own.
    pub stuck: bool,
    /// Since when nobody serves: after a first worker was ready, while any are wanted, and not during
    /// a stop.
    pub outage: Option<Moment>,
    /// Why, as far as it is known.
    pub trouble: Option<&'a str>,
}

/// What a reload is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Trying and executing the program on disk.
    Trying,
    /// Replacing the workers.
    Rolling {
        /// The new generation.
        target: Generation,
        /// Its workers that serve.
        ready: usize,
    },
}

impl State {
    /// How the server stands.
    pub fn standing(&self, now: Moment) -> Standing<'_> {
        let reload = match &self.reload {
            Reload::Idle => None,
            Reload::Probing { .. } | Reload::Executing => Some(Step::Trying),
            Reload::Rolling(roll) => Some(Step::Rolling {
                target: roll.target,
                ready: self
                    .pool
                    .count(|worker| worker.serves() && worker.generation == roll.target),
            }),
        };
        let stopping = self.stop_at.is_some() || matches!(self.phase, Phase::Stopping { .. });
        Standing {
            announced: self.announced,
            main: self.leader(stopping),
            stopping,
            reloads: self.reloads,
            reload,
            failure: self.failure.as_deref(),
            generation: self.current,
            ready: self.pool.count(Worker::serves),
            wanted: if self.retired { 0 } else { self.wanted },
            alive: self.pool.count(|_| true),
            stuck: !self.pool.is_empty() && !self.pool.any(|worker| !is_late(worker, now)),
            outage: self.outage,
            trouble: self.trouble.as_deref().filter(|_| self.outage.is_some()),
        }
    }

    /// Remembers since when nobody serves.
    pub(super) fn note_outage(&mut self, now: Moment) {
        let owed = self.phase == Phase::Running && !self.retired;
        self.outage = match owed && !self.pool.any(Worker::serves) {
            true => self.outage.or(Some(now)),
            false => None,
        };
        if self.outage.is_none() {
            self.trouble = None;
        }
    }
}

/// Whether a worker is past a deadline of its own: its time is up, or it is being ended because it
/// was.
fn is_late(worker: &Worker, now: Moment) -> bool {
    let over = worker.deadline().is_some_and(|until| until <= now);
    let hung = matches!(
        worker.fate,
        Some(
            Fate::BootTimeout
                | Fate::RequestTimeout
                | Fate::Silent
                | Fate::GracefulTimeout
                | Fate::Stubborn
        )
    );
    over || hung || worker.stage == Stage::Killed
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::{Action, Ending, Event, Overdue, Policy, Stop, WorkerId};
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    /// A server with two workers that both serve.
    fn serving() -> (State, Vec<WorkerId>) {
        let policy = Policy {
            workers: 2,
            ..Policy::FALLBACK
        };
        let mut state = State::new(policy, 8, 7);
        let actions = state.step(Event::Tick, SECOND);
        let ids: Vec<WorkerId> = actions
            .into_iter()
            .filter_map(|action| match action {
                Action::Spawn { worker, .. } => Some(worker),
                _ => None,
            })
            .collect();
        for id in &ids {
            state.step(Event::Ready(*id), SECOND);
        }
        (state, ids)
    }

    #[test]
    fn reloads_are_counted_and_the_reason_of_a_failure_is_kept_until_the_next() {
        let (mut state, _) = serving();
        let now = 2 * SECOND;
        assert_eq!(
            (state.standing(now).reloads, state.standing(now).reload),
            (0, None)
        );
        state.step(Event::Reload, now);
        assert_eq!(state.standing(now).reload, Some(Step::Trying));
        // One that waits has not begun.
        state.step(Event::Reload, now);
        assert_eq!(state.standing(now).reloads, 1);
        state.step(Event::LoadFailed("no database".to_owned()), now);
        let standing = state.standing(now);
        assert_eq!((standing.reloads, standing.reload), (2, Some(Step::Trying)));
        assert_eq!(standing.failure, None);
        state.step(Event::LoadFailed("no database".to_owned()), now);
        let standing = state.standing(now);
        assert_eq!((standing.reloads, standing.reload), (2, None));
        assert_eq!(standing.failure, Some("no database"));
        assert_eq!(
            (standing.ready, standing.wanted, standing.generation),
            (2, 2, 1)
        );
    }

    #[test]
    fn stuck_is_who_has_nobody_left_within_a_deadline() {
        let (mut state, ids) = serving();
        let mut now = 100 * SECOND;
        assert!(!state.standing(now).stuck);
        state.step(Event::Overdue(ids[0], Overdue::Heartbeat), now);
        state.step(Event::Overdue(ids[1], Overdue::Heartbeat), now);
        // Their successors boot.
        assert!(!state.standing(now).stuck);
        now += Policy::FALLBACK.boot_timeout;
        assert!(state.standing(now).stuck);
    }

    #[test]
    fn an_outage_is_when_nobody_serves_who_should() {
        let mut state = State::new(Policy::FALLBACK, 8, 7);
        let spawned = |actions: Vec<Action>| {
            let mut actions = actions.into_iter();
            actions.find_map(|action| match action {
                Action::Spawn { worker, .. } => Some(worker),
                _ => None,
            })
        };
        let first = spawned(state.step(Event::Tick, SECOND)).unwrap();
        // A start that has not succeeded is none.
        assert_eq!(state.standing(SECOND).outage, None);
        state.step(Event::Ready(first), 2 * SECOND);
        assert_eq!(state.standing(2 * SECOND).outage, None);
        let killed = Ending::Signal(libc::SIGKILL);
        state.step(Event::Exited(first, killed), 3 * SECOND);
        let second = spawned(state.step(Event::Tick, 4 * SECOND)).unwrap();
        state.step(Event::Tick, 5 * SECOND);
        let standing = state.standing(5 * SECOND);
        assert_eq!(standing.outage, Some(3 * SECOND));
        assert_eq!(standing.trouble, Some("worker 0 died"));
        state.step(Event::Ready(second), 6 * SECOND);
        let standing = state.standing(6 * SECOND);
        assert_eq!((standing.outage, standing.trouble), (None, None));
        // Nobody is wanted, or the server stops.
        for event in [Event::RetireAll, Event::Stop(Stop::Quick)] {
            let mut state = state.clone();
            state.step(event, 7 * SECOND);
            state.step(Event::Exited(second, Ending::Code(0)), 7 * SECOND);
            assert_eq!(state.standing(7 * SECOND).outage, None);
        }
    }

    #[test]
    fn nobody_at_all_is_not_stuck() {
        let state = State::new(Policy::FALLBACK, 8, 7);
        assert!(!state.standing(SECOND).stuck);
    }
}
