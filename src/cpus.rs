//! How many processors the server may use: what `workers = auto` comes to.
//!
//! The least of what the affinity mask allows (sched_getaffinity(2)) and what the CPU quotas of the
//! control groups allow, from the process's own group up to the root of the mount (cgroups(7);
//! version 2: `cpu.max`; version 1: `cpu.cfs_quota_us` over `cpu.cfs_period_us`). Part of a
//! processor counts as a whole one. Files that are missing or odd set no bound.
#![forbid(unsafe_code)]

use std::path::Path;

use nix::sched::{CpuSet, sched_getaffinity};
use nix::unistd::Pid;

use crate::cgroups;

/// The number of processors, at least one.
pub fn available() -> usize {
    let read = |path: &Path| std::fs::read_to_string(path).ok();
    let allowed = affinity();
    quota(&read)
        .map_or(allowed, |quota| quota.min(allowed))
        .max(1)
}

/// Processors in the affinity mask. On a machine with more than the mask of the C library holds,
/// the standard library is asked instead.
fn affinity() -> usize {
    match sched_getaffinity(Pid::from_raw(0)) {
        Ok(set) => (0..CpuSet::count())
            .filter(|cpu| set.is_set(*cpu).unwrap_or(false))
            .count(),
        Err(_) => std::thread::available_parallelism().map_or(1, usize::from),
    }
}

/// Processors that the control groups allow; `None` when they set no bound.
fn quota(read: cgroups::Read<'_>) -> Option<usize> {
    let groups = cgroups::groups(read, "cpu").into_iter();
    groups
        .filter_map(|cgroups::Group { directory, version }| match version {
            2 => quota_v2(&read(&directory.join("cpu.max"))?),
            _ => {
                let quota = read(&directory.join("cpu.cfs_quota_us"))?;
                quota_v1(&quota, &read(&directory.join("cpu.cfs_period_us"))?)
            }
        })
        .min()
}

/// `cpu.max`: `QUOTA PERIOD` in microseconds; the quota may be `max`.
fn quota_v2(text: &str) -> Option<usize> {
    let (quota, period) = text.trim().split_once(' ')?;
    processors(quota.parse().ok()?, period.parse().ok()?)
}

/// `cpu.cfs_quota_us` (-1: none) and `cpu.cfs_period_us`.
fn quota_v1(quota: &str, period: &str) -> Option<usize> {
    processors(quota.trim().parse().ok()?, period.trim().parse().ok()?)
}

fn processors(quota: u64, period: u64) -> Option<usize> {
    if period == 0 {
        return None;
    }
    usize::try_from(quota.div_ceil(period))
        .ok()
        .map(|number| number.max(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotas() {
        for (text, meant) in [
            ("max 100000\n", None),
            ("200000 100000\n", Some(2)),
            ("150000 100000\n", Some(2)),
            ("1000 100000\n", Some(1)),
            ("0 100000", Some(1)),
            ("100000 0", None),
            ("100000", None),
            ("", None),
        ] {
            assert_eq!(quota_v2(text), meant, "{text:?}");
        }
        assert_eq!(quota_v1("-1\n", "100000\n"), None);
        assert_eq!(quota_v1("350000\n", "100000\n"), Some(4));
        assert_eq!(quota_v1("", "100000\n"), None);
    }

    const MOUNTS: &str = "\
        22 1 0:21 / /proc rw,nosuid - proc proc rw\n\
        30 23 0:26 / /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw,nsdelegate\n\
        35 23 0:31 /docker/1 /sys/fs/cgroup/cpu,cpuacct ro - cgroup cgroup rw,cpu,cpuacct\n\
        36 23 0:32 / /sys/fs/cgroup/cpuset ro - cgroup cgroup rw,cpuset\n";

    /// A system made of a few files.
    fn of(files: &[(&str, &str)]) -> Option<usize> {
        quota(&|path| {
            let found = files.iter().find(|(name, _)| Path::new(name) == path);
            found.map(|(_, text)| (*text).to_owned())
        })
    }

    #[test]
    fn the_least_bound_on_the_way_up_counts() {
        let groups = ("/proc/self/cgroup", "0::/a/b\n");
        let mounts = ("/proc/self/mountinfo", MOUNTS);
        let (inner, outer) = ("/sys/fs/cgroup/a/b/cpu.max", "/sys/fs/cgroup/a/cpu.max");
        assert_eq!(of(&[groups, mounts]), None);
        assert_eq!(of(&[groups, mounts, (inner, "400000 100000")]), Some(4));
        let both = [
            groups,
            mounts,
            (inner, "400000 100000"),
            (outer, "200000 100000"),
        ];
        assert_eq!(of(&both), Some(2));
        assert_eq!(
            of(&[groups, mounts, (inner, "max 100000"), (outer, "max 100000")]),
            None
        );
        // Nothing above the mount point is read.
        assert_eq!(
            of(&[groups, mounts, ("/sys/fs/cpu.max", "100000 100000")]),
            None
        );
        assert_eq!(of(&[]), None);
    }

    #[test]
    fn the_mount_of_a_container_shows_its_own_group() {
        let at = "/sys/fs/cgroup/cpu,cpuacct";
        let (quota, period) = (
            format!("{at}/cpu.cfs_quota_us"),
            format!("{at}/cpu.cfs_period_us"),
        );
        for group in ["4:cpu,cpuacct:/docker/1\n", "4:cpu,cpuacct:/elsewhere\n"] {
            let files = [
                ("/proc/self/cgroup", group),
                ("/proc/self/mountinfo", MOUNTS),
                (quota.as_str(), "250000\n"),
                (period.as_str(), "100000\n"),
            ];
            assert_eq!(of(&files), Some(3), "{group:?}");
        }
    }

    #[test]
    fn here_there_is_at_least_one() {
        assert!(available() >= 1);
    }
}
