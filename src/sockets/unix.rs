//! The file of a unix socket: never open to more than it should be, never stolen from somebody who
//! listens, never removed when it is not ours any more.

use std::fs;
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use nix::sys::stat::{Mode, umask};
use socket2::{Domain, SockAddr, Socket, Type};

use crate::config::Bind;

/// A socket file that is ours: made by this process, or handed to it by who made it.
#[derive(Debug)]
pub struct SocketFile {
    path: PathBuf,
    identity: (u64, u64),
    owner: u32,
}

impl SocketFile {
    /// Binds `socket` to `path`. A stale file is replaced.
    ///
    /// # Errors
    /// `AddrInUse` when somebody listens there; `AlreadyExists` when it is no socket.
    pub fn bind(
        socket: &Socket,
        address: &SockAddr,
        path: &Path,
        bind: &Bind,
    ) -> io::Result<SocketFile> {
        remove_stale(path)?;
        // Nobody may connect before mode and owner are what they should be.
        let before = umask(Mode::from_bits_truncate(0o777));
        let bound = socket.bind(address);
        umask(before);
        bound?;
        let there = fs::symlink_metadata(path)?;
        let identity = (there.dev(), there.ino());
        let file = SocketFile {
            path: path.to_owned(),
            identity,
            owner: std::process::id(),
        };
        file.adjust(bind)?;
        Ok(file)
    }

    /// One that was made by another image or on trial. `ours` says whether it is to be removed with
    /// its owner.
    pub fn adopt(path: &Path, identity: (u64, u64), ours: bool) -> SocketFile {
        SocketFile {
            path: path.to_owned(),
            identity,
            owner: if ours { std::process::id() } else { 0 },
        }
    }

    /// Whether it is there still, where it was made.
    pub fn is_there(&self) -> bool {
        fs::symlink_metadata(&self.path)
            .is_ok_and(|there| (there.dev(), there.ino()) == self.identity)
    }

    /// Lets go of the file without removing it: it is somebody else's, too.
    pub fn leave(mut self) {
        self.owner = 0;
    }

    /// Its device and inode.
    pub fn identity(&self) -> (u64, u64) {
        self.identity
    }

    /// Gives the file the mode and the owner that `bind` asks for.
    ///
    /// # Errors
    /// What chown(2) or chmod(2) answer.
    pub fn adjust(&self, bind: &Bind) -> io::Result<()> {
        let uid = bind.socket_owner.as_ref().map(|user| user.uid);
        let gid = bind.socket_group.as_ref().map(|group| group.gid);
        if uid.is_some() || gid.is_some() {
            std::os::unix::fs::lchown(&self.path, uid, gid)?;
        }
        fs::set_permissions(&self.path, fs::Permissions::from_mode(bind.socket_mode))
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if std::process::id() == self.owner && self.is_there() {
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Removes a socket that nobody listens on; connect(2) is the only way to know.
///
/// # Errors
/// `AddrInUse` when somebody listens there; `AlreadyExists` when it is no socket; else what the system
/// answers.
pub fn remove_stale(path: &Path) -> io::Result<()> {
    let there = match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        there => there?,
    };
    if !there.file_type().is_socket() {
        let text = "there is a file that is no socket";
        return Err(io::Error::new(io::ErrorKind::AlreadyExists, text));
    }
    // Non-blocking: a full accept queue answers EAGAIN, and that one is alive.
    let probe = Socket::new(Domain::UNIX, Type::STREAM.nonblocking(), None)?;
    match probe.connect(&SockAddr::unix(path)?) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => fs::remove_file(path),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Err(error),
        _ => Err(io::ErrorKind::AddrInUse.into()),
    }
}
