//! The command line of `ctl`.

use std::path::PathBuf;

use clap::{Arg, ArgAction, ArgMatches, Command as Line, ValueHint, value_parser};

use super::Call;
use crate::control::Place;
use crate::control::words::Command;
use crate::settings::logging::LEVELS;

/// The commands: name, argument, what they do.
const COMMANDS: [(&str, &str); 11] = [
    (
        "status",
        "Show the server, its workers, and the reload under way",
    ),
    (
        "reload",
        "Reload configuration, code and binary, as SIGHUP does",
    ),
    ("reopen", "Open the log files again, as SIGUSR1 does"),
    (
        "scale",
        "Change the number of workers: N, +N or -N; auto leaves it to the server",
    ),
    ("stop", "Finish what was begun and stop, as SIGTERM does"),
    ("quit", "Stop at once, as SIGQUIT does"),
    (
        "drain",
        "Replace the worker PID: a new one first, then it finishes and goes",
    ),
    ("kill", "Kill the worker PID, which is replaced"),
    (
        "quarantine",
        "List the requests that are refused because workers died of them, or clear one",
    ),
    (
        "log-level",
        "Show what is logged, or log LEVEL and what is more severe from now on",
    ),
    (
        "events",
        "Print what the server does, a line of JSON each, until it ends",
    ),
];

/// `ctl` with its commands.
pub(crate) fn command() -> Line {
    let json = Arg::new("json")
        .long("json")
        .short('j')
        .global(true)
        .action(ArgAction::SetTrue)
        .help("Print what the server says as it is: lines of JSON");
    let wait = || {
        Arg::new("wait")
            .long("wait")
            .action(ArgAction::SetTrue)
            .help("Print what happens, and end when it is over")
    };
    let pid = || {
        Arg::new("PID")
            .required(true)
            .value_parser(value_parser!(i32).range(1..))
            .help("The worker's process")
    };
    let commands = COMMANDS.map(|(name, about)| {
        let line = Line::new(name).about(about);
        match name {
            "reload" | "stop" | "quit" => line.arg(wait()),
            "drain" | "kill" => line.arg(pid()),
            "log-level" => line.arg(
                Arg::new("LEVEL")
                    .value_parser(
                        LEVELS
                            .iter()
                            .copied()
                            .chain(["default"])
                            .collect::<Vec<_>>(),
                    )
                    .help("Until the setting is another; default is what the setting says"),
            ),
            "quarantine" => line.subcommands([
                Line::new("list").about("List them; so without any word"),
                Line::new("clear").about("Let one be served again").arg(
                    Arg::new("FINGERPRINT")
                        .required(true)
                        .value_parser(fingerprint)
                        .help("Which one, as list shows it, or all"),
                ),
            ]),
            "scale" => line.arg(
                Arg::new("WORKERS")
                    .required(true)
                    .allow_hyphen_values(true)
                    .value_parser(scale)
                    .help("So many, or so many more (+1) or less (-1), or auto"),
            ),
            _ => line,
        }
    });
    Line::new("ctl")
        .about("Steer a running server over its control socket")
        .subcommand_required(true)
        .arg_required_else_help(true)
        .disable_help_subcommand(true)
        .args([socket().global(true), json])
        .subcommands(commands)
}

/// The option that says where the server is.
pub(crate) fn socket() -> Arg {
    Arg::new("socket")
        .long("socket")
        .short('s')
        .value_name("FILE")
        .value_hint(ValueHint::FilePath)
        .value_parser(value_parser!(PathBuf))
        .help("The server's control socket; else it is looked for")
}

/// The names of the commands and what they do, for the manual.
pub(crate) fn commands() -> impl Iterator<Item = (&'static str, &'static str)> {
    COMMANDS.into_iter()
}

