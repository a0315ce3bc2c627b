//! The configuration file: TOML into raw values, each with its line.
//!
//! Unknown keys and syntax errors are found here, all of them at once; values are checked later
//! with those of the other sources.

use std::io::{self, Read};
use std::ops::Range;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::raw::{Given, Raw, Values};
use super::{ConfigError, Origin};
use crate::settings::{self, Scope};

/// What a file gives.
#[derive(Debug, Default)]
pub(crate) struct File {
    /// The settings at its top, `mount` tables among them.
    pub(crate) values: Values,
    /// Its `[[listen]]` tables.
    pub(crate) listens: Vec<Given>,
    /// What is wrong with it.
    pub(crate) errors: Vec<ConfigError>,
}

/// The longest configuration file, in bytes.
const LONGEST: u64 = 1 << 20;

/// Reads a configuration file without ever waiting for one: on a reload the master must not.
///
/// # Errors
/// What reading answers; anything but a regular file, which could be neither read again nor be
/// trusted to end; a file of more than 1 MiB.
pub(crate) fn read(path: &Path) -> io::Result<String> {
    let file = std::fs::OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_NONBLOCK)
        .open(path)?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::other(
            "not a regular file (a reload has to read it again)",
        ));
    }
    let mut text = String::new();
    file.take(LONGEST + 1).read_to_string(&mut text)?;
    if text.len() as u64 > LONGEST {
        return Err(io::Error::other("longer than 1 MiB"));
    }
    Ok(text)
}

/// What can be read of the text of a file, whatever else is wrong with it: the settings that are plain
/// texts.
pub(super) fn peek(text: &str) -> Values {
    let (table, _) = DeTable::parse_recoverable(text);
    let texts = table.get_ref().iter().filter_map(|(key, value)| {
        let name: &str = key.get_ref();
        let raw = Raw::Text(value.get_ref().as_str()?.to_owned());
        let origin = Origin::Default;
        Some((settings::find(name)?.name, Given { raw, origin }))
    });
    texts.collect()
}

/// Reads the text of a file. `path` is what messages call it.
pub(crate) fn parse(path: &Path, text: &str) -> File {
    let source = Source { path, text };
    let (table, errors) = DeTable::parse_recoverable(text);
    if !errors.is_empty() {
        let errors = errors.iter().map(|error| source.syntax(error)).collect();
        return File {
            errors,
            ..File::default()
        };
    }
    let mut file = File::default();
    for (key, value) in table.get_ref() {
        let given = source.given(key.span(), value);
        let name: &str = key.get_ref();
        match settings::find(name) {
            Some(setting) if setting.in_file() => {
                file.values.insert(setting.name, given);
            }
            Some(_) => {
                let message = format!("{name} cannot be given in the file");
                file.errors.push(ConfigError {
                    origin: given.origin,
                    message,
                });
            }
            None if name == "listen" => match file.listens(given) {
                Ok(()) => {}
                Err(error) => file.errors.push(error),
            },
            None => file.errors.push(unknown(name, given)),
        }
    }
    file
}

impl File {
    fn listens(&mut self, given: Given) -> Result<(), ConfigError> {
        let Given {
            raw: Raw::List(items),
            origin,
        } = given
        else {
            let message = "listen: expected tables [[listen]]".to_owned();
            return Err(ConfigError {
                origin: given.origin,
                message,
            });
        };
        if !items.iter().all(|item| matches!(item.raw, Raw::Table(_))) {
            let message = "listen: expected tables [[listen]]".to_owned();
            return Err(ConfigError { origin, message });
        }
        self.listens.extend(items);
        Ok(())
    }
}

/// The tables that there are.
const TABLES: [&str; 3] = ["listen", "mount", "env"];

fn unknown(name: &str, given: Given) -> ConfigError {
    let is_table = |given: &Given| matches!(given.raw, Raw::Table(_));
    let message = if !given.items().is_empty() && given.items().iter().all(is_table) {
        match settings::nearest(name, TABLES.into_iter()) {
            Some(near) => format!("unknown table \"{name}\"; did you mean \"{near}\"?"),
            None => {
                format!("unknown table \"{name}\"; settings stand at the top, without a table")
            }
        }
    } else {
        format!("unknown setting \"{name}\"{}", settings::advice(name))
    };
    ConfigError {
        origin: given.origin,
        message,
    }
}

/// What is wrong with a key in a `[[listen]]` or `[[mount]]` table that does not take it.
pub(crate) fn misplaced(name: &str, table: &str, keys: &[&str]) -> String {
    let elsewhere = settings::find(name).filter(|setting| setting.in_file());
    if let Some(setting) = elsewhere {
        let owner = match setting.scope {
            Scope::Server => "the server",
            Scope::Listener => "a listener",
            Scope::Mount => "a mount",
        };
        return format!(
            "{name} is a setting of {owner}, not of [[{table}]]; give it above the first table"
        );
    }
    let dashed = name.replace('_', "-");
    match settings::nearest(&dashed, keys.iter().copied()) {
        Some(near) => {
            format!("unknown setting \"{name}\" in [[{table}]]; did you mean \"{near}\"?")
        }
        None => format!(
            "unknown setting \"{name}\" in [[{table}]]; expected one of {}",
            keys.join(", ")
        ),
    }
}

/// A file under examination.
struct Source<'a> {
    path: &'a Path,
    text: &'a str,
}

impl Source<'_> {
    fn origin(&self, at: Range<usize>) -> Origin {
        let before = &self.text.as_bytes()[..at.start.min(self.text.len())];
        let line = 1 + before.iter().filter(|byte| **byte == b'\n').count();
        Origin::File(self.path.to_owned(), line)
    }

    fn syntax(&self, error: &toml::de::Error) -> ConfigError {
        let origin = self.origin(error.span().unwrap_or_default());
        ConfigError {
            origin,
            message: error.message().replace('\n', ", "),
        }
    }

    fn given(&self, at: Range<usize>, value: &Spanned<DeValue<'_>>) -> Given {
        let raw = match value.get_ref() {
            DeValue::String(text) => Raw::Text(text.to_string()),
            DeValue::Integer(integer) => Raw::Integer {
                written: integer.to_string(),
                value: u64::from_str_radix(integer.as_str(), integer.radix()).ok(),
            },
            DeValue::Float(float) => Raw::Float(float.as_str().to_owned()),
            DeValue::Boolean(yes) => Raw::Boolean(*yes),
            DeValue::Datetime(date) => Raw::Date(date.to_string()),
            DeValue::Array(items) => Raw::List(
                items
                    .iter()
                    .map(|item| self.given(item.span(), item))
                    .collect(),
            ),
            DeValue::Table(table) => Raw::Table(
                table
                    .iter()
                    .map(|(key, value)| (key.get_ref().to_string(), self.given(key.span(), value)))
                    .collect(),
            ),
        };
        Given {
            raw,
            origin: self.origin(at),
        }
    }
}
