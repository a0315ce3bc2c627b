//! A second master beside the first one: what it is given at its start, and the channel between them.
//!
//! What is given is little and has a version of its own, so that a program whose hand-over a reload
//! would refuse can be upgraded to like this. A message is one JSON text in one datagram of a
//! SOCK_SEQPACKET pair, whose end of file means that the other master is gone. Nothing here waits, and
//! nothing is decided.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::rc::Rc;
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockType, recv, send, socketpair};
use serde::{Deserialize, Serialize};

use crate::generation::Held;
use crate::handover;
use crate::notify;
use crate::program::Origin;
use crate::sockets::{self, Inherited, Listener};
use crate::state::Moment;
use crate::sys;

/// The version of [`Given`]. A program refuses any other.
pub const VERSION: u32 = 1;
/// The longest message in bytes; longer reasons are cut.
const LONGEST: usize = 16 << 10;

/// What a second master is given.
#[derive(Debug, Serialize, Deserialize)]
pub struct Given {
    version: u32,
    /// The pid of the first master.
    pub first: i32,
    /// How the program was started.
    pub origin: Origin,
    /// Sockets that were open at the first start.
    pub inherited: Inherited,
    /// How the service manager is reached.
    pub notified: notify::Record,
    listeners: Vec<(RawFd, sockets::Record)>,
}

/// What one master tells the other.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Word {
    /// The second: it has read its configuration, and its workers boot within this time.
    Boots(Duration),
    /// The second: it serves, and has taken these of the listeners in [`Given`].
    Serves(Vec<usize>),
    /// The second: it cannot serve, and why.
    Failed(String),
    /// The second: it stops, and has told the service manager that the first one leads.
    Leaves,
    /// The first: the service manager knows that the second one leads.
    Leads,
}

/// One end of the channel. It never waits.
#[derive(Debug)]
pub struct Channel(OwnedFd);

/// The other master, as the shell of either knows it.
#[derive(Debug)]
pub struct Other {
    /// None when the other side is gone.
    pub channel: Option<Channel>,
    /// When the first master's end of file came, which is a moment before its end.
    pub gone: Option<Moment>,
    /// The second master is our child.
    pub child: Option<i32>,
    /// Why it cannot serve, as it says.
    pub reason: Option<String>,
    /// The listeners that both know, until the second one has said which it takes.
    pub common: Vec<Rc<Listener>>,
    /// The lead was passed over this channel and has not come back.
    pub led: bool,
}

/// What the next image must know of the other master.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Record {
    channel: Option<RawFd>,
    child: Option<i32>,
    led: bool,
}

impl Given {
    /// Writes down what a second master needs. The descriptors stay their owners'.
    pub fn new(
        origin: &Origin,
        inherited: &Inherited,
        notified: notify::Record,
        listeners: &[Rc<Listener>],
    ) -> Given {
        Given {
            version: VERSION,
            first: std::process::id() as i32,
            origin: origin.clone(),
            inherited: inherited.clone(),
            notified,
            listeners: listeners
                .iter()
                .map(|listener| (sys::number(listener.as_fd()), listener.record()))
                .collect(),
        }
    }

    /// All descriptors.
    pub fn descriptors(&self) -> Vec<RawFd> {
        let listeners = self.listeners.iter().map(|(fd, _)| *fd);
        let inherited = self.inherited.numbers().iter().copied();
        listeners.chain(inherited).collect()
    }

    /// Reads what the first master has left in a memfd.
    ///
    /// # Errors
    /// It is no sealed memfd of ours, or of another version.
    pub fn read(fd: RawFd) -> io::Result<Given> {
        handover::unseal_version(sys::take_over(fd)?, VERSION)
    }

    /// Takes the listeners. Once.
    ///
    /// # Errors
    /// A descriptor is not what it should be.
    pub fn held(&self) -> io::Result<Held> {
        let mut held = Held::default();
        for (fd, record) in &self.listeners {
            let listener = Listener::handed_over(sys::take_over(*fd)?, record, true)?;
            listener.share(true);
            held.listeners.push(Rc::new(listener));
        }
        // Their numbers are nobody's; they only must not go further.
        for number in self.inherited.numbers() {
            sys::close_on_exec(*number)?;
        }
        Ok(held)
    }
}

impl Channel {
    /// Makes the two ends, before the fork.
    ///
    /// # Errors
    /// What socketpair(2) answers.
    pub fn pair() -> io::Result<(Channel, Channel)> {
        let flags = SockFlag::SOCK_CLOEXEC;
        let (one, two) = socketpair(AddressFamily::Unix, SockType::SeqPacket, None, flags)?;
        Ok((Channel(one), Channel(two)))
    }

