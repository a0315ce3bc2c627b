//! The configuration: an immutable value, owned by one generation of workers.
//!
//! It comes about in two phases. First the raw values are gathered as they were given, each with
//! its origin (default, file and line, environment variable, option). Then they are checked and
//! become the typed [`Config`]; only this second phase looks at the system (users, processors,
//! host names). Nothing is bound, opened for writing or changed here, so that the same call can be
//! made again on SIGHUP and its outcome thrown away.
#![forbid(unsafe_code)]

mod apps;
mod check;
mod class;
mod file;
mod lists;
mod load;
mod names;
mod options;
pub(crate) use options::SENDFILE;
mod print;
pub(crate) mod raw;
mod tables;
#[cfg(test)]
mod tests;

use std::ffi::OsString;
use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ferricorn_base::{Conf, Networks, ProxyVersions};
use log::LevelFilter;

use crate::control::Place;
use crate::diagnose::Patience;
use crate::poison;
use crate::settings::Setting;
use crate::state::{Recycling, Scaling, Share};
use crate::statsd;
use crate::syslog::{self, Receiver, Syslog};
use crate::{ctl, top};

pub(crate) use self::file::read;
pub use self::names::Names;
use self::print::Shown;
pub(crate) use self::tables::listen_keys;

/// How the program was called; every reload has the same.
#[derive(Clone, Debug, Default)]
pub struct Call {
    /// The arguments with the program's name first.
    pub arguments: Vec<OsString>,
    /// The environment at the start, before `env` added to it.
    pub environment: Vec<(OsString, OsString)>,
    /// The working directory at the start; relative paths start there (or at `chdir`).
    pub directory: PathBuf,
    /// Host names as the start looked them up.
    pub names: Names,
}

/// What the program offers: the names that APP and `--worker-class` may take.
#[derive(Clone, Copy, Debug)]
pub struct Known<'a> {
    /// The registered applications; the first is the default. With only one there is no APP
    /// argument.
    pub apps: &'a [&'a str],
    /// The registered worker classes.
    pub classes: &'a [&'a str],
    /// Settings for which the program has defaults of its own, with the values.
    pub defaults: &'a [(&'a str, &'a str)],
}

impl Known<'_> {
    /// The default of a setting: the program's own, else that of the table.
    pub(crate) fn default_of<'a>(&'a self, setting: &'a Setting) -> &'a str {
        let mut own = self.defaults.iter().rev();
        own.find(|(name, _)| *name == setting.name)
            .map_or(setting.default, |(_, value)| value)
    }
}

/// What a call asks for.
#[derive(Debug)]
pub enum Loaded {
    /// A configuration; its `action` says what to do with it.
    Config(Box<Config>),
    /// The text of one generated file for standard output.
    Generated(String),
    /// A command for a running server.
    Ctl(Box<ctl::Call>),
    /// A view of one.
    Top(Box<top::Call>),
}

/// Why there is no configuration.
#[derive(Debug)]
pub enum Refusal {
    /// `--help` or `--version` (exit code 0, text for standard output), or a command line that
    /// cannot be read (exit code 2). [`clap::Error::exit_code`] and [`clap::Error::print`] know.
    Usage(clap::Error),
    /// Everything that is wrong with the values, in order; exit code 1.
    Errors(Vec<ConfigError>),
}

/// What to do with a configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Serve.
    Serve,
    /// `--check-config`: check everything, say one line, exit.
    Check,
    /// `--print-config`: print every setting with its origin, exit.
    Print,
}

/// Where a value came from.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Origin {
    /// Built in.
    Default,
    /// A file, as it was named, and the line in it; 0 for the whole of it.
    File(PathBuf, usize),
    /// An environment variable.
    Environment(String),
    /// An option or argument, e.g. `--bind` or `APP`.
    CommandLine(String),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::Default => f.write_str("default"),
            Origin::File(path, 0) => write!(f, "{}", path.display()),
            Origin::File(path, line) => write!(f, "{}:{line}", path.display()),
            Origin::Environment(name) | Origin::CommandLine(name) => f.write_str(name),
        }
    }
}

