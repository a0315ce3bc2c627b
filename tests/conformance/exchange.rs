//! Many connections at once, each given its message in pieces: a piece is sent to all, and when
//! the server has read it, the next.
//!
//! Where a client has nothing more to say but does not say so, a server that goes on waiting cannot
//! be told from one that is slow. So what a whole message is answered is observed for a moment
//! ([`whole`]); with pieces, as much is waited for, and then the client ends ([`together`]).

use std::collections::{BTreeSet, HashMap};
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use nix::sys::socket::{setsockopt, sockopt};

use crate::support::PATIENCE;

/// How long nothing must come from anybody until it is known who is not closed.
const MOMENT: Duration = Duration::from_secs(2);

/// What to send to whom.
#[derive(Clone, Debug)]
pub struct Plan<'a> {
    /// For who reads why a test failed.
    pub name: String,
    pub address: SocketAddr,
    pub pieces: Vec<&'a [u8]>,
    /// The end of file comes right behind the last piece.
    pub half_close: bool,
}

/// What was answered.
#[derive(Clone, PartialEq, Eq)]
pub struct Outcome {
    /// All bytes, but for interim responses; dates and the client's port are the same in all.
    pub answers: Vec<u8>,
    /// How many of them came before the client ended.
    before: usize,
    /// The server closed before the client ended.
    pub closed: bool,
    /// How often `100 Continue` came.
    pub interim: usize,
}

impl std::fmt::Debug for Outcome {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Outcome")
            .field("answers", &self.answers.escape_ascii().to_string())
            .field("closed", &self.closed)
            .field("interim", &self.interim)
            .finish()
    }
}

