//! A server: what it offers, and the road from `main` to the master.

use std::io::Write;
use std::process::ExitCode;
use std::rc::Rc;
use std::time::Duration;

use ferricorn_base::{App, Hooked, Hooks, Worker, board, logs};
use nix::poll::{PollFd, PollFlags, poll};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::stat::{Mode, umask};

use crate::config::{Action, Config, Known, Loaded, Names, Refusal};
use crate::daemon::{self, Waiting};
use crate::directory::Directory;
use crate::exit;
use crate::generation::{self, Failure, Generation, Held};
use crate::handover::{self, Handover, Role};
use crate::logging::{LogFiles, Relay};
use crate::master::{Master, Parts};
use crate::notify::Notifier;
use crate::program::Program;
use crate::registry::Registry;
use crate::second::{Channel, Given, Other, Word};
use crate::signals::{self, Signals};
use crate::sockets::{Inherited, Listener};
use crate::state::Event;
use crate::trial;
use crate::watch::Plan;
use crate::{ctl, top};

/// How often an address that is in use is tried at the start, a second apart.
const TRIES: u32 = 5;

/// Serves `app` with the whole command line of Ferricorn; returns when the server has stopped.
///
/// To be called first thing in `main`, with one thread. The exit code is 0 after a stop that was
/// asked for, 1 for what cannot be configured or bound, 2 for a command line that cannot be read, 3
/// when no worker could boot, 4 when the application could not be loaded.
///
/// ```no_run
/// use ferricorn::Request;
///
/// fn main() -> std::process::ExitCode {
///     ferricorn::main(|_: &mut Request| "Hello, World!")
/// }
/// ```
pub fn main(app: impl App) -> ExitCode {
    Server::builder().app(app).build().run()
}

/// A server that has not started yet.
#[derive(Debug)]
pub struct Server {
    registry: Registry,
    name: Option<String>,
}

/// Puts a server together.
#[derive(Debug, Default)]
pub struct Builder {
    registry: Registry,
    name: Option<String>,
}

impl Server {
    /// A server that offers nothing yet.
    #[must_use]
    pub fn builder() -> Builder {
        Builder::default()
    }

    /// Reads the command line, the environment and the configuration file of this process, and
    /// serves until told to stop. In the master; the workers never come back from here.
    #[must_use]
    pub fn run(self) -> ExitCode {
        let name = self.name.as_deref();
        let program = match handover::role() {
            Ok(Role::First) => Program::capture(),
            Ok(Role::Second { given, channel }) => {
                return ExitCode::from(follow(given, channel, self.registry, name));
            }
            Ok(Role::Trial { handover, answer }) => {
                trial::stand(handover, answer, self.registry, name)
            }
            Ok(Role::Next { handover }) => {
                return ExitCode::from(go_on(handover, self.registry, name));
            }
            Err(error) => Err(error),
        };
        let program = match program {
            Ok(program) => program,
            Err(error) => {
                // Relative paths would mean something else.
                eprintln!("cannot start: {error}");
                return ExitCode::from(exit::ERROR);
            }
        };
        let names = Names::default();
        let call = program.call(name, names.clone());
        let inherited = Inherited::look(&call);
        let notifier = Notifier::look();
        let loaded = {
            let known = Known {
                apps: &self.registry.apps(),
                classes: &self.registry.classes(),
                defaults: &self.registry.defaults(),
            };
            Config::load(&call, &known)
        };
        let config = match loaded {
            Ok(Loaded::Config(config)) => *config,
            Ok(Loaded::Generated(text)) => return print(&text),
            Ok(Loaded::Ctl(call)) => return ctl::run(&call),
            Ok(Loaded::Top(call)) => return top::run(&call),
            Err(refusal) => return refuse(&refusal),
        };
        match config.action {
            Action::Serve => {}
            Action::Print => return print(&config.print()),
            Action::Check => return check(&config, &self.registry),
        }
        ExitCode::from(start(Beginning {
            program,
            names,
            registry: self.registry,
            inherited,
            notifier,
            config,
            first: None,
        }))
    }
}

impl Builder {
    /// Serves this application. Without others there is no APP on the command line.
    #[must_use]
    pub fn app(self, app: impl App) -> Builder {
        self.register_app("app", app)
    }

    /// Offers an application under a name, for APP on the command line and for mounts. The first
    /// one is the default.
    #[must_use]
    pub fn register_app(mut self, name: &str, app: impl App) -> Builder {
        self.registry.add_app(name, app);
        self
    }

    /// Offers a worker class, which owns what it serves, under its own name for `-k`.
    #[must_use]
    pub fn worker(mut self, class: impl Worker) -> Builder {
        self.registry.add_class(class);
        self
    }

    /// Runs these at the turns of the server's life.
    #[must_use]
    pub fn hooks(mut self, hooks: impl Hooks) -> Builder {
        self.registry.set_hooks(Hooked::new(hooks));
        self
    }

