//! What is written where.

use ferricorn_base::access::DEFAULT_FORMAT;
use log::LevelFilter;

use super::{COMMON, Kind, Section, Setting};
use crate::config::Destination;

pub(super) const SETTINGS: &[Setting] = &[
    Setting {
        name: "access-logfile",
        gunicorn: Some("accesslog"),
        kind: Kind::Log(|config, destination| config.access_log = destination),
        default_doc: "none, no access log",
        doc: "Where a line for each request goes; - is standard output.\n\n\
              SIGUSR1 opens the file again.",
        ..HERE
    },
    Setting {
        name: "access-logformat",
        gunicorn: Some("access_log_format"),
        kind: Kind::Format(|config, text| config.conf.access_format = Some(text)),
        default: DEFAULT_FORMAT,
        doc: "How a line of the access log looks: Gunicorn's atoms, or json.\n\n\
              json writes one object per line.",
        ..HERE
    },
    Setting {
        name: "error-logfile",
        aliases: &["log-file"],
        gunicorn: Some("errorlog"),
        kind: Kind::Log(|config, destination| {
            config.error_log = destination.unwrap_or(Destination::Standard);
        }),
        default: "-",
        doc: "Where the server's own messages go; - is standard error.\n\n\
              SIGUSR1 opens the file again.",
        ..HERE
    },
    Setting {
        name: "log-level",
        gunicorn: Some("loglevel"),
        kind: Kind::Choice(
            &["trace", "debug", "info", "warning", "error", "critical"],
            |config, level| {
                config.log_level = match level {
                    "trace" => LevelFilter::Trace,
                    "debug" => LevelFilter::Debug,
                    "warning" => LevelFilter::Warn,
                    "error" | "critical" => LevelFilter::Error,
                    _ => LevelFilter::Info,
                };
            },
        ),
        default: "info",
        doc: "The least severe messages that are written.\n\n\
              critical is accepted for Gunicorn's sake and means error.",
        ..HERE
    },
];

const HERE: Setting = Setting {
    section: Section::Logging,
    ..COMMON
};
