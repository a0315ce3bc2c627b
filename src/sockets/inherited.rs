//! Sockets that were open when the program started: from systemd (sd_listen_fds(3)) or from
//! whoever called it with `fd://N`.
//!
//! They are looked for once, first thing: later a number could be anything of ours.

use std::io;
use std::os::fd::{OwnedFd, RawFd};

use serde::{Deserialize, Serialize};
use socket2::Socket;

use crate::config::{Address, Bind, Call, Origin};
use crate::sys;

const FIRST: RawFd = 3;

/// The inherited sockets. Their numbers stay what they are when the program is executed anew.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Inherited {
    sockets: Vec<RawFd>,
    passed: Vec<RawFd>,
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
            value.to_str()?.parse::<u32>().ok()
        };
        let ours = variable("LISTEN_PID") == Some(std::process::id());
        let count = variable("LISTEN_FDS").filter(|_| ours).unwrap_or(0);
        let end = FIRST.saturating_add(i32::try_from(count).unwrap_or(0));
        let passed = sockets
            .iter()
            .copied()
            .filter(|number| *number < end)
            .collect();
        Inherited { sockets, passed }
    }

    /// Their numbers.
    pub fn numbers(&self) -> &[RawFd] {
        &self.sockets
    }

    /// The listeners to have: what is configured; when nothing is and systemd passed sockets, those.
    pub fn binds(&self, configured: &[Bind]) -> Vec<Bind> {
        let default = configured.iter().all(|bind| bind.origin == Origin::Default);
        match configured.first() {
            Some(first) if default && !self.passed.is_empty() => self
                .passed
                .iter()
                .map(|number| Bind {
                    text: format!("fd://{number}"),
                    address: Address::Fd(*number),
                    origin: Origin::Environment("LISTEN_FDS".to_owned()),
                    ..first.clone()
                })
                .collect(),
            _ => configured.to_vec(),
        }
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
        let number = self.passed.iter().find(|number| {
            let local = socket(**number).and_then(|socket| socket.local_addr().ok());
            local.is_some_and(|local| match address {
                Address::Tcp(wanted) => local.as_socket() == Some(*wanted),
                Address::Unix(wanted) => local.as_pathname() == Some(wanted),
                Address::Abstract(wanted) => {
                    local.as_abstract_namespace() == Some(wanted.as_bytes())
                }
                Address::Fd(_) => false,
            })
        })?;
        self.take(*number).ok()
    }
}

fn socket(number: RawFd) -> Option<Socket> {
    let socket = Socket::from(sys::duplicate(number).ok()?);
    socket.r#type().is_ok().then_some(socket)
}
