//! Listeners and mounts: the settings that come in numbers, each with settings of its own.

use ferricorn_base::conf::{ListenerConf, LocalAddr, MountConf, ProxyListener};

use super::check::{Checker, is_directory, is_executable, listener_settings};
use super::print::Shown;
use super::raw::{Given, Raw, Values};
use super::{Address, Bind, Origin, apps, file, options};
use crate::address;
use crate::settings::value::{self, quote};
use crate::settings::{self, Kind};

/// An application, its prefix, where it was given, and how its options are printed.
type Candidate = (MountConf, Origin, Vec<Shown>);

impl Checker<'_> {
    /// Makes the listeners, from `bind` and from the `[[listen]]` tables of the file. The command
    /// line and the environment replace both.
    pub(super) fn listeners(&mut self, given: &Values, defaults: &Values, listens: &[Given]) {
        let bind = given.get("bind");
        let listens = if bind.is_some_and(Given::above_file) {
            &[]
        } else {
            listens
        };
        let default = defaults.get("bind").filter(|_| listens.is_empty());
        let mut literals = Vec::new();
        let bind = bind.or(default);
        for item in bind.map(Given::items).unwrap_or_default() {
            literals.push(quote(item.raw.text().unwrap_or_default()));
            self.bind(item);
        }
        if let Some(bind) = bind {
            let literal = format!("[{}]", literals.join(", "));
            self.config
                .shown
                .push(Shown::new("bind", literal, &bind.origin));
        }
        for listen in listens {
            let Raw::Table(entries) = &listen.raw else {
                continue;
            };
            self.listen(given, &listen.origin, entries);
        }
        if let (Some(bind), true) = (bind, listens.is_empty() && literals.is_empty()) {
            self.wrong(
                "bind",
                &bind.origin,
                "expected at least one address".to_owned(),
            );
        }
        self.metrics_binds();
        self.distinct();
        self.config.conf.listeners = self.config.binds.iter().map(Bind::conf).collect();
    }

    /// One `[[listen]]` table. What the command line or the environment says for all listeners
    /// outranks it.
    fn listen(&mut self, given: &Values, origin: &Origin, entries: &[(String, Given)]) {
        let mut shown = Vec::new();
        let all = self.config.listener.clone();
        let mut bind = None;
        for (name, value) in entries {
            if name == "bind" {
                bind = Some(value);
                continue;
            }
            let Some(setting) = listener_settings().find(|setting| setting.name == name) else {
                let mut keys = vec!["bind"];
                keys.extend(listener_settings().map(|setting| setting.name));
                let message = file::misplaced(name, "listen", &keys);
                self.errors.push(super::ConfigError {
                    origin: value.origin.clone(),
                    message,
                });
                continue;
            };
            let outranked = given.get(setting.name).filter(|given| given.above_file());
            let own = self.setting(setting, value);
            match outranked {
                Some(value) => drop(self.setting(setting, value)),
                None => shown.push(own),
            }
        }
        match bind {
            Some(value) => {
                shown.insert(
                    0,
                    Shown::new(
                        "bind",
                        quote(value.raw.text().unwrap_or_default()),
                        &value.origin,
                    ),
                );
                self.bind(value);
            }
            None => self.errors.push(super::ConfigError {
                origin: origin.clone(),
                message: "[[listen]] without bind".to_owned(),
            }),
        }
        self.config.listener = all;
        self.config.listens.push(shown);
    }

    /// One address, with the settings of listeners as they are at the moment.
    fn bind(&mut self, given: &Given) {
        match self.address(given) {
            Ok(address) => self.config.binds.push(Bind {
                text: given.raw.text().unwrap_or_default().to_owned(),
                address,
                origin: given.origin.clone(),
                ..self.config.listener.clone()
            }),
            Err(message) => self.wrong("bind", &given.origin, message),
        }
    }

    /// What an address means.
    pub(super) fn address(&self, given: &Given) -> Result<Address, String> {
        let look_up = |name: &str, port: u16| self.names.look_up(name, port);
        let text = given.raw.text();
        let text = text.ok_or_else(|| format!("expected an address, found {}", given.raw))?;
        address::parse(text)?.resolve(&self.config.directory, &look_up)
    }

    /// The aide's listeners are what the workers' are by default, but that nobody is behind a proxy.
    fn metrics_binds(&mut self) {
        let listener = &self.config.listener;
        for bind in &mut self.config.metrics_binds {
            *bind = Bind {
                text: std::mem::take(&mut bind.text),
                address: bind.address.clone(),
                origin: bind.origin.clone(),
                proxy_protocol: None,
                for_aide: true,
                ..listener.clone()
            };
        }
    }

    /// Two listeners cannot have one address, unless the system chooses the port.
    fn distinct(&mut self) {
        let own = &self.config;
        let binds: Vec<Bind> = own
            .binds
            .iter()
            .chain(&own.metrics_binds)
            .cloned()
            .collect();
        for (index, bind) in binds.iter().enumerate() {
            let chosen = matches!(bind.address, Address::Tcp(address) if address.port() == 0);
            let earlier = binds[..index]
                .iter()
                .find(|other| other.address == bind.address);
            if let (false, Some(other)) = (chosen, earlier) {
                let message = match other.origin == bind.origin {
                    true => format!("\"{}\" is given twice", bind.text),
                    false => format!(
                        "\"{}\" is given twice, first at {}",
                        bind.text, other.origin
                    ),
                };
                self.wrong(bind.setting(), &bind.origin, message);
            }
        }
    }

    /// Makes the mounts, from `app` and the `mount` list of the highest source that has one. Where
    /// nothing is given, the program's first application answers everywhere.
    pub(super) fn mounts(&mut self, given: &Values) {
        let mut candidates: Vec<Candidate> = Vec::new();
        for item in given.get("mount").map(Given::items).unwrap_or_default() {
            match self.mount(item) {
                Ok((mount, shown)) => candidates.push((mount, item.origin.clone(), shown)),
                Err(Some(message)) => self.wrong("mount", &item.origin, message),
                Err(None) => {}
            }
        }
        let nothing = candidates.is_empty();
        let app = given
            .get("app")
            .filter(|given| !given.raw.is_empty())
            .cloned();
        let first = self.known.apps.first().filter(|_| nothing);
        let app = app.or(first.map(|first| Given::word(*first, Origin::Default)));
        let mut root = None;
        if let Some(app) = &app {
            match self.app(&app.raw) {
                Ok(name) => {
                    let mount = MountConf {
                        prefix: "/".to_owned(),
                        app: name,
                        timeout: None,
                        options: Vec::new(),
                    };
                    root = Some((mount, app.origin.clone(), Vec::new()));
                }
                Err(message) => self.wrong("app", &app.origin, message),
            }
        }
        candidates.extend(root.clone());
        let mounts = self.one_per_prefix(candidates);
        // A mount that outranks `app` leaves it without effect.
        let (app, tables): (Vec<&Candidate>, Vec<_>) = mounts
            .iter()
            .partition(|mount| root.as_ref() == Some(*mount));
        let shown = match app.first() {
            Some((mount, origin, _)) => Shown::new("app", quote(&mount.app), origin),
            None => Shown::new("app", quote(""), &Origin::Default),
        };
        self.config.shown.push(shown);
        for (mount, origin, options) in tables {
            let mut shown = vec![
                Shown::new("prefix", quote(&mount.prefix), origin),
                Shown::new("app", quote(&mount.app), origin),
            ];
            let timeout = mount.timeout.map(value::show_time);
            shown.extend(timeout.map(|time| Shown::new("timeout", time, origin)));
            shown.extend(options.iter().cloned());
            self.config.mounts.push(shown);
        }
        self.config.conf.mounts = mounts.into_iter().map(|(mount, ..)| mount).collect();
    }

    /// One mount: `PREFIX=APP` or a table. `Err(None)` when all is said already.
    fn mount(&mut self, given: &Given) -> Result<(MountConf, Vec<Shown>), Option<String>> {
        let expected = || {
            let kind = Kind::Mounts.expected();
            Some(format!("expected {kind}, found {}", given.raw))
        };
        if let Raw::Table(entries) = &given.raw {
            let (mut prefix, mut app, mut timeout) = (None, None, None);
            let mut others = Vec::new();
            for entry in entries {
                let (name, value) = entry;
                match name.as_str() {
                    "prefix" => prefix = Some(value),
                    "app" => app = Some(value),
                    "timeout" => timeout = Some(value),
                    _ => others.push(entry),
                }
            }
            let named = app.and_then(|app| app.raw.text()).unwrap_or_default();
            let said = options::read(named, &others, &self.config.directory);
            let said = said.map_err(|mut errors| self.errors.append(&mut errors));
            let (Some(prefix), Some(app)) = (prefix, app) else {
                return Err(Some("a mount has a prefix and an app".to_owned()));
            };
            let text = prefix.raw.text();
            let prefix_error = match text {
                Some(text) => apps::check_prefix(text).err(),
                None => Some(format!("expected a text, found {}", prefix.raw)),
            };
            let name = self.app(&app.raw);
            let time = timeout.map(|given| given.raw.measure().and_then(|text| value::time(&text)));
            if let (Some(given), Some(None)) = (timeout, time) {
                let message = format!("expected a time such as 30 or \"90s\", found {}", given.raw);
                self.wrong("timeout", &given.origin, message);
            }
            if let Some(message) = &prefix_error {
                self.wrong("prefix", &prefix.origin, message.clone());
            }
            if let Err(message) = &name {
                self.wrong("app", &app.origin, message.clone());
            }
            return match (prefix_error, text, name, said) {
                (None, Some(text), Ok(app), Ok(said)) if time != Some(None) => {
                    let mount = MountConf {
                        prefix: text.to_owned(),
                        app,
                        timeout: time.flatten(),
                        options: said.options,
                    };
                    Ok((mount, said.shown))
                }
                _ => Err(None),
            };
        }
        let (prefix, app) = given
            .raw
            .text()
            .and_then(|text| text.split_once('='))
            .ok_or_else(expected)?;
        apps::check_prefix(prefix)?;
        let app = self.app(&Raw::Text(app.to_owned()))?;
        let mount = MountConf {
            prefix: prefix.to_owned(),
            app,
            timeout: None,
            options: Vec::new(),
        };
        Ok((mount, Vec::new()))
    }

    fn app(&self, raw: &Raw) -> Result<String, String> {
        let app = raw
            .text()
            .ok_or_else(|| format!("expected {}, found {raw}", Kind::App.expected()))?;
        apps::check(app, self.known.apps)?;
        let (scheme, rest) = app.split_once(':').unwrap_or_default();
        if ["static", "cgi"].contains(&scheme) {
            let path = self.config.directory.join(rest);
            match scheme {
                "cgi" if path.is_file() => is_executable(&path)?,
                _ => is_directory(&path)?,
            }
            let path = path.to_str();
            let path = path.ok_or_else(|| "the working directory is not UTF-8".to_owned())?;
            return Ok(format!("{scheme}:{path}"));
        }
        Ok(app.to_owned())
    }

    fn one_per_prefix(&mut self, candidates: Vec<Candidate>) -> Vec<Candidate> {
        let rank = |origin: &Origin| match origin {
            Origin::Default => 0,
            Origin::File(..) => 1,
            Origin::Environment(_) => 2,
            Origin::CommandLine(_) => 3,
        };
        let mut mounts: Vec<Candidate> = Vec::new();
        for (mount, origin, shown) in candidates {
            let other = mounts
                .iter()
                .position(|(other, ..)| other.prefix == mount.prefix);
            let Some(other) = other else {
                mounts.push((mount, origin, shown));
                continue;
            };
            let first = mounts[other].1.clone();
            if rank(&first) == rank(&origin) {
                let message = format!("\"{}\" is mounted twice, first at {first}", mount.prefix);
                self.wrong("mount", &origin, message);
            } else if rank(&first) < rank(&origin) {
                mounts[other] = (mount, origin, shown);
            }
        }
        mounts
    }
}

