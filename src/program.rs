//! The program as it was started: what a reload executes, and how.
//!
//! Captured first thing, before anything of the process is changed, because whatever is executed
//! later must find all as the first start did: arguments, environment, working directory, umask,
//! limits, blocked signals. Only what is on disk under the same name is looked at anew. In the
//! master, and in the child that becomes the program on trial.

use std::env;
use std::ffi::{CString, OsStr, OsString};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read};
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::AtFlags;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::stat::{Mode, umask};
use serde::{Deserialize, Serialize};

use crate::config::{Call, Names};
use crate::directory::Directory;

/// Where the system keeps the file that this process executes.
const RUNNING: &str = "/proc/self/exe";
/// Descriptors that a program needs to come up, beside those that it is handed.
const ROOM: u64 = 64;

/// The program and how it was called.
#[derive(Clone, Debug)]
pub struct Program {
    /// As they were given; they need not be UTF-8, nor is the first one a file's name for sure.
    arguments: Vec<OsString>,
    environment: Vec<(OsString, OsString)>,
    origin: Origin,
}

/// What is on disk under the program's names now. Whatever they come to mean, this is what is executed.
#[derive(Debug)]
pub struct Image {
    file: File,
    /// Where it begins.
    directory: Directory,
}

/// What an image cannot find out about its own first start.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Origin {
    /// The file, absolute; its symlinks are resolved each time.
    path: OsString,
    /// The working directory as whoever started it named it, absolute.
    directory: OsString,
    umask: u32,
    /// RLIMIT_NOFILE, soft and hard.
    files: (u64, u64),
    /// The numbers of the signals that were blocked.
    blocked: Vec<i32>,
}

impl Program {
    /// Looks at this process as it was started. First thing in the master.
    ///
    /// # Errors
    /// There is no working directory, or no /proc.
    pub fn capture() -> io::Result<Program> {
        let arguments: Vec<OsString> = env::args_os().collect();
        let directory = working_directory(env::var_os("PWD").as_deref())?;
        let search = env::var_os("PATH");
        let running = Path::new(RUNNING);
        let first = arguments.first().map(OsString::as_os_str);
        let path = locate(first, search.as_deref(), &directory, running)?;
        // It can only be read by changing it.
        let mask = umask(Mode::from_bits_truncate(0o077));
        umask(mask);
        let blocked = SigSet::thread_get_mask()?;
        let origin = Origin {
            path: path.into(),
            directory: directory.into(),
            umask: mask.bits(),
            files: getrlimit(Resource::RLIMIT_NOFILE)?,
            blocked: blocked.iter().map(|signal| signal as i32).collect(),
        };
        Ok(Program::executed(origin))
    }

    /// The same program in another image, which was given the same arguments and environment.
    pub fn executed(origin: Origin) -> Program {
        Program {
            arguments: env::args_os().collect(),
            environment: env::vars_os().collect(),
            origin,
        }
    }

    /// What the next image must be told.
    pub fn origin(&self) -> &Origin {
        &self.origin
    }

    /// The call for the configuration. `name` is what the program calls itself.
    pub fn call(&self, name: Option<&str>, names: Names) -> Call {
        let mut arguments = self.arguments.clone();
        match (name, arguments.first_mut()) {
            (Some(name), Some(first)) => *first = name.into(),
            (Some(name), None) => arguments.push(name.into()),
            (None, _) => {}
        }
        Call {
            arguments,
            environment: self.environment.clone(),
            directory: PathBuf::from(&self.origin.directory),
            names,
        }
    }

    /// The file as messages call it.
    pub fn path(&self) -> &Path {
        Path::new(&self.origin.path)
    }

    /// What is on disk now, to be executed and nothing else.
    ///
    /// # Errors
    /// What open(2) answers, with the path: the file or the working directory is gone.
    pub fn open(&self) -> io::Result<Image> {
        let mut options = OpenOptions::new();
        options.read(true).custom_flags(libc::O_PATH);
        let file = options.open(self.path());
        Ok(Image {
            file: file.map_err(|error| self.named(error))?,
            directory: Directory::open(Path::new(&self.origin.directory))?,
        })
    }

