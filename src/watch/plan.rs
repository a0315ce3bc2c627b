//! What is to be watched, and what each file was like when it was read: plain data, which goes from the
//! program that was tried to the image that serves, so that nothing that changes meanwhile is missed.

use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::config::Config;

/// What to watch, and how.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// By looking now and then, not by being told.
    pub polls: bool,
    /// The files, absolute, and what each was like.
    pub files: Vec<(OsString, Option<Print>)>,
}

/// By what two states of a file are told apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Print {
    device: u64,
    inode: u64,
    size: u64,
    /// Seconds and nanoseconds.
    modified: (i64, i64),
    /// A program may lack no more than the right to be executed.
    mode: u32,
}

impl Plan {
    /// For what serves with `config`: `None` when it is not to be watched. `program` is where the
    /// program is found; what it is like is what this process executes.
    pub fn of(config: &Config, program: &Path) -> Option<Plan> {
        if !config.reload {
            return None;
        }
        let running = Print::of(Path::new("/proc/self/exe"));
        let mut files = vec![(program.into(), running)];
        let others = config.place.iter().chain(&config.reload_extra_files);
        files.extend(others.map(|path| (path.into(), Print::of(path))));
        Some(Plan {
            polls: config.reload_polls,
            files,
        })
    }

    /// Says what a file was like before it was read.
    pub fn read(&mut self, path: &Path, print: Option<Print>) {
        let mut files = self.files.iter_mut();
        if let Some((_, before)) = files.find(|(known, _)| known == path) {
            *before = print;
        }
    }
}

impl Print {
    /// Of the file to which `path` leads; `None` when there is none.
    pub fn of(path: &Path) -> Option<Print> {
        let found = fs::metadata(path).ok()?;
        Some(Print {
            device: found.dev(),
            inode: found.ino(),
            size: found.size(),
            modified: (found.mtime(), found.mtime_nsec()),
            mode: found.mode(),
        })
    }
}
