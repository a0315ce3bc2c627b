//! From raw values to a checked configuration: the second phase, and the only one that looks at
//! the system.
//!
//! Every value is checked, and everything that is wrong is reported; a wrong value leaves its
//! field at the default, and the configuration is thrown away at the end.

use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use ferricorn_base::Networks;
use ferricorn_base::access::AccessFormat;
use ferricorn_base::logs::journal;
use ferricorn_base::trust::ForwardedFields;

use super::class;
use super::lists::{fields, names, pairs};
use super::print::Shown;
use super::raw::{Given, Raw, Values};
use super::{Address, Bind, Config, ConfigError, Destination, Group, Known, Names, Origin, User};
use crate::control::Place;
use crate::settings::value::{self, quote};
use crate::settings::{self, Kind, Scope, Setting};
use crate::{cpus, syslog};

/// Checks values and puts them into a configuration.
pub(super) struct Checker<'a> {
    pub(super) known: &'a Known<'a>,
    pub(super) names: &'a Names,
    pub(super) config: Config,
    pub(super) errors: Vec<ConfigError>,
}

/// What a value comes to: how it stands in a file, and a remark.
type Applied = Result<(String, Option<String>), String>;

impl Checker<'_> {
    /// Checks every setting except those that become listeners and mounts.
    pub(super) fn settings(&mut self, given: &Values, defaults: &Values) {
        // Other paths start in the directory that this one names.
        let (first, rest): (Vec<_>, Vec<_>) =
            settings::all().partition(|setting| setting.name == "chdir");
        for setting in first.into_iter().chain(rest) {
            if matches!(
                setting.kind,
                Kind::File | Kind::Binds | Kind::App | Kind::Mounts
            ) {
                continue;
            }
            let value = given.get(setting.name).or(defaults.get(setting.name));
            let shown = match value {
                Some(value) => self.setting(setting, value),
                None => Shown::absent(setting),
            };
            self.config.shown.push(shown);
        }
    }

    /// Checks one value and puts it where it goes.
    pub(super) fn setting(&mut self, setting: &'static Setting, given: &Given) -> Shown {
        let (literal, note) = match self.apply(setting, given) {
            Ok(applied) => applied,
            Err(message) => {
                self.wrong(setting.name, &given.origin, message);
                Default::default()
            }
        };
        Shown {
            note,
            ..Shown::new(setting.name, literal, &given.origin)
        }
    }

    /// Reports a wrong value. An option or variable names itself; in a file the key is named.
    pub(super) fn wrong(&mut self, name: &str, origin: &Origin, message: String) {
        self.errors.push(named(name, origin, message));
    }

    fn apply(&mut self, setting: &Setting, given: &Given) -> Applied {
        let raw = &given.raw;
        let wrong = || format!("expected {}, found {raw}", setting.kind.expected());
        let measure = || raw.measure().ok_or_else(wrong);
        let config = &mut self.config;
        let literal = match setting.kind {
            Kind::Switch(set) => {
                let yes = match raw {
                    Raw::Boolean(yes) => Some(*yes),
                    Raw::Word(word) => word.to_str().and_then(value::switch),
                    _ => None,
                };
                let yes = yes.ok_or_else(wrong)?;
                set(config, yes);
                yes.to_string()
            }
            Kind::Number { least, most, set } => {
                let number = raw
                    .number()
                    .filter(|number| (least..=most).contains(number));
                let number = number.ok_or_else(wrong)?;
                set(config, number);
                number.to_string()
            }
            Kind::Workers(set) => {
                let text = measure()?;
                if text == "auto" {
                    let number = cpus::available().min(value::MOST_WORKERS);
                    set(config, Some(number));
                    return Ok((quote("auto"), Some(format!("{number} here"))));
                }
                let number = value::number(&text).and_then(|number| usize::try_from(number).ok());
                let number = number.filter(|number| (1..=value::MOST_WORKERS).contains(number));
                let number = number.ok_or_else(wrong)?;
                set(config, Some(number));
                number.to_string()
            }
            Kind::Share(set) => {
                let text = measure()?;
                set(config, value::share(&text).ok_or_else(wrong)?);
                if text.ends_with('%') {
                    quote(&text)
                } else {
                    text
                }
            }
            Kind::Size { least, set } => {
                let bytes = value::size(&measure()?).filter(|bytes| *bytes >= least);
                let bytes = bytes.ok_or_else(wrong)?;
                set(config, bytes);
                value::show_size(bytes)
            }
            Kind::Time { zero, set } => {
                let time = value::time(&measure()?).filter(|time| zero || !time.is_zero());
                let time = time.ok_or_else(wrong)?;
                set(config, time);
                value::show_time(time)
            }
            Kind::Mode(set) => {
                // 660 without quotes is a decimal number; taken for octal it would surprise.
                let text = match raw {
                    Raw::Integer { written, .. } if written.starts_with("0o") => {
                        Some(written.as_str())
                    }
                    other => other.text(),
                };
                let mode = text.and_then(value::mode).ok_or_else(wrong)?;
                set(config, mode);
                format!("\"{mode:04o}\"")
            }
            Kind::Text(set) => {
                let text = raw
                    .text()
                    .filter(|text| !text.chars().any(char::is_control));
                let text = text.ok_or_else(wrong)?;
                set(config, text.to_owned());
                quote(text)
            }
            Kind::Field(set) => {
                let printable = |text: &&str| text.bytes().all(|byte| matches!(byte, b' '..=b'~'));
                let text = raw.text().filter(printable).ok_or_else(wrong)?.trim();
                set(config, text.to_owned());
                quote(text)
            }
            Kind::Format(set) => {
                let text = raw.text().ok_or_else(wrong)?;
                AccessFormat::compile(text)
                    .map_err(|error| format!("byte {}: {}", error.position, error.reason))?;
                set(config, text.to_owned());
                quote(text)
            }
            Kind::Choice(choices, set) => {
                let word = raw.text().ok_or_else(wrong)?;
                if !choices.contains(&word) {
                    return Err(wrong() + &did_you_mean(word, choices));
                }
                set(config, word);
                quote(word)
            }
            Kind::Class(set) => {
                let classes = self.known.classes;
                let class = class::named(raw.text().ok_or_else(wrong)?, classes);
                if !classes.contains(&class) {
                    let hint = did_you_mean(class, classes);
                    return Err(format!(
                        "unknown worker class {raw}, expected one of {}{hint}",
                        classes.join(", ")
                    ));
                }
                set(config, class.to_owned());
                quote(class)
            }
            Kind::Path(set) => {
                let path = absolute(&config.directory, raw).map_err(|()| wrong())?;
                let literal = show_path(path.as_deref());
                set(config, path);
                literal
            }
            Kind::Paths(set) => {
                let items = given.items().iter();
                let paths = items.map(|item| {
                    let odd =
                        |()| format!("expected {}, found {}", setting.kind.expected(), item.raw);
                    absolute(&config.directory, &item.raw).map_err(odd)
                });
                let paths: Vec<PathBuf> = paths
                    .filter_map(Result::transpose)
                    .collect::<Result<_, _>>()?;
                if let Some(path) = paths.iter().find(|path| path.is_dir()) {
                    return Err(format!("\"{}\" is a directory", path.display()));
                }
                let literals = paths.iter().map(|path| show_path(Some(path)));
                let literal = format!("[{}]", literals.collect::<Vec<_>>().join(", "));
                set(config, paths);
                literal
            }
            Kind::Directory(set) => {
                let path = absolute(&config.directory, raw).map_err(|()| wrong())?;
                // A built-in default that does not exist is a matter of its first use.
                if let (Some(path), true) = (&path, given.origin != Origin::Default) {
                    is_directory(path)?;
                }
                let literal = show_path(path.as_deref());
                set(config, path);
                literal
            }
            Kind::Log(set) => {
                let path = absolute(&config.directory, raw).map_err(|()| wrong())?;
                let text = raw.text().unwrap_or_default();
                let (literal, destination) = match (text, text.strip_prefix("journald:")) {
                    ("-", _) => (quote(text), Some(Destination::Standard)),
                    ("auto", _) => (quote(text), Some(Destination::Auto)),
                    ("journald", _) => {
                        let socket = Destination::Journal(journal::SOCKET.into());
                        (quote(text), Some(socket))
                    }
                    (_, Some("")) => return Err(wrong()),
                    (_, Some(path)) => {
                        let path = config.directory.join(path);
                        let literal = quote(&format!("journald:{}", path.display()));
                        (literal, Some(Destination::Journal(path)))
                    }
                    _ => (show_path(path.as_deref()), path.map(Destination::File)),
                };
                set(config, destination);
                literal
            }
            Kind::Syslog(set) => {
                let text = raw.text().ok_or_else(wrong)?;
                set(config, syslog::parse(text)?);
                quote(text)
            }
            Kind::Control(set) => {
                let place = control(&config.directory, raw).ok_or_else(wrong)?;
                let literal = match &place {
                    Place::Auto => quote("auto"),
                    Place::Nowhere => quote("none"),
                    Place::At(path) => show_path(Some(path)),
                };
                set(config, place);
                literal
            }
            Kind::User(set) => {
                let text = raw.measure().ok_or_else(wrong)?;
                set(config, user(&text)?);
                quote(&text)
            }
            Kind::Group(set) => {
                let text = raw.measure().ok_or_else(wrong)?;
                set(config, group(&text)?);
                quote(&text)
            }
            Kind::Networks(set) => {
                let networks = Networks::parse(names(given).map_err(|()| wrong())?)?;
                let literal = quote(&networks.to_string());
                set(config, networks);
                literal
            }
            Kind::Names(_, set) => {
                let names = names(given).map_err(|()| wrong())?;
                set(config, &names)?;
                quote(&names.join(","))
            }
            Kind::Fields(set) => {
                let fields = fields(given)?;
                let literals = fields
                    .iter()
                    .map(|(name, value)| format!("{} = {}", quote(name), quote(value)));
                let literal = match literals.collect::<Vec<_>>().join(", ") {
                    none if none.is_empty() => "{}".to_owned(),
                    some => format!("{{ {some} }}"),
                };
                set(config, fields);
                literal
            }
            Kind::Pairs(set) => {
                let pairs = pairs(given)
                    .map_err(|odd| format!("expected {}, found {odd}", setting.kind.expected()))?;
                let literals = pairs.iter().map(|(name, value)| {
                    quote(&format!(
                        "{}={}",
                        name.to_string_lossy(),
                        value.to_string_lossy()
                    ))
                });
                let literal = format!("[{}]", literals.collect::<Vec<_>>().join(", "));
                set(config, pairs);
                literal
            }
            Kind::Addresses(set) => {
                let items = given.items().iter().filter(|item| !item.raw.is_empty());
                let binds = items.map(|item| {
                    Ok(Bind {
                        text: item.raw.text().unwrap_or_default().to_owned(),
                        address: self.address(item)?,
                        origin: item.origin.clone(),
                        ..Config::default().listener
                    })
                });
                let binds = binds.collect::<Result<Vec<_>, String>>()?;
                let literals: Vec<String> = binds.iter().map(|bind| quote(&bind.text)).collect();
                set(&mut self.config, binds);
                format!("[{}]", literals.join(", "))
            }
            Kind::File | Kind::Binds | Kind::App | Kind::Mounts => String::new(),
        };
        Ok((literal, None))
    }

    /// Checks what settings say of one another, and fills what follows from several.
    pub(super) fn together(&mut self) {
        let config = &mut self.config;
        let mut errors = Vec::new();
        match config.syslog_settings.resolve(config, self.names) {
            Ok(syslog) => config.syslog = syslog,
            Err(reason) => errors.push(config.named("syslog-addr", &reason)),
        }
        let statsd = config
            .statsd_settings
            .resolve(&config.directory, self.names);
        match statsd {
            Ok(statsd) => config.conf.statsd = statsd,
            Err((name, reason)) => errors.push(config.named(name, &reason)),
        }
        let to_syslog = config.syslog.as_ref().is_some_and(|syslog| syslog.access);
        if config.access_log.is_none() && !to_syslog {
            config.conf.access_format = None;
        }
        let mut warnings = Vec::new();
        let origin = |name: &str| config.origin(name);
        let note = |name: &str, message: &str| config.named(name, message);
        let limits = &config.conf.limits;
        for (name, size) in [
            ("limit-request-line", limits.request_line),
            ("limit-request-field-size", limits.field_size),
        ] {
            let head = "limit-request-head";
            if size > limits.head {
                errors.push(match origin(head) {
                    Origin::Default => note(name, &format!("larger than {head}, never reached")),
                    _ => note(head, &format!("smaller than {name}, which is {size}")),
                });
            }
        }
        let is_path =
            |path: &str| path.starts_with('/') && path.bytes().all(|byte| byte.is_ascii_graphic());
        if config
            .reload_check_path
            .as_deref()
            .is_some_and(|path| !is_path(path))
        {
            let text = "expected a path such as /health, percent-encoded";
            errors.push(note("reload-check-path", text));
        }
        if let Some(path) = &config.conf.readiness_path {
            if !is_path(path) || path.contains(['?', '#']) {
                let text = "expected a path such as /ready, percent-encoded and without a query";
                errors.push(note("readiness-path", text));
            }
        }
        let at_control = |bind: &&Bind| match (&bind.address, &config.control) {
            (Address::Unix(path), Place::At(control)) => path == control,
            _ => false,
        };
        let mut binds = config.binds.iter().chain(&config.metrics_binds);
        if let Some(bind) = binds.find(at_control) {
            let text = format!("the same as {} {}", bind.setting(), bind.text);
            errors.push(note("control-socket", &text));
        }
        if config.initgroups && config.user.is_none() {
            errors.push(note("initgroups", "needs user"));
        }
        if config.conf.max_requests == 0 && config.conf.max_requests_jitter > 0 {
            warnings.push(note(
                "max-requests-jitter",
                "has no effect without max-requests",
            ));
        }
        let (least, most) = (config.min_workers, config.max_workers);
        if least > most && most > 0 {
            let message = format!("more than max-workers, which is {most}");
            errors.push(note("min-workers", &message));
        }
        // What there is at the start lies between them.
        let most = if most > 0 { most } else { usize::MAX };
        let workers = config.workers.min(most).max(least);
        let recycling = &config.recycling;
        for (name, jitter, without) in [
            (
                "max-lifetime",
                "max-lifetime-jitter",
                recycling.lifetime.is_zero() && !recycling.lifetime_jitter.is_zero(),
            ),
            (
                "max-memory",
                "max-memory-jitter",
                recycling.memory == 0 && recycling.memory_jitter > 0,
            ),
        ] {
            if without {
                let message = format!("has no effect without {name}");
                warnings.push(note(jitter, &message));
            }
        }
        let (memory, hard) = (recycling.memory, recycling.memory_hard);
        if hard > 0 && memory >= hard {
            let message = "not less than max-memory-hard, never reached";
            warnings.push(note("max-memory", message));
        }
        if config.daemon && config.error_log == Destination::Standard {
            warnings.push(note("daemon", "the error log is lost; set error-logfile"));
        }
        if config.daemon && config.access_log == Some(Destination::Standard) {
            warnings.push(note("daemon", "the access log is lost; set access-logfile"));
        }
        for bind in &config.binds {
            if bind.proxy_protocol.is_some() && bind.proxy_allow_from.is_empty() {
                let message = "nobody begins with a PROXY header: proxy-allow-from is empty";
                warnings.push(named("bind", &bind.origin, message.to_owned()));
            }
        }
        // The default must be no way around what the proxies are said to write.
        let by_proto = matches!(config.conf.trust.fields, ForwardedFields::X(x) if x.proto);
        let schemes = "secure-scheme-headers";
        if !by_proto && origin(schemes) == Origin::Default {
            config.conf.trust.schemes.clear();
            let why = "none, as forwarded-fields has no x-forwarded-proto";
            config.show_as(schemes, "{}".to_owned(), why);
        }
        config.workers = workers;
        config.conf.workers = workers;
        config.warnings.extend(warnings);
        self.errors.extend(errors);
    }
}

