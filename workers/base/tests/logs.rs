//! The error log as its reader sees it. One test: the log is the process's.
#![allow(clippy::unwrap_used, reason = "helpers of tests are tests too")]

use std::fs::{File, read_to_string};
use std::os::fd::OwnedFd;

use ferricorn_base::logs;
use log::LevelFilter;
use nix::fcntl::OFlag;
use tempfile::TempDir;

/// What stands behind `[time] [pid] `, of each line.
fn told(text: &str) -> Vec<String> {
    let pid = std::process::id();
    text.lines()
        .map(|line| {
            let (stamp, rest) = line.split_at(27);
            let digits: String = stamp
                .chars()
                .map(|c| if c.is_ascii_digit() { '0' } else { c })
                .collect();
            let digits = digits.replace('-', "+");
            assert_eq!(digits, "[0000+00+00 00:00:00 +0000]", "{line}");
            let rest = rest.strip_prefix(&format!(" [{pid}] "));
            rest.unwrap_or_else(|| panic!("no pid: {line}")).to_owned()
        })
        .collect()
}

#[test]
fn the_error_log_is_gunicorns_and_nobody_can_forge_a_line() {
    let dir = TempDir::new().unwrap();
    let file = |name: &str| -> (OwnedFd, _) {
        let path = dir.path().join(name);
        (
            File::options()
                .append(true)
                .create(true)
                .open(&path)
                .unwrap()
                .into(),
            path,
        )
    };

    let (fd, path) = file("one");
    logs::init(LevelFilter::Info, fd).unwrap();
    log::error!("a");
    log::warn!("b");
    log::info!("c {}", "d");
    log::debug!("not this");
    log::info!("GET /\n[2026-11-23 02:58:16 +0000] [1] [INFO] forged\r\x1b[2J\u{9b}\u{2028}é\\");
    assert_eq!(
        told(&read_to_string(&path).unwrap()),
        [
            "[ERROR] a",
            "[WARNING] b",
            "[INFO] c d",
            "[INFO] GET /\\n[2026-11-23 02:58:16 +0000] [1] [INFO] forged\\r\\u{1b}[2J\\u{9b}\\u{2028}é\\",
        ]
    );

    let (fd, path) = file("two");
    logs::set_error(fd);
    logs::set_level(LevelFilter::Debug);
    log::debug!("e");
    log::trace!("not this");
    assert_eq!(told(&read_to_string(path).unwrap()), ["[DEBUG] e"]);

    // A reader that does not read: the test would hang if this waited.
    let (reader, writer) = nix::unistd::pipe2(OFlag::O_CLOEXEC).unwrap();
    logs::set_error(logs::unshared(writer));
    let long = "x".repeat(1000);
    while logs::dropped() == 0 {
        log::info!("{long}");
    }
    assert!(!logs::flush());

    // A second initialisation, as after a reload.
    let (fd, path) = file("three");
    logs::init(LevelFilter::Error, fd).unwrap();
    assert!(logs::flush());
    log::info!("not this");
    log::error!("f");
    let lines = told(&read_to_string(path).unwrap());
    let [kept @ .., notice, last] = lines.as_slice() else {
        panic!("{lines:?}")
    };
    assert!(kept.iter().all(|line| line.ends_with(&long)));
    assert!(notice.contains("1 log line was dropped here"), "{notice}");
    assert_eq!(last, "[ERROR] f");
    drop(reader);
}
