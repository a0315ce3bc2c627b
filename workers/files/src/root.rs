//! A directory, and what is opened beneath it: never anything else, whatever names and links say. The only
//! place here that asks the system for a name.
//!
//! The system resolves names in one call from a descriptor of the root (openat2(2), RESOLVE_BENEATH), so
//! nobody who may rename things in between can lead it out.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use ferricorn_base::Error;
use rustix::fs::{FileType, Mode, OFlags, ResolveFlags, Stat, fstat, open, openat2};
use rustix::io::Errno;

use crate::walk;

/// How often a name is resolved anew because something was renamed meanwhile (EAGAIN, openat2(2)).
const TRIES: usize = 100;
/// To read, and never to wait: not for somebody at the other end of a FIFO.
pub(crate) const READ: OFlags = OFlags::RDONLY
    .union(OFlags::NONBLOCK)
    .union(OFlags::NOCTTY)
    .union(OFlags::CLOEXEC);
/// Only to learn what it is.
const LOOK: OFlags = OFlags::PATH.union(OFlags::CLOEXEC);

/// Which symbolic links are followed. None leads out of the root, and an absolute one never leads
/// anywhere.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Symlinks {
    /// Those whose target is beneath the root.
    #[default]
    Inside,
    /// Those whose owner owns the target, too.
    Owner,
    /// None.
    No,
}

/// The directory that is served.
#[derive(Debug)]
pub(crate) struct Root {
    path: PathBuf,
    directory: OwnedFd,
    which: (u64, u64),
    symlinks: Symlinks,
}

/// Something that was opened.
#[derive(Debug)]
pub(crate) struct Opened {
    pub(crate) file: File,
    pub(crate) kind: What,
    pub(crate) stamp: Stamp,
}

/// What may be served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum What {
    File,
    Directory,
}

/// What tells one version of a file from another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stamp {
    which: (u64, u64),
    pub(crate) size: u64,
    /// Seconds since 1970, and nanoseconds.
    pub(crate) modified: (i64, u32),
    changed: (i64, u32),
}

/// Why nothing was opened.
#[derive(Debug)]
pub(crate) enum Closed {
    /// There is nothing of this name that is served.
    Missing,
    /// The system does not let us.
    Forbidden,
    /// It failed.
    Failed(io::Error),
}

impl Root {
    /// Opens the directory `path`, an absolute one.
    pub(crate) fn open(path: &Path, symlinks: Symlinks) -> Result<Root, Error> {
        let failed = |error: Errno| {
            let error = io::Error::from(error);
            Error::msg(format!("cannot serve {}: {error}", path.display()))
        };
        let flags = LOOK | OFlags::DIRECTORY;
        let directory = open(path, flags, Mode::empty()).map_err(failed)?;
        let which = Stamp::of(&fstat(&directory).map_err(failed)?).which;
        let root = Root {
            path: path.to_owned(),
            directory,
            which,
            symlinks,
        };
        // Old kernels do not have the call, and old sandboxes do not know it.
        root.resolve(b".", LOOK, ResolveFlags::empty())
            .map_err(|error| {
                let error = io::Error::from(error);
                let path = path.display();
                Error::msg(format!(
                    "cannot serve {path}: openat2(2): {error}; Linux 5.6 or newer is needed, and a \
                     sandbox that permits the call"
                ))
            })?;
        Ok(root)
    }

    /// Whether the path leads to another directory now, which is what counts from here on. While it
    /// leads to none, the old one does.
    pub(crate) fn has_moved(&mut self) -> bool {
        let found = rustix::fs::stat(&self.path);
        if !found.is_ok_and(|stat| Stamp::of(&stat).which != self.which) {
            return false;
        }
        match Root::open(&self.path, self.symlinks) {
            Ok(root) => {
                *self = root;
                true
            }
            Err(_) => false,
        }
    }

    /// Opens a file or directory, to read it. One that may be entered and not be read is opened all the
    /// same, and cannot be listed.
    pub(crate) fn read(&self, name: &[u8]) -> Result<Opened, Closed> {
        let opened = self.opened(name, READ)?;
        // A directory may be of use although it cannot be read: what is in it has names.
        match opened {
            Err(Errno::ACCESS) => match self.opened(name, LOOK | OFlags::DIRECTORY)? {
                Ok(opened) => Ok(opened),
                Err(_) => Err(Closed::Forbidden),
            },
            opened => opened.map_err(Closed::of),
        }
    }

