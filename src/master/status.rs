//! How the server stands, for the control socket: what the state decided, what the scoreboard says,
//! what became of earlier workers, put together for one answer. It only looks.
//!
//! What workers say is bounded and made printable here; nobody further on has to.

use std::collections::BTreeMap;

use ferricorn_base::board::{Board, RequestView, SeatView, Tally};

use super::{Master, now};
use crate::children::Child;
use crate::control::words::{Counters, Current, LISTED, Reload, Status, Worker as Shown};
use crate::diagnose;
use crate::sockets;
use crate::state::{Moment, Phase, Stage, Standing, Step, Worker};

/// Requests under way that are told of at once, of all workers; of each its oldest, in any case.
const TOLD: usize = 512;

impl Master {
    /// How the server stands.
    pub(super) fn status(&self) -> Status {
        let now = now();
        let standing = self.state.standing(now);
        let serving = self.generations.get(&self.serving);
        let queries = serving.is_some_and(|generation| generation.show_queries);
        let most = listed(self.children.len());
        let workers = self.state.pool().iter();
        let mut workers: Vec<Shown> = workers
            .filter_map(|(id, worker)| {
                let child = self.children.get(&id)?;
                let mut shown = self.worker_status(worker, child, queries, now)?;
                shown.current.truncate(most);
                Some(shown)
            })
            .collect();
        workers.sort_by_key(|worker| worker.slot);
        let totals = self.board.as_ref().map(Board::totals).unwrap_or_default();
        Status {
            server: env!("CARGO_PKG_VERSION").to_owned(),
            pid: std::process::id(),
            name: serving.and_then(|generation| generation.name.clone()),
            uptime: since(self.control.started, now),
            phase: self.phase(&standing).to_owned(),
            generation: standing.generation,
            listeners: serving
                .map(|g| g.listeners.iter().map(|listener| listener.url()).collect())
                .unwrap_or_default(),
            wanted: standing.wanted,
            ready: standing.ready,
            workers,
            reload: standing.reload.map(|step| reload(standing.reloads, step)),
            reloads: standing.reloads,
            failure: standing.failure.map(str::to_owned),
            outage: standing.outage.map(|begun| since(begun, now)),
            aide: self.aides.pid(),
            trouble: standing.trouble.map(str::to_owned),
            totals: Counters::of(&totals.counters),
            handler_times: trimmed(&totals.handler_times),
            queue_times: trimmed(&totals.queue_times),
            restarts: self.tallied(Tally::Exits),
            verdicts: self.tallied(Tally::Reloads),
            queues: serving
                .map(|g| sockets::queues(&g.listeners))
                .unwrap_or_default(),
            quarantine: self.quarantined(),
            scaling: self.scaling(),
            suspended: self.suspended(now),
            ignored_limits: self.state.ignored_limits(),
            free_memory: self.state.free_memory(),
            memory: self.memory_of(std::process::id() as i32),
            aide_memory: self.aides.pid().and_then(|pid| self.memory_of(pid)),
            mold_memory: self.mold.as_ref().and_then(|mold| self.memory_of(mold.pid)),
        }
    }

    fn tallied(&self, what: Tally) -> BTreeMap<String, u64> {
        let board = self.board.as_ref();
        board.map(|board| board.tallied(what)).unwrap_or_default()
    }

    fn phase(&self, standing: &Standing<'_>) -> &'static str {
        match self.state.phase() {
            _ if standing.stopping => "stopping",
            Phase::Stopping { .. } => "stopping",
            _ if !standing.announced => "starting",
            _ if standing.reload.is_some() => "reloading",
            Phase::Starting | Phase::Running => "serving",
        }
    }

    /// How many requests a worker can have in handlers at once.
    pub(super) fn threads_of(&self, child: &Child) -> usize {
        let generation = self.generations.get(&child.generation);
        generation.map_or(1, |g| g.patience.threads.max(1))
    }

    /// None for one that a mold is to make: it is no process yet.
    fn worker_status(
        &self,
        worker: &Worker,
        child: &Child,
        queries: bool,
        now: Moment,
    ) -> Option<Shown> {
        let pid = child.pid?;
        let memory = self.scales.last(pid);
        let view = self.view(child);
        let counters = Counters::of(&view.counters);
        let past = self.past.of(child.slot);
        Some(Shown {
            slot: child.slot,
            pid,
            generation: child.generation,
            stage: stage(worker).to_owned(),
            age: since(child.started, now),
            requests: counters.requests,
            connections: view.connections,
            in_flight: view.in_flight.len(),
            waiting: view.waiting,
            current: current(&view, queries, now),
            handling: diagnose::in_handlers(&view, now).as_secs_f64(),
            threads: self.threads_of(child),
            counters,
            handler_times: trimmed(&view.handler_times),
            rss: memory.map(|memory| memory.rss),
            pss: memory.and_then(|memory| memory.pss),
            restarts: past.ended(),
            last_end: past.last(now),
        })
    }
}

/// How many requests of each of so many workers are told of, so that a client of the control socket can
/// take it all.
fn listed(workers: usize) -> usize {
    (TOLD / workers.max(1)).clamp(1, LISTED)
}

/// What a worker is doing, in a word.
pub(super) fn stage(worker: &Worker) -> &'static str {
    match worker.stage {
        Stage::Booting { .. } => "booting",
        Stage::Serving { .. } if worker.retiring.is_some() => "retiring",
        Stage::Serving { .. } => "serving",
        Stage::Draining { .. } => "draining",
        Stage::Leaving { .. } | Stage::Dismissed { .. } => "leaving",
        Stage::Asked { .. } => "hung",
        Stage::Aborted { .. } | Stage::Killed => "killed",
    }
}

