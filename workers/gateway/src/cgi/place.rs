//! Which program a path names, and what of the path is its own: looks names up beneath a directory, and
//! never outside of it. Starts nothing.

use std::ffi::{CString, OsStr};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use http::StatusCode;
use rustix::fs::{
    Access, AtFlags, CWD, FileType, Mode, OFlags, ResolveFlags, accessat, fstat, openat2,
};
use rustix::io::Errno;

/// How often a name is resolved anew because something was renamed meanwhile (EAGAIN, openat2(2)).
const TRIES: usize = 100;
/// Only to learn what it is.
const LOOK: OFlags = OFlags::PATH.union(OFlags::CLOEXEC);

/// What `cgi:` names.
#[derive(Clone, Debug)]
pub(super) enum Place {
    /// One program, for every path.
    Program(PathBuf),
    /// Programs by their names.
    Directory(PathBuf),
}

/// A program that was found.
#[derive(Debug)]
pub(super) struct Found {
    /// The path of its file.
    pub(super) path: PathBuf,
    /// The directory in which that is.
    pub(super) directory: OwnedFd,
    /// Of the path, how many bytes lead to it.
    pub(super) script: usize,
    /// Where what is behind that is looked up.
    pub(super) root: PathBuf,
}

impl Place {
    /// What there is under `path`, an absolute one.
    pub(super) fn of(path: &Path) -> std::io::Result<Place> {
        let path = path.to_owned();
        match std::fs::metadata(&path)?.is_dir() {
            true => Ok(Place::Directory(path)),
            false => Ok(Place::Program(path)),
        }
    }

    /// Finds the program for a decoded path: what of the request's path is the application's own.
    ///
    /// # Errors
    /// The status to answer with.
    pub(super) fn find(&self, path: &[u8]) -> Result<Found, StatusCode> {
        if path.contains(&0) || path.split(|&byte| byte == b'/').any(|part| part == b"..") {
            return Err(StatusCode::BAD_REQUEST);
        }
        match self {
            Place::Program(program) => {
                let root = program.parent().unwrap_or(Path::new("/"));
                let directory = open(root)?;
                let file = openat2(CWD, program, LOOK, Mode::empty(), ResolveFlags::empty());
                let file = file.map_err(status)?;
                match kind(&file)? {
                    FileType::RegularFile => executable(&directory, program.as_os_str())?,
                    _ => return Err(StatusCode::NOT_FOUND),
                }
                Ok(Found {
                    path: program.clone(),
                    root: root.to_owned(),
                    directory,
                    script: 0,
                })
            }
            Place::Directory(root) => find(root, path),
        }
    }
}

/// The first file on the way that `path` describes from `root` on.
fn find(root: &Path, path: &[u8]) -> Result<Found, StatusCode> {
    let mut directory = open(root)?;
    let top = open(root)?;
    let mut at = 0;
    while path.get(at) == Some(&b'/') {
        let rest = &path[at + 1..];
        let len = rest.iter().position(|&byte| byte == b'/');
        let name = &rest[..len.unwrap_or(rest.len())];
        // Neither an empty name, as of two slashes, nor one that is hidden is any file's.
        if name.is_empty() || name[0] == b'.' {
            return Err(StatusCode::NOT_FOUND);
        }
        at += 1 + name.len();
        // From the top each time, beneath which links may lead elsewhere.
        let found = beneath(&top, &path[1..at]).map_err(status)?;
        match kind(&found)? {
            FileType::Directory => directory = found,
            FileType::RegularFile => {
                executable(&directory, OsStr::from_bytes(name))?;
                return Ok(Found {
                    path: root.join(OsStr::from_bytes(&path[1..at])),
                    directory,
                    script: at,
                    root: root.to_owned(),
                });
            }
            _ => return Err(StatusCode::NOT_FOUND),
        }
    }
    Err(StatusCode::NOT_FOUND)
}

fn open(path: &Path) -> Result<OwnedFd, StatusCode> {
    let flags = LOOK | OFlags::DIRECTORY;
    openat2(CWD, path, flags, Mode::empty(), ResolveFlags::empty()).map_err(status)
}

fn beneath(directory: &OwnedFd, name: &[u8]) -> Result<OwnedFd, Errno> {
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
    let mut left = TRIES;
    loop {
        match openat2(directory, name, LOOK, Mode::empty(), resolve) {
            Err(Errno::AGAIN | Errno::INTR) if left > 0 => left -= 1,
            found => return found,
        }
    }
}

