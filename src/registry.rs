//! What the program offers: applications and worker classes by name, and defaults of its own.
//!
//! It is filled in `main` and only emptied in a worker, which takes what it serves out of its own
//! copy. The master asks for names and never loads an application.

use ferricorn_apps::Mounts;
use ferricorn_base::conf::{Conf, MountConf};
use ferricorn_base::{App, BoxApp, Hooked, Worker};
use ferricorn_files::{Files, Options, Place, Sendfile};
use ferricorn_gateway::Gateway;
use ferricorn_gateway::cgi::{self, Cgi};
use ferricorn_sync::Sync;
use ferricorn_threads::Threads;

use crate::config::SENDFILE;

/// The classes that are built in, the default first.
const SYNC: &str = "sync";
const THREADS: &str = "threads";

/// Applications, worker classes, defaults.
#[derive(Default)]
pub struct Registry {
    apps: Vec<(String, Option<Box<dyn Entry>>)>,
    classes: Vec<(String, Option<Box<dyn Worker>>)>,
    defaults: Vec<(String, String)>,
    hooks: Hooked,
}

impl Registry {
    /// Offers an application; a second one of the same name takes its place.
    pub fn add_app(&mut self, name: &str, app: impl App) {
        self.apps.retain(|(other, _)| other != name);
        self.apps.push((name.to_owned(), Some(Box::new(app))));
    }

    /// Offers a worker class under its own name.
    pub fn add_class(&mut self, class: impl Worker) {
        let name = class.name().to_owned();
        self.classes.retain(|(other, _)| *other != name);
        self.classes.push((name, Some(Box::new(class))));
    }

    /// Runs these at the turns of the server's life.
    pub fn set_hooks(&mut self, hooks: Hooked) {
        self.hooks = hooks;
    }

    /// What the program does at the turns of the server's life.
    pub fn hooks(&self) -> &Hooked {
        &self.hooks
    }

    /// The names of the applications, the default first.
    pub fn apps(&self) -> Vec<&str> {
        self.apps.iter().map(|(name, _)| name.as_str()).collect()
    }

    /// The names of the classes, the default first.
    pub fn classes(&self) -> Vec<&str> {
        let mut names: Vec<&str> = self.classes.iter().map(|(name, _)| name.as_str()).collect();
        // A program that has only classes of its own has no use for those that are built in.
        if !self.apps.is_empty() {
            let missing = [SYNC, THREADS].into_iter();
            let missing: Vec<&str> = missing.filter(|name| !names.contains(name)).collect();
            names.splice(0..0, missing);
        }
        names
    }

    /// Gives a setting another default.
    pub fn set_default(&mut self, setting: &str, value: &str) {
        self.defaults.push((setting.to_owned(), value.to_owned()));
    }

    /// The settings with defaults of the program's own; a later one of the same name counts.
    pub fn defaults(&self) -> Vec<(&str, &str)> {
        let given = self
            .defaults
            .iter()
            .map(|(name, value)| (&**name, &**value));
        // A program without the built-in class serves with its own.
        let class = self.classes().first().map(|name| ("worker-class", *name));
        class.into_iter().chain(given).collect()
    }

    /// Whether a worker could be made for this configuration. In the master.
    ///
    /// # Errors
    /// Why not.
    pub fn check(&self, conf: &Conf) -> Result<(), String> {
        if let Some((name, class)) = self.class(conf) {
            let checked = class.as_ref().map_or(Ok(()), |class| class.check(conf));
            return checked.map_err(|error| format!("worker class {name}: {error:#}"));
        }
        if ![SYNC, THREADS].contains(&&*conf.worker_class) {
            return Err(format!(
                "worker class {}: there is none of this name",
                conf.worker_class
            ));
        }
        for (n, mount) in conf.mounts.iter().enumerate() {
            if named(mount, conf).transpose()?.is_some() {
                continue;
            }
            places(mount)?;
            let registered = self.apps.iter().any(|(name, _)| *name == mount.app);
            if !registered {
                return Err(format!(
                    "mount {}: there is no app {}",
                    mount.prefix, mount.app
                ));
            }
            if conf.mounts[..n].iter().any(|other| other.app == mount.app) {
                let (prefix, app) = (&mount.prefix, &mount.app);
                return Err(format!(
                    "mount {prefix}: app {app} is mounted elsewhere already"
                ));
            }
        }
        Ok(())
    }

