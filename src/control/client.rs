//! One client of the control socket: its bytes both ways, and what it waits for.
//!
//! It asks one thing at a time: while it is answered, or waits for an event, nothing more is read of
//! it. Every call returns at once.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use nix::errno::Errno;
use nix::poll::PollFlags;
use nix::sys::socket::{MsgFlags, getsockopt, recv, send, sockopt::PeerCredentials};
use serde::{Deserialize, Serialize};

use super::words::{Answer, News};
use crate::state::Moment;

/// The longest line in bytes.
const LINE: usize = 4096;
/// What may wait for a client to read it, in bytes; beyond that it is dropped. How a server stands
/// that has a board full of workers is less than that, whatever they say.
pub const UNREAD: usize = 4 << 20;
/// How long a client may say nothing, or read nothing of what there is for it.
const IDLE: Duration = Duration::from_secs(60);

/// Who is at the other end, as the system says (SO_PEERCRED, unix(7)).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Peer {
    /// Its user when it connected.
    pub uid: u32,
    /// Its process then.
    pub pid: i32,
}

/// What a client waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Interest {
    /// It does not.
    Nothing,
    /// The end of the reload of this number.
    Reload(u64),
    /// The end of the server.
    Stop,
    /// All that happens until the end of the server.
    Events,
}

impl Interest {
    /// What a client is answered who has waited for this.
    pub fn answer(self, news: &News) -> Option<Answer> {
        match (self, news) {
            (Interest::Reload(number), News::ReloadComplete { reload, verdict })
                if number == *reload =>
            {
                Some(Answer {
                    reload: Some(number),
                    verdict: Some(verdict.clone()),
                    ..Answer::done()
                })
            }
            (Interest::Reload(number), News::ReloadFailed { reload, cause, .. })
                if number == *reload =>
            {
                Some(Answer {
                    reload: Some(number),
                    ..Answer::failed(cause.clone())
                })
            }
            // Not before: under systemd the client is ended with the server, and one that had failed
            // first would be the failure of a stop that went well.
            (Interest::Reload(number), News::Stopped { .. }) => Some(Answer {
                reload: Some(number),
                ..Answer::failed("the server stops")
            }),
            (Interest::Stop | Interest::Events, News::Stopped { .. }) => Some(Answer::done()),
            _ => None,
        }
    }
}

/// A client.
#[derive(Debug)]
pub struct Client {
    socket: OwnedFd,
    /// Who it is.
    pub peer: Peer,
    /// What it waits for.
    pub interest: Interest,
    /// It may look and change nothing, and say nothing for as long as it likes: it is ours.
    pub looks_on: bool,
    input: Vec<u8>,
    output: Vec<u8>,
    since: Moment,
    /// There may be something to read.
    readable: bool,
    /// It says nothing more.
    ended: bool,
    /// It reads nothing more.
    gone: bool,
}

/// What the next image must know, beside the descriptor.
#[derive(Debug, Serialize, Deserialize)]
pub struct Record {
    peer: Peer,
    interest: Interest,
    looks_on: bool,
    input: Vec<u8>,
    output: Vec<u8>,
    since: Moment,
    ended: bool,
}

impl Client {
    /// One that has just connected.
    ///
    /// # Errors
    /// What getsockopt(2) answers.
    pub fn new(socket: OwnedFd, now: Moment) -> io::Result<Client> {
        let found = getsockopt(&socket, PeerCredentials)?;
        Ok(Client {
            socket,
            peer: Peer {
                uid: found.uid(),
                pid: found.pid(),
            },
            interest: Interest::Nothing,
            looks_on: false,
            input: Vec::new(),
            output: Vec::new(),
            since: now,
            readable: true,
            ended: false,
            gone: false,
        })
    }

    /// One of another image.
    pub fn adopt(socket: OwnedFd, record: Record) -> Client {
        Client {
            socket,
            peer: record.peer,
            interest: record.interest,
            looks_on: record.looks_on,
            input: record.input,
            output: record.output,
            since: record.since,
            readable: true,
            ended: record.ended,
            gone: false,
        }
    }

    /// What the next image must know.
    pub fn record(&self) -> Record {
        Record {
            peer: self.peer,
            interest: self.interest,
            looks_on: self.looks_on,
            input: self.input.clone(),
            output: self.output.clone(),
            since: self.since,
            ended: self.ended,
        }
    }

