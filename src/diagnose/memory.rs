//! Whether the kernel's OOM killer was at work: its counters, never a guess.

use std::fs;
use std::path::PathBuf;

/// The kernel's counts of processes killed for want of memory.
#[derive(Debug, Default)]
pub struct Oom {
    events: Option<PathBuf>,
    group: Option<u64>,
    machine: Option<u64>,
}

impl Oom {
    /// Finds the counters of this process's control group and of the machine.
    pub fn watch() -> Oom {
        let groups = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
        let events = groups.lines().find_map(events_of);
        let mut oom = Oom {
            events,
            group: None,
            machine: None,
        };
        oom.look();
        oom
    }

    /// Looks at the counters again; tells which one has grown since the last look.
    pub fn look(&mut self) -> Option<&'static str> {
        let group = self
            .events
            .as_ref()
            .and_then(|path| count(&fs::read_to_string(path).ok()?));
        let machine = fs::read_to_string("/proc/vmstat")
            .ok()
            .and_then(|text| count(&text));
        let grown = |before: Option<u64>, after: Option<u64>| before < after && before.is_some();
        let evidence = if grown(self.group, group) {
            Some("memory.events of its control group counts one more")
        } else if grown(self.machine, machine) {
            Some("the machine counts one more")
        } else {
            None
        };
        (self.group, self.machine) = (group, machine);
        evidence
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
    fn only_growth_is_evidence() {
        let mut oom = Oom::watch();
        let before = oom.look();
        assert_eq!(before, None);
        if let Some(count) = oom.machine {
            oom.group = None;
            oom.machine = count.checked_sub(1);
            assert_eq!(oom.look().is_some(), oom.machine.is_some() && count > 0);
        }
    }
}
