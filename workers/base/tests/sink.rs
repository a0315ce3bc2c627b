//! A [`Sink`] against readers that do not read: it never waits, and says what it dropped.
#![allow(clippy::unwrap_used, reason = "helpers of tests are tests too")]

use std::collections::HashSet;
use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Read, Seek};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use ferricorn_base::logs::{Sink, unshared};
use nix::fcntl::{FcntlArg, OFlag, SealFlag, fcntl};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::memfd::MFdFlags;
use nix::sys::stat::Mode;
use tempfile::TempDir;

/// Long beyond any doubt: what takes longer has blocked.
const BLOCKED: Duration = Duration::from_secs(60);

fn within<T: Send + 'static>(act: impl FnOnce() -> T + Send + 'static) -> T {
    let (done, wait) = mpsc::channel();
    thread::spawn(move || done.send(act()));
    wait.recv_timeout(BLOCKED)
        .expect("it blocked, or it failed as said above")
}

/// What both ends of a log can be. The second descriptor is what a server would inherit.
fn pipe() -> (OwnedFd, OwnedFd) {
    nix::unistd::pipe2(OFlag::O_CLOEXEC).unwrap()
}

fn fifo(dir: &Path) -> (OwnedFd, OwnedFd) {
    let path = dir.join("fifo");
    nix::unistd::mkfifo(&path, Mode::S_IRWXU).unwrap();
    // Read and write, so that neither open waits for the other end.
    let reader = OpenOptions::new()
        .read(true)
        .write(true)
        .open(&path)
        .unwrap();
    let writer = OpenOptions::new().write(true).open(&path).unwrap();
    (reader.into(), writer.into())
}

fn socket() -> (OwnedFd, OwnedFd) {
    let (reader, writer) = UnixStream::pair().unwrap();
    (reader.into(), writer.into())
}

fn terminal() -> (OwnedFd, OwnedFd) {
    let pair = nix::pty::openpty(None, None).unwrap();
    (pair.master, pair.slave)
}

/// Every kind of destination that can block, and how a sink gets to it.
fn destinations(dir: &TempDir) -> Vec<(&'static str, OwnedFd, OwnedFd)> {
    let mut all = Vec::new();
    let mut add = |name, (reader, writer)| all.push((name, reader, writer));
    let reopened = |(reader, writer): (OwnedFd, OwnedFd)| (reader, unshared(writer));
    add("a pipe of its own", reopened(pipe()));
    add("a pipe that is shared", pipe());
    add("a named pipe that is shared", fifo(dir.path()));
    add("a socket", socket());
    add("a terminal of its own", reopened(terminal()));
    all
}

fn is_nonblocking(fd: impl AsFd) -> bool {
    let flags = fcntl(fd, FcntlArg::F_GETFL).unwrap();
    OFlag::from_bits_truncate(flags).contains(OFlag::O_NONBLOCK)
}

fn set_nonblocking(fd: impl AsFd) {
    fcntl(fd, FcntlArg::F_SETFL(OFlag::O_NONBLOCK)).unwrap();
}

/// Reads and flushes in turn until neither has anything.
fn drain(reader: OwnedFd, sink: &mut Sink) -> (File, String) {
    set_nonblocking(&reader);
    let mut reader = File::from(reader);
    let mut bytes = Vec::new();
    loop {
        sink.flush();
        let before = bytes.len();
        let result = reader.read_to_end(&mut bytes);
        assert!(result.is_ok() || result.is_err_and(|e| e.kind() == ErrorKind::WouldBlock));
        if bytes.len() == before && !sink.has_pending() {
            // A terminal turns "\n" into "\r\n".
            return (reader, String::from_utf8(bytes).unwrap().replace('\r', ""));
        }
    }
}

#[test]
fn a_reader_that_does_not_read_costs_lines_and_no_time() {
    let dir = TempDir::new().unwrap();
    for (name, reader, writer) in destinations(&dir) {
        let (sink, total) = within(move || {
            let mut sink = Sink::new(writer);
            let total = 8000;
            for number in 0..total {
                sink.push(format!("{number:0>100}").as_bytes());
                if number % 10 == 0 {
                    sink.flush();
                }
            }
            (sink, total)
        });
        let mut sink = sink;
        let dropped = sink.dropped();
        assert!(
            dropped > 0 && sink.has_pending(),
            "{name}: {dropped} dropped"
        );

        let (reader, text) = drain(reader, &mut sink);
        let lines: Vec<&str> = text.lines().collect();
        let (notice, kept) = lines.split_last().unwrap();
        // The oldest are kept, and all others are told of.
        for (number, line) in kept.iter().enumerate() {
            assert_eq!(*line, format!("{number:0>100}"), "{name}");
        }
        assert_eq!(kept.len() as u64 + dropped, total, "{name}");
        assert!(
            notice.contains(&format!(" [WARNING] {dropped} log lines were dropped")),
            "{notice}"
        );

        // From here on it is as if nothing had been.
        sink.push(b"after");
        let (_, text) = drain(reader.into(), &mut sink);
        assert_eq!(text, "after\n", "{name}");
        assert_eq!(sink.dropped(), dropped);
    }
}