    /// Makes working directory, umask and limits what they were at the start. `highest` is the
    /// highest descriptor that will be handed over: a limit that leaves no room above it stays as
    /// it is, for the program could not even be linked.
    ///
    /// # Errors
    /// What fchdir(2) or setrlimit(2) answer.
    pub fn restore(&self, image: &Image, highest: i32) -> io::Result<()> {
        image.directory.enter()?;
        umask(Mode::from_bits_truncate(self.origin.umask));
        let (soft, hard) = self.origin.files;
        if soft > u64::try_from(highest).unwrap_or(0) + ROOM {
            setrlimit(Resource::RLIMIT_NOFILE, soft, hard)?;
        }
        Ok(())
    }

    /// Blocks the signals that were blocked at the start, and no others.
    ///
    /// # Errors
    /// What sigprocmask(2) answers.
    pub fn unblock(&self) -> io::Result<()> {
        let blocked = self.origin.blocked.iter();
        let known = blocked.filter_map(|number| Signal::try_from(*number).ok());
        Ok(known.collect::<SigSet>().thread_set_mask()?)
    }

    /// Executes `image` in this process, with one variable more (execveat(2)). It only returns with
    /// an error.
    pub fn execute(&self, image: &Image, variable: (&str, &str)) -> io::Error {
        let arguments: Result<Vec<CString>, _> = self
            .arguments
            .iter()
            .map(|argument| CString::new(argument.as_bytes()))
            .collect();
        let own = (OsStr::new(variable.0), OsStr::new(variable.1));
        let environment: Result<Vec<CString>, _> = self
            .environment
            .iter()
            .map(|(name, value)| (name.as_os_str(), value.as_os_str()))
            .chain([own])
            .map(|(name, value)| CString::new([name.as_bytes(), b"=", value.as_bytes()].concat()))
            .collect();
        let (Ok(arguments), Ok(environment)) = (arguments, environment) else {
            return io::ErrorKind::InvalidInput.into();
        };
        let flags = AtFlags::AT_EMPTY_PATH;
        match nix::unistd::execveat(image.file.as_fd(), c"", &arguments, &environment, flags) {
            // Whatever is to read it could not open it: its descriptor is closed by then (execveat(2)).
            Err(Errno::ENOENT) if image.is_script() => {
                let text = "it is a script, and only a program can take the place of one that runs";
                self.named(io::Error::new(io::ErrorKind::Unsupported, text))
            }
            Err(errno) => self.named(errno.into()),
            Ok(never) => match never {},
        }
    }

    fn named(&self, error: io::Error) -> io::Error {
        let text = format!("cannot execute {}: {error}", self.path().display());
        io::Error::new(error.kind(), text)
    }
}

impl Image {
    /// Whether it is to be read by an interpreter.
    fn is_script(&self) -> bool {
        let path = format!("/proc/self/fd/{}", self.file.as_raw_fd());
        let mut start = [0; 2];
        let read = File::open(path).and_then(|mut file| file.read_exact(&mut start));
        read.is_ok() && start == *b"#!"
    }
}

/// The working directory by the name that PWD has for it, which may lead over a symlink that points
/// elsewhere at the next reload; else as the system knows it.
fn working_directory(pwd: Option<&OsStr>) -> io::Result<PathBuf> {
    let logical = pwd.map(PathBuf::from);
    let fits = |path: &PathBuf| path.is_absolute() && is_same(path, Path::new("."));
    let physical = || {
        env::current_dir().map_err(|error| {
            let text = format!("cannot tell the working directory: {error}");
            io::Error::new(error.kind(), text)
        })
    };
    logical.filter(fits).map_or_else(physical, Ok)
}

/// The path under which the running program was found: as it was called, if that is what runs. A
/// script's interpreter is called by its own path, and has the script among its arguments.
fn locate(
    called: Option<&OsStr>,
    search: Option<&OsStr>,
    directory: &Path,
    running: &Path,
) -> io::Result<PathBuf> {
    let runs = |path: &PathBuf| is_same(path, running);
    let found = match called.filter(|name| !name.is_empty()) {
        Some(name) if name.as_bytes().contains(&b'/') => {
            Some(directory.join(name)).filter(|path| runs(path))
        }
        Some(name) => env::split_paths(search.unwrap_or_default())
            .map(|place| directory.join(place).join(name))
            .find(|path| runs(path)),
        None => None,
    };
    if let Some(path) = found {
        return Ok(path);
    }
    let link = fs::read_link(running)?;
    if runs(&link) {
        return Ok(link);
    }
    // Replaced or removed since it was started; the next one will lie in the same place.
    let bytes = link.into_os_string().into_vec();
    let path = bytes.strip_suffix(b" (deleted)").unwrap_or(&bytes);
    Ok(PathBuf::from(OsStr::from_bytes(path)))
}

