//! How a directory is served: what an operator may say of it, by name and as text, or a program in values.

use std::time::Duration;

use ferricorn_base::conf::Takes;
use http::HeaderValue;

use crate::codings::{CODINGS, Coding};
use crate::path::{self, Dotfiles};
use crate::root::Symlinks;
use crate::types;

/// How a directory is served. The default is what `static:DIR` does without a word more.
#[derive(Clone, Debug)]
pub struct Options {
    /// What answers for a directory: the first of these names that is there.
    pub index: Vec<String>,
    /// Whether a directory without one is listed; else 404.
    pub listing: bool,
    /// Which symbolic links are followed.
    pub symlinks: Symlinks,
    /// Which names that begin with a dot are shown.
    pub dotfiles: Dotfiles,
    /// Which encoded files are sent instead of those beside which they lie, the preferred first.
    pub precompressed: Vec<Coding>,
    /// What Cache-Control says: of several rules the first that fits.
    pub cache_control: Vec<Rule>,
    /// The type of what has no ending that is known.
    pub default_type: HeaderValue,
    /// Types by ending (without its dot, in lower case) that go before those of the table.
    pub types: Vec<(String, HeaderValue)>,
    /// For how long it is not asked whether a file has changed. Zero: it is asked each time.
    pub recheck: Duration,
    /// How many bytes of small files one worker keeps in memory.
    pub memory: usize,
}

/// What Cache-Control says of some files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// `*` stands for anything. With a `/` in front it is for the whole path beneath the root, else for
    /// the name of the file.
    pub pattern: String,
    /// The value of the field.
    pub value: HeaderValue,
}

/// The options by name.
pub const OPTIONS: &[(&str, Takes)] = &[
    ("index", Takes::Texts),
    ("listing", Takes::Switch),
    ("symlinks", Takes::Word),
    ("dotfiles", Takes::Word),
    ("precompressed", Takes::Texts),
    ("cache-control", Takes::Texts),
    ("default-type", Takes::Word),
    ("types", Takes::Texts),
    ("recheck", Takes::Time),
    ("memory", Takes::Size),
];

impl Default for Options {
    fn default() -> Self {
        Options {
            index: vec!["index.html".to_owned()],
            listing: false,
            symlinks: Symlinks::default(),
            dotfiles: Dotfiles::default(),
            precompressed: CODINGS.to_vec(),
            cache_control: Vec::new(),
            default_type: HeaderValue::from_static(types::DEFAULT),
            types: Vec::new(),
            recheck: Duration::from_secs(1),
            memory: 16 << 20,
        }
    }
}

impl Options {
    /// Sets the option of this name, one of [`OPTIONS`].
    ///
    /// # Errors
    /// What is wrong with it, for people.
    pub fn set(&mut self, name: &str, values: &[&str]) -> Result<(), String> {
        let one = match values {
            [one] => *one,
            _ => "",
        };
        match name {
            "index" => self.index = each(values, index)?,
            "listing" => {
                self.listing = choice(one, &[("true", true), ("false", false)])?;
            }
            "symlinks" => {
                use Symlinks::{Inside, No, Owner};
                self.symlinks = choice(one, &[("inside", Inside), ("owner", Owner), ("no", No)])?;
            }
            "dotfiles" => {
                use Dotfiles::{Hidden, Shown, WellKnown};
                let known = [
                    ("hidden", Hidden),
                    ("well-known", WellKnown),
                    ("shown", Shown),
                ];
                self.dotfiles = choice(one, &known)?;
            }
            "precompressed" => {
                let known = CODINGS.map(|coding| (coding.name(), coding));
                self.precompressed = each(values, |value| choice(value, &known))?;
            }
            "cache-control" => self.cache_control = each(values, rule)?,
            "default-type" => self.default_type = kind(one)?,
            "types" => self.types = each(values, ending)?,
            "recheck" => self.recheck = Duration::from_millis(number(one)?),
            "memory" => self.memory = usize::try_from(number(one)?).unwrap_or(usize::MAX),
            _ => return Err(format!("there is no option \"{name}\" of files")),
        }
        Ok(())
    }

    /// The content type of a file.
    pub(crate) fn content_type(&self, name: &[u8]) -> HeaderValue {
        let own = types::ending(name).filter(|_| !self.types.is_empty());
        let own = own.and_then(|ending| self.types.iter().find(|(known, _)| *known == ending));
        match (own, types::of(name)) {
            (Some((_, kind)), _) => kind.clone(),
            (None, Some(kind)) => HeaderValue::from_static(kind),
            (None, None) => self.default_type.clone(),
        }
    }

    /// What Cache-Control says of the file `name` beneath the root.
    pub(crate) fn cache_control(&self, name: &[u8]) -> Option<&HeaderValue> {
        let last = name.rsplit(|byte| *byte == b'/').next().unwrap_or(name);
        let fits = |rule: &&Rule| match rule.pattern.strip_prefix('/') {
            Some(pattern) => path::matches(pattern.as_bytes(), name),
            None => path::matches(rule.pattern.as_bytes(), last),
        };
        self.cache_control.iter().find(fits).map(|rule| &rule.value)
    }
}