impl Config {
    /// Where a setting was given.
    fn origin(&self, name: &str) -> Origin {
        let shown = self.shown.iter().find(|shown| shown.name == name);
        shown.map_or(Origin::Default, |shown| shown.origin.clone())
    }

    /// Shows another value than was given, which follows from others.
    pub(super) fn show_as(&mut self, name: &str, literal: String, why: &str) {
        let mut shown = self.shown.iter_mut();
        if let Some(shown) = shown.find(|shown| shown.name == name) {
            shown.literal = literal;
            shown.note = Some(why.to_owned());
        }
    }

    /// Something to say of a setting.
    pub(super) fn named(&self, name: &str, message: &str) -> ConfigError {
        named(name, &self.origin(name), message.to_owned())
    }

    /// What the server is called in logs that several programs share.
    pub(crate) fn identifier(&self) -> String {
        match &self.proc_name {
            Some(name) => format!("ferricorn.{name}"),
            None => "ferricorn".to_owned(),
        }
    }
}

fn named(name: &str, origin: &Origin, message: String) -> ConfigError {
    let message = match origin {
        Origin::CommandLine(_) | Origin::Environment(_) => message,
        Origin::File(..) | Origin::Default => format!("{name}: {message}"),
    };
    ConfigError {
        origin: origin.clone(),
        message,
    }
}

