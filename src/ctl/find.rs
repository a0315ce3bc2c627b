//! Finding the server: the path that was given, the configuration's, or the only one that lives.

use std::env;
use std::fmt::Write;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use nix::sys::socket::{getsockopt, sockopt::PeerCredentials};
use socket2::{Domain, SockAddr, Socket, Type};

use super::{Found, PATIENCE};
use crate::control::{Place, directories};

/// The server that is meant.
///
/// # Errors
/// There is none, or more than one.
pub(super) fn server(given: Option<&Path>, place: &Place) -> Result<Found, String> {
    let path = match (given, place) {
        (Some(path), _) => path,
        (None, Place::At(path)) => path,
        (None, Place::Nowhere) => {
            return Err("there is no control socket: control-socket is none".to_owned());
        }
        (None, Place::Auto) => return only(),
    };
    connect(path).map_err(|error| {
        let path = path.display();
        let mut text = match error.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => {
                format!("no server listens at {path}")
            }
            _ => format!("cannot connect to {path}: {error}"),
        };
        let others = live();
        if given.is_none() && !others.is_empty() {
            let _ = write!(text, "; these do, for --socket:{}", list(&others));
        }
        text
    })
}

/// The only server of this user that lives. Under a service manager that names the main process, it
/// is that one.
fn only() -> Result<Found, String> {
    let mut live = live();
    let main = env::var("MAINPID")
        .ok()
        .and_then(|pid| pid.parse::<i32>().ok());
    if let Some(at) = live.iter().position(|(_, found)| Some(found.pid) == main) {
        return Ok(live.swap_remove(at).1);
    }
    if live.len() > 1 {
        return Err(format!(
            "several servers run; say which one with --socket:{}",
            list(&live)
        ));
    }
    live.pop().map(|(_, found)| found).ok_or_else(|| {
        let places: Vec<String> = directories()
            .iter()
            .map(|directory| directory.path.display().to_string())
            .collect();
        format!(
            "no server of this user runs (there is no control socket in {}); \
             --socket says where it is",
            places.join(", ")
        )
    })
}

/// The servers that listen, in the first directory that has any.
fn live() -> Vec<(PathBuf, Found)> {
    let trusted = directories().into_iter().filter(|d| d.check().is_ok());
    let in_each = trusted.map(|directory| {
        let sockets = directory.sockets().into_iter();
        let live = sockets.filter_map(|(path, _)| Some((path.clone(), connect(&path).ok()?)));
        live.collect::<Vec<_>>()
    });
    in_each
        .into_iter()
        .find(|live| !live.is_empty())
        .unwrap_or_default()
}

fn list(live: &[(PathBuf, Found)]) -> String {
    let line =
        |(path, found): &(PathBuf, Found)| format!("\n  {}  (pid {})", path.display(), found.pid);
    live.iter().map(line).collect()
}

/// Connects, but does not wait for a server that accepts nobody.
fn connect(path: &Path) -> io::Result<Found> {
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    // It bounds the wait for room in the accept queue as well (unix(7), SO_SNDTIMEO).
    socket.set_write_timeout(Some(PATIENCE))?;
    socket.connect(&SockAddr::unix(path)?)?;
    let pid = getsockopt(&socket.as_fd(), PeerCredentials)?.pid();
    let stream = UnixStream::from(std::os::fd::OwnedFd::from(socket));
    Ok(Found { stream, pid })
}
