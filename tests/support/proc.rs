//! What `/proc` says of processes (proc(5)). Only looked at; nothing is believed for long.

use std::collections::BTreeMap;
use std::fs;

/// The fields of `/proc/PID/stat` that tests look at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stat {
    pub pid: i32,
    pub name: String,
    pub state: char,
    pub parent: i32,
    pub group: i32,
    /// User and system time, in ticks.
    pub ticks: u64,
}

pub fn stat(pid: i32) -> Option<Stat> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (before, after) = text.rsplit_once(") ")?;
    let (_, name) = before.split_once(" (")?;
    let fields: Vec<&str> = after.split_whitespace().collect();
    Some(Stat {
        pid,
        name: name.to_owned(),
        state: fields.first()?.chars().next()?,
        parent: fields.get(1)?.parse().ok()?,
        group: fields.get(2)?.parse().ok()?,
        ticks: fields.get(11)?.parse::<u64>().ok()? + fields.get(12)?.parse::<u64>().ok()?,
    })
}

fn all() -> impl Iterator<Item = Stat> {
    fs::read_dir("/proc")
        .into_iter()
        .flatten()
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter_map(stat)
}

/// The children of a process, zombies among them.
pub fn children(pid: i32) -> Vec<i32> {
    all()
        .filter(|stat| stat.parent == pid)
        .map(|stat| stat.pid)
        .collect()
}

/// The processes of a group that live.
pub fn group(group: i32) -> Vec<i32> {
    all()
        .filter(|stat| stat.group == group && stat.state != 'Z')
        .map(|stat| stat.pid)
        .collect()
}

/// Whether there is such a process and it has not ended.
pub fn is_alive(pid: i32) -> bool {
    stat(pid).is_some_and(|stat| stat.state != 'Z' && stat.state != 'X')
}

/// The children of a process that have ended and were not reaped.
pub fn zombies(pid: i32) -> Vec<i32> {
    all()
        .filter(|stat| stat.parent == pid && stat.state == 'Z')
        .map(|stat| stat.pid)
        .collect()
}

/// The open descriptors of a process and what they are.
pub fn descriptors(pid: i32) -> BTreeMap<i32, String> {
    let entries = fs::read_dir(format!("/proc/{pid}/fd"))
        .into_iter()
        .flatten();
    let named = entries.filter_map(|entry| {
        let entry = entry.ok()?;
        let number = entry.file_name().to_str()?.parse().ok()?;
        let link = fs::read_link(entry.path()).ok()?;
        Some((number, link.to_string_lossy().into_owned()))
    });
    named.collect()
}

/// The kinds of a process's descriptors from 3 up, without their numbers: `socket`, `pipe`,
/// `anon_inode:[eventfd]`, paths as they are.
pub fn kinds(pid: i32) -> Vec<String> {
    let mut kinds: Vec<String> = descriptors(pid)
        .into_iter()
        .filter(|(number, _)| *number > 2)
        .map(|(_, link)| match link.split_once(':') {
            Some((kind @ ("socket" | "pipe"), _)) => kind.to_owned(),
            _ => link,
        })
        .collect();
    kinds.sort();
    kinds
}

/// One line of `/proc/PID/status`, without its name.
pub fn status(pid: i32, name: &str) -> Option<String> {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
    Some(line.trim().to_owned())
}

/// A line of `/proc/PID/smaps_rollup` in KiB: `Pss` counts a page that n processes share as an nth.
pub fn memory(pid: i32, name: &str) -> Option<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).ok()?;
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
    line.split_whitespace().next()?.parse().ok()
}

/// The names of the threads of a process.
pub fn threads(pid: i32) -> Vec<String> {
    let tasks = fs::read_dir(format!("/proc/{pid}/task"))
        .into_iter()
        .flatten();
    let named = tasks.filter_map(|task| {
        let name = fs::read_to_string(task.ok()?.path().join("comm")).ok()?;
        Some(name.trim().to_owned())
    });
    named.collect()
}

/// The arguments of a process, as ps shows them.
pub fn command_line(pid: i32) -> String {
    let bytes = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes).replace('\0', " ");
    text.trim().to_owned()
}