    /// What there is under a name, without opening it.
    pub(crate) fn look(&self, name: &[u8]) -> Result<(What, Stamp), Closed> {
        let opened = self.opened(name, LOOK)?.map_err(Closed::of)?;
        Ok((opened.kind, opened.stamp))
    }

    /// `Err` is final; what is in `Ok` may be tried otherwise.
    fn opened(&self, name: &[u8], flags: OFlags) -> Result<Result<Opened, Errno>, Closed> {
        let name = if name.is_empty() { b"." } else { name };
        let found = match self.symlinks {
            Symlinks::Inside => self.resolve(name, flags, ResolveFlags::empty()),
            Symlinks::No => self.resolve(name, flags, ResolveFlags::NO_SYMLINKS),
            Symlinks::Owner => match self.resolve(name, flags, ResolveFlags::NO_SYMLINKS) {
                // Only now a link is in the way, and each is looked at.
                Err(Errno::LOOP) => walk::walk(&self.directory, name, flags),
                found => found,
            },
        };
        let found = match found {
            Ok(found) => found,
            Err(error) => return Ok(Err(error)),
        };
        let stat = match fstat(&found) {
            Ok(stat) => stat,
            Err(error) => return Ok(Err(error)),
        };
        let kind = match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile => What::File,
            FileType::Directory => What::Directory,
            _ => return Err(Closed::Missing),
        };
        Ok(Ok(Opened {
            file: found.into(),
            kind,
            stamp: Stamp::of(&stat),
        }))
    }

    fn resolve(&self, name: &[u8], flags: OFlags, more: ResolveFlags) -> Result<OwnedFd, Errno> {
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS | more;
        let mut left = TRIES;
        loop {
            match openat2(&self.directory, name, flags, Mode::empty(), resolve) {
                Err(Errno::AGAIN | Errno::INTR) if left > 0 => left -= 1,
                found => return found,
            }
        }
    }
}

impl Stamp {
    // Which type each field is differs between architectures.
    #[allow(clippy::unnecessary_cast, reason = "not unnecessary everywhere")]
    pub(crate) fn of(stat: &Stat) -> Stamp {
        Stamp {
            which: (stat.st_dev as u64, stat.st_ino as u64),
            size: stat.st_size as u64,
            modified: (stat.st_mtime as i64, stat.st_mtime_nsec as u32),
            changed: (stat.st_ctime as i64, stat.st_ctime_nsec as u32),
        }
    }
}

