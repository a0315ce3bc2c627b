//! Whether the kernel's OOM killer was at work: its counters, never a guess.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::cgroups::{self, Group};
use crate::state::Moment;

/// How often the counters are read while nothing happens.
const EVERY: Duration = Duration::from_secs(5);
/// How old a growth may be to explain a death.
const FRESH: Duration = Duration::from_secs(10);

/// The kernel's counts of processes killed for want of memory.
#[derive(Debug, Default)]
pub struct Oom {
    // Where its control group counts, and what that is called.
    events: Option<(PathBuf, &'static str)>,
    group: Option<u64>,
    machine: Option<u64>,
    read: Moment,
    grown: Option<(Moment, &'static str)>,
}

impl Oom {
    /// Finds the counters of this process's control group and of the machine.
    pub fn watch(now: Moment) -> Oom {
        let groups = cgroups::groups(&text, "memory");
        let mut oom = Oom {
            events: groups.iter().find_map(|group| counter(group, &text)),
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
        let of = |path: &Path| count(&text(path)?);
        let events = self.events.as_ref();
        let group = events.and_then(|(path, _)| of(path));
        let machine = of(Path::new("/proc/vmstat"));
        let grown = |before: Option<u64>, after: Option<u64>| before.is_some() && before < after;
        if grown(self.group, group) {
            self.grown = events.map(|(_, words)| (now, *words));
        } else if grown(self.machine, machine) {
            self.grown = Some((now, "the machine counts one more"));
        }
        (self.group, self.machine, self.read) = (group, machine, now);
    }
}

/// Where a control group counts those of its processes that were killed, whosever limit it was: the
/// counts of both versions are the group's own.
fn counter(group: &Group, read: cgroups::Read<'_>) -> Option<(PathBuf, &'static str)> {
    let (file, words) = match group.version {
        2 => (
            "memory.events",
            "memory.events of its control group counts one more",
        ),
        _ => (
            "memory.oom_control",
            "memory.oom_control of its control group counts one more",
        ),
    };
    let path = group.directory.join(file);
    count(&read(&path)?).map(|_| (path, words))
}

fn text(path: &Path) -> Option<String> {
    fs::read_to_string(path).ok()
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
    fn the_counter_is_the_groups_own_in_either_version() {
        let read = |path: &Path| match path.to_str() {
            Some("/m/a/memory.oom_control") => Some("under_oom 0\noom_kill 7\n".to_owned()),
            Some("/u/memory.events") => Some("oom 3\noom_kill 2\n".to_owned()),
            // Of kernels that do not count.
            Some("/m/b/memory.oom_control") => Some("under_oom 0\n".to_owned()),
            _ => None,
        };
        let found = |directory: &str, version| {
            let directory = PathBuf::from(directory);
            let found = counter(&Group { directory, version }, &read);
            found.map(|(path, _)| path.display().to_string())
        };
        let first = "/m/a/memory.oom_control".to_owned();
        assert_eq!(found("/m/a", 1), Some(first));
        assert_eq!(found("/u", 2), Some("/u/memory.events".to_owned()));
        assert_eq!((found("/m/b", 1), found("/m/a", 2)), (None, None));
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
