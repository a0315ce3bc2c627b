//! Where the control socket lies, for the server that makes it and for the client that looks for it.
//!
//! Each server has its own, named for its pid. A directory that others could write to is not used by
//! either side: whoever made the socket in it could be anybody.

use std::env;
use std::ffi::OsStr;
use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::rc::Rc;

use nix::errno::Errno;
use nix::unistd::{Pid, geteuid};

use crate::config::{Address, Bind, Config};
use crate::generation::Master;
use crate::pidfile;
use crate::sockets::{Inherited, Listener};

/// What the setting says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// The server finds one.
    Auto,
    /// There is none.
    Nowhere,
    /// This path, absolute.
    At(PathBuf),
}

/// Servers that have the same pid, in containers that share a directory.
const SAME_PID: u32 = 8;
/// Clients that wait to be accepted.
const BACKLOG: u32 = 128;

/// A directory for sockets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Directory {
    /// Where it is.
    pub path: PathBuf,
    // It is made by the first server that needs it, for its user alone.
    made: bool,
}

/// The directories in which a server of this user may have its socket, the first choice first.
pub fn directories() -> Vec<Directory> {
    let variable = |name: &str| Some(PathBuf::from(env::var_os(name)?)).filter(|p| p.is_absolute());
    let made = |path: PathBuf| Directory { path, made: true };
    // systemd gives a list when there are several.
    let runtime = env::var_os("RUNTIME_DIRECTORY").and_then(|list| {
        let first = list.as_bytes().split(|byte| *byte == b':').next()?;
        let path = PathBuf::from(OsStr::from_bytes(first));
        path.is_absolute()
            .then_some(Directory { path, made: false })
    });
    // su(1) and sudo(8) may leave somebody else's.
    let own = |path: &PathBuf| fs::metadata(path).is_ok_and(|d| d.uid() == geteuid().as_raw());
    let user = variable("XDG_RUNTIME_DIR").filter(own);
    let temporary = variable("TMPDIR").unwrap_or_else(|| "/tmp".into());
    let named = format!("ferricorn-{}", geteuid());
    let all = [
        runtime,
        user.map(|path| made(path.join("ferricorn"))),
        Some(made(temporary.join(named))),
    ];
    all.into_iter().flatten().collect()
}

impl Directory {
    /// Sees to it that it is there and can be trusted.
    ///
    /// # Errors
    /// It cannot be made, or is not this user's alone.
    fn prepare(&self) -> io::Result<()> {
        if self.made {
            match DirBuilder::new().mode(0o700).create(&self.path) {
                Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
                _ => {}
            }
        }
        self.check()
    }

    /// Whether what lies in it is this user's.
    ///
    /// # Errors
    /// Why not.
    pub fn check(&self) -> io::Result<()> {
        if !self.made {
            return Ok(());
        }
        let there = fs::symlink_metadata(&self.path)?;
        let uid = geteuid().as_raw();
        if !there.is_dir() || there.uid() != uid || there.mode() & 0o077 != 0 {
            let text = format!("it is no directory of uid {uid} alone");
            return Err(io::Error::new(io::ErrorKind::PermissionDenied, text));
        }
        Ok(())
    }

    /// The sockets in it, with the pid of whose they are.
    pub fn sockets(&self) -> Vec<(PathBuf, i32)> {
        let entries = fs::read_dir(&self.path).into_iter().flatten().flatten();
        let named = entries.filter_map(|entry| {
            let name = entry.file_name();
            let stem = name.to_str()?.strip_suffix(".sock")?;
            let pid = stem
                .split('.')
                .next()?
                .parse()
                .ok()
                .filter(|pid| *pid > 0)?;
            Some((entry.path(), pid))
        });
        let mut sockets: Vec<(PathBuf, i32)> = named.collect();
        sockets.sort();
        sockets
    }

    /// Removes what servers have left that were killed. One of another container may have a pid that
    /// is nobody's here, but it listens.
    fn clean(&self) {
        for (path, pid) in self.sockets() {
            let dead = nix::sys::signal::kill(Pid::from_raw(pid), None) == Err(Errno::ESRCH);
            if dead {
                let _ = crate::sockets::remove_stale(&path);
            }
        }
    }
}

/// Makes the control socket of a server, or takes it from what is `held`. That there is none is an
/// error only where its path was given. A second master has it at that path and `.2`.
///
/// # Errors
/// What the system answers, with the path.
pub fn open(
    place: &Place,
    held: &[Rc<Listener>],
    Master { pid, second }: Master,
) -> io::Result<Option<Rc<Listener>>> {
    let at = |path: &Path| {
        let bind = bind(path);
        let one = held.iter().find(|listener| listener.is(&bind));
        match one.filter(|listener| listener.is_in_place()) {
            Some(listener) => Ok(Rc::clone(listener)),
            None => Listener::bind(&bind, &Inherited::default()).map(Rc::new),
        }
    };
    let named = |error: &dyn std::fmt::Display| format!("cannot make the control socket: {error}");
    match place {
        Place::Nowhere => Ok(None),
        Place::At(path) => at(&pidfile::place(path, second))
            .map(Some)
            .map_err(|e| io::Error::other(named(&e))),
        Place::Auto => {
            let mut reasons = Vec::new();
            for directory in directories() {
                if let Err(error) = directory.prepare() {
                    reasons.push(format!("{}: {error}", directory.path.display()));
                    continue;
                }
                directory.clean();
                let names = (0..SAME_PID).map(|n| match n {
                    0 => format!("{pid}.sock"),
                    n => format!("{pid}.{n}.sock"),
                });
                for name in names {
                    match at(&directory.path.join(name)) {
                        Ok(listener) => return Ok(Some(listener)),
                        Err(error) if error.in_use => {}
                        Err(error) => {
                            reasons.push(error.to_string());
                            break;
                        }
                    }
                }
            }
            // Every start and every reload would say so from two processes.
            if std::process::id() == pid {
                log::warn!("{}", named(&reasons.join("; ")));
            }
            Ok(None)
        }
    }
}

fn bind(path: &Path) -> Bind {
    Bind {
        text: path.display().to_string(),
        address: Address::Unix(path.to_owned()),
        backlog: BACKLOG,
        socket_mode: 0o600,
        ..Config::default().listener
    }
}