fn reload(number: u64, step: Step) -> Reload {
    let (step, target, ready) = match step {
        Step::Trying => ("trying", None, None),
        Step::Rolling { target, ready } => ("rolling", Some(target), Some(ready)),
    };
    Reload {
        number,
        step: step.to_owned(),
        target,
        ready,
    }
}

/// The oldest requests of a worker that are under way.
fn current(view: &SeatView, queries: bool, now: Moment) -> Vec<Current> {
    let mut requests: Vec<&RequestView> = view.in_flight.iter().collect();
    requests.sort_by_key(|request| request.started_us);
    let shown = requests.into_iter().take(LISTED).map(|request| {
        let (method, target) = diagnose::request_line(&request.line, queries);
        Current {
            id: request.id.clone(),
            method,
            target,
            peer: request.peer.to_string(),
            age: diagnose::age(request.started_us, now).as_secs_f64(),
            streaming: request.streaming,
        }
    });
    shown.collect()
}

/// Without the zeros at the end.
fn trimmed(histogram: &[u64]) -> Vec<u64> {
    let used = histogram.iter().rposition(|count| *count > 0);
    histogram[..used.map_or(0, |last| last + 1)].to_vec()
}

fn since(then: Moment, now: Moment) -> f64 {
    now.saturating_sub(then).as_secs_f64()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::UNREAD;
    use crate::control::words::{Answer, End, Line, Quarantined, Said};
    use ferricorn_base::Peer;
    use ferricorn_base::board::{BUCKETS, COUNTERS, LINE_MAX, POISONS, WORKER_SEATS};

    /// What a board full of workers can make a status be at most.
    #[test]
    fn a_client_can_take_how_the_largest_server_stands() {
        let hostile = "\u{1}".repeat(LINE_MAX);
        let request = RequestView {
            line: format!("GET {hostile}").into_bytes(),
            peer: Peer::Tcp(
                "[2001:db8:ffff:ffff:ffff:ffff:ffff:ffff]:65535"
                    .parse()
                    .unwrap(),
            ),
            id: "x".repeat(128),
            started_us: 0,
            ended_us: 0,
            status: 0,
            deadline_us: None,
            tid: 0,
            streaming: true,
        };
        let view = SeatView {
            in_flight: vec![request; 64],
            ..SeatView::default()
        };
        for workers in [1, 60, 64, 65, 128, WORKER_SEATS] {
            let most = listed(workers);
            assert!((1..=LISTED).contains(&most) && most * workers <= TOLD.max(workers));
            let mut worker = Shown {
                stage: "draining".to_owned(),
                in_flight: 64,
                current: current(&view, true, Moment::MAX),
                counters: Counters::of(&[u64::MAX; COUNTERS]),
                handler_times: vec![u64::MAX; BUCKETS],
                rss: Some(u64::MAX),
                pss: Some(u64::MAX),
                last_end: Some(End {
                    how: "x".repeat(500),
                    ..End::default()
                }),
                ..Shown::default()
            };
            worker.current.truncate(most);
            let held = Quarantined {
                fingerprint: "x".repeat(16),
                request: diagnose::line(hostile.as_bytes()),
                deaths: usize::MAX,
                age: 1e9,
                left: Some(1e9),
            };
            let status = Status {
                workers: vec![worker; workers],
                quarantine: vec![held; POISONS],
                failure: Some("x".repeat(4096)),
                ..Status::default()
            };
            let answer = Answer {
                status: Some(Box::new(status)),
                ..Answer::done()
            };
            let length = Line::text(Said::Answer(answer)).len();
            assert!(length < UNREAD - 64 * 1024, "{workers}: {length}");
        }
    }
}