#[test]
fn memory_is_bounded() {
    let (_reader, writer) = pipe();
    let mut sink = Sink::new(unshared(writer));
    let line = [b'x'; 1023];
    let mut taken = 0;
    while sink.dropped() == 0 {
        sink.push(&line);
        taken += 1;
    }
    assert_eq!(taken, 256 + 1, "256 KiB and the one that was dropped");
}

/// Else the notice would stand before lines that came after those it tells of.
#[test]
fn once_a_line_is_dropped_so_are_shorter_ones_until_the_log_drains() {
    let (reader, writer) = pipe();
    let mut sink = Sink::new(unshared(writer));
    while sink.dropped() == 0 {
        sink.push(&[b'x'; 1000]);
    }
    sink.push(b"short");
    assert_eq!(sink.dropped(), 2);
    let (_, text) = drain(reader, &mut sink);
    assert!(text.contains(" 2 log lines were dropped here") && !text.contains("short"));
}

#[test]
fn lines_of_two_workers_on_one_log_do_not_mix() {
    let dir = TempDir::new().unwrap();
    for (name, reader, writer) in destinations(&dir) {
        if name.contains("terminal") {
            continue;
        }
        let stop = if name.contains("socket") {
            16 * 1024
        } else {
            libc::PIPE_BUF
        };
        let writers = [b'a', b'b'].map(|letter| {
            let writer = writer.try_clone().unwrap();
            thread::spawn(move || {
                let mut sink = Sink::new(writer.try_clone().unwrap());
                let mut lengths = Vec::new();
                for length in (1..stop + 100).step_by(37) {
                    sink.push(&vec![letter; length]);
                    lengths.push((letter, length));
                    if length % 3 == 0 {
                        sink.flush();
                    }
                    while sink.unflushed() == 0 && sink.has_pending() {
                        let mut fds = [PollFd::new(writer.as_fd(), PollFlags::POLLOUT)];
                        poll(&mut fds, PollTimeout::NONE).unwrap();
                        sink.flush();
                    }
                }
                sink.flush();
                while sink.has_pending() {
                    let mut fds = [PollFd::new(writer.as_fd(), PollFlags::POLLOUT)];
                    poll(&mut fds, PollTimeout::NONE).unwrap();
                    sink.flush();
                }
                assert_eq!(sink.dropped(), 0);
                lengths
            })
        });
        let named = name.contains("named");
        drop(writer);
        let text = within(move || {
            let joined = thread::spawn(move || writers.map(|writer| writer.join().unwrap()));
            let mut reader = File::from(reader);
            let mut bytes = Vec::new();
            if named {
                // This end holds the pipe open for writing, so there is no end of file.
                set_nonblocking(&reader);
                while !joined.is_finished() {
                    let _ = reader.read_to_end(&mut bytes);
                }
                let _ = reader.read_to_end(&mut bytes);
            } else {
                reader.read_to_end(&mut bytes).unwrap();
            }
            (joined.join().unwrap(), String::from_utf8(bytes).unwrap())
        });
        let (sent, text) = text;
        let mut expected: HashSet<(u8, usize)> = sent.into_iter().flatten().collect();
        for line in text.lines() {
            let letters = line.trim_end_matches('.');
            let letter = letters.as_bytes()[0];
            assert!(
                letters.bytes().all(|byte| byte == letter),
                "{name}: a mixed line"
            );
            if letters.len() == line.len() {
                assert!(
                    expected.remove(&(letter, line.len())),
                    "{name}: {} twice",
                    line.len()
                );
            } else {
                assert_eq!(line.len(), stop - 1, "{name}: cut to fit");
            }
        }
        assert!(
            expected.iter().all(|&(_, length)| length >= stop),
            "{name}: lines are missing"
        );
    }
}

#[test]
fn a_line_that_is_too_long_is_cut_between_characters() {
    let (reader, writer) = pipe();
    let mut sink = Sink::new(unshared(writer));
    sink.push(format!("x{}", "é".repeat(3000)).as_bytes());
    sink.push(format!("{}\n", "x".repeat(libc::PIPE_BUF - 1)).as_bytes());
    let (_, text) = drain(reader, &mut sink);
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(
        lines[0],
        format!("x{}...", "é".repeat((libc::PIPE_BUF - 5) / 2))
    );
    assert_eq!(lines[1], "x".repeat(libc::PIPE_BUF - 1));
}

#[test]
fn the_terminal_stays_as_it_was_for_the_others() {
    for (reader, writer) in [pipe(), terminal()] {
        let others = writer.try_clone().unwrap();
        let ours = unshared(writer);
        assert!(is_nonblocking(&ours));
        assert!(!is_nonblocking(&others));
        drop(reader);
    }
}

