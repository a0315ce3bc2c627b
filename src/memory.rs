//! How much memory processes have, and how much is left for another one.
//!
//! The proportional size (PSS) costs the system a walk through a process's pages, so each is read
//! rarely, a few at a time, and never for more than a small part of the master's time; where it may not be
//! read, the resident size (RSS) has to do, which counts what is shared in full. What is left is what
//! the control groups and the machine have. It reads files and decides nothing.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::Duration;

use ferricorn_base::sys::monotonic;

use crate::cgroups::{self, Group, Read};
use crate::state::Moment;

/// How often a process is looked at, at most.
const EVERY: Duration = Duration::from_secs(2);
/// How long one look may go on.
const LOOK: Duration = Duration::from_millis(5);
/// So many times as long as a look has taken there is none after it.
const REST: u32 = 50;

/// What a process has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reading {
    /// Bytes that are in memory.
    pub rss: u64,
    /// The same, where each page that several processes share counts in parts; if it can be read.
    pub pss: Option<u64>,
}

/// Reads what processes have, now and then.
#[derive(Debug, Default)]
pub struct Scales {
    last: BTreeMap<i32, (Moment, Reading)>,
    rest: Moment,
}

/// Knows where the limits are.
#[derive(Debug)]
pub struct Headroom {
    groups: Vec<Group>,
}

impl Reading {
    /// Reads what a process has: /proc/PID/statm and /proc/PID/smaps_rollup, proc(5).
    pub fn of(pid: i32) -> Option<Reading> {
        let rss = resident(pid)?;
        // Who waits in the kernel may hold what this reading would wait for.
        let pss = match is_stuck(pid) {
            true => None,
            false => text(pid, "smaps_rollup").and_then(|text| kibibytes(&text, "Pss:")),
        };
        Some(Reading { rss, pss })
    }

    /// What counts: the proportional size, if it is known.
    pub fn bytes(self) -> u64 {
        self.pss.unwrap_or(self.rss)
    }
}

/// What a process has, if that is more than this.
pub fn beyond(pid: i32, most: u64) -> Option<u64> {
    // What is shared counts in full here, and is counted quickly.
    resident(pid).filter(|rss| *rss > most)?;
    let bytes = Reading::of(pid)?.bytes();
    (bytes > most).then_some(bytes)
}

impl Scales {
    /// Looks at those whose turn it is; returns what was read. Of each process is given what it may have
    /// at most: one that is beyond that is looked at before its turn.
    pub fn look(&mut self, processes: &[(i32, Option<u64>)], now: Moment) -> Vec<(i32, Reading)> {
        self.last
            .retain(|pid, _| processes.iter().any(|(other, _)| other == pid));
        if now < self.rest {
            return Vec::new();
        }
        let began = monotonic();
        let mut due: Vec<(bool, Moment, i32)> = Vec::new();
        for (pid, most) in processes {
            let large = most.is_some_and(|most| resident(*pid).is_some_and(|rss| rss > most));
            let last = self.last.get(pid).map(|(at, _)| *at);
            let next = last.map_or(Moment::ZERO, |at| at + EVERY);
            if large || next <= now {
                due.push((!large, next, *pid));
            }
        }
        due.sort_unstable();
        let mut found = Vec::new();
        for (_, _, pid) in due {
            if let Some(reading) = Reading::of(pid) {
                self.last.insert(pid, (now, reading));
                found.push((pid, reading));
            }
            if monotonic().saturating_sub(began) > LOOK {
                break;
            }
        }
        self.rest = now + monotonic().saturating_sub(began) * REST;
        found
    }

    /// What a process had when it was last looked at.
    pub fn last(&self, pid: i32) -> Option<Reading> {
        self.last.get(&pid).map(|(_, reading)| *reading)
    }
}

impl Headroom {
    /// Finds the limits of this process.
    pub fn find() -> Headroom {
        Headroom {
            groups: cgroups::groups(&read, "memory"),
        }
    }

    /// How many bytes another process could take without anybody being killed or slowed down for it.
    pub fn free(&self) -> Option<u64> {
        free(&self.groups, &read)
    }
}

/// "312.5 MiB".
pub fn mebibytes(bytes: u64) -> String {
    format!("{:.1} MiB", bytes as f64 / (1 << 20) as f64)
}

fn free(groups: &[Group], read: Read<'_>) -> Option<u64> {
    let machine =
        read(Path::new("/proc/meminfo")).and_then(|text| kibibytes(&text, "MemAvailable:"));
    let groups = groups.iter().filter_map(|group| free_in(group, read));
    groups.chain(machine).min()
}

/// What a control group may take beyond what it has; none where it has no limit. Its file cache makes
/// room.
fn free_in(group: &Group, read: Read<'_>) -> Option<u64> {
    let file = |name: &str| read(&group.directory.join(name));
    let number = |name: &str| file(name)?.trim().parse::<u64>().ok();
    let (limits, current, prefix): (&[&str], _, _) = match group.version {
        2 => (&["memory.max", "memory.high"], "memory.current", ""),
        _ => (
            &["memory.limit_in_bytes"],
            "memory.usage_in_bytes",
            "total_",
        ),
    };
    // "max" is no number.
    let limit = limits.iter().filter_map(|name| number(name)).min()?;
    let stat = file("memory.stat").unwrap_or_default();
    let cache = ["inactive_file", "active_file", "slab_reclaimable"];
    let cache = cache.iter().filter_map(|name| {
        let name = format!("{prefix}{name}");
        let line = stat.lines().find_map(|line| line.strip_prefix(&name));
        line?.trim().parse::<u64>().ok()
    });
    let cache: u64 = cache.sum();
    Some((limit.saturating_add(cache)).saturating_sub(number(current)?))
}