    /// Gives a setting, by its long name, another default. The file, the environment and the
    /// command line still win. A name that is no setting stops the start.
    #[must_use]
    pub fn default_setting(mut self, setting: &str, value: &str) -> Builder {
        self.registry.set_default(setting, value);
        self
    }

    /// Calls the program so in its help, whatever its file is called.
    #[must_use]
    pub fn name(mut self, name: impl Into<String>) -> Builder {
        self.name = Some(name.into());
        self
    }

    /// The server.
    #[must_use]
    pub fn build(self) -> Server {
        Server {
            registry: self.registry,
            name: self.name,
        }
    }
}

fn print(text: &str) -> ExitCode {
    let written = std::io::stdout().lock().write_all(text.as_bytes());
    ExitCode::from(if written.is_ok() {
        exit::OK
    } else {
        exit::ERROR
    })
}

fn refuse(refusal: &Refusal) -> ExitCode {
    match refusal {
        Refusal::Usage(error) => {
            let _ = error.print();
            ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(exit::ERROR))
        }
        Refusal::Errors(errors) => {
            for error in errors {
                eprintln!("ferricorn: {error}");
            }
            ExitCode::from(exit::ERROR)
        }
    }
}

fn check(config: &Config, registry: &Registry) -> ExitCode {
    for warning in &config.warnings {
        eprintln!("ferricorn: {warning}");
    }
    match registry.check(&config.conf) {
        Ok(()) => print("the configuration is valid\n"),
        Err(reason) => {
            eprintln!("ferricorn: {reason}");
            ExitCode::from(exit::ERROR)
        }
    }
}

/// From what another image left to a master that goes on; returns its exit code.
fn go_on(handover: i32, registry: Registry, name: Option<&str>) -> u8 {
    let master =
        Handover::read(handover).and_then(|handover| Master::adopt(handover, registry, name));
    match master {
        Ok(master) => master.resume(),
        Err(error) => {
            // The workers see their life-lines end, and finish what they have.
            eprintln!("ferricorn: cannot go on: {error}");
            exit::ERROR
        }
    }
}

/// A second master, beside the one that has started it; returns its exit code.
fn follow(given: i32, channel: i32, registry: Registry, name: Option<&str>) -> u8 {
    let channel = match Channel::take_over(channel) {
        Ok(channel) => channel,
        Err(error) => {
            eprintln!("ferricorn: there is nobody to answer to: {error}");
            return exit::ERROR;
        }
    };
    let begin = || {
        let given = Given::read(given).map_err(|error| error.to_string())?;
        let held = given.held().map_err(|error| error.to_string())?;
        let program = Program::executed(given.origin);
        let names = Names::default();
        let call = program.call(name, names.clone());
        let config = {
            let known = Known {
                apps: &registry.apps(),
                classes: &registry.classes(),
                defaults: &registry.defaults(),
            };
            Config::load_with(&call, &known, &crate::config::read)?
        };
        Ok((
            given.first,
            given.inherited,
            given.notified,
            held,
            program,
            names,
            config,
        ))
    };
    match begin() {
        Ok((pid, inherited, notified, held, program, names, config)) => {
            channel.tell(&Word::Boots(config.boot_timeout));
            let common = held.listeners.clone();
            start(Beginning {
                program,
                names,
                registry,
                inherited,
                notifier: Notifier::resume(notified),
                config,
                first: Some((Other::first(channel, common), pid, held)),
            })
        }
        Err(reason) => {
            let reason: String = reason;
            channel.fails(&reason);
            exit::ERROR
        }
    }
}

/// What a master begins with.
struct Beginning {
    program: Program,
    names: Names,
    registry: Registry,
    inherited: Inherited,
    notifier: Notifier,
    config: Config,
    /// The first master, its pid and what it has open, for a second one.
    first: Option<(Other, i32, Held)>,
}

/// From a configuration to a master that serves; returns its exit code.
fn start(beginning: Beginning) -> u8 {
    let Beginning {
        program,
        names,
        registry,
        mut inherited,
        mut notifier,
        config,
        first,
    } = beginning;
    let (first, held) = match first {
        Some((first, pid, held)) => (Some((first, pid)), Some(held)),
        None => (None, None),
    };
    let watch = Plan::of(&config, program.path());
    // Before anything else: what follows belongs to the process that stays. A second master is what it
    // is to be: its first one went into the background if anybody did.
    let detached = if config.daemon && first.is_none() {
        daemon::detach()
    } else {
        Ok(Waiting::nobody())
    };
    let mut waiting = match detached {
        Ok(waiting) => waiting,
        Err(error) => {
            eprintln!("ferricorn: cannot go into the background: {error}");
            return exit::ERROR;
        }
    };
    match prepare(&config, &registry, &mut inherited, &mut notifier, held) {
        Ok(None) => exit::OK,
        Ok(Some((signals, generation))) => {
            let parts = Parts {
                program,
                names,
                registry,
                inherited,
                signals,
                notifier,
                generation,
                watch,
                waiting,
                first,
            };
            match Master::new(parts) {
                Ok(master) => master.run(),
                Err(error) => {
                    let size = board::BYTES >> 20;
                    log::error!("cannot make the scoreboard ({size} MiB): {error}");
                    exit::ERROR
                }
            }
        }
        Err(failure) => {
            log::error!("cannot start: {}", failure.text);
            match &first {
                Some((first, _)) => first.fails(&failure.text),
                None => notifier.fails(&failure.text),
            }
            logs::flush();
            waiting.fails(exit::ERROR);
            exit::ERROR
        }
    }
}

