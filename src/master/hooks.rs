//! The hooks of the program that run in the master: when, and what they are told.

use ferricorn_base::{Ended, Hooks, Whom};

use super::Master;
use crate::children::Child;
use crate::diagnose;
use crate::state::{self, Ending, WorkerId};

impl Master {
    pub(super) fn hook(&self, name: &str, run: impl FnOnce(&mut dyn Hooks)) {
        self.registry.hooks().call(name, run);
    }

    pub(super) fn before_fork(&self, slot: usize, generation: state::Generation) {
        let whom = Whom {
            slot,
            pid: 0,
            generation,
        };
        self.hook("pre_fork", |hooks| hooks.pre_fork(whom));
    }

    pub(super) fn before_abort(&self, worker: WorkerId) {
        let fate = self.state.pool().get(worker).and_then(|worker| worker.fate);
        if let (Some(child), Some(fate)) = (self.children.get(&worker), fate) {
            let why = diagnose::accusation(fate);
            let run = |hooks: &mut dyn Hooks| hooks.worker_abort(whom(child), why);
            self.hook("worker_abort", run);
        }
    }

    pub(super) fn after_exit(&self, child: &Child, ending: Ending, reason: &str, expected: bool) {
        let (code, signal) = match ending {
            Ending::Code(code) => (Some(code), None),
            Ending::Signal(signal) => (None, Some(signal)),
        };
        let how = Ended {
            code,
            signal,
            reason,
            expected,
        };
        self.hook("child_exit", |hooks| hooks.child_exit(whom(child), how));
    }

    /// Tells how many workers are wanted, if that is news.
    pub(super) fn count_workers(&mut self) {
        let new = self.state.wanted();
        let old = self.counted.replace(new);
        if old != Some(new) {
            self.hook("nworkers_changed", |hooks| hooks.nworkers_changed(new, old));
        }
    }
}

fn whom(child: &Child) -> Whom {
    Whom {
        slot: child.slot,
        pid: child.pid.unwrap_or(0),
        generation: child.generation,
    }
}
