//! A generation: the workers of one configuration, and what it opened, owned together.
//!
//! Each is made before anything of the one before is touched, and a failure leaves nothing behind.
//! Dropping it closes what no other generation has. What a generation is supervised by goes along
//! when the program is executed anew; what its workers are made from, its [`Recipe`], does not: an
//! image makes workers of one generation only. In the master, and in a program on trial.

use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use ferricorn_base::conf::{Conf, ListenerConf};
use log::LevelFilter;

use crate::config::Config;
use crate::control;
use crate::diagnose::Patience;
use crate::directory::Directory;
use crate::logging::{LogFiles, Relay};
use crate::pidfile::PidFile;
use crate::poison;
use crate::privileges::Account;
use crate::registry::Registry;
use crate::sockets::{self, BindError, Inherited, Listener};
use crate::state::{self, Policy};

/// What it takes to supervise the workers of one configuration.
#[derive(Debug)]
pub struct Generation {
    /// Its number, from 1.
    pub number: state::Generation,
    /// The numbers that the state decides by.
    pub policy: Policy,
    /// After how long a request is slow; zero means never.
    pub slow_request: Duration,
    /// How long things may take in its workers.
    pub patience: Patience,
    /// When a request is poison that its workers die of.
    pub poison: poison::Policy,
    /// What the master logs while this generation serves.
    pub log_level: LevelFilter,
    /// Whether the query of a request is shown to who asks how the server stands.
    pub show_queries: bool,
    /// The process title; `None`: the program's name.
    pub name: Option<String>,
    /// Its listeners, shared with other generations that have them too.
    pub listeners: Vec<Rc<Listener>>,
    /// The aide's listeners, shared like these.
    pub metrics: Vec<Rc<Listener>>,
    /// How long nobody may serve before 503 is answered; zero: for ever.
    pub outage_delay: Duration,
    /// Its log files.
    pub logs: LogFiles,
    /// The control socket, shared like the listeners.
    pub control: Option<Rc<Listener>>,
    /// The pid file, shared like the listeners.
    pub pidfile: Option<Rc<PidFile>>,
    /// What its workers are made from; none when another image made them.
    pub recipe: Option<Recipe>,
}

/// What workers are made from.
#[derive(Debug)]
pub struct Recipe {
    /// The configuration.
    pub config: Config,
    /// What they are told.
    pub conf: Arc<Conf>,
    /// What the aide is told of its listeners.
    pub metrics: Vec<ListenerConf>,
    /// Whom they become.
    pub account: Account,
    /// Where they begin.
    pub directory: Rc<Directory>,
    /// What they log: the configuration's level, or what the operator has set since.
    pub log_level: LevelFilter,
}

/// What is open already and may be taken over by a new generation.
#[derive(Clone, Debug, Default)]
pub struct Held {
    /// Listeners, each once.
    pub listeners: Vec<Rc<Listener>>,
    /// Pid files, each once.
    pub pidfiles: Vec<Rc<PidFile>>,
    /// Where the configuration's working directory leads, if that was found already.
    pub directory: Option<Rc<Directory>>,
    /// The way of messages for syslog to the aide.
    pub relay: Option<Rc<Relay>>,
}

/// The master that a generation is for.
#[derive(Clone, Copy, Debug)]
pub struct Master {
    /// Its pid, for a pid file.
    pub pid: u32,
    /// Another one has the name of that still.
    pub second: bool,
}

/// Why there is no new generation.
#[derive(Debug)]
pub struct Failure {
    /// What to say.
    pub text: String,
    /// An address is in use: another try may succeed.
    pub in_use: bool,
}