/// The second number of statm: pages that are in memory.
fn resident(pid: i32) -> Option<u64> {
    let pages: u64 = text(pid, "statm")?.split(' ').nth(1)?.parse().ok()?;
    Some(pages * page_size())
}

fn page_size() -> u64 {
    let size = nix::unistd::sysconf(nix::unistd::SysconfVar::PAGE_SIZE);
    size.ok()
        .flatten()
        .and_then(|size| u64::try_from(size).ok())
        .unwrap_or(4096)
}

/// Whether a process waits where no signal reaches it (state D).
fn is_stuck(pid: i32) -> bool {
    let stat = text(pid, "stat").unwrap_or_default();
    // Its name may have anything in it but ends with the last bracket.
    let state = stat.rsplit_once(')').map(|(_, rest)| rest.trim_start());
    state.is_none_or(|state| state.starts_with('D'))
}

fn text(pid: i32, name: &str) -> Option<String> {
    fs::read_to_string(format!("/proc/{pid}/{name}")).ok()
}

fn read(path: &Path) -> Option<String> {
    fs::read_to_string(path).ok()
}

/// The value of "NAME  123 kB" in bytes.
fn kibibytes(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    let number: u64 = line.trim().strip_suffix(" kB")?.trim().parse().ok()?;
    number.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    /// What is free on a machine made of a few files.
    fn of(groups: &[(&str, u8)], files: &[(&str, &str)]) -> Option<u64> {
        let group = |(directory, version): &(&str, u8)| Group {
            directory: directory.into(),
            version: *version,
        };
        let groups: Vec<Group> = groups.iter().map(group).collect();
        free(&groups, &|path| {
            let found = files.iter().find(|(name, _)| Path::new(name) == path);
            found.map(|(_, text)| (*text).to_owned())
        })
    }

    #[test]
    fn the_narrowest_limit_counts_and_file_cache_makes_room() {
        let machine = ("/proc/meminfo", "MemFree: 1 kB\nMemAvailable:    4096 kB\n");
        assert_eq!(of(&[], &[machine]), Some(4 * MIB));
        assert_eq!(of(&[], &[]), None);
        let second = [("/g/a", 2), ("/g", 2)];
        let files = [
            machine,
            ("/g/a/memory.max", "max\n"),
            ("/g/a/memory.high", "3145728\n"),
            ("/g/a/memory.current", "2097152\n"),
            (
                "/g/a/memory.stat",
                "anon 5\ninactive_file 524288\nactive_file 524288\n",
            ),
            ("/g/memory.max", "max\n"),
        ];
        assert_eq!(of(&second, &files), Some(2 * MIB));
        assert_eq!(of(&second, &files[..3]), Some(4 * MIB));
        let first = [
            machine,
            ("/m/memory.limit_in_bytes", "2097152\n"),
            ("/m/memory.usage_in_bytes", "2097152\n"),
            (
                "/m/memory.stat",
                "cache 7\ninactive_file 7\ntotal_inactive_file 1048576\n",
            ),
        ];
        assert_eq!(of(&[("/m", 1)], &first), Some(MIB));
        // A limit was lowered below what is used.
        assert_eq!(of(&[("/m", 1)], &first[..3]), Some(0));
    }

    #[test]
    fn this_process_has_memory() {
        let pid = std::process::id() as i32;
        let reading = Reading::of(pid).unwrap();
        assert!(reading.rss > 100_000 && reading.pss.is_none_or(|pss| pss > 10_000));
        assert_eq!(Reading::of(i32::MAX), None);
        assert!(beyond(pid, 10_000).is_some_and(|bytes| bytes > 10_000));
        assert_eq!((beyond(pid, u64::MAX), beyond(i32::MAX, 0)), (None, None));
    }

    #[test]
    fn each_process_has_its_turn_and_what_is_too_large_comes_at_once() {
        let pid = std::process::id() as i32;
        let mut scales = Scales::default();
        let second = Duration::from_secs(1);
        let now = 1000 * second;
        assert_eq!(scales.look(&[(pid, None)], now).len(), 1);
        assert!(scales.last(pid).is_some());
        scales.rest = Moment::ZERO;
        assert_eq!(scales.look(&[(pid, None)], now + second), []);
        assert_eq!(scales.look(&[(pid, Some(u64::MAX))], now + second), []);
        scales.rest = Moment::ZERO;
        assert_eq!(scales.look(&[(pid, Some(1))], now + second).len(), 1);
        // It costs a small part of the time.
        scales.rest = now + 9 * second;
        assert_eq!(scales.look(&[(pid, Some(1))], now + 8 * second), []);
        assert_eq!(scales.look(&[(pid, None)], now + 9 * second).len(), 1);
        assert_eq!(scales.look(&[], now + 9 * second), []);
        assert_eq!(scales.last(pid), None);
    }
}
