//! The pid file: locked as long as its owner lives, replaced in one step, removed only by its owner.
//!
//! Whether a file that is there is stale is asked of the lock, never of the pid in it, which the
//! system may have given to somebody else. A second master's is called `.2` until the first one is
//! gone. In the master only; a forked child's copy does nothing.

use std::cell::Cell;
use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use nix::fcntl::{Flock, FlockArg};
use serde::{Deserialize, Serialize};

/// What the name of a second master's file ends in.
const SECOND: &str = ".2";

/// A pid file that is ours.
#[derive(Debug)]
pub struct PidFile {
    path: PathBuf,
    // It is another name than that, for there is another master.
    second: Cell<bool>,
    owner: u32,
    lock: Lock,
}

/// What another image must be told of a pid file beside its descriptor.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Record {
    path: OsString,
    second: bool,
}

/// The lock belongs to the open file, which an image hands to the next and a trial to its master.
#[derive(Debug)]
enum Lock {
    /// Unlocked when it is dropped.
    Made(Flock<File>),
    /// Unlocked when nobody has the file open any more: it may be somebody else's, too.
    HandedOver(File),
}

impl Lock {
    fn file(&self) -> &File {
        match self {
            Lock::Made(lock) => lock,
            Lock::HandedOver(file) => file,
        }
    }
}

impl PidFile {
    /// Writes `pid` to `path`: this process's, or that of the master for which it is tried. With
    /// `second` the file is called `path` and `.2`, until [`PidFile::claim`].
    ///
    /// # Errors
    /// `AddrInUse` when another process that lives has it; else what the file system answers. The
    /// text names the path.
    pub fn create(path: &Path, pid: u32, second: bool) -> io::Result<PidFile> {
        let configured = path;
        let path = &place(configured, second);
        let named = |error| named(path, error);
        let old = lock_what_is_there(path, true)?;
        let mut name = path.file_name().unwrap_or_default().to_owned();
        name.push(format!(".{}", std::process::id()));
        let new = path.with_file_name(name);
        let write = || {
            let file = make(&new)?;
            let mut lock =
                Flock::lock(file, FlockArg::LockExclusiveNonblock).map_err(|(_, errno)| errno)?;
            writeln!(lock, "{pid}")?;
            fs::rename(&new, path)?;
            Ok(lock)
        };
        let lock = write().map_err(|error| {
            let _ = fs::remove_file(&new);
            // It was made only to be locked.
            if old.as_ref().is_some_and(|old| is_empty(old)) {
                let _ = fs::remove_file(path);
            }
            named(error)
        })?;
        drop(old);
        Ok(PidFile {
            path: configured.to_owned(),
            second: Cell::new(second),
            owner: std::process::id(),
            lock: Lock::Made(lock),
        })
    }

    /// One that was created by another image or on trial. `ours` says whether it is to be removed
    /// with its owner.
    pub fn adopt(record: &Record, file: OwnedFd, ours: bool) -> PidFile {
        PidFile {
            path: PathBuf::from(&record.path),
            second: Cell::new(record.second),
            owner: if ours { std::process::id() } else { 0 },
            lock: Lock::HandedOver(file.into()),
        }
    }

    /// Where it is to be, by the configuration.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What another image must be told of it.
    pub fn record(&self) -> Record {
        Record {
            path: self.path.clone().into(),
            second: self.second.get(),
        }
    }

    /// Gives a second master's file its name without `.2`, in one step. Any other has it.
    ///
    /// # Errors
    /// As [`PidFile::create`]; then it stays where it is.
    pub fn claim(&self) -> io::Result<()> {
        if !self.second.get() {
            return Ok(());
        }
        let old = lock_what_is_there(&self.path, false)?;
        fs::rename(place(&self.path, true), &self.path)
            .map_err(|error| named(&self.path, error))?;
        drop(old);
        self.second.set(false);
        Ok(())
    }
}

impl AsFd for PidFile {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.lock.file().as_fd()
    }
}

impl Drop for PidFile {
    fn drop(&mut self) {
        let place = place(&self.path, self.second.get());
        if std::process::id() == self.owner && is_at(self.lock.file(), &place) {
            let _ = fs::remove_file(&place);
        }
    }
}

/// Where the file is that is to be at `path` at last.
pub fn place(path: &Path, second: bool) -> PathBuf {
    let mut place = path.as_os_str().to_owned();
    if second {
        place.push(SECOND);
    }
    place.into()
}

/// A file that nobody else has made: others may write to the directory, and know the name.
fn make(path: &Path) -> io::Result<File> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut options = OpenOptions::new();
    options.write(true).create_new(true).mode(0o644).open(path)
}

/// Locks the file that is there, which is made first with `create`, and else may be missing. Whoever
/// holds its lock is alive. Held until our own file has its name, so that of two that start at once
/// one finds the other. A symbolic link is refused: what it leads to is not what will have the name.
fn lock_what_is_there(path: &Path, create: bool) -> io::Result<Option<Flock<File>>> {
    loop {
        let opened = OpenOptions::new()
            .read(true)
            .write(true)
            .create(create)
            .truncate(false)
            .mode(0o644)
            .custom_flags(libc::O_NOFOLLOW)
            .open(path);
        let file = match opened {
            Err(error) if error.raw_os_error() == Some(libc::ELOOP) => {
                let text = "it is a symbolic link";
                return Err(named(path, io::Error::new(error.kind(), text)));
            }
            Err(error) if !create && error.kind() == io::ErrorKind::NotFound => return Ok(None),
            opened => opened.map_err(|error| named(path, error))?,
        };
        match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Err((file, nix::errno::Errno::EWOULDBLOCK)) => return Err(taken(path, file)),
            Err((_, errno)) => return Err(named(path, errno.into())),
            Ok(lock) if is_at(&lock, path) => return Ok(Some(lock)),
            Ok(_) => {}
        }
    }
}