/// The settings that a listener may have of its own.
pub(super) fn listener_settings() -> impl Iterator<Item = &'static Setting> {
    settings::all()
        .filter(|setting| setting.scope == Scope::Listener && !matches!(setting.kind, Kind::Binds))
}

fn did_you_mean(word: &str, choices: &[&str]) -> String {
    match settings::nearest(word, choices.iter().copied()) {
        Some(near) => format!("; did you mean \"{near}\"?"),
        None => String::new(),
    }
}

/// Where a control socket is to be.
pub(crate) fn control(directory: &Path, raw: &Raw) -> Option<Place> {
    match raw.text() {
        Some("auto") => Some(Place::Auto),
        Some("none") => Some(Place::Nowhere),
        _ => Some(
            absolute(directory, raw)
                .ok()?
                .map_or(Place::Nowhere, Place::At),
        ),
    }
}

/// A path made absolute; `None` for an empty one.
fn absolute(directory: &Path, raw: &Raw) -> Result<Option<PathBuf>, ()> {
    let path = raw.os().ok_or(())?;
    if path.as_bytes().contains(&0) {
        return Err(());
    }
    Ok((!path.is_empty()).then(|| directory.join(path)))
}

fn show_path(path: Option<&Path>) -> String {
    quote(&path.unwrap_or(Path::new("")).to_string_lossy())
}

