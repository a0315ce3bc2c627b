//! The pid file: locked as long as its owner lives, replaced in one step, removed only by its owner.
//!
//! Whether a file that is there is stale is asked of the lock, never of the pid in it, which the
//! system may have given to somebody else. In the master only; a forked child's copy does nothing.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use nix::fcntl::{Flock, FlockArg};

/// A pid file that is ours.
#[derive(Debug)]
pub struct PidFile {
    path: PathBuf,
    owner: u32,
    lock: Lock,
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
    /// Writes `pid` to `path`: this process's, or that of the master for which it is tried.
    ///
    /// # Errors
    /// `AddrInUse` when another process that lives has it; else what the file system answers. The
    /// text names the path.
    pub fn create(path: &Path, pid: u32) -> io::Result<PidFile> {
        let named = |error: io::Error| {
            let text = format!("cannot write the pid file {}: {error}", path.display());
            io::Error::new(error.kind(), text)
        };
        // Whoever holds the lock of the file that is there is alive. It is held until our own file
        // has its name, so that of two that start at once one finds the other.
        let old = loop {
            let file = OpenOptions::new()
                .read(true)
                .write(true)
                .create(true)
                .truncate(false)
                .mode(0o644)
                .open(path)
                .map_err(named)?;
            match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
                Err((file, nix::errno::Errno::EWOULDBLOCK)) => return Err(taken(path, file)),
                Err((_, errno)) => return Err(named(errno.into())),
                Ok(lock) if is_at(&lock, path) => break lock,
                Ok(_) => {}
            }
        };
        let mut name = path.file_name().unwrap_or_default().to_owned();
        name.push(format!(".{}", std::process::id()));
        let new = path.with_file_name(name);
        let file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o644)
            .open(&new)
            .map_err(named)?;
        let mut lock = Flock::lock(file, FlockArg::LockExclusiveNonblock)
            .map_err(|(_, errno)| named(errno.into()))?;
        let written = writeln!(lock, "{pid}").and_then(|()| fs::rename(&new, path));
        if let Err(error) = written {
            let _ = fs::remove_file(&new);
            return Err(named(error));
        }
        drop(old);
        Ok(PidFile {
            path: path.to_owned(),
            owner: std::process::id(),
            lock: Lock::Made(lock),
        })
    }

    /// One that was created by another image or on trial. `ours` says whether it is to be removed
    /// with its owner.
    pub fn adopt(path: &Path, file: OwnedFd, ours: bool) -> PidFile {
        PidFile {
            path: path.to_owned(),
            owner: if ours { std::process::id() } else { 0 },
            lock: Lock::HandedOver(file.into()),
        }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl AsFd for PidFile {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.lock.file().as_fd()
    }
}

impl Drop for PidFile {
    fn drop(&mut self) {
        if std::process::id() == self.owner && is_at(self.lock.file(), &self.path) {
            let _ = fs::remove_file(&self.path);
        }
    }
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

    fn place(name: &str) -> PathBuf {
        let dir = std::env::temp_dir().join(format!("ferricorn-pidfile-{}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        dir.join(name)
    }

    #[test]
    fn it_holds_the_pid_and_goes_with_its_owner() {
        let path = place("simple");
        let file = PidFile::create(&path, std::process::id()).unwrap();
        assert_eq!(
            fs::read_to_string(&path).unwrap(),
            format!("{}\n", std::process::id())
        );
        drop(file);
        assert!(!path.exists());
    }

    #[test]
    fn a_stale_file_is_replaced_and_a_live_one_is_not() {
        let path = place("stale");
        fs::write(&path, "1\n").unwrap();
        let file = PidFile::create(&path, std::process::id()).unwrap();
        let error = PidFile::create(&path, std::process::id()).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
        assert!(
            error.to_string().contains(&std::process::id().to_string()),
            "{error}"
        );
        drop(file);
    }

    #[test]
    fn a_file_that_is_no_longer_ours_stays() {
        let path = place("foreign");
        let file = PidFile::create(&path, std::process::id()).unwrap();
        fs::remove_file(&path).unwrap();
        fs::write(&path, "4711\n").unwrap();
        drop(file);
        assert!(path.exists());
    }

    #[test]
    fn a_copy_in_another_process_removes_nothing() {
        let path = place("forked");
        let mut file = PidFile::create(&path, std::process::id()).unwrap();
        file.owner = 1;
        drop(file);
        assert!(path.exists());
        fs::remove_file(&path).unwrap();
    }

    #[test]
    fn an_error_names_the_file() {
        let error = PidFile::create(Path::new("/nonexistent/app.pid"), 1).unwrap_err();
        assert!(
            error.to_string().contains("/nonexistent/app.pid"),
            "{error}"
        );
    }
}
