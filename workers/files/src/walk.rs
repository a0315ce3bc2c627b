//! Resolving a name link by link, for roots where a link is followed only if its owner owns what it leads
//! to. Used by `root`, where the system alone cannot tell.
//!
//! Each thing on the way is opened without following it (O_PATH | O_NOFOLLOW) from a descriptor of what it
//! is in, and judged by that descriptor: what is renamed meanwhile changes nothing of what was judged.

use std::ffi::CString;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{FileType, Mode, OFlags, Stat, fstat, openat, readlinkat};
use rustix::io::Errno;

/// Links in one name (as MAXSYMLINKS, path_resolution(7)).
const LINKS: usize = 40;
const STEP: OFlags = OFlags::PATH.union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// What is still to be done.
enum Step {
    Enter(Vec<u8>),
    /// What was reached must belong to this user.
    Owner(u32),
}

/// Where the walk is: the directories on the way from the root, and behind the last of them what is no
/// directory, if that was reached.
struct Place<'a> {
    root: BorrowedFd<'a>,
    directories: Vec<OwnedFd>,
    leaf: Option<(Vec<u8>, Stat)>,
}

/// Opens `name` beneath `root` with `flags`.
///
/// # Errors
/// EXDEV for what leads out of the root, EACCES for a link of another owner, else what the system
/// answers.
pub(crate) fn walk(root: &OwnedFd, name: &[u8], flags: OFlags) -> Result<OwnedFd, Errno> {
    let mut place = Place {
        root: root.as_fd(),
        directories: Vec::new(),
        leaf: None,
    };
    let mut todo: Vec<Step> = Vec::new();
    plan(name, &mut todo);
    let mut links = 0;
    while let Some(step) = todo.pop() {
        let name = match step {
            Step::Owner(owner) => {
                if place.stat()?.st_uid != owner {
                    return Err(Errno::ACCESS);
                }
                continue;
            }
            Step::Enter(name) => name,
        };
        if let Some((owner, target)) = place.enter(name)? {
            links += 1;
            if links > LINKS {
                return Err(Errno::LOOP);
            }
            if target.to_bytes().starts_with(b"/") {
                return Err(Errno::XDEV);
            }
            todo.push(Step::Owner(owner));
            plan(target.to_bytes(), &mut todo);
        }
    }
    place.open(flags)
}

/// Puts the segments of a path on top, the first uppermost. A slash at the end asks for a directory.
fn plan(path: &[u8], todo: &mut Vec<Step>) {
    if path.ends_with(b"/") {
        todo.push(Step::Enter(b".".to_vec()));
    }
    let segments = path.split(|byte| *byte == b'/');
    let segments = segments.filter(|segment| !segment.is_empty());
    todo.extend(segments.rev().map(|segment| Step::Enter(segment.to_vec())));
}

impl Place<'_> {
    fn directory(&self) -> BorrowedFd<'_> {
        self.directories
            .last()
            .map_or(self.root, |last| last.as_fd())
    }

    fn stat(&self) -> Result<Stat, Errno> {
        match &self.leaf {
            Some((_, stat)) => Ok(*stat),
            None => fstat(self.directory()),
        }
    }

    /// Goes on to what is called `name` where the walk is; of a link, says whose it is and where it leads.
    fn enter(&mut self, name: Vec<u8>) -> Result<Option<(u32, CString)>, Errno> {
        if self.leaf.is_some() {
            return Err(Errno::NOTDIR);
        }
        match &name[..] {
            b"." => return Ok(None),
            b".." => return self.directories.pop().map(|_| None).ok_or(Errno::XDEV),
            _ => {}
        }
        let next = openat(self.directory(), &name[..], STEP, Mode::empty())?;
        let stat = fstat(&next)?;
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::Symlink => {
                return Ok(Some((stat.st_uid, readlinkat(&next, "", Vec::new())?)));
            }
            FileType::Directory => self.directories.push(next),
            _ => self.leaf = Some((name, stat)),
        }
        Ok(None)
    }

    /// Opens what was reached, and no other thing that has its name now.
    fn open(&self, flags: OFlags) -> Result<OwnedFd, Errno> {
        let flags = flags | OFlags::NOFOLLOW;
        let Some((name, stat)) = &self.leaf else {
            return openat(self.directory(), ".", flags, Mode::empty());
        };
        let found = openat(self.directory(), &name[..], flags, Mode::empty())?;
        let opened = fstat(&found)?;
        let same = (opened.st_dev, opened.st_ino) == (stat.st_dev, stat.st_ino);
        if same { Ok(found) } else { Err(Errno::NOENT) }
    }
}
