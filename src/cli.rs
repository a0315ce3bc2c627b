//! The command line, built from the table of settings.
//!
//! clap reads it and writes `--help`; the values stay raw, to be checked with those of the other
//! sources. So a line that cannot be read at all is a usage error (exit code 2), and a wrong value
//! is a configuration error (1) wherever it was given.
#![forbid(unsafe_code)]

use std::ffi::{OsStr, OsString};
use std::path::Path;

use clap::builder::{PossibleValue, PossibleValuesParser, StyledStr, TypedValueParser};
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Arg, ArgAction, ArgMatches, Command, ValueHint};

use crate::config::raw::{Given, Raw, Values};
use crate::config::{Known, Origin};
use crate::generate::Artifact;
use crate::settings::{self, Kind, Setting, Sources};
use crate::{ctl, top};

/// What a command line asks for.
#[derive(Debug)]
pub(crate) enum Asked {
    /// A configuration, from these values and the other sources.
    Values(Values),
    /// A generated text.
    Artifact(Artifact),
    /// A command for a running server, whose configuration these values give.
    Ctl(ctl::Call, Values),
    /// A view of one.
    Top(top::Call, Values),
}

/// Reads a command line, the program's name first.
///
/// # Errors
/// It cannot be read, or it asks for help or the version.
pub(crate) fn parse(arguments: &[OsString], known: &Known<'_>) -> Result<Asked, clap::Error> {
    let name = program(arguments);
    let words = arguments.iter().skip(1);
    let line = std::iter::once(OsString::from(&name)).chain(words.cloned());
    let matches = command(&name, known)
        .try_get_matches_from(line)
        .map_err(advise)?;
    let mut given = Values::new();
    collect(&matches, &mut given);
    match matches.subcommand() {
        Some(("generate", matches)) => {
            let what = matches.get_one::<String>("WHAT").map(String::as_str);
            let artifact = what.and_then(Artifact::named).unwrap_or(Artifact::Man);
            Ok(Asked::Artifact(artifact))
        }
        Some(("ctl", matches)) => {
            collect(matches, &mut given);
            Ok(Asked::Ctl(ctl::read(matches), given))
        }
        Some(("top", matches)) => {
            collect(matches, &mut given);
            Ok(Asked::Top(top::read(matches), given))
        }
        Some((command, matches)) => {
            collect(matches, &mut given);
            let yes = Given::word("true", Origin::CommandLine(command.to_owned()));
            given.insert("check-config", yes);
            Ok(Asked::Values(given))
        }
        None => Ok(Asked::Values(given)),
    }
}

/// The name under which the program was called.
pub(crate) fn program(arguments: &[OsString]) -> String {
    let name = arguments
        .first()
        .and_then(|path| Path::new(path).file_name());
    name.and_then(OsStr::to_str)
        .unwrap_or("ferricorn")
        .to_owned()
}

/// The whole command line of a program called `name`.
pub(crate) fn command(name: &str, known: &Known<'_>) -> Command {
    let version = env!("CARGO_PKG_VERSION");
    let (about, version) = match name {
        "ferricorn" => ("A pre-fork application server", version.to_owned()),
        _ => (
            "Served by Ferricorn, a pre-fork application server",
            format!("(ferricorn {version})"),
        ),
    };
    let check = Command::new("check")
        .about("Check the configuration and exit, as --check-config does")
        .args_override_self(true)
        .args(arguments(known))
        .args(help_and_version().into_iter().take(1))
        .disable_help_flag(true);
    let generate = Command::new("generate")
        .about("Print a generated document")
        .args(help_and_version().into_iter().take(1))
        .disable_help_flag(true)
        .arg(
            Arg::new("WHAT")
                .required(true)
                .value_parser(PossibleValuesParser::new(Artifact::NAMES))
                .help("Which one"),
        );
    Command::new(name.to_owned())
        .about(about)
        .version(version)
        .args_override_self(true)
        .args(arguments(known))
        .subcommands([check, ctl(known), top(known), generate])
        .args(help_and_version())
        .disable_help_flag(true)
        .disable_version_flag(true)
        .disable_help_subcommand(true)
        .override_usage(usage(name, known))
        .max_term_width(100)
        .after_help(
            "Settings also stand in a configuration file and in environment variables named \
             FERRICORN_*; see ferricorn(1), ferricorn.toml(5).",
        )
}

/// The client of the control socket. It reads the configuration that the server has read.
fn ctl(known: &Known<'_>) -> Command {
    ctl::command()
        .args(config(known).map(|arg| arg.global(true)))
        .args(help_and_version().into_iter().take(1))
        .disable_help_flag(true)
        .mut_subcommands(|command| {
            command
                .args(help_and_version().into_iter().take(1))
                .disable_help_flag(true)
        })
}

/// The view of a running server, which is found as by ctl.
fn top(known: &Known<'_>) -> Command {
    top::command()
        .args(config(known))
        .args(help_and_version().into_iter().take(1))
        .disable_help_flag(true)
}

fn config(known: &Known<'_>) -> impl Iterator<Item = Arg> {
    let config = settings::find("config").map(|setting| argument(setting, known));
    config.into_iter().flatten()
}

fn usage(name: &str, known: &Known<'_>) -> String {
    let app = if known.apps.len() > 1 { " [APP]" } else { "" };
    format!(
        "{name} [OPTIONS]{app}\n       {name} check [OPTIONS]{app}\n       {name} ctl \
         [OPTIONS] <COMMAND>\n       {name} top [OPTIONS]\n       {name} generate <WHAT>"
    )
}