pub(super) fn is_directory(path: &Path) -> Result<(), String> {
    match std::fs::metadata(path) {
        Ok(found) if found.is_dir() => Ok(()),
        Ok(_) => Err(format!("\"{}\" is not a directory", path.display())),
        Err(error) => Err(format!("cannot use \"{}\": {error}", path.display())),
    }
}

/// Whether anybody may execute it: who will is not known here.
pub(super) fn is_executable(path: &Path) -> Result<(), String> {
    use std::os::unix::fs::PermissionsExt;
    match std::fs::metadata(path) {
        Ok(found) if found.permissions().mode() & 0o111 != 0 => Ok(()),
        Ok(_) => Err(format!("\"{}\" is not executable", path.display())),
        Err(error) => Err(format!("cannot use \"{}\": {error}", path.display())),
    }
}

/// Looks an account up, by name or number (getpwnam(3)).
fn user(text: &str) -> Result<Option<User>, String> {
    if text.is_empty() {
        return Ok(None);
    }
    let uid = value::number(text).and_then(|uid| u32::try_from(uid).ok());
    let found = match uid {
        Some(uid) => nix::unistd::User::from_uid(uid.into()),
        None => nix::unistd::User::from_name(text),
    };
    let found = found.map_err(|error| format!("cannot look up the user \"{text}\": {error}"))?;
    let uid = uid.or(found.as_ref().map(|found| found.uid.as_raw()));
    Ok(Some(User {
        text: text.to_owned(),
        uid: uid.ok_or_else(|| format!("unknown user \"{text}\""))?,
        gid: found.as_ref().map(|found| found.gid.as_raw()),
        name: found.map(|found| found.name),
    }))
}

/// Looks a group up, by name or number (getgrnam(3)).
fn group(text: &str) -> Result<Option<Group>, String> {
    if text.is_empty() {
        return Ok(None);
    }
    let gid = match value::number(text).and_then(|gid| u32::try_from(gid).ok()) {
        Some(gid) => Some(gid),
        None => nix::unistd::Group::from_name(text)
            .map_err(|error| format!("cannot look up the group \"{text}\": {error}"))?
            .map(|found| found.gid.as_raw()),
    };
    let gid = gid.ok_or_else(|| format!("unknown group \"{text}\""))?;
    Ok(Some(Group {
        text: text.to_owned(),
        gid,
    }))
}
