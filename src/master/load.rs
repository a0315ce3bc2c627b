//! How much there is to do: what the state decides the number of workers by.
//!
//! It reads the scoreboard, /proc and the accept queues once a second, where there is anything to
//! decide. A worker is busy while a handler runs in it (on each of its threads), or while it has the processor, whichever is
//! more: one that waits for a database is as busy as one that reckons, and so is one that has so many
//! small requests that its loop takes the time.

use std::collections::BTreeMap;
use std::time::Duration;

use ferricorn_base::board::{Counter, SeatView};
use nix::unistd::{SysconfVar, sysconf};

use super::Master;
use crate::diagnose;
use crate::sockets;
use crate::state::{Event, Load, Moment, Worker, WorkerId};

/// How often it is measured.
const EVERY: Duration = Duration::from_secs(1);

/// What was measured last.
#[derive(Debug, Default)]
pub(super) struct Measured {
    at: Moment,
    workers: BTreeMap<WorkerId, Busy>,
}

/// For how long a worker was busy since its start, in either way.
#[derive(Clone, Copy, Debug)]
struct Busy {
    handlers: Duration,
    processor: Duration,
}

impl Master {
    /// Measures the load when it is time to.
    pub(super) fn measure(&mut self, now: Moment) {
        if self.state.scaling().is_none() {
            self.measured = Measured::default();
            return;
        }
        let passed = now.saturating_sub(self.measured.at);
        if passed < EVERY {
            return;
        }
        let pool = self.state.pool();
        let serving = |id: &WorkerId| pool.get(*id).is_some_and(Worker::serves);
        let children = self.children.iter().filter(|(id, _)| serving(id));
        let workers: BTreeMap<WorkerId, Busy> = children
            .map(|(id, child)| {
                let processor = child.pid.and_then(processor_time).unwrap_or_default();
                // A worker has as many handlers as threads, and is busy when all are.
                let threads = self.threads_of(child) as u32;
                let handlers = handler_time(&self.view(child), now) / threads;
                (
                    *id,
                    Busy {
                        handlers,
                        processor,
                    },
                )
            })
            .collect();
        let known = workers.iter().filter_map(|(id, after)| {
            let before = self.measured.workers.get(id)?;
            Some(share(*before, *after, passed))
        });
        let busy = known.sum();
        let listeners = self.generations.get(&self.serving);
        let queues = listeners.map(|g| sockets::queues(&g.listeners));
        let waiting = queues.iter().flatten().map(|queue| queue.waiting).sum();
        self.measured = Measured { at: now, workers };
        self.happened(Event::Load(Load { busy, waiting }));
    }
}

/// Which part of the time that has passed a worker was busy, in thousandths.
fn share(before: Busy, after: Busy, passed: Duration) -> u32 {
    let handlers = after.handlers.saturating_sub(before.handlers);
    let processor = after.processor.saturating_sub(before.processor);
    let share = handlers.max(processor).as_secs_f64() / passed.as_secs_f64();
    (share * 1000.0).clamp(0.0, 1000.0) as u32
}

/// The time in handlers, that of those under way included, as the worker says.
fn handler_time(view: &SeatView, now: Moment) -> Duration {
    let done = Duration::from_micros(view.counters[Counter::HandlerMicros as usize]);
    done.saturating_add(diagnose::in_handlers(view, now))
}

/// The processor time of a process: utime and stime of /proc/PID/stat, in ticks (proc(5)).
fn processor_time(pid: i32) -> Option<Duration> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // Its name may have anything in it but ends with the last bracket.
    let mut fields = text.rsplit_once(')')?.1.split_ascii_whitespace().skip(11);
    let mut ticks = || fields.next()?.parse::<u64>().ok();
    let ticks = ticks()?.checked_add(ticks()?)?;
    let each = sysconf(SysconfVar::CLK_TCK).ok().flatten();
    let each = each.and_then(|each| u64::try_from(each).ok());
    Some(Duration::from_secs(1).mul_f64(ticks as f64 / each.unwrap_or(100).max(1) as f64))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_worker_is_busy_in_its_handlers_or_on_the_processor() {
        let busy = |handlers: u64, processor: u64| Busy {
            handlers: Duration::from_millis(handlers),
            processor: Duration::from_millis(processor),
        };
        for (after, expected) in [
            (busy(1000, 1000), 0),
            (busy(1500, 1000), 250),
            (busy(1500, 2000), 500),
            (busy(9000, 1000), 1000),
            // Another worker's numbers, or nonsense.
            (busy(0, 0), 0),
        ] {
            let found = share(busy(1000, 1000), after, Duration::from_secs(2));
            assert_eq!(found, expected, "{after:?}");
        }
    }

    #[test]
    fn this_process_has_had_the_processor() {
        assert!(processor_time(std::process::id() as i32).is_some());
        assert!(processor_time(i32::MAX).is_none());
    }
}