fn kind(file: &OwnedFd) -> Result<FileType, StatusCode> {
    let stat = fstat(file).map_err(status)?;
    Ok(FileType::from_raw_mode(stat.st_mode))
}

/// 403 where this process may not execute it.
fn executable(directory: &OwnedFd, name: &OsStr) -> Result<(), StatusCode> {
    accessat(directory, name, Access::EXEC_OK, AtFlags::EACCESS).map_err(status)
}

fn status(error: Errno) -> StatusCode {
    match error {
        // A link out of the root, or one too many, leads to nothing.
        Errno::NOENT | Errno::NOTDIR | Errno::NAMETOOLONG | Errno::XDEV | Errno::LOOP => {
            StatusCode::NOT_FOUND
        }
        Errno::ACCESS | Errno::PERM => StatusCode::FORBIDDEN,
        _ => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

impl Found {
    /// The path as the system is given it.
    pub(super) fn c_path(&self) -> Option<CString> {
        CString::new(self.path.as_os_str().as_bytes()).ok()
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    #[test]
    fn the_first_file_on_the_way_is_the_program() {
        let outside = tempfile::tempdir().unwrap();
        let root = outside.path().join("cgi-bin");
        fs::create_dir_all(root.join("sub/deep")).unwrap();
        for (name, mode) in [
            ("run", 0o755),
            ("sub/run", 0o755),
            ("sub/plain", 0o644),
            (".hidden", 0o755),
            ("../secret", 0o755),
        ] {
            fs::write(root.join(name), "#!/bin/sh\n").unwrap();
            let mode = fs::Permissions::from_mode(mode);
            fs::set_permissions(root.join(name), mode).unwrap();
        }
        symlink("../secret", root.join("out")).unwrap();
        symlink("/bin/sh", root.join("absolute")).unwrap();
        symlink("sub", root.join("folder")).unwrap();
        symlink("sub/run", root.join("link")).unwrap();
        let place = Place::of(&root).unwrap();
        for (path, expected) in [
            ("/run", Ok("/run")),
            ("/run/", Ok("/run")),
            ("/run/a/b", Ok("/run")),
            ("/run//a", Ok("/run")),
            ("/run/.", Ok("/run")),
            ("/sub/run/run", Ok("/sub/run")),
            ("/folder/run/x", Ok("/folder/run")),
            ("/link/x", Ok("/link")),
            ("/sub/plain", Err(403)),
            ("/sub/plain/run", Err(403)),
            ("/sub", Err(404)),
            ("/sub/", Err(404)),
            ("", Err(404)),
            ("/", Err(404)),
            ("//run", Err(404)),
            ("/./run", Err(404)),
            ("/none", Err(404)),
            ("/.hidden", Err(404)),
            ("/out", Err(404)),
            ("/absolute", Err(404)),
            ("/absolute/-c", Err(404)),
            ("/../secret", Err(400)),
            ("/sub/../run", Err(400)),
            ("/run/..", Err(400)),
            ("/run/../../secret", Err(400)),
            ("/run\0", Err(400)),
            ("/sub/run\0.txt", Err(400)),
        ] {
            let found = place.find(path.as_bytes());
            let found = found.map(|found| {
                let beneath = found.path.strip_prefix(&root).unwrap();
                assert_eq!(&path[1..found.script], beneath.to_str().unwrap(), "{path}");
                path[..found.script].to_owned()
            });
            let expected = expected.map(str::to_owned);
            assert_eq!(found.map_err(|status| status.as_u16()), expected, "{path}");
        }
    }

    #[test]
    fn one_program_has_every_path() {
        let place = Place::of(Path::new("/bin/sh")).unwrap();
        for path in ["", "/", "/a/b"] {
            let found = place.find(path.as_bytes()).unwrap();
            assert_eq!(
                (found.script, found.path.as_path()),
                (0, Path::new("/bin/sh"))
            );
        }
        assert_eq!(place.find(b"/a/../b").unwrap_err(), StatusCode::BAD_REQUEST);
        let place = Place::of(Path::new("/etc/passwd")).unwrap();
        assert_eq!(place.find(b"/").unwrap_err(), StatusCode::FORBIDDEN);
    }
}
