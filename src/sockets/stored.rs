//! Listeners in the manager's store (FDSTORE in sd_notify(3)): they outlive a master that was killed,
//! with whoever waits in them, and are passed to the next one.
//!
//! The name under which one is stored says which socket it is and what it was bound to, so that it is
//! told from the sockets of a `.socket` unit, and taken for the same bind only. What a name says is
//! looked at before it is believed. In the master alone, at its first start.

use std::cell::Cell;
use std::fmt::Write;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::rc::Rc;
use std::{ffi::OsString, io};

use nix::sys::stat::fstat;
use socket2::Socket;

use super::{Listener, local, tune, unix::SocketFile};
use crate::config::{Address, Bind, Config};
use ferricorn_base::conf::LocalAddr;

/// What all the names begin with.
const PREFIX: &str = "ferricorn";
/// The longest name in bytes that a manager takes.
const LONGEST: usize = 255;

/// What a name says.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Label {
    /// The socket's own inode, which no other open socket has.
    socket: u64,
    address: Address,
    /// Device and inode of a unix socket's file.
    file: Option<(u64, u64)>,
}

impl Label {
    /// What this name says; `None` for one that is not ours.
    pub(super) fn read(name: &str) -> Option<Label> {
        let rest = name.strip_prefix(PREFIX)?.strip_prefix('-')?;
        let (socket, rest) = rest.split_once('-')?;
        let (kind, rest) = rest.split_once('-')?;
        let socket = socket.parse().ok()?;
        let (address, file) = match kind {
            "tcp" => (Address::Tcp(text(rest)?.parse().ok()?), None),
            "abstract" => (Address::Abstract(text(rest)?), None),
            "unix" => {
                let (device, rest) = rest.split_once('-')?;
                let (inode, path) = rest.split_once('-')?;
                let file = (device.parse().ok()?, inode.parse().ok()?);
                let path = OsString::from_vec(plain(path)?);
                (Address::Unix(path.into()), Some(file))
            }
            _ => return None,
        };
        Some(Label {
            socket,
            address,
            file,
        })
    }

    /// The name; `None` when there is none for such an address, or it is too long.
    fn write(&self) -> Option<String> {
        let mut name = format!("{PREFIX}-{}-", self.socket);
        let text = match (&self.address, self.file) {
            (Address::Tcp(address), _) => {
                name.push_str("tcp-");
                escaped(address.to_string().as_bytes())
            }
            (Address::Abstract(text), _) => {
                name.push_str("abstract-");
                escaped(text.as_bytes())
            }
            (Address::Unix(path), Some((device, inode))) => {
                let _ = write!(name, "unix-{device}-{inode}-");
                escaped(path.as_os_str().as_bytes())
            }
            _ => return None,
        };
        name.push_str(&text);
        (name.len() <= LONGEST).then_some(name)
    }
}

/// Those of these listeners that a manager may store, each once, with their names.
pub fn storable<'a>(
    listeners: impl Iterator<Item = &'a Rc<Listener>>,
) -> Vec<(String, BorrowedFd<'a>)> {
    let mut storable: Vec<(String, BorrowedFd<'a>)> = Vec::new();
    for listener in listeners {
        let name = listener.stored_as();
        let name = name.filter(|name| !storable.iter().any(|(other, _)| other == name));
        storable.extend(name.map(|name| (name, listener.as_fd())));
    }
    storable
}

impl Listener {
    /// The name under which the manager may store it; `None` for one that is not ours to store.
    fn stored_as(&self) -> Option<String> {
        if !self.own {
            return None;
        }
        let label = Label {
            socket: inode(&self.socket).ok()?,
            address: self.bind.address.clone(),
            file: self.file.as_ref().map(SocketFile::identity),
        };
        label.write()
    }

    /// One that comes back from the store. What does not change a socket's identity (backlog, mode) is
    /// still to be adjusted.
    ///
    /// # Errors
    /// It is not what its name says, or nobody could reach it.
    pub(super) fn stored(fd: OwnedFd, label: Label) -> io::Result<Listener> {
        let socket = Socket::from(fd);
        let other = |what| Err(io::Error::other(what));
        if inode(&socket)? != label.socket || !socket.is_listener()? {
            return other("it is another socket");
        }
        socket.set_cloexec(true)?;
        let local = local(&socket)?;
        let mut file = None;
        match (&label.address, &local) {
            (Address::Tcp(wanted), LocalAddr::Tcp(there)) => {
                if wanted.ip() != there.ip() || ![0, there.port()].contains(&wanted.port()) {
                    return other("it is bound elsewhere");
                }
                tune(&socket)?;
                // A master that stopped lets nobody in; there is no filter after a crash.
                let _ = socket.detach_filter();
            }
            (Address::Unix(path), LocalAddr::Unix(there)) if path == there => {
                let ours = label.file.map(|id| SocketFile::adopt(path, id, true));
                file = ours.filter(SocketFile::is_there);
                if file.is_none() {
                    return other("its file is gone");
                }
            }
            (Address::Abstract(name), LocalAddr::Unix(there))
                if there.to_str().and_then(|there| there.strip_prefix('@')) == Some(name) => {}
            _ => return other("it is bound elsewhere"),
        }
        Ok(Listener {
            socket,
            // What else it is for is the configuration's to say.
            bind: Bind {
                address: label.address,
                ..Config::default().listener
            },
            backlog: Cell::new(0),
            local,
            file,
            shared: Cell::new(false),
            own: true,
        })
    }
}

fn inode(socket: &Socket) -> nix::Result<u64> {
    fstat(socket.as_fd()).map(|stat| stat.st_ino)
}

/// With `%XX` for what may not be in a name: a colon, and all that is no printable ASCII.
fn escaped(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for byte in bytes {
        match byte {
            b'%' | b':' => {}
            b'!'..=b'~' => {
                text.push(char::from(*byte));
                continue;
            }
            _ => {}
        }
        let _ = write!(text, "%{byte:02X}");
    }
    text
}

/// What was escaped.
fn plain(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, after @ ..] = rest {
        rest = after;
        if *first != b'%' {
            bytes.push(*first);
            continue;
        }
        let code = std::str::from_utf8(rest.get(..2)?).ok()?;
        bytes.push(u8::from_str_radix(code, 16).ok()?);
        rest = &rest[2..];
    }
    Some(bytes)
}