fn each<T>(values: &[&str], read: impl Fn(&str) -> Result<T, String>) -> Result<Vec<T>, String> {
    values.iter().map(|value| read(value)).collect()
}

fn choice<T: Copy>(value: &str, known: &[(&str, T)]) -> Result<T, String> {
    let found = known.iter().find(|(name, _)| *name == value);
    found.map(|(_, value)| *value).ok_or_else(|| {
        let known: Vec<&str> = known.iter().map(|(name, _)| *name).collect();
        format!("expected {}, found \"{value}\"", known.join(" or "))
    })
}

fn number(value: &str) -> Result<u64, String> {
    let number = value.parse();
    number.map_err(|_| format!("expected a number, found \"{value}\""))
}

fn index(name: &str) -> Result<String, String> {
    if name.is_empty() || name.contains(['/', '\0']) || matches!(name, "." | "..") {
        return Err(format!("expected the name of a file, found \"{name}\""));
    }
    Ok(name.to_owned())
}

fn value(text: &str) -> Option<HeaderValue> {
    let text = text.trim();
    let value = HeaderValue::from_str(text).ok()?;
    (!text.is_empty() && value.to_str().is_ok()).then_some(value)
}

fn kind(text: &str) -> Result<HeaderValue, String> {
    let known = value(text).filter(|_| text.contains('/'));
    known.ok_or_else(|| format!("expected a type such as text/plain, found \"{text}\""))
}

/// `.ENDING=TYPE`.
fn ending(text: &str) -> Result<(String, HeaderValue), String> {
    let wrong = || format!("expected .ENDING=TYPE, found \"{text}\"");
    let (ending, given) = text.split_once('=').ok_or_else(wrong)?;
    let ending = ending.trim().strip_prefix('.').ok_or_else(wrong)?;
    if ending.is_empty() || ending.contains(['.', '/']) {
        return Err(wrong());
    }
    Ok((ending.to_ascii_lowercase(), kind(given)?))
}

/// `PATTERN=VALUE`, where the pattern begins with `*` or `/`; else a value for all files.
fn rule(text: &str) -> Result<Rule, String> {
    let wrong = || {
        format!(
            "expected a value such as max-age=3600, or PATTERN=VALUE such as *.css=max-age=3600, found \"{text}\""
        )
    };
    let (pattern, given) = match text.starts_with(['*', '/']) {
        true => text.split_once('=').ok_or_else(wrong)?,
        false => ("*", text),
    };
    Ok(Rule {
        pattern: pattern.trim().to_owned(),
        value: value(given).ok_or_else(wrong)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_set_by_name() {
        for (name, values, fits) in [
            ("index", &["a.html", "b"][..], true),
            ("index", &[], true),
            ("index", &["../a"], false),
            ("index", &[""], false),
            ("listing", &["true"], true),
            ("listing", &["yes"], false),
            ("listing", &["true", "false"], false),
            ("symlinks", &["owner"], true),
            ("symlinks", &["yes"], false),
            ("dotfiles", &["well-known"], true),
            ("dotfiles", &["true"], false),
            ("precompressed", &["gzip", "br"], true),
            ("precompressed", &["gz"], false),
            ("cache-control", &["no-cache"], true),
            (
                "cache-control",
                &["*.css=max-age=60", "/a/*=no-store"],
                true,
            ),
            ("cache-control", &["*.css"], false),
            ("cache-control", &["*.css="], false),
            ("cache-control", &["a\r\nb"], false),
            ("default-type", &["text/plain"], true),
            ("default-type", &["text"], false),
            ("types", &[".foo=application/x-foo"], true),
            ("types", &["foo=application/x-foo"], false),
            ("types", &[".a.b=a/b"], false),
            ("recheck", &["0"], true),
            ("recheck", &["soon"], false),
            ("memory", &["1000"], true),
            ("colour", &["red"], false),
        ] {
            let set = Options::default().set(name, values);
            assert_eq!(set.is_ok(), fits, "{name} {values:?}: {set:?}");
        }
        for (name, _) in OPTIONS {
            let unknown = Options::default().set(name, &["\0"]).unwrap_err();
            assert!(!unknown.contains("no option"), "{unknown}");
        }
    }

    #[test]
    fn what_is_said_of_a_file() {
        let mut options = Options::default();
        let rules = ["*.html=no-cache", "/assets/*=max-age=9", "max-age=1"];
        options.set("cache-control", &rules).unwrap();
        options.set("types", &[".HTML=text/x-own"]).unwrap();
        options.set("default-type", &["text/plain"]).unwrap();
        for (name, kind, cache) in [
            ("a.html", "text/x-own", "no-cache"),
            ("assets/a.html", "text/x-own", "no-cache"),
            ("assets/x/y.css", "text/css; charset=utf-8", "max-age=9"),
            ("b/assets/y", "text/plain", "max-age=1"),
        ] {
            let name = name.as_bytes();
            assert_eq!(options.content_type(name), kind);
            assert_eq!(options.cache_control(name).unwrap(), cache);
        }
        assert_eq!(Options::default().cache_control(b"a"), None);
    }
}
