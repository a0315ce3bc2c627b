//! The error log as its reader sees it. One test: the log is the process's.
#![allow(clippy::unwrap_used, reason = "helpers of tests are tests too")]

use std::fs::{File, read_to_string};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixDatagram;

use ferricorn_base::logs::syslog::{Form, Sender};
use ferricorn_base::logs::{self, Outlet};
use log::LevelFilter;
use nix::fcntl::OFlag;
use nix::sys::socket::UnixAddr;
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
    logs::init(LevelFilter::Info, vec![Outlet::lines(fd)]).unwrap();
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
    let counted = logs::counted();
    assert_eq!(
        (counted.errors, counted.warnings, counted.dropped),
        (1, 1, 0)
    );

    // A reader that does not read: the test would hang if this waited.
    let (reader, writer) = nix::unistd::pipe2(OFlag::O_CLOEXEC).unwrap();
    logs::set_error(logs::unshared(writer));
    let long = "x".repeat(1000);
    while logs::counted().dropped == 0 {
        log::info!("{long}");
    }
    assert!(!logs::flush());

    // A second initialisation, as after a reload.
    let (fd, path) = file("three");
    logs::init(LevelFilter::Error, vec![Outlet::lines(fd)]).unwrap();
    assert!(logs::flush());
    log::info!("not this");
    log::error!("f");
    let counted = logs::counted();
    assert_eq!((counted.errors, counted.dropped), (2, 1));
    let lines = told(&read_to_string(path).unwrap());
    let [kept @ .., notice, last] = lines.as_slice() else {
        panic!("{lines:?}")
    };
    assert!(kept.iter().all(|line| line.ends_with(&long)));
    assert!(notice.contains("1 log line was dropped here"), "{notice}");
    assert_eq!(last, "[ERROR] f");
    drop(reader);
    syslog_and_journal();
}

/// Two outlets at once, neither of which lets a message end, or begin another.
fn syslog_and_journal() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("journal");
    let journal = UnixDatagram::bind(&path).unwrap();
    let (syslog, ours) = UnixDatagram::pair().unwrap();
    let sender = Sender::new(Form::Rfc5424, 16, "shop \n\u{e9}", "", 256);
    logs::init(
        LevelFilter::Info,
        vec![
            Outlet::syslog(ours.into(), None, sender),
            Outlet::journal(
                UnixDatagram::unbound().unwrap().into(),
                UnixAddr::new(&path).unwrap(),
                "shop".to_owned(),
            ),
        ],
    )
    .unwrap();
    let next = |from: &UnixDatagram| {
        let mut buffer = vec![0; 65536];
        let length = from.recv(&mut buffer).unwrap();
        String::from_utf8(buffer[..length].to_vec()).unwrap()
    };
    let pid = std::process::id();
    log::error!("a\n<0>1 - - - - - - forged\0\u{85}");
    let text = next(&syslog);
    let (head, rest) = text.split_once("Z ").unwrap();
    assert!(head.starts_with("<131>1 20"), "{text}");
    assert_eq!(
        rest,
        format!("- shop {pid} error - a\\n<0>1 - - - - - - forged\\u{{0}}\\u{{85}}")
    );
    let fields = next(&journal);
    assert!(
        fields.starts_with("MESSAGE=a\\n<0>1 - - - - - - forged"),
        "{fields}"
    );
    assert!(fields.contains("\nPRIORITY=3\nSYSLOG_IDENTIFIER=shop\n"));

    // What is too long is cut, in syslog much earlier.
    log::info!("{}", "\u{e9}".repeat(100_000));
    let text = next(&syslog);
    assert!(text.len() <= 256 && text.ends_with("\u{e9}..."), "{text}");
    let fields = next(&journal);
    assert!((40_000..50_000).contains(&fields.len()), "{}", fields.len());
    assert!(fields.contains("\u{e9}...\nPRIORITY=6\n"));
}