fn text(escaped: &str) -> Option<String> {
    String::from_utf8(plain(escaped)?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sockets::Inherited;

    fn label(address: Address, file: Option<(u64, u64)>) -> Label {
        Label {
            socket: 7,
            address,
            file,
        }
    }

    #[test]
    fn a_name_says_what_it_was_made_from() {
        let tcp = |text: &str| Address::Tcp(text.parse().unwrap());
        let path = OsString::from_vec(b"/run/a-b: %3A\xff".to_vec());
        for (label, name) in [
            (
                label(tcp("127.0.0.1:0"), None),
                "ferricorn-7-tcp-127.0.0.1%3A0",
            ),
            (
                label(tcp("[fe80::1%2]:80"), None),
                "ferricorn-7-tcp-[fe80%3A%3A1%252]%3A80",
            ),
            (
                label(Address::Abstract("a-é".to_owned()), None),
                "ferricorn-7-abstract-a-%C3%A9",
            ),
            (
                label(Address::Unix(path.into()), Some((24, 9))),
                "ferricorn-7-unix-24-9-/run/a-b%3A%20%253A%FF",
            ),
        ] {
            assert_eq!(label.write().as_deref(), Some(name));
            assert_eq!(Label::read(name), Some(label), "{name}");
        }
    }

    #[test]
    fn what_has_no_name_or_is_none_of_ours_stays_away() {
        let long = Address::Abstract("é".repeat(53));
        for nameless in [
            label(long, None),
            label(Address::Fd(3), None),
            label(Address::Passed("http".to_owned()), None),
            label(Address::Unix("/run/a".into()), None),
        ] {
            assert_eq!(nameless.write(), None, "{nameless:?}");
        }
        for other in [
            "",
            "http",
            "ferricorn",
            "ferricorn-7",
            "ferricorn-x-tcp-127.0.0.1%3A1",
            "ferricorn-7-tcp-127.0.0.1",
            "ferricorn-7-tcp-127.0.0.1%3",
            "ferricorn-7-tcp-127.0.0.1%é",
            "ferricorn-7-udp-127.0.0.1%3A1",
            "ferricorn-7-unix-1-/run/a",
        ] {
            assert_eq!(Label::read(other), None, "{other}");
        }
    }

    #[test]
    fn only_the_socket_that_the_name_speaks_of_is_taken() {
        let bind = |text: &str| Bind {
            address: Address::Tcp(text.parse().unwrap()),
            ..Config::default().listener
        };
        let listener = Listener::bind(&bind("127.0.0.1:0"), &Inherited::default()).unwrap();
        let take = |label: Label| {
            let copy = listener.socket.try_clone().unwrap();
            Listener::stored(copy.into(), label)
        };
        let name = listener.stored_as().unwrap();
        let label = || Label::read(&name).unwrap();
        let again = take(label()).unwrap();
        assert_eq!(again.stored_as(), Some(name.clone()));
        for changed in [
            Label {
                socket: label().socket + 1,
                ..label()
            },
            Label {
                address: bind("127.0.0.1:1").address,
                ..label()
            },
            Label {
                address: bind("127.0.0.2:0").address,
                ..label()
            },
            Label {
                address: Address::Abstract("a".to_owned()),
                ..label()
            },
        ] {
            assert!(take(changed).is_err());
        }
        // A copy is the same socket, and is stored once.
        let both = [Rc::new(listener), Rc::new(again)];
        assert_eq!(storable(both.iter()).len(), 1);
    }
}
