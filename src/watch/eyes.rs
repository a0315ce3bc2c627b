//! inotify(7): being told that something happens to files, and on the way to them.
//!
//! A path leads through directories and symlinks, each of which may be replaced, removed or made
//! later. So every directory on the way is watched for the one name in it that matters, which may be
//! missing, and each file at the end for what is written into it. Whatever else happens in those
//! directories wakes nobody for long.

use std::collections::{HashMap, HashSet, VecDeque};
use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Component, Path, PathBuf};

use nix::errno::Errno;
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify, WatchDescriptor};

/// As many symlinks as the system follows (path_resolution(7)).
const LINKS: usize = 40;
/// Reads of events in one turn of the master, so that no writer keeps it to itself.
const READS: usize = 16;

/// An inotify instance, and what each of its watches is for.
#[derive(Debug)]
pub(super) struct Eyes {
    inotify: Inotify,
    on: HashMap<WatchDescriptor, Sight>,
}

/// Why something is watched: a directory for names, a file for itself.
#[derive(Debug, Default)]
struct Sight {
    names: HashSet<OsString>,
    files: Vec<usize>,
}

/// What the system has told.
#[derive(Debug, Default)]
pub(super) struct Hints {
    /// Something that matters has happened.
    pub(super) any: bool,
    /// Paths may lead elsewhere now: [`Eyes::turn`] is due.
    pub(super) elsewhere: bool,
    /// The numbers of files that were closed by somebody who could write.
    pub(super) written: Vec<usize>,
}

impl Eyes {
    /// Eyes that look nowhere yet.
    ///
    /// # Errors
    /// Why there are none, for people.
    pub(super) fn open() -> Result<Eyes, String> {
        let flags = InitFlags::IN_CLOEXEC | InitFlags::IN_NONBLOCK;
        let inotify = Inotify::init(flags).map_err(|errno| match errno {
            Errno::EMFILE => "cannot watch files: no inotify instance is left, see \
                              fs.inotify.max_user_instances"
                .to_owned(),
            errno => format!("cannot watch files: {errno}"),
        })?;
        Ok(Eyes {
            inotify,
            on: HashMap::new(),
        })
    }

    /// To be waited on.
    pub(super) fn fd(&self) -> BorrowedFd<'_> {
        self.inotify.as_fd()
    }

    /// Looks to where these paths lead now, and nowhere else. What happens to them after this call is
    /// seen.
    ///
    /// # Errors
    /// Why that cannot be, for people.
    pub(super) fn turn<'a>(&mut self, paths: impl Iterator<Item = &'a Path>) -> Result<(), String> {
        let mut on: HashMap<WatchDescriptor, Sight> = HashMap::new();
        for (number, path) in paths.enumerate() {
            let end = walk(path, &mut |directory, name| {
                if let Some(watch) = self.watch(directory, names())? {
                    on.entry(watch).or_default().names.insert(name.to_owned());
                }
                Ok(())
            })?;
            if let Some(watch) = self.watch(&end, content())? {
                on.entry(watch).or_default().files.push(number);
            }
        }
        for watch in self.on.keys().filter(|watch| !on.contains_key(watch)) {
            // It may have gone with what it was on.
            let _ = self.inotify.rm_watch(*watch);
        }
        self.on = on;
        Ok(())
    }

    /// A watch on what is there; `None` when nothing is.
    fn watch(&self, path: &Path, flags: AddWatchFlags) -> Result<Option<WatchDescriptor>, String> {
        match self.inotify.add_watch(path, flags) {
            Ok(watch) => Ok(Some(watch)),
            Err(Errno::ENOENT | Errno::ENOTDIR | Errno::ELOOP) => Ok(None),
            Err(Errno::ENOSPC) => Err(format!(
                "cannot watch {}: no inotify watch is left, see fs.inotify.max_user_watches",
                path.display()
            )),
            Err(errno) => Err(format!("cannot watch {}: {errno}", path.display())),
        }
    }

    /// Takes what the system has told since the last call. Never waits.
    pub(super) fn look(&mut self) -> Hints {
        let mut hints = Hints::default();
        for _ in 0..READS {
            let Ok(events) = self.inotify.read_events() else {
                break;
            };
            for event in events {
                let Some(sight) = self.on.get(&event.wd) else {
                    // The end of a watch that we have ended, or more than the system could tell.
                    let lost = event.mask.contains(AddWatchFlags::IN_Q_OVERFLOW);
                    hints.any |= lost;
                    hints.elsewhere |= lost;
                    continue;
                };
                if !sight.files.is_empty() && event.name.is_none() {
                    hints.any = true;
                    if event.mask.contains(AddWatchFlags::IN_CLOSE_WRITE) {
                        hints.written.extend(&sight.files);
                    }
                }
                // A directory that is moved or gone has no name in what it tells.
                let matters = event.name.is_none_or(|name| sight.names.contains(&name));
                hints.any |= matters;
                hints.elsewhere |= matters && !sight.names.is_empty();
            }
        }
        hints
    }
}