/// A file that the shell opened without O_APPEND: opened again, each side would overwrite the other.
#[test]
fn a_redirected_file_keeps_the_offset_that_it_shares() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("out");
    let shell = File::create(&path).unwrap();
    let mut sink = Sink::new(unshared(shell.try_clone().unwrap().into()));
    sink.push(b"ours");
    sink.flush();
    nix::unistd::write(&shell, b"theirs\n").unwrap();
    sink.push(b"ours");
    sink.flush();
    assert_eq!(
        std::fs::read_to_string(path).unwrap(),
        "ours\ntheirs\nours\n"
    );
}

fn append(path: &Path) -> OwnedFd {
    OpenOptions::new()
        .append(true)
        .create(true)
        .open(path)
        .unwrap()
        .into()
}

#[test]
fn a_rotated_file_gets_the_lines_after_it() {
    let dir = TempDir::new().unwrap();
    let (path, old) = (dir.path().join("log"), dir.path().join("log.1"));
    let mut sink = Sink::new(append(&path));
    sink.push(b"one");
    std::fs::rename(&path, &old).unwrap();
    sink.replace(append(&path));
    sink.push(b"two");
    sink.flush();
    assert_eq!(std::fs::read_to_string(old).unwrap(), "one\n");
    assert_eq!(std::fs::read_to_string(path).unwrap(), "two\n");
}

#[test]
fn what_the_old_log_does_not_take_goes_to_the_new_one() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("log");
    let (reader, writer) = terminal();
    // Without anybody at this end the other one reads an error instead of what was written.
    let others = writer.try_clone().unwrap();
    let mut sink = Sink::new(unshared(writer));
    for number in 0..30 {
        sink.push(format!("{number:0>1000}").as_bytes());
    }
    sink.replace(append(&path));
    let new = std::fs::read_to_string(path).unwrap();
    let (_, old) = drain(reader, &mut sink);
    drop(others);
    // A terminal takes part of a line; the rest of that one is of no use in the other log.
    let old: Vec<&str> = old.lines().filter(|line| line.len() == 1000).collect();
    let mut new: Vec<&str> = new.lines().collect();
    assert_eq!(sink.dropped(), 1, "the one that was torn");
    assert!(new.pop().unwrap().contains("1 log line was dropped here"));
    let gap = old.len() + 1;
    assert!(!old.is_empty());
    for (at, line) in old.iter().chain(&new).enumerate() {
        let number = if at < old.len() { at } else { at + 1 };
        assert_eq!(*line, format!("{number:0>1000}"));
    }
    assert_eq!(gap + new.len(), 30);
}

#[test]
fn a_full_disk_costs_lines_that_are_told_of_when_there_is_space() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("log");
    let mut sink = Sink::new(
        OpenOptions::new()
            .write(true)
            .open("/dev/full")
            .unwrap()
            .into(),
    );
    for _ in 0..3 {
        sink.push(b"lost");
        sink.push(b"lost");
        sink.flush();
        assert!(!sink.has_pending());
    }
    assert_eq!(
        sink.dropped(),
        6,
        "a notice that is lost is no line of the log"
    );
    sink.replace(append(&path));
    sink.push(b"kept");
    sink.flush();
    let text = std::fs::read_to_string(path).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines.len(), 2, "{text}");
    assert!(lines[0].contains(" 6 log lines were dropped"), "{text}");
    assert_eq!(lines[1], "kept");
}

/// A file that takes one page of a line and then no more, as a disk that fills up does.
#[test]
fn half_a_line_is_ended_before_the_next() {
    let file = nix::sys::memfd::memfd_create(c"log", MFdFlags::MFD_ALLOW_SEALING).unwrap();
    let mut file = File::from(file);
    file.set_len(5000).unwrap();
    fcntl(&file, FcntlArg::F_ADD_SEALS(SealFlag::F_SEAL_GROW)).unwrap();
    let mut sink = Sink::new(file.try_clone().unwrap().into());
    sink.push(&[b'x'; 6000]);
    sink.flush();
    assert_eq!((sink.dropped(), file.stream_position().unwrap()), (1, 4096));

    file.rewind().unwrap();
    sink.push(b"after");
    sink.flush();
    let mut text = String::new();
    file.rewind().unwrap();
    file.read_to_string(&mut text).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!((lines[0], lines[2]), ("", "after"));
    assert!(lines[1].contains(" 1 log line was dropped here"));
}

#[test]
fn a_reader_that_is_gone_costs_lines() {
    for (reader, writer) in [pipe(), socket(), terminal()] {
        drop(reader);
        let mut sink = Sink::new(writer);
        sink.push(b"lost");
        sink.flush();
        assert_eq!((sink.dropped(), sink.has_pending()), (1, false));
    }
}

#[test]
fn a_named_pipe_without_a_reader_is_used_as_it_is() {
    let dir = TempDir::new().unwrap();
    let (reader, writer) = fifo(dir.path());
    drop(reader);
    let number = writer.as_raw_fd();
    assert_eq!(unshared(writer).as_raw_fd(), number);
}
