//! The settings: one table from which everything else is made.
//!
//! The command line, the configuration file, the environment, `--check-config`, `--print-config`,
//! `--help`, the manual pages, the completions and the settings page all read the entries that
//! this module collects; no name, default or explanation stands anywhere else. An entry also says
//! where its checked value goes (a function into [`Config`]), so that type and destination cannot
//! disagree. To add a setting, add an entry to the file of its section.
#![forbid(unsafe_code)]

mod application;
mod configuration;
pub mod gunicorn;
mod listeners;
pub(crate) mod logging;
mod monitoring;
mod overload;
mod process;
mod proxies;
mod recycling;
mod requests;
pub mod value;
mod workers;

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use ferricorn_base::Networks;

use crate::config::{Bind, Config, Destination, Group, User};
use crate::control::Place;
use crate::state::Share;
use crate::syslog;

/// One setting.
#[derive(Debug)]
pub struct Setting {
    /// Its name: the long option without dashes, and the key in the file. Kebab case.
    pub name: &'static str,
    /// The short option.
    pub short: Option<char>,
    /// Further long options, Gunicorn's.
    pub aliases: &'static [&'static str],
    /// The long option that turns a switch off which is on by default.
    pub off: Option<&'static str>,
    /// The name in Gunicorn's configuration file when it is not ours with underscores.
    pub gunicorn: Option<&'static str>,
    /// What values it takes and where they go.
    pub kind: Kind,
    /// The default as one would write it; empty: none.
    pub default: &'static str,
    /// What stands in the documents in place of an empty default.
    pub default_doc: &'static str,
    /// A variable that other software knows too and that gives the default.
    pub variable: Option<&'static str>,
    /// Where the documents put it.
    pub section: Section,
    /// What it belongs to.
    pub scope: Scope,
    /// Where it may be given.
    pub sources: Sources,
    /// Whether SIGHUP can change it.
    pub reload: bool,
    /// What it does: a first line that is short and stands alone, then paragraphs.
    pub doc: &'static str,
}

/// A group of settings in the documents.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Section {
    /// What is served.
    Application,
    /// Where the configuration comes from.
    Configuration,
    /// Where connections come in.
    Listeners,
    /// The processes that serve.
    Workers,
    /// When workers are replaced.
    Recycling,
    /// Limits and deadlines of requests.
    Requests,
    /// Too many requests, and those that are deadly.
    Overload,
    /// Proxies in front, and whom to believe.
    Proxies,
    /// The process and its privileges.
    Process,
    /// What is written where.
    Logging,
    /// What the server says of itself.
    Monitoring,
}

/// What a setting belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// The whole server.
    Server,
    /// One listener; at the top of the file for all of them.
    Listener,
    /// One mount.
    Mount,
}

/// Where a setting may be given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sources {
    /// File, environment and command line.
    All,
    /// File and command line.
    NoEnvironment,
    /// Environment and command line.
    NoFile,
    /// Command line.
    CommandLine,
}

/// What values a setting takes, and where a checked one goes.
#[derive(Clone, Copy, Debug)]
pub enum Kind {
    /// Yes or no. On the command line the name alone is yes.
    Switch(fn(&mut Config, bool)),
    /// A whole number within bounds.
    Number {
        /// The least.
        least: u64,
        /// The most.
        most: u64,
        /// Where it goes.
        set: fn(&mut Config, u64),
    },
    /// A number of workers, or `auto` (`None`).
    Workers(fn(&mut Config, Option<usize>)),
    /// A number, or a percentage of the workers.
    Share(fn(&mut Config, Share)),
    /// Bytes.
    Size {
        /// The least.
        least: u64,
        /// Where it goes.
        set: fn(&mut Config, u64),
    },
    /// A time.
    Time {
        /// Whether zero is allowed.
        zero: bool,
        /// Where it goes.
        set: fn(&mut Config, Duration),
    },
    /// File permissions, octal.
    Mode(fn(&mut Config, u32)),
    /// Any text; empty means none.
    Text(fn(&mut Config, String)),
    /// The value of a field of a response; empty means none.
    Field(fn(&mut Config, String)),
    /// A format of the access log.
    Format(fn(&mut Config, String)),
    /// One of a few words.
    Choice(&'static [&'static str], fn(&mut Config, &str)),
    /// A registered worker class.
    Class(fn(&mut Config, String)),
    /// A path, made absolute; empty means none.
    Path(fn(&mut Config, Option<PathBuf>)),
    /// Paths of files, made absolute; repeatable.
    Paths(fn(&mut Config, Vec<PathBuf>)),
    /// Where the control socket is: a path, `auto` or `none`.
    Control(fn(&mut Config, Place)),
    /// A directory that must exist; empty means none.
    Directory(fn(&mut Config, Option<PathBuf>)),
    /// A file, `-` for the standard stream, the journal, or empty for none.
    Log(fn(&mut Config, Option<Destination>)),
    /// Where a syslog receiver is.
    Syslog(fn(&mut Config, syslog::Written)),
    /// An account that must exist.
    User(fn(&mut Config, Option<User>)),
    /// A group that must exist.
    Group(fn(&mut Config, Option<Group>)),
    /// IP networks, separated by commas.
    Networks(fn(&mut Config, Networks)),
    /// Names, separated by commas: what is expected, and what takes them or says what is wrong.
    Names(&'static str, fn(&mut Config, &[&str]) -> Result<(), String>),
    /// `NAME=VALUE` of fields of a request, repeatable.
    Fields(fn(&mut Config, Vec<(String, String)>)),
    /// `NAME=VALUE`, repeatable.
    Pairs(fn(&mut Config, Vec<(OsString, OsString)>)),
    /// The configuration file itself; used before there are values to check.
    File,
    /// Addresses, repeatable; they become listeners.
    Binds,
    /// Addresses for anything else, repeatable.
    Addresses(fn(&mut Config, Vec<Bind>)),
    /// An application for the prefix `/`.
    App,
    /// `PREFIX=APP`, repeatable; they become mounts.
    Mounts,
}