/// What happens to the names in a directory.
fn names() -> AddWatchFlags {
    AddWatchFlags::IN_CREATE
        | AddWatchFlags::IN_DELETE
        | AddWatchFlags::IN_MOVE
        | AddWatchFlags::IN_DELETE_SELF
        | AddWatchFlags::IN_MOVE_SELF
        | AddWatchFlags::IN_ONLYDIR
        | AddWatchFlags::IN_DONT_FOLLOW
}

/// What happens to a file itself.
fn content() -> AddWatchFlags {
    AddWatchFlags::IN_MODIFY
        | AddWatchFlags::IN_CLOSE_WRITE
        | AddWatchFlags::IN_ATTRIB
        | AddWatchFlags::IN_DONT_FOLLOW
}

/// Goes where `path` leads as the system would (path_resolution(7)), and returns the end of the way
/// without symlinks, be it that nothing is there. `at` is given each directory with the name to go on
/// by, before that is looked at.
fn walk(
    path: &Path,
    at: &mut impl FnMut(&Path, &OsStr) -> Result<(), String>,
) -> Result<PathBuf, String> {
    let mut here = PathBuf::from("/");
    let mut rest: VecDeque<PathBuf> = VecDeque::from([path.to_owned()]);
    let mut links = 0;
    while let Some(next) = rest.pop_front() {
        let mut parts = next.components();
        let Some(part) = parts.next() else {
            continue;
        };
        rest.push_front(parts.as_path().to_owned());
        match part {
            Component::RootDir | Component::Prefix(_) => here = PathBuf::from("/"),
            Component::CurDir => {}
            Component::ParentDir => drop(here.pop()),
            Component::Normal(name) => {
                at(&here, name)?;
                let there = here.join(name);
                match fs::read_link(&there) {
                    Ok(target) if links < LINKS => {
                        links += 1;
                        rest.push_front(target);
                    }
                    _ => here = there,
                }
            }
        }
    }
    Ok(here)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn a_way_is_where_any_of_its_names_may_change() {
        let place = tempfile::tempdir().unwrap();
        let root = place.path().canonicalize().unwrap();
        fs::create_dir_all(root.join("releases/1")).unwrap();
        fs::write(root.join("releases/1/app"), "").unwrap();
        symlink("releases/1", root.join("current")).unwrap();
        symlink(root.join("current/../1/app"), root.join("app")).unwrap();
        let mut seen = Vec::new();
        let end = walk(&root.join("app"), &mut |directory, name| {
            if let Ok(within) = directory.strip_prefix(&root) {
                seen.push(format!("{}/{}", within.display(), name.display()));
            }
            Ok(())
        });
        assert_eq!(end, Ok(root.join("releases/1/app")));
        let way = "/app /current /releases releases/1 releases/1 releases/1/app";
        assert_eq!(seen.join(" "), way);
    }

    #[test]
    fn a_circle_of_symlinks_ends() {
        let place = tempfile::tempdir().unwrap();
        symlink("b", place.path().join("a")).unwrap();
        symlink("a", place.path().join("b")).unwrap();
        let end = walk(&place.path().join("a/x"), &mut |_, _| Ok(()));
        assert!(end.is_ok());
    }
}
