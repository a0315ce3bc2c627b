//! Whether the kernel's OOM killer was at work: its counters, never a guess.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use crate::state::Moment;

/// How often the counters are read while nothing happens.
const EVERY: Duration = Duration::from_secs(5);
/// How old a growth may be to explain a death.
const FRESH: Duration = Duration::from_secs(10);

/// The kernel's counts of processes killed for want of memory.
#[derive(Debug, Default)]
pub struct Oom {
    events: Option<PathBuf>,
    group: Option<u64>,
    machine: Option<u64>,
    read: Moment,
    grown: Option<(Moment, &'static str)>,
}

impl Oom {
    /// Finds the counters of this process's control group and of the machine.
    pub fn watch(now: Moment) -> Oom {
        let groups = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
        let events = groups.lines().find_map(events_of);
        let mut oom = Oom {
            events,
            ..Oom::default()
        };
        oom.read(now);
        oom
    }

    /// Reads the counters now and then, so that old growth explains no new death.
    pub fn look(&mut self, now: Moment) {
        if now >= self.read + EVERY {
            self.read(now);
        }
    }

    /// Which counter has grown just now.
    pub fn evidence(&mut self, now: Moment) -> Option<&'static str> {
        self.read(now);
        let (at, words) = self.grown?;
        (now <= at + FRESH).then_some(words)
    }

    fn read(&mut self, now: Moment) {
        let text = |path: &PathBuf| fs::read_to_string(path).ok();
        let group = self.events.as_ref().and_then(|path| count(&text(path)?));
        let machine = text(&"/proc/vmstat".into()).and_then(|text| count(&text));
        let grown = |before: Option<u64>, after: Option<u64>| before.is_some() && before < after;
        if grown(self.group, group) {
            self.grown = Some((now, "memory.events of its control group counts one more"));
        } else if grown(self.machine, machine) {
            self.grown = Some((now, "the machine counts one more"));
        }
        (self.group, self.machine, self.read) = (group, machine, now);
    }
}

fn events_of(line: &str) -> Option<PathBuf> {
    let (controllers, path) = line.split_once(':')?.1.split_once(':')?;
    let path = path.trim_start_matches('/');
    let candidates = match controllers {
        "" => ["/sys/fs/cgroup", "memory.events"],
        list if list.split(',').any(|name| name == "memory") => {
            ["/sys/fs/cgroup/memory", "memory.oom_control"]
        }
        _ => return None,
    };
    let [root, file] = candidates;
    // In a container the path may be the host's while the mount shows only our part of it.
    [
        PathBuf::from(root).join(path).join(file),
        PathBuf::from(root).join(file),
    ]
    .into_iter()
    .find(|path| path.exists())
}

fn count(text: &str) -> Option<u64> {
    text.lines()
        .find_map(|line| line.strip_prefix("oom_kill "))
        .and_then(|n| n.trim().parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_count_is_found_among_the_others() {
        assert_eq!(
            count("low 0\nhigh 0\nmax 0\noom 3\noom_kill 2\noom_group_kill 0\n"),
            Some(2)
        );
        assert_eq!(
            count("oom_kill_disable 0\nunder_oom 0\noom_kill 7\n"),
            Some(7)
        );
        assert_eq!(count("nr_free_pages 1\n"), None);
    }

    #[test]
    fn only_fresh_growth_is_evidence() {
        let now = Duration::from_secs(100);
        let mut oom = Oom::watch(now);
        assert_eq!(oom.evidence(now), None);
        oom.grown = Some((now, "words"));
        assert_eq!(oom.evidence(now + FRESH), Some("words"));
        assert_eq!(oom.evidence(now + FRESH * 2), None);
    }

    #[test]
    fn what_was_never_counted_has_not_grown() {
        let now = Duration::from_secs(100);
        let mut oom = Oom {
            read: now,
            ..Oom::default()
        };
        oom.read(now);
        assert_eq!(oom.grown, None);
        if let Some(count @ 1..) = oom.machine {
            oom.machine = Some(count - 1);
            oom.read(now);
            assert!(oom.grown.is_some());
        }
    }
}
