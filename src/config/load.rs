//! From a call to a configuration: the sources in their order, then the checks.

use std::io;
use std::path::{Path, PathBuf};

use super::check::Checker;
use super::print::Shown;
use super::raw::{self, Given, Values};
use super::{Call, Config, ConfigError, Known, Loaded, Origin, Refusal, file};
use crate::cli::{self, Asked};
use crate::{generate, settings};

/// Reads a file as text.
pub(super) type Reader<'a> = &'a dyn Fn(&Path) -> io::Result<String>;

pub(super) fn load(call: &Call, known: &Known<'_>, read: Reader<'_>) -> Result<Loaded, Refusal> {
    let line = match cli::parse(&call.arguments, known).map_err(Refusal::Usage)? {
        Asked::Values(values) => values,
        Asked::Artifact(artifact) => {
            let name = cli::program(&call.arguments);
            return Ok(Loaded::Generated(generate::text(artifact, &name, known)));
        }
    };
    let variables = raw::environment(&call.environment);
    let mut errors = Vec::new();
    let named = line.get("config").or(variables.get("config"));
    let (path, mut file) = match read_file(named, &call.directory, read) {
        Ok(Some((path, file))) => (Some(path), file),
        Ok(None) => (None, file::File::default()),
        Err(error) => {
            errors.push(error);
            (None, file::File::default())
        }
    };
    errors.append(&mut file.errors);

    let mut given: Values = file.values;
    given.extend(variables);
    given.extend(line);
    errors.append(&mut raw::unknown(known));
    let defaults = raw::defaults(&call.environment, known);

    let mut config = Config {
        file: path,
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

/// The file that counts and what it gives: the one named, else `ferricorn.toml` if there is one.
fn read_file(
    named: Option<&Given>,
    directory: &Path,
    read: Reader<'_>,
) -> Result<Option<(PathBuf, file::File)>, ConfigError> {
    let name = match named {
        Some(given) if given.raw.is_empty() => return Ok(None),
        Some(given) => Path::new(given.raw.os().unwrap_or_default()),
        None => Path::new("ferricorn.toml"),
    };
    let path = directory.join(name);
    match read(&path) {
        Ok(text) => Ok(Some((path, file::parse(name, &text)))),
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