    /// Takes out what a worker of this configuration runs. In the worker.
    ///
    /// # Errors
    /// As [`Registry::check`].
    pub fn take(&mut self, conf: &Conf) -> Result<Box<dyn Worker>, String> {
        self.check(conf)?;
        let wanted = &conf.worker_class;
        let gone = || "it was taken before".to_owned();
        if let Some((_, class)) = self.classes.iter_mut().find(|(name, _)| name == wanted) {
            return class.take().ok_or_else(gone);
        }
        let mut entry = |mount: &MountConf| match named(mount, conf).transpose()? {
            Some(entry) => Ok(entry),
            None => {
                let found = self.apps.iter_mut().find(|(name, _)| *name == mount.app);
                found.and_then(|(_, entry)| entry.take()).ok_or_else(gone)
            }
        };
        if let [only] = &conf.mounts[..] {
            if only.prefix == "/" && only.timeout.is_none() && places(only)?.is_empty() {
                return Ok(entry(only)?.worker(wanted));
            }
        }
        let mut mounts = Mounts::new();
        for mount in &conf.mounts {
            let app = match places(mount)? {
                none if none.is_empty() => entry(mount)?.erased(),
                places => BoxApp::new(Sendfile::new(entry(mount)?.erased(), places)),
            };
            let added = mounts.add(&mount.prefix, app);
            added.map_err(|error| format!("{error:#}"))?;
            if let Some(time) = mount.timeout {
                mounts.set_timeout(&mount.prefix, time);
            }
        }
        Ok(built_in(wanted, mounts))
    }

    fn class(&self, conf: &Conf) -> Option<&(String, Option<Box<dyn Worker>>)> {
        self.classes
            .iter()
            .find(|(name, _)| *name == conf.worker_class)
    }
}

impl std::fmt::Debug for Registry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Registry")
            .field("apps", &self.apps())
            .field("classes", &self.classes())
            .finish()
    }
}

/// An application that is named by what it serves: `SCHEME:REST`.
fn named(mount: &MountConf, conf: &Conf) -> Option<Result<Box<dyn Entry>, String>> {
    if let Some(files) = files(mount) {
        return Some(files.map(|files| Box::new(files) as Box<dyn Entry>));
    }
    if let Some(programs) = programs(mount) {
        return Some(programs.map(|programs| Box::new(programs) as Box<dyn Entry>));
    }
    let gateway = gateway(mount, conf)?;
    Some(gateway.map(|gateway| Box::new(gateway) as Box<dyn Entry>))
}

/// A back end, if that is what is mounted.
fn gateway(mount: &MountConf, conf: &Conf) -> Option<Result<Gateway, String>> {
    let mut gateway = match Gateway::parse(&mount.app)? {
        Ok(gateway) => gateway,
        Err(error) => return Some(Err(error)),
    };
    for (name, values) in &mount.options {
        let values: Vec<&str> = values.iter().map(String::as_str).collect();
        if let Err(error) = gateway.options_mut().set(name, &values) {
            return Some(Err(format!("mount {}: {name}: {error}", mount.prefix)));
        }
    }
    gateway.set_timeout(mount.timeout.unwrap_or(conf.deadlines.request));
    Some(Ok(gateway))
}

/// The application `cgi:DIR_OR_PROGRAM`, if that is what is mounted.
fn programs(mount: &MountConf) -> Option<Result<Cgi, String>> {
    let path = mount.app.strip_prefix("cgi:")?;
    let mut options = cgi::Options::default();
    for (name, values) in &mount.options {
        let values: Vec<&str> = values.iter().map(String::as_str).collect();
        if let Err(error) = options.set(name, &values) {
            return Some(Err(format!("mount {}: {name}: {error}", mount.prefix)));
        }
    }
    Some(Ok(Cgi::new(path, options, mount.timeout)))
}

/// The application `static:DIR`, if that is what is mounted.
fn files(mount: &MountConf) -> Option<Result<Files, String>> {
    let directory = mount.app.strip_prefix("static:")?;
    let mut options = Options::default();
    for (name, values) in &mount.options {
        let values: Vec<&str> = values.iter().map(String::as_str).collect();
        if let Err(error) = options.set(name, &values) {
            return Some(Err(format!("mount {}: {name}: {error}", mount.prefix)));
        }
    }
    Some(Ok(Files::new(directory, options)))
}

