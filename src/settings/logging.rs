//! What is written where.

use ferricorn_base::access::DEFAULT_FORMAT;
use ferricorn_base::logs::syslog::Form;

use super::{COMMON, Kind, Section, Setting};
use crate::config::Destination;
use crate::logging::level;
use crate::syslog::{FACILITIES, facility};

/// The names of the levels.
pub(crate) const LEVELS: &[&str] = &["trace", "debug", "info", "warning", "error", "critical"];

pub(super) const SETTINGS: &[Setting] = &[
    Setting {
        name: "access-logfile",
        gunicorn: Some("accesslog"),
        kind: Kind::Log(|config, destination| config.access_log = destination),
        default_doc: "none, no access log",
        doc: "Where a line for each request goes; - is standard output.\n\n\
              journald is the journal, auto the journal where standard output is connected to it. \
              SIGUSR1 opens a file again.",
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
              journald is the journal of systemd, in its own protocol: each message with its \
              priority and the fields FERRICORN_WORKER, FERRICORN_GENERATION and REQUEST_ID. \
              journald:PATH is another socket of that kind, as a journal namespace has one. auto \
              is the journal where standard error is connected to it (JOURNAL_STREAM), else \
              standard error. SIGUSR1 opens a file again.",
        ..HERE
    },
    Setting {
        name: "log-level",
        gunicorn: Some("loglevel"),
        kind: Kind::Choice(LEVELS, |config, name| {
            config.log_level = level(name).unwrap_or(config.log_level);
        }),
        default: "info",
        doc: "The least severe messages that are written.\n\n\
              critical is accepted for Gunicorn's sake and means error. `ctl log-level` changes it \
              while the server runs.",
        ..HERE
    },
    Setting {
        name: "send-request-id",
        kind: Kind::Switch(|config, on| config.conf.name(|names| names.id = on)),
        default: "false",
        doc: "Say in X-Request-Id of each response what its request is called.\n\n\
              Unless the handler does so itself. A request has the name that came with it in \
              X-Request-Id from a trusted proxy (forwarded-allow-ips), else one of the worker's.",
        ..HERE
    },
    Setting {
        name: "send-trace",
        kind: Kind::Switch(|config, on| config.conf.name(|names| names.trace = on)),
        default: "false",
        doc: "Say in traceresponse of each response which trace its request belongs to.\n\n\
              Unless the handler does so itself. The field looks like traceparent and has the span of \
              this request; the trace is that of a trusted proxy (forwarded-allow-ips), else a new one.",
        ..HERE
    },
    Setting {
        name: "slow-request",
        kind: Kind::Time {
            zero: true,
            set: |config, time| config.conf.slow_request = time,
        },
        default: "0",
        doc: "The time after which a request is told of as slow; 0: none is.\n\n\
              Within half a second after that the log says which worker serves it, since when and \
              where that process is; when it is answered, how long it took. The time of the handler \
              counts, as with timeout: not that of the client, nor a stream's.",
        ..HERE
    },
    Setting {
        name: "syslog",
        aliases: &["log-syslog"],
        kind: Kind::Switch(|config, on| config.syslog_settings.on = on),
        default: "false",
        doc: "Send error log and access log to syslog, too.\n\n\
              They go to error-logfile and access-logfile as well, if those are set.",
        ..HERE
    },
    Setting {
        name: "syslog-addr",
        aliases: &["log-syslog-to"],
        kind: Kind::Syslog(|config, to| config.syslog_settings.to = to),
        default: "udp://localhost:514",
        doc: "Where syslog is.\n\n\
              udp://HOST:PORT, tcp://HOST:PORT, unix:///PATH#dgram or unix:///PATH#stream. The port \
              is 514 if none is given, a path without its kind means datagrams. By tcp each message \
              is led by its length (RFC 6587); a host name is looked up at a start and at a reload.",
        ..HERE
    },
    Setting {
        name: "syslog-prefix",
        aliases: &["log-syslog-prefix"],
        kind: Kind::Text(|config, text| config.syslog_settings.prefix = text),
        default_doc: "proc-name",
        doc: "What the program is called in syslog: ferricorn.PREFIX.\n\n\
              Without it ferricorn, and proc-name if that is set.",
        ..HERE
    },
    Setting {
        name: "syslog-facility",
        aliases: &["log-syslog-facility"],
        kind: Kind::Choice(FACILITIES, |config, name| {
            config.syslog_settings.facility = facility(name);
        }),
        default: "user",
        doc: "The facility of messages for syslog.",
        ..HERE
    },
    Setting {
        name: "syslog-format",
        kind: Kind::Choice(&["auto", "rfc5424", "local"], |config, name| {
            config.syslog_settings.form = match name {
                "rfc5424" => Some(Form::Rfc5424),
                "local" => Some(Form::Local),
                _ => None,
            };
        }),
        default: "auto",
        doc: "How messages for syslog look.\n\n\
              rfc5424 is the standard; local is what syslog(3) writes and what the daemons behind \
              /dev/log read. auto is local for a unix socket and rfc5424 for udp and tcp.",
        ..HERE
    },
    Setting {
        name: "disable-redirect-access-to-syslog",
        kind: Kind::Switch(|config, disable| config.syslog_settings.access = !disable),
        default: "false",
        doc: "Keep the access log out of syslog.",
        ..HERE
    },
];

const HERE: Setting = Setting {
    section: Section::Logging,
    ..COMMON
};