/// One thing that is wrong with the configuration, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError {
    /// Where the value came from.
    pub origin: Origin,
    /// What is wrong and what was expected, without a final stop.
    pub message: String,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.origin, self.message)
    }
}

impl std::error::Error for ConfigError {}

/// Everything the master needs to know. Immutable once loaded; the next one replaces it.
#[derive(Clone, Debug)]
pub struct Config {
    /// What to do with it.
    pub action: Action,
    /// The file that was read, absolute; `None` when there was none.
    pub file: Option<PathBuf>,
    /// Where it is, or would be if there were one; `None` when none is read at all.
    pub place: Option<PathBuf>,
    /// Whether to reload when a file changes that is served from.
    pub reload: bool,
    /// Whether to look for changes now and then, and not to be told of them.
    pub reload_polls: bool,
    /// Further files whose change is worth a reload, absolute.
    pub reload_extra_files: Vec<PathBuf>,
    /// What the user should know but what stops nothing.
    pub warnings: Vec<ConfigError>,
    /// The listeners: one socket each.
    pub binds: Vec<Bind>,
    /// The listeners for metrics, status and health.
    pub metrics_binds: Vec<Bind>,
    /// How long nobody may serve before 503 is answered; zero: for ever.
    pub outage_delay: Duration,
    /// How many workers the generation wants; at least one. `auto` is resolved.
    pub workers: usize,
    /// How many workers may be extra while a generation replaces another; see [`Config::surge`].
    pub max_surge: Share,
    /// How many may be missing meanwhile; see [`Config::unavailable`].
    pub max_unavailable: Share,
    /// The fewest workers that there may be; 0: `workers`.
    pub min_workers: usize,
    /// The most workers that there may be; 0: `workers`.
    pub max_workers: usize,
    /// How long one worker less must do before one is sent away.
    pub scale_down_delay: Duration,
    /// When workers are replaced, or ended.
    pub recycling: Recycling,
    /// How many workers may be started in a second; 0: any number.
    pub spawn_rate: u32,
    /// How long a worker may take until it says READY.
    pub boot_timeout: Duration,
    /// Whether workers are forked from a process that has loaded the application.
    pub preload: bool,
    /// What a reload asks a worker on trial for; `None`: nothing.
    pub reload_check_path: Option<String>,
    /// How long a handler may take that asks for more time than `timeout`.
    pub timeout_cap: Duration,
    /// Whether a worker that crashes or hangs is to leave a core behind.
    pub dump_cores: bool,
    /// How long a worker's loop may be silent outside a handler.
    pub heartbeat_timeout: Duration,
    /// When a request is poison that workers die of.
    pub poison: poison::Policy,
    /// How long requests in flight have on a graceful stop and when a worker retires.
    pub graceful_timeout: Duration,
    /// How long workers may go on draining when two generations have come after theirs.
    pub superseded_timeout: Duration,
    /// How long the server goes on as before when it is told to stop.
    pub pre_stop_delay: Duration,
    /// The working directory, absolute: `chdir`, else that of the call.
    pub directory: PathBuf,
    /// Whether to go into the background.
    pub daemon: bool,
    /// Variables for the environment of the workers.
    pub env: Vec<(OsString, OsString)>,
    /// The pid file, absolute.
    pub pidfile: Option<PathBuf>,
    /// Where the control socket is.
    pub control: Place,
    /// Whom the workers run as; `None`: as the master.
    pub user: Option<User>,
    /// The workers' group; `None`: see [`Config::gid`].
    pub group: Option<Group>,
    /// Whether the workers take the supplementary groups of `user`.
    pub initgroups: bool,
    /// The file mode creation mask.
    pub umask: u32,
    /// The process title; `None`: the program's name.
    pub proc_name: Option<String>,
    /// Where access-log lines go; `None`: nowhere.
    pub access_log: Option<Destination>,
    /// Where the error log goes.
    pub error_log: Destination,
    /// Whether and where messages go to syslog, beside the logs.
    pub syslog: Option<Syslog>,
    pub(crate) syslog_settings: syslog::Settings,
    pub(crate) statsd_settings: statsd::Settings,
    /// The least severe level that is logged; `critical` is `Error`.
    pub log_level: LevelFilter,
    /// Show the queries of requests that are under way.
    pub show_queries: bool,
    /// What a worker is told. `listeners` has one entry per bind, in order, whose `local` is a
    /// guess until the master has bound the socket.
    pub conf: Conf,
    /// What a listener has that says nothing of its own.
    pub(crate) listener: Bind,
    /// The settings as they are printed; tables apart.
    shown: Vec<Shown>,
    listens: Vec<Vec<Shown>>,
    mounts: Vec<Vec<Shown>>,
}

