//! Programs that are started without copying this process: what they find, and what is said when they are not.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::ffi::CString;
use std::fs::File;
use std::io::Read;
use std::os::fd::OwnedFd;

use ferricorn_base::sys::spawn::{Child, Failed, Resource, Start};
use nix::fcntl::{FcntlArg, FdFlag, OFlag, fcntl};
use nix::unistd::pipe2;

fn text(text: &str) -> CString {
    CString::new(text).unwrap()
}

/// A shell that runs `script`, and what it says.
fn shell(script: &str) -> (Start, File) {
    let (reader, writer) = pipe2(OFlag::O_CLOEXEC).unwrap();
    let null = || OwnedFd::from(File::open("/dev/null").unwrap());
    let start = Start {
        path: text("/bin/sh"),
        arguments: ["sh", "-c", script].map(text).into(),
        environment: vec![text("NAME=value")],
        directory: File::open("/").unwrap().into(),
        streams: [null(), writer.try_clone().unwrap(), writer],
        limits: vec![],
    };
    (start, reader.into())
}

fn output(mut reader: File) -> String {
    let mut all = String::new();
    reader.read_to_string(&mut all).unwrap();
    all
}

/// Waits for it: its exit status, or minus the number of a signal.
fn ending(child: &Child) -> i32 {
    use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid};
    use std::os::fd::AsFd;
    match waitid(Id::PIDFd(child.fd.as_fd()), WaitPidFlag::WEXITED).unwrap() {
        WaitStatus::Exited(pid, status) if pid.as_raw() == child.pid => status,
        WaitStatus::Signaled(pid, signal, _) if pid.as_raw() == child.pid => -(signal as i32),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_program_has_what_it_is_given_and_nothing_else() {
    // One that everybody inherits who does not take care.
    let careless = File::open("/dev/null").unwrap();
    fcntl(&careless, FcntlArg::F_SETFD(FdFlag::empty())).unwrap();
    for (script, expected) in [
        ("echo hello", "hello\n"),
        ("echo oops >&2", "oops\n"),
        ("cat", ""),
        ("pwd", "/\n"),
        ("exec /usr/bin/env", "NAME=value\nPWD=/\n"),
        (
            "for n in 0 1 2 3 4 5 6 7 8 9 10 11 12; do test -e /proc/$$/fd/$n && echo $n; done; :",
            "0\n1\n2\n",
        ),
        (
            "exec sed -n '/^Sig[BIC]/p' /proc/self/status",
            "SigBlk:\t0000000000000000\nSigIgn:\t0000000000000000\nSigCgt:\t0000000000000000\n",
        ),
        ("exec grep NoNewPrivs /proc/self/status", "NoNewPrivs:\t1\n"),
        ("ulimit -n; ulimit -Hn", "50\n50\n"),
        ("ulimit -t", "7\n"),
        ("ulimit -v", "1048576\n"),
    ] {
        let (mut start, reader) = shell(script);
        start.limits = vec![
            (Resource::OpenFiles, 50),
            (Resource::CpuSeconds, 7),
            (Resource::Memory, 1 << 30),
        ];
        let child = start.spawn().unwrap();
        assert_eq!(output(reader), expected, "{script}");
        assert_eq!(ending(&child), 0, "{script}");
    }
    // It leads a group.
    let (start, reader) = shell("exec cut -d' ' -f1,5 /proc/self/stat");
    let child = start.spawn().unwrap();
    let pid = child.pid;
    assert_eq!(output(reader), format!("{pid} {pid}\n"));
    ending(&child);
    drop(careless);
}

#[test]
fn how_it_ends_is_learnt() {
    for (script, expected) in [("exit 0", 0), ("exit 3", 3), ("kill -TERM $$", -15)] {
        let (start, _reader) = shell(script);
        assert_eq!(ending(&start.spawn().unwrap()), expected);
    }
}

#[test]
fn what_cannot_be_started_says_why_and_leaves_nothing() {
    let call = |change: &dyn Fn(&mut Start)| {
        let (mut start, reader) = shell("echo never");
        change(&mut start);
        let Failed { call, error } = start.spawn().unwrap_err();
        // Nobody holds the other end.
        assert_eq!(output(reader), "");
        (call, error.raw_os_error().unwrap())
    };
    let missing = call(&|start| start.path = text("/no/such/program"));
    assert_eq!(missing, ("execve", libc_errno::ENOENT));
    let plain = call(&|start| start.path = text("/etc/passwd"));
    assert_eq!(plain, ("execve", libc_errno::EACCES));
    let file = call(&|start| start.directory = File::open("/dev/null").unwrap().into());
    assert_eq!(file, ("fchdir", libc_errno::ENOTDIR));
}

/// Numbers of errors (errno(3)).
mod libc_errno {
    pub(super) const ENOENT: i32 = 2;
    pub(super) const EACCES: i32 = 13;
    pub(super) const ENOTDIR: i32 = 20;
}

#[test]
fn many_at_once_from_many_threads_leave_no_descriptor() {
    let open = || std::fs::read_dir("/proc/self/fd").unwrap().count();
    let run = || {
        for _ in 0..20 {
            let (start, reader) = shell("echo hello");
            let child = start.spawn().unwrap();
            assert_eq!(output(reader), "hello\n");
            assert_eq!(ending(&child), 0);
        }
    };
    run();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(run);
        }
    });
    // Other tests have some, too, but not one for each of these.
    assert!(open() < 80, "{}", open());
}
