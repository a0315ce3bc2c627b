//! Where entries of a log go: lines to a descriptor, or messages to syslog or the journal.
//!
//! An entry is text without control characters: whoever makes one has escaped what clients sent. It must
//! never block, nor log.

use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};

use log::Level;
use nix::sys::socket::UnixAddr;

use super::datagrams::Datagrams;
use super::{journal, name, syslog};
use crate::sink::{CUT, Sink};
use crate::stamp;

/// Which log an entry is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The server's own messages.
    Error,
    /// What was answered.
    Access,
}

impl Kind {
    pub(super) fn name(self) -> &'static str {
        match self {
            Kind::Error => "error",
            Kind::Access => "access",
        }
    }
}

/// An entry of a log.
#[derive(Clone, Copy, Debug)]
pub struct Entry<'a> {
    /// Which log it is of.
    pub kind: Kind,
    /// How severe it is.
    pub level: Level,
    /// When it was made, in microseconds since 1970.
    pub unix_us: u64,
    /// What it says.
    pub text: &'a [u8],
    /// The id of the request that it is about.
    pub request: Option<&'a str>,
}

impl Entry<'_> {
    /// As RFC 5424 section 6.2.1 counts.
    pub(super) fn severity(&self) -> u8 {
        match self.level {
            Level::Error => 3,
            Level::Warn => 4,
            Level::Info => 6,
            Level::Debug | Level::Trace => 7,
        }
    }
}

/// Where entries of a log go.
#[derive(Debug)]
pub struct Outlet(Way);

#[derive(Debug)]
enum Way {
    Lines(Sink),
    Syslog(Datagrams, syslog::Sender),
    Journal(Datagrams, String),
}

impl Outlet {
    /// Lines to `fd`: what [`super::unshared`] gave, or a file that was opened to append.
    #[must_use]
    pub fn lines(fd: OwnedFd) -> Outlet {
        Outlet(Way::Lines(Sink::new(fd)))
    }

    /// Messages to a syslog receiver by this socket: to the one at `to`, or where it is connected to.
    #[must_use]
    pub fn syslog(fd: OwnedFd, to: Option<UnixAddr>, sender: syslog::Sender) -> Outlet {
        Outlet(Way::Syslog(Datagrams::new(fd, to), sender))
    }

    /// Messages to the journal at `to` by this unconnected socket, of the server of this name.
    #[must_use]
    pub fn journal(fd: OwnedFd, to: UnixAddr, name: String) -> Outlet {
        Outlet(Way::Journal(Datagrams::new(fd, Some(to)), name))
    }

    /// Takes one entry.
    pub fn push(&mut self, entry: &Entry<'_>) {
        match &mut self.0 {
            Way::Lines(sink) => sink.push_with(|out| match entry.kind {
                Kind::Access => out.extend_from_slice(entry.text),
                Kind::Error => error_line(entry, out),
            }),
            Way::Syslog(datagrams, sender) => {
                datagrams.push_with(|out| sender.render(entry, out));
            }
            Way::Journal(datagrams, name) => {
                datagrams.push_with(|out| journal::render(name, entry, out));
            }
        }
    }

    /// Writes what goes now.
    pub fn flush(&mut self) {
        let (Way::Syslog(datagrams, _) | Way::Journal(datagrams, _)) = &mut self.0 else {
            if let Way::Lines(sink) = &mut self.0 {
                sink.flush();
            }
            return;
        };
        datagrams.flush();
        if let Some(lost) = datagrams.take_lost() {
            self.push(&Entry {
                kind: Kind::Error,
                level: Level::Warn,
                unix_us: stamp::now_us(),
                text: crate::sink::missing(lost).as_bytes(),
                request: None,
            });
            self.flush();
        }
    }

    /// Whether something waits that did not go yet.
    #[must_use]
    pub fn has_pending(&self) -> bool {
        match &self.0 {
            Way::Lines(sink) => sink.has_pending(),
            Way::Syslog(datagrams, _) | Way::Journal(datagrams, _) => datagrams.has_pending(),
        }
    }

    /// Bytes taken since the last flush.
    #[must_use]
    pub fn unflushed(&self) -> usize {
        match &self.0 {
            Way::Lines(sink) => sink.unflushed(),
            Way::Syslog(datagrams, _) | Way::Journal(datagrams, _) => datagrams.unflushed(),
        }
    }