/// What most entries have in common; they name the rest.
const COMMON: Setting = Setting {
    name: "",
    short: None,
    aliases: &[],
    off: None,
    gunicorn: None,
    kind: Kind::File,
    default: "",
    default_doc: "none",
    variable: None,
    section: Section::Configuration,
    scope: Scope::Server,
    sources: Sources::All,
    reload: true,
    doc: "",
};

/// The sections in the order of the documents.
pub const SECTIONS: [Section; 11] = [
    Section::Application,
    Section::Listeners,
    Section::Workers,
    Section::Recycling,
    Section::Requests,
    Section::Overload,
    Section::Proxies,
    Section::Process,
    Section::Logging,
    Section::Monitoring,
    Section::Configuration,
];

impl Section {
    /// Its title in the documents.
    pub fn title(self) -> &'static str {
        match self {
            Section::Application => "Application",
            Section::Configuration => "Configuration",
            Section::Listeners => "Listeners",
            Section::Workers => "Workers",
            Section::Recycling => "Recycling and scaling",
            Section::Requests => "Requests",
            Section::Overload => "Overload",
            Section::Proxies => "Proxies",
            Section::Process => "Process",
            Section::Logging => "Logging",
            Section::Monitoring => "Monitoring",
        }
    }

    /// Its settings, in the order of the documents.
    pub fn settings(self) -> &'static [Setting] {
        match self {
            Section::Application => application::SETTINGS,
            Section::Configuration => configuration::SETTINGS,
            Section::Listeners => listeners::SETTINGS,
            Section::Workers => workers::SETTINGS,
            Section::Recycling => recycling::SETTINGS,
            Section::Requests => requests::SETTINGS,
            Section::Overload => overload::SETTINGS,
            Section::Proxies => proxies::SETTINGS,
            Section::Process => process::SETTINGS,
            Section::Logging => logging::SETTINGS,
            Section::Monitoring => monitoring::SETTINGS,
        }
    }
}

impl Setting {
    /// The environment variable that gives it, when the environment may.
    pub fn environment(&self) -> Option<String> {
        match self.sources {
            Sources::All | Sources::NoFile => Some(format!(
                "FERRICORN_{}",
                self.name.replace('-', "_").to_uppercase()
            )),
            Sources::NoEnvironment | Sources::CommandLine => None,
        }
    }

    /// Whether the configuration file may give it.
    pub fn in_file(&self) -> bool {
        matches!(self.sources, Sources::All | Sources::NoEnvironment)
    }

    /// Whether it may be given several times.
    pub fn repeatable(&self) -> bool {
        matches!(
            self.kind,
            Kind::Binds
                | Kind::Addresses(_)
                | Kind::Pairs(_)
                | Kind::Fields(_)
                | Kind::Paths(_)
                | Kind::Mounts
        )
    }

    /// The first line of its explanation.
    pub fn summary(&self) -> &'static str {
        self.doc.split('\n').next().unwrap_or_default()
    }

    /// The paragraphs after the first line.
    pub fn paragraphs(&self) -> impl Iterator<Item = &'static str> {
        self.doc.split("\n\n").skip(1)
    }

    /// Its default for people.
    pub fn default_text(&self) -> String {
        match (self.default, self.kind) {
            ("", _) => self.default_doc.to_owned(),
            (default, _) => default.to_owned(),
        }
    }
}

/// Every setting, in the order of the documents.
pub fn all() -> impl Iterator<Item = &'static Setting> {
    SECTIONS.iter().flat_map(|section| section.settings())
}