/// Sends each plan at once, and observes for a moment whether the server closes.
pub fn whole(plans: &[Plan]) -> Vec<Outcome> {
    let mut lines: Vec<Line> = plans.iter().map(Line::open).collect();
    send(&mut lines, plans);
    for line in &lines {
        line.stream.set_nonblocking(true).unwrap();
    }
    let mut until = Instant::now() + MOMENT;
    while Instant::now() < until && lines.iter().any(|line| !line.ended) {
        for line in &mut lines {
            if line.read_here() {
                until = Instant::now() + MOMENT;
            }
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    let before: Vec<usize> = lines.iter().map(|line| line.clean().len()).collect();
    let ended = lines.into_iter().map(Line::end);
    let outcomes = ended.zip(before);
    outcomes
        .map(|(outcome, before)| Outcome { before, ..outcome })
        .collect()
}

/// Sends the plans piece by piece; each is known to be answered by so much when it comes whole.
pub fn together(plans: &[(Plan, &Outcome)]) -> Vec<Outcome> {
    let (plans, expected): (Vec<Plan>, Vec<&Outcome>) = plans.iter().cloned().unzip();
    let mut lines: Vec<Line> = plans.iter().map(Line::open).collect();
    send(&mut lines, &plans);
    for (line, expected) in lines.iter_mut().zip(&expected) {
        let all = if expected.closed {
            usize::MAX
        } else {
            expected.before
        };
        line.read_until(all);
    }
    for (line, expected) in lines.iter_mut().zip(&expected) {
        // Nothing more was to come: has it?
        if !expected.closed && !line.ended {
            line.stream.set_nonblocking(true).unwrap();
            line.read_here();
        }
    }
    let ended = lines.into_iter().map(Line::end);
    let outcomes = ended.zip(&expected);
    outcomes
        .map(|(outcome, expected)| Outcome {
            before: expected.before,
            ..outcome
        })
        .collect()
}

/// Sends all pieces, each when the server has read the one before.
fn send(lines: &mut [Line], plans: &[Plan]) {
    let rounds = plans.iter().map(|plan| plan.pieces.len()).max();
    for round in 0..rounds.unwrap_or_default() {
        if round > 0 {
            let waiting: Vec<&Line> = lines
                .iter()
                .zip(plans)
                .filter_map(|(line, plan)| (round < plan.pieces.len()).then_some(line))
                .collect();
            until_read(&waiting);
        }
        for (line, plan) in lines.iter_mut().zip(plans) {
            if let Some(piece) = plan.pieces.get(round) {
                // A server that has closed is told from one that has not by what is read.
                let _ = line.stream.write_all(piece);
                if round + 1 == plan.pieces.len() && plan.half_close {
                    let _ = line.stream.shutdown(Shutdown::Write);
                    line.finished = true;
                }
            }
        }
    }
}

/// A connection.
struct Line {
    name: String,
    stream: TcpStream,
    local: SocketAddr,
    peer: SocketAddr,
    received: Vec<u8>,
    /// The server has ended.
    ended: bool,
    /// We have ended.
    finished: bool,
}

impl Line {
    fn open(plan: &Plan) -> Line {
        let stream = TcpStream::connect(plan.address).unwrap();
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        // A reset at the end: tens of thousands of connections would else wait for their time.
        let linger = libc::linger {
            l_onoff: 1,
            l_linger: 0,
        };
        setsockopt(&stream, sockopt::Linger, &linger).unwrap();
        Line {
            name: plan.name.clone(),
            local: stream.local_addr().unwrap(),
            peer: plan.address,
            stream,
            received: Vec::new(),
            ended: false,
            finished: false,
        }
    }

    /// Reads what is here, on a socket that does not block; whether there was anything, or the end.
    fn read_here(&mut self) -> bool {
        let before = (self.received.len(), self.ended);
        while !self.ended && self.read() {}
        before != (self.received.len(), self.ended)
    }

    /// Reads until there are so many bytes beside interim responses, or the server ends.
    fn read_until(&mut self, len: usize) {
        while !self.ended && self.clean().len() < len {
            assert!(
                self.read(),
                "{}: no more than this came: {}",
                self.name,
                self.received.escape_ascii()
            );
        }
    }

    /// `false` when nothing came.
    fn read(&mut self) -> bool {
        let mut buffer = [0; 16 * 1024];
        match self.stream.read(&mut buffer) {
            Ok(0) => self.ended = true,
            Ok(n) => self.received.extend_from_slice(&buffer[..n]),
            // What came before a reset has been read.
            Err(error) if error.kind() == ErrorKind::ConnectionReset => self.ended = true,
            Err(error) if is_nothing(&error) => return false,
            Err(error) => panic!("cannot read: {error}"),
        }
        true
    }

    /// Ends, and reads the rest.
    fn end(mut self) -> Outcome {
        let closed = self.ended && !self.finished;
        let _ = self.stream.shutdown(Shutdown::Write);
        self.stream.set_nonblocking(false).unwrap();
        self.read_until(usize::MAX);
        let (answers, interim) = without_interim(&self.received);
        Outcome {
            answers: masked(answers),
            before: 0,
            closed,
            interim,
        }
    }

    fn clean(&self) -> Vec<u8> {
        without_interim(&self.received).0
    }
}

fn is_nothing(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted
    )
}

/// The bytes without `100 Continue`, and how often that was there. Whether it is sent depends on
/// whether the content has come by then (RFC 9110 section 10.1.1).
fn without_interim(bytes: &[u8]) -> (Vec<u8>, usize) {
    const INTERIM: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";
    let (mut rest, mut number) = (bytes.to_vec(), 0);
    while let Some(at) = rest.windows(INTERIM.len()).position(|part| part == INTERIM) {
        rest.drain(at..at + INTERIM.len());
        number += 1;
    }
    (rest, number)
}

/// What differs from one connection to the next, made the same: Date, and the client's port.
fn masked(mut bytes: Vec<u8>) -> Vec<u8> {
    for (name, end) in [(&b"\r\nDate: "[..], b'\r'), (b"\nREMOTE_PORT=\"", b'"')] {
        let mut from = 0;
        let next = |from: usize, bytes: &[u8]| {
            let found = bytes[from..]
                .windows(name.len())
                .position(|part| part == name);
            found.map(|at| from + at + name.len())
        };
        while let Some(at) = next(from, &bytes) {
            from = at;
            while bytes.get(from).is_some_and(|&byte| byte != end) {
                bytes[from] = b'*';
                from += 1;
            }
        }
    }
    bytes
}

/// Waits until the server has read all that was sent on these connections, or has closed them.
fn until_read(lines: &[&Line]) {
    let give_up = Instant::now() + PATIENCE;
    loop {
        let queues = queues(lines);
        let has_read = |line: &&Line| {
            let ours = queues.get(&(line.local.port(), line.peer.port()));
            let theirs = queues.get(&(line.peer.port(), line.local.port()));
            match (ours, theirs) {
                // All is acknowledged, and nothing is in the server's queue.
                (Some(ours), Some(theirs)) => ours.unsent == 0 && theirs.unread == 0,
                // Open at one end only: while the table was read, or it is closed.
                (Some(ours), None) => ours.state == CLOSE_WAIT,
                (None, _) => true,
            }
        };
        if lines.iter().all(has_read) {
            return;
        }
        assert!(Instant::now() < give_up, "the server does not read");
        // It needs the processor more.
        std::thread::sleep(Duration::from_millis(1));
    }
}

const CLOSE_WAIT: u8 = 8;

struct Queues {
    state: u8,
    unsent: u32,
    unread: u32,
}

/// The queues at both ends of connections over IPv4, by the ports: an end's own, then the other's.
fn queues(lines: &[&Line]) -> HashMap<(u16, u16), Queues> {
    let text = std::fs::read_to_string("/proc/net/tcp").unwrap();
    let servers: BTreeSet<u16> = lines.iter().map(|line| line.peer.port()).collect();
    let hex = |text: &str| u32::from_str_radix(text, 16).ok();
    let port = |address: &str| u16::try_from(hex(address.split_once(':')?.1)?).ok();
    let entries = text.lines().skip(1).filter_map(|line| {
        let mut words = line.split_ascii_whitespace().skip(1);
        let (local, remote) = (port(words.next()?)?, port(words.next()?)?);
        if !servers.contains(&local) && !servers.contains(&remote) {
            return None;
        }
        let state = u8::try_from(hex(words.next()?)?).ok()?;
        let (unsent, unread) = words.next()?.split_once(':')?;
        let queues = Queues {
            state,
            unsent: hex(unsent)?,
            unread: hex(unread)?,
        };
        Some(((local, remote), queues))
    });
    entries.collect()
}