impl Closed {
    fn of(error: Errno) -> Closed {
        match error {
            // A link out of the root, or one too many, leads to nothing; nor does a socket or a device
            // without a driver.
            Errno::NOENT
            | Errno::NOTDIR
            | Errno::NAMETOOLONG
            | Errno::XDEV
            | Errno::LOOP
            | Errno::NXIO
            | Errno::NODEV => Closed::Missing,
            Errno::ACCESS | Errno::PERM => Closed::Forbidden,
            error => Closed::Failed(error.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use rustix::fs::CWD;

    use super::*;

    /// A root `site` with a file, beside what nobody may read.
    fn site() -> (tempfile::TempDir, PathBuf) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("site");
        fs::create_dir_all(path.join("sub/deep")).unwrap();
        fs::write(path.join("a.txt"), "a").unwrap();
        fs::write(path.join("sub/b.txt"), "b").unwrap();
        fs::write(directory.path().join("canary"), "outside").unwrap();
        for (link, target) in [
            ("inside", "sub/b.txt"),
            ("sub/up", "../a.txt"),
            ("folder", "sub"),
            ("chain", "inside"),
            ("out", "../canary"),
            ("sub/out", "../../canary"),
            ("far", "sub/../../canary"),
            ("absolute", "/etc/passwd"),
            ("loop", "loop"),
            ("dangling", "nowhere"),
            ("magic", "/proc/self/cwd"),
        ] {
            symlink(target, path.join(link)).unwrap();
        }
        (directory, path)
    }

    fn text(root: &Root, name: &str) -> Result<String, String> {
        let opened = root.read(name.as_bytes());
        let opened = opened.map_err(|closed| format!("{closed:?}"))?;
        assert_eq!(root.look(name.as_bytes()).unwrap().1, opened.stamp);
        match opened.kind {
            What::File => Ok(io::read_to_string(opened.file).unwrap()),
            What::Directory => Ok("directory".to_owned()),
        }
    }

    #[test]
    fn names_and_links_lead_to_what_is_beneath_the_root_only() {
        let (_directory, path) = site();
        let missing = || Err("Missing".to_owned());
        for (name, inside, owner, no) in [
            ("a.txt", true, true, true),
            ("sub/b.txt", true, true, true),
            ("inside", true, true, false),
            ("sub/up", true, true, false),
            ("folder/b.txt", true, true, false),
            ("folder/up", true, true, false),
            ("chain", true, true, false),
            ("out", false, false, false),
            ("sub/out", false, false, false),
            ("far", false, false, false),
            ("absolute", false, false, false),
            ("loop", false, false, false),
            ("dangling", false, false, false),
            ("magic", false, false, false),
            ("../canary", false, false, false),
            ("/etc/passwd", false, false, false),
            ("a.txt/", false, false, false),
            ("a.txt/b", false, false, false),
            ("inside/b", false, false, false),
        ] {
            for (symlinks, there) in [
                (Symlinks::Inside, inside),
                (Symlinks::Owner, owner),
                (Symlinks::No, no),
            ] {
                let root = Root::open(&path, symlinks).unwrap();
                let found = text(&root, name);
                if there {
                    assert!(
                        matches!(found.as_deref(), Ok("a" | "b")),
                        "{name} {symlinks:?}"
                    );
                } else {
                    assert_eq!(found, missing(), "{name} {symlinks:?}");
                }
            }
        }
    }

    #[test]
    fn a_link_to_what_another_owns_is_not_followed_where_owners_count() {
        let (_directory, path) = site();
        // Only root can give files away.
        if std::os::unix::fs::lchown(path.join("inside"), Some(12345), None).is_err() {
            return;
        }
        let root = Root::open(&path, Symlinks::Owner).unwrap();
        assert_eq!(text(&root, "inside"), Err("Forbidden".to_owned()));
        assert_eq!(text(&root, "chain"), Err("Forbidden".to_owned()));
        assert_eq!(text(&root, "folder/b.txt").as_deref(), Ok("b"));
        // Both belong to that one.
        std::os::unix::fs::lchown(path.join("sub/b.txt"), Some(12345), None).unwrap();
        assert_eq!(text(&root, "inside").as_deref(), Ok("b"));
        let root = Root::open(&path, Symlinks::Inside).unwrap();
        assert_eq!(text(&root, "inside").as_deref(), Ok("b"));
    }

    #[test]
    fn what_is_neither_file_nor_directory_is_not_opened_and_nobody_waits() {
        let (_directory, path) = site();
        rustix::fs::mknodat(CWD, path.join("fifo"), FileType::Fifo, Mode::RUSR, 0).unwrap();
        let _socket = std::os::unix::net::UnixListener::bind(path.join("socket")).unwrap();
        for symlinks in [Symlinks::Inside, Symlinks::Owner, Symlinks::No] {
            let root = Root::open(&path, symlinks).unwrap();
            assert_eq!(text(&root, "fifo"), Err("Missing".to_owned()));
            assert_eq!(text(&root, "socket"), Err("Missing".to_owned()));
            assert_eq!(text(&root, "sub").as_deref(), Ok("directory"));
            assert_eq!(text(&root, "").as_deref(), Ok("directory"));
        }
    }

    #[test]
    fn a_root_whose_path_leads_elsewhere_is_opened_anew() {
        let (directory, path) = site();
        let current = directory.path().join("current");
        symlink("site", &current).unwrap();
        let mut root = Root::open(&current, Symlinks::Inside).unwrap();
        assert!(!root.has_moved());
        fs::create_dir(directory.path().join("next")).unwrap();
        fs::write(directory.path().join("next/c"), "c").unwrap();
        fs::remove_file(&current).unwrap();
        // What was there is served on while there is nothing else.
        assert!(!root.has_moved());
        assert_eq!(text(&root, "a.txt").as_deref(), Ok("a"));
        symlink("next", &current).unwrap();
        assert!(root.has_moved() && !root.has_moved());
        assert_eq!(text(&root, "c").as_deref(), Ok("c"));
        drop(path);
    }
}