fn named(path: &Path, error: io::Error) -> io::Error {
    let text = format!("cannot write the pid file {}: {error}", path.display());
    io::Error::new(error.kind(), text)
}

fn is_empty(file: &File) -> bool {
    file.metadata().is_ok_and(|file| file.len() == 0)
}

fn is_at(file: &File, path: &Path) -> bool {
    match (file.metadata(), fs::symlink_metadata(path)) {
        (Ok(ours), Ok(there)) => (ours.dev(), ours.ino()) == (there.dev(), there.ino()),
        _ => false,
    }
}

fn taken(path: &Path, file: File) -> io::Error {
    let mut text = String::new();
    let _ = file.take(16).read_to_string(&mut text);
    let by = match text.trim().parse::<u32>() {
        Ok(pid) => format!("process {pid}"),
        Err(_) => "another process".to_owned(),
    };
    let text = format!(
        "cannot write the pid file {}: {by} has it locked",
        path.display()
    );
    io::Error::new(io::ErrorKind::AddrInUse, text)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Paths in a directory that goes with what makes them.
    fn places() -> impl Fn(&str) -> PathBuf {
        let dir = tempfile::tempdir().unwrap();
        move |name| dir.path().join(name)
    }

    #[test]
    fn it_holds_the_pid_and_goes_with_its_owner() {
        let place = places();
        let path = place("simple");
        let file = PidFile::create(&path, std::process::id(), false).unwrap();
        assert_eq!(
            fs::read_to_string(&path).unwrap(),
            format!("{}\n", std::process::id())
        );
        drop(file);
        assert!(!path.exists());
    }

    #[test]
    fn a_stale_file_is_replaced_and_a_live_one_is_not() {
        let place = places();
        let path = place("stale");
        fs::write(&path, "1\n").unwrap();
        let file = PidFile::create(&path, std::process::id(), false).unwrap();
        let error = PidFile::create(&path, std::process::id(), false).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
        assert!(
            error.to_string().contains(&std::process::id().to_string()),
            "{error}"
        );
        drop(file);
    }

    #[test]
    fn a_file_that_is_no_longer_ours_stays() {
        let place = places();
        let path = place("foreign");
        let file = PidFile::create(&path, std::process::id(), false).unwrap();
        fs::remove_file(&path).unwrap();
        fs::write(&path, "4711\n").unwrap();
        drop(file);
        assert!(path.exists());
    }

    #[test]
    fn links_of_others_lead_nowhere() {
        let place = places();
        let victim = place("victim");
        fs::write(&victim, "precious").unwrap();
        let own = std::process::id();
        let path = place("linked");
        std::os::unix::fs::symlink(&victim, &path).unwrap();
        let error = PidFile::create(&path, own, false).unwrap_err();
        assert!(error.to_string().contains("symbolic link"), "{error}");
        fs::remove_file(&path).unwrap();
        // The name under which it is written first is no secret.
        let first = place(&format!("linked.{own}"));
        std::os::unix::fs::symlink(&victim, &first).unwrap();
        let file = PidFile::create(&path, own, false).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), format!("{own}\n"));
        assert_eq!(fs::read_to_string(&victim).unwrap(), "precious");
        drop(file);
        fs::remove_file(&victim).unwrap();
    }

    #[test]
    fn a_copy_in_another_process_removes_nothing() {
        let place = places();
        let path = place("forked");
        let mut file = PidFile::create(&path, std::process::id(), false).unwrap();
        file.owner = 1;
        drop(file);
        assert!(path.exists());
        fs::remove_file(&path).unwrap();
    }

    #[test]
    fn an_error_names_the_file() {
        let error = PidFile::create(Path::new("/nonexistent/app.pid"), 1, false).unwrap_err();
        assert!(
            error.to_string().contains("/nonexistent/app.pid"),
            "{error}"
        );
    }

    #[test]
    fn one_that_cannot_be_written_leaves_nothing() {
        let place = places();
        let path = place("unwritten");
        let own = std::process::id();
        let first = place(&format!("unwritten.{own}"));
        fs::create_dir(&first).unwrap();
        PidFile::create(&path, own, false).unwrap_err();
        assert!(!path.exists());
        // What a killed one has left is no less stale.
        fs::write(&path, "1\n").unwrap();
        PidFile::create(&path, own, false).unwrap_err();
        assert_eq!(fs::read_to_string(&path).unwrap(), "1\n");
        fs::remove_file(&path).unwrap();
        fs::remove_dir(&first).unwrap();
    }

    #[test]
    fn a_second_one_has_another_name_until_it_may_have_this_one() {
        let place = places();
        let path = place("two");
        let second = place("two.2");
        let first = PidFile::create(&path, 1, false).unwrap();
        let file = PidFile::create(&path, 2, true).unwrap();
        assert_eq!(fs::read_to_string(&second).unwrap(), "2\n");
        let error = file.claim().unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
        assert_eq!(fs::read_to_string(&path).unwrap(), "1\n");
        drop(first);
        assert!(!path.exists());
        file.claim().unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "2\n");
        assert!(!second.exists());
        file.claim().unwrap();
        drop(file);
        assert!(!path.exists());
    }

    #[test]
    fn what_a_killed_owner_left_is_replaced_by_the_second_one() {
        let place = places();
        let path = place("left");
        let file = PidFile::create(&path, 2, true).unwrap();
        fs::write(&path, "1\n").unwrap();
        file.claim().unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "2\n");
        drop(file);
        assert!(!path.exists() && !place("left.2").exists());
    }
}
