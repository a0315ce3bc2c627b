//! Requests that are slow, told of while they run: `slow-request`. When one ends its worker tells, too.

use std::time::Duration;

use super::{Master, now};
use crate::control::words::News;
use crate::diagnose::{self, Thread};

impl Master {
    /// Tells of each request once that is with a handler for too long.
    pub(super) fn look_for_slow(&mut self) {
        let now = now();
        let mut found = Vec::new();
        for (id, child) in self.children.iter().filter(|(_, child)| child.ready) {
            let generation = self.generations.get(&child.generation);
            let limit = generation.map_or(Duration::ZERO, |g| g.slow_request);
            if limit.is_zero() {
                continue;
            }
            let mut view = self.view(child);
            let age = |since_us: u64| now.saturating_sub(Duration::from_micros(since_us));
            view.in_flight
                .retain(|request| !request.streaming && age(request.started_us) >= limit);
            found.push((*id, view));
        }
        for (id, mut view) in found {
            let Some(child) = self.children.get_mut(&id) else {
                continue;
            };
            let began = view.in_flight.iter().map(|request| request.started_us);
            let told = std::mem::replace(&mut child.slow, began.collect());
            view.in_flight
                .retain(|request| !told.contains(&request.started_us));
            let (Some(pid), slot) = (child.pid, child.slot) else {
                continue;
            };
            if view.in_flight.is_empty() {
                continue;
            }
            let requests = diagnose::requests(&view, now).join("; ");
            let thread = Thread::with(pid, view.in_flight[0].tid);
            let whereabouts = diagnose::whereabouts(thread, None, now);
            log::warn!("slow request: worker {slot} (pid {pid}) serves {requests} ({whereabouts})");
            self.news_of(id, |who| News::SlowRequest { who, requests });
        }
    }
}
