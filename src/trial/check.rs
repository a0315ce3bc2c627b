//! One request to a worker on trial: does it answer, too?
//!
//! Over an abstract unix socket with a name that nobody can guess, on which that worker is the only one to
//! accept. In the program on trial, which may wait.

use std::io::{self, Read, Write};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixStream};
use std::rc::Rc;
use std::time::Duration;

use ferricorn_base::conf::ListenerConf;
use ferricorn_base::sys::{monotonic as now, random};

use crate::config::{Address, Bind, Config};
use crate::sockets::{Inherited, Listener};

/// As much of an answer as is read until its status must have come.
const LONGEST: usize = 64 << 10;

/// The socket for the request.
#[derive(Debug)]
pub(super) struct Check {
    name: String,
    /// To be accepted from by the worker, and to be dropped when that was forked: when the worker
    /// dies, nobody else may keep the connection waiting.
    pub(super) listener: Rc<Listener>,
    /// What the worker is told of it.
    pub(super) conf: ListenerConf,
}

impl Check {
    /// Opens it.
    ///
    /// # Errors
    /// What the system answers.
    pub(super) fn open() -> Result<Check, String> {
        let name = format!("ferricorn-trial-{:032x}", u128::from_ne_bytes(random()));
        let bind = Bind {
            text: format!("unix:@{name}"),
            address: Address::Abstract(name.clone()),
            ..Config::default().listener
        };
        let listener = Listener::bind(&bind, &Inherited::default());
        let listener = listener.map_err(|error| error.to_string())?;
        Ok(Check {
            name,
            conf: listener.conf(&bind),
            listener: Rc::new(listener),
        })
    }

    /// Asks for `path`, when the worker is ready.
    ///
    /// # Errors
    /// No answer until then, or one that says that the server cannot.
    pub(super) fn ask(self, path: &str, until: Duration) -> Result<(), String> {
        drop(self.listener);
        match status(&self.name, path, until) {
            Ok(status) if status < 500 => Ok(()),
            Ok(status) => Err(format!("on trial GET {path} was answered {status}")),
            Err(error) => Err(format!("on trial GET {path} was not answered: {error}")),
        }
    }
}

fn status(name: &str, path: &str, until: Duration) -> io::Result<u16> {
    let mut stream = UnixStream::connect_addr(&SocketAddr::from_abstract_name(name)?)?;
    write!(
        stream,
        "GET {path} HTTP/1.1\r\nHost: localhost\r\nUser-Agent: ferricorn\r\nConnection: close\r\n\r\n"
    )?;
    let mut answer = Vec::new();
    loop {
        if let Some(status) = final_status(&answer) {
            return Ok(status);
        }
        if answer.len() > LONGEST {
            return Err(io::Error::other("it is no answer"));
        }
        let left = until.saturating_sub(now());
        // Zero would mean no limit.
        stream.set_read_timeout(Some(left.max(Duration::from_millis(1))))?;
        let mut piece = [0; 4096];
        match stream.read(&mut piece) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(read) => answer.extend_from_slice(&piece[..read]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                return Err(io::Error::other("boot-timeout is over"));
            }
            Err(error) => return Err(error),
        }
    }
}

/// The status of an answer as far as it has come, interim ones (RFC 9110, 15.2) passed over.
fn final_status(answer: &[u8]) -> Option<u16> {
    let text = String::from_utf8_lossy(answer);
    let mut rest = &*text;
    loop {
        let (line, _) = rest.split_once("\r\n")?;
        let status: u16 = line.split(' ').nth(1)?.parse().ok()?;
        if status >= 200 {
            return Some(status);
        }
        rest = rest.split_once("\r\n\r\n")?.1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_status_that_counts_is_the_final_one() {
        for (answer, status) in [
            ("HTTP/1.1 200 OK\r\n", Some(200)),
            ("HTTP/1.1 503 ", None),
            ("HTTP/1.1 103 Early Hints\r\nLink: x\r\n", None),
            (
                "HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 503 No\r\n",
                Some(503),
            ),
            ("", None),
            ("nonsense\r\n", None),
        ] {
            assert_eq!(final_status(answer.as_bytes()), status, "{answer:?}");
        }
    }
}
