//! `ferricorn top`: a running server at a glance, over its control socket.
//!
//! It asks the master how things stand, again and again, and shows what has changed between two
//! answers as rates. It shares with `ctl` how a server is found and what is said, and it must not know
//! more than the control socket tells. The screen needs the feature `top`; `--once` does not.
#![forbid(unsafe_code)]

#[cfg(feature = "top")]
mod details;
mod head;
mod link;
#[cfg(feature = "top")]
mod model;
#[cfg(feature = "top")]
mod news;
mod once;
mod rates;
#[cfg(feature = "top")]
mod screen;
mod table;
mod text;
#[cfg(feature = "top")]
mod view;

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Arg, ArgAction, ArgMatches, Command as Line};

use crate::control::Place;
use crate::{ctl, exit};

/// Seconds between two looks, unless the command line says otherwise.
const INTERVAL: &str = "1";
/// No server is asked more often, in seconds.
const LEAST: f64 = 0.1;
/// Nor more seldom: a client that says nothing for longer loses its place at the control socket.
const MOST: f64 = 30.0;

/// What a command line asks for.
#[derive(Clone, Debug)]
pub struct Call {
    /// Print a table and end.
    pub once: bool,
    /// Between two looks.
    pub interval: Duration,
    /// By what the workers are sorted first.
    pub(crate) sort: table::Sort,
    /// Where the server's control socket is, as the command line says.
    pub socket: Option<PathBuf>,
    /// Where it is, as the configuration says.
    pub place: Place,
}

/// `top` on the command line.
pub(crate) fn command() -> Line {
    Line::new("top")
        .about("Watch a running server in a terminal")
        .arg(ctl::socket())
        .arg(
            Arg::new("once")
                .long("once")
                .short('1')
                .action(ArgAction::SetTrue)
                .help("Print a table of one interval, and end"),
        )
        .arg(
            Arg::new("interval")
                .long("interval")
                .short('i')
                .value_name("SECONDS")
                .default_value(INTERVAL)
                .value_parser(interval)
                .help("Look so often, 0.1 to 30"),
        )
        .arg(
            Arg::new("sort")
                .long("sort")
                .value_name("COLUMN")
                .default_value("slot")
                .value_parser(table::Sort::parse)
                .help("Sort by slot, age, rate, busy, latency, connections, memory or restarts"),
        )
}

/// What was asked for; where the configuration has the socket is not known yet.
pub(crate) fn read(matches: &ArgMatches) -> Call {
    Call {
        once: matches.get_flag("once"),
        interval: matches
            .get_one::<Duration>("interval")
            .copied()
            .unwrap_or(Duration::from_secs(1)),
        sort: matches
            .get_one("sort")
            .copied()
            .unwrap_or(table::Sort::Slot),
        socket: matches.get_one::<PathBuf>("socket").cloned(),
        place: Place::Auto,
    }
}

fn interval(text: &str) -> Result<Duration, String> {
    let seconds = text.parse().ok().filter(|s| (LEAST..=MOST).contains(s));
    seconds
        .map(Duration::from_secs_f64)
        .ok_or_else(|| format!("expected seconds from {LEAST} to {MOST}"))
}

/// Shows the server until the user has seen enough.
pub fn run(call: &Call) -> ExitCode {
    let shown = if call.once {
        once::print(call)
    } else {
        screen(call)
    };
    match shown {
        Ok(()) => ExitCode::from(exit::OK),
        Err(error) => {
            let _ = writeln!(io::stderr(), "ferricorn: {}", ctl::clean(&error));
            ExitCode::from(exit::ERROR)
        }
    }
}

#[cfg(feature = "top")]
fn screen(call: &Call) -> Result<(), String> {
    screen::run(call)
}

#[cfg(not(feature = "top"))]
fn screen(_: &Call) -> Result<(), String> {
    Err("this program was built without the feature top; --once prints a table".to_owned())
}