/// One listener: one socket to bind or to take over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bind {
    /// The address as it was given.
    pub text: String,
    /// What it means.
    pub address: Address,
    /// Length of the queue of connections not yet accepted, listen(2).
    pub backlog: u32,
    /// Permissions of a unix socket's file, e.g. 0o660.
    pub socket_mode: u32,
    /// Owner of a unix socket's file.
    pub socket_owner: Option<User>,
    /// Group of a unix socket's file.
    pub socket_group: Option<Group>,
    /// Which PROXY header connections begin with; `None`: none.
    pub proxy_protocol: Option<ProxyVersions>,
    /// Whose connections do.
    pub proxy_allow_from: Networks,
    /// It is the aide's: no worker accepts from it.
    pub for_aide: bool,
    /// Where the address was given, for the message when it cannot be bound.
    pub origin: Origin,
}

/// What a listener is bound to.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Address {
    /// An IPv4 or IPv6 address; port 0 lets the system choose.
    Tcp(SocketAddr),
    /// A unix socket's path, absolute.
    Unix(PathBuf),
    /// An abstract unix socket's name, without the leading NUL (or `@`).
    Abstract(String),
    /// An inherited descriptor that is already bound.
    Fd(i32),
    /// All descriptors that were passed under this name (sd_listen_fds_with_names(3)).
    Passed(String),
}

/// An account, looked up in the system.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    /// As given: a name or a number.
    pub text: String,
    /// Its number.
    pub uid: u32,
    /// Its primary group; `None` for a number that the system does not know.
    pub gid: Option<u32>,
    /// Its login name, for initgroups(3); `None` for a number that the system does not know.
    pub name: Option<String>,
}

/// A group, looked up in the system.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    /// As given: a name or a number.
    pub text: String,
    /// Its number.
    pub gid: u32,
}

/// Where a log goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Destination {
    /// `-`: standard output for the access log, standard error for the error log.
    Standard,
    /// `auto`: the journal where the standard stream is connected to it, else that stream.
    Auto,
    /// A file, absolute.
    File(PathBuf),
    /// The journal's socket, absolute.
    Journal(PathBuf),
}

impl Config {
    /// Between which numbers the workers may be, `workers` among them.
    pub fn scaling(&self) -> Scaling {
        let or_workers = |bound: usize| match bound {
            0 => self.workers,
            bound => bound,
        };
        Scaling {
            least: or_workers(self.min_workers),
            most: or_workers(self.max_workers),
            patience: self.scale_down_delay,
        }
    }

    /// How long things may take in the workers.
    pub fn patience(&self) -> Patience {
        let timeout = self.conf.deadlines.request;
        let mounts = self.conf.mounts.iter().filter_map(|mount| mount.timeout);
        let granted = || mounts.clone().chain([timeout, self.timeout_cap]);
        let unlimited = timeout.is_zero() || mounts.clone().any(|time| time.is_zero());
        Patience {
            timeout,
            longest: granted().max().filter(|_| !unlimited).unwrap_or_default(),
            heartbeat: self.heartbeat_timeout,
            threads: self.conf.threads,
        }
    }

