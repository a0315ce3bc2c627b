//! Files that are worth a reload when they change: the program, its configuration, and what
//! `reload-extra-file` names. For development.
//!
//! The master waits for a descriptor more, and for a moment more; there is no thread. That something
//! happened is only a hint: what counts is whether a file is another than the one that was tried last,
//! so that what editors and linkers do on the way to it starts nothing. A file that is missing is
//! waited for. In the master; nothing here decides what a reload is.

mod eyes;
mod plan;

use std::os::fd::BorrowedFd;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::state::Moment;

use self::eyes::Eyes;
pub use self::plan::{Plan, Print};

/// How long nothing must happen: whoever writes several files, or one in pieces, is given time.
const QUIET: Duration = Duration::from_millis(200);
/// How long it may take until that is so: what never rests is tried all the same.
const RESTLESS: Duration = Duration::from_secs(3);
/// How often the files are looked at where the system does not tell.
const EACH: Duration = Duration::from_secs(1);

/// The files, and what is known of them.
#[derive(Debug)]
pub struct Watch {
    files: Vec<File>,
    // None: they are looked at now and then.
    eyes: Option<Eyes>,
    look: Moment,
    happened: Option<Happened>,
}

/// A file that is watched.
#[derive(Debug)]
struct File {
    path: PathBuf,
    /// What was there when it was tried last.
    tried: Option<Print>,
    /// Somebody has closed it who could write: a program can be executed from then on only.
    written: bool,
}

/// Things have happened that were not looked into yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Happened {
    first: Moment,
    last: Moment,
}

impl Watch {
    /// Watches from `now` on. What has changed since the plan was made is a change.
    pub fn new(plan: Plan, now: Moment) -> Watch {
        let polls = plan.polls;
        let files = plan.files.into_iter().map(|(path, tried)| File {
            path: path.into(),
            tried,
            written: false,
        });
        let mut watch = Watch {
            files: files.collect(),
            eyes: None,
            look: now,
            happened: None,
        };
        if !polls {
            let opened = Eyes::open().map_err(|error| error.to_string());
            watch.eyes = opened.map_err(|reason| watch.blind(&reason)).ok();
            watch.turn();
        }
        if watch.files.iter().any(File::differs) {
            watch.noticed(now);
        }
        watch
    }

    /// The files, as messages call them.
    pub fn names(&self) -> String {
        names(self.files.iter().map(|file| &*file.path))
    }

    /// What to wait on.
    pub fn fd(&self) -> Option<BorrowedFd<'_>> {
        self.eyes.as_ref().map(Eyes::fd)
    }

    /// When to ask [`Watch::changed`] at the latest.
    pub fn deadline(&self) -> Option<Moment> {
        let look = self.eyes.is_none().then_some(self.look);
        let due = self.happened.map(Happened::due);
        look.into_iter().chain(due).min()
    }

    /// The files that have changed since they were tried last, when things are quiet; none else. They
    /// count as tried now.
    pub fn changed(&mut self, now: Moment) -> Option<String> {
        if self.take_hints() || self.finds(now) {
            self.noticed(now);
        }
        if self.happened.is_none_or(|happened| happened.due() > now) {
            return None;
        }
        self.happened = None;
        let changed = self.files.iter_mut().filter_map(File::change);
        Some(names(changed)).filter(|names| !names.is_empty())
    }

    /// A reload tries what is there now, whoever has asked for it.
    pub fn tried(&mut self) {
        self.take_hints();
        self.happened = None;
        for file in &mut self.files {
            file.tried = Print::of(&file.path);
            file.written = false;
        }
    }

    fn noticed(&mut self, now: Moment) {
        let first = self.happened.map_or(now, |happened| happened.first);
        self.happened = Some(Happened { first, last: now });
    }

    /// Takes what the system tells: whether it is about one of the files, or the way to it.
    fn take_hints(&mut self) -> bool {
        let Some(eyes) = &mut self.eyes else {
            return false;
        };
        let hints = eyes.look();
        for number in hints.written {
            self.files[number].written = true;
        }
        if hints.elsewhere {
            self.turn();
        }
        hints.any
    }

    /// Looks at the files now and then, where the system does not tell; whether one has changed.
    fn finds(&mut self, now: Moment) -> bool {
        if self.eyes.is_some() || now < self.look {
            return false;
        }
        self.look = now + EACH;
        self.happened.is_none() && self.files.iter().any(File::differs)
    }

    /// Turns the eyes to where the paths lead now.
    fn turn(&mut self) {
        let Some(eyes) = &mut self.eyes else {
            return;
        };
        if let Err(reason) = eyes.turn(self.files.iter().map(|file| &*file.path)) {
            self.blind(&reason);
        }
    }

    fn blind(&mut self, reason: &str) {
        let seconds = EACH.as_secs();
        log::warn!("{reason}; looking every {seconds} s whether a file has changed");
        self.eyes = None;
    }
}

impl File {
    fn differs(&self) -> bool {
        let now = Print::of(&self.path);
        now.is_some() && now != self.tried
    }

    /// Its path, if it has changed; what is there counts as tried then.
    fn change(&mut self) -> Option<&Path> {
        let now = Print::of(&self.path)?;
        let written = std::mem::take(&mut self.written);
        let before = self.tried.replace(now);
        (written || before != Some(now)).then_some(&*self.path)
    }
}

impl Happened {
    fn due(self) -> Moment {
        (self.last + QUIET).min(self.first + RESTLESS)
    }
}

fn names<'a>(paths: impl Iterator<Item = &'a Path>) -> String {
    let names = paths.map(|path| path.display().to_string());
    names.collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests;
