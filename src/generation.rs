//! A generation: one configuration and what it opened, owned together and never changed.
//!
//! It is made before anything of the old one is touched, and a failure leaves nothing behind.
//! Dropping it closes what no other generation has. In the master only.

use std::io;
use std::rc::Rc;
use std::sync::Arc;

use ferricorn_base::conf::Conf;

use crate::config::Config;
use crate::logging::LogFiles;
use crate::pidfile::PidFile;
use crate::privileges::Account;
use crate::registry::Registry;
use crate::sockets::{self, Inherited, Listener};
use crate::state::{self, Policy};

/// One configuration and what it opened.
#[derive(Debug)]
pub struct Generation {
    /// Its number, from 1.
    pub number: state::Generation,
    /// The configuration.
    pub config: Config,
    /// What its workers are told.
    pub conf: Arc<Conf>,
    /// Its listeners, shared with other generations that have them too.
    pub listeners: Vec<Rc<Listener>>,
    /// Its log files.
    pub logs: LogFiles,
    /// Whom its workers become.
    pub account: Account,
    /// The pid file, shared like the listeners.
    pub pidfile: Option<Rc<PidFile>>,
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
    /// Opens what `config` asks for, taking over what `old` has.
    ///
    /// # Errors
    /// The first thing that cannot be done; nothing has changed then.
    pub fn make(
        number: state::Generation,
        config: Config,
        old: Option<&Generation>,
        inherited: &Inherited,
        registry: &Registry,
    ) -> Result<Generation, Failure> {
        registry.check(&config.conf).map_err(Failure::plain)?;
        let account = Account::of(&config);
        account.check()?;
        let logs = LogFiles::open(&config)?;
        let binds = inherited.binds(&config.binds);
        let known = old.map_or(&[][..], |old| &old.listeners);
        let listeners = sockets::listeners(&binds, known, inherited).map_err(|error| Failure {
            text: error.to_string(),
            in_use: error.in_use,
        })?;
        let pidfile = match (&config.pidfile, old.and_then(|old| old.pidfile.as_ref())) {
            (None, _) => None,
            (Some(path), Some(held)) if held.path() == path => Some(Rc::clone(held)),
            (Some(path), _) => Some(Rc::new(PidFile::create(path)?)),
        };
        let mut conf = config.conf.clone();
        let listening = listeners.iter().zip(&binds);
        conf.listeners = listening
            .map(|(listener, bind)| listener.conf(bind))
            .collect();
        let conf = Arc::new(conf);
        Ok(Generation {
            number,
            config,
            conf,
            listeners,
            logs,
            account,
            pidfile,
        })
    }

    /// The numbers that the state decides by.
    pub fn policy(&self) -> Policy {
        Policy {
            workers: self.config.workers,
            boot_timeout: self.config.boot_timeout,
            graceful_timeout: self.config.graceful_timeout,
            max_surge: self.config.surge(),
            max_unavailable: self.config.unavailable(),
        }
    }

    /// "http://127.0.0.1:8000, unix:/run/app.sock".
    pub fn urls(&self) -> String {
        let urls: Vec<String> = self
            .listeners
            .iter()
            .map(|listener| listener.url())
            .collect();
        urls.join(", ")
    }

    /// What the operator should know of it but what stops nothing.
    pub fn warnings(&self) -> Vec<String> {
        let mut warnings: Vec<String> = self
            .config
            .warnings
            .iter()
            .map(ToString::to_string)
            .collect();
        let bound = sockets::somaxconn().unwrap_or(u32::MAX);
        for listener in self
            .listeners
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
    pub fn adjust_listeners(&self) {
        for bind in &self.config.binds {
            let Some(listener) = self.listeners.iter().find(|l| l.is(bind)) else {
                continue;
            };
            if let Err(error) = listener.adjust(bind) {
                log::warn!("cannot change {}: {error}", listener.url());
            }
        }
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

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Failure {
        Failure::plain(error.to_string())
    }
}
