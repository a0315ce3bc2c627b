//! Raw values: what was written, where, and which of several counts.
//!
//! The first phase of the configuration. Nothing is checked here beyond what it takes to know
//! which setting a value is for.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fmt;

use super::{ConfigError, Known, Origin};
use crate::settings::{self, Kind, Setting, value};

/// A value and where it came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Given {
    pub(crate) raw: Raw,
    pub(crate) origin: Origin,
}

/// A value as it was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Raw {
    /// A word of the command line, of the environment or of the table of settings: it has no type
    /// of its own.
    Word(OsString),
    /// A text in the file.
    Text(String),
    /// An integer in the file: as it was written, and its value unless it is negative or too big.
    Integer { written: String, value: Option<u64> },
    /// Any other number in the file.
    Float(String),
    /// true or false in the file.
    Boolean(bool),
    /// A date or time in the file; no setting takes one.
    Date(String),
    /// A list, or what a repeatable option was given.
    List(Vec<Given>),
    /// A table; the origins are those of the keys.
    Table(Vec<(String, Given)>),
}

/// What was given for each setting.
pub(crate) type Values = BTreeMap<&'static str, Given>;

impl Raw {
    /// The text of a word or text. `None` also when it is not UTF-8.
    pub(crate) fn text(&self) -> Option<&str> {
        match self {
            Raw::Word(word) => word.to_str(),
            Raw::Text(text) => Some(text),
            _ => None,
        }
    }

    /// The text of a word or text, whatever its bytes.
    pub(crate) fn os(&self) -> Option<&OsStr> {
        match self {
            Raw::Word(word) => Some(word),
            Raw::Text(text) => Some(OsStr::new(text)),
            _ => None,
        }
    }

    /// The value of a plain number. A text in the file is none.
    pub(crate) fn number(&self) -> Option<u64> {
        match self {
            Raw::Word(word) => value::number(word.to_str()?),
            Raw::Integer { value, .. } => *value,
            _ => None,
        }
    }

    /// The text of something that may be a number or a text with a unit.
    pub(crate) fn measure(&self) -> Option<String> {
        match self {
            Raw::Integer { value, .. } => value.map(|value| value.to_string()),
            Raw::Float(written) => Some(written.clone()),
            other => other.text().map(str::to_owned),
        }
    }

    /// Whether it is a word or text without any characters, which means "none".
    pub(crate) fn is_empty(&self) -> bool {
        self.os().is_some_and(OsStr::is_empty)
    }
}

impl fmt::Display for Raw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Raw::Word(word) => f.write_str(&value::quote(&word.to_string_lossy())),
            Raw::Text(text) => f.write_str(&value::quote(text)),
            Raw::Integer { written, .. } | Raw::Float(written) => f.write_str(written),
            Raw::Boolean(yes) => write!(f, "{yes}"),
            Raw::Date(written) => write!(f, "the date {written}"),
            Raw::List(_) => f.write_str("a list"),
            Raw::Table(_) => f.write_str("a table"),
        }
    }
}

impl Given {
    /// A word with its origin.
    pub(crate) fn word(word: impl Into<OsString>, origin: Origin) -> Given {
        Given {
            raw: Raw::Word(word.into()),
            origin,
        }
    }

    /// The items of a list; anything else is its own only item.
    pub(crate) fn items(&self) -> &[Given] {
        match &self.raw {
            Raw::List(items) => items,
            _ => std::slice::from_ref(self),
        }
    }

    /// Whether it outranks the file.
    pub(crate) fn above_file(&self) -> bool {
        matches!(self.origin, Origin::Environment(_) | Origin::CommandLine(_))
    }
}

/// The value of a variable that gives a setting. That nobody is to be trusted is a value.
fn of_setting<'a>(
    setting: &Setting,
    environment: &'a Environment,
    name: &str,
) -> Option<&'a OsStr> {
    match setting.kind {
        Kind::Networks(_) => set(environment, name),
        _ => variable(environment, name),
    }
}

/// The environment as other programs see it.
pub(crate) type Environment = [(OsString, OsString)];

/// The value of a variable; an empty one counts as unset.
pub(crate) fn variable<'a>(environment: &'a Environment, name: &str) -> Option<&'a OsStr> {
    set(environment, name).filter(|value| !value.is_empty())
}

fn set<'a>(environment: &'a Environment, name: &str) -> Option<&'a OsStr> {
    let found = environment.iter().find(|(key, _)| key == name);
    found.map(|(_, value)| value.as_os_str())
}

/// What the environment gives: every setting's own variable.
pub(crate) fn environment(environment: &Environment) -> Values {
    settings::all()
        .filter_map(|setting| {
            let name = setting.environment()?;
            let value = of_setting(setting, environment, &name)?;
            Some((
                setting.name,
                words(setting, value, Origin::Environment(name)),
            ))
        })
        .collect()
}

/// Lists of addresses and mounts are separated by commas or spaces in a variable.
fn words(setting: &Setting, value: &OsStr, origin: Origin) -> Given {
    match (setting.repeatable(), value.to_str()) {
        (true, Some(text)) => {
            let words = text.split([',', ' ', '\n']).filter(|word| !word.is_empty());
            let items = words
                .map(|word| Given::word(word, origin.clone()))
                .collect();
            Given {
                raw: Raw::List(items),
                origin,
            }
        }
        _ => Given::word(value, origin),
    }
}

/// Defaults: those that well-known variables give, else those of the program, else those of the
/// table.
pub(crate) fn defaults(environment: &Environment, known: &Known<'_>) -> Values {
    settings::all()
        .filter(|setting| !known.default_of(setting).is_empty() || setting.variable.is_some())
        .map(|setting| {
            let well_known = setting.variable.and_then(|name| {
                let mut value = of_setting(setting, environment, name)?.to_owned();
                if matches!(setting.kind, Kind::Binds) {
                    let port = value;
                    value = OsString::from("0.0.0.0:");
                    value.push(port);
                }
                Some(Given::word(value, Origin::Environment(name.to_owned())))
            });
            let default = || Given::word(known.default_of(setting), Origin::Default);
            (setting.name, well_known.unwrap_or_else(default))
        })
        .collect()
}

/// Defaults of the program for settings that there are not.
pub(crate) fn unknown(known: &Known<'_>) -> Vec<ConfigError> {
    let unknown = known
        .defaults
        .iter()
        .filter(|(name, _)| settings::find(name).is_none());
    unknown
        .map(|(name, _)| ConfigError {
            origin: Origin::Default,
            message: format!("{name}: no such setting; the program itself names it"),
        })
        .collect()
}

/// Variables that are probably meant for us and misspelt. Others with our prefix are left alone:
/// container platforms make up such names from those of services.
pub(crate) fn misspelt(environment: &Environment) -> Vec<ConfigError> {
    let known: Vec<String> = settings::all().filter_map(Setting::environment).collect();
    let names = environment.iter().filter_map(|(name, _)| name.to_str());
    names
        .filter(|name| name.starts_with("FERRICORN_") && !known.iter().any(|known| known == name))
        .filter_map(|name| {
            let rest = &name["FERRICORN_".len()..];
            let candidates = known.iter().map(|known| &known["FERRICORN_".len()..]);
            let near = settings::nearest(rest, candidates)?;
            Some(ConfigError {
                origin: Origin::Environment(name.to_owned()),
                message: format!("no such setting; did you mean FERRICORN_{near}?"),
            })
        })
        .collect()
}
