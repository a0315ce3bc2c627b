//! From a call to a configuration: the sources in their order, then the checks.

use std::ffi::OsStr;
use std::io;
use std::path::{Path, PathBuf};

use super::check::{self, Checker};
use super::print::Shown;
use super::raw::{self, Given, Raw, Values};
use super::{Call, Config, ConfigError, Known, Loaded, Origin, Refusal, file};
use crate::cli::{self, Asked};
use crate::control::Place;
use crate::{ctl, generate, settings, top};

/// Reads a file as text.
pub(super) type Reader<'a> = &'a dyn Fn(&Path) -> io::Result<String>;

pub(super) fn load(call: &Call, known: &Known<'_>, read: Reader<'_>) -> Result<Loaded, Refusal> {
    let line = match cli::parse(&call.arguments, known).map_err(Refusal::Usage)? {
        Asked::Values(values) => values,
        Asked::Artifact(artifact) => {
            let name = cli::program(&call.arguments);
            return Ok(Loaded::Generated(generate::text(artifact, &name, known)));
        }
        Asked::Ctl(asked, line) => {
            let place = socket(call, known, line, read);
            return Ok(Loaded::Ctl(Box::new(ctl::Call { place, ..asked })));
        }
        Asked::Top(asked, line) => {
            let place = socket(call, known, line, read);
            return Ok(Loaded::Top(Box::new(top::Call { place, ..asked })));
        }
    };
    let variables = raw::environment(&call.environment);
    let mut errors = Vec::new();
    let named = line.get("config").or(variables.get("config"));
    let place = place(named, &call.directory);
    let mut file = None;
    if let Some(path) = &place {
        match read_file(named, path, read) {
            Ok(found) => file = found,
            Err(error) => errors.push(error),
        }
    }
    let path = place.clone().filter(|_| file.is_some());
    let mut file = file.unwrap_or_default();
    errors.append(&mut file.errors);

    let mut given: Values = file.values;
    given.extend(variables);
    given.extend(line);
    errors.append(&mut raw::unknown(known));
    let defaults = raw::defaults(&call.environment, known);

    let mut config = Config {
        file: path,
        place,
        warnings: raw::misspelt(&call.environment),
        directory: call.directory.clone(),
        ..Config::default()
    };
    config
        .shown
        .push(shown_file(&given, config.file.as_deref()));
    let mut checker = Checker {
        known,
        names: &call.names,
        config,
        errors,
    };
    checker.settings(&given, &defaults);
    checker.listeners(&given, &defaults, &file.listens);
    checker.mounts(&given);
    checker.class();
    checker.together();

    let Checker {
        config, mut errors, ..
    } = checker;
    if errors.is_empty() {
        return Ok(Loaded::Config(Box::new(config)));
    }
    errors.sort_by(|one, other| one.origin.cmp(&other.origin));
    Err(Refusal::Errors(errors))
}

/// What the file is called: as it was named, else `ferricorn.toml`.
fn name(named: Option<&Given>) -> &Path {
    let name = named.map(|given| given.raw.os().unwrap_or_default());
    Path::new(name.unwrap_or(OsStr::new("ferricorn.toml")))
}

/// Where the file that counts is, if one is wanted.
fn place(named: Option<&Given>, directory: &Path) -> Option<PathBuf> {
    let wanted = named.is_none_or(|given| !given.raw.is_empty());
    wanted.then(|| directory.join(name(named)))
}

/// Where the server that has read this configuration has its control socket. Whatever else is wrong
/// with the configuration is for that server to say.
fn socket(call: &Call, known: &Known<'_>, line: Values, read: Reader<'_>) -> Place {
    let variables = raw::environment(&call.environment);
    let named = line.get("config").or(variables.get("config"));
    let file = place(named, &call.directory);
    let text = file.and_then(|path| read(&path).ok());
    let mut given = text.map(|text| file::peek(&text)).unwrap_or_default();
    given.extend(variables);
    given.extend(line);
    let directory = given.get("chdir").and_then(|given| given.raw.os());
    let directory = call.directory.join(directory.unwrap_or_default());
    let default = settings::find("control-socket").map(|setting| known.default_of(setting));
    let default = Raw::Word(default.unwrap_or_default().into());
    let raw = given
        .get("control-socket")
        .map_or(&default, |given| &given.raw);
    check::control(&directory, raw).unwrap_or(Place::Auto)
}

/// What the file gives. One that nobody named need not be there.
fn read_file(
    named: Option<&Given>,
    path: &Path,
    read: Reader<'_>,
) -> Result<Option<file::File>, ConfigError> {
    let name = name(named);
    match read(path) {
        Ok(text) => Ok(Some(file::parse(name, &text))),
        Err(error) if named.is_none() && error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(match named {
            Some(given) => ConfigError {
                origin: given.origin.clone(),
                message: format!("cannot read \"{}\": {error}", name.display()),
            },
            None => ConfigError {
                origin: Origin::File(name.to_owned(), 0),
                message: format!("cannot read it: {error}"),
            },
        }),
    }
}

fn shown_file(given: &Values, path: Option<&Path>) -> Shown {
    let origin = given
        .get("config")
        .map_or(Origin::Default, |given| given.origin.clone());
    let text = path.map(Path::to_string_lossy).unwrap_or_default();
    Shown::new("config", settings::value::quote(&text), &origin)
}
