//! Sockets that were open when the program started: from systemd (sd_listen_fds(3)) or from
//! whoever called it with `fd://N`.
//!
//! They are looked for once, first thing: later a number could be anything of ours.

use std::io;
use std::os::fd::{OwnedFd, RawFd};

use serde::{Deserialize, Serialize};
use socket2::Socket;

use super::stored::Label;
use super::{BindError, Listener};
use crate::config::{Address, Bind, Call, Origin};
use crate::sys;

const FIRST: RawFd = 3;

/// The inherited sockets. Their numbers stay what they are when the program is executed anew.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Inherited {
    sockets: Vec<RawFd>,
    // With their names; those of systemd only.
    passed: Vec<(RawFd, String)>,
}

impl Inherited {
    /// Looks at what there is. `call` has the environment; in the master, before it opens anything.
    pub fn look(call: &Call) -> Inherited {
        let mut sockets: Vec<RawFd> = std::fs::read_dir("/proc/self/fd")
            .into_iter()
            .flatten()
            .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
            .filter(|number| *number >= FIRST && socket(*number).is_some())
            .collect();
        sockets.sort_unstable();
        for number in &sockets {
            // The workers get them by name, and nothing that they execute should.
            let _ = sys::close_on_exec(*number);
        }
        let variable = |name: &str| {
            let (_, value) = call.environment.iter().find(|(key, _)| key == name)?;
            value.to_str()
        };
        let number = |name: &str| variable(name)?.parse::<u32>().ok();
        let ours = number("LISTEN_PID") == Some(std::process::id());
        let count = number("LISTEN_FDS").filter(|_| ours).unwrap_or(0);
        let end = FIRST.saturating_add(i32::try_from(count).unwrap_or(0));
        let names = variable("LISTEN_FDNAMES").unwrap_or_default();
        let names = names.split(':').chain(std::iter::repeat(""));
        let passed = (FIRST..end)
            .zip(names)
            .filter(|(number, _)| sockets.contains(number))
            .map(|(number, name)| (number, name.to_owned()))
            .collect();
        Inherited { sockets, passed }
    }

    /// Takes out the listeners that the manager had stored for us, each once, and all names under which
    /// it has any. In the master, before it has others.
    pub fn take_stored(&mut self) -> (Vec<Listener>, Vec<String>) {
        let (mut listeners, mut names) = (Vec::new(), Vec::new());
        let passed = std::mem::take(&mut self.passed);
        for (number, name) in passed {
            let Some(label) = Label::read(&name) else {
                self.passed.push((number, name));
                continue;
            };
            self.sockets.retain(|other| *other != number);
            match sys::take_over(number).and_then(|fd| Listener::stored(fd, label)) {
                Ok(listener) => listeners.push(listener),
                Err(error) => log::warn!("the stored socket {name} is of no use: {error}"),
            }
            names.push(name);
        }
        (listeners, names)
    }

    /// Their numbers.
    pub fn numbers(&self) -> &[RawFd] {
        &self.sockets
    }

    /// The listeners to have: what is configured, with a descriptor for each name of passed sockets;
    /// when nothing is and systemd passed sockets, those.
    ///
    /// # Errors
    /// No socket has this name; those that there are are said.
    pub fn binds(&self, configured: &[Bind]) -> Result<Vec<Bind>, BindError> {
        let default = configured.iter().all(|bind| bind.origin == Origin::Default);
        match configured.first() {
            Some(first) if default && !self.passed.is_empty() => Ok(self
                .passed
                .iter()
                .map(|(number, _)| Bind {
                    text: format!("fd://{number}"),
                    address: Address::Fd(*number),
                    origin: Origin::Environment("LISTEN_FDS".to_owned()),
                    ..first.clone()
                })
                .collect()),
            _ => self.named(configured),
        }
    }

    /// The listeners to have, with a descriptor for each name of passed sockets.
    ///
    /// # Errors
    /// As [`Inherited::binds`].
    pub fn named(&self, configured: &[Bind]) -> Result<Vec<Bind>, BindError> {
        let numbered = configured.iter().map(|bind| self.numbered(bind));
        Ok(numbered.collect::<Result<Vec<_>, _>>()?.concat())
    }

    /// A bind with descriptors instead of the name of passed sockets.
    fn numbered(&self, bind: &Bind) -> Result<Vec<Bind>, BindError> {
        let Address::Passed(wanted) = &bind.address else {
            return Ok(vec![bind.clone()]);
        };
        let named = self.passed.iter().filter(|(_, name)| name == wanted);
        let binds: Vec<Bind> = named
            .map(|(number, _)| Bind {
                address: Address::Fd(*number),
                ..bind.clone()
            })
            .collect();
        if !binds.is_empty() {
            return Ok(binds);
        }
        let mut names: Vec<&str> = self.passed.iter().map(|(_, name)| &**name).collect();
        names.retain(|name| !name.is_empty());
        names.dedup();
        let there = match names[..] {
            [] => "no socket with a name was".to_owned(),
            _ => format!("passed were \"{}\"", names.join("\", \"")),
        };
        Err(BindError {
            text: format!(
                "cannot bind {}: no socket of this name was passed; {there}",
                bind.text
            ),
            in_use: false,
        })
    }

    /// A copy of an inherited socket.
    ///
    /// # Errors
    /// One that was not open at the start.
    pub fn take(&self, number: RawFd) -> io::Result<OwnedFd> {
        if self.sockets.contains(&number) {
            return sys::duplicate(number);
        }
        Err(io::Error::other(format!(
            "descriptor {number} was no open socket at the start"
        )))
    }

    /// A copy of the socket that systemd passed for `address`, if it did.
    pub fn find(&self, address: &Address) -> Option<OwnedFd> {
        let (number, _) = self.passed.iter().find(|(number, _)| {
            let local = socket(*number).and_then(|socket| socket.local_addr().ok());
            local.is_some_and(|local| match address {
                Address::Tcp(wanted) => local.as_socket() == Some(*wanted),
                Address::Unix(wanted) => local.as_pathname() == Some(wanted),
                Address::Abstract(wanted) => {
                    local.as_abstract_namespace() == Some(wanted.as_bytes())
                }
                Address::Fd(_) | Address::Passed(_) => false,
            })
        })?;
        self.take(*number).ok()
    }
}

fn socket(number: RawFd) -> Option<Socket> {
    let socket = Socket::from(sys::duplicate(number).ok()?);
    socket.r#type().is_ok().then_some(socket)
}