/// The setting of this name.
pub fn find(name: &str) -> Option<&'static Setting> {
    all().find(|setting| setting.name == name)
}

/// What to tell someone who wrote a name that is no setting; empty when nothing comes to mind.
/// Starts with `; `.
pub fn advice(name: &str) -> String {
    let use_this = |setting: &Setting| {
        let section = setting.section.title();
        format!("use \"{}\" (section {section})", setting.name)
    };
    let dashed = name.replace('_', "-").to_lowercase();
    if let Some(setting) = find(&dashed) {
        return format!("; {}", use_this(setting));
    }
    let theirs = |setting: &&Setting| {
        setting
            .gunicorn
            .is_some_and(|theirs| theirs.replace('_', "-") == dashed)
            || setting.off == Some(name)
            || setting
                .aliases
                .iter()
                .any(|alias| *alias == name || *alias == dashed)
    };
    if let Some(setting) = all().find(theirs) {
        return format!("; {}", use_this(setting));
    }
    if let Some(hint) = gunicorn::hint(&dashed) {
        return format!("; Gunicorn has it, Ferricorn does not: {hint}");
    }
    match nearest(&dashed, all().map(|setting| setting.name)).and_then(find) {
        Some(setting) => {
            format!(
                "; did you mean \"{}\" (section {})?",
                setting.name,
                setting.section.title()
            )
        }
        None => String::new(),
    }
}

/// The candidate that `word` is most likely a slip of or short for, if any is near enough.
pub fn nearest<'a>(word: &str, candidates: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let length = word.chars().count();
    candidates
        .filter_map(|candidate| {
            let distance = strsim::damerau_levenshtein(word, candidate);
            let near = distance <= length.max(candidate.len()).div_ceil(4);
            let short = length >= 3 && candidate.starts_with(word);
            (near || short).then_some((!near, distance, candidate))
        })
        .min()
        .map(|(_, _, candidate)| candidate)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn names_are_unique_and_in_kebab_case() {
        let mut names = BTreeSet::new();
        let mut shorts = BTreeSet::new();
        for setting in all() {
            let kebab = |c: char| c.is_ascii_lowercase() || c == '-';
            assert!(setting.name.chars().all(kebab), "{}", setting.name);
            for name in [setting.name]
                .iter()
                .chain(setting.aliases)
                .chain(&setting.off)
            {
                assert!(names.insert(*name), "{name} is there twice");
            }
            if let Some(short) = setting.short {
                assert!(shorts.insert(short), "-{short} is there twice");
                assert!(!"hV".contains(short), "-{short} is taken");
            }
        }
    }

    #[test]
    fn every_entry_stands_in_its_section_and_explains_itself() {
        for section in SECTIONS {
            for setting in section.settings() {
                let (name, summary) = (setting.name, setting.summary());
                assert_eq!(setting.section, section, "{name}");
                assert!((10..=75).contains(&summary.len()), "{name}: {summary}");
                assert!(!setting.doc.contains("  "), "{name}: two spaces");
                for paragraph in setting.doc.split("\n\n") {
                    let end = paragraph.trim_end_matches("APP");
                    assert!(end.ends_with(['.', '=', 'E']), "{name}: {paragraph}");
                    assert!(!paragraph.contains('\n'), "{name}: a line break");
                }
            }
        }
    }

    #[test]
    fn only_a_switch_that_is_on_has_an_option_to_turn_it_off() {
        for setting in all() {
            let on = matches!(setting.kind, Kind::Switch(_)) && setting.default == "true";
            assert_eq!(setting.off.is_some(), on, "{}", setting.name);
        }
    }

    #[test]
    fn advice() {
        for (name, text) in [
            ("workrs", "; did you mean \"workers\" (section Workers)?"),
            ("Workers", "; use \"workers\" (section Workers)"),
            ("keep_alive", "; use \"keep-alive\" (section Requests)"),
            ("keepalive", "; use \"keep-alive\" (section Requests)"),
            ("raw_env", "; use \"env\" (section Process)"),
            ("pid", "; use \"pidfile\" (section Process)"),
            ("log_file", "; use \"error-logfile\" (section Logging)"),
            (
                "limit_request_field_size",
                "; use \"limit-request-field-size\" (section Requests)",
            ),
            (
                "graceful",
                "; did you mean \"graceful-timeout\" (section Workers)?",
            ),
            (
                "reuse_port",
                "; Gunicorn has it, Ferricorn does not: workers share the master's sockets, so that \
                 a reload loses no connection",
            ),
            ("colour", ""),
            ("x", ""),
            ("", ""),
        ] {
            assert_eq!(super::advice(name), text, "{name}");
        }
    }
}