/// The same options as clap's own, but at the end of the help.
fn help_and_version() -> [Arg; 2] {
    let arg =
        |name: &'static str, short| Arg::new(name).short(short).long(name).help_heading("Help");
    [
        arg("help", 'h')
            .action(ArgAction::Help)
            .help("Print the options; with --help, explained"),
        arg("version", 'V')
            .action(ArgAction::Version)
            .help("Print the version"),
    ]
}

fn arguments(known: &Known<'_>) -> Vec<Arg> {
    settings::all()
        .flat_map(|setting| argument(setting, known))
        .collect()
}

/// The argument of a setting; for a switch that is on by default, also the one that turns it off.
fn argument(setting: &'static Setting, known: &Known<'_>) -> Vec<Arg> {
    let choices = match setting.kind {
        Kind::Choice(choices, _) => choices.to_vec(),
        Kind::Class(_) => known.classes.to_vec(),
        Kind::App => known.apps.to_vec(),
        _ => Vec::new(),
    };
    let any = AnyWord(choices.iter().map(|choice| (*choice).to_owned()).collect());
    let arg = Arg::new(setting.name)
        .help(help(setting, known))
        .long_help(long_help(setting, known))
        .value_name(setting.kind.placeholder())
        .value_hint(hint(setting))
        .value_parser(any);
    if let Kind::App = setting.kind {
        return if known.apps.len() > 1 {
            vec![arg]
        } else {
            Vec::new()
        };
    }
    let arg = arg
        .help_heading(setting.section.title())
        .long(setting.name)
        .short(setting.short)
        .visible_aliases(setting.aliases);
    match setting.kind {
        Kind::Switch(_) => {
            let arg = arg
                .num_args(0..=1)
                .require_equals(true)
                .default_missing_value("true");
            let Some(off) = setting.off else {
                return vec![arg];
            };
            let opposite = Arg::new(off)
                .long(off)
                .action(ArgAction::SetTrue)
                .overrides_with(setting.name)
                .help(format!("The opposite of --{}", setting.name))
                .help_heading(setting.section.title());
            vec![arg.overrides_with(off), opposite]
        }
        _ if setting.repeatable() => vec![arg.action(ArgAction::Append)],
        _ => vec![arg],
    }
}

/// What a shell may complete.
fn hint(setting: &Setting) -> ValueHint {
    match setting.kind {
        Kind::File | Kind::Path(_) | Kind::Log(_) | Kind::Control(_) => ValueHint::FilePath,
        Kind::Directory(_) => ValueHint::DirPath,
        Kind::User(_) => ValueHint::Username,
        _ => ValueHint::Unknown,
    }
}

fn help(setting: &Setting, known: &Known<'_>) -> String {
    let summary = setting.summary().trim_end_matches('.');
    match known.default_of(setting) {
        "" | "false" | "true" => summary.to_owned(),
        default if default.len() > 20 => summary.to_owned(),
        default => format!("{summary} [default: {default}]"),
    }
}

fn long_help(setting: &Setting, known: &Known<'_>) -> String {
    let mut text = setting.doc.to_owned();
    if !matches!(setting.sources, Sources::CommandLine) {
        let default = match known.default_of(setting) {
            "" => setting.default_text(),
            default => default.to_owned(),
        };
        text.push_str(&format!("\n\nDefault: {default}."));
    }
    if let Some(variable) = setting.environment() {
        text.push_str(&format!(" Environment: {variable}."));
    }
    text
}

/// Puts what was given on the line into `given`; what is there already gives way.
fn collect(matches: &ArgMatches, given: &mut Values) {
    for setting in settings::all() {
        let id = setting.name;
        let flag = match setting.kind {
            Kind::App => "APP".to_owned(),
            _ => format!("--{id}"),
        };
        if let Some(off) = setting.off {
            if matches.try_get_one::<bool>(off).ok().flatten() == Some(&true) {
                let origin = Origin::CommandLine(format!("--{off}"));
                given.insert(id, Given::word("false", origin));
            }
        }
        let Ok(Some(words)) = matches.try_get_many::<OsString>(id) else {
            continue;
        };
        let origin = Origin::CommandLine(flag);
        let mut items: Vec<Given> = words
            .map(|word| Given::word(word, origin.clone()))
            .collect();
        if setting.repeatable() {
            given.insert(
                id,
                Given {
                    raw: Raw::List(items),
                    origin,
                },
            );
        } else if let Some(last) = items.pop() {
            given.insert(id, last);
        }
    }
}

/// Adds what we know of Gunicorn's options to the error for one that we do not have.
fn advise(mut error: clap::Error) -> clap::Error {
    if error.kind() != ErrorKind::UnknownArgument {
        return error;
    }
    let Some(ContextValue::String(argument)) = error.get(ContextKind::InvalidArg) else {
        return error;
    };
    let name = argument
        .trim_start_matches('-')
        .split('=')
        .next()
        .unwrap_or_default();
    if let Some(hint) = settings::gunicorn::hint(&name.replace('_', "-")) {
        let tip = StyledStr::from(format!("Gunicorn has it, Ferricorn does not: {hint}"));
        error.remove(ContextKind::SuggestedArg);
        error.insert(ContextKind::Suggested, ContextValue::StyledStrs(vec![tip]));
    }
    error
}

/// Takes any word, and tells the help and the completions which ones make sense.
#[derive(Clone)]
struct AnyWord(Vec<String>);

impl TypedValueParser for AnyWord {
    type Value = OsString;

    fn parse_ref(
        &self,
        _: &Command,
        _: Option<&Arg>,
        value: &OsStr,
    ) -> Result<OsString, clap::Error> {
        Ok(value.to_owned())
    }

    fn possible_values(&self) -> Option<Box<dyn Iterator<Item = PossibleValue> + '_>> {
        if self.0.is_empty() {
            return None;
        }
        Some(Box::new(self.0.iter().map(PossibleValue::new)))
    }
}