/// What was asked for; where the configuration has the socket is not known yet.
pub(crate) fn read(matches: &ArgMatches) -> Call {
    let (name, of_command) = matches.subcommand().unwrap_or(("status", matches));
    let wait = || of_command.get_flag("wait");
    let pid = || {
        of_command
            .get_one::<i32>("PID")
            .copied()
            .unwrap_or_default()
    };
    let command = match name {
        "reload" => Command::Reload { wait: wait() },
        "reopen" => Command::Reopen {},
        "scale" => {
            let scale = of_command.get_one::<Scale>("WORKERS").copied();
            match scale.unwrap_or(Scale::By(0)) {
                Scale::To(workers) => Command::Scale {
                    workers: Some(workers),
                    by: None,
                },
                Scale::Auto => Command::ScaleAuto {},
                Scale::By(by) => Command::Scale {
                    workers: None,
                    by: Some(by),
                },
            }
        }
        "stop" => Command::Stop { wait: wait() },
        "quit" => Command::Quit { wait: wait() },
        "drain" => Command::Drain { pid: pid() },
        "kill" => Command::Kill { pid: pid() },
        "quarantine" => Command::Quarantine {
            clear: match of_command.subcommand() {
                Some(("clear", one)) => one.get_one::<String>("FINGERPRINT").cloned(),
                _ => None,
            },
        },
        "log-level" => Command::LogLevel {
            level: of_command.get_one::<String>("LEVEL").cloned(),
        },
        "events" => Command::Events {},
        _ => Command::Status {},
    };
    Call {
        command,
        json: of_command.get_flag("json"),
        socket: of_command.get_one::<PathBuf>("socket").cloned(),
        place: Place::Auto,
    }
}

/// `all`, or as many digits as the server shows.
fn fingerprint(text: &str) -> Result<String, String> {
    let is_one = text.len() == 16 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    match is_one || text == "all" {
        true => Ok(text.to_owned()),
        false => Err("expected 16 hexadecimal digits, or all".to_owned()),
    }
}

/// A number of workers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Scale {
    To(usize),
    By(i64),
    Auto,
}

fn scale(text: &str) -> Result<Scale, String> {
    let wrong = || "expected a number of workers such as 4, +1 or -1, or auto".to_owned();
    if text == "auto" {
        return Ok(Scale::Auto);
    }
    let digits = text.trim_start_matches(['+', '-']);
    if text.len() - digits.len() > 1 || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(wrong());
    }
    if digits.len() < text.len() {
        let by = text.parse().map_err(|_| wrong())?;
        return Ok(Scale::By(by));
    }
    let to = text.parse().ok().filter(|workers| *workers > 0);
    to.map(Scale::To).ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_of_workers_is_absolute_or_a_difference() {
        for (text, expected) in [
            ("4", Some(Scale::To(4))),
            ("+1", Some(Scale::By(1))),
            ("-2", Some(Scale::By(-2))),
            ("0", None),
            ("", None),
            ("+", None),
            ("--1", None),
            ("+-1", None),
            ("1.5", None),
            ("auto", Some(Scale::Auto)),
            ("AUTO", None),
            ("99999999999999999999", None),
        ] {
            assert_eq!(scale(text).ok(), expected, "{text}");
        }
    }

    #[test]
    fn a_quarantine_is_listed_or_cleared() {
        let asked = |words: &str| {
            let words = ["ctl", "quarantine"].into_iter().chain(words.split(' '));
            let words = words.filter(|word| !word.is_empty());
            let matches = command().try_get_matches_from(words).ok()?;
            match read(&matches).command {
                Command::Quarantine { clear } => Some(clear),
                _ => None,
            }
        };
        let one = "0123456789abcdef";
        for (words, expected) in [
            ("", Some(None)),
            ("list", Some(None)),
            ("list --json", Some(None)),
            ("clear all", Some(Some("all".to_owned()))),
            (&format!("clear {one}"), Some(Some(one.to_owned()))),
            ("clear", None),
            ("clear /path", None),
            ("clear 7", None),
        ] {
            assert_eq!(asked(words), expected, "{words}");
        }
    }

    #[test]
    fn every_command_is_understood_by_the_name_that_the_server_knows() {
        for (name, _) in commands() {
            let mut words = vec!["ctl", name, "--json"];
            match name {
                "scale" => words.push("-1"),
                "drain" | "kill" => words.push("7"),
                _ => {}
            }
            let call = read(&command().get_matches_from(words));
            assert_eq!((call.command.name(), call.json), (name, true));
        }
    }
}