impl Generation {
    /// Opens what `config` asks for, taking over what is `held`, for this master, and enters the
    /// working directory.
    ///
    /// # Errors
    /// The first thing that cannot be done; nothing has changed then.
    pub fn make(
        number: state::Generation,
        config: Config,
        held: &Held,
        inherited: &Inherited,
        registry: &Registry,
        master: Master,
    ) -> Result<Generation, Failure> {
        registry.check(&config.conf).map_err(Failure::plain)?;
        let account = Account::of(&config);
        account.check()?;
        let directory = match &held.directory {
            Some(directory) => Rc::clone(directory),
            None => Rc::new(Directory::open(&config.directory)?),
        };
        directory.enter()?;
        let logs = LogFiles::open(&config, held.relay.as_ref())?;
        let binds = inherited.binds(&config.binds)?;
        let listeners = sockets::listeners(&binds, &held.listeners, inherited)?;
        let metrics_binds = inherited.named(&config.metrics_binds)?;
        let metrics = sockets::listeners(&metrics_binds, &held.listeners, inherited)?;
        let control = control::open(&config.control, &held.listeners, master)?;
        let pidfile = match &config.pidfile {
            None => None,
            Some(path) => match held.pidfiles.iter().find(|file| file.path() == path) {
                Some(file) => Some(Rc::clone(file)),
                None => Some(Rc::new(PidFile::create(path, master.pid, master.second)?)),
            },
        };
        let mut conf = config.conf.clone();
        let listening = listeners.iter().zip(&binds);
        conf.listeners = listening
            .map(|(listener, bind)| listener.conf(bind))
            .collect();
        let metrics_confs = metrics.iter().zip(&metrics_binds);
        let metrics_confs = metrics_confs.map(|(listener, bind)| listener.conf(bind));
        let metrics_confs = metrics_confs.collect();
        Ok(Generation {
            number,
            policy: policy(&config),
            slow_request: config.conf.slow_request,
            patience: config.patience(),
            poison: config.poison,
            log_level: config.log_level,
            show_queries: config.show_queries,
            name: config.proc_name.clone(),
            listeners,
            metrics,
            outage_delay: config.outage_delay,
            logs,
            control,
            pidfile,
            recipe: Some(Recipe {
                log_level: config.log_level,
                config,
                conf: Arc::new(conf),
                metrics: metrics_confs,
                account,
                directory,
            }),
        })
    }

    /// "http://127.0.0.1:8000, unix:/run/app.sock".
    pub fn urls(&self) -> String {
        urls(&self.listeners)
    }

    /// What clients connect to: the workers' listeners, then the aide's.
    pub fn sockets(&self) -> impl Iterator<Item = &Rc<Listener>> {
        self.listeners.iter().chain(&self.metrics)
    }
}

impl Recipe {
    /// What the operator should know of a generation but what stops nothing.
    pub fn warnings(&self, listeners: &[Rc<Listener>]) -> Vec<String> {
        let mut warnings: Vec<String> = self
            .config
            .warnings
            .iter()
            .map(ToString::to_string)
            .collect();
        let bound = sockets::somaxconn().unwrap_or(u32::MAX);
        for listener in listeners
            .iter()
            .filter(|listener| listener.backlog() > bound)
        {
            warnings.push(format!(
                "{}: the system cuts the backlog of {} to net.core.somaxconn, {bound}",
                listener.url(),
                listener.backlog()
            ));
        }
        warnings
    }

    /// Takes over for listeners that were there before what may change without a new socket.
    pub fn adjust<'a>(&self, listeners: impl Iterator<Item = &'a Rc<Listener>>) {
        for listener in listeners {
            let mut binds = self.config.binds.iter().chain(&self.config.metrics_binds);
            let Some(bind) = binds.find(|bind| listener.is(bind)) else {
                continue;
            };
            if let Err(error) = listener.adjust(bind) {
                log::warn!("cannot change {}: {error}", listener.url());
            }
        }
    }
}

impl Held {
    /// Adds a listener unless it is there; returns its place.
    pub fn add_listener(&mut self, listener: Rc<Listener>) -> usize {
        add(&mut self.listeners, listener)
    }

    /// Adds a pid file unless it is there; returns its place.
    pub fn add_pidfile(&mut self, pidfile: Rc<PidFile>) -> usize {
        add(&mut self.pidfiles, pidfile)
    }
}

fn add<T>(all: &mut Vec<Rc<T>>, one: Rc<T>) -> usize {
    let there = all.iter().position(|other| Rc::ptr_eq(other, &one));
    there.unwrap_or_else(|| {
        all.push(one);
        all.len() - 1
    })
}

/// As a user would type them.
pub fn urls(listeners: &[Rc<Listener>]) -> String {
    let urls: Vec<String> = listeners.iter().map(|listener| listener.url()).collect();
    urls.join(", ")
}

fn policy(config: &Config) -> Policy {
    Policy {
        workers: config.workers,
        scaling: config.scaling(),
        boot_timeout: config.boot_timeout,
        graceful_timeout: config.graceful_timeout,
        superseded_timeout: config.superseded_timeout,
        pre_stop_delay: config.pre_stop_delay,
        dump_cores: config.dump_cores,
        max_surge: config.max_surge,
        max_unavailable: config.max_unavailable,
        recycling: config.recycling,
        spawn_rate: config.spawn_rate,
    }
}

impl Failure {
    fn plain(text: String) -> Failure {
        Failure {
            text,
            in_use: false,
        }
    }
}

impl From<BindError> for Failure {
    fn from(error: BindError) -> Failure {
        Failure {
            text: error.to_string(),
            in_use: error.in_use,
        }
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Failure {
        Failure::plain(error.to_string())
    }
}