    /// Whether there is an aide at all times, and not only while nobody can serve.
    pub fn wants_aide(&self) -> bool {
        let forwards =
            |syslog: &Syslog| matches!(syslog.to, Receiver::Tcp(_) | Receiver::Stream(_));
        !self.metrics_binds.is_empty()
            || self.conf.statsd.is_some()
            || self.syslog.as_ref().is_some_and(forwards)
    }

    /// The group that the workers take: `group`, else the primary group of `user`, else none.
    pub fn gid(&self) -> Option<u32> {
        let primary = self.user.as_ref().and_then(|user| user.gid);
        self.group.as_ref().map(|group| group.gid).or(primary)
    }

    /// Reads the configuration of `call`. Callable again and again with the same `call`: the file
    /// and the system are looked at anew each time.
    ///
    /// # Errors
    /// A command line that cannot be read, or everything that is wrong with the values.
    pub fn load(call: &Call, known: &Known<'_>) -> Result<Loaded, Refusal> {
        load::load(call, known, &read)
    }

    /// Reads the configuration of `call` to serve with, its file by `reader`: what a reload does.
    ///
    /// # Errors
    /// Everything that is wrong with it, in one line.
    pub(crate) fn load_with(
        call: &Call,
        known: &Known<'_>,
        reader: load::Reader<'_>,
    ) -> Result<Config, String> {
        match load::load(call, known, reader) {
            Ok(Loaded::Config(config)) => Ok(*config),
            Ok(Loaded::Generated(_) | Loaded::Ctl(_) | Loaded::Top(_)) => {
                Err("it asks for a text".to_owned())
            }
            Err(Refusal::Usage(error)) => Err(error.to_string()),
            Err(Refusal::Errors(errors)) => {
                let errors: Vec<String> = errors.iter().map(ToString::to_string).collect();
                Err(errors.join("; "))
            }
        }
    }
}

impl Default for Config {
    fn default() -> Self {
        Config {
            action: Action::Serve,
            file: None,
            place: None,
            reload: false,
            reload_polls: false,
            reload_extra_files: Vec::new(),
            warnings: Vec::new(),
            binds: Vec::new(),
            metrics_binds: Vec::new(),
            outage_delay: Duration::from_secs(5),
            workers: 1,
            max_surge: Share::Percent(25),
            max_unavailable: Share::Number(0),
            min_workers: 0,
            max_workers: 0,
            scale_down_delay: Duration::from_secs(30),
            recycling: Recycling::NONE,
            spawn_rate: 32,
            boot_timeout: Duration::from_secs(60),
            preload: false,
            reload_check_path: None,
            timeout_cap: Duration::from_secs(300),
            dump_cores: false,
            heartbeat_timeout: Duration::from_secs(30),
            poison: poison::Policy {
                deaths: 0,
                window: Duration::from_secs(60),
                hold: Duration::from_secs(600),
            },
            graceful_timeout: Duration::from_secs(30),
            superseded_timeout: Duration::from_secs(10),
            pre_stop_delay: Duration::ZERO,
            directory: Path::new("/").to_owned(),
            daemon: false,
            env: Vec::new(),
            pidfile: None,
            control: Place::Auto,
            user: None,
            group: None,
            initgroups: false,
            umask: 0o022,
            proc_name: None,
            access_log: None,
            error_log: Destination::Standard,
            syslog: None,
            syslog_settings: syslog::Settings::default(),
            statsd_settings: statsd::Settings::default(),
            log_level: LevelFilter::Info,
            show_queries: false,
            conf: Conf::default(),
            listener: Bind {
                text: String::new(),
                address: Address::Fd(0),
                backlog: 2048,
                socket_mode: 0o660,
                socket_owner: None,
                socket_group: None,
                proxy_protocol: None,
                proxy_allow_from: Networks::loopback(),
                for_aide: false,
                origin: Origin::Default,
            },
            shown: Vec::new(),
            listens: Vec::new(),
            mounts: Vec::new(),
        }
    }
}