/// Where the files are that the application may answer with.
fn places(mount: &MountConf) -> Result<Vec<Place>, String> {
    let said = mount.options.iter().filter(|(name, _)| name == SENDFILE);
    let places = said.flat_map(|(_, places)| places);
    places
        .map(|place| Place::parse(place))
        .collect::<Result<_, _>>()
        .map_err(|error| format!("mount {}: {SENDFILE}: {error}", mount.prefix))
}

/// An application in a class that is built in.
fn built_in(class: &str, app: impl App) -> Box<dyn Worker> {
    if class == THREADS {
        Box::new(Threads::new(app))
    } else {
        Box::new(Sync::new(app))
    }
}

/// An application that can still be served with its type known.
trait Entry {
    /// Alone, by this built-in class: no call goes through a table.
    fn worker(self: Box<Self>, class: &str) -> Box<dyn Worker>;
    /// Among others.
    fn erased(self: Box<Self>) -> BoxApp;
}

impl<A: App> Entry for A {
    fn worker(self: Box<Self>, class: &str) -> Box<dyn Worker> {
        built_in(class, *self)
    }

    fn erased(self: Box<Self>) -> BoxApp {
        BoxApp::new(*self)
    }
}

#[cfg(test)]
mod tests {
    use ferricorn_apps::{Echo, Hello};
    use ferricorn_base::{Context, Exit};

    use super::*;

    struct Own;

    impl Worker for Own {
        fn name(&self) -> &'static str {
            "own"
        }

        fn load(&mut self) -> Result<(), ferricorn_base::Error> {
            Ok(())
        }

        fn run(self: Box<Self>, _: Context) -> Exit {
            Exit::Done
        }
    }

    fn conf(class: &str, mounts: &[(&str, &str)]) -> Conf {
        let mount = |(prefix, app): &(&str, &str)| MountConf {
            prefix: (*prefix).to_owned(),
            app: (*app).to_owned(),
            timeout: None,
            options: Vec::new(),
        };
        Conf {
            worker_class: class.to_owned(),
            mounts: mounts.iter().map(mount).collect(),
            ..Conf::default()
        }
    }

    fn registry() -> Registry {
        let mut registry = Registry::default();
        registry.add_app("hello", Hello);
        registry.add_app("echo", Echo);
        registry
    }

    #[test]
    fn names_come_with_the_default_first() {
        let mut registry = registry();
        assert_eq!(registry.apps(), ["hello", "echo"]);
        assert_eq!(registry.classes(), ["sync", "threads"]);
        registry.add_class(Own);
        assert_eq!(registry.classes(), ["sync", "threads", "own"]);
        let mut only = Registry::default();
        only.add_class(Own);
        assert_eq!(only.classes(), ["own"]);
        assert_eq!(only.defaults(), [("worker-class", "own")]);
    }

    #[test]
    fn a_class_is_found_by_its_name() {
        let mut registry = registry();
        registry.add_class(Own);
        let class = |registry: &mut Registry, class: &str, mounts: &[(&str, &str)]| {
            registry
                .take(&conf(class, mounts))
                .map(|class| class.name())
        };
        assert_eq!(class(&mut registry, "own", &[]), Ok("own"));
        assert_eq!(class(&mut registry, "sync", &[("/", "hello")]), Ok("sync"));
        assert!(class(&mut registry, "gevent", &[]).is_err());
    }

    #[test]
    fn files_are_served_without_being_registered() {
        let mut registry = registry();
        let mut conf = conf("threads", &[("/", "static:/"), ("/tmp", "static:/tmp")]);
        assert_eq!(
            registry.take(&conf).map(|class| class.name()),
            Ok("threads")
        );
        conf.mounts.truncate(1);
        assert_eq!(
            registry.take(&conf).map(|class| class.name()),
            Ok("threads")
        );
        conf.mounts[0].options = vec![("listing".to_owned(), vec!["perhaps".to_owned()])];
        assert!(
            registry
                .check(&conf)
                .unwrap_err()
                .contains("mount /: listing:")
        );
    }

    #[test]
    fn mounts_are_checked_before_any_worker_is_made() {
        let registry = registry();
        let check = |mounts: &[(&str, &str)]| registry.check(&conf("sync", mounts));
        assert!(check(&[("/", "hello"), ("/echo", "echo")]).is_ok());
        assert!(
            check(&[("/", "nothing")])
                .unwrap_err()
                .contains("no app nothing")
        );
        assert!(
            check(&[("/", "echo"), ("/b", "echo")])
                .unwrap_err()
                .contains("elsewhere")
        );
    }
}
