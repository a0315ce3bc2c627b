//! The control groups that this process is in: where their files lie.
//!
//! From the process's own group up to the root of the mount (cgroups(7)), of version 2 and of the
//! hierarchy of version 1 that has a controller. It only reads; what is missing or odd is left out.
#![forbid(unsafe_code)]

use std::path::{Path, PathBuf};

/// Reads a file, if it is there.
pub type Read<'a> = &'a dyn Fn(&Path) -> Option<String>;

/// A group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    /// Where its files lie.
    pub directory: PathBuf,
    /// Of which version it is, 1 or 2.
    pub version: u8,
}

/// The groups that bound this process by `controller`, in both versions, each before the one above it.
pub fn groups(read: Read<'_>, controller: &str) -> Vec<Group> {
    let text = |path: &str| read(Path::new(path)).unwrap_or_default();
    let (groups, mounts) = (text("/proc/self/cgroup"), text("/proc/self/mountinfo"));
    let second = group_v2(&groups).zip(mount_v2(&mounts));
    let first = group_v1(&groups, controller).zip(mount_v1(&mounts, controller));
    let all = [(second, 2), (first, 1)].into_iter();
    all.filter_map(|(found, version)| Some((found?, version)))
        .flat_map(|((group, mount), version)| {
            let above = above(&mount, group).into_iter();
            above.map(move |directory| Group { directory, version })
        })
        .collect()
}

/// Where a hierarchy is mounted, and which of its groups is the root of that mount.
#[derive(Debug, PartialEq, Eq)]
struct Mount {
    root: PathBuf,
    point: PathBuf,
}

/// The directories from `group` up to the root of the mount.
fn above(mount: &Mount, group: &str) -> Vec<PathBuf> {
    // In a container the mount's root is often the group itself. Where the group lies outside of
    // it (no cgroup namespace), only the mount point can be looked at.
    let inside = Path::new(group)
        .strip_prefix(&mount.root)
        .unwrap_or(Path::new(""));
    let leaf = mount.point.join(inside);
    leaf.ancestors()
        .take_while(|at| at.starts_with(&mount.point))
        .map(Path::to_path_buf)
        .collect()
}

/// The process's group of version 2 in /proc/self/cgroup: the line `0::PATH`.
fn group_v2(groups: &str) -> Option<&str> {
    groups.lines().find_map(|line| line.strip_prefix("0::"))
}

/// The process's group in the hierarchy of version 1 that has the controller.
fn group_v1<'a>(groups: &'a str, controller: &str) -> Option<&'a str> {
    groups.lines().find_map(|line| {
        let mut fields = line.splitn(3, ':');
        let controllers = fields.nth(1)?;
        controllers
            .split(',')
            .any(|name| name == controller)
            .then(|| fields.next())
            .flatten()
    })
}

/// The mount of version 2 in /proc/self/mountinfo (proc(5)).
fn mount_v2(mounts: &str) -> Option<Mount> {
    mounts.lines().find_map(|line| {
        let (mount, kind, _) = mount_line(line)?;
        (kind == "cgroup2").then_some(mount)
    })
}

/// The mount of version 1 that has the controller.
fn mount_v1(mounts: &str, controller: &str) -> Option<Mount> {
    mounts.lines().find_map(|line| {
        let (mount, kind, options) = mount_line(line)?;
        (kind == "cgroup" && options.split(',').any(|name| name == controller)).then_some(mount)
    })
}

/// Mount, file system type and super options of one line of mountinfo: `ID PARENT DEVICE ROOT
/// POINT OPTIONS [TAGS] - TYPE SOURCE SUPER-OPTIONS`.
fn mount_line(line: &str) -> Option<(Mount, &str, &str)> {
    let (left, right) = line.split_once(" - ")?;
    let mut left = left.split(' ').skip(3);
    let mount = Mount {
        root: left.next()?.into(),
        point: left.next()?.into(),
    };
    let mut right = right.split(' ');
    let kind = right.next()?;
    Some((mount, kind, right.nth(1)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_groups() {
        assert_eq!(
            group_v2("0::/system.slice/app.service\n"),
            Some("/system.slice/app.service")
        );
        assert_eq!(group_v2("4:cpu,cpuacct:/a\n"), None);
        let mixed = "5:memory:/m\n4:cpu,cpuacct:/docker/1:2\n3:cpuset:/s\n0::/u\n";
        assert_eq!(group_v1(mixed, "cpu"), Some("/docker/1:2"));
        assert_eq!(group_v2(mixed), Some("/u"));
        assert_eq!(group_v1("3:cpuset:/s\n0::/u\n", "cpu"), None);
    }

    const MOUNTS: &str = "\
        22 1 0:21 / /proc rw,nosuid - proc proc rw\n\
        30 23 0:26 / /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw,nsdelegate\n\
        35 23 0:31 /docker/1 /sys/fs/cgroup/cpu,cpuacct ro - cgroup cgroup rw,cpu,cpuacct\n\
        36 23 0:32 / /sys/fs/cgroup/cpuset ro - cgroup cgroup rw,cpuset\n";

    fn mount(root: &str, point: &str) -> Mount {
        Mount {
            root: root.into(),
            point: point.into(),
        }
    }

    #[test]
    fn mounts() {
        assert_eq!(mount_v2(MOUNTS), Some(mount("/", "/sys/fs/cgroup")));
        assert_eq!(
            mount_v1(MOUNTS, "cpu"),
            Some(mount("/docker/1", "/sys/fs/cgroup/cpu,cpuacct"))
        );
        assert_eq!(mount_v2(""), None);
        assert_eq!(mount_v1("nonsense - \n", "cpu"), None);
    }

    #[test]
    fn nothing_above_the_mount_point_is_a_group_of_ours() {
        let read = |path: &Path| match path.to_str() {
            Some("/proc/self/cgroup") => Some("4:cpu,cpuacct:/docker/1\n0::/a/b\n".to_owned()),
            Some("/proc/self/mountinfo") => Some(MOUNTS.to_owned()),
            _ => None,
        };
        let found: Vec<_> = groups(&read, "cpu")
            .into_iter()
            .map(|group| (group.version, group.directory))
            .collect();
        assert_eq!(
            found,
            [
                (2, PathBuf::from("/sys/fs/cgroup/a/b")),
                (2, PathBuf::from("/sys/fs/cgroup/a")),
                (2, PathBuf::from("/sys/fs/cgroup")),
                (1, PathBuf::from("/sys/fs/cgroup/cpu,cpuacct")),
            ]
        );
    }
}