impl Bind {
    /// The setting that it was given by.
    pub(super) fn setting(&self) -> &'static str {
        if self.for_aide {
            "metrics-bind"
        } else {
            "bind"
        }
    }

    /// Whose connections begin with a PROXY header, if any do.
    pub(crate) fn proxy(&self) -> Option<ProxyListener> {
        self.proxy_protocol.map(|versions| ProxyListener {
            versions,
            from: self.proxy_allow_from.clone(),
        })
    }

    /// What a worker is told of it before the socket is bound.
    fn conf(&self) -> ListenerConf {
        let local = match &self.address {
            Address::Tcp(address) => LocalAddr::Tcp(*address),
            Address::Unix(path) => LocalAddr::Unix(path.clone()),
            Address::Abstract(name) => LocalAddr::Unix(format!("@{name}").into()),
            Address::Fd(_) | Address::Passed(_) => LocalAddr::Unix(self.text.clone().into()),
        };
        ListenerConf {
            bind: self.text.clone(),
            local,
            proxy: self.proxy(),
        }
    }
}

/// Every setting of one listener as it is by default, for the documents.
pub(crate) fn listen_keys() -> Vec<&'static settings::Setting> {
    settings::find("bind")
        .into_iter()
        .chain(listener_settings())
        .collect()
}