    /// The end that came to this process under this number.
    ///
    /// # Errors
    /// `EBADF` when it is not open.
    pub fn take_over(number: RawFd) -> io::Result<Channel> {
        Ok(Channel(sys::take_over(number)?))
    }

    /// Tells the other side. One that is gone is noticed elsewhere.
    pub fn tell(&self, word: &Word) {
        let sent = serde_json::to_vec(word).map_err(io::Error::from);
        let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL;
        let sent = sent.and_then(|text| Ok(send(self.0.as_raw_fd(), &text, flags)?));
        if let Err(error) = sent {
            log::debug!("cannot tell the other master {word:?}: {error}");
        }
    }

    /// Says why there will be no second master.
    pub fn fails(&self, reason: &str) {
        // JSON may take six bytes for one.
        let cut = reason.chars().take(LONGEST / 8).collect();
        self.tell(&Word::Failed(cut));
    }

    /// What the other side says, `None` when it says nothing now.
    ///
    /// # Errors
    /// `UnexpectedEof` when it is gone, `InvalidData` for what this program does not know.
    pub fn hear(&self) -> io::Result<Option<Word>> {
        let mut buffer = vec![0; LONGEST];
        let length = loop {
            match recv(self.0.as_raw_fd(), &mut buffer, MsgFlags::MSG_DONTWAIT) {
                Err(Errno::EINTR) => {}
                Err(Errno::EAGAIN) => return Ok(None),
                // SOCK_SEQPACKET: no message is empty.
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                length => break length?,
            }
        };
        let word = serde_json::from_slice(&buffer[..length]);
        Ok(Some(word.map_err(|error| {
            io::Error::new(io::ErrorKind::InvalidData, error)
        })?))
    }
}

impl AsFd for Channel {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl Other {
    /// The first master, to the second one, which knows these listeners of it.
    pub fn first(channel: Channel, common: Vec<Rc<Listener>>) -> Other {
        Other {
            channel: Some(channel),
            gone: None,
            child: None,
            reason: None,
            common,
            led: false,
        }
    }

    /// The second master, to the first one, whose child it is.
    pub fn second(channel: Channel, pid: i32, common: Vec<Rc<Listener>>) -> Other {
        Other {
            child: Some(pid),
            ..Other::first(channel, common)
        }
    }

    /// Tells a first master why there will be no second one.
    pub fn fails(&self, reason: &str) {
        if let (Some(channel), None) = (&self.channel, self.child) {
            channel.fails(reason);
        }
    }

    /// What the next image must know. None is executed while a second master starts.
    pub fn record(&self) -> Record {
        let channel = self.channel.as_ref();
        Record {
            channel: channel.map(|channel| sys::number(channel.as_fd())),
            child: self.child,
            led: self.led,
        }
    }

    /// The other master that another image knew.
    ///
    /// # Errors
    /// The channel is not open.
    pub fn adopt(record: &Record) -> io::Result<Other> {
        Ok(Other {
            channel: record.channel.map(Channel::take_over).transpose()?,
            gone: None,
            child: record.child,
            reason: None,
            common: Vec::new(),
            led: record.led,
        })
    }
}

impl Record {
    /// The channel's descriptor.
    pub fn channel(&self) -> Option<RawFd> {
        self.channel
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_told_is_heard_and_an_end_is_an_end() {
        let (one, two) = Channel::pair().unwrap();
        assert_eq!(two.hear().unwrap(), None);
        for word in [
            Word::Boots(Duration::from_millis(1500)),
            Word::Serves(vec![0, 2]),
            Word::Leaves,
            Word::Leads,
        ] {
            one.tell(&word);
            assert_eq!(two.hear().unwrap(), Some(word));
        }
        one.fails(&"\u{1}".repeat(1 << 20));
        assert!(matches!(two.hear(), Ok(Some(Word::Failed(text))) if text.len() == LONGEST / 8));
        drop(one);
        let error = two.hear().unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
        // Nobody is there to be told.
        two.tell(&Word::Leads);
    }

    #[test]
    fn what_a_later_program_says_is_no_end() {
        let (one, two) = Channel::pair().unwrap();
        let text = br#"{"Sings": "a song"}"#;
        send(one.0.as_raw_fd(), text, MsgFlags::empty()).unwrap();
        let error = two.hear().unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
        assert_eq!(two.hear().unwrap(), None);
    }

    #[test]
    fn another_version_is_refused() {
        let value: serde_json::Value = serde_json::from_str(r#"{"version": 2}"#).unwrap();
        let fd = handover::seal(&value).unwrap();
        let number = sys::number(fd.as_fd());
        std::mem::forget(fd);
        let error = Given::read(number).unwrap_err().to_string();
        assert!(error.contains("knows version 1"), "{error}");
    }
}