/// Opens everything but what is `held` by a first master or was stored by the manager; `None` when a
/// signal stopped it.
fn prepare(
    config: &Config,
    registry: &Registry,
    inherited: &mut Inherited,
    notifier: &mut Notifier,
    held: Option<Held>,
) -> Result<Option<(Signals, Generation)>, Failure> {
    // First, so that whoever sees a sign of life can stop it.
    let signals = Signals::watch()?;
    // A log that reaches the limit of its size must not end the master.
    ferricorn_base::sys::ignore_signals(&[libc::SIGXFSZ])?;
    umask(Mode::from_bits_truncate(config.umask));
    let relay = start_log(config)?;
    log::info!("Starting ferricorn {}", env!("CARGO_PKG_VERSION"));
    let directory = Rc::new(Directory::open(&config.directory)?);
    directory.enter()?;
    raise_descriptors();
    registry
        .hooks()
        .call("on_starting", |hooks| hooks.on_starting());
    let second = held.is_some();
    let master = generation::Master {
        pid: std::process::id(),
        second,
    };
    let mut held = held.unwrap_or_else(|| {
        let (stored, names) = inherited.take_stored();
        notifier.has_stored(names);
        Held {
            listeners: stored.into_iter().map(Rc::new).collect(),
            ..Held::default()
        }
    });
    held.directory = Some(directory);
    held.relay = relay;
    for attempt in 1.. {
        match Generation::make(1, config.clone(), &held, inherited, registry, master) {
            Ok(generation) => {
                if !second {
                    go_on_listening(&held.listeners, &generation);
                }
                return Ok(Some((signals, generation)));
            }
            // Who is upgraded to says so at once.
            Err(failure) if failure.in_use && attempt < TRIES && !second => {
                log::error!("{}; trying again in a second", failure.text);
                if is_stopped_within(&signals, Duration::from_secs(1)) {
                    return Ok(None);
                }
            }
            Err(failure) => return Err(failure),
        }
    }
    Ok(None)
}

/// Some of what was stored is listened at again, and some is for nobody any more.
fn go_on_listening(stored: &[Rc<Listener>], generation: &Generation) {
    let is_wanted = |listener: &&Rc<Listener>| {
        let mut wanted = generation.listeners.iter();
        wanted.any(|other| Rc::ptr_eq(other, listener))
    };
    for listener in stored {
        let url = listener.url();
        if is_wanted(&listener) {
            log::info!("Taken over from the service manager's store: {url}");
        } else {
            log::info!("Given up, since no bind wants it any more: {url}");
        }
    }
    if let Some(recipe) = &generation.recipe {
        recipe.adjust(stored.iter());
    }
}

/// Begins to log; returns the way to syslog that was made for it, which the generation goes on with.
fn start_log(config: &Config) -> Result<Option<Rc<Relay>>, Failure> {
    let files =
        LogFiles::open(config, None).inspect_err(|error| eprintln!("ferricorn: {error}"))?;
    let started = logs::init(config.log_level, files.error_outlets()?);
    started.map_err(|error| Failure {
        text: error.to_string(),
        in_use: false,
    })?;
    Ok(files.relay().cloned())
}

/// A server has one descriptor per connection: takes as many as may be had.
pub(crate) fn raise_descriptors() {
    let raised = getrlimit(Resource::RLIMIT_NOFILE).and_then(|(soft, hard)| {
        if soft < hard {
            setrlimit(Resource::RLIMIT_NOFILE, hard, hard)
        } else {
            Ok(())
        }
    });
    if let Err(errno) = raised {
        log::warn!("cannot raise the limit of open files: {errno}");
    }
}

/// Waits, unless a signal asks to stop.
fn is_stopped_within(signals: &Signals, time: Duration) -> bool {
    let until = ferricorn_base::sys::monotonic() + time;
    loop {
        let left = until.saturating_sub(ferricorn_base::sys::monotonic());
        if left.is_zero() {
            return false;
        }
        let millis = u16::try_from(left.as_millis() + 1).unwrap_or(u16::MAX);
        let fd = std::os::fd::AsFd::as_fd(signals);
        let _ = poll(&mut [PollFd::new(fd, PollFlags::POLLIN)], millis);
        let stops =
            |(signal, _): &(i32, u32)| matches!(signals::event(*signal), Some(Event::Stop(_)));
        if signals.take().iter().any(stops) {
            return true;
        }
    }
}