    /// What to wait for.
    pub fn awaits(&self) -> PollFlags {
        let mut flags = PollFlags::empty();
        flags.set(PollFlags::POLLIN, self.may_ask() && !self.ended);
        flags.set(PollFlags::POLLOUT, !self.output.is_empty());
        flags
    }

    /// What was found.
    pub fn found(&mut self, found: PollFlags) {
        let hung_up = found.intersects(PollFlags::POLLHUP | PollFlags::POLLERR);
        self.readable |= hung_up || found.contains(PollFlags::POLLIN);
        // What it has said before is done; it does not hear what it was to be told.
        self.gone |= hung_up && (self.interest != Interest::Nothing || !self.output.is_empty());
    }

    /// When to look at it again at the latest.
    pub fn deadline(&self) -> Option<Moment> {
        if self.gone || self.may_ask() && (self.ended || self.input.contains(&b'\n')) {
            return Some(Moment::ZERO);
        }
        self.may_be_late().then_some(self.since + IDLE)
    }

    /// When it last did something.
    pub fn since(&self) -> Moment {
        self.since
    }

    /// Whether it may make room for another one.
    pub fn may_go(&self) -> bool {
        self.is_idle() && !self.looks_on
    }

    /// Whether it has asked for nothing.
    fn is_idle(&self) -> bool {
        self.interest == Interest::Nothing && self.output.is_empty()
    }

    /// Whether there is nothing to be done for it any more.
    pub fn is_over(&self, now: Moment) -> bool {
        let late = self.may_be_late() && self.since + IDLE <= now;
        let done = self.ended && self.is_idle() && !self.input.contains(&b'\n');
        self.gone || late || done
    }

    /// It is heard no more; what is there for it is still written.
    pub fn end(&mut self) {
        self.ended = true;
        self.input.clear();
    }

    fn may_ask(&self) -> bool {
        self.is_idle()
    }

    /// Who waits for an event may do so for ever, as long as it reads.
    fn may_be_late(&self) -> bool {
        let waits = self.looks_on || self.interest != Interest::Nothing;
        !waits || !self.output.is_empty()
    }

    /// The next line, without its end; or why it is heard no more.
    pub fn line(&mut self, now: Moment) -> Option<Result<Vec<u8>, String>> {
        if !self.may_ask() || self.gone {
            return None;
        }
        if !self.input.contains(&b'\n') {
            self.read();
        }
        let end = self.input.iter().position(|byte| *byte == b'\n');
        match end {
            Some(end) if end < LINE => {
                let mut line: Vec<u8> = self.input.drain(..=end).collect();
                line.pop();
                self.since = now;
                Some(Ok(line))
            }
            None if self.input.len() < LINE => None,
            _ => Some(Err(format!("a line is longer than {LINE} bytes"))),
        }
    }

    fn read(&mut self) {
        if !self.readable || self.ended {
            return;
        }
        self.readable = false;
        let mut bytes = [0; LINE];
        match recv(self.socket.as_raw_fd(), &mut bytes, MsgFlags::MSG_DONTWAIT) {
            // A last line need not have an end.
            Ok(0) => {
                self.ended = true;
                if !self.input.is_empty() {
                    self.input.push(b'\n');
                }
            }
            Ok(read) => self.input.extend(&bytes[..read]),
            Err(Errno::EAGAIN | Errno::EINTR) => {}
            Err(_) => self.gone = true,
        }
    }

    /// Adds to what it is to read; too much ends it.
    pub fn say(&mut self, line: &str, now: Moment) {
        if self.gone {
            return;
        }
        if self.output.len() + line.len() > UNREAD {
            let Peer { uid, pid } = self.peer;
            log::warn!("control: a client (pid {pid}, uid {uid}) does not read; dropped");
            self.gone = true;
            return;
        }
        if self.output.is_empty() {
            self.since = now;
        }
        self.output.extend(line.as_bytes());
    }

    /// Writes what it takes now.
    pub fn flush(&mut self, now: Moment) {
        while !self.output.is_empty() && !self.gone {
            let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL;
            match send(self.socket.as_raw_fd(), &self.output, flags) {
                Ok(sent) => {
                    self.output.drain(..sent);
                    self.since = now;
                }
                Err(Errno::EAGAIN) => return,
                Err(Errno::EINTR) => {}
                Err(_) => self.gone = true,
            }
        }
    }
}

impl AsFd for Client {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}