fn is_same(one: &Path, other: &Path) -> bool {
    match (fs::metadata(one), fs::metadata(other)) {
        (Ok(one), Ok(other)) => (one.dev(), one.ino()) == (other.dev(), other.ino()),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    /// A directory with `bin/app`, which is what "runs".
    struct Place(tempfile::TempDir);

    impl Place {
        fn new() -> Place {
            let place = Place(tempfile::tempdir().unwrap());
            fs::create_dir(place.at("bin")).unwrap();
            fs::write(place.at("bin/app"), "one").unwrap();
            place
        }

        fn at(&self, name: &str) -> PathBuf {
            self.0.path().join(name)
        }

        fn locate(&self, called: impl AsRef<OsStr>, search: &str, directory: &str) -> PathBuf {
            let (called, search) = (called.as_ref(), OsStr::new(search));
            let running = self.at("bin/app");
            // What `/proc/self/exe` is while the file is there.
            symlink(&running, self.at("exe")).unwrap();
            let directory = self.at(directory);
            locate(Some(called), Some(search), &directory, &self.at("exe")).unwrap()
        }
    }

    #[test]
    fn a_path_is_kept_as_it_was_called_symlinks_and_all() {
        let place = Place::new();
        symlink("bin", place.at("current")).unwrap();
        let link = place.at("current/app");
        assert_eq!(place.locate(&link, "", "."), link);
    }

    #[test]
    fn a_relative_path_starts_at_the_working_directory() {
        let place = Place::new();
        assert_eq!(place.locate("./app", "", "bin"), place.at("bin/./app"));
    }

    #[test]
    fn a_bare_name_is_what_the_search_path_finds() {
        let place = Place::new();
        let search = format!("/nonexistent:{}", place.at("bin").display());
        assert_eq!(place.locate("app", &search, "."), place.at("bin/app"));
    }

    #[test]
    fn a_name_that_is_something_else_is_not_believed() {
        let place = Place::new();
        fs::write(place.at("other"), "two").unwrap();
        let running = place.at("bin/app");
        assert_eq!(place.locate(place.at("other"), "", "."), running);
    }

    #[test]
    fn a_name_that_is_not_utf_8_is_a_name() {
        let place = Place::new();
        let odd = OsStr::from_bytes(b"bin/\xffapp");
        fs::hard_link(place.at("bin/app"), place.0.path().join(odd)).unwrap();
        assert_eq!(place.locate(odd, "", ""), place.0.path().join(odd));
    }

    #[test]
    fn a_file_that_is_gone_is_looked_for_where_it_was() {
        let place = Place::new();
        let gone = place.at("bin/app (deleted)");
        symlink(&gone, place.at("exe")).unwrap();
        let found = locate(
            Some(OsStr::new("x")),
            None,
            &place.at("."),
            &place.at("exe"),
        );
        assert_eq!(found.unwrap(), place.at("bin/app"));
        // And one that is really called so is itself.
        fs::write(&gone, "three").unwrap();
        let found = locate(
            Some(OsStr::new("x")),
            None,
            &place.at("."),
            &place.at("exe"),
        );
        assert_eq!(found.unwrap(), gone);
    }

    #[test]
    fn the_working_directory_has_the_name_that_led_there() {
        let place = Place::new();
        let here = env::current_dir().unwrap();
        symlink(&here, place.at("current")).unwrap();
        let logical = place.at("current");
        assert_eq!(
            working_directory(Some(logical.as_os_str())).unwrap(),
            logical
        );
        let elsewhere = place.at("bin");
        assert_eq!(
            working_directory(Some(elsewhere.as_os_str())).unwrap(),
            here
        );
        assert_eq!(working_directory(Some(OsStr::new("."))).unwrap(), here);
    }
}