    /// Entries dropped.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        match &self.0 {
            Way::Lines(sink) => sink.dropped(),
            Way::Syslog(datagrams, _) | Way::Journal(datagrams, _) => datagrams.dropped(),
        }
    }

    /// The most bytes that an entry of the access log may have here and stay whole.
    #[must_use]
    pub fn longest(&self) -> usize {
        match &self.0 {
            Way::Lines(sink) => sink.longest_line(),
            Way::Syslog(_, sender) => sender.longest(),
            Way::Journal(..) => journal::LONGEST,
        }
    }

    /// Goes on with another descriptor, if lines go to one: a file that was opened anew.
    pub fn replace(&mut self, fd: OwnedFd) {
        if let Way::Lines(sink) = &mut self.0 {
            sink.replace(fd);
        }
    }

    /// Another one for the same, in which nothing waits.
    ///
    /// # Errors
    /// What dup(2) answers.
    pub fn try_clone(&self) -> io::Result<Outlet> {
        let fd = self.fd().try_clone_to_owned()?;
        Ok(Outlet(match &self.0 {
            Way::Lines(_) => Way::Lines(Sink::new(fd)),
            Way::Syslog(datagrams, sender) => {
                Way::Syslog(Datagrams::new(fd, datagrams.to()), sender.clone())
            }
            Way::Journal(datagrams, name) => {
                Way::Journal(Datagrams::new(fd, datagrams.to()), name.clone())
            }
        }))
    }

    /// Drops what waits, uncounted: after a fork it is the parent's to write.
    pub fn discard(&mut self) {
        match &mut self.0 {
            Way::Lines(sink) => sink.discard(),
            Way::Syslog(datagrams, _) | Way::Journal(datagrams, _) => datagrams.discard(),
        }
    }

    /// The descriptor.
    #[must_use]
    pub fn fd(&self) -> BorrowedFd<'_> {
        match &self.0 {
            Way::Lines(sink) => sink.fd(),
            Way::Syslog(datagrams, _) | Way::Journal(datagrams, _) => datagrams.fd(),
        }
    }

    /// Has dropped lines told of by `tell`, where lines go.
    #[must_use]
    pub(crate) fn telling(self, tell: fn(u64, &mut Vec<u8>)) -> Outlet {
        match self.0 {
            Way::Lines(sink) => Outlet(Way::Lines(sink.telling(tell))),
            other => Outlet(other),
        }
    }

    /// Whether lines go to a descriptor here.
    #[must_use]
    pub fn takes_lines(&self) -> bool {
        matches!(self.0, Way::Lines(_))
    }

    /// The sink, where lines go.
    pub(crate) fn sink(&mut self) -> Option<&mut Sink> {
        match &mut self.0 {
            Way::Lines(sink) => Some(sink),
            _ => None,
        }
    }

    /// What comes after `old`: the same, but lines that waited there go on to where lines go now.
    pub(super) fn succeed(mut old: Outlet, new: Vec<Outlet>) -> Vec<Outlet> {
        old.flush();
        let Way::Lines(sink) = old.0 else { return new };
        let mut sink = Some(sink);
        let one = |outlet: Outlet| match (outlet.0, sink.take()) {
            (Way::Lines(new), Some(mut sink)) => {
                sink.replace(new.into_fd());
                Outlet(Way::Lines(sink))
            }
            (way, unused) => {
                sink = unused;
                Outlet(way)
            }
        };
        new.into_iter().map(one).collect()
    }
}

/// `[2026-11-23 02:58:16 +0000] [pid] [INFO] text (request id)`
fn error_line(entry: &Entry<'_>, out: &mut Vec<u8>) {
    out.extend_from_slice(&stamp::error(entry.unix_us / 1_000_000));
    out.extend_from_slice(b" [");
    out.extend_from_slice(itoa::Buffer::new().format(std::process::id()).as_bytes());
    out.extend_from_slice(b"] [");
    out.extend_from_slice(name(entry.level).as_bytes());
    out.extend_from_slice(b"] ");
    push_text(entry, usize::MAX, out);
}

/// Appends what an entry says, and of which request, up to the length `most` of `out`. The id stays
/// where the text is cut.
pub(super) fn push_text(entry: &Entry<'_>, most: usize, out: &mut Vec<u8>) {
    let Some(request) = entry.request else {
        return push_line(entry.text, most, out);
    };
    let (before, after) = (" (request ", ")");
    let room = most.saturating_sub(before.len() + request.len() + after.len());
    push_line(entry.text, room, out);
    for part in [before, request, after] {
        out.extend_from_slice(part.as_bytes());
    }
}

/// Appends text up to the length `most` of `out`; `...` says that there was more.
pub(super) fn push_line(text: &[u8], most: usize, out: &mut Vec<u8>) {
    let room = most.saturating_sub(out.len());
    if text.len() <= room {
        return out.extend_from_slice(text);
    }
    let mut end = room.saturating_sub(CUT.len());
    // Not inside a UTF-8 sequence.
    while end > 0 && text[end] & 0xC0 == 0x80 {
        end -= 1;
    }
    out.extend_from_slice(&text[..end]);
    out.extend_from_slice(CUT);
}
