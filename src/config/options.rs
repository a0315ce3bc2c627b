//! What a `[[mount]]` table says to the application that is mounted, beyond its name. Checks it; opens
//! nothing.

use std::path::Path;

use ferricorn_base::conf::Takes;
use ferricorn_files::Place;
use ferricorn_gateway::cgi;

use super::check::is_directory;
use super::print::Shown;
use super::raw::{Given, Raw};
use super::{ConfigError, file};
use crate::settings::value::{self, quote};

/// The keys of every mount.
const KEYS: [&str; 3] = ["prefix", "app", "timeout"];
/// Where an application has files that it answers with.
pub(crate) const SENDFILE: &str = "x-sendfile";

/// What was said, in the form in which the application reads it, and as it is printed.
#[derive(Debug, Default)]
pub(super) struct Said {
    pub(super) options: Vec<(String, Vec<String>)>,
    pub(super) shown: Vec<Shown>,
}

/// What is wrong with an option, if anything.
type Check = fn(&str, &[&str]) -> Result<(), String>;

/// The options that `app` takes.
fn options_of(app: &str) -> (&'static [(&'static str, Takes)], Check) {
    let scheme = app.split_once(':').map(|(scheme, _)| scheme);
    match scheme {
        Some("static") => (ferricorn_files::OPTIONS, |name, values| {
            ferricorn_files::Options::default().set(name, values)
        }),
        Some("cgi") => (cgi::OPTIONS, |name, values| {
            cgi::Options::default().set(name, values)
        }),
        Some(scheme)
            if ferricorn_gateway::SCHEMES
                .iter()
                .any(|(name, _)| *name == scheme) =>
        {
            (ferricorn_gateway::OPTIONS, |name, values| {
                ferricorn_gateway::Options::default().set(name, values)
            })
        }
        _ => (&[(SENDFILE, Takes::Texts)], |_, _| Ok(())),
    }
}

/// Reads what else a mount of `app` is told.
/// Paths start in `directory`.
pub(super) fn read(
    app: &str,
    entries: &[&(String, Given)],
    directory: &Path,
) -> Result<Said, Vec<ConfigError>> {
    let (known, set) = options_of(app);
    let mut said = Said::default();
    let mut errors = Vec::new();
    for (name, given) in entries {
        let Some((known, takes)) = known.iter().find(|(known, _)| known == name) else {
            let keys = KEYS.into_iter().chain(known.iter().map(|(name, _)| *name));
            let keys: Vec<&str> = keys.collect();
            errors.push(ConfigError {
                origin: given.origin.clone(),
                message: file::misplaced(name, "mount", &keys),
            });
            continue;
        };
        let read = texts(&given.raw, *takes).and_then(|(texts, literal)| {
            if *known == SENDFILE {
                return places(&texts, directory);
            }
            let values: Vec<&str> = texts.iter().map(String::as_str).collect();
            set(name, &values)?;
            Ok((texts, literal))
        });
        match read {
            Ok((texts, literal)) => {
                said.options.push((name.clone(), texts));
                said.shown.push(Shown::new(known, literal, &given.origin));
            }
            Err(message) => errors.push(ConfigError {
                origin: given.origin.clone(),
                message: format!("{name}: {message}"),
            }),
        }
    }
    if errors.is_empty() {
        Ok(said)
    } else {
        Err(errors)
    }
}

/// Places, their directories made absolute, and in TOML.
fn places(texts: &[String], directory: &Path) -> Result<(Vec<String>, String), String> {
    let place = |text: &String| {
        let place = Place::parse(text)?;
        let path = directory.join(place.directory);
        is_directory(&path)?;
        let path = path.to_str();
        let path = path.ok_or_else(|| "the working directory is not UTF-8".to_owned())?;
        Ok(match place.uri {
            Some(uri) => format!("{uri}/={path}"),
            None => path.to_owned(),
        })
    };
    let places: Vec<String> = texts.iter().map(place).collect::<Result<_, String>>()?;
    let literals: Vec<String> = places.iter().map(|place| quote(place)).collect();
    Ok((places, format!("[{}]", literals.join(", "))))
}

/// A value as texts, and in TOML.
fn texts(raw: &Raw, takes: Takes) -> Result<(Vec<String>, String), String> {
    let wrong = |expected: &str| format!("expected {expected}, found {raw}");
    let one = |text: String, literal| Ok((vec![text], literal));
    match takes {
        Takes::Switch => match raw {
            Raw::Boolean(yes) => one(yes.to_string(), yes.to_string()),
            _ => Err(wrong("true or false")),
        },
        Takes::Word => {
            let text = raw.text().ok_or_else(|| wrong("a text"))?;
            one(text.to_owned(), quote(text))
        }
        Takes::Texts => {
            let items = match raw {
                Raw::List(items) => items.iter().map(|item| item.raw.text()).collect(),
                _ => raw.text().map(|text| vec![text]),
            };
            let items: Vec<&str> = items.ok_or_else(|| wrong("a text or a list of texts"))?;
            let literals: Vec<String> = items.iter().map(|item| quote(item)).collect();
            let items = items.into_iter().map(str::to_owned).collect();
            Ok((items, format!("[{}]", literals.join(", "))))
        }
        Takes::Pairs => {
            let Raw::Table(entries) = raw else {
                return texts(raw, Takes::Texts);
            };
            let pair = |(name, value): &(String, Given)| {
                let value = value.raw.text().ok_or_else(|| wrong("texts"))?;
                Ok(format!("{name}={value}"))
            };
            let pairs: Vec<String> = entries.iter().map(pair).collect::<Result<_, String>>()?;
            let literals: Vec<String> = pairs.iter().map(|pair| quote(pair)).collect();
            Ok((pairs, format!("[{}]", literals.join(", "))))
        }
        Takes::Time => {
            let time = raw.measure().and_then(|text| value::time(&text));
            let time = time.ok_or_else(|| wrong("a time such as 1 or \"500ms\""))?;
            one(time.as_millis().to_string(), value::show_time(time))
        }
        Takes::Number => {
            let text = raw
                .measure()
                .filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()));
            let text = text.ok_or_else(|| wrong("a number"))?;
            one(text.to_string(), text.to_string())
        }
        Takes::Size => {
            let size = raw.measure().and_then(|text| value::size(&text));
            let size = size.ok_or_else(|| wrong("a size such as \"16MiB\""))?;
            one(size.to_string(), value::show_size(size))
        }
    }
}
